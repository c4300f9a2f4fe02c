package podder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// fakeHints vouches for what a test says, and notes what it was asked.
type fakeHints struct {
	now   uint64
	vouch func(from, to uint64, asked []MemoryRange) []MemoryRange
	asked [][2]uint64
}

func (h *fakeHints) Moment() uint64 {
	h.now++
	return h.now
}

func (h *fakeHints) Unchanged(list []MemoryRange, from, to uint64, asked []MemoryRange) []MemoryRange {
	h.asked = append(h.asked, [2]uint64{from, to})
	return append(list, h.vouch(from, to, asked)...)
}

// anywhere is all memory there is.
func anywhere(uint64, uint64, []MemoryRange) []MemoryRange {
	return []MemoryRange{{0, math.MaxUint}}
}

// hinted returns a graph with a source that vouches for nothing yet, saved until saves
// do without a walk.
func hinted(t *testing.T, verify int, vars ...any) (*Graph, *fakeStore, *fakeHints) {
	t.Helper()
	s := newFakeStore()
	h := &fakeHints{vouch: func(uint64, uint64, []MemoryRange) []MemoryRange { return nil }}
	cfg := indexed(s)
	cfg.Hints, cfg.VerifyEvery = h, verify
	g := mustGraph(t, cfg)
	mustSave(t, g, s, vars...)
	mustStayQuiet(t, g, s, vars...)
	mustResave(t, g, s, vars...)
	return g, s, h
}

type hintedNode struct {
	N     int
	Name  string
	Next  *hintedNode
	M     map[string]int
	Flat  []int64
	Small []int64
	Names []string
	A     *atomic.Int64
}

func newHintedNode() *hintedNode {
	return &hintedNode{Name: "name", M: map[string]int{"a": 1}, Flat: make([]int64, 20_000), Small: make([]int64, 3), Names: slices.Repeat([]string{"x"}, 100), A: new(atomic.Int64)}
}

// What is vouched for is not compared: a hint that is wrong hides a change. This is what
// the tests below rest on. Only what lies in it as a whole is passed over, in one range or
// in several that touch.
func TestWhatHintsVouchForIsNotCompared(t *testing.T) {
	cut := func(m MemoryRange, at ...uintptr) (list []MemoryRange) {
		for _, off := range at {
			list = append(list, MemoryRange{m.Start, m.Start + off})
			m.Start += off
		}
		return append(list, m)
	}
	for name, c := range map[string]struct {
		vouch  func(m MemoryRange) []MemoryRange
		hidden bool
	}{
		"nothing":           {func(MemoryRange) []MemoryRange { return nil }, false},
		"all":               {func(m MemoryRange) []MemoryRange { return []MemoryRange{m} }, true},
		"more":              {func(m MemoryRange) []MemoryRange { return []MemoryRange{{m.Start - 5, m.End + 5}} }, true},
		"without the first": {func(m MemoryRange) []MemoryRange { return []MemoryRange{{m.Start + 1, m.End}} }, false},
		"without the last":  {func(m MemoryRange) []MemoryRange { return []MemoryRange{{m.Start, m.End - 1}} }, false},
		"in parts":          {func(m MemoryRange) []MemoryRange { return cut(m, 1, 3, 7) }, true},
		"in parts that overlap": {func(m MemoryRange) []MemoryRange {
			return []MemoryRange{{m.Start + 8, m.End}, {m.Start, m.Start + 9}, {m.Start + 2, m.Start + 3}}
		}, true},
		"in any order": {func(m MemoryRange) []MemoryRange {
			list := cut(m, 1, 3, 7)
			slices.Reverse(list)
			return append(list, MemoryRange{1, 2}, MemoryRange{m.End + 100, m.End + 1})
		}, true},
		"with a hole": {func(m MemoryRange) []MemoryRange { return slices.Delete(cut(m, 8, 1), 1, 2) }, false},
		"around it":   {func(m MemoryRange) []MemoryRange { return []MemoryRange{{1, m.Start}, {m.End, math.MaxUint}} }, false},
		"turned over": {func(m MemoryRange) []MemoryRange { return []MemoryRange{{m.End, m.Start}} }, false},
	} {
		x := newHintedNode()
		for what, change := range map[string]struct {
			memory MemoryRange
			write  func(n int)
		}{
			"object":      {MemoryOf(unsafe.Slice(x, 1)), func(n int) { x.N = n }},
			"flat":        {MemoryOf(x.Flat), func(n int) { x.Flat[7] = int64(n) }},
			"small array": {MemoryOf(x.Small), func(n int) { x.Small[2] = int64(n) }},
			"strings":     {MemoryOf(x.Names), func(n int) { x.Names[99] = fmt.Sprint(n) }},
		} {
			t.Run(name+" of "+what, func(t *testing.T) {
				g, s, h := hinted(t, 0, "x", x)
				h.vouch = func(uint64, uint64, []MemoryRange) []MemoryRange { return c.vouch(change.memory) }
				change.write(1 + x.N + len(x.Names[99]))
				tx := s.begin()
				saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
				if err != nil {
					t.Fatal(err)
				}
				if saved.Walked || (len(tx.changes) == 0) != c.hidden || (saved.Hinted == 1) != c.hidden {
					t.Errorf("%d pods were written, %d regions passed over, walked: %v", len(tx.changes), saved.Hinted, saved.Walked)
				}
				saved.Abort()
				h.vouch = func(uint64, uint64, []MemoryRange) []MemoryRange { return nil }
				if tx := mustResave(t, g, s, "x", x); len(tx.changes) == 0 {
					t.Error("the change was lost")
				}
				reload(t, s, plainConfig(g.cfg), "x", x)
			})
		}
	}
}

