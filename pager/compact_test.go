package pager

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// pack moves what lies high in a batch, records too.
func (m *model) pack(b *Batch, p *Pager) error {
	cut, err := p.PackedPages()
	if err != nil {
		return err
	}
	b.Fence(cut)
	v := p.View()
	defer v.Close()
	places := slices.SortedFunc(maps.Keys(m.records), func(a, b Place) int { return int(int64(a.Off - b.Off)) })
	for _, pl := range places {
		if (pl.Off+uint64(pl.Len)-1)/uint64(p.pageSize) < cut {
			continue
		}
		data := m.records[pl]
		moved, err := b.Record(data)
		if err != nil {
			return err
		}
		if err := b.FreeRecord(pl); err != nil {
			return err
		}
		delete(m.records, pl)
		m.records[moved] = data
	}
	return b.MoveTree(context.Background(), cut)
}

func TestPackedFilesShrink(t *testing.T) {
	for _, pageSize := range []int{4096, 8192} {
		r := seeded(t, 51)
		o := testOptions(newFS(t), pageSize)
		p := mustOpen(t, o)
		p.openedBytes = 256 << 10 // branches are spilled while they are moved
		m := newModel()
		commit := func(do func(b *Batch) error) {
			t.Helper()
			b, err := p.Begin()
			must(t, err)
			must(t, do(b))
			must(t, b.Commit(context.Background(), 9, false))
			must(t, m.verify(p))
		}
		for range 6 {
			commit(func(b *Batch) error { return m.change(b, r, 20000, 4000) })
		}
		commit(func(b *Batch) error { // nine of ten go
			for i, k := range m.keys() {
				if i%10 != 0 {
					must(t, b.Delete([]byte(k)))
					delete(m.tree, k)
				}
			}
			for i, pl := range slices.SortedFunc(maps.Keys(m.records), func(a, b Place) int { return int(int64(a.Off - b.Off)) }) {
				if i%10 != 0 {
					must(t, b.FreeRecord(pl))
					delete(m.records, pl)
				}
			}
			return nil
		})
		before := p.Stats()
		for range 4 {
			commit(func(b *Batch) error { return m.pack(b, p) })
			must(t, p.Shrink(context.Background()))
			must(t, m.verify(p))
		}
		after := p.Stats()
		need := after.TreePages + after.RecordPages + firstPage(pageSize)
		t.Logf("%d KiB, packed %d KiB, in use %d KiB", before.FileBytes>>10, after.FileBytes>>10, need*uint64(pageSize)>>10)
		if limit := need*uint64(pageSize)*5/4 + 64<<10; after.FileBytes > limit {
			t.Errorf("%d bytes are left where %d are in use; before it were %d", after.FileBytes, need*uint64(pageSize), before.FileBytes)
		}
		must(t, p.Close(true))
		p = mustOpen(t, o)
		must(t, m.verify(p))
		must(t, p.Close(true))
	}
}

// One batch and one Shrink are enough where nothing pins: the older meta gets
// the newest root.
func TestShrinkCutsWhatOnlyTheOlderMetaNeeds(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 4096))
	commit := func(do func(b *Batch) error) {
		t.Helper()
		b, err := p.Begin()
		must(t, err)
		must(t, do(b))
		must(t, b.Commit(context.Background(), 9, false))
	}
	var pl Place
	commit(func(b *Batch) (err error) {
		pl, err = b.Record(make([]byte, 5<<20))
		return err
	})
	commit(func(b *Batch) error { return dberr.Join(b.FreeRecord(pl), b.Put([]byte("k"), nil)) })
	commit(func(b *Batch) error { return b.Put([]byte("k"), []byte("high")) }) // the record is held
	v := p.View()
	commit(func(b *Batch) error { return b.MoveTree(context.Background(), 1000) })
	must(t, p.Shrink(context.Background()))
	if size := p.Stats().FileBytes; size < 5<<20 {
		t.Fatalf("cut to %d bytes under a View", size)
	}
	p.cache = newPageCache(0, 4096)
	if _, ok, err := v.Get([]byte("k")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	v.Close()
	must(t, p.Shrink(context.Background()))
	if size := p.Stats().FileBytes; size > 64<<10 {
		t.Errorf("%d bytes are left", size)
	}
	must(t, (&model{tree: map[string][]byte{"k": []byte("high")}}).verify(p))
	must(t, p.Close(true))
}

