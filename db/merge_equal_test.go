package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// rack holds objects in each way that a merge knows.
type rack struct {
	N     int
	One   *part
	List  []*part
	Long  []*part
	ByKey map[string]*part
	Any   any
	Ring  *part
	Pack  *pack
}

type part struct {
	V    int
	Text string
	Next *part
}

type pack struct{ Parts []*part }

// racks are branches with a variable "a", and others, that are racks.
type racks struct {
	*testing.T
	d *db.DB
}

func (t racks) edit(branch string, fn func(get func(string) *rack, put func(string, *rack))) {
	t.Helper()
	ctx := context.Background()
	must(t.d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		get := func(name string) *rack { return must(db.Get[*rack](ctx, tx, name))(t.T) }
		put := func(name string, r *rack) {
			if err := tx.Put(ctx, name, r); err != nil {
				t.Fatal(err)
			}
		}
		fn(get, put)
		return nil
	}, db.TxOptions{Branch: branch}))(t.T)
}

func (t racks) a(branch string, fn func(r *rack)) {
	t.Helper()
	t.edit(branch, func(get func(string) *rack, put func(string, *rack)) {
		r := get("a")
		fn(r)
		put("a", r)
	})
}

func (t racks) merge(into, from string, resolve db.Resolver) string {
	t.Helper()
	r, err := t.d.Merge(context.Background(), db.MergeOptions{Into: into, From: from, Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	return conflictTexts(r.Conflicts)
}

// see reads the variables a and b of a branch.
func (t racks) see(branch string) (a, b *rack) {
	t.Helper()
	t.edit(branch, func(get func(string) *rack, _ func(string, *rack)) { a, b = get("a"), get("b") })
	return a, b
}

func (p *part) text() string {
	if p == nil {
		return "nil"
	}
	return fmt.Sprint(p.V)
}

// equalPlaces are where both branches put an equal new object, which at finds and set replaces.
var equalPlaces = map[string]struct {
	add func(r *rack)
	at  func(r *rack) *part
	set func(r *rack, p *part)
}{
	"a field":       {func(r *rack) { r.One = &part{V: 7} }, func(r *rack) *part { return r.One }, func(r *rack, p *part) { r.One = p }},
	"a list":        {func(r *rack) { r.List = append(r.List, &part{V: 7}) }, func(r *rack) *part { return r.List[1] }, func(r *rack, p *part) { r.List[1] = p }},
	"an element":    {func(r *rack) { r.List[0] = &part{V: 7} }, func(r *rack) *part { return r.List[0] }, func(r *rack, p *part) { r.List[0] = p }},
	"a long list":   {func(r *rack) { r.Long = append(r.Long, &part{V: 7}) }, func(r *rack) *part { return r.Long[len(r.Long)-1] }, func(r *rack, p *part) { r.Long[len(r.Long)-1] = p }},
	"a long list's": {func(r *rack) { r.Long[4000] = &part{V: 7} }, func(r *rack) *part { return r.Long[4000] }, func(r *rack, p *part) { r.Long[4000] = p }},
	"a map":         {func(r *rack) { r.ByKey["x"] = &part{V: 7} }, func(r *rack) *part { return r.ByKey["x"] }, func(r *rack, p *part) { r.ByKey["x"] = p }},
	"an interface": {func(r *rack) { r.Any = &part{V: 7} }, func(r *rack) *part { p, _ := r.Any.(*part); return p }, func(r *rack, p *part) {
		if r.Any = p; p == nil {
			r.Any = nil
		}
	}},
	"a chain": {func(r *rack) { r.One = &part{V: 5, Next: &part{V: 6, Next: &part{V: 7}}} }, func(r *rack) *part {
		if r.One == nil || r.One.Next == nil {
			return nil
		}
		return r.One.Next.Next
	}, func(r *rack, p *part) { r.One.Next.Next = p }},
	"a ring": {func(r *rack) {
		p := &part{V: 6, Next: &part{V: 7}}
		p.Next.Next = p
		r.Ring = p
	}, func(r *rack) *part { return r.Ring.Next }, func(r *rack, p *part) { r.Ring.Next = p }},
	"two levels": {func(r *rack) { r.Pack = &pack{[]*part{{V: 6}, {V: 7}}} }, func(r *rack) *part { return r.Pack.Parts[1] }, func(r *rack, p *part) { r.Pack.Parts[1] = p }},
	"a large one": {func(r *rack) {
		r.One = &part{V: 7, Text: strings.Repeat("x", 3000)}
		r.One.Next = &part{Text: strings.Repeat("y", 4000)}
	}, func(r *rack) *part { return r.One }, func(r *rack, p *part) { r.One = p }},
}

// equalEdits are what the other branch does to its own, with what its place shows then.
var equalEdits = map[string]struct {
	want string
	do   func(a, b *rack, at func(*rack) *part, set func(*rack, *part))
}{
	"changed": {"9", func(a, _ *rack, at func(*rack) *part, _ func(*rack, *part)) { at(a).V = 9 }},
	"through another variable": {"9", func(a, b *rack, at func(*rack) *part, _ func(*rack, *part)) {
		b.One = at(a)
		b.One.V = 9
	}},
	"replaced": {"9", func(a, _ *rack, _ func(*rack) *part, set func(*rack, *part)) { set(a, &part{V: 9}) }},
	"deleted":  {"nil", func(a, _ *rack, _ func(*rack) *part, set func(*rack, *part)) { set(a, nil) }},
	"moved": {"nil", func(a, b *rack, at func(*rack) *part, set func(*rack, *part)) {
		b.One = at(a)
		set(a, nil)
	}},
	"moved and changed": {"nil", func(a, b *rack, at func(*rack) *part, set func(*rack, *part)) {
		b.One = at(a)
		set(a, nil)
		b.One.V = 9
	}},
}

// What a branch does to an object of which another branch has made an equal one, and a merge the two one, comes
// through the next merge, in either direction: it is in the result, if the other branch has left the object alone without a
// conflict, or there is a conflict, and choosing that branch brings it.
func TestMergeOfEqualNewObjects(t *testing.T) {
	for place, where := range equalPlaces {
		for name, edit := range equalEdits {
			if strings.HasPrefix(place, "a long") && name != "changed" && name != "through another variable" {
				continue
			}
			for _, ours := range []string{"nothing", "beside", "there"} {
				for _, back := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s, %s, ours %s, back %v", place, name, ours, back), func(t *testing.T) {
						d := equalRacks(t, strings.HasPrefix(place, "a long"), where.add)
						d.edit("other", func(get func(string) *rack, put func(string, *rack)) {
							a, b := get("a"), get("b")
							edit.do(a, b, where.at, where.set)
							put("a", a)
							put("b", b)
						})
						switch ours {
						case "beside":
							d.a("main", func(r *rack) { r.N = 3 })
						case "there":
							d.a("main", func(r *rack) { where.at(r).Text = "z" })
						}
						into, from, resolve := "main", "other", db.TakeTheirs
						if back {
							into, from, resolve = from, into, db.TakeOurs
						}
						conflicts := d.merge(into, from, resolve)
						verifyDeep(t, d.d)
						a, b := d.see(into)
						got := where.at(a)
						if changed := name == "changed" || name == "through another variable"; changed && ours != "there" {
							if conflicts != "" || got.text() != "9" || b.One != nil && b.One != got {
								t.Errorf("it is %s, and %s in the other variable, with conflicts %q", got.text(), b.One.text(), conflicts)
							}
							return
						}
						if name == "moved and changed" && ours != "there" && conflicts != "" {
							t.Errorf("conflicts %q", conflicts)
						}
						if got.text() != edit.want && (conflicts != "" || ours != "there" || b.One == nil) {
							t.Errorf("it is %s, expected %s, conflicts %q", got.text(), edit.want, conflicts)
						}
						if want := strings.HasSuffix(name, "changed"); b.One != nil && (b.One.V == 9) != (want || name == "through another variable") {
							t.Errorf("in the other variable it is %s", b.One.text())
						}
					})
				}
			}
		}
	}
}