// Whatever is said, maps are compared (their groups lie elsewhere), and variables, and what
// has no fingerprint.
func TestHintsDoNotCountForMapsAtomicsAndVariables(t *testing.T) {
	x, y := newHintedNode(), newHintedNode()
	vars := []any{"x", x, "y", y}
	g, s, h := hinted(t, 1, vars...)
	h.vouch = anywhere
	for name, change := range map[string]func(){
		"entry":     func() { x.M["a"]++ },
		"new entry": func() { x.M[fmt.Sprint(len(x.M))] = 1 },
		"atomic":    func() { x.A.Add(1) },
		"variable":  func() { vars[3] = &hintedNode{Name: "z", N: x.M["a"]} },
	} {
		t.Run(name, func(t *testing.T) {
			change()
			if tx := mustResave(t, g, s, vars...); len(tx.changes) == 0 {
				t.Error("the change was missed")
			}
			reload(t, s, plainConfig(g.cfg), vars...)
		})
	}
}

// A walk after the save finds what a wrong hint hid (VerifyEvery), the save fails, and so do those
// after it; one that walks, after a Trim, stores it.
func TestVerifyEveryFindsAWrongHint(t *testing.T) {
	x := newHintedNode()
	for what, write := range map[string]func(){
		"object":  func() { x.N++ },
		"flat":    func() { x.Flat[19_999]++ },
		"strings": func() { x.Names[5] = fmt.Sprint(x.N) },
		"edge":    func() { x.Next = &hintedNode{Next: x.Next} },
	} {
		t.Run(what, func(t *testing.T) {
			g, s, h := hinted(t, 1, "x", x)
			h.vouch = anywhere
			mustResave(t, g, s, "x", x)
			write()
			for range 2 {
				if _, err := g.Save(context.Background(), rootsOf("x", x), s.begin()); !errors.Is(err, dberr.ErrUnsound) {
					t.Fatalf("error %v", err)
				}
			}
			g.Trim()
			if tx, _ := resaved(t, g, s, "x", x); len(tx.changes) == 0 {
				t.Error("the walk did not store the change")
			}
			reload(t, s, plainConfig(g.cfg), "x", x)
		})
	}
}

