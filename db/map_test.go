package db_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/poddb/poddb/db"
)

type member struct {
	Name    string
	Balance int
	Friend  *member
}

// club has a Map beside what its values share.
type club struct {
	Name    string
	Members db.Map[string, *member]
	Chair   *member
	ByID    *db.Map[int, member]
	Nested  map[string]*db.Map[int, db.Ref[member]]
}

func memberName(i int) string { return fmt.Sprintf("member/%07d", i) }

func mput[K comparable, V any](t testing.TB, m *db.Map[K, V], k K, v V) {
	t.Helper()
	if err := m.Put(context.Background(), k, v); err != nil {
		t.Fatal(err)
	}
}

func mget[K comparable, V any](t testing.TB, m *db.Map[K, V], k K) V {
	t.Helper()
	v, ok, err := m.Get(context.Background(), k)
	if err != nil || !ok {
		t.Fatalf("%v: %v, %v", k, ok, err)
	}
	return v
}

func newClub(t testing.TB, n int) *club {
	t.Helper()
	c := &club{Name: "club", ByID: db.NewMap[int, member](), Nested: map[string]*db.Map[int, db.Ref[member]]{"all": db.NewMap[int, db.Ref[member]]()}}
	for i := range n {
		x := &member{Name: memberName(i), Balance: i, Friend: c.Chair}
		if i == n/2 {
			c.Chair = x
		}
		mput(t, &c.Members, x.Name, x)
		mput(t, c.ByID, i, *x)
		mput(t, c.Nested["all"], i, db.NewRef(x))
	}
	return c
}

// What lives in a Map is one object with what pointers, Refs and other Maps lead to,
// in every reader.
func TestMapsKeepIdentity(t *testing.T) {
	const n = 600
	d := openMemory(t)
	putAll(t, d, map[string]any{"club": newClub(t, n)})
	check := func(t *testing.T, c *club) {
		t.Helper()
		for _, i := range []int{0, 1, n/2 - 1, n / 2, n - 1} {
			x := mget(t, &c.Members, memberName(i))
			if x.Balance != i || mget(t, c.ByID, i).Name != x.Name || ref(t, mget(t, c.Nested["all"], i)) != x {
				t.Fatalf("member %d is several", i)
			}
			if i > n/2 != (x.Friend == c.Chair) || i > n/2 && mget(t, c.ByID, i).Friend != c.Chair {
				t.Fatalf("the friend of member %d is not the chair", i)
			}
		}
		if mget(t, &c.Members, memberName(n/2)) != c.Chair {
			t.Fatal("the chair is no member")
		}
		same := c.Members // a handle
		mput(t, &same, "guest", c.Chair)
		if mget(t, &c.Members, "guest") != c.Chair {
			t.Fatal("a copy of a Map shows other entries")
		}
		if ok, err := c.Members.Delete(context.Background(), "guest"); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	tx, s := begin(t, d), head(t, d)
	defer s.Close()
	check(t, get[*club](t, tx, "club"))
	tx.Rollback()
	check(t, get[*club](t, namespace(t, d), "club"))
	check(t, get[*club](t, s, "club"))
}

// A Map in transactions, namespaces, snapshots and after reopening is what a Go map of
// the same history is, and old versions stay what they were.
func TestMapsThroughTheDatabase(t *testing.T) {
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "map.pod")
	d := must(db.Open(ctx, file, nil))(t)
	defer func() { d.Close() }()
	rng := rand.New(rand.NewPCG(5, 5))
	model := map[int]string{}
	kept := map[db.Version]map[int]string{}
	putAll(t, d, map[string]any{"m": db.NewMap[int, string]()})
	edit := func(m *db.Map[int, string]) {
		for range rng.IntN(200) {
			k := rng.IntN(3000)
			if rng.IntN(3) > 0 {
				model[k] = strings.Repeat("v", rng.IntN(100)) + fmt.Sprint(rng.IntN(1000))
				mput(t, m, k, model[k])
			} else {
				ok, err := m.Delete(ctx, k)
				if _, there := model[k]; err != nil || ok != there {
					t.Fatal(ok, err)
				}
				delete(model, k)
			}
		}
	}
	same := func(m *db.Map[int, string], want map[int]string) {
		t.Helper()
		n, last := 0, -1
		for e, err := range m.All(ctx) {
			if err != nil || want[e.Key] != e.Value || e.Key <= last {
				t.Fatalf("%v after %d, want %q (%v)", e, last, want[e.Key], err)
			}
			n, last = n+1, e.Key
		}
		if n != len(want) {
			t.Fatalf("%d entries, not %d", n, len(want))
		}
	}
	remember := func(v db.Version) {
		kept[v] = map[int]string{}
		for k, s := range model {
			kept[v][k] = s
		}
	}
	for round := range 60 {
		switch rng.IntN(4) {
		case 0, 1:
			v := must(d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
				edit(get[*db.Map[int, string]](t, tx, "m"))
				return nil
			}))(t)
			remember(v)
		case 2:
			ns := namespace(t, d)
			m := get[*db.Map[int, string]](t, ns, "m")
			for range 3 {
				edit(m)
				v := save(t, ns)
				remember(v)
				if save(t, ns) != v {
					t.Fatal("a second Save writes")
				}
			}
			same(m, model)
		default:
			if round%3 == 0 {
				if err := d.Close(); err != nil {
					t.Fatal(err)
				}
				d = must(db.Open(ctx, file, nil))(t)
			}
		}
	}
	for v, want := range kept {
		s := must(d.At(ctx, v))(t)
		same(get[*db.Map[int, string]](t, s, "m"), want)
		s.Close()
	}
	// A checkout brings everything back.
	ns := namespace(t, d)
	m := get[*db.Map[int, string]](t, ns, "m")
	for v, want := range kept {
		if err := ns.Checkout(ctx, v); err != nil {
			t.Fatal(err)
		}
		same(m, want)
		save(t, ns)
		s := head(t, d)
		same(get[*db.Map[int, string]](t, s, "m"), want)
		s.Close()
	}
	verifyClean(t, d)
}

