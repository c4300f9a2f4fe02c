package db_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// tray is an object with others that it alone, or another one too, leads to.
type tray struct {
	N    int
	Cups []*cup
}

type cup struct{ ID, V int }

// trays are branches with variables that are trays.
type trays struct {
	*testing.T
	d *db.DB
}

func openTrays(t *testing.T) trays { return trays{t, openMemory(t)} }

func (t trays) put(branch, name string, fn func(get func(string) *tray) *tray) db.Version {
	t.Helper()
	return must(t.d.Update(context.Background(), func(ctx context.Context, tx *db.Tx) error {
		return tx.Put(ctx, name, fn(func(name string) *tray { return must(db.Get[*tray](ctx, tx, name))(t.T) }))
	}, db.TxOptions{Branch: branch}))(t.T)
}

func (t trays) fresh(branch, name string, n int) db.Version {
	t.Helper()
	return t.put(branch, name, func(func(string) *tray) *tray { return &tray{n, []*cup{{n, n}}} })
}

func (t trays) edit(branch, name string, fn func(*tray)) {
	t.Helper()
	t.put(branch, name, func(get func(string) *tray) *tray {
		x := get(name)
		fn(x)
		return x
	})
}

func (t trays) delete(branch, name string) {
	t.Helper()
	must(t.d.Update(context.Background(), func(ctx context.Context, tx *db.Tx) error { return tx.Delete(ctx, name) }, db.TxOptions{Branch: branch}))(t.T)
}

func (t trays) fork(names ...string) {
	t.Helper()
	for _, n := range names {
		if err := t.d.Branch(context.Background(), n, must(t.d.Head(context.Background(), "main"))(t.T)); err != nil {
			t.Fatal(err)
		}
	}
}

// is compares a variable of a branch: its number, and the values of its cups.
func (t trays) is(branch, name, want string) {
	t.Helper()
	s := must(t.d.At(context.Background(), must(t.d.Head(context.Background(), branch))(t.T)))(t.T)
	defer s.Close()
	x := must(db.Get[*tray](context.Background(), s, name))(t.T)
	got := fmt.Sprint(x.N)
	for _, c := range x.Cups {
		got += fmt.Sprint(" ", c.V)
	}
	if got != want {
		t.Errorf("%s on %s is %s, expected %s", name, branch, got, want)
	}
}

// merge merges and verifies; the conflicts are as text.
func (t trays) merge(into, from string, resolve db.Resolver) string {
	t.Helper()
	r, err := t.d.Merge(context.Background(), db.MergeOptions{Into: into, From: from, Resolve: resolve})
	if err != nil {
		t.Fatal(err)
	}
	verifyDeep(t.T, t.d)
	return conflictTexts(r.Conflicts)
}

// What a branch made before it was merged, and changed since, is one object: the next merge, in
// either direction, has no conflict, whatever the other branch has done.
func TestMergeOfWhatAMergeBrought(t *testing.T) {
	for i := range 16 {
		t.Run(fmt.Sprintf("%04b", i), func(t *testing.T) {
			d := openTrays(t)
			d.fresh("main", "a", 1)
			d.fork("other")
			d.edit("other", "a", func(x *tray) { x.Cups = append(x.Cups, &cup{2, 2}) })
			n := 1
			if i&1 != 0 {
				n = 7
				d.edit("main", "a", func(x *tray) { x.N = n })
			}
			if c := d.merge("main", "other", nil); c != "" {
				t.Fatal("first: ", c)
			}
			if i&8 != 0 { // once more before the change
				d.edit("other", "a", func(x *tray) { x.Cups[0].V = 5 })
				d.merge("main", "other", nil)
			} else {
				d.edit("main", "a", func(x *tray) { x.Cups[0].V = 5 })
			}
			d.edit("other", "a", func(x *tray) { x.Cups[1].V = 9 })
			if i&2 != 0 {
				n = 8
				d.edit("main", "a", func(x *tray) { x.N = n })
			}
			into, from := "main", "other"
			if i&4 != 0 {
				into, from = from, into
			}
			if c := d.merge(into, from, nil); c != "" {
				t.Fatal("second: ", c)
			}
			d.is(into, "a", fmt.Sprint(n, " 5 9"))
		})
	}
}