// The source is asked from the moment of the newest committed save on, whatever became of
// those after it, and not for a save that walks.
func TestHintsAreAskedSinceTheCommittedSave(t *testing.T) {
	x := newHintedNode()
	g, s, h := hinted(t, 0, "x", x)
	if want := [][2]uint64{{2, 3}}; !slices.Equal(h.asked, want) {
		t.Fatalf("the first three saves asked for %v, not %v", h.asked, want)
	}
	h.asked = nil
	wrote := uint64(math.MaxUint64) // the moment before which x was written
	h.vouch = func(from, _ uint64, asked []MemoryRange) []MemoryRange {
		if wrote > from && wrote != math.MaxUint64 {
			return nil
		}
		return asked
	}
	write := func() {
		x.N++
		wrote = h.now + 1
	}
	save := func(fails error) (*Saved, *fakeTx, error) {
		tx := s.begin()
		tx.fail = fails
		saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
		return saved, tx, err
	}
	write()
	saved, tx, err := save(nil) // 4
	if err != nil || len(tx.changes) == 0 {
		t.Fatal(err)
	}
	saved.Abort()
	if _, _, err := save(errors.New("sink")); err == nil { // 5
		t.Fatal("the sink did not fail")
	}
	if _, _, err := save(nil); err != nil { // 6, overtaken by the next one
		t.Fatal(err)
	}
	saved, tx, err = save(nil) // 7
	if err != nil || len(tx.changes) == 0 {
		t.Fatalf("the change of before the saves that failed was lost: %v", err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	write() // before the Commit, but after the save
	saved.Commit()
	if tx := mustResave(t, g, s, "x", x); len(tx.changes) == 0 { // 8
		t.Fatal("what was written between Save and Commit was lost")
	}
	if tx := mustResave(t, g, s, "x", x); len(tx.changes) > 0 { // 9
		t.Fatal("written again")
	}
	if want := [][2]uint64{{3, 4}, {3, 5}, {3, 6}, {3, 7}, {7, 8}, {8, 9}}; !slices.Equal(h.asked, want) {
		t.Errorf("asked for %v, not %v", h.asked, want)
	}
	h.asked = nil
	g.Trim()
	resaved(t, g, s, "x", x)
	resaved(t, g, s, "x", x)
	if want := [][2]uint64{{10, 11}}; !slices.Equal(h.asked, want) {
		t.Errorf("after a walk asked for %v, not %v", h.asked, want)
	}
	reload(t, s, plainConfig(g.cfg), "x", x)
}

// Without an index there is nothing to ask about.
func TestHintsNeedAnIndex(t *testing.T) {
	s := newFakeStore()
	h := &fakeHints{vouch: anywhere}
	cfg := s.config()
	cfg.Hints = h
	g := mustGraph(t, cfg)
	x := newHintedNode()
	for range 4 {
		x.N++
		if tx := mustSave(t, g, s, "x", x); len(tx.changes) == 0 {
			t.Fatal("a change was missed")
		}
	}
	if h.now > 0 || len(h.asked) > 0 {
		t.Errorf("%d moments, asked for %v", h.now, h.asked)
	}
}

// watchedHints is an honest source that says as much as it can: it vouches for all memory but
// the objects and arrays whose bytes are not those of the moment asked for.
type watchedHints struct {
	fakeHints
	t    *testing.T
	g    *Graph
	seen map[uint64]map[uintptr]string // bytes by address, at each moment
}

// printed are the regions with fingerprints, by address. No two begin at one.
func (h *watchedHints) printed() map[uintptr]string {
	list := map[uintptr]string{}
	st := h.g.cur
	for i := range st.prints.list.len() {
		r := st.regions.at(i)
		k := st.prints.list.at(i).kind()
		if (k != printValues && k != printOne && k != printRow) || r.addr == nil || !st.live.has(i) {
			continue
		}
		list[uintptr(r.addr)] = strings.Clone(unsafe.String((*byte)(r.addr), st.size(r)))
	}
	return list
}

func (h *watchedHints) Moment() uint64 {
	at := h.fakeHints.Moment()
	h.seen[at] = h.printed()
	return at
}

func (h *watchedHints) Unchanged(list []MemoryRange, from, to uint64, asked []MemoryRange) []MemoryRange {
	for k := 1; k < len(asked); k++ {
		if asked[k].Start <= asked[k-1].End {
			h.t.Errorf("ranges touch or are not in order: %x", asked)
		}
	}
	var holes []MemoryRange
	inside := newQuietMemory(slices.Clone(asked))
	for at, now := range h.seen[to] {
		if len(now) > 0 && !inside.covers(at, uintptr(len(now))) {
			h.t.Errorf("nothing was asked about %d bytes at %x", len(now), at)
		}
		if was, ok := h.seen[from][at]; !ok || was != now {
			holes = append(holes, MemoryRange{at, at + uintptr(len(now))})
		}
	}
	start := uintptr(0) // all but the holes: more than was asked about
	for _, hole := range joined(holes) {
		list = append(list, MemoryRange{start, hole.Start})
		start = hole.End
	}
	return append(list, MemoryRange{start, math.MaxUint})
}

// Random graphs are saved again and again with a source that says as much as it honestly
// can. Some saves fail or are aborted, and loads bring in more. Each save is followed by a
// walk, and what is stored is compared.
func TestHintsMissNothing(t *testing.T) {
	passed := 0
	for seed := range sample(20, 8, 2) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { passed += hintsRandom(t, seed) })
	}
	if t.Logf("%d regions were passed over", passed); passed < 200 {
		t.Errorf("%d regions were passed over: the test says little", passed)
	}
}

