package pod

import (
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// scribble overwrites all memory of a change, as a sender may once Put returned.
func scribble(c *Change) {
	clear(c.Refs)
	for _, e := range c.Exports {
		clear(e.Edges.List)
	}
	clear(c.Exports)
	for _, w := range c.Slots {
		clear(w.Data.Bytes)
		clear(w.Data.Runs)
		for _, r := range w.Runs {
			clear(r.Bytes)
		}
		clear(w.Runs)
	}
	clear(c.Slots)
	clear(c.Drop)
}

func TestApplyMakesTheNextState(t *testing.T) {
	seeds(t, 400, func(t *testing.T, g gen) {
		var base *Pod
		for range 8 {
			next := trimmed(g.pod())
			if base != nil {
				next = trimmed(g.next(base))
			}
			c := g.change(base, next)
			for i := range c.Exports { // the sender's own memory
				c.Exports[i].Edges.List = append([]uint32(nil), c.Exports[i].Edges.List...)
			}
			got, err := Apply(base, c)
			if err != nil {
				t.Fatalf("%v\n%+v", err, c)
			}
			scribble(c)
			wantPod(t, "applied", got, next)
			if base != nil && !c.Whole {
				wantShared(t, base, got)
			}
			base = got
		}
	})
}

// wantShared checks that slots that are the same are the same memory.
func wantShared(t *testing.T, base, next *Pod) {
	t.Helper()
	for i := range min(len(base.Slots), len(next.Slots)) {
		a, b := base.Slots[i], next.Slots[i]
		if len(a.Bytes) > 0 && sameSlot(&a, &b) && &a.Bytes[0] != &b.Bytes[0] {
			t.Fatalf("slot %d was copied", i)
		}
	}
}

// A borrowed pod is the applied one in the sender's memory, and its head and
// slots are the whole version.
func TestBorrowSharesTheMemoryOfTheChange(t *testing.T) {
	c := &Change{ID: 3, New: true, Refs: []Ref{{Pod: 9}}, Exports: []Export{{0, EdgeSet{All: true}}}, Slots: []SlotWrite{
		{Slot: 0, Data: Data{Kind: SlotBox, Type: 2, Bytes: []byte("root")}},
		{Slot: 2, Data: Data{Kind: SlotArray, Type: 2, Bytes: []byte("elements"), Runs: []uint32{4, 4}}},
	}}
	applied, err := Apply(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	borrowed, err := Borrow(nil, c)
	if err != nil {
		t.Fatal(err)
	}
	whole := AppendWhole(nil, applied)
	pieces := AppendWholeHead(nil, borrowed)
	for _, s := range borrowed.Slots {
		pieces = append(pieces, s.Bytes...)
	}
	if string(pieces) != string(whole) {
		t.Fatalf("%x, want %x", pieces, whole)
	}
	if &borrowed.Slots[2].Bytes[0] != &c.Slots[1].Data.Bytes[0] || &applied.Slots[2].Bytes[0] == &c.Slots[1].Data.Bytes[0] {
		t.Fatal("Borrow copies, or Apply does not")
	}
}

func TestApplyRefusesWhatCannotBe(t *testing.T) {
	base := &Pod{
		Refs:    []Ref{{Pod: 5}},
		Slots:   []Data{{Kind: SlotBox, Type: 2, Bytes: []byte{1}}, {Kind: SlotArray, Type: 2, Bytes: []byte{1, 2}, Runs: []uint32{1, 1}}},
		Exports: []Export{{0, EdgeSet{All: true}}},
	}
	runs := func(num int, list ...RunWrite) []SlotWrite {
		return []SlotWrite{{Slot: 1, Data: Data{Kind: SlotArray, Type: 2}, NumRuns: num, Runs: list}}
	}
	exports := func(e ...Export) Change { return Change{Refs: base.Refs, Exports: e} }
	slots := func(w []SlotWrite) Change { return Change{Refs: base.Refs, Exports: base.Exports, Slots: w} }
	for name, c := range map[string]Change{
		"new with a base":              {New: true},
		"whole with drops":             {Whole: true, Drop: []Slot{0}},
		"slot beyond all":              slots([]SlotWrite{{Slot: 1 << 31, Data: Data{Kind: SlotBox}}}),
		"unknown kind":                 slots([]SlotWrite{{Slot: 0, Data: Data{Kind: slotKinds}}}),
		"free slot with bytes":         slots([]SlotWrite{{Slot: 1, Data: Data{Bytes: []byte{1}}}}),
		"runs that do not add up":      slots([]SlotWrite{{Slot: 1, Data: Data{Kind: SlotArray, Bytes: []byte{1}, Runs: []uint32{2}}}}),
		"no runs at all":               slots([]SlotWrite{{Slot: 1, Data: Data{Kind: SlotArray, Runs: []uint32{}}}}),
		"run beyond the number":        slots(runs(2, RunWrite{2, nil})),
		"run not there":                slots(runs(4, RunWrite{3, nil})),
		"runs not ascending":           slots(runs(2, RunWrite{1, nil}, RunWrite{0, nil})),
		"negative run":                 slots(runs(2, RunWrite{-1, nil})),
		"runs of a slot without":       slots([]SlotWrite{{Slot: 0, Runs: []RunWrite{{0, nil}}, NumRuns: 1}}),
		"slot grows by runs not there": slots([]SlotWrite{{Slot: 1, Data: Data{Kind: SlotArray, Type: 2}, NumRuns: 3, Runs: []RunWrite{}}}),
		"drop of a free slot":          {Refs: base.Refs, Exports: base.Exports, Drop: []Slot{7}},
		"root not exported":            exports(Export{1, EdgeSet{}}),
		"no exports":                   exports(),
		"export of nothing":            exports(Export{0, EdgeSet{}}, Export{7, EdgeSet{}}),
		"exports not ascending":        exports(Export{0, EdgeSet{}}, Export{0, EdgeSet{}}),
		"edge to an unused number":     exports(Export{0, EdgeSet{List: []uint32{1}}}),
		"edges not ascending":          exports(Export{0, EdgeSet{List: []uint32{0, 0}}}),
		"all and a list":               exports(Export{0, EdgeSet{All: true, List: []uint32{0}}}),
		"reference to pod 0":           {Refs: []Ref{{Slot: 3}}, Exports: base.Exports},
	} {
		if p, err := Apply(base, &c); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if _, err := Apply(nil, &Change{}); !errors.Is(err, dberr.ErrInvalid) {
		t.Errorf("changed without a base: %v", err)
	}
}