// An object that a merge moved, because both branches had given out its place, is the same to the next merges,
// in either direction, and over a third branch: it is changed, referred to again and taken away as any other.
func TestMergeOfWhatAMergeMoved(t *testing.T) {
	for i := range 32 {
		t.Run(fmt.Sprintf("%05b", i), func(t *testing.T) {
			d := openTrays(t)
			d.fresh("main", "a", 1)
			d.fork("other")
			d.edit("main", "a", func(x *tray) { x.Cups = append(x.Cups, &cup{2, 2}) })
			d.edit("other", "a", func(x *tray) { x.Cups = append(x.Cups, &cup{3, 3}) })
			if c := d.merge("main", "other", db.TakeTheirs); !strings.Contains(c, "a.Cups") {
				t.Fatal("first: ", c)
			}
			d.is("main", "a", "1 1 3")
			if i&16 != 0 {
				d.fork("third")
				d.edit("third", "a", func(x *tray) { x.N = 6 })
				d.merge("main", "third", nil)
			} else {
				d.edit("main", "a", func(x *tray) { x.N = 6 })
			}
			if i&1 != 0 {
				d.edit("main", "a", func(x *tray) { x.Cups[0].V = 5 })
			} else {
				d.edit("other", "a", func(x *tray) { x.Cups[0].V = 5 })
			}
			if i&2 != 0 {
				d.edit("other", "a", func(x *tray) { x.Cups[1].V = 9 })
			} else {
				d.edit("main", "a", func(x *tray) { x.Cups[1].V = 9 })
			}
			d.put("other", "b", func(get func(string) *tray) *tray { return &tray{7, get("a").Cups} })
			into, from := "main", "other"
			if i&4 != 0 {
				into, from = from, into
			}
			if c := d.merge(into, from, nil); c != "" {
				t.Fatal("second: ", c)
			}
			if i&8 != 0 { // and what that brought, back again
				into, from = from, into
				d.edit(from, "a", func(x *tray) { x.N, x.Cups[1].V = 8, 10 })
				d.put(into, "c", func(get func(string) *tray) *tray { return &tray{3, get("a").Cups} })
				if c := d.merge(into, from, nil); c != "" {
					t.Fatal("third: ", c)
				}
				d.is(into, "a", "8 5 10")
				d.is(into, "b", "7 5 10")
				d.is(into, "c", "3 5 10")
			}
			d.edit(into, "a", func(x *tray) { x.Cups[1].V = 11 })
			d.is(into, "b", "7 5 11")
			d.edit(into, "b", func(x *tray) { x.Cups[0].V = 12 })
			n := 6
			if i&8 != 0 {
				n = 8
			}
			d.is(into, "a", fmt.Sprint(n, " 12 11"))
		})
	}
}

// An object that a merge moved is known by its generation and home alone, whatever retention has removed since.
func TestMergeOfWhatAMergeMovedBeforeAPrune(t *testing.T) {
	for _, into := range []string{"main", "other"} {
		d := openTrays(t)
		d.put("main", "a", func(func(string) *tray) *tray { return &tray{1, make([]*cup, 2)} })
		d.fork("other")
		d.edit("main", "a", func(x *tray) { x.Cups[0] = &cup{2, 3} })
		d.edit("other", "a", func(x *tray) { x.Cups[1] = &cup{3, 3} })
		d.merge("main", "other", nil)
		d.edit("main", "a", func(x *tray) { x.N = 5 })
		must(d.d.Prune(context.Background(), db.PruneOptions{Policy: db.KeepLast(1)}))(t)
		d.edit("other", "a", func(x *tray) { x.Cups[1].V = 9 })
		from := "other"
		if into == from {
			from = "main"
		}
		if c := d.merge(into, from, nil); c != "" {
			t.Errorf("into %s: %s", into, c)
		}
		d.is(into, "a", "5 3 9")
	}
}

// What one side changed comes with its pod if something new refers to it: it is not lost, though the other side dropped and
// collected all of that pod.
func TestMergeBringsBackWhatWasCollected(t *testing.T) {
	d := openTrays(t)
	d.fresh("main", "a", 1)
	d.fork("other")
	d.fresh("main", "c", 3)
	d.delete("main", "a")
	must(d.d.Collect(context.Background(), db.CollectOptions{Branch: "main"}))(t)
	d.edit("other", "a", func(x *tray) { x.Cups[0].V = 9 })
	d.put("other", "b", func(get func(string) *tray) *tray { return &tray{2, get("a").Cups} })
	d.edit("main", "c", func(x *tray) { x.N = 4 })
	if c := d.merge("main", "other", nil); c != "" {
		t.Fatal(c)
	}
	d.is("main", "b", "2 9")
}

