package mvcc

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"testing"
)

// A writer that closes and opens again and again, with inspectors beside it all
// the time: whatever step of it they meet, they see a whole version.
func TestInspectBesideAWriterThatComesAndGoes(t *testing.T) {
	fsys := newFS(t)
	o := testOptions(fsys)
	s := mustOpen(t, o)
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // what is only in the log need not be shown yet
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	acked := atomic.Uint64{}
	acked.Store(v)
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	done := make(chan error, 1)
	go func() {
		done <- func() error {
			for i := range rounds {
				if err := s.Close(); err != nil {
					return err
				}
				if s, err = Open(bg, o); err != nil {
					return err
				}
				for range 1 + i%3 {
					tx, err := s.Begin(bg, MainBranch, acked.Load())
					if err != nil {
						return err
					}
					if err := tx.Put(bg, boxAgain(id, fmt.Sprint(acked.Load()))); err != nil {
						return err
					}
					v, err := tx.Commit(bg, CommitInfo{})
					if err != nil {
						return err
					}
					acked.Store(v)
				}
			}
			return s.Close()
		}()
	}()
	inspect := testOptions(fsys)
	inspect.Inspect = true
	before := v
	for looked := 0; ; looked++ {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			if looked == 0 {
				t.Error("nobody looked meanwhile")
			}
			return
		default:
		}
		in, err := Open(bg, inspect)
		if err != nil {
			t.Fatalf("Inspect: %v", err)
		}
		v := must(in.Head(bg, MainBranch))(t)
		if got := read(t, in, v, id); got != fmt.Sprint(v-1) || v < before {
			t.Fatalf("version %d, after %d, reads %q", v, before, got)
		}
		before = v
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A log that was cut or removed while a writer was about says nothing: the
// inspector looks again. Without a writer it is what it is.
func TestAnInspectorLooksAgainAfterACutLog(t *testing.T) {
	fsys := newFS(t)
	s := mustOpen(t, testOptions(fsys))
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "one"); err != nil {
		t.Fatal(err)
	}
	o := testOptions(fsys)
	o.Inspect = true
	in := mustOpen(t, o)
	defer in.Close()
	for _, cause := range []error{io.ErrUnexpectedEOF, fs.ErrNotExist} {
		var again *outrun
		if err := in.outrun(fmt.Errorf("000001.wal: %w", cause), true); !errors.As(err, &again) {
			t.Errorf("beside a writer: %v", err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o.ReadOnly = true
	alone := mustOpen(t, o)
	defer alone.Close()
	var again *outrun
	if err := alone.outrun(io.ErrUnexpectedEOF, false); errors.As(err, &again) {
		t.Errorf("without a writer: %v", err)
	}
	if err := alone.outrun(io.ErrUnexpectedEOF, true); !errors.As(err, &again) {
		t.Errorf("the writer has gone meanwhile: %v", err)
	}
}
