package vfs

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
)

// The ways in which space shows that the size covers and no data reached.
const (
	fillZeros = iota
	fillGarbage
	fillStale
	numFills
)

// garbageOdds is how often a torn write spoils a sector as well.
const garbageOdds = 0.3

// tearing builds the remains of one file, sector by sector.
type tearing struct {
	f       *inode
	left    *content // grows to the greatest size first, cut by fill
	stopped bitset   // an older operation did not survive here, so no newer may
	written bitset   // some operation, or garbage, reached the sector
	last    int64    // size after the last operation of which something survived
}

// bitset has one bit for each sector.
type bitset []uint64

func (b bitset) has(i int64) bool { return b[i/64]&(1<<(i%64)) != 0 }
func (b bitset) set(i int64)      { b[i/64] |= 1 << (i % 64) }

func newTearing(f *inode) *tearing {
	end := max(f.cur.size, f.durable.size)
	for _, op := range f.pending {
		end = max(end, op.end, op.size)
	}
	words := end/SectorSize/64 + 1
	return &tearing{f: f, left: f.durable.clone(), stopped: make(bitset, words), written: make(bitset, words), last: f.durable.size}
}

// apply lets an operation survive in one sector.
func (t *tearing) apply(op *fileOp, sector int64) {
	from, to := max(op.off, sector*SectorSize), min(op.end, (sector+1)*SectorSize)
	if op.data != nil {
		t.left.writeAt(op.data[from-op.off:to-op.off], from)
	} else {
		t.left.zero(from, to)
	}
	t.written.set(sector)
}

// onlyNewest keeps the newest operation and in its sectors, which keep order,
// the older ones.
func (t *tearing) onlyNewest() {
	newest := t.f.pending[len(t.f.pending)-1]
	from, to := sectors(newest.off, newest.end)
	for i := range t.f.pending {
		op := &t.f.pending[i]
		for s := max(from, op.off) / SectorSize; s*SectorSize < min(to, op.end); s++ {
			t.apply(op, s)
		}
	}
}

// tear keeps, drops or tears operation i.
func (t *tearing) tear(i int, rng *rand.Rand, odds float64) {
	op := &t.f.pending[i]
	from, to := sectors(op.off, op.end)
	first, count := from/SectorSize, (to-from)/SectorSize
	spoilt := int64(-1)
	survives := func(int64) bool { return false }
	switch draw := rng.Float64(); {
	case draw < odds:
		survives = func(int64) bool { return true }
	case draw < odds+(1-odds)/2 || count == 0: // dropped
	default:
		survives = tornAt(count, rng)
		if op.data != nil && rng.Float64() < garbageOdds {
			spoilt = rng.Int64N(count)
		}
	}
	for k := range count {
		s := first + k
		switch {
		case t.stopped.has(s):
		case k == spoilt:
			t.left.writeAt(garbage(rng), s*SectorSize)
			t.written.set(s)
			t.stopped.set(s)
		case survives(k):
			t.apply(op, s)
			t.last = op.size
		default:
			t.stopped.set(s)
		}
	}
	if count == 0 && survives(0) {
		t.last = op.size
	}
}

// tornAt chooses a subset of sectors: a prefix, a suffix, or any.
func tornAt(count int64, rng *rand.Rand) func(int64) bool {
	cut := rng.Int64N(count + 1)
	switch rng.IntN(3) {
	case 0:
		return func(k int64) bool { return k < cut }
	case 1:
		return func(k int64) bool { return k >= cut }
	}
	return func(int64) bool { return rng.IntN(2) == 0 }
}

func garbage(rng *rand.Rand) []byte {
	sector := make([]byte, SectorSize)
	if rng.IntN(4) == 0 {
		return sector // a sector that reads as zeros is garbage, too
	}
	for i := 0; i < len(sector); i += 8 {
		binary.LittleEndian.PutUint64(sector[i:], rng.Uint64())
	}
	return sector
}

// drawSize chooses among the sizes since the last sync.
func (t *tearing) drawSize(rng *rand.Rand) int64 {
	switch sizes := t.sizes(); rng.IntN(4) {
	case 0:
		return sizes[len(sizes)-1]
	case 1:
		return sizes[rng.IntN(len(sizes))]
	}
	return t.sizeAfter(t.last)
}

// sizes returns the durable size and then all that operations changed it to.
func (t *tearing) sizes() []int64 {
	sizes := []int64{t.f.durable.size}
	for _, op := range t.f.pending {
		if op.resized {
			sizes = append(sizes, op.size)
		}
	}
	return sizes
}

// sizeAfter returns size if the file may have it; after a failed sync that was
// partly healed it may not, and then the newest size is taken.
func (t *tearing) sizeAfter(size int64) int64 {
	sizes := t.sizes()
	if slices.Contains(sizes, size) {
		return size
	}
	return sizes[len(sizes)-1]
}

// fill cuts the remains to size, and shows something in sectors behind the
// durable end that no operation reached.
func (t *tearing) fill(size int64, rng *rand.Rand, how int) {
	durable := t.f.durable.size
	t.left.truncate(max(size, t.left.size)) // room, then cut
	for s := durable / SectorSize; s*SectorSize < size && how != fillZeros; s++ {
		if t.written.has(s) {
			continue
		}
		sector := garbage(rng)
		if blocks := t.f.cur.size / SectorSize; how == fillStale && blocks > 0 {
			t.f.cur.readAt(sector, rng.Int64N(blocks)*SectorSize)
		}
		from := max(durable, s*SectorSize)
		t.left.writeAt(sector[from-s*SectorSize:], from)
	}
	t.left.truncate(size)
}
