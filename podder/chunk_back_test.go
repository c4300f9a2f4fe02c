package podder

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// matchBytes are bytes to be matched, as those of a string are.
type matchBytes struct {
	mem   []byte
	sizes chunkSizes
}

func (b *matchBytes) units() int { return len(b.mem) }

func (b *matchBytes) hash(from, to int) hash128 {
	h := xxh3.Hash128(b.mem[from:to])
	return hash128{h.Hi, h.Lo}
}

func (b *matchBytes) cut(from int) (int, hash128) {
	to := from + b.sizes.cutFlat(b.mem[from:], 1)
	return to, b.hash(from, to)
}

func (b *matchBytes) fits(from, to int) bool { return to-from <= b.sizes.most }

func (b *matchBytes) bytes(from, to int) (int, chunkSizes) { return to - from, b.sizes }

// match returns the list of mem after one with the chunks of was, which is another one's unless
// own, and how many bytes of it are new. The pieces must be mem.
func match(t *testing.T, mem []byte, sizes chunkSizes, was *chunkList, own bool) (list *chunkList, fresh int) {
	t.Helper()
	b := &matchBytes{mem, sizes}
	m := &chunkMatcher{contents: b}
	var pieces []chunkPiece
	if own {
		m.own = was
	} else {
		m.known = chunkTable{}
		m.known.add(was)
		m.emit = func(p *chunkPiece) error {
			pieces = append(pieces, *p)
			return nil
		}
	}
	pieces = append(m.run(), pieces...)
	list, at := &chunkList{}, 0
	for _, p := range pieces {
		if p.from != at || p.to <= p.from || p.hash != b.hash(p.from, p.to) {
			t.Fatalf("piece %+v behind one that ends at %d", p, at)
		}
		at = p.to
		if p.is.list == nil {
			fresh += p.to - p.from
		} else if p.is.list.chunks[p.is.index].hash != p.hash {
			t.Fatalf("piece %+v is not the chunk that it is said to be", p)
		}
		list.chunks = append(list.chunks, podChunk{units: uint64(p.to - p.from), hash: p.hash})
	}
	if at != len(mem) {
		t.Fatalf("pieces end at %d of %d", at, len(mem))
	}
	return list, fresh
}

// atMost returns where the chunks begin that were cut only because they became too large, with
// another one behind them.
func (c *chunkList) atMost(most int) (starts []int) {
	at := 0
	for i, x := range c.chunks {
		if int(x.units) == most && i < len(c.chunks)-2 {
			starts = append(starts, at)
		}
		at += int(x.units)
	}
	return starts
}

// What comes before a chunk that was cut for its size leaves the chunk behind it alone; so does what
// goes there.
func TestInsertBeforeAChunkWithoutAnEndLeavesTheNextOne(t *testing.T) {
	sizes := sizesFor(256, 0)
	mem := []byte(randomText(rand.New(rand.NewPCG(5, 8)), 60_000))
	was, _ := match(t, mem, sizes, &chunkList{}, false)
	starts := was.atMost(sizes.most)
	if len(starts) < 3 {
		t.Fatalf("%d chunks were cut for their size", len(starts))
	}
	for _, own := range []bool{false, true} {
		for _, at := range starts[1:] {
			for _, more := range []string{"X", "some more", ""} {
				now := slices.Concat(mem[:at], []byte(more), mem[at:])
				if more == "" {
					now = slices.Delete(slices.Clone(mem), at, at+1)
				}
				if _, fresh := match(t, now, sizes, was, own); fresh > sizes.most+len(more) {
					t.Errorf("own list: %v, %q at %d: %d bytes are new, a chunk has %d at most", own, more, at, fresh, sizes.most)
				}
			}
		}
	}
}

// Bytes that come at one place again and again, or anywhere, leave chunks that are
// neither too large nor small and many, and little new each time.
func TestInsertsAgainAndAgainKeepTheSizesOfChunks(t *testing.T) {
	sizes := sizesFor(256, 0)
	for seed := range uint64(6) {
		r := rand.New(rand.NewPCG(seed, 9))
		mem := []byte(randomText(r, 20_000))
		list, _ := match(t, mem, sizes, &chunkList{}, false)
		starts := list.atMost(sizes.most)
		place, total := starts[len(starts)/2], 0
		for k := range 1_000 {
			at := place
			switch seed % 3 {
			case 1:
				at += k // each behind the one before
			case 2:
				at = r.IntN(len(mem) + 1)
			}
			mem = slices.Insert(mem, at, randomText(r, 1)[0])
			var fresh int
			list, fresh = match(t, mem, sizes, list, seed%2 == 0)
			total += fresh
			small := 0
			for i, c := range list.chunks {
				if int(c.units) > sizes.loose() {
					t.Fatalf("seed %d, insert %d: chunk %d has %d bytes", seed, k, i, c.units)
				}
				if int(c.units) < sizes.least/2 {
					small++
				}
			}
			if small > 1 || len(list.chunks) > len(mem)/sizes.least+1 {
				t.Fatalf("seed %d, insert %d: %d chunks, %d of them small, for %d bytes", seed, k, len(list.chunks), small, len(mem))
			}
		}
		if mean := total / 1_000; mean > 3*sizes.most/2 {
			t.Errorf("seed %d: an insert makes %d bytes new, a chunk has %d at most", seed, mean, sizes.most)
		}
	}
}