var mapEntries = flag.Int("map.entries", 1_000_000, "entries of the large Map, a fifth of it with -short")

func largeMap(t testing.TB, d *db.DB) int {
	t.Helper()
	n := *mapEntries
	if testing.Short() {
		n /= 5
	}
	m, err := db.MapOf(func(yield func(string, member) bool) {
		for i := range n {
			if !yield(memberName(i), member{Name: memberName(i), Balance: i}) {
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	putAll(t, d, map[string]any{"members": m})
	return n
}

// The change of one entry of a million reads the nodes on the way to it and writes one
// pod, in a transaction and in a namespace.
func TestOneEntryOfALargeMapIsOneChunk(t *testing.T) {
	ctx := context.Background()
	d := must(db.OpenMemory(ctx, nil))(t)
	defer d.Close()
	n := largeMap(t, d)
	if err := d.Checkpoint(ctx); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		tx := begin(t, d)
		name := memberName(i * 7919 % n)
		m := get[*db.Map[string, member]](t, tx, "members")
		x := mget(t, m, name)
		x.Balance++
		mput(t, m, name, x)
		commit(t, tx)
		st := tx.Stats()
		// The variable, the root, at most two more levels and the chunk.
		if st.PodsWritten != 1 || st.Pods > 6 || st.Bytes > 10<<10 {
			t.Fatalf("one change of %d entries: %+v", n, st)
		}
	}
	s := head(t, d)
	defer s.Close()
	if got := mget(t, get[*db.Map[string, member]](t, s, "members"), memberName(7919%n)); got.Balance != 7919%n+1 {
		t.Fatalf("%+v", got)
	}
	ns := namespace(t, d)
	m := get[*db.Map[string, member]](t, ns, "members")
	mput(t, m, memberName(n/3)+"x", member{})
	save(t, ns)
	if st := ns.LastSave(); st.PodsWritten > 3 || st.Pods > 8 {
		t.Fatalf("one new entry of %d: %+v", n, st)
	}
}

// Transactions on different chunks do not collide, on one chunk they do; what was
// read is guarded.
func TestConflictsOfMaps(t *testing.T) {
	ctx := context.Background()
	const n = 5000
	d := openMemory(t)
	m := must(db.MapOf(func(yield func(int, member) bool) {
		for i := range n {
			yield(i, member{Name: memberName(i), Balance: i})
		}
	}))(t)
	putAll(t, d, map[string]any{"m": m})
	type members = *db.Map[int, member]
	run := func(what string, conflict bool, one, two func(m members)) {
		t.Helper()
		a, b := begin(t, d), begin(t, d)
		one(get[members](t, a, "m"))
		two(get[members](t, b, "m"))
		put(t, b, "b", &counter{})
		commit(t, a)
		if _, err := b.Commit(ctx); errors.Is(err, db.ErrConflict) != conflict || err != nil && !conflict {
			t.Errorf("%s: %v", what, err)
		}
	}
	put := func(k int) func(members) {
		return func(m members) { mput(t, m, k, member{Balance: rand.Int()}) }
	}
	remove := func(k int) func(members) {
		return func(m members) {
			if ok, err := m.Delete(ctx, k); !ok || err != nil {
				t.Error(ok, err)
			}
		}
	}
	read := func(k int) func(members) { return func(m members) { mget(t, m, k) } }
	length := func(m members) {
		if _, err := m.Len(ctx); err != nil {
			t.Error(err)
		}
	}
	run("different chunks", false, put(10), put(4000))
	run("different chunks, one read", false, put(10), read(4000))
	run("one key", true, put(10), put(10))
	run("one chunk", true, put(10), put(11))
	run("one key, one read", true, put(10), read(10))
	run("a key that is new, and Len", true, put(n+1), length)
	run("inserts far apart", false, put(-1), put(n+2))
	run("deletes far apart", false, remove(20), remove(4020))
	run("an absent key", true, put(n+5), func(m members) {
		if ok, err := m.Has(ctx, n+5); ok || err != nil {
			t.Error(ok, err)
		}
	})
	run("a range elsewhere", false, put(10), func(m members) {
		for range m.Range(ctx, 3000, 3100) {
		}
	})
	run("a range with the key", true, put(10), func(m members) {
		for range m.Range(ctx, 0, 20) {
		}
	})
}

// Many transactions add entries; none is lost.
func TestMapsOfManyWriters(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	putAll(t, d, map[string]any{"m": db.NewMap[int, string]()})
	const writers, each = 4, 60
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
					m, err := db.Get[*db.Map[int, string]](ctx, tx, "m")
					if err != nil {
						return err
					}
					return m.Put(ctx, w*1000+i, strings.Repeat("v", 100))
				}); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	s := head(t, d)
	defer s.Close()
	if n, err := get[*db.Map[int, string]](t, s, "m").Len(ctx); n != writers*each || err != nil {
		t.Fatal(n, err)
	}
}

// Many goroutines read one Map of one snapshot.
func TestMapsOfManyReaders(t *testing.T) {
	ctx := context.Background()
	const n = 3000
	d := openMemory(t)
	putAll(t, d, map[string]any{"club": newClub(t, n)})
	s := head(t, d)
	defer s.Close()
	c := get[*club](t, s, "club")
	var wg sync.WaitGroup
	for g := range 6 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			for range 100 {
				i := rng.IntN(n)
				if x := mget(t, &c.Members, memberName(i)); x.Balance != i || ref(t, mget(t, c.Nested["all"], i)) != x {
					t.Error("a member is several")
					return
				}
			}
			if k, err := c.Members.Len(ctx); k != n || err != nil {
				t.Error(k, err)
			}
		})
	}
	wg.Wait()
}

