package pod

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// Generations. A slot whose object is dropped may be given to another one, so a place says which
// object is meant only together with when it was given out. A generation is that: it names the
// change that gave the slot out.
//
//  1. Slots of a pod's first version, and of versions made by programs that did not know
//     generations, have the zero one.
//  2. A slot that was not in use and is now has the generation of the change, whose maker
//     sees to it that no two changes of a pod have one (mvcc: the line, and the number of the
//     version that the change rests on, which no other change on that line rests on).
//  3. A slot that stays in use keeps its generation.
//  4. A change may say otherwise (Given): of an object that comes from another version of the pod, by a merge
//     or by going back, with the generation that it has there.
//  5. An object that a merge moves to another slot of its pod, because its own was given out on both sides, keeps
//     its generation too, with the slot that it was given out as: its home.
//
// So two versions of a pod, on whatever branches, hold one object in a slot only if its generation is the same in
// both, and what they hold is one object if it is, but for what programs that did not know generations wrote. What they
// hold in different slots is one object if it has one home, and was given out by one change.

// Generation says when a slot was given to the object in it.
type Generation struct {
	Line   uint32
	Moved  Slot // the home of an object that was moved, plus one; else 0
	Number uint64
}

// Home is the slot that the object in slot s, which has this generation, was given out as.
func (g Generation) Home(s Slot) Slot {
	if g.Moved != 0 {
		return g.Moved - 1
	}
	return s
}

// At is the generation of the object with a home when it is in slot s.
func (g Generation) At(s, home Slot) Generation {
	if g.Moved = 0; s != home {
		g.Moved = home + 1
	}
	return g
}

// SlotGeneration is the generation of one slot.
type SlotGeneration struct {
	Slot Slot
	Gen  Generation
}

// Generation returns that of a slot.
func (p *Pod) Generation(s Slot) Generation {
	i, ok := slices.BinarySearchFunc(p.Generations, s, bySlot)
	if !ok {
		return Generation{}
	}
	return p.Generations[i].Gen
}

// Given returns the generations of all slots in use, the zero one too: for a Change that takes
// them over.
func (p *Pod) Given() []SlotGeneration {
	list := make([]SlotGeneration, 0, len(p.Slots))
	rest := p.Generations
	for s := range p.Slots {
		g := SlotGeneration{Slot: Slot(s)}
		if len(rest) > 0 && rest[0].Slot == g.Slot {
			g, rest = rest[0], rest[1:]
		}
		if p.Slots[s].Kind != SlotFree {
			list = append(list, g)
		}
	}
	return list
}

func bySlot(g SlotGeneration, s Slot) int { return int(g.Slot) - int(s) }

// generations returns those that a pod has after a change.
func generations(base *Pod, slots []Data, c *Change) []SlotGeneration {
	given := func(s Slot) bool { // the slot was out of use
		return slots[s].Kind != SlotFree && (int(s) >= len(base.Slots) || base.Slots[s].Kind == SlotFree)
	}
	none := Generation{}
	if c.Gen == none && len(base.Generations) == 0 && len(c.Given) == 0 {
		return nil
	}
	var set []SlotGeneration
	for i := range c.Slots {
		if s := c.Slots[i].Slot; int(s) < len(slots) && given(s) {
			set = append(set, SlotGeneration{s, c.Gen})
		}
	}
	set = append(set, c.Given...)
	return withGenerations(base.Generations, set, slots)
}

// withGenerations returns a list in which set replaces what is said of its slots, without slots that
// are free. The last of several that set has of a slot counts.
func withGenerations(list, set []SlotGeneration, slots []Data) []SlotGeneration {
	none := Generation{}
	fits := func(g SlotGeneration) bool {
		return int(g.Slot) < len(slots) && slots[g.Slot].Kind != SlotFree && g.Gen != none
	}
	same := func(g SlotGeneration) bool { return (&Pod{Generations: list}).Generation(g.Slot) == g.Gen }
	if !slices.ContainsFunc(list, func(g SlotGeneration) bool { return !fits(g) }) &&
		!slices.ContainsFunc(set, func(g SlotGeneration) bool { return !same(g) }) {
		return list
	}
	order := func(a, b SlotGeneration) int { return cmp.Compare(a.Slot, b.Slot) }
	if !slices.IsSortedFunc(set, order) {
		set = slices.Clone(set)
		slices.SortStableFunc(set, order)
	}
	merged := make([]SlotGeneration, 0, len(list)+len(set))
	for len(list) > 0 || len(set) > 0 {
		var g SlotGeneration
		if len(set) == 0 || len(list) > 0 && list[0].Slot < set[0].Slot {
			g, list = list[0], list[1:]
		} else {
			if len(list) > 0 && list[0].Slot == set[0].Slot {
				list = list[1:]
			}
			g, set = set[0], set[1:]
			if len(set) > 0 && set[0].Slot == g.Slot {
				continue
			}
		}
		if fits(g) {
			merged = append(merged, g)
		}
	}
	if len(merged) == 0 {
		return nil
	}
	return slices.Clip(merged)
}