// Whatever is changed, the pieces are what is there, and the same each time.
func TestMatchedPiecesAreTheContents(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 10))
		sizes := sizesFor(32<<r.IntN(3), 0)
		mem := []byte(randomText(r, 4_000+r.IntN(20_000)))
		list, _ := match(t, mem, sizes, &chunkList{}, false)
		for range 30 {
			for range 1 + r.IntN(4) {
				at := r.IntN(len(mem))
				if starts := list.atMost(sizes.most); len(starts) > 0 && r.IntN(2) == 0 {
					at = min(starts[r.IntN(len(starts))], len(mem)-1)
				}
				to := min(at+r.IntN(1+r.IntN(2_000)), len(mem))
				switch r.IntN(4) {
				case 0:
					mem = slices.Delete(mem, at, to)
				case 1: // a part moves, or is there twice
					mem = slices.Insert(mem, r.IntN(len(mem)+1), slices.Clone(mem[at:to])...)
				case 2:
					mem[at] ^= 1
				default:
					mem = slices.Insert(mem, at, []byte(randomText(r, 1+r.IntN(20)))...)
				}
				if len(mem) < 1_000 {
					mem = append(mem, randomText(r, 9_000)...)
				}
			}
			own := r.IntN(2) == 0
			one, _ := match(t, mem, sizes, list, own)
			two, _ := match(t, slices.Clone(mem), sizes, list, own)
			if !reflect.DeepEqual(one, two) {
				t.Fatalf("seed %d: equal contents gave different lists", seed)
			}
			list = one
		}
	}
}

// The same in a graph: pointers, in new memory and in place.
func TestInsertAtAChunkWithoutAnEndWritesOneChunk(t *testing.T) {
	for _, inPlace := range []bool{false, true} {
		s := newFakeStore()
		cfg := s.config()
		cfg.TargetBytes = 512
		g := mustGraph(t, cfg)
		leaves := make([]*chunkLeaf, 20_000, 20_100)
		for i := range leaves {
			leaves[i] = &chunkLeaf{N: i}
		}
		if !inPlace {
			leaves = slices.Clip(leaves)
		}
		mustSave(t, g, s, "x", &leaves)
		units := listOf(t, g, s, unsafe.Pointer(&leaves[0]))
		longest := slices.Index(units[:len(units)-2], slices.Max(units[:len(units)-2]))
		at := 0
		for _, n := range units[:longest] {
			at += int(n)
		}
		leaves = slices.Insert(leaves, at, leaves[7])
		tx := mustSave(t, g, s, "x", &leaves)
		if n := tx.chunks(); n != 1 {
			t.Errorf("in place %v: an insert before a chunk of %d wrote %d chunks, %d bytes", inPlace, units[longest], n, tx.bytes)
		}
		mustStayQuiet(t, g, s, "x", &leaves)
		_, vs := reload(t, s, cfg, "x", &leaves)
		if err := isomorphic(reflect.ValueOf(&leaves), vs[0]); err != nil {
			t.Error(err)
		}
	}
}

// chunks counts the pods of a transaction that are part of an array.
func (t *fakeTx) chunks() (n int) {
	for _, id := range t.changes {
		if p := t.s.pods[id]; len(p.Slots) == 1 && p.Slots[0].Kind == pod.SlotArray {
			n++
		}
	}
	return n
}

// A first save hands over each chunk while it is encoded, as nothing is known that could
// shorten it.
func TestChunksOfWhatIsNewDoNotWait(t *testing.T) {
	b := &matchBytes{bytes.Repeat([]byte("0123456789"), 3_000), sizesFor(256, 0)}
	handed, last := 0, 0
	m := &chunkMatcher{contents: b, known: chunkTable{}}
	m.emit = func(p *chunkPiece) error {
		if p.to <= last || handed != p.from {
			t.Errorf("piece %+v behind %d", p, handed)
		}
		handed, last = p.to, p.to
		if len(m.held) != 1 {
			t.Errorf("%d pieces waited", len(m.held))
		}
		return nil
	}
	m.run()
	if handed != len(b.mem) {
		t.Errorf("%d of %d bytes were handed over", handed, len(b.mem))
	}
}