type memberNow struct {
	Name    string
	Balance float64
	Added   bool
}

// The types of keys and values may be renamed and change, with an alias as anywhere.
func TestTypesInMapsMayChange(t *testing.T) {
	type old struct {
		M db.Map[string, member]
		L []db.Ref[member]
		P *member
	}
	type now struct {
		M db.Map[string, memberNow]
		L []*memberNow // were Refs
		P db.Ref[memberNow]
	}
	ctx := context.Background()
	file := filepath.Join(t.TempDir(), "map.pod")
	d := must(db.Open(ctx, file, &db.Options{Types: db.Types(db.Type[old]("holder"))}))(t)
	x := &member{Name: "x", Balance: 7}
	o := &old{L: []db.Ref[member]{db.NewRef(x)}, P: x}
	for i := range 500 {
		mput(t, &o.M, memberName(i), member{Name: memberName(i), Balance: i})
	}
	putAll(t, d, map[string]any{"o": o})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, file, &db.Options{Types: db.Types(db.Type[now]("holder"),
		db.Type[memberNow]("member", db.Alias("github.com/poddb/poddb/db_test.member")))}))(t)
	defer d.Close()
	for range 2 {
		ns := namespace(t, d)
		n := get[*now](t, ns, "o")
		if n.L[0] != ref(t, n.P) || n.L[0].Balance != 7 {
			t.Fatal("a pointer and a Ref to one object")
		}
		for i := range 500 {
			if e := mget(t, &n.M, memberName(i)); e.Balance != float64(i) || e.Name != memberName(i) {
				t.Fatalf("%+v", e)
			}
		}
		n.P.Set(n.L[0])
		mput(t, &n.M, memberName(3), memberNow{Name: memberName(3), Balance: 3})
		save(t, ns)
	}
	verifyClean(t, d)
}

