package pager

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// earlyFS has files that note what they are told to write early.
type earlyFS struct {
	vfs.FS
	log *earlyLog
}

type earlyLog struct {
	moving       atomic.Int64 // bytes started and not waited for
	most         atomic.Int64
	starts, sync atomic.Int64
	err          atomic.Pointer[error] // of the next wait
	unsupported  atomic.Bool
}

func (f earlyFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	return earlyFile{file, f.log}, err
}

type earlyFile struct {
	vfs.File
	log *earlyLog
}

func (f earlyFile) StartWrite(_, n int64) error {
	if f.log.unsupported.Load() {
		return errors.ErrUnsupported
	}
	f.log.starts.Add(1)
	f.log.most.Store(max(f.log.most.Load(), f.log.moving.Add(n)))
	return nil
}

func (f earlyFile) AwaitWrite(_, n int64) error {
	f.log.moving.Add(-n)
	if err := f.log.err.Load(); err != nil {
		return *err
	}
	return nil
}

func (f earlyFile) SyncData() error {
	f.log.sync.Add(1)
	f.log.moving.Store(0)
	return f.File.SyncData()
}

// extentOf writes n records of 64 KiB into a new extent.
func extentOf(p *Pager, n int) (*Extent, error) {
	e, err := p.NewExtent()
	if err != nil {
		return nil, err
	}
	for range n {
		if _, err := e.Record(make([]byte, 64<<10)); err != nil {
			return e, err
		}
	}
	return e, nil
}

func openEarly(t *testing.T) (*Pager, *earlyLog) {
	log := &earlyLog{}
	fs := earlyFS{vfs.NewMem(), log}
	p, err := Open(context.Background(), Options{FS: fs, Path: "early.pod"})
	must(t, err)
	t.Cleanup(func() { p.Close(false) })
	return p, log
}

// The steps of an extent leave early, at most two of them at a time, and one sync
// makes all of them durable.
func TestAnExtentIsWrittenEarlyAndSyncedOnce(t *testing.T) {
	p, log := openEarly(t)
	grown := log.sync.Load()
	e, err := extentOf(p, 128) // 8 MiB
	must(t, err)
	defer e.Release()
	if starts, syncs := log.starts.Load(), log.sync.Load()-grown; starts < 4 || syncs > 0 && syncs >= starts {
		t.Errorf("%d steps begun early, %d syncs", starts, syncs)
	}
	if most := log.most.Load(); most > 4*pacedBytes {
		t.Errorf("%d bytes under way at a time", most)
	}
	before := log.sync.Load()
	must(t, e.Sync(context.Background()))
	if log.sync.Load() != before+1 {
		t.Errorf("%d syncs at the end", log.sync.Load()-before)
	}
}

// What a system says of an early write it says once: a failure poisons.
func TestAFailedEarlyWritePoisons(t *testing.T) {
	p, log := openEarly(t)
	broken := errors.New("broken medium")
	log.err.Store(&broken)
	e, err := extentOf(p, 128)
	if !errors.Is(err, dberr.ErrPoisoned) || !strings.Contains(err.Error(), "broken medium") {
		t.Fatalf("after a failed early write: %v", err)
	}
	log.err.Store(nil)
	if err := e.Sync(context.Background()); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a sync after it: %v", err)
	}
	e.Release()
}

// Where the system cannot write early each step ends with a sync.
func TestWithoutEarlyWritesStepsAreSynced(t *testing.T) {
	p, log := openEarly(t)
	log.unsupported.Store(true)
	before := log.sync.Load()
	e, err := extentOf(p, 128)
	must(t, err)
	defer e.Release()
	if n := log.sync.Load() - before; n < 4 {
		t.Errorf("%d syncs for 8 MiB", n)
	}
}
