package mvcc

import (
	"context"
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

func cancelledContext() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(bg)
	cancel()
	return ctx, cancel
}

// What cannot be read may be sound: it is no damage.
func TestVerifyEndsWithAnErrorOfTheDevice(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	o := testOptions(fault)
	o.MemoryBytes = -1
	s := mustOpen(t, o)
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, noise(t, 3000, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for n := range 12 {
		fault.FailOp(fault.Ops()+1+n, syscall.EIO)
		rep, err := s.Verify(bg, VerifyOptions{Deep: true})
		fault.Heal()
		if len(rep.Problems) > 0 {
			t.Fatalf("operation %d: problems %q", n, rep.Problems)
		}
		if err != nil {
			if failed++; !errors.Is(err, syscall.EIO) {
				t.Fatalf("operation %d: %v", n, err)
			}
		}
	}
	if failed == 0 {
		t.Fatal("no read failed: the test proves nothing")
	}
	verifyClean(t, s)
}

// Later versions of the pod, what it referred to and what refers to it are not
// listed because of it.
func TestUnreadablePodVersionIsListedOnce(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	texts := []string{noise(t, 600, 1), noise(t, 600, 2), noise(t, 600, 3)}
	long := noise(t, 2000, 4) // a shared body
	var a, b pod.ID
	commit := func(put func(tx *Tx) []*pod.Change) {
		t.Helper()
		tx := begin(t, s, MainBranch)
		for _, c := range put(tx) {
			if err := tx.Put(bg, c); err != nil {
				t.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
		if err := s.Checkpoint(bg); err != nil { // a block of its own
			t.Fatal(err)
		}
	}
	commit(func(tx *Tx) []*pod.Change {
		a, b = tx.NewPod(), tx.NewPod()
		return []*pod.Change{box(a, texts[0], pod.Ref{Pod: b}), box(b, long)}
	})
	commit(func(tx *Tx) []*pod.Change { // the one to be damaged, with a reference more and an export more
		c := boxAgain(a, texts[1], pod.Ref{Pod: b}, pod.Ref{Pod: a})
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte(noise(t, 300, 9))}})
		c.Exports = append(c.Exports, pod.Export{Slot: 1})
		return []*pod.Change{c}
	})
	commit(func(tx *Tx) []*pod.Change {
		return []*pod.Change{box(tx.NewPod(), long, pod.Ref{Pod: a}, pod.Ref{Pod: a, Slot: 1})}
	})
	if err := s.CreateBranch(bg, "b", 2); err != nil {
		t.Fatal(err)
	}
	commit(func(tx *Tx) []*pod.Change {
		c := boxAgain(a, texts[2], pod.Ref{Pod: b})
		c.Whole = true
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte(noise(t, 400, 10))}})
		c.Exports = append(c.Exports, pod.Export{Slot: 1})
		return []*pod.Change{c}
	})
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	f := must(fs.Open(o.Path, vfs.ReadWrite))(t)
	file := string(must(io.ReadAll(io.NewSectionReader(f, 0, must(f.Size())(t))))(t))
	at := strings.Index(file, texts[1][:100])
	if at < 0 || strings.Count(file, texts[1][:100]) != 1 {
		t.Fatal("the version is not in the file once")
	}
	if _, err := f.WriteAt([]byte{file[at] ^ 1}, int64(at)); err != nil {
		t.Fatal(err)
	}
	f.Close()
	s = mustOpen(t, o)
	defer s.Close()
	rep := must(s.Verify(bg, VerifyOptions{Deep: true}))(t)
	if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "version 2, pod 1, number 3") {
		t.Fatalf("problems:\n%s", strings.Join(rep.Problems, "\n"))
	}
}

// The shared body of a version that is not there has a user that cannot be
// counted, and the head resolves to what was reported before.
func TestMissingPodVersionIsListedOnceAndCounted(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	long := noise(t, 2000, 4)
	var ids []pod.ID
	for _, name := range []string{"x", "y"} {
		id, _, err := commitBox(t, s, MainBranch, name, 0, long)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := must(pager.Open(bg, pager.Options{FS: fs, Path: o.Path}))(t)
	b := must(p.Begin())(t)
	if err := b.Delete(versionKey(nil, ids[1], mainLine, 2)); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(bg, p.State().LogPos, true); err != nil {
		t.Fatal(err)
	}
	p.Close(true)
	s = mustOpen(t, o)
	defer s.Close()
	rep := must(s.Verify(bg, VerifyOptions{}))(t)
	if len(rep.Problems) != 2 || !strings.Contains(rep.Problems[0], "resolves to number 0") || !strings.Contains(rep.Problems[1], "the index has 1 pod versions") {
		t.Fatalf("problems: %q", rep.Problems)
	}
}

func TestCloseEndsVerify(t *testing.T) {
	fs, _ := damagedModel(t)
	s := mustOpen(t, testOptions(fs))
	closed := make(chan error, 1)
	calls := 0
	_, err := s.Verify(bg, VerifyOptions{Progress: func(_, _ uint64) {
		if calls++; calls > 1 {
			return
		}
		go func() { closed <- s.Close() }()
		<-s.life.Done()
	}})
	if !errors.Is(err, dberr.ErrClosed) || calls > 2 {
		t.Fatalf("Verify went on for %d steps, %v", calls, err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

// A branch that is made when Verify has begun is none of its business.
func TestStillViewHasNoLaterLines(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	v, _, err := s.stillView()
	if err != nil {
		t.Fatal(err)
	}
	defer v.close()
	_, version, err := commitBox(t, s, MainBranch, "x", 0, "a")
	if err == nil {
		err = s.CreateBranch(bg, "later", version)
	}
	if err != nil {
		t.Fatal(err)
	}
	if lines := v.lines(); len(lines) != 1 || lines[mainLine] == nil {
		t.Fatalf("%d lines", len(lines))
	}
}
