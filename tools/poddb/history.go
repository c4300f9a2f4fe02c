package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/poddb/poddb/db"
)

// versionOf reads a version as a person writes it: a number, a tag, or a branch, which
// stands for its newest version.
func versionOf(ctx context.Context, d *db.DB, text string) (db.Version, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n, nil
	}
	tags, err := d.Tags(ctx)
	if err != nil {
		return 0, err
	}
	for _, t := range tags {
		if t.Name == text {
			return t.Version, nil
		}
	}
	v, err := d.Head(ctx, text)
	if errors.Is(err, db.ErrNotFound) {
		err = fmt.Errorf("%q is no version, tag or branch: %w", text, err)
	}
	return v, err
}

// showLog prints the commits of a branch.
func showLog(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	tags, err := d.Tags(ctx)
	if err != nil {
		return err
	}
	tagged := map[db.Version]string{}
	for _, t := range tags {
		tagged[t.Version] += " " + t.Name
	}
	o := db.LogOptions{Branch: e.branch, From: e.from, To: e.to, Limit: e.n, Reverse: e.reverse}
	t := table{head: []string{"version", "-time", "-branch", "pods", "bytes", "-author", "-message", "-tags"}}
	for c, err := range d.Log(ctx, o) {
		if err != nil {
			return err
		}
		if e.json {
			if err := printJSON(e.out, c); err != nil {
				return err
			}
			continue
		}
		t.add(fmt.Sprint(c.Version), c.Time.Local().Format(time.DateTime), c.Branch, fmt.Sprint(c.Pods), bytesText(int64(c.Bytes)), c.Author, c.Message, tagged[c.Version])
	}
	if !e.json {
		t.print(e.out)
	}
	return nil
}

// difference is one line of diff --json.
type difference struct {
	Path string `json:"path"`
	Kind string `json:"kind"`
	Old  string `json:"old,omitempty"`
	New  string `json:"new,omitempty"`
	From string `json:"from,omitempty"`
}

// diff prints what differs between two versions. That something does is no failure.
func diff(ctx context.Context, e *env, args []string) error {
	d, err := open(ctx, args[0])
	if err != nil {
		return err
	}
	defer d.Close()
	var versions [2]db.Version
	for i, text := range args[1:] {
		if versions[i], err = versionOf(ctx, d, text); err != nil {
			return err
		}
	}
	if len(args) == 2 { // what that version changed
		c, err := d.CommitOf(ctx, versions[0])
		if err != nil {
			return err
		}
		versions[1], versions[0] = versions[0], 0
		if len(c.Parents) > 0 {
			versions[0] = c.Parents[0]
		}
	}
	return printDiff(ctx, e, d, versions[0], versions[1])
}

// printDiff prints what differs, a line or an object each.
func printDiff(ctx context.Context, e *env, d *db.DB, from, to db.Version) error {
	shown := 0
	for c, err := range d.Diff(ctx, from, to) {
		if err != nil {
			return err
		}
		if e.n > 0 && shown == e.n {
			break
		}
		shown++
		if e.json {
			err = printJSON(e.out, difference{c.Path, c.Kind.String(), c.Old, c.New, c.From})
		} else {
			_, err = fmt.Fprintln(e.out, printable(c.String()))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// branch lists branches, creates one, or deletes one.
func branch(ctx context.Context, e *env, args []string) error {
	if len(args) == 1 {
		if e.remove || e.start != "" {
			return errors.New("branch --at and --delete need the NAME of a branch")
		}
		return listBranches(ctx, e, args[0])
	}
	return rename(ctx, args[0], func(d *db.DB) error {
		if e.remove {
			return d.DeleteBranch(ctx, args[1])
		}
		if e.start == "" {
			e.start = "main"
		}
		at, err := versionOf(ctx, d, e.start)
		if err != nil {
			return err
		}
		return d.Branch(ctx, args[1], at)
	})
}

func listBranches(ctx context.Context, e *env, path string) error {
	d, err := open(ctx, path)
	if err != nil {
		return err
	}
	defer d.Close()
	list, err := d.Branches(ctx)
	if err != nil {
		return err
	}
	t := table{head: []string{"-branch", "newest", "from", "commits"}}
	for _, b := range list {
		if e.json {
			if err := printJSON(e.out, b); err != nil {
				return err
			}
			continue
		}
		t.add(b.Name, fmt.Sprint(b.Head), fmt.Sprint(b.Fork), fmt.Sprint(b.Commits))
	}
	if !e.json {
		t.print(e.out)
	}
	return nil
}

// tag lists tags, sets one, or deletes one.
func tag(ctx context.Context, e *env, args []string) error {
	switch {
	case len(args) == 1 && e.remove || len(args) == 3 && e.remove:
		return errors.New("tag --delete needs the NAME of a tag, and nothing else")
	case len(args) == 1:
		return listTags(ctx, e, args[0])
	}
	return rename(ctx, args[0], func(d *db.DB) error {
		if e.remove {
			return d.DeleteTag(ctx, args[1])
		}
		at := "main"
		if len(args) == 3 {
			at = args[2]
		}
		v, err := versionOf(ctx, d, at)
		if err != nil {
			return err
		}
		return d.Tag(ctx, args[1], v)
	})
}

func listTags(ctx context.Context, e *env, path string) error {
	d, err := open(ctx, path)
	if err != nil {
		return err
	}
	defer d.Close()
	list, err := d.Tags(ctx)
	if err != nil {
		return err
	}
	t := table{head: []string{"-tag", "version"}}
	for _, g := range list {
		if e.json {
			if err := printJSON(e.out, g); err != nil {
				return err
			}
			continue
		}
		t.add(g.Name, fmt.Sprint(g.Version))
	}
	if !e.json {
		t.print(e.out)
	}
	return nil
}

// rename opens a database to write, for a change of names.
func rename(ctx context.Context, path string, fn func(d *db.DB) error) error {
	d, err := openToWrite(ctx, path)
	if err != nil {
		return err
	}
	err = fn(d)
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}

// revert takes one commit back.
func revert(ctx context.Context, e *env, args []string) error {
	var at db.Version
	err := rename(ctx, args[0], func(d *db.DB) error {
		v, err := versionOf(ctx, d, args[1])
		if err == nil {
			at, err = d.Revert(ctx, v, db.RevertOptions{Branch: e.branch, Message: e.message, Author: e.author})
		}
		return err
	})
	if err != nil {
		return err
	}
	if e.json {
		return printJSON(e.out, map[string]db.Version{"version": at})
	}
	fmt.Fprintf(e.out, "%s: version %d\n", args[0], at)
	return nil
}

// policy is what the flags of prune say.
func (e *env) policy() (db.Policy, error) {
	var p db.Policy
	given := false
	add := func(q db.Policy) { p, given = p.Or(q), true }
	if e.keepLast < 0 || e.keepFor < 0 {
		return p, errors.New("--keep-last and --keep-for cannot be negative")
	}
	if e.keepLast > 0 {
		add(db.KeepLast(e.keepLast))
	}
	if e.keepFor > 0 {
		add(db.KeepFor(e.keepFor))
	}
	if e.tiers {
		const day = 24 * time.Hour
		add(db.Tiers(db.Tier{For: day}, db.Tier{Every: time.Hour, For: 7 * day}, db.Tier{Every: day}))
	}
	if !given {
		return p, errors.New("prune needs --keep-last N (at least 1), --keep-for D or --tiers: what is to stay")
	}
	return p, nil
}
