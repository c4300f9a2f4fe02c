package mvcc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// A backup holds what was committed before the call, and is whole, while
// commits and checkpoints go on.
func TestBackupWhileCommitsGoOn(t *testing.T) {
	sc := script{boxes: 30, bytes: 9000}
	s := mustOpen(t, testOptions(newFS(t)))
	for range 45 {
		must(0, sc.commit(s))(t)
	}
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := sc.commit(s); err != nil {
				t.Error(err)
			}
			if n%4 == 0 {
				if err := s.Checkpoint(bg); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 6 {
		before := must(s.Head(bg, MainBranch))(t)
		var stream bytes.Buffer
		seen := false
		rep, err := s.Backup(bg, &stream, func(done, total int64) { seen = seen || s.Stats().Backups == 1 })
		if err != nil {
			t.Fatal(err)
		}
		if rep.Version < before || rep.Bytes != int64(stream.Len()) || rep.UsedBytes > rep.Bytes || !seen {
			t.Errorf("%+v after version %d, %d bytes, counted: %v", rep, before, stream.Len(), seen)
		}
		to := newFS(t)
		must(0, Restore(bg, to, &stream, "dir/a.pod"))(t)
		if names := must(to.List("dir"))(t); len(names) != 1 {
			t.Errorf("left %v", names)
		}
		r := mustOpen(t, testOptions(to))
		if head := must(r.Head(bg, MainBranch))(t); head != rep.Version {
			t.Errorf("head %d, reported %d", head, rep.Version)
		}
		for _, v := range []Version{rep.Version, before, 1} {
			if _, err := sc.check(r, v); err != nil {
				t.Error(err)
			}
		}
		verifyClean(t, r)
		must(0, sc.commit(r))(t)
		must(0, r.Close())(t)
	}
	close(stop)
	group.Wait()
	must(0, s.Close())(t)
}

// A damaged block ends the backup and the restore, with the place.
func TestBackupFindsDamagedBlocks(t *testing.T) {
	sc := script{boxes: 30, bytes: 9000}
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	for range 40 {
		must(0, sc.commit(s))(t)
	}
	var good bytes.Buffer
	must(s.Backup(bg, &good, nil))(t)
	f := must(mem.Open("dir/a.pod", vfs.ReadWrite))(t)
	size := must(f.Size())(t)
	found := 0
	for at := int64(8192); at < size; at += 4096 {
		b := make([]byte, 1)
		_, _ = f.ReadAt(b, at+99)
		b[0] ^= 1
		_, _ = f.WriteAt(b, at+99)
		var stream bytes.Buffer
		_, err := s.Backup(bg, &stream, nil)
		var where *dberr.CorruptError
		if err != nil && (!errors.As(err, &where) || where.Offset < 0 || where.Offset > at+4096) {
			t.Fatalf("byte %d: %v", at, err)
		}
		if err != nil {
			found++
		} else if stream.Len() != good.Len() {
			t.Fatalf("byte %d: %d bytes", at, stream.Len())
		}
		if int(at) < good.Len() {
			bad := bytes.Clone(good.Bytes())
			bad[at+99] ^= 1
			to := newFS(t)
			if err := Restore(bg, to, bytes.NewReader(bad), "dir/b.pod"); err != nil {
				if names := must(to.List("dir"))(t); !errors.Is(err, dberr.ErrCorrupt) || len(names) != 0 {
					t.Fatalf("restore with byte %d: %v, left %v", at, err, names)
				}
			}
		}
		b[0] ^= 1
		_, _ = f.WriteAt(b, at+99)
	}
	if found < 20 {
		t.Errorf("%d found", found)
	}
	must(0, f.Close())(t)
	must(0, s.Close())(t)
}

func TestBackupOfReadOnlyStores(t *testing.T) {
	sc := script{boxes: 5, bytes: 900}
	mem := newFS(t)
	o := testOptions(mem)
	s := mustOpen(t, o)
	for range 8 {
		must(0, sc.commit(s))(t)
	}
	logged := mem.Crash(vfs.CrashKeepAll, 1)
	must(0, s.Close())(t)
	if _, err := s.Backup(bg, io.Discard, nil); !errors.Is(err, dberr.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	for fs, want := range map[vfs.FS]error{mem: nil, logged: dberr.ErrReadOnly} {
		o := testOptions(fs)
		o.ReadOnly = true
		s := mustOpen(t, o)
		if rep, err := s.Backup(bg, io.Discard, nil); !errors.Is(err, want) || err == nil && rep.Version != 8 {
			t.Errorf("%+v, %v, expected %v", rep, err, want)
		}
		must(s.Verify(bg, VerifyOptions{}))(t) // freezes what the log holds
		if rep, err := s.Backup(bg, io.Discard, nil); !errors.Is(err, want) || err == nil && rep.Version != 8 {
			t.Errorf("after Verify: %+v, %v, expected %v", rep, err, want)
		}
		must(0, s.Close())(t)
	}
}

func TestRestoreBesideAnOldLogIsRefused(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	must(0, (script{boxes: 1, bytes: 9}).commit(s))(t)
	var stream bytes.Buffer
	must(s.Backup(bg, &stream, nil))(t)
	crashed := mem.Crash(vfs.CrashKeepAll, 1)
	must(0, s.Close())(t)
	must(0, crashed.Remove("dir/a.pod"))(t)
	if err := Restore(bg, crashed, &stream, "dir/a.pod"); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if _, err := crashed.Stat("dir/a.pod"); err == nil {
		t.Error("restored beside the log of another database")
	}
}

// closing is a writer that begins to close the store at its first Write, and is
// slow from then on.
type closing struct {
	s      *Store
	closed chan error
	writes int
}

func (c *closing) Write(b []byte) (int, error) {
	if c.writes++; c.writes == 1 {
		go func() { c.closed <- c.s.Close() }()
		<-c.s.life.Done()
	}
	time.Sleep(20 * time.Millisecond)
	return len(b), nil
}

// Close does not wait for the whole of a backup that is under way.
func TestCloseEndsABackup(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	for i := range 40 {
		if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint(i), 0, randomText(uint64(i), 1<<19)); err != nil {
			t.Fatal(err)
		}
	}
	w := &closing{s: s, closed: make(chan error, 1)}
	rep, err := s.Backup(bg, w, nil)
	if !errors.Is(err, dberr.ErrClosed) {
		t.Errorf("Backup wrote %d bytes in %d writes: %v", rep.Bytes, w.writes, err)
	}
	if err := <-w.closed; err != nil {
		t.Fatal(err)
	}
}
