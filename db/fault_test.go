package db_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// script is a short life of a database: created, saved, checkpointed, closed,
// opened, saved and closed. It goes on after errors that leave the handle
// usable and opens the database again after others.
type script struct {
	t     *testing.T
	fs    vfs.FS
	what  string // for messages
	next  func() vfs.FS
	d     *db.DB
	ns    *db.Namespace
	x     *room
	acked db.Version
	begun db.Version
	errs  []error
}

// step runs one call; it must return within a minute.
func (s *script) step(name string, f func() error) error {
	s.t.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err == nil {
			return nil
		}
		s.errs = append(s.errs, fmt.Errorf("%s: %w", name, err))
		if strings.ContainsAny(err.Error(), "\n\r") {
			s.t.Errorf("%s: %s: error of several lines: %q", s.what, name, err)
		}
		if !strings.Contains(err.Error(), sampleName) && !strings.Contains(err.Error(), "removing the log") {
			s.t.Errorf("%s: %s: error does not name the file: %v", s.what, name, err)
		}
		return err
	case <-time.After(time.Minute):
		stacks := make([]byte, 1<<20)
		s.t.Fatalf("%s: %s hangs\n%s", s.what, name, stacks[:runtime.Stack(stacks, true)])
		return nil
	}
}

func (s *script) open() error {
	ctx := context.Background()
	err := s.step("open", func() (err error) {
		s.d, err = db.Open(ctx, sampleName, sampleOptions(s.fs))
		return err
	})
	if err != nil {
		return err
	}
	head, err := s.d.Head(ctx, "main")
	if err != nil {
		return err
	}
	if head < s.acked || head > s.begun {
		s.t.Fatalf("%s: opened at %d, want from %d to %d", s.what, head, s.acked, s.begun)
	}
	s.acked, s.begun = head, head
	return s.step("load", func() (err error) {
		if s.ns, err = s.d.Namespace(ctx, "main"); err != nil {
			return err
		}
		if head == 0 {
			s.x = &room{}
			return s.ns.Set(ctx, "x", s.x)
		}
		s.x, err = db.Get[*room](ctx, s.ns, "x")
		return err
	})
}

func (s *script) save() error {
	if s.begun == s.acked {
		s.begun++
		change(s.x, int(s.begun))
	}
	return s.step("save", func() error {
		v, err := s.ns.Save(context.Background())
		if err != nil {
			return err
		}
		if v != s.begun {
			s.t.Errorf("%s: save made version %d, want %d", s.what, v, s.begun)
		}
		s.acked = v
		return nil
	})
}

func (s *script) checkpoint() error {
	return s.step("checkpoint", func() error { return s.d.Checkpoint(context.Background()) })
}

// readable checks every durable version through the open handle.
func (s *script) readable() {
	s.t.Helper()
	for v := db.Version(1); v <= s.acked; v++ {
		got, err := readVersion(context.Background(), s.d, v)
		if err != nil || !reflect.DeepEqual(got, wanted(v)) {
			s.t.Errorf("%s: after %v version %d is lost: %v", s.what, s.errs, v, err)
		}
	}
}

// run is the whole life. A failing call is tried once more where the handle is
// still good; otherwise the database is closed and opened again.
func (s *script) run() {
	s.t.Helper()
	steps := []func() error{s.open, s.save, s.save, s.checkpoint, s.save, s.close, s.open, s.save, s.save, s.checkpoint, s.save, s.close}
	for i := 0; i < len(steps); i++ {
		opening := i == 0 || i == 6
		err := steps[i]()
		if err == nil || i == 5 || i == 11 {
			continue
		}
		if s.d != nil && !opening {
			s.readable()
			if errors.Is(err, db.ErrDiskFull) && !errors.Is(err, db.ErrPoisoned) && !errors.Is(err, db.ErrCommitUnknown) {
				if err := steps[i](); err != nil {
					s.t.Fatalf("%s: %v; again: %v", s.what, s.errs[0], err)
				}
				continue
			}
		}
		_ = s.close()
		if s.next != nil {
			s.fs = s.next()
		}
		if err := s.open(); err != nil {
			s.t.Fatalf("%s: %v; opening afterwards: %v", s.what, s.errs[0], err)
		}
		if !opening {
			i-- // the step again
		}
	}
	if f, ok := s.fs.(*vfs.FaultFS); ok {
		f.Heal()
	}
	if o := look(sampleOptions(s.fs)); o.noticed() || o.wrong != "" || o.head != s.acked || s.acked < 6 {
		s.t.Fatalf("%s: %v; in the end, with %d acknowledged: %+v", s.what, s.errs, s.acked, o)
	}
}

func (s *script) close() error {
	if s.d == nil {
		return nil
	}
	d := s.d
	s.d = nil
	err := s.step("close", d.Close)
	if again := d.Close(); again != nil {
		s.t.Errorf("%s: second Close: %v", s.what, again)
	}
	return err
}

