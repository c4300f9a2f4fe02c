package mvcc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

func randomSet(rng *rand.Rand) (*Set, map[uint64]bool) {
	s, want := &Set{}, map[uint64]bool{}
	bases := []uint64{0, 1 << 32, 5<<32 - 40, 1 << 63}
	for range rng.IntN(200) {
		n := pick(rng, bases) + rng.Uint64N(3000)
		s.Add(n)
		want[n] = true
	}
	if rng.IntN(2) == 0 {
		first := pick(rng, bases)
		last := first + rng.Uint64N(200)
		s.AddRange(first, last)
		for n := first; n <= last; n++ {
			want[n] = true
		}
	}
	return s, want
}

func TestSetIsASetAndItsStoredFormKeepsIt(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 300 {
		a, wa := randomSet(rng)
		b, wb := randomSet(rng)
		minus := a.minus(b)
		union := a.Clone()
		union.union(b)
		for _, n := range append(slices.Collect(union.All()), 7, 1<<40) {
			if a.Contains(n) != wa[n] || minus.Contains(n) != (wa[n] && !wb[n]) || union.Contains(n) != (wa[n] || wb[n]) {
				t.Fatalf("element %d is in the wrong set", n)
			}
		}
		if a.Len() != uint64(len(wa)) {
			t.Fatalf("%d elements, expected %d", a.Len(), len(wa))
		}
		for _, s := range []*Set{a, b, minus, union} {
			back, err := decodeSet(appendSet(nil, s))
			if err != nil || !back.Equal(s) {
				t.Fatalf("stored form: %v", err)
			}
		}
		if minus.union(a); !minus.Equal(a) {
			t.Fatal("(a − b) ∪ a is not a")
		}
	}
}

func TestDamagedBitmapIsRefused(t *testing.T) {
	s := &Set{}
	s.AddRange(1000, 90000)
	s.subtract(&Set{parts: []setPart{{0, roaring.BitmapOf(1005, 70000)}}})
	good := appendSet(nil, s)
	for i := 2; i < len(good); i++ {
		bad := bytes.Clone(good)
		bad[i] ^= 4
		if _, err := decodeSet(bad); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("a flipped bit in byte %d of %d gave %v", i, len(good), err)
		}
	}
}

func TestNetOfARunIsTheRun(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var rows []*commitRow
	live, last := []uint64{}, uint64(0)
	states := []*Set{{}}
	for range 150 {
		row := &commitRow{removed: &Set{}, added: rng.Uint64N(5)}
		for range rng.IntN(4) {
			if len(live) > 0 {
				i := rng.IntN(len(live))
				row.removed.Add(live[i])
				live = slices.Delete(live, i, i+1)
			}
		}
		last += row.added
		row.last = last
		for n := row.first(); n <= last; n++ {
			live = append(live, n)
		}
		rows = append(rows, row)
		s := &Set{}
		for _, n := range live {
			s.Add(n)
		}
		states = append(states, s)
	}
	for range 200 {
		from := rng.IntN(len(rows))
		mid := from + rng.IntN(len(rows)-from+1)
		to := mid + rng.IntN(len(rows)-mid+1)
		a, b := newNet(), newNet()
		for _, r := range rows[from:mid] {
			a.commit(r)
		}
		for _, r := range rows[mid:to] {
			b.commit(r)
		}
		back, err := decodeNet(b.append(nil))
		if err != nil {
			t.Fatal(err)
		}
		a.run(back)
		if a.removed.minus(states[from]).Len() != 0 || a.added.minus(states[to]).Len() != 0 {
			t.Fatalf("net of commits %d to %d is not net", from, to)
		}
		s := states[from].Clone()
		if a.apply(s); !s.Equal(states[to]) {
			t.Fatalf("net of commits %d to %d (joined at %d) does not lead to the set after them", from, to, mid)
		}
	}
}

func testRow() *commitRow {
	removed := &Set{}
	removed.AddRange(100, 300)
	removed.Add(1 << 40)
	return &commitRow{
		version: 9, line: 3, pos: 2, parents: []Version{7}, time: 12345, nonce: 1 << 63, author: "a", message: "m\x00",
		last: 500, added: 3, bytes: 77, goneByte: 5, names: 2, removed: removed, ids: []pod.ID{5, 6, 1 << 50},
	}
}