func hintsRandom(t *testing.T, seed uint64) (passed int) {
	r := rand.New(rand.NewPCG(seed, 77))
	rg := newRndGraph(r, 1+r.IntN(40))
	s := newFakeStore()
	cfg := indexed(s)
	cfg.Registry = rndRegistry(t)
	h := &watchedHints{t: t, seen: map[uint64]map[uintptr]string{}}
	cfg.Hints = h
	g := mustGraph(t, cfg)
	h.g = g
	x, y := rg.nodes[0], rg.nodes[len(rg.nodes)/2]
	roots := rootsOf("x", x, "y", y)
	for round := range 30 {
		tx := s.begin()
		if r.IntN(8) == 0 {
			tx.fail = errors.New("sink")
		}
		saved, err := g.Save(t.Context(), roots, tx)
		switch {
		case err != nil && tx.fail != nil && errors.Is(err, tx.fail):
		case err != nil:
			t.Fatalf("round %d: %v", round, err)
		case r.IntN(6) == 0:
			saved.Abort()
		default:
			if err := tx.commit(); err != nil {
				t.Fatal(err)
			}
			passed += saved.Hinted
			saved.Commit()
			checkStored(t, s, plainConfig(cfg), x, y)
		}
		for range r.IntN(4) {
			rg.set(rndOne(r, rg.nodes), 1+r.IntN(3))
		}
		if r.IntN(10) == 0 {
			runtime.GC()
		}
		if _, stored := s.names["x"]; stored && r.IntN(15) == 0 {
			if _, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{tRnd}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return passed
}

// The ranges that a save asks about have all that it may pass over, and little else.
func TestHintsAreAskedAboutTheGraph(t *testing.T) {
	x := newHintedNode()
	g, s, h := hinted(t, 0, "x", x)
	var got []MemoryRange
	h.vouch = func(_, _ uint64, asked []MemoryRange) []MemoryRange {
		got = slices.Clone(asked)
		return asked
	}
	mustResave(t, g, s, "x", x)
	total := uintptr(0)
	for _, m := range got {
		total += m.End - m.Start
	}
	for _, m := range []MemoryRange{MemoryOf(unsafe.Slice(x, 1)), MemoryOf(x.Flat), MemoryOf(x.Small), MemoryOf(x.Names)} {
		if !slices.ContainsFunc(got, func(a MemoryRange) bool { return a.Start <= m.Start && m.End <= a.End }) {
			t.Errorf("nothing was asked about %x: %x", m, got)
		}
	}
	if most := uintptr(8*20_000 + 10<<16); total > most {
		t.Errorf("asked about %d bytes, more than %d", total, most)
	}
}

// A save that failed since it was unsound is not one of those that need no verification: who tries
// again does not lose the change.
func TestAnUnsoundSaveIsVerifiedAgain(t *testing.T) {
	x := newHintedNode()
	g, s, h := hinted(t, 2, "x", x)
	h.vouch = anywhere
	unsound := 0
	for n := range 8 {
		if n == 2 {
			x.N = 77
		}
		tx := s.begin()
		saved, err := g.Save(t.Context(), rootsOf("x", x), tx)
		switch {
		case errors.Is(err, dberr.ErrUnsound):
			unsound++
		case err != nil:
			t.Fatal(err)
		default:
			if unsound > 0 {
				t.Errorf("save %d passes, with %d changes", n, len(tx.changes))
			}
			tx.commit()
			saved.Commit()
		}
	}
	if unsound == 0 {
		t.Error("no save was found to be unsound")
	}
}
