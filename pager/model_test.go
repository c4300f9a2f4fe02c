package pager

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

var (
	seedFlag = flag.Uint64("pager.seed", 0, "replay a random test with this seed")
	deepFlag = flag.Bool("pager.deep", false, "crash at every operation, not at some of them")
)

// seeded returns a random source and prints how to replay a failure.
func seeded(t testing.TB, seed uint64) *rand.Rand {
	if *seedFlag != 0 {
		seed = *seedFlag
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("replay: go test ./pager -run '^%s$' -pager.seed=%d", t.Name(), seed)
		}
	})
	return rand.New(rand.NewPCG(seed, 1))
}

// model is what a page file must hold.
type model struct {
	tree    map[string][]byte
	records map[Place][]byte
	extents int // of history.log, how many it holds
}

func newModel() *model {
	return &model{tree: map[string][]byte{}, records: map[Place][]byte{}}
}

func (m *model) clone() *model {
	return &model{tree: maps.Clone(m.tree), records: maps.Clone(m.records), extents: m.extents}
}

func (m *model) keys() []string { return slices.Sorted(maps.Keys(m.tree)) }

// randomKey makes keys of many lengths with long common prefixes.
func randomKey(r *rand.Rand, space int) []byte {
	n := r.IntN(space)
	switch n % 7 {
	case 0:
		return fmt.Appendf(nil, "%s%06d", bytes.Repeat([]byte("long/"), 40+n%200), n)
	case 1:
		return append(bytes.Repeat([]byte{byte(n)}, 1+n%MaxKey), byte(n>>8))[:1+n%MaxKey]
	}
	return fmt.Appendf(nil, "k%08d", n)
}

func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func randomValue(r *rand.Rand, pageSize int) []byte {
	if r.IntN(4) == 0 {
		return randomBytes(r, r.IntN(pageSize/4+1))
	}
	return randomBytes(r, r.IntN(40))
}

// change applies random changes to a batch and the model alike.
func (m *model) change(b *Batch, r *rand.Rand, space, steps int) error {
	var places []Place
	for pl := range m.records {
		places = append(places, pl)
	}
	slices.SortFunc(places, func(a, b Place) int { return int(int64(a.Off - b.Off)) })
	for range steps {
		switch r.IntN(10) {
		case 4:
			if err := m.putRows(b, r, space); err != nil {
				return err
			}
		case 0, 1, 2, 3:
			k, v := randomKey(r, space), randomValue(r, b.p.pageSize)
			if err := b.Put(k, v); err != nil {
				return err
			}
			m.tree[string(k)] = v
		case 5, 6, 7:
			k := randomKey(r, space)
			if err := b.Delete(k); err != nil {
				return err
			}
			delete(m.tree, string(k))
		case 8:
			n := 1 + r.IntN(600)
			if r.IntN(20) == 0 {
				n = 1 + r.IntN(5*b.p.pageSize)
			}
			data := randomBytes(r, n)
			pl, err := b.Record(data)
			if err != nil {
				return err
			}
			m.records[pl] = data
			places = append(places, pl)
		case 9:
			if len(places) == 0 {
				continue
			}
			i := r.IntN(len(places))
			if err := b.FreeRecord(places[i]); err != nil {
				return err
			}
			delete(m.records, places[i])
			places = slices.Delete(places, i, i+1)
		}
	}
	return nil
}

// putRows puts rows together that ascend, mostly.
func (m *model) putRows(b *Batch, r *rand.Rand, space int) error {
	rows := make([]Row, r.IntN(8)*r.IntN(8))
	for i := range rows {
		rows[i] = Row{randomKey(r, space), randomValue(r, b.p.pageSize)}
	}
	if r.IntN(4) > 0 {
		slices.SortStableFunc(rows, func(a, b Row) int { return bytes.Compare(a.Key, b.Key) })
	}
	if err := b.PutAll(rows); err != nil {
		return err
	}
	for _, row := range rows {
		m.tree[string(row.Key)] = row.Val
		clear(row.Key) // the batch has a copy
	}
	return nil
}

// compare reads everything.
func (m *model) compare(p *Pager) error {
	v := p.View()
	defer v.Close()
	return m.compareView(v)
}