// A place that was given to another object since is another value of what refers to it, though
// the bytes of that are what they were.
func TestMergeOfPlacesGivenAnew(t *testing.T) {
	again := func(d trays, branch string) {
		d.edit(branch, "a", func(x *tray) { x.Cups = append(x.Cups, &cup{2, 2}) })
		d.edit(branch, "a", func(x *tray) { x.Cups = slices.Clone(x.Cups[1:]) }) // where the first array was
	}
	for _, turned := range []bool{false, true} {
		into, from := "main", "other"
		if turned {
			into, from = from, into
		}
		d := openTrays(t)
		d.fresh("main", "a", 1)
		d.fork("other")
		d.edit("main", "a", func(x *tray) { x.N = 8 })
		again(d, "other")
		if c := d.merge(into, from, nil); c != "" {
			t.Fatal(c)
		}
		d.is(into, "a", "8 2")
	}
	d := openTrays(t)
	d.fresh("main", "a", 1)
	d.fork("other")
	d.delete("main", "a")
	again(d, "other")
	if c := d.merge("main", "other", db.TakeTheirs); c != "a: *tray → ours absent, theirs *tray (changed behind it)" {
		t.Errorf("a change behind what was deleted: %q", c)
	}
	d.is("main", "a", "1 2")
}

// What a collect took out of the branch that is merged is no change of it: pods, objects, and that
// nothing refers to an object from elsewhere any more.
func TestMergeOverCollect(t *testing.T) {
	collect := func(d trays) {
		t.Helper()
		if rep := must(d.d.Collect(context.Background(), db.CollectOptions{Branch: "other"}))(t); rep.Pods+rep.Slots == 0 {
			t.Fatalf("a collect of nothing: %+v", rep)
		}
	}
	t.Run("a pod", func(t *testing.T) {
		d := openTrays(t)
		d.fresh("main", "a", 1)
		d.fresh("main", "b", 2)
		d.fork("other")
		d.fresh("other", "a", 3)
		collect(d)
		d.edit("main", "b", func(x *tray) { x.N = 4 })
		if c := d.merge("main", "other", nil); c != "" {
			t.Fatal(c)
		}
		d.is("main", "a", "3 3")
		d.is("main", "b", "4 2")
	})
	for _, kept := range []bool{false, true} {
		t.Run(fmt.Sprint("an object of a pod, referred to by ours: ", kept), func(t *testing.T) {
			d := openTrays(t)
			d.fresh("main", "a", 1)
			d.put("main", "b", func(get func(string) *tray) *tray { return &tray{2, slices.Clone(get("a").Cups)} })
			d.fork("other")
			if kept {
				d.put("main", "c", func(get func(string) *tray) *tray { return &tray{3, slices.Clone(get("a").Cups)} })
			} else {
				d.fresh("main", "c", 3)
			}
			d.delete("other", "a")
			collect(d)
			if c := d.merge("main", "other", nil); c != "" {
				t.Fatal(c)
			}
			d.is("main", "b", "2 1")
			d.is("main", "c", map[bool]string{false: "3 3", true: "3 1"}[kept])
		})
	}
	t.Run("a reference from elsewhere", func(t *testing.T) {
		d := openTrays(t)
		d.fresh("main", "a", 1)
		d.put("main", "b", func(get func(string) *tray) *tray { return &tray{2, slices.Clone(get("a").Cups)} })
		d.delete("main", "b")
		d.fork("other")
		collect(d)
		d.put("main", "c", func(get func(string) *tray) *tray { return &tray{3, slices.Clone(get("a").Cups)} })
		if c := d.merge("main", "other", nil); c != "" {
			t.Fatal(c)
		}
		d.is("main", "c", "3 1")
	})
}

