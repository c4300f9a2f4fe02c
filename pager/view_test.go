package pager

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"
)

func TestAViewNeverChangesAndItsPagesAreNotReused(t *testing.T) {
	r := seeded(t, 21)
	p := mustOpen(t, testOptions(newFS(t), 4096))
	type pinned struct {
		v *View
		m *model
	}
	var views []pinned
	m := newModel()
	for range 80 {
		b, err := p.Begin()
		must(t, err)
		must(t, m.change(b, r, 300, 60))
		must(t, b.Commit(context.Background(), 9, false))
		if r.IntN(3) == 0 {
			views = append(views, pinned{p.View(), m.clone()})
		}
		for i := range views {
			must(t, views[i].m.compareView(views[i].v))
		}
		if len(views) > 6 {
			i := r.IntN(len(views))
			views[i].v.Close()
			views = append(views[:i], views[i+1:]...)
		}
	}
	if n := p.Stats().Views; n != len(views) {
		t.Errorf("%d views counted, %d open", n, len(views))
	}
	for _, x := range views {
		x.v.Close()
	}
	b, err := p.Begin()
	must(t, err)
	b.Abort()
	if len(p.live) != 1 || len(p.pending) > 1 {
		t.Errorf("%d roots and %d freed sets are kept without views", len(p.live), len(p.pending))
	}
	must(t, m.verify(p))
	must(t, p.Close(true))
}

// Steady overwriting of the same keys must not make the file grow for ever.
func TestSpaceIsReused(t *testing.T) {
	r := seeded(t, 22)
	p := mustOpen(t, testOptions(newFS(t), 4096))
	defer p.Close(false)
	var places []Place
	var early uint64
	for round := range 200 {
		b, err := p.Begin()
		must(t, err)
		for range 50 {
			k := binary.BigEndian.AppendUint32(nil, uint32(r.IntN(500)))
			must(t, b.Put(k, randomBytes(r, 100)))
			pl, err := b.Record(randomBytes(r, 500))
			must(t, err)
			places = append(places, pl)
		}
		for len(places) > 300 {
			must(t, b.FreeRecord(places[0]))
			places = places[1:]
		}
		must(t, b.Commit(context.Background(), 9, false))
		if round == 50 {
			early = p.Stats().FileBytes
		}
	}
	if late := p.Stats().FileBytes; late > early+early/4 {
		t.Errorf("the file grew from %d to %d bytes", early, late)
	}
}

// Every batch writes one number under all keys: a reader that sees two numbers
// saw half a batch.
func TestReadersSeeWholeBatchesWhileOneIsWritten(t *testing.T) {
	const keys, rounds = 300, 60
	p := mustOpen(t, testOptions(newFS(t), 4096))
	put := func(n uint64) {
		b, err := p.Begin()
		must(t, err)
		for k := range uint64(keys) {
			must(t, b.Put(binary.BigEndian.AppendUint64(nil, k), binary.BigEndian.AppendUint64(make([]byte, 50), n)))
		}
		must(t, b.Commit(context.Background(), 9, false))
	}
	put(0)
	var wg sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for {
				select {
				case <-stop:
					return
				default:
				}
				v := p.View()
				got, ok, err := v.Get(binary.BigEndian.AppendUint64(nil, r.Uint64N(keys)))
				if err != nil || !ok {
					t.Errorf("Get: %v %v", ok, err)
					return
				}
				n := binary.BigEndian.Uint64(got[50:])
				seen := 0
				for c := v.Seek(nil); c.Valid(); c.Next() {
					if binary.BigEndian.Uint64(c.Value()[50:]) != n {
						t.Errorf("two batches in one view")
						return
					}
					seen++
				}
				if seen != keys {
					t.Errorf("%d keys", seen)
					return
				}
				v.Close()
			}
		}()
	}
	for n := range uint64(rounds) {
		put(n + 1)
		if n%20 == 0 {
			if _, err := p.Check(context.Background(), nil); err != nil {
				t.Error(err)
			}
			p.Stats()
			p.State()
		}
	}
	close(stop)
	wg.Wait()
	must(t, p.Close(true))
}
