package pager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// recover does what a replay does: it names all extents that the log names past
// state at, and finds them whole.
func (h *history) recover(p *Pager, at int) error {
	for i, records := range h.log[h.states[at].extents:] {
		for pl := range records {
			if err := p.Named(pl); err != nil {
				return fmt.Errorf("extent %d: %w", i, err)
			}
		}
		if err := sameRecords(p, records); err != nil {
			return fmt.Errorf("extent %d: %w", i, err)
		}
	}
	return nil
}

func sameRecords(p *Pager, records map[Place][]byte) error {
	v := p.View()
	defer v.Close()
	for pl, want := range records {
		if got, err := v.ReadRecord(pl); err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("record %s: %w", pl, err)
		}
	}
	return nil
}

// writeExtents writes some extents at the same time: some are kept, some are
// given up, and some are left as a process leaves them that dies.
func (h *history) writeExtents(p *Pager, r *rand.Rand) error {
	if r.IntN(2) == 0 {
		return nil
	}
	var all []*Extent
	var records []map[Place][]byte
	for range 1 + r.IntN(3) {
		e, err := p.NewExtent()
		if err != nil {
			return err
		}
		all, records = append(all, e), append(records, map[Place][]byte{})
	}
	for range r.IntN(20) {
		i := r.IntN(len(all))
		data := randomBytes(r, 1+r.IntN(3*p.pageSize))
		pl, err := all[i].Record(data)
		if err != nil {
			return err
		}
		records[i][pl] = data
	}
	for i, e := range all {
		switch r.IntN(4) {
		case 0:
			e.Release()
		case 1: // nothing
		default:
			if err := e.Sync(context.Background()); err != nil {
				return err
			}
			h.log = append(h.log, records[i])
			e.Keep()
		}
	}
	return nil
}

// adopt takes over all that the log names; some of it is not needed any more.
func (h *history) adopt(b *Batch, m *model, r *rand.Rand) error {
	for _, records := range h.log[m.extents:] {
		places := slices.SortedFunc(maps.Keys(records), func(a, b Place) int { return int(int64(a.Off - b.Off)) })
		skip := r.IntN(5)
		for i, pl := range places {
			if i > 0 && i == skip {
				continue
			}
			if err := b.Adopt(pl); err != nil {
				return err
			}
			if r.IntN(4) == 0 {
				if err := b.FreeRecord(pl); err != nil {
					return err
				}
				continue
			}
			m.records[pl] = records[pl]
		}
	}
	m.extents = len(h.log)
	return nil
}

// An extent that nobody named costs nothing: after a crash its pages are used
// again and the file does not grow.
func TestOrphanExtentsCostNothing(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	size := uint64(0)
	for round := range 20 {
		p := mustOpen(t, o)
		e, err := p.NewExtent()
		must(t, err)
		for range 50 {
			_, err := e.Record(make([]byte, 9000))
			must(t, err)
		}
		must(t, e.Sync(context.Background()))
		if n := p.Stats().FileBytes; round == 0 {
			size = n
		} else if n > size {
			t.Fatalf("round %d: %d bytes, %d after the first one", round, n, size)
		}
		must(t, newModel().verify(p))
		must(t, p.Close(false)) // as a crash leaves it
	}
}

// The extent's sync fails: nothing more is written, and a sync that waited for
// it does not pass for good.
func TestAFailedSyncOfAnExtentPoisons(t *testing.T) {
	mem := newFS(t)
	p := mustOpen(t, testOptions(mem, 4096))
	e, err := p.NewExtent()
	must(t, err)
	_, err = e.Record([]byte("record"))
	must(t, err)
	b, err := p.Begin()
	must(t, err)
	must(t, b.Put([]byte("a"), nil))
	mem.FailSync(1)
	if err := e.Sync(context.Background()); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := b.Commit(context.Background(), 9, false); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	if err := p.syncData(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatalf("a sync behind the failed one: %v", err)
	}
	if _, err := p.NewExtent(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	e.Release()
	must(t, p.Close(true))
	must(t, newModel().verify(mustOpen(t, testOptions(mem.Restart(), 4096))))
}

// Without a sync the log may name what never reached the disk: the checksum says
// so, or the file is too short.
func TestAnExtentLostBeforeItsSyncIsFound(t *testing.T) {
	lost := 0
	for seed := range uint64(30) {
		mem := newFS(t)
		p := mustOpen(t, testOptions(mem, 4096))
		e, err := p.NewExtent()
		must(t, err)
		data := bytes.Repeat([]byte("record"), 2000)
		pl, err := e.Record(data)
		must(t, err)
		must(t, e.Flush())
		e.Keep()
		must(t, sameRecords(p, map[Place][]byte{pl: data}))
		q := mustOpen(t, testOptions(mem.Crash(vfs.CrashMix, seed), 4096))
		err = q.Named(pl)
		if err == nil {
			err = sameRecords(q, map[Place][]byte{pl: data})
		}
		if err != nil {
			lost++
			if !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatal(err)
			}
		}
		q.Close(false)
		p.Close(false)
	}
	if lost < 10 {
		t.Errorf("lost only %d of 30", lost)
	}
}

