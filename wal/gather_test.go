package wal

import (
	"runtime"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// syncTell counts the syncs of files.
type syncTell struct {
	vfs.FS
	synced chan struct{}
}

func (s *syncTell) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := s.FS.Open(name, flag)
	return &syncTellFile{f, s.synced}, err
}

type syncTellFile struct {
	vfs.File
	synced chan struct{}
}

func (f *syncTellFile) SyncData() error {
	err := f.File.SyncData()
	f.synced <- struct{}{}
	return err
}

// Who was answered and does not run yet is part of the next sync, if only it
// submits before it says so.
func TestASyncWaitsForThoseWhoWereAnswered(t *testing.T) {
	fs := &syncTell{vfs.NewMem(), make(chan struct{}, 64)}
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	defer l.Close()
	first := make(chan error, 1)
	if err := l.Submit([][]byte{{1}}, func(_ LSN, err error) {
		l.Await()
		first <- err
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	for len(fs.synced) > 0 {
		<-fs.synced
	}
	both := make(chan error, 2)
	done := func(_ LSN, err error) { both <- err }
	if err := l.Submit([][]byte{{2}}, done); err != nil {
		t.Fatal(err)
	}
	for range 10_000 {
		runtime.Gosched()
	}
	if n := len(fs.synced); n != 0 {
		t.Fatalf("%d syncs before the awaited one was back", n)
	}
	if err := l.Submit([][]byte{{3}}, done); err != nil {
		t.Fatal(err)
	}
	l.Back()
	for range cap(both) {
		if err := <-both; err != nil {
			t.Fatal(err)
		}
	}
	if n := len(fs.synced); n != 1 {
		t.Errorf("%d syncs for two groups that waited together", n)
	}
}

func TestCloseWaitsForNobody(t *testing.T) {
	l, _, _ := mustOpen(t, testOptions(vfs.NewMem(), 1), 0)
	answered := make(chan error, 1)
	if err := l.Submit([][]byte{{1}}, func(_ LSN, err error) {
		l.Await() // and never back
		answered <- err
	}); err != nil {
		t.Fatal(err)
	}
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}