// Nobody is asked about objects that both branches have let go of.
func TestMergeOfWhatBothLetGoOf(t *testing.T) {
	d := openTrays(t)
	d.fresh("main", "a", 1)
	d.fork("other")
	for i, branch := range []string{"main", "other"} {
		d.edit(branch, "a", func(x *tray) { x.N = 5 + i })
		d.delete(branch, "a")
		d.fresh(branch, branch, i)
	}
	if c := d.merge("main", "other", nil); c != "" {
		t.Errorf("conflicts: %s", c)
	}
	d.is("main", "other", "1 1")
}

// What is known of some objects of a pod, since a merge brought them, says nothing of the others
// when the way of those is not known any more: after a prune, and after more merges than are
// looked at.
func TestMergeOverWaysThatAreNotKnown(t *testing.T) {
	for name, rounds := range map[string]int{"pruned": 3, "many merges": 70} {
		t.Run(name, func(t *testing.T) {
			d := openTrays(t)
			d.put("main", "a", func(func(string) *tray) *tray { return &tray{1, []*cup{{1, 1}, {2, 2}, {3, 3}}} })
			d.fork("other")
			for i := range rounds {
				d.edit("main", "a", func(x *tray) { x.Cups[0].V = 100 + i })
				d.edit("other", "a", func(x *tray) { x.Cups[1].V = 200 + i })
				d.merge("main", "other", nil)
			}
			if name == "pruned" {
				must(d.d.Prune(context.Background(), db.PruneOptions{Policy: db.KeepLast(1)}))(t)
			}
			d.edit("other", "a", func(x *tray) { x.Cups = append(x.Cups, &cup{4, 4}) })
			d.put("other", "c", func(get func(string) *tray) *tray { return &tray{3, []*cup{get("a").Cups[3]}} })
			d.merge("main", "other", nil)
			d.edit("main", "a", func(x *tray) { x.Cups[0].V = 5 })
			d.edit("other", "a", func(x *tray) { x.Cups[1].V = 6 })
			d.edit("other", "a", func(x *tray) { x.Cups[2].V = 7 })
			if c := d.merge("main", "other", nil); c != "" {
				t.Errorf("a conflict where there is none: %s", c)
			}
			d.is("main", "a", "1 5 6 7 4")
		})
	}
}

// A merge that takes a pod of theirs as it is does not give a slot from one object to another:
// who knew the first one would take the second one for it.
func TestMergeDoesNotGiveASlotToAnotherObject(t *testing.T) {
	d := openTrays(t)
	d.fresh("main", "a", 1)
	d.fresh("main", "b", 1)
	d.fork("other", "dev")
	d.edit("other", "a", func(x *tray) { x.Cups[0] = nil })
	d.edit("other", "a", func(x *tray) { x.Cups[0] = &cup{2, 1} })
	d.edit("main", "b", func(x *tray) { x.N = 4 })
	if c := d.merge("main", "other", nil); c != "" {
		t.Fatal(c)
	}
	d.edit("dev", "a", func(x *tray) { x.Cups[0].V = 9 })
	if c := d.merge("main", "dev", db.TakeOurs); c == "" {
		t.Error("theirs changed an object that ours has replaced, and there is no conflict")
	}
	d.is("main", "a", "1 1")
}

