package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// named is what names exist: branches with their heads, and tags.
func named(t testing.TB, s *Store) string {
	t.Helper()
	return fmt.Sprint(must(s.Branches(bg))(t), must(s.Tags(bg))(t))
}

func TestATagKeepsItsVersion(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	for name, at := range map[string]Version{"v1": 4, "also v1": 4, "v2": 7} {
		if err := s.SetTag(bg, name, at); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetTag(bg, "v1", 4); err != nil {
		t.Fatalf("the same tag again: %v", err)
	}
	for what, c := range map[string]struct {
		err  error
		want error
	}{
		"taken":           {s.SetTag(bg, "v1", 5), dberr.ErrTagExists},
		"empty":           {s.SetTag(bg, "", 5), dberr.ErrInvalid},
		"zero byte":       {s.SetTag(bg, "\x00a", 5), dberr.ErrInvalid},
		"no version":      {s.SetTag(bg, "v3", 50), dberr.ErrNotFound},
		"delete unknown":  {s.DeleteTag(bg, "v9"), dberr.ErrNotFound},
		"unknown":         {second(s.TagVersion(bg, "v9")), dberr.ErrNotFound},
		"branch of zeros": {s.CreateBranch(bg, "\x00\x00\x00\x00\x02", 1), dberr.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			t.Errorf("%s: %v", what, c.err)
		}
	}
	prune := func(gone []Version) {
		t.Helper()
		dry := must(s.Prune(bg, PruneOptions{KeepLast: 1, DryRun: true}))(t)
		rep := must(s.Prune(bg, PruneOptions{KeepLast: 1}))(t)
		if dry.Versions != rep.Versions || rep.Versions != uint64(len(gone)) {
			t.Fatalf("dry run %d, retired %d, expected %v", dry.Versions, rep.Versions, gone)
		}
		for v := Version(1); v <= 10; v++ {
			sn, err := s.At(bg, v)
			if err == nil {
				sn.Close()
			}
			if keeps := v == 10 || must(s.Tags(bg))(t) != nil && slices.ContainsFunc(must(s.Tags(bg))(t), func(g Tag) bool { return g.Version == v }); keeps != (err == nil) {
				t.Fatalf("version %d: %v", v, err)
			}
		}
		if rep := verifyClean(t, s); rep.Tags != uint64(len(must(s.Tags(bg))(t))) {
			t.Fatalf("Verify saw %d tags", rep.Tags)
		}
	}
	prune([]Version{1, 2, 3, 5, 6, 8, 9})
	if err := s.DeleteTag(bg, "v1"); err != nil {
		t.Fatal(err)
	}
	prune(nil) // the other name keeps it
	if err := s.DeleteTag(bg, "also v1"); err != nil {
		t.Fatal(err)
	}
	var copied bytes.Buffer
	if _, err := s.Backup(bg, &copied, nil); err != nil {
		t.Fatal(err)
	}
	want := named(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := Restore(bg, fs, &copied, "dir/b.pod"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"dir/b.pod", o.Path} {
		o.Path = path
		s = mustOpen(t, o)
		if got := named(t, s); got != want {
			t.Fatalf("%s: %s, expected %s", path, got, want)
		}
		prune([]Version{4})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// A deleted branch has no name, its versions are there until Prune, what began on it
// goes on, and its name can be given again.
func TestADeletedBranch(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	id, at, err := commitBox(t, s, MainBranch, "x", 0, "main")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.CreateBranch(bg, "b", at); err != nil {
		t.Fatal(err)
	}
	var onB []Version
	for i := range 5 {
		_, v, err := commitBox(t, s, "b", "x", id, fmt.Sprint("b", i))
		if err != nil {
			t.Fatal(err)
		}
		onB = append(onB, v)
	}
	if err := s.CreateBranch(bg, "child", onB[1]); err != nil {
		t.Fatal(err)
	}
	open := begin(t, s, "b")
	if err := open.Put(bg, boxAgain(id, "late")); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBranch(bg, MainBranch); !errors.Is(err, dberr.ErrInvalid) {
		t.Fatalf("deleting main: %v", err)
	}
	if err := s.DeleteBranch(bg, "b"); err != nil {
		t.Fatal(err)
	}
	if err := s.DeleteBranch(bg, "b"); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("deleting it twice: %v", err)
	}
	if _, err := open.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("a commit on a deleted branch: %v", err)
	}
	if _, err := s.Head(bg, "b"); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("the head of a deleted branch: %v", err)
	}
	check := func() {
		t.Helper()
		if got := readBox(t, s, onB[4], "x"); got != "b4" {
			t.Fatalf("the newest version of the deleted branch has %q", got)
		}
		if got := readBox(t, s, must(s.Head(bg, "child"))(t), "x"); got != "b1" {
			t.Fatalf("the branch that began on it has %q", got)
		}
		verifyClean(t, s)
	}
	check()
	if err := s.CreateBranch(bg, "b", at); err != nil {
		t.Fatal(err)
	}
	if _, _, err := commitBox(t, s, "b", "x", id, "again"); err != nil {
		t.Fatal(err)
	}
	rep := must(s.Prune(bg, PruneOptions{KeepLast: 100}))(t)
	if rep.Versions != 3 { // not the newest, nor the one that child begins at
		t.Fatalf("%d versions of the deleted branch retired", rep.Versions)
	}
	check()
	want := named(t, s)
	for range 2 {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = mustOpen(t, o)
		check()
		if got := named(t, s); got != want {
			t.Fatalf("%s, expected %s", got, want)
		}
	}
	if err := s.DeleteBranch(bg, "b"); err != nil { // two lines of one name
		t.Fatal(err)
	}
	check()
	// Without commits, nothing is kept for a branch that was deleted.
	lines := len(s.lines.Load().byID)
	for _, name := range []string{"empty", "on it"} {
		from := must(s.Head(bg, MainBranch))(t)
		if name == "on it" {
			from = must(s.Head(bg, "empty"))(t)
		}
		if err := s.CreateBranch(bg, name, from); err != nil {
			t.Fatal(err)
		}
	}
	kept := begin(t, s, "empty")
	if err := kept.Put(bg, boxAgain(id, "late")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"empty", "on it"} {
		if err := s.DeleteBranch(bg, name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kept.Commit(bg, CommitInfo{}); !errors.Is(err, dberr.ErrNotFound) {
		t.Fatalf("a commit on a removed line: %v", err)
	}
	if n := len(s.lines.Load().byID); n != lines {
		t.Fatalf("%d lines, before %d", n, lines)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func readBox(t testing.TB, s *Store, v Version, name string) string {
	t.Helper()
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	root := must(sn.Root(bg, name))(t)
	return string(must(sn.Pods(bg, []pid{root}))(t)[0].Slots[0].Bytes)
}

// nameRun changes names of all kinds. After each step that worked known is what
// there is; a step that failed may have worked or not: open is what there is then.
func nameRun(t testing.TB, fs *vfs.MemFS) (known, open string, done bool) {
	o := testOptions(fs)
	s, err := Open(bg, o)
	if err != nil {
		return "", "", false
	}
	defer s.Close()
	known = named(t, s)
	commit := func(branch string) func() error {
		return func() error { _, _, err := commitBox(t, s, branch, branch, 0, "text"); return err }
	}
	// The state after each step, as of a run without a crash.
	steps := []func() error{
		commit(MainBranch), commit(MainBranch),
		func() error { return s.SetTag(bg, "one", 1) },
		func() error { return s.CreateBranch(bg, "b", 2) },
		commit("b"),
		func() error { return s.SetTag(bg, "b", 3) },
		func() error { return s.DeleteBranch(bg, "b") },
		func() error { return s.Checkpoint(bg) },
		func() error { return s.DeleteTag(bg, "one") },
		func() error { return s.CreateBranch(bg, "b", 1) },
		commit("b"),
		func() error { return s.DeleteBranch(bg, "b") },
		func() error { return s.SetTag(bg, "one", 2) },
		func() error { return s.CreateBranch(bg, "empty", 2) },
		func() error { return s.DeleteBranch(bg, "empty") },
		func() error { return s.CreateBranch(bg, "empty", 1) },
	}
	for i, step := range steps {
		if step() != nil {
			return known, nameStates[i], false
		}
		known = named(t, s)
		if len(nameStates) == i {
			nameStates = append(nameStates, known)
		}
	}
	return known, known, s.Close() == nil
}

var nameStates []string // after each step of nameRun

func TestCrashAtEveryOperationOfNames(t *testing.T) {
	nameStates = nil
	whole := newFS(t)
	if _, _, done := nameRun(t, whole); !done {
		t.Fatal("the run fails without a crash")
	}
	half := 0
	for n := 1; n <= whole.Ops(); n++ {
		fs := newFS(t)
		fs.CrashAt(n)
		known, open, _ := nameRun(t, fs)
		for i, kind := range []vfs.CrashKind{vfs.CrashLoseAll, vfs.CrashKeepAll, vfs.CrashNewestOnly, vfs.CrashMix} {
			o := testOptions(fs.Crash(kind, uint64(n*8+i)))
			s, err := Open(bg, o)
			if err != nil {
				if known == "" {
					continue // it was never created
				}
				t.Fatalf("operation %d, %v: %v", n, kind, err)
			}
			got := named(t, s)
			if got != known && got != open && known != "" {
				t.Fatalf("operation %d, %v: %s, expected %s or %s", n, kind, got, known, open)
			}
			if got == open && open != known {
				half++
			}
			verifyClean(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if half == 0 {
		t.Fatal("no image has a step that got no answer: the test proves nothing")
	}
}

// Tags and deleted branches come through a salvage, from the file and from its log.
func TestSalvageKeepsTagsAndDeletedBranches(t *testing.T) {
	for _, closed := range []bool{true, false} {
		fs := newFS(t)
		if _, _, done := nameRun(t, fs); !done {
			t.Fatal("the run fails")
		}
		s := mustOpen(t, testOptions(fs))
		for _, name := range []string{"two", "three"} {
			if err := errors.Join(s.SetTag(bg, name, 2), s.CreateBranch(bg, name, 3)); err != nil {
				t.Fatal(err)
			}
			if _, _, err := commitBox(t, s, name, name, 0, "text"); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.DeleteBranch(bg, "two"); err != nil {
			t.Fatal(err)
		}
		want := named(t, s)
		if closed {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			image := fs.Crash(vfs.CrashKeepAll, 1)
			s.Close()
			fs = image
		}
		rep, err := salvage(fs)
		if err != nil || !rep.Nothing() || rep.Tags != 4 {
			t.Fatalf("closed %v: %+v, %v", closed, rep, err)
		}
		s = openSalvaged(t, fs)
		if got := named(t, s); got != want {
			t.Fatalf("closed %v: %s, expected %s", closed, got, want)
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Whatever tagging and pruning do at once: a tag that was set has its version.
func TestTaggingBesidePrune(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 200 {
		if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, stop := context.WithCancel(bg)
	pruned := make(chan error, 1)
	go func() {
		var err error
		for keep := 150; keep > 0 && err == nil && ctx.Err() == nil; keep -= 10 {
			_, err = s.Prune(bg, PruneOptions{KeepLast: keep})
		}
		pruned <- err
	}()
	set := map[string]Version{}
	for v := Version(1); v < 200; v += 3 {
		switch err := s.SetTag(bg, fmt.Sprint(v), v); {
		case err == nil:
			set[fmt.Sprint(v)] = v
		case !errors.Is(err, dberr.ErrVersionGone):
			t.Fatal(err)
		}
	}
	stop()
	if err := <-pruned; err != nil {
		t.Fatal(err)
	}
	for name, v := range set {
		if got := readBox(t, s, v, "x"); got == "" {
			t.Fatalf("tag %s", name)
		}
	}
	verifyClean(t, s)
}