func TestMapMisuse(t *testing.T) {
	ctx := context.Background()
	check := func(err error, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v, not %v", err, want)
		}
	}
	p := db.NewMap[*int, int]()
	check(p.Put(ctx, new(int), 1), db.ErrInvalid)
	_, _, err := p.Get(ctx, nil)
	check(err, db.ErrInvalid)
	_, err = db.NewMap[any, int]().Delete(ctx, 1)
	check(err, db.ErrInvalid)
	_, err = db.NewMap[struct{ C chan int }, int]().Has(ctx, struct{ C chan int }{})
	check(err, db.ErrInvalid)
	_, err = db.MapOf(func(func(complex128, int) bool) {})
	check(err, db.ErrInvalid)
	n := 0
	for _, err := range db.NewMap[complex64, int]().All(ctx) {
		check(err, db.ErrInvalid)
		n++
	}
	if n != 1 {
		t.Errorf("%d errors", n)
	}
	// Of a transaction that is over.
	d := openMemory(t)
	putAll(t, d, map[string]any{"club": newClub(t, 10)})
	tx := begin(t, d)
	c := get[*club](t, tx, "club")
	tx.Rollback()
	check(c.ByID.Put(ctx, 1, member{}), db.ErrTxDone)
	_, err = c.ByID.Len(ctx)
	check(err, db.ErrTxDone)
	_, _, err = c.Members.First(ctx)
	check(err, db.ErrTxDone)
	for _, err := range c.Members.Range(ctx, "a", "z") {
		check(err, db.ErrTxDone)
	}
	// A context that ends in the midst of a walk.
	over, cancel := context.WithCancel(ctx)
	defer cancel()
	c = newClub(t, 10)
	n = 0
	for _, err := range c.Members.All(over) {
		if cancel(); err != nil {
			check(err, context.Canceled)
			n += 100
		}
		n++
	}
	if n != 102 {
		t.Errorf("the walk ended with %d", n)
	}
	// Values that cannot be stored are named.
	bad := &struct{ M db.Map[int, any] }{}
	mput(t, &bad.M, 1, any(make(chan int)))
	tx = begin(t, d)
	put(t, tx, "bad", bad)
	var u *db.UnsupportedError
	if _, err := tx.Commit(ctx); !errors.As(err, &u) || !strings.HasPrefix(u.Problems[0].Path, "bad.M.root") {
		t.Errorf("%v", err)
	}
}

func BenchmarkMapUpdate(b *testing.B) {
	ctx := context.Background()
	d, err := db.OpenMemory(ctx, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	n := largeMap(b, d)
	if err := d.Checkpoint(ctx); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			m, err := db.Get[*db.Map[string, member]](ctx, tx, "members")
			if err != nil {
				return err
			}
			name := memberName(i * 7919 % n)
			x, _, err := m.Get(ctx, name)
			if err != nil {
				return err
			}
			x.Balance++
			return m.Put(ctx, name, x)
		}); err != nil {
			b.Fatal(err)
		}
	}
}