// equalRacks are two branches that have added the same, of which main has taken over the other.
func equalRacks(t *testing.T, long bool, add func(*rack)) racks {
	t.Helper()
	d := racks{t, openMemory(t)}
	d.edit("main", func(_ func(string) *rack, put func(string, *rack)) {
		r := &rack{List: []*part{{V: 1}}, ByKey: map[string]*part{"a": {V: 2}}}
		if long {
			for i := range 5_000 {
				r.Long = append(r.Long, &part{V: i})
			}
		}
		put("a", r)
		put("b", &rack{})
	})
	if err := d.d.Branch(context.Background(), "other", must(d.d.Head(context.Background(), "main"))(t)); err != nil {
		t.Fatal(err)
	}
	d.a("main", add)
	d.a("other", add)
	if c := d.merge("main", "other", nil); c != "" {
		t.Fatal("first: ", c)
	}
	return d
}

// After a merge it is one object wherever it came from, also for what came over in one pod with it.
func TestMergeOfEqualNewObjectsIsOneObject(t *testing.T) {
	d := racks{t, openMemory(t)}
	d.edit("main", func(_ func(string) *rack, put func(string, *rack)) {
		put("a", &rack{List: []*part{{Text: strings.Repeat("z", 7000)}}})
		put("b", &rack{List: []*part{{Text: strings.Repeat("z", 7000)}}})
	})
	if err := d.d.Branch(context.Background(), "other", must(d.d.Head(context.Background(), "main"))(t)); err != nil {
		t.Fatal(err)
	}
	add := func(r *rack) { r.One = &part{V: 7, Text: strings.Repeat("x", 3000)} }
	d.a("main", add)
	d.edit("other", func(get func(string) *rack, put func(string, *rack)) {
		a, b := get("a"), get("b")
		add(a)
		for range 20 { // so that some are in one pod with it
			b.List = append(b.List, &part{V: 8, Text: strings.Repeat("y", 500), Next: a.One})
		}
		put("a", a)
		put("b", b)
	})
	if c := d.merge("main", "other", nil); c != "" {
		t.Fatal(c)
	}
	verifyDeep(t, d.d)
	a, b := d.see("main")
	for i, p := range b.List[1:] {
		if p.Next != a.One {
			t.Errorf("element %d has another object", i)
		}
	}
}