func TestCommitRowKeepsItsFields(t *testing.T) {
	b := testRow().append(nil)
	row, err := decodeRow(9, b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(row.append(nil), b) || row.message != "m\x00" || row.removed.Len() != 202 || row.ids[2] != 1<<50 || row.first() != 498 || row.nonce != 1<<63 {
		t.Fatalf("row came back as %+v", row)
	}
	if _, err := decodeRow(7, b); err == nil {
		t.Fatal("a parent that is not older was accepted")
	}
	for i := range b {
		if _, err := decodeRow(9, b[:i]); err == nil {
			t.Fatalf("a row cut at %d was accepted", i)
		}
	}
}

func TestNamesOrderAsBytesAndComeBack(t *testing.T) {
	names := []string{"a", "a\x00", "a\x00\x00", "a\x00b", "a\x01", "ab", "b", "\xff", "\x00", "\x00\xff", "\x01"}
	slices.Sort(names)
	var before []byte
	for _, n := range names {
		key := nameVersionKey(nameKey(n), 3, 99)
		back, nk, line, v, err := splitNameKey(key)
		if err != nil || back != n || line != 3 || v != 99 || !bytes.Equal(nk, nameKey(n)) {
			t.Fatalf("name %q came back as %q, %v", n, back, err)
		}
		if bytes.Compare(before, key) >= 0 {
			t.Fatalf("key of %q is not behind the one before", n)
		}
		before = key
	}
}

// FuzzCommitRow feeds damaged rows, with the checksums of bitmaps made right
// again so that what lies behind them is reached.
func FuzzCommitRow(f *testing.F) {
	f.Add(testRow().append(nil))
	big := testRow()
	big.added, big.last, big.ids = 2000, 9999, make([]pod.ID, 2000)
	f.Add(big.append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		row, err := decodeRow(9, b)
		if err != nil {
			return
		}
		again, err := decodeRow(9, row.append(nil))
		if err != nil || !again.removed.Equal(row.removed) {
			t.Fatalf("a row that was accepted does not come back: %v", err)
		}
	})
}

func FuzzSet(f *testing.F) {
	for seed := range uint64(6) {
		s, _ := randomSet(rand.New(rand.NewPCG(seed, 9)))
		f.Add(appendSet(nil, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = bytes.Clone(b)
		if _, n := binary.Uvarint(b[min(1, len(b)):]); len(b) > 0 && b[0] == setBitmaps && n > 0 && len(b) >= 5+n {
			binary.LittleEndian.PutUint32(b[1+n:], crc32.Checksum(b[5+n:], castagnoli))
		}
		s, err := decodeSet(b)
		if err != nil {
			return
		}
		n := uint64(0)
		for range s.All() {
			if n++; n > 1<<20 {
				break
			}
		}
		if n <= 1<<20 && n != s.Len() {
			t.Fatalf("%d elements, Len says %d", n, s.Len())
		}
		if back, err := decodeSet(appendSet(nil, s)); err != nil || !back.Equal(s) {
			t.Fatalf("a set that was accepted does not come back: %v", err)
		}
	})
}

func FuzzGroup(f *testing.F) {
	row := testRow()
	g := &group{db: 1, row: row, counters: counters{version: 9, number: 500}}
	for _, id := range row.ids {
		g.versions = append(g.versions, podVersion{id, inline([]byte("record"))})
	}
	g.puts = []keyValue{{nameVersionKey(nameKey("x"), 3, 9), rootValue(5)}}
	f.Add(bytes.Join(g.records(), nil))
	l := &line{id: 2, branch: "b", lineage: []fork{{1, 3, 9}}}
	f.Add(bytes.Join((&group{db: 1, puts: []keyValue{{lineKey(2), lineValue(l)}}}).records(), nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := decodeGroup([][]byte{b})
		if err != nil {
			return
		}
		o := newOverlay()
		g.apply(o, "b", nil)
		if g.row == nil {
			_, _ = branchOf(g)
		}
		if again := bytes.Join(g.records(), nil); g.row == nil && !bytes.Equal(again, b) {
			t.Fatal("a group that was accepted has another log form")
		}
	})
}