// operations counts what an undisturbed script does.
func operations(t *testing.T) *vfs.FaultFS {
	f := vfs.NewFault(vfs.NewMem())
	s := &script{t: t, fs: f, what: "undisturbed"}
	s.run()
	if len(s.errs) > 0 {
		t.Fatal(s.errs)
	}
	return f
}

// One operation finds the disk full. The call that needed it says ErrDiskFull,
// everything acknowledged stays readable, and the same call on the same handle
// works when space has returned. Only a sync that fails so poisons.
func TestAFullDiskAtAnyOperationIsUndone(t *testing.T) {
	ops, failed := operations(t).Ops(), 0
	for n := 1; n <= ops; n++ {
		f := vfs.NewFault(vfs.NewMem())
		f.FailOp(n, syscall.ENOSPC)
		s := &script{t: t, fs: f, what: fmt.Sprintf("operation %d finds the disk full", n)}
		s.run()
		if len(s.errs) > 0 {
			failed++
		}
		for _, err := range s.errs {
			if !errors.Is(err, db.ErrDiskFull) {
				t.Errorf("%s: %v does not match ErrDiskFull", s.what, err)
			}
			// A write in place over bytes that exist needs no space: there it is
			// no ordinary full disk either.
			if errors.Is(err, db.ErrPoisoned) && !strings.Contains(err.Error(), "sync") && !strings.Contains(err.Error(), "meta slot") {
				t.Errorf("%s: poisoned by a full disk: %v", s.what, err)
			}
		}
	}
	t.Logf("%d operations, %d of them fail a call", ops, failed)
	if failed < ops/4 {
		t.Error("hardly any call failed: the test proves nothing")
	}
}

// The disk is full from some byte on and stays so. What was acknowledged can
// be read in the open handle and by a reader that writes nothing; when space
// returns it is all there and saves work.
func TestADiskThatStaysFullLosesNothing(t *testing.T) {
	stopped := 0
	for space := int64(0); space < 420<<10; space += 5<<10 + 57 {
		f := vfs.NewFault(vfs.NewMem())
		f.Space(space)
		s := &script{t: t, fs: f, what: fmt.Sprintf("disk with %d bytes", space)}
		err := s.open()
		for i := 0; err == nil && i < 40; i++ {
			if err = s.save(); err == nil && i%4 == 3 {
				err = s.checkpoint()
			}
		}
		if err == nil {
			_ = s.close()
			continue
		}
		stopped++
		if !errors.Is(err, db.ErrDiskFull) || errors.Is(err, db.ErrPoisoned) {
			t.Fatalf("%s: %v", s.what, err)
		}
		if s.d != nil {
			s.readable()
			if err := s.save(); err != nil && !errors.Is(err, db.ErrDiskFull) {
				t.Fatalf("%s: saving again: %v", s.what, err)
			}
			if err := s.close(); err != nil && !errors.Is(err, db.ErrDiskFull) {
				t.Fatalf("%s: closing: %v", s.what, err)
			}
			o := sampleOptions(f)
			o.ReadOnly = true
			if r := look(o); r.noticed() || r.wrong != "" || r.head < s.acked {
				t.Fatalf("%s: reading only, with %d acknowledged: %+v", s.what, s.acked, r)
			}
		}
		if err := s.open(); err != nil && !errors.Is(err, db.ErrDiskFull) {
			t.Fatalf("%s: opening: %v", s.what, err)
		}
		_ = s.close()
		f.Heal()
		if err := s.open(); err != nil {
			t.Fatalf("%s: opening with space: %v", s.what, err)
		}
		for range 2 {
			if err := s.save(); err != nil {
				t.Fatalf("%s: saving with space: %v", s.what, err)
			}
		}
		if err := s.close(); err != nil {
			t.Fatalf("%s: closing with space: %v", s.what, err)
		}
		if r := look(sampleOptions(f)); r.noticed() || r.wrong != "" || r.head != s.acked {
			t.Fatalf("%s: in the end, with %d acknowledged: %+v", s.what, s.acked, r)
		}
	}
	t.Logf("%d disks were too small", stopped)
	if stopped < 20 {
		t.Error("hardly any disk was too small: the test proves nothing")
	}
}

// One operation of any kind fails with an I/O error.
func TestAnIOErrorAtAnyOperationLosesNothing(t *testing.T) {
	ops, tried, failed := operations(t).Ops(), 0, 0
	stride := 1
	if testing.Short() {
		stride = 5
	}
	for n := 1; n <= ops; n += stride {
		tried++
		m := vfs.NewMem()
		f := vfs.NewFault(m)
		f.FailOp(n, syscall.EIO)
		s := &script{t: t, fs: f, what: fmt.Sprintf("operation %d fails", n)}
		s.run()
		if len(s.errs) > 0 {
			failed++
		}
		for _, err := range s.errs {
			if !errors.Is(err, syscall.EIO) && !errors.Is(err, db.ErrPoisoned) {
				t.Errorf("%s: %v is not the I/O error", s.what, err)
			}
		}
	}
	t.Logf("%d of %d operations tried, %d of them fail a call", tried, ops, failed)
	if failed < tried/2 {
		t.Error("hardly any call failed: the test proves nothing")
	}
}