// Many equal objects of both branches, each changed on one of them from time to time, and merges in both directions: no
// conflict, and every change comes through.
func TestMergeOfEqualNewObjectsAgainAndAgain(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(seed, 7))
		d := racks{t, openMemory(t)}
		n := 2 + rng.IntN(30)
		d.edit("main", func(_ func(string) *rack, put func(string, *rack)) {
			put("a", &rack{List: make([]*part, n), ByKey: map[string]*part{"": {}}})
			put("b", &rack{})
		})
		if err := d.d.Branch(context.Background(), "other", must(d.d.Head(context.Background(), "main"))(t)); err != nil {
			t.Fatal(err)
		}
		want := map[string][]int{"main": make([]int, n), "other": make([]int, n)}
		of := func(r *rack, i int) *part {
			if i%3 == 0 {
				return r.ByKey[fmt.Sprint(i)]
			}
			return r.List[i]
		}
		for _, branch := range []string{"main", "other"} {
			d.a(branch, func(r *rack) {
				for _, i := range rng.Perm(n) { // so the places are other ones on each
					p := &part{Text: fmt.Sprint(i), Next: &part{V: i}}
					if i%3 == 0 {
						r.ByKey[fmt.Sprint(i)] = p
					} else {
						r.List[i] = p
					}
				}
			})
		}
		for round := range 6 {
			for side, branch := range []string{"main", "other"} {
				if round == 0 {
					break
				}
				d.a(branch, func(r *rack) {
					for range 1 + rng.IntN(3) {
						i := 2*rng.IntN(n/2) + side
						want[branch][i] = round*1000 + rng.IntN(1000)
						of(r, i).V = want[branch][i]
					}
				})
			}
			into, from := "main", "other"
			if round > 0 && rng.IntN(3) == 0 {
				into, from = from, into
			}
			if c := d.merge(into, from, nil); c != "" {
				t.Fatalf("seed %d, round %d: %s", seed, round, c)
			}
			a, _ := d.see(into)
			for i := range n {
				if from == []string{"main", "other"}[i%2] { // who changes it
					want[into][i] = want[from][i]
				}
			}
			for i := range n {
				if p := of(a, i); p.V != want[into][i] || p.Next.V != i {
					t.Fatalf("seed %d, round %d into %s: object %d is %d, expected %d", seed, round, into, i, p.V, want[into][i])
				}
			}
		}
		verifyDeep(t, d.d)
	}
}

