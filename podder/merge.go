package podder

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Merge: what two versions changed since a third, put together, without the program's types.
//
// Definitions. Base is the ancestor, ours the version that is written onto, theirs the one
// that is merged into it. An object of base is the same in a version if it is at the same place
// (pod, slot) there and the slot was in use all the way, or has become a forwarder; else what is at that place is new. A place of ours is a place of the result.
// An object that an earlier merge moved is read at the place that ours has it at (merge_align.go).
//
// Steps:
//
//  1. The caller names the pods that differ between base and each side. A pod that only theirs
//     changed is taken as it is; nothing in it is decoded but to find conflicts.
//  2. Of pods that both changed, slots are compared by bytes, and those that both changed taken
//     apart (merge_tree.go) and merged by field, element and key (merge_values.go).
//  3. What theirs made new comes over when something that is taken refers to it, at its place
//     if ours has nothing there, else at another one (merge_pods.go); references are written
//     accordingly. Pods have ids of their own, so whole new ones come as they are.
//  4. What both sides made new and refer to from the same place is one object if it is equal.
//  5. Variables are merged by name.
//  6. An object that one side changed and the other one no longer leads to would be lost
//     without a word. So it is looked for in the result, over reference tables (merge_lost.go), and
//     where the way to it is broken is a conflict.
//
// Conflicts are collected first. With a choice for each the merge is made anew; it is repeated
// until nothing new turns up, which ends because each conflict is asked for once.

// MergeInput is what to merge, and with what.
type MergeInput struct {
	Base, Ours, Theirs         pod.Source
	OursChanged, TheirsChanged []pod.ID // the pods in which each side differs from base
	Names                      []string // variables of all three
	FreedByOurs, FreedByTheirs func(context.Context, pod.ID) (func(pod.Slot) bool, error)
	// Resolve is called for each conflict, in the order of paths, and once more for those
	// that choices bring about. nil leaves all open.
	Resolve func(*MergeConflict) error
	NewPod  func() pod.ID // gives out ids
	Codecs  *Registry     // for MergeValue.Load; nil means those of the standard library
}

// MergeResult is what a merge would write: nothing is written before Write.
type MergeResult struct {
	Conflicts []*MergeConflict // all of them, in the order of paths
	Open      int              // those without a choice: then there is nothing to write
	Pods      int              // to be written
	Names     int              // to be bound or deleted

	run *mergeRun
}

// MergeChoice says what becomes of a conflict.
type MergeChoice uint8

// Choices.
const (
	ChooseNothing MergeChoice = iota
	ChooseOurs
	ChooseTheirs
	ChooseValue
)

// String names the choice.
func (c MergeChoice) String() string { return [...]string{"open", "ours", "theirs", "value"}[c&3] }

// MergeConflict is a place that both sides changed, to different values; or that one side
// changed, or deleted, where the other changed something behind it.
type MergeConflict struct {
	Path string // in ours, if it is there: as in a Change
	Type string // of the value, in ours if it has one there
	// Base, Ours and Theirs are the values; one that is not there is not Present.
	Base, Ours, Theirs MergeValue
	// Behind says that the values differ in one side only: the other one changed what
	// its value leads to.
	Behind bool
	Choice MergeChoice // what was chosen

	key   string
	idle  bool // of an object that no variable of either side reaches: nobody is asked, or told
	at    mergePlace
	value any
	made  *mergeTree
}

// String is the conflict in one line.
func (c *MergeConflict) String() string {
	s := fmt.Sprintf("%s: %v → ours %v, theirs %v", c.Path, c.Base, c.Ours, c.Theirs)
	if c.Behind {
		s += " (changed behind it)"
	}
	return s
}

// Take chooses a side, or leaves the conflict open.
func (c *MergeConflict) Take(choice MergeChoice) { c.Choice, c.value = choice, nil }

// Set chooses a value, which must fit the stored type: numbers, texts, values with codecs of
// the standard library, structs and arrays of such, and slices of those without text.
func (c *MergeConflict) Set(value any) { c.Choice, c.value = ChooseValue, value }