// Frames of chunks that do not change do not keep the file long.
func TestMovingTheTreeTakesTheSpaceFramesAlong(t *testing.T) {
	const pageSize = 4096
	p := mustOpen(t, testOptions(newFS(t), pageSize))
	var places [4]Place
	commit := func(do func(b *Batch) error) {
		t.Helper()
		b, err := p.Begin()
		must(t, err)
		must(t, do(b))
		must(t, b.Commit(context.Background(), 9, false))
	}
	chunk := make([]byte, chunkPages*pageSize)
	commit(func(b *Batch) (err error) {
		for i, n := range []int{len(chunk) - 8*pageSize, len(chunk), 8 * pageSize} {
			if places[i], err = b.Record(chunk[:n]); err != nil {
				return err
			}
		}
		return nil
	})
	if no := p.space.chunks[1].place.Off / pageSize; no < 2*chunkPages {
		t.Fatalf("the frame of chunk 1 lies in page %d: the test tests nothing", no)
	}
	commit(func(b *Batch) error { return b.FreeRecord(places[0]) })
	for range 3 {
		commit(func(b *Batch) (err error) {
			b.Fence(2*chunkPages - 8)
			if err := b.FreeRecord(places[2]); err != nil {
				return err
			}
			if places[2], err = b.Record(chunk[:pageSize]); err != nil {
				return err
			}
			return b.MoveTree(context.Background(), 2*chunkPages-8)
		})
	}
	must(t, p.Shrink(context.Background()))
	if end := p.State().PageSize; p.current.Load().pages > 2*chunkPages {
		t.Errorf("pages of %d bytes are used up to %d", end, p.current.Load().pages)
	}
	must(t, p.Close(true))
}

// Shrinking cuts nothing that a View, the older meta or an extent needs, while
// extents are allocated above the cut at the same time.
func TestTruncationUnderAnAcknowledgedExtent(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	p := mustOpen(t, o)
	must(t, p.MarkUnclean(context.Background()))
	r := seeded(t, 52)
	m := newModel()
	b, err := p.Begin()
	must(t, err)
	must(t, m.change(b, r, 4000, 3000))
	must(t, b.Commit(context.Background(), 9, false))
	b, err = p.Begin()
	must(t, err)
	for k := range m.tree {
		must(t, b.Delete([]byte(k)))
	}
	clear(m.tree)
	must(t, b.Commit(context.Background(), 10, false))

	var mu sync.Mutex
	log := map[Place][]byte{}
	stop := make(chan struct{})
	var writers sync.WaitGroup
	for seed := range uint64(3) {
		writers.Go(func() {
			r := seeded(t, 520+seed)
			for {
				select {
				case <-stop:
					return
				default:
				}
				e, err := p.NewExtent()
				if err != nil {
					t.Error(err)
					return
				}
				records := map[Place][]byte{}
				for range 1 + r.IntN(30) {
					data := randomBytes(r, 1+r.IntN(9000))
					pl, err := e.Record(data)
					if err != nil {
						t.Error(err)
						return
					}
					records[pl] = data
				}
				if err := e.Sync(context.Background()); err != nil {
					t.Error(err)
					return
				}
				if r.IntN(6) > 0 {
					e.Release()
					continue
				}
				mu.Lock()
				maps.Copy(log, records)
				mu.Unlock()
				e.Keep()
			}
		})
	}
	cuts := 0
	for i := range 60 {
		big, err := p.NewExtent()
		must(t, err)
		_, err = big.Record(make([]byte, 400_000)) // makes the file grow
		must(t, err)
		big.Release()
		size := p.Stats().FileBytes
		must(t, p.Shrink(context.Background()))
		if p.Stats().FileBytes < size {
			cuts++
		}
		mu.Lock()
		named := maps.Clone(log)
		image := mem.Crash(crashImages[i%len(crashImages)].kind, uint64(i))
		mu.Unlock()
		q := mustOpen(t, testOptions(image, 4096))
		for pl := range named {
			must(t, q.Named(pl))
		}
		must(t, sameRecords(q, named))
		must(t, m.verify(q))
		q.Close(false)
	}
	close(stop)
	writers.Wait()
	if cuts < 5 {
		t.Errorf("the file was cut only %d times", cuts)
	}
	b, err = p.Begin()
	must(t, err)
	for pl, data := range log {
		must(t, b.Adopt(pl))
		m.records[pl] = data
	}
	must(t, b.Commit(context.Background(), 11, true))
	must(t, m.verify(p))
	must(t, p.Close(true))
}