func (m *model) compareView(v *View) error {
	keys := m.keys()
	i := 0
	c := v.Seek(nil)
	for ; c.Valid(); c.Next() {
		if i == len(keys) || keys[i] != string(c.Key()) || !bytes.Equal(c.Value(), m.tree[keys[i]]) {
			return fmt.Errorf("entry %d of %d differs: %.40q", i, len(keys), c.Key())
		}
		i++
	}
	if c.Err() != nil || i != len(keys) {
		return fmt.Errorf("walked %d of %d keys: %w", i, len(keys), c.Err())
	}
	if n := v.g.entries; n != uint64(len(keys)) {
		return fmt.Errorf("the root counts %d of %d keys", n, len(keys))
	}
	i = len(keys)
	for c = v.SeekBefore(bytes.Repeat([]byte{0xff}, MaxKey+1)); c.Valid(); c.Prev() {
		i--
		if i < 0 || keys[i] != string(c.Key()) {
			return fmt.Errorf("backwards entry %d differs: %.40q", i, c.Key())
		}
	}
	if c.Err() != nil || i != 0 {
		return fmt.Errorf("backwards walk stopped at %d of %d: %w", i, len(keys), c.Err())
	}
	for pl, want := range m.records {
		got, err := v.ReadRecord(pl)
		if err != nil || !bytes.Equal(got, want) {
			return fmt.Errorf("record %s: %w", pl, err)
		}
	}
	return nil
}

// probe compares single reads with the model.
func (m *model) probe(p *Pager, r *rand.Rand, space, n int) error {
	v := p.View()
	defer v.Close()
	keys := m.keys()
	for range n {
		k := randomKey(r, space)
		got, ok, err := v.Get(k)
		want, has := m.tree[string(k)]
		if err != nil || ok != has || !bytes.Equal(got, want) {
			return fmt.Errorf("Get %.40q: %v, wanted %v: %w", k, ok, has, err)
		}
		at, _ := slices.BinarySearch(keys, string(k))
		if c := v.Seek(k); c.Valid() != (at < len(keys)) || c.Valid() && string(c.Key()) != keys[at] {
			return fmt.Errorf("Seek %.40q: %.40q %w", k, c.Key(), c.Err())
		}
		if c, val, ok, err := v.Ceiling([]byte("before"), k); err != nil || ok != (at < len(keys)) ||
			ok && (string(c) != "before"+keys[at] || !bytes.Equal(val, m.tree[keys[at]])) {
			return fmt.Errorf("Ceiling %.40q: %.40q %v: %w", k, c, ok, err)
		}
		if c := v.SeekBefore(k); c.Valid() != (at > 0) || c.Valid() && string(c.Key()) != keys[at-1] {
			return fmt.Errorf("SeekBefore %.40q: %.40q %w", k, c.Key(), c.Err())
		}
	}
	return nil
}

