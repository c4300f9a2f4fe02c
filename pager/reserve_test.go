package pager

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// plan is what a batch will write, and what must be reserved for it.
type plan struct {
	rows    map[string][]byte
	deletes []string
	records [][]byte
}

func (pl *plan) reserve(p *Pager) int64 {
	rows, bytes, records, longest := int64(len(pl.rows)+len(pl.deletes)), int64(0), int64(0), int64(0)
	for k, v := range pl.rows {
		bytes += int64(len(k) + len(v))
	}
	for _, data := range pl.records {
		records += int64(len(data))
		longest = max(longest, int64(len(data)))
	}
	return p.TreeBytes(rows, bytes) + records + longest
}

// A batch that was counted finds its room however full the disk is, in a file
// with holes of all sizes, and with extents that take what they get.
func TestABatchThatFitsTheReserveCannotHitAFullDisk(t *testing.T) {
	for seed := range uint64(2) {
		fault := vfs.NewFault(newFS(t))
		p := mustOpen(t, testOptions(fault, 4096))
		p.openedBytes = 128 << 10
		r := seeded(t, 60+seed)
		m := newModel()
		full := 0
		for round := range 40 {
			fault.Heal()
			pl := plan{rows: map[string][]byte{}}
			for range r.IntN(500) {
				pl.rows[string(randomKey(r, 20000))] = randomValue(r, 4096)
			}
			for range r.IntN(300) {
				pl.deletes = append(pl.deletes, string(randomKey(r, 20000)))
			}
			for range r.IntN(80) {
				pl.records = append(pl.records, randomBytes(r, 1+r.IntN(1+r.IntN(40000))))
			}
			must(t, p.Reserve(pl.reserve(p)))
			fault.Space(0)
			var taken []*Extent
			for {
				e, err := p.NewExtent()
				must(t, err)
				taken = append(taken, e)
				if _, err = e.Record(make([]byte, 20000)); errors.Is(err, dberr.ErrDiskFull) {
					full++
					break
				}
				must(t, err)
			}
			b, err := p.Begin()
			must(t, err)
			for k, v := range pl.rows {
				must(t, b.Put([]byte(k), v))
				m.tree[k] = v
			}
			for _, k := range pl.deletes {
				must(t, b.Delete([]byte(k)))
				delete(m.tree, k)
			}
			for _, data := range pl.records {
				at, err := b.Record(data)
				must(t, err)
				m.records[at] = data
			}
			for at := range m.records { // holes
				if r.IntN(3) == 0 {
					must(t, b.FreeRecord(at))
					delete(m.records, at)
				}
			}
			if err := b.Commit(context.Background(), uint64(round), false); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			if round%10 == 0 {
				must(t, m.verify(p))
			}
			for _, e := range taken {
				e.Release()
			}
		}
		if full < 40 {
			t.Errorf("the disk was full only %d times", full)
		}
		fault.Heal()
		must(t, m.verify(p))
		must(t, p.Close(true))
	}
}

func TestAReserveThatDoesNotFitIsRefused(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	p := mustOpen(t, testOptions(fault, 4096))
	defer p.Close(false)
	must(t, p.Reserve(100_000))
	fault.Space(50_000)
	if err := p.Reserve(10 << 20); !errors.Is(err, dberr.ErrDiskFull) {
		t.Fatal(err)
	}
	must(t, p.Reserve(100_000))
	e, err := p.NewExtent()
	must(t, err)
	if _, err := e.Record(make([]byte, 60_000)); !errors.Is(err, dberr.ErrDiskFull) {
		t.Fatalf("an extent took of the reserve: %v", err)
	}
	e.Release()
	b, err := p.Begin()
	must(t, err)
	for i := range 20 {
		must(t, b.Put(fmt.Appendf(nil, "%d", i), make([]byte, 1000)))
	}
	_, err = b.Record(make([]byte, 60_000))
	must(t, err)
	must(t, b.Commit(context.Background(), 9, false))
	fault.Heal()
	must(t, p.Reserve(10<<20))
}