// An object that was given the slot of another one of its type is not taken for that, whatever
// retention has removed of the way between.
func TestMergeTellsObjectsOfOneSlotApart(t *testing.T) {
	back := func(d trays, v db.Version) {
		must(d.d.RevertTo(context.Background(), v))(t)
	}
	prune := func(d trays) {
		must(d.d.Prune(context.Background(), db.PruneOptions{Policy: db.KeepLast(1)}))(t)
	}
	for name, c := range map[string]func(d trays) (into, from, want string){
		"pruned": func(d trays) (string, string, string) {
			d.fresh("main", "a", 1)
			d.fork("other")
			d.edit("other", "a", func(x *tray) { x.Cups[0] = nil })
			d.edit("other", "a", func(x *tray) { x.Cups[0] = &cup{2, 1} })
			prune(d)
			d.edit("main", "a", func(x *tray) { x.Cups[0].V = 9 })
			return "other", "main", "1 1"
		},
		"pruned, at the end of a pod": func(d trays) (string, string, string) {
			d.put("main", "a", func(func(string) *tray) *tray { return &tray{1, []*cup{{1, 1}}} })
			d.edit("main", "a", func(x *tray) { x.Cups[0] = nil })
			d.edit("main", "a", func(x *tray) { x.Cups[0] = &cup{3, 3} })
			d.fork("other")
			d.edit("other", "a", func(x *tray) { x.Cups[0] = nil })
			d.edit("other", "a", func(x *tray) { x.Cups[0] = &cup{2, 3} })
			prune(d)
			d.edit("main", "a", func(x *tray) { x.Cups[0].V = 9 })
			return "main", "other", "1 9"
		},
		"went back to a version": func(d trays) (string, string, string) {
			v := d.fresh("main", "a", 1)
			d.edit("main", "a", func(x *tray) { x.Cups[0] = nil })
			d.edit("main", "a", func(x *tray) { x.Cups[0] = &cup{2, 1} })
			d.fork("other")
			back(d, v)
			d.edit("other", "a", func(x *tray) { x.Cups[0].V = 9 })
			return "main", "other", "1 1"
		},
		"went back to a version and pruned": func(d trays) (string, string, string) {
			v := d.fresh("main", "a", 1)
			d.edit("main", "a", func(x *tray) { x.Cups[0] = nil })
			d.edit("main", "a", func(x *tray) { x.Cups[0] = &cup{2, 1} })
			d.fork("other")
			back(d, v)
			d.edit("main", "a", func(x *tray) { x.N = 1 })
			prune(d)
			d.edit("other", "a", func(x *tray) { x.Cups[0].V = 9 })
			return "other", "main", "1 9"
		},
	} {
		t.Run(name, func(t *testing.T) {
			d := openTrays(t)
			into, from, want := c(d)
			if c := d.merge(into, from, db.TakeOurs); c == "" {
				t.Error("theirs changed an object that ours has replaced, and there is no conflict")
			}
			d.is(into, "a", want)
		})
	}
}

// A side that lets go of an object of another pod and comes back to it has not changed what refers to it, though the
// reference has another number in the pod then.
func TestMergeKnowsReferencesWithOtherNumbers(t *testing.T) {
	for _, ours := range []string{"main", "other"} {
		t.Run("edits on "+ours, func(t *testing.T) {
			s := openTrays(t)
			s.put("main", "x", func(func(string) *tray) *tray { return &tray{0, []*cup{{1, 1}, {2, 2}, {3, 3}, {4, 4}}} })
			s.put("main", "y", func(get func(string) *tray) *tray { return &tray{0, slices.Clone(get("x").Cups[:3])} })
			s.fork("other")
			theirs := map[string]string{"main": "other", "other": "main"}[ours]
			s.edit(ours, "y", func(y *tray) { y.Cups[0] = nil })
			for _, n := range []int{3, 0} {
				s.put(ours, "y", func(get func(string) *tray) *tray {
					y := get("y")
					y.Cups[0] = get("x").Cups[n]
					return y
				})
			}
			s.edit(theirs, "y", func(y *tray) { y.Cups = y.Cups[1:] })
			if got := s.merge("main", "other", nil); got != "" {
				t.Errorf("conflicts: %s", got)
			}
			s.is("main", "y", "0 2 3")
		})
	}
}

// What a merge moved is the same object to the next one also if its pod's first version has it.
func TestMergeKnowsWhatItMovedOfAFirstVersion(t *testing.T) {
	s := openTrays(t)
	s.put("main", "x", func(func(string) *tray) *tray { return &tray{0, []*cup{{1, 1}}} })
	s.fork("other")
	s.put("other", "y", func(get func(string) *tray) *tray { return &tray{0, []*cup{get("x").Cups[0], {3, 3}}} })
	s.edit("main", "x", func(x *tray) { x.Cups = nil })
	s.edit("main", "x", func(x *tray) { x.Cups = []*cup{{2, 2}, {4, 4}} }) // in the slots that are out of use
	for _, m := range [][2]string{{"main", "other"}, {"other", "main"}} {
		if got := s.merge(m[0], m[1], nil); got != "" {
			t.Fatalf("conflicts: %s", got)
		}
		s.is(m[0], "x", "0 2 4")
		if m[0] == "main" {
			s.is("main", "y", "0 1 3")
			s.edit("other", "y", func(y *tray) { y.Cups = y.Cups[1:] })
		}
	}
	s.is("other", "y", "0 3")
}
