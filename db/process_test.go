//go:build unix

package db_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
)

// The tests here start the test binary again as another process. What it does
// there is named by the environment.
const (
	envChild = "PODDB_TEST_CHILD"
	envPath  = "PODDB_TEST_PATH"
)

// TestChildProcess is the other process; run by itself it has nothing to do.
func TestChildProcess(t *testing.T) {
	ctx, p := context.Background(), os.Getenv(envPath)
	switch os.Getenv(envChild) {
	case "saves": // until it is killed
		d, err := db.Open(ctx, p, nil)
		if err != nil {
			fmt.Println("error", err)
			return
		}
		ns := must(d.Namespace(ctx, "main"))(t)
		x := &room{}
		set(t, ns, "x", x)
		for v := 1; ; v++ {
			change(x, v)
			fmt.Println("saved", save(t, ns))
			if v%5 == 0 {
				if err := d.Checkpoint(ctx); err != nil {
					t.Fatal(err)
				}
			}
		}
	case "opens":
		_, err := db.Open(ctx, p, nil)
		var locked *db.LockedError
		if errors.As(err, &locked) {
			fmt.Println("locked", locked.PID, locked.Since.Unix())
		}
		fmt.Println("error", err)
	case "nobody": // gives up being root, so that permissions count
		if err := syscall.Setuid(65534); err != nil && os.Getuid() == 0 {
			t.Fatal(err)
		}
		for _, readOnly := range []bool{false, true} {
			d, err := db.Open(ctx, p, &db.Options{ReadOnly: readOnly})
			if err == nil {
				err = d.Close()
			}
			fmt.Println("result", errors.Is(err, fs.ErrPermission), err)
		}
	}
}

// child starts the other process and returns its lines of output.
func child(t *testing.T, what, p string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	self := must(os.Executable())(t)
	c := exec.Command(self, "-test.run=^TestChildProcess$", "-test.v=false")
	c.Env = append(os.Environ(), envChild+"="+what, envPath+"="+p)
	c.Stderr = os.Stderr
	out := must(c.StdoutPipe())(t)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(2*time.Minute, func() { _ = c.Process.Kill() })
	t.Cleanup(func() {
		late.Stop()
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c, bufio.NewScanner(out)
}

func TestASecondHandleIsToldWhoHoldsTheFile(t *testing.T) {
	ctx := context.Background()
	p := filepath.Join(t.TempDir(), sampleName)
	before := time.Now().Truncate(time.Second)
	d := must(db.Open(ctx, p, nil))(t)
	for _, readOnly := range []bool{false, true} {
		_, err := db.Open(ctx, p, &db.Options{ReadOnly: readOnly})
		clearError(t, err, db.ErrLocked)
		var locked *db.LockedError
		if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Since.Before(before) || locked.Since.After(time.Now()) {
			t.Errorf("%#v is no LockedError of this process", err)
		}
	}
	link := filepath.Join(filepath.Dir(p), "other-"+sampleName)
	if err := os.Link(p, link); err != nil {
		t.Fatal(err)
	}
	_, err := db.Open(ctx, link, nil) // the lock is on the file, not on a name
	clearError(t, err, db.ErrLocked)
	_, lines := child(t, "opens", p)
	if !lines.Scan() || !strings.HasPrefix(lines.Text(), fmt.Sprintf("locked %d ", os.Getpid())) {
		t.Errorf("another process was told %q", lines.Text())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, p, nil))(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// The process that holds the database is killed: until then it cannot be
// opened, afterwards at once, with every save that was acknowledged.
func TestAKilledProcessLeavesEverythingAcknowledged(t *testing.T) {
	ctx := context.Background()
	p := filepath.Join(t.TempDir(), sampleName)
	c, lines := child(t, "saves", p)
	acked := 0
	for acked < 23 && lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "saved "); ok {
			acked, _ = strconv.Atoi(n)
		} else {
			t.Fatal(lines.Text())
		}
	}
	_, err := db.Open(ctx, p, nil)
	var locked *db.LockedError
	if !errors.As(err, &locked) || locked.PID != c.Process.Pid || time.Since(locked.Since) > time.Hour {
		t.Fatalf("open beside process %d: %v", c.Process.Pid, err)
	}
	clearError(t, err, db.ErrLocked)
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "saved "); ok {
			if v, err := strconv.Atoi(n); err == nil {
				acked = max(acked, v)
			}
		}
	}
	_ = c.Wait()
	d := must(db.Open(ctx, p, nil))(t)
	head := must(d.Head(ctx, "main"))(t)
	if int(head) < acked || int(head) > acked+1 {
		t.Fatalf("head is %d, %d saves were acknowledged", head, acked)
	}
	for v := db.Version(1); v <= head; v++ {
		if got := must(readVersion(ctx, d, v))(t); !reflect.DeepEqual(got, wanted(v)) {
			t.Errorf("version %d reads as something else", v)
		}
	}
	verifyClean(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNoPermissionIsSaid(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not root: permissions count for this process too")
	}
	dir := t.TempDir()
	for d := dir; d != "/" && d != filepath.Clean(os.TempDir()); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	made := filepath.Join(dir, sampleName)
	d := must(db.Open(context.Background(), made, nil))(t)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// Nobody may: read the file; write it; make one beside it.
	for _, c := range []struct {
		name   string
		path   string
		mode   fs.FileMode
		denied [2]bool // for writing, for reading only
	}{
		{"unreadable", made, 0o000, [2]bool{true, true}},
		{"unwritable", made, 0o444, [2]bool{true, false}},
		{"directory", filepath.Join(dir, "new-"+sampleName), 0, [2]bool{true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.Chmod(made, c.mode); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, 0o555); err != nil {
				t.Fatal(err)
			}
			_, lines := child(t, "nobody", c.path)
			for i, denied := range c.denied {
				if !lines.Scan() || !strings.HasPrefix(lines.Text(), fmt.Sprintf("result %v ", denied)) {
					t.Fatalf("read only %v: %q", i == 1, lines.Text())
				}
				if denied && !strings.Contains(lines.Text(), sampleName) {
					t.Errorf("error does not name the file: %q", lines.Text())
				}
			}
		})
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// A database that was opened by a relative name stays where it is when the
// process goes to another directory: so does its log.
func TestTheWorkingDirectoryMayChange(t *testing.T) {
	ctx, home, elsewhere := context.Background(), t.TempDir(), t.TempDir()
	t.Chdir(home)
	d := must(db.Open(ctx, sampleName, nil))(t)
	t.Chdir(elsewhere)
	ns := must(d.Namespace(ctx, "main"))(t)
	if err := ns.Set(ctx, "x", 1); err != nil {
		t.Fatal(err)
	}
	must(ns.Save(ctx))(t)
	if left := must(os.ReadDir(elsewhere))(t); len(left) != 0 {
		t.Errorf("%s is made in the new directory", left[0].Name())
	}
	if _, err := os.Stat(filepath.Join(home, sampleName+".wal")); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if left := must(os.ReadDir(home))(t); len(left) != 1 || left[0].Name() != sampleName {
		t.Errorf("left after Close: %v", left)
	}
}