// verify is Check, the record accounting, and the model.
func (m *model) verify(p *Pager) error {
	if _, err := p.Check(context.Background(), nil); err != nil {
		return fmt.Errorf("check: %w", err)
	}
	v := p.View()
	defer v.Close()
	err := p.CheckRecords(v, func(add func(Place) error) error {
		for pl := range m.records {
			if err := add(pl); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("check records: %w", err)
	}
	return m.compareView(v)
}

func testOptions(fs vfs.FS, pageSize int) Options {
	r := rand.New(rand.NewPCG(7, 7))
	return Options{
		FS: fs, Path: testPath, PageSize: pageSize, CacheBytes: 64 << 10,
		Rand: r.Uint64, Now: func() time.Time { return time.Unix(1_700_000_000, 0) },
	}
}

func mustOpen(t testing.TB, o Options) *Pager {
	t.Helper()
	p, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestTreeAndRecordsEqualAModelOverRandomBatches(t *testing.T) {
	for i, pageSize := range []int{4096, 4096, 8192, 65536} {
		t.Run(fmt.Sprintf("%d_%d", pageSize, i), func(t *testing.T) {
			r := seeded(t, uint64(100+i))
			o := testOptions(newFS(t), pageSize)
			p := mustOpen(t, o)
			m := newModel()
			space := 400 << (3 * (i % 2))
			for round := range 60 {
				b, err := p.Begin()
				must(t, err)
				next := m.clone()
				steps := r.IntN(300)
				if round == 30 {
					for _, k := range m.keys() { // empty it
						must(t, b.Delete([]byte(k)))
					}
					clear(next.tree)
					steps = r.IntN(2)
				}
				must(t, next.change(b, r, space, steps))
				if r.IntN(6) == 0 {
					b.Abort()
				} else {
					must(t, b.Commit(context.Background(), uint64(round), r.IntN(5) == 0))
					m = next
				}
				if err := m.verify(p); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if err := m.probe(p, r, space, 50); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
				if r.IntN(8) == 0 {
					must(t, p.Close(r.IntN(2) == 0))
					p = mustOpen(t, o)
					if err := m.verify(p); err != nil {
						t.Fatalf("round %d reopened: %v", round, err)
					}
				}
			}
			must(t, p.Close(true))
		})
	}
}

// A small budget of opened nodes makes batches write and reopen fresh pages.
func TestSpilledBatchesEqualAModel(t *testing.T) {
	r := seeded(t, 5)
	p := mustOpen(t, testOptions(newFS(t), 4096))
	p.openedBytes = 1 << 20
	want := map[string][]byte{}
	for range 3 {
		b, err := p.Begin()
		must(t, err)
		for range 20000 {
			k := fmt.Appendf(nil, "key/%07d", r.IntN(60000))
			v := randomBytes(r, r.IntN(300))
			if r.IntN(4) == 0 {
				must(t, b.Delete(k))
				delete(want, string(k))
			} else {
				must(t, b.Put(k, v))
				want[string(k)] = v
			}
		}
		if len(b.fresh) == 0 {
			t.Fatal("nothing was spilled: the test tests nothing")
		}
		must(t, b.Commit(context.Background(), 1, false))
		must(t, (&model{tree: want}).verify(p))
	}
	must(t, p.Close(false))
}

func TestKeyAndValueLimits(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 4096))
	defer p.Close(false)
	b, err := p.Begin()
	must(t, err)
	for _, bad := range [][2]int{{0, 1}, {MaxKey + 1, 0}, {1, 1025}} {
		if err := b.Put(make([]byte, bad[0]), make([]byte, bad[1])); err == nil {
			t.Errorf("key of %d and value of %d bytes accepted", bad[0], bad[1])
		}
	}
	m := newModel()
	for i := range 60 {
		k := bytes.Repeat([]byte{byte(i * 4)}, MaxKey)
		v := bytes.Repeat([]byte{byte(i)}, 1024)
		must(t, b.Put(k, v))
		m.tree[string(k)] = v
		k = append(bytes.Repeat([]byte{7}, MaxKey-1), byte(i))
		must(t, b.Put(k, nil))
		m.tree[string(k)] = nil
	}
	must(t, b.Commit(context.Background(), 1, false))
	must(t, m.verify(p))
}

func TestAscendingLoadFillsPages(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 8192))
	defer p.Close(false)
	b, err := p.Begin()
	must(t, err)
	for i := range 50000 {
		must(t, b.Put(fmt.Appendf(nil, "key/%09d", i), []byte("0123456789abcdef0123456789abcdef")))
	}
	must(t, b.Commit(context.Background(), 1, false))
	rep, err := p.Check(context.Background(), nil)
	must(t, err)
	if fill := float64(rep.TreeBytes) / float64(rep.TreePages*8192); fill < 0.97 {
		t.Errorf("pages are filled to %.2f", fill)
	}
	// Full leaves are emptied from the left: first children go one by one.
	for at := 0; at < 40000; at += 8000 {
		b, err := p.Begin()
		must(t, err)
		for i := at; i < at+8000; i++ {
			must(t, b.Delete(fmt.Appendf(nil, "key/%09d", i)))
		}
		must(t, b.Commit(context.Background(), 1, false))
		rep, err := p.Check(context.Background(), nil)
		must(t, err)
		if want := uint64(50000 - at - 8000); rep.Entries != want {
			t.Errorf("%d entries, wanted %d", rep.Entries, want)
		}
	}
}

func TestOneBatchAtATime(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 4096))
	defer p.Close(false)
	b, err := p.Begin()
	must(t, err)
	if _, err := p.Begin(); err == nil {
		t.Fatal("two batches")
	}
	b.Abort()
	b.Abort()
	b, err = p.Begin()
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	must(t, b.Put([]byte("a"), nil))
	if err := b.Commit(ctx, 1, false); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled commit: %v", err)
	}
	must(t, newModel().verify(p))
}