// The file keeps a steady size under steady work: it does not shrink and grow.
func TestSteadyWorkKeepsTheFileSteady(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	p := mustOpen(t, testOptions(fault, 4096))
	defer p.Close(false)
	r := seeded(t, 53)
	m := newModel()
	var places []Place
	changes := 0
	for round := range 300 {
		size := p.Stats().FileBytes
		must(t, p.Reserve(int64(r.IntN(200_000))))
		b, err := p.Begin()
		must(t, err)
		for range 60 {
			data := randomBytes(r, 1+r.IntN(9000))
			pl, err := b.Record(data)
			must(t, err)
			m.records[pl] = data
			places = append(places, pl)
		}
		for len(places) > 500 {
			i := r.IntN(len(places))
			must(t, b.FreeRecord(places[i]))
			delete(m.records, places[i])
			places = slices.Delete(places, i, i+1)
		}
		for range 100 {
			must(t, b.Put(fmt.Appendf(nil, "%04d", r.IntN(3000)), randomBytes(r, 50)))
		}
		must(t, b.Commit(context.Background(), 9, false))
		if round > 100 && p.Stats().FileBytes != size {
			changes++
		}
	}
	if changes > 10 {
		t.Errorf("the size changed in %d of 200 batches", changes)
	}
}

// What nobody uses any more goes with the next commits, in steps, and an unclean
// Close spares what the log names.
func TestCommitsCutAnUnusedEnd(t *testing.T) {
	o := testOptions(newFS(t), 4096)
	p := mustOpen(t, o)
	must(t, p.MarkUnclean(context.Background()))
	var pl Place
	for i := range 5 {
		b, err := p.Begin()
		must(t, err)
		switch i {
		case 0:
			pl, err = b.Record(make([]byte, 20<<20))
		case 1:
			err = b.FreeRecord(pl)
		}
		must(t, err)
		must(t, b.Put([]byte("k"), []byte{byte(i)}))
		must(t, b.Commit(context.Background(), firstLogPos, false))
	}
	if size := p.Stats().FileBytes; size > 1<<20 {
		t.Errorf("%d bytes are left", size)
	}
	m := &model{tree: map[string][]byte{"k": {4}}}
	must(t, m.verify(p))
	e, err := p.NewExtent()
	must(t, err)
	data := make([]byte, 300_000)
	pl, err = e.Record(data)
	must(t, err)
	must(t, e.Sync(context.Background()))
	e.Keep()
	must(t, p.Close(true))
	p = mustOpen(t, o)
	must(t, p.Named(pl))
	must(t, sameRecords(p, map[Place][]byte{pl: data}))
	must(t, p.Close(true))
	p = mustOpen(t, o)
	must(t, p.Close(true)) // nothing was named yet: nothing is cut
	p = mustOpen(t, o)
	must(t, sameRecords(p, map[Place][]byte{pl: data}))
	must(t, p.Close(false))
}