// byPath orders conflicts, those of one path always in the same way.
func byPath(a, b *MergeConflict) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.key, b.key))
}

// mergePlace is a part of an object.
type mergePlace struct {
	slot  target
	entry string // tells the entry of a map from all others, as its step in path does not always (merge_keys.go)
	path  string // inside the slot
	name  string // of a variable, instead of all this
	// ofKey: the key of an entry is meant; the path is that of the entry, where the conflict is.
	ofKey bool
	// handed: this reference is meant, of those in what a codec handed over, which is at the path.
	handed *mergeTree
}

func (p mergePlace) key() string {
	if p.name != "" {
		return "\x00" + p.name
	}
	return fmt.Sprintf("%d.%d%s\x00%s", p.slot.pod, p.slot.slot, p.path, p.entry)
}

// at is the place of a part of what is at p.
func (p mergePlace) at(path *diffPath) mergePlace {
	p.path = path.String()
	return p
}

// merger is a merge with all that outlives one attempt at it.
type merger struct {
	ctx      context.Context
	in       MergeInput
	v        [mergeSides]*viewer
	aligned  *aligner
	changed  [mergeSides]map[pod.ID]bool
	freed    [mergeSides]map[pod.ID]func(pod.Slot) bool
	seed     uint64
	numbered [mergeSides]map[pod.ID]bool // whether references have other numbers in a pod than in base
	idle     [mergeSides]map[target]bool // of objects that were looked for: whether no variable of the side reaches them (merge_idle.go)
	anew     [mergeSides]*bool           // whether places were given to other objects; nil if nobody has looked

	known     map[string]*MergeConflict     // by key
	forced    map[string]bool               // places that are conflicts though one side has not changed them
	deep      map[target]bool               // objects with such
	unified   map[target]target             // what is in ours, by what it is in theirs, if its place is another one there
	unifiedBy map[target]target             // the other way round
	twins     map[target]twin               // objects of base that a side has as others (merge_twins.go)
	sought    map[target]bool               // objects of base for which twins were looked for
	asked     map[sidePlace]bool            // places at which they were
	gone      map[sideTarget][]target       // by goneFrom
	lists     map[target]bool               // containers to be merged though their own slots did not change
	ids       map[string]pod.ID             // given out
	left      map[pod.ID]bool               // pods that objects left or came to since base (merge_away.go)
	readAt    map[target]target             // where objects of theirs are read that are elsewhere there
	placed    map[sideTarget]pod.Generation // of objects at places that they moved to
	grown     bool                          // unified or lists has more since this attempt began
}

// maxMergeRounds bounds the attempts: each one but the last finds conflicts or equal objects
// that were not known.
const maxMergeRounds = 1000

// Merge finds what merging writes, and the conflicts.
func Merge(ctx context.Context, in MergeInput) (*MergeResult, error) {
	secret := in.Ours.Secret()
	m := &merger{
		ctx: ctx, in: in, known: map[string]*MergeConflict{}, forced: map[string]bool{}, deep: map[target]bool{},
		unified: map[target]target{}, unifiedBy: map[target]target{}, twins: map[target]twin{}, sought: map[target]bool{}, asked: map[sidePlace]bool{}, gone: map[sideTarget][]target{}, lists: map[target]bool{}, ids: map[string]pod.ID{}, left: map[pod.ID]bool{}, readAt: map[target]target{}, placed: map[sideTarget]pod.Generation{}, seed: binary.LittleEndian.Uint64(secret[:]),
	}
	m.aligned = newAligner(ctx, m.seed, &in)
	base, theirs := alignedSource{in.Base, m.aligned, baseSide}, alignedSource{in.Theirs, m.aligned, theirsSide}
	m.v = [mergeSides]*viewer{newViewer(ctx, base), m.aligned.as[oursSide], newViewer(ctx, theirs)}
	for side := range mergeSides {
		m.changed[side], m.freed[side], m.idle[side] = map[pod.ID]bool{}, map[pod.ID]func(pod.Slot) bool{}, map[target]bool{}
		m.numbered[side] = map[pod.ID]bool{}
	}
	for _, id := range in.OursChanged {
		m.changed[oursSide][id] = true
	}
	for _, id := range in.TheirsChanged {
		m.changed[theirsSide][id] = true
	}
	if err := m.replayMoves(); err != nil {
		return nil, err
	}
	for range maxMergeRounds {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		m.grown = false
		r := m.newRun()
		if err := r.merge(); err != nil {
			return nil, err
		}
		if m.grown {
			continue
		}
		more, err := m.settle(r)
		if err != nil {
			return nil, err
		}
		if !more {
			return m.result(r), nil
		}
	}
	return nil, fmt.Errorf("%w: merge still finds conflicts after %d rounds", dberr.ErrConflict, maxMergeRounds)
}

