package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/poddb/poddb/db"
)

// openToWrite opens a database that must exist for a command that changes it.
func openToWrite(ctx context.Context, path string) (*db.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return db.Open(ctx, path, nil)
}

// change runs fn on a database, closes it, and says how the file's size went.
func change(ctx context.Context, e *env, path string, fn func(d *db.DB) error) error {
	before, err := os.Stat(path)
	if err != nil {
		return err
	}
	d, err := openToWrite(ctx, path)
	if err != nil {
		return err
	}
	err = fn(d)
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	after, err := os.Stat(path)
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, map[string]int64{"bytes_before": before.Size(), "bytes_after": after.Size()})
	}
	fmt.Fprintf(e.out, "%s: %s before, %s now\n", path, bytesText(before.Size()), bytesText(after.Size()))
	return nil
}

// checkpoint moves the log into the file.
func checkpoint(ctx context.Context, e *env, args []string) error {
	return change(ctx, e, args[0], func(d *db.DB) error { return d.Checkpoint(ctx) })
}

// compact shrinks a file.
func compact(ctx context.Context, e *env, args []string) error {
	bar := e.progress("compact")
	defer bar.clear()
	return change(ctx, e, args[0], func(d *db.DB) error {
		_, err := d.Compact(ctx, db.CompactOptions{Progress: func(r db.CompactReport) { bar.bytes(r.Moved, r.Before) }})
		return err
	})
}

// prune removes old versions.
func prune(ctx context.Context, e *env, args []string) error {
	policy, err := e.policy()
	if err != nil {
		return err
	}
	opened := openToWrite
	if e.dryRun { // only reads, so also beside a program that has it open
		opened = open
	}
	d, err := opened(ctx, args[0])
	if err != nil {
		return err
	}
	bar := e.progress("prune")
	rep, err := d.Prune(ctx, db.PruneOptions{Policy: policy, DryRun: e.dryRun, Budget: e.bounds(), Progress: bar.items})
	bar.clear()
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, rep)
	}
	verb := "freed"
	if e.dryRun {
		verb = "would free"
	}
	fmt.Fprintf(e.out, "%s %s of contents in %d versions\n", verb, bytesText(int64(rep.Bytes)), rep.Versions)
	if len(rep.Branches) > 1 {
		for _, b := range rep.Branches {
			fmt.Fprintf(e.out, "  %s: %s in %d versions\n", b.Branch, bytesText(b.Bytes), b.Versions)
		}
	}
	return nil
}

// backup copies a database. One with commits that are only in the log is refused:
// the program that has it open can back it up, or a checkpoint comes first.
func backup(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	out, err := os.OpenFile(args[1], os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	bar := e.progress("backup")
	rep, err := d.Backup(ctx, out, db.BackupOptions{Progress: bar.bytes})
	bar.clear()
	if err == nil {
		err = out.Sync()
	}
	if closed := out.Close(); err == nil {
		err = closed
	}
	if err != nil {
		_ = os.Remove(args[1])
		return err
	}
	if e.json {
		return printJSON(e.out, rep)
	}
	fmt.Fprintf(e.out, "%s: version %d, %s\n", args[1], rep.Version, bytesText(rep.Bytes))
	return nil
}

// restore makes a database from a backup.
func restore(ctx context.Context, e *env, args []string) error {
	in, err := os.Open(args[0])
	if err != nil {
		return err
	}
	defer in.Close()
	if err := db.Restore(ctx, in, args[1]); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("%s exists; restore never overwrites: %w", args[1], err)
		}
		return err
	}
	d, err := open(ctx, args[1])
	if err != nil {
		return err
	}
	defer d.Close()
	head, err := d.Head(ctx, "main")
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, map[string]any{"file": args[1], "version": head})
	}
	fmt.Fprintf(e.out, "%s: version %d\n", args[1], head)
	return nil
}

// salvage copies what can be read of a damaged database. That something was
// lost is no failure of the command: it is what the list is for.
func salvage(ctx context.Context, e *env, args []string) error {
	bar := e.progress("salvage")
	rep, err := db.Salvage(ctx, args[0], args[1], db.SalvageOptions{Progress: bar.bytes})
	bar.clear()
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, rep)
	}
	for _, place := range rep.Damage {
		fmt.Fprintln(e.out, "damaged:", printable(place))
	}
	for _, lost := range rep.Lost {
		fmt.Fprintln(e.out, "lost:", printable(lost.String()))
	}
	if n := rep.MoreLost + rep.MoreDamage; n > 0 {
		fmt.Fprintf(e.out, "and %d more\n", n)
	}
	fmt.Fprintf(e.out, "%s: %d versions, %d pod versions; lost: %d pod versions, %d commits, %d changes of names\n",
		args[1], rep.Versions, rep.PodVersions, rep.LostPodVersions, rep.LostCommits, rep.LostNames)
	if rep.Versions == 0 && !rep.Nothing() {
		return fmt.Errorf("%s: no version could be read", args[0])
	}
	return nil
}