func TestShortWritesLoseNothing(t *testing.T) {
	writes := operations(t).Count(vfs.OpWrite)
	for n := 1; n <= writes; n++ {
		f := vfs.NewFault(vfs.NewMem())
		f.ShortWrite(n, nil)
		s := &script{t: t, fs: f, what: fmt.Sprintf("write %d is short", n)}
		s.run()
	}
}

// A sync fails, and what it should have made durable never becomes so by a
// later sync. The call says ErrCommitUnknown or ErrPoisoned, later writes
// ErrPoisoned; durable versions can be read, Close returns, and after any crash
// the commit is wholly there or wholly absent.
func TestAFailedSyncPoisonsAndTheCommitIsWhollyThereOrAbsent(t *testing.T) {
	whole := operations(t)
	syncs := whole.Count(vfs.OpSync) + whole.Count(vfs.OpSyncDir)
	unknown := 0
	for n := 1; n <= syncs; n++ {
		for kind := vfs.CrashKind(-1); kind <= vfs.CrashMix; kind++ {
			m := vfs.NewMem()
			m.FailSync(n)
			s := &script{t: t, fs: m, what: fmt.Sprintf("sync %d fails, then %v", n, kind)}
			s.next = func() vfs.FS {
				if kind < 0 {
					return m.Restart()
				}
				return m.Crash(kind, uint64(n))
			}
			s.run()
			for _, err := range s.errs {
				if !errors.Is(err, syscall.EIO) {
					t.Errorf("%s: %v is not the I/O error", s.what, err)
				}
				if errors.Is(err, db.ErrCommitUnknown) {
					unknown++
				}
			}
		}
	}
	t.Logf("%d syncs, %d commits of unknown outcome", syncs, unknown)
	if unknown == 0 {
		t.Error("no commit had an unknown outcome")
	}
}

func TestAfterAFailedSyncOfACommitNothingIsWritten(t *testing.T) {
	m := vfs.NewMem()
	s := &script{t: t, fs: m, what: "the second commit's sync fails"}
	if err := errors.Join(s.open(), s.save()); err != nil {
		t.Fatal(err)
	}
	m.FailSync(1)
	if err := s.save(); !errors.Is(err, db.ErrCommitUnknown) || db.Retryable(err) {
		t.Fatalf("the save whose sync fails: %v", err)
	}
	before := imageOf(t, m)
	if err := s.save(); !errors.Is(err, db.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("a later save: %v", err)
	}
	if err := s.checkpoint(); !errors.Is(err, db.ErrPoisoned) {
		t.Errorf("a later checkpoint: %v", err)
	}
	s.readable()
	if err := s.close(); !errors.Is(err, db.ErrPoisoned) {
		t.Errorf("Close: %v", err)
	}
	if !reflect.DeepEqual(imageOf(t, m), before) {
		t.Error("the files changed after the failed sync")
	}
}

// A sync of the log that fails with ENOSPC gives ErrCommitUnknown, which is
// never retryable, though it matches ErrDiskFull too.
func TestAnUnknownOutcomeIsNeverRetryable(t *testing.T) {
	f := vfs.NewFault(vfs.NewMem())
	s := &script{t: t, fs: f}
	if err := errors.Join(s.open(), s.save()); err != nil {
		t.Fatal(err)
	}
	f.FailKind(vfs.OpSync, syscall.ENOSPC, false)
	if err := s.save(); !errors.Is(err, db.ErrCommitUnknown) || db.Retryable(err) {
		t.Errorf("Retryable(%v) = %v", err, db.Retryable(err))
	}
	if err := s.save(); db.Retryable(err) {
		t.Errorf("Retryable(%v) = true", err)
	}
}

// A sync of the log that fails with ENOSPC (quota, thin volumes, NFS) is no full disk
// that can be undone: it poisons like any failed sync.
func TestAFullDiskAtASyncPoisons(t *testing.T) {
	f := vfs.NewFault(vfs.NewMem())
	s := &script{t: t, fs: f}
	if err := errors.Join(s.open(), s.save()); err != nil {
		t.Fatal(err)
	}
	f.FailKind(vfs.OpSync, syscall.ENOSPC, false)
	if err := s.save(); !errors.Is(err, db.ErrCommitUnknown) {
		t.Fatal(err)
	}
	before := imageOf(t, f)
	if err := s.checkpoint(); !errors.Is(err, db.ErrPoisoned) {
		t.Errorf("Checkpoint after a failed sync: %v", err)
	}
	_ = s.close()
	if !reflect.DeepEqual(imageOf(t, f), before) {
		t.Error("the files changed after the failed sync")
	}
	o := sampleOptions(f)
	o.ReadOnly = true
	a, b := look(o), look(sampleOptions(f))
	if a.head != b.head {
		t.Errorf("reading only shows version %d, opening for writing version %d", a.head, b.head)
	}
}