// settle asks for choices; true if there is something new to go on with.
func (m *merger) settle(r *mergeRun) (bool, error) {
	if len(r.found) > 0 {
		return true, m.ask(r.found)
	}
	return r.lost()
}

// ask finds the paths of new conflicts, and has them resolved.
func (m *merger) ask(found []*MergeConflict) error {
	found, err := m.withoutIdle(found)
	if err != nil {
		return err
	}
	if err := m.locate(found); err != nil {
		return err
	}
	slices.SortFunc(found, byPath)
	for _, c := range found {
		m.known[c.key] = c
		if m.in.Resolve == nil {
			continue
		}
		if err := m.in.Resolve(c); err != nil {
			return fmt.Errorf("resolving the conflict at %s: %w", c.Path, err)
		}
		if c.Choice != ChooseValue {
			continue
		}
		var err error
		if c.made, err = m.makeValue(c); err != nil {
			return fmt.Errorf("resolving the conflict at %s: %w", c.Path, err)
		}
	}
	return nil
}

// withoutIdle decides conflicts of objects that no variable of either side reaches: what both
// let go of stays as ours has it, until a collect.
func (m *merger) withoutIdle(found []*MergeConflict) ([]*MergeConflict, error) {
	idle := map[target]bool{}
	for _, c := range found {
		if c.at.name == "" {
			idle[c.at.slot] = true
		}
	}
	for _, side := range []mergeSide{oursSide, theirsSide} {
		if len(idle) == 0 {
			break
		}
		reached, _, _, err := m.reachable(m.v[side].src, m.in.Names, idle)
		if err != nil {
			return nil, err
		}
		for t := range reached {
			delete(idle, t)
		}
	}
	return slices.DeleteFunc(found, func(c *MergeConflict) bool {
		if c.idle = c.at.name == "" && idle[c.at.slot]; c.idle {
			c.Choice = ChooseOurs
			m.known[c.key] = c
		}
		return c.idle
	}), nil
}

func (m *merger) result(r *mergeRun) *MergeResult {
	res := &MergeResult{run: r, Names: len(r.names)}
	for _, c := range m.known {
		if c.idle {
			continue
		}
		res.Conflicts = append(res.Conflicts, c)
		if c.Choice == ChooseNothing {
			res.Open++
		}
	}
	slices.SortFunc(res.Conflicts, byPath)
	res.Pods = len(r.built)
	return res
}

// Write puts what was merged into a transaction on ours.
func (res *MergeResult) Write(ctx context.Context, sink pod.Sink) error {
	if res.Open > 0 {
		return errors.New("a merge with open conflicts cannot be written")
	}
	r := res.run
	for _, id := range r.order() {
		c := r.built[id]
		if err := sink.Put(ctx, &c); err != nil {
			return err
		}
	}
	for _, n := range r.namesInOrder() {
		var err error
		if root := r.names[n]; root != 0 {
			err = sink.SetName(ctx, n, root)
		} else {
			err = sink.DeleteName(ctx, n)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