// generationChanges lists what a version has to say beside its base's generations if the slots that it
// gives out have one generation: those of slots that differ, the zero one too.
func generationChanges(base, next *Pod, given Generation) []SlotGeneration {
	if len(base.Generations) == 0 && len(next.Generations) == 0 && given == (Generation{}) {
		return nil
	}
	var changes []SlotGeneration
	old, rest := base.Generations, next.Generations
	for i := range next.Slots {
		was, is := given, SlotGeneration{Slot: Slot(i)}
		if i < len(base.Slots) && base.Slots[i].Kind != SlotFree {
			was = Generation{}
		}
		if len(old) > 0 && old[0].Slot == is.Slot {
			was, old = old[0].Gen, old[1:]
		}
		if len(rest) > 0 && rest[0].Slot == is.Slot {
			is, rest = rest[0], rest[1:]
		}
		if is.Gen != was && next.Slots[i].Kind != SlotFree {
			changes = append(changes, is)
		}
	}
	return changes
}

// appendGenerationChanges appends the head byte of a version that rests on base, and what it has to say
// of generations, which is mostly in the head byte.
func appendGenerationChanges(dst []byte, kind BodyKind, base, next *Pod, own Generation) []byte {
	list := generationChanges(base, next, Generation{})
	if len(list) > 0 && own != (Generation{}) {
		if list = generationChanges(base, next, own); len(list) == 0 {
			return append(dst, givenFormat<<4|byte(kind))
		}
	}
	return appendHead(dst, kind, list)
}

// The stored form: uvarint number of runs, at least 1, then for each run of neighbours with one
// generation, ascending,
//
//	uvarint gap<<2 | several | sameLine<<1   gap: slots skipped since the run before
//	uvarint count-2                          if several
//	uvarint line                             unless it is that of the run before, 0 at first
//	uvarint zig-zag of the number less that of the run before, 0 at first
//
// If objects were moved the format is movedFormat: gap<<3 | several | sameLine<<1 | moved<<2, and if moved, of one slot,
// uvarint home follows the number.
//
// A version that has it has generationFormat in its head, so that a program that does not know
// generations refuses it. In a patch or delta it says what differs from the base, where slots that the version gives
// out have the generation of its change, which is known from where it is stored and what it rests on. If that is all
// there is to say, the head has givenFormat, and nothing follows.
const (
	runSeveral  = 1
	runSameLine = 2
	runMoved    = 4
)

// generationRun is a run as it was read.
type generationRun struct {
	first, count uint64
	gen          Generation
}

// anyMoved reports whether a list needs movedFormat.
func anyMoved(list []SlotGeneration) bool {
	return slices.ContainsFunc(list, func(g SlotGeneration) bool { return g.Gen.Moved != 0 })
}

func appendGenerations(dst []byte, list []SlotGeneration) []byte {
	runs, flags := 0, 2
	if anyMoved(list) {
		flags = 3
	}
	for i := range list {
		if !continues(list, i) {
			runs++
		}
	}
	dst = binary.AppendUvarint(dst, uint64(runs))
	from, last := Slot(0), Generation{}
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && continues(list, i+n) {
			n++
		}
		g := list[i]
		code := uint64(g.Slot-from) << flags
		if g.Gen.Moved != 0 {
			code |= runMoved
		}
		if n > 1 {
			code |= runSeveral
		}
		if g.Gen.Line == last.Line {
			code |= runSameLine
		}
		dst = binary.AppendUvarint(dst, code)
		if n > 1 {
			dst = binary.AppendUvarint(dst, uint64(n-2))
		}
		if g.Gen.Line != last.Line {
			dst = binary.AppendUvarint(dst, uint64(g.Gen.Line))
		}
		dst = binary.AppendVarint(dst, int64(g.Gen.Number-last.Number))
		if g.Gen.Moved != 0 {
			dst = binary.AppendUvarint(dst, uint64(g.Gen.Moved-1))
		}
		from, last = g.Slot+Slot(n), g.Gen
		i += n
	}
	return dst
}