// Of equal objects that look alike nobody knows which of one branch is which of the other: what one branch did to them
// is told as a conflict, in both directions.
func TestMergeOfEqualNewObjectsThatLookAlike(t *testing.T) {
	two := func(r *rack) { r.One, r.Ring = &part{V: 7}, &part{V: 7} }
	for name, c := range map[string]struct {
		first             *rack
		add, ours, theirs func(*rack)
	}{
		"two become one":       {&rack{}, two, func(r *rack) { r.Ring = r.One }, func(r *rack) { r.Ring.V = 9 }},
		"both of them changed": {&rack{}, two, func(r *rack) { r.Ring = r.One }, func(r *rack) { r.One.V, r.Ring.V = 8, 9 }},
		"one takes the place of the other": {&rack{List: make([]*part, 2)}, func(r *rack) { r.List[0], r.List[1] = &part{V: 7}, &part{V: 7} },
			func(r *rack) { r.List[0], r.List[1] = r.List[1], nil }, func(r *rack) { r.List[0].V = 9 }},
		"they change places": {&rack{}, func(r *rack) { r.ByKey = map[string]*part{"a": {V: 7}, "b": {V: 7}} },
			func(r *rack) { r.ByKey["a"], r.ByKey["b"] = r.ByKey["b"], r.ByKey["a"] }, func(r *rack) { r.ByKey["a"].V = 9 }},
	} {
		for _, back := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " ", back), func(t *testing.T) {
				d := racks{t, openMemory(t)}
				d.edit("main", func(_ func(string) *rack, put func(string, *rack)) { put("a", c.first) })
				if err := d.d.Branch(context.Background(), "other", must(d.d.Head(context.Background(), "main"))(t)); err != nil {
					t.Fatal(err)
				}
				d.a("main", c.add)
				d.a("other", c.add)
				if c := d.merge("main", "other", nil); c != "" {
					t.Fatal("first: ", c)
				}
				d.a("main", c.ours)
				d.a("other", c.theirs)
				into, from := "main", "other"
				if back {
					into, from = from, into
				}
				if c := d.merge(into, from, db.TakeOurs); c == "" {
					t.Error("no conflict")
				}
				verifyDeep(t, d.d)
			})
		}
	}
}

// One object of a branch is not two of the other.
func TestMergeOfOneNewObjectAndTwo(t *testing.T) {
	for _, into := range []string{"main", "other"} {
		d := racks{t, openMemory(t)}
		d.edit("main", func(_ func(string) *rack, put func(string, *rack)) { put("a", &rack{}) })
		if err := d.d.Branch(context.Background(), "other", must(d.d.Head(context.Background(), "main"))(t)); err != nil {
			t.Fatal(err)
		}
		d.a("main", func(r *rack) { r.One = &part{V: 7}; r.Ring = r.One })
		d.a("other", func(r *rack) { r.One, r.Ring = &part{V: 7}, &part{V: 7} })
		from := map[string]string{"main": "other", "other": "main"}[into]
		if c := d.merge(into, from, db.TakeOurs); c == "" {
			t.Errorf("into %s: no conflict", into)
		}
	}
}