// A full disk in an extent takes nothing from anybody, and what the file grew by
// is given back.
func TestAFullDiskInAnExtentChangesNothing(t *testing.T) {
	for kind := range 2 {
		fault := vfs.NewFault(newFS(t))
		p := mustOpen(t, testOptions(fault, 4096))
		must(t, p.Reserve(0))
		before := p.Stats().FileBytes
		e, err := p.NewExtent()
		must(t, err)
		if kind == 0 {
			fault.Space(500_000)
		} else {
			fault.ShortWrite(2, vfs.ErrDiskFull)
		}
		for range 1000 {
			if _, err = e.Record(make([]byte, 50_000)); err != nil {
				break
			}
		}
		if !errors.Is(err, dberr.ErrDiskFull) {
			t.Fatal(err)
		}
		if _, again := e.Record([]byte("x")); !errors.Is(again, dberr.ErrDiskFull) {
			t.Fatal(again)
		}
		e.Release()
		if n := p.Stats().FileBytes; n != before {
			t.Errorf("%d bytes, %d before", n, before)
		}
		fault.Heal()
		e, err = p.NewExtent()
		must(t, err)
		pl, err := e.Record(make([]byte, 50_000))
		must(t, err)
		must(t, e.Sync(context.Background()))
		e.Keep()
		e.Release()
		if n := p.alloc.reserved; n != 13 {
			t.Errorf("%d pages are reserved", n)
		}
		b, err := p.Begin()
		must(t, err)
		must(t, b.Adopt(pl))
		b.Abort()
		b, err = p.Begin()
		must(t, err)
		must(t, b.Adopt(pl))
		if err := b.Adopt(pl); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("adopted twice: %v", err)
		}
		b.Abort()
		b, err = p.Begin()
		must(t, err)
		must(t, b.Adopt(pl))
		must(t, b.Commit(context.Background(), 9, true))
		if n := p.alloc.reserved; n != 0 {
			t.Errorf("%d pages are reserved", n)
		}
		must(t, (&model{records: map[Place][]byte{pl: make([]byte, 50_000)}}).verify(p))
		must(t, p.Close(true))
	}
}

// Batches, extents and readers work at the same time, and every page has one
// taker.
func TestBatchesAndExtentsAtTheSameTime(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 4096))
	p.openedBytes = 128 << 10
	log := make(chan map[Place][]byte, 1000)
	var writers sync.WaitGroup
	for seed := range uint64(3) {
		r := seeded(t, 700+seed)
		writers.Go(func() {
			for range 60 {
				e, err := p.NewExtent()
				if err != nil {
					t.Error(err)
					return
				}
				records := map[Place][]byte{}
				for range 1 + r.IntN(20) {
					data := randomBytes(r, 1+r.IntN(12000))
					pl, err := e.Record(data)
					if err != nil {
						t.Error(err)
						return
					}
					records[pl] = data
				}
				if r.IntN(3) == 0 {
					e.Release()
					continue
				}
				if err := e.Sync(context.Background()); err != nil {
					t.Error(err)
					return
				}
				if err := sameRecords(p, records); err != nil {
					t.Error(err)
				}
				e.Keep()
				log <- records
			}
		})
	}
	r := seeded(t, 710)
	m := newModel()
	for round := range 40 {
		b, err := p.Begin()
		must(t, err)
		next := m.clone()
		var got []map[Place][]byte
		for len(log) > 0 {
			n := <-log
			got = append(got, n)
			for pl, data := range n {
				must(t, b.Adopt(pl))
				next.records[pl] = data
			}
		}
		must(t, next.change(b, r, 3000, 300))
		must(t, p.Reserve(int64(r.IntN(1<<20))))
		if round%5 == 4 {
			b.Abort()
			for _, n := range got {
				log <- n
			}
			continue
		}
		must(t, b.Commit(context.Background(), 9, false))
		m = next
		if err := m.verify(p); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		if round%3 == 0 {
			must(t, p.Shrink(context.Background()))
		}
	}
	writers.Wait()
	b, err := p.Begin()
	must(t, err)
	for len(log) > 0 {
		for pl, data := range <-log {
			must(t, b.Adopt(pl))
			m.records[pl] = data
		}
	}
	must(t, b.Commit(context.Background(), 9, true))
	must(t, m.verify(p))
	if n := p.Stats().ExtentPages; n != 0 {
		t.Errorf("%d pages of extents are left", n)
	}
	must(t, p.Close(true))
}
