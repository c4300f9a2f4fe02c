package pod

import (
	"slices"
	"testing"
)

// A slot has the generation of the change that gave it out, as long as it is in use.
func TestSlotsGivenOutHaveTheGenerationOfTheirChange(t *testing.T) {
	write := func(slots ...Slot) (list []SlotWrite) {
		for _, s := range slots {
			list = append(list, SlotWrite{Slot: s, Data: Data{Kind: SlotObject, Type: 64, Bytes: []byte{byte(s)}}})
		}
		return list
	}
	at := func(n uint64) Generation { return Generation{Line: 1, Number: n} }
	root := []Export{{Slot: 0}}
	var p *Pod
	for i, c := range []struct {
		change Change
		want   []SlotGeneration
	}{
		{Change{New: true, Whole: true, Slots: write(0, 1, 2, 3)}, nil},
		{Change{Slots: write(1), Gen: at(1)}, nil},
		{Change{Drop: []Slot{1, 3}, Gen: at(2)}, nil},
		{Change{Slots: write(3), Gen: at(3)}, []SlotGeneration{{3, at(3)}}},
		{Change{Slots: write(1, 3, 4), Gen: at(4)}, []SlotGeneration{{1, at(4)}, {3, at(3)}, {4, at(4)}}},
		{Change{Whole: true, Slots: write(0, 1, 2, 4), Gen: at(5)}, []SlotGeneration{{1, at(4)}, {4, at(4)}}},
		{Change{Slots: write(1, 3, 5), Given: []SlotGeneration{{1, Generation{}}, {3, at(3)}, {5, Generation{}}}, Gen: at(6)}, []SlotGeneration{{3, at(3)}, {4, at(4)}}},
		{Change{Drop: []Slot{3, 4, 5}, Gen: at(7)}, nil},
	} {
		c.change.Exports = root
		next, err := Apply(p, &c.change)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(next.Generations, c.want) {
			t.Fatalf("step %d: %v, want %v", i, next.Generations, c.want)
		}
		if p != nil {
			wantPod(t, "patched", reread(t, p, AppendPatch(nil, p, next, testOwn), nil), next)
			v, err := DecodeVersion(AppendPatch(nil, p, next, c.change.Gen))
			if err != nil {
				t.Fatal(err)
			}
			v.SetGeneration(c.change.Gen)
			again, err := Merge(p, v, nil)
			if err != nil {
				t.Fatal(err)
			}
			wantPod(t, "patched by its change", again, next)
		}
		wantPod(t, "whole", reread(t, nil, AppendWhole(nil, next), nil), next)
		p = next
	}
}

// Generations cost nothing where there are none, and in a patch that gives out slots; in it others cost a
// few bytes.
func TestGenerationsAreShort(t *testing.T) {
	base := &Pod{Exports: []Export{{Slot: 0}}, Slots: []Data{{Kind: SlotObject, Type: 64, Bytes: []byte{1}}}}
	next := &Pod{Exports: base.Exports, Slots: append(slices.Clone(base.Slots), Data{Kind: SlotObject, Type: 64, Bytes: []byte{2}})}
	without := AppendPatch(nil, base, next, testOwn)
	if without[0]>>4 != formatVersion || AppendWhole(nil, next)[0]>>4 != formatVersion {
		t.Error("a version without generations is not as it was")
	}
	next.Generations = []SlotGeneration{{1, Generation{Line: 1, Number: 1 << 20}}}
	if more := len(AppendPatch(nil, base, next, testOwn)) - len(without); more > 7 {
		t.Errorf("a generation takes %d bytes", more)
	}
	if more := len(AppendPatch(nil, base, next, Generation{Line: 1, Number: 1 << 20})) - len(without); more != 0 {
		t.Errorf("the generation of its own change takes %d bytes in a patch", more)
	}
	for s := Slot(2); s < 100; s++ {
		next.Slots = append(next.Slots, next.Slots[1])
		next.Generations = append(next.Generations, SlotGeneration{s, Generation{Line: 1, Number: 1 << 20}})
	}
	if n := len(appendGenerations(nil, next.Generations)); n > 8 {
		t.Errorf("99 slots given out at once take %d bytes", n)
	}
}