// continues reports whether an element belongs to the run of the one before.
func continues(list []SlotGeneration, i int) bool {
	return i > 0 && list[i].Slot == list[i-1].Slot+1 && list[i].Gen == list[i-1].Gen && list[i].Gen.Moved == 0
}

// readGenerations reads the runs. Only what rests on a base has a reason to name the zero generation.
func readGenerations(dst []generationRun, r *binenc.Reader, format byte, onBase bool) []generationRun {
	flags := 2
	if format == movedFormat {
		flags = 3
	}
	n, moved := r.Count(2), false
	if n == 0 {
		r.Fail("empty list of generations")
	}
	from, last := uint64(0), Generation{}
	for range n {
		code := r.Uvarint()
		run := generationRun{first: from + code>>flags, count: 1, gen: Generation{Line: last.Line}}
		if code&runSeveral != 0 {
			if run.count = r.Uvarint() + 2; run.count < 2 {
				run.count = maxSlots + 1 // beyond 64 bits
			}
		}
		if code&runSameLine == 0 {
			if run.gen.Line = r.Uvarint32(); run.gen.Line == last.Line {
				r.Fail("line %d written out again", last.Line)
			}
		}
		run.gen.Number = last.Number + uint64(r.Varint())
		if flags == 3 && code&runMoved != 0 {
			home := r.Uvarint()
			if home >= maxSlots || home == run.first || run.count > 1 {
				r.Fail("slot %d is listed as moved from %d", run.first, home)
				return dst
			}
			run.gen.Moved, moved = Slot(home)+1, true
		}
		switch {
		case run.first >= maxSlots || run.count > maxSlots:
			r.Fail("generation of %d slots from %d on", run.count, run.first)
		case run.gen == Generation{} && !onBase:
			r.Fail("slot %d is listed without a generation", run.first)
		}
		if r.Err() != nil {
			return dst
		}
		dst = append(dst, run)
		from, last = run.first+run.count, run.gen
	}
	if format == movedFormat && !moved {
		r.Fail("list of generations in which nothing was moved")
	}
	return dst
}

// mergeGenerations makes the generations of the pod that a version is, which has these slots, from those of
// its base.
func (v *Version) mergeGenerations(base *Pod, slots []Data) ([]SlotGeneration, string) {
	set, wrong := listGenerations(v.gens, slots)
	if wrong != "" {
		return nil, wrong
	}
	if v.gives && v.own != (Generation{}) {
		var given []SlotGeneration
		for i := range slots {
			if slots[i].Kind != SlotFree && (i >= len(base.Slots) || base.Slots[i].Kind == SlotFree) {
				given = append(given, SlotGeneration{Slot(i), v.own})
			}
		}
		set = append(given, set...)
	}
	return withGenerations(base.Generations, set, slots), ""
}

// listGenerations lists what runs say. Each slot named is in use: so no more are made than there are slots.
func listGenerations(runs []generationRun, slots []Data) ([]SlotGeneration, string) {
	var list []SlotGeneration
	for _, run := range runs {
		if run.first+run.count > uint64(len(slots)) {
			return nil, "generation of a slot that is not there"
		}
		for s := run.first; s < run.first+run.count; s++ {
			if slots[s].Kind == SlotFree {
				return nil, "generation of a free slot"
			}
			list = append(list, SlotGeneration{Slot(s), run.gen})
		}
	}
	return list, ""
}

// addGenerations is mergeGenerations without a base, of a pod that has its slots.
func (p *Pod) addGenerations(runs []generationRun) error {
	var wrong string
	if p.Generations, wrong = listGenerations(runs, p.Slots); wrong != "" {
		return dberr.Corrupt("", -1, "pod version: %s", wrong)
	}
	return nil
}

func validateGenerations(p *Pod) error {
	for i, g := range p.Generations {
		switch {
		case i > 0 && g.Slot <= p.Generations[i-1].Slot:
			return invalid("generation of slot %d follows slot %d", g.Slot, p.Generations[i-1].Slot)
		case int(g.Slot) >= len(p.Slots) || p.Slots[g.Slot].Kind == SlotFree:
			return invalid("generation of slot %d, which is free", g.Slot)
		case g.Gen == Generation{}:
			return invalid("slot %d is listed without a generation", g.Slot)
		case g.Gen.Moved != 0 && (g.Gen.Home(g.Slot) == g.Slot || g.Gen.Moved > maxSlots):
			return invalid("slot %d is listed as moved from %d", g.Slot, g.Gen.Moved-1)
		}
	}
	return nil
}
