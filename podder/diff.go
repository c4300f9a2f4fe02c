package podder

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/poddb/poddb/internal/pod"
)

// Diff: what differs between two stored versions of a graph, without the program's
// types.
//
// Definitions. An object is what a reference leads to: a slot, or a part of one. An
// object of one version is the same as one of the other if both are found at one place
// (pod, slot), forwarders followed in either version. A path leads from a variable
// of the newer version through fields, elements and entries.
//
// Steps:
//
//  1. The caller names the pods that differ; the slots in them that differ are found by
//     comparing bytes (diff_ways.go).
//  2. Ways to these slots are looked for from the variables, over the reference
//     tables of pods, without decoding anything, until each has one. The pods on
//     ways are few; all others are skipped with everything in them.
//  3. Objects are compared in step, breadth first from the variables, along the ways. Every
//     pair of objects is compared once, so cycles end, and a change of an object that
//     several paths reach is told once.
//
// What is told of two values at one path:
//
//   - Numbers, strings, values with codecs: changed, if they differ.
//   - A pointer that leads to another object than before: if that is new, the two
//     objects are compared as if it were the same; if it existed before, the pointer is changed.
//     A shared object that is still the same is compared with itself, whoever leads to it now.
//   - Slices: elements are aligned by contents (diff_slice.go): what has no partner is
//     added, removed, or, if it turns up elsewhere in the same slice, moved. Elements behind
//     an insertion did not change. What takes the place of another element is compared with it.
//   - Maps by key, structs by the names of fields. Another type is one change.

// ChangeKind says what happened at a path.
type ChangeKind uint8

// Kinds of changes.
const (
	ValueChanged ChangeKind = iota // Old → New
	ValueAdded                     // New
	ValueRemoved                   // Old; the path is that of the older version
	ValueMoved                     // an element was at From
)

// String names the kind.
func (k ChangeKind) String() string {
	return [...]string{"changed", "added", "removed", "moved"}[k&3]
}

// Change is one difference between two versions. Old and New are numbers and texts as
// a person would write them, at most some hundred bytes, and of everything else the
// type, with the number of elements.
type Change struct {
	Path     string
	Kind     ChangeKind
	Old, New string
	From     string // the path before, of what was moved
}

// String is the change in one line: `x.Items[3].Price: 4 → 5`.
func (c Change) String() string {
	switch c.Kind {
	case ValueAdded:
		return c.Path + ": added " + c.New
	case ValueRemoved:
		return c.Path + ": removed " + c.Old
	case ValueMoved:
		return c.Path + ": moved from " + c.From
	}
	return c.Path + ": " + c.Old + " → " + c.New
}

// DiffInput is what to compare.
type DiffInput struct {
	A, B    pod.Source
	Changed []pod.ID // the pods that differ; of pods that are not named none does
	Names   []string // the variables to compare, those of A and those of B

	// Variables are more of them, of which the root pods are known: in order of names,
	// each once, and none that is in Names.
	Variables []DiffVariable

	// All, if not nil, returns all variables to compare, as Variables; that then has those
	// alone that are bound to different pods or to one of Changed.
	All func() ([]DiffVariable, error)
}

// DiffVariable is a variable and its root pods; pod 0 is none.
type DiffVariable struct {
	Name string
	A, B pod.ID
}

// Diff calls yield with each difference until it returns false.
func Diff(ctx context.Context, in DiffInput, yield func(Change) bool) error {
	d := newDiffer(ctx, in, yield)
	roots, err := d.variables(in.Names)
	if err != nil {
		return err
	}
	roots = append(roots, in.Variables...)
	if roots, err = d.findWays(roots, in.All); err != nil {
		return err
	}
	for _, r := range roots {
		if r.A == r.B && !d.way[target{pod: r.B}] {
			continue
		}
		if err := d.variable(r); err != nil {
			return err
		}
	}
	return d.work()
}

func newDiffer(ctx context.Context, in DiffInput, yield func(Change) bool) *differ {
	d := &differ{
		a: newViewer(ctx, in.A), b: newViewer(ctx, in.B), changed: map[pod.ID]bool{},
		way: map[target]bool{}, seen: map[string]bool{}, yield: yield,
		absent: map[bool]map[pod.ID]bool{false: {}, true: {}},
	}
	d.a.now, d.b.now = d.now, d.now
	for _, id := range in.Changed {
		d.changed[id] = true
	}
	return d
}

// work compares what is queued.
func (d *differ) work() error {
	for len(d.queue) > 0 && !d.stopped {
		if err := d.b.ctx.Err(); err != nil {
			return err
		}
		p := d.queue[0]
		d.queue[0] = objectPair{}
		if d.queue = d.queue[1:]; len(d.queue) == 0 {
			d.queue = nil
		}
		if err := d.pair(p); err != nil {
			return fmt.Errorf("%v: %w", p.path, err)
		}
	}
	return nil
}

type differ struct {
	a, b    *viewer
	changed map[pod.ID]bool
	way     map[target]bool // exported slots on ways to what changed
	queue   []objectPair
	seen    map[string]bool // pairs that were queued
	absent  map[bool]map[pod.ID]bool
	yield   func(Change) bool
	stopped bool
}

// diffPath is a path, from its end.
type diffPath struct {
	up   *diffPath
	step string
}

func (p *diffPath) to(step string) *diffPath { return &diffPath{p, step} }

func (p *diffPath) index(i uint64) *diffPath { return p.to("[" + strconv.FormatUint(i, 10) + "]") }

func (p *diffPath) String() string {
	n := 0
	for q := p; q != nil; q = q.up {
		n += len(q.step)
	}
	b := make([]byte, n)
	for q := p; q != nil; q = q.up {
		n -= copy(b[n-len(q.step):], q.step)
	}
	return string(b)
}

// tell yields a change.
func (d *differ) tell(c Change) {
	d.stopped = d.stopped || !d.yield(c)
}

// variables looks the root pods of variables up.
func (d *differ) variables(names []string) ([]DiffVariable, error) {
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	roots := make([]DiffVariable, 0, len(names))
	for _, n := range names {
		r := DiffVariable{Name: n}
		for _, side := range []struct {
			v  *viewer
			id *pod.ID
		}{{d.a, &r.A}, {d.b, &r.B}} {
			id, err := side.v.src.Root(side.v.ctx, n)
			if err != nil && !isNotFound(err) {
				return nil, err
			}
			if err == nil {
				*side.id = id
			}
		}
		roots = append(roots, r)
	}
	return roots, nil
}

// variable compares the bindings of a name.
func (d *differ) variable(r DiffVariable) error {
	path := &diffPath{step: r.Name}
	from, to := reference{to: target{pod: r.A}}, reference{to: target{pod: r.B}}
	switch {
	case r.A == 0 && r.B == 0:
		return nil
	case r.A == 0:
		w, err := d.b.slotValue(to.to)
		if err != nil {
			return err
		}
		return d.added(w, path)
	case r.B == 0:
		w, err := d.a.slotValue(from.to)
		if err != nil {
			return err
		}
		return d.removed(w, path)
	}
	return d.reference(objectPair{kind: nodePointer, ra: from, rb: to, path: path})
}

// objectPair is a reference in each version, of one kind.
type objectPair struct {
	kind   nodeKind // pointer, map or slice
	ra, rb reference
	la, lb uint64 // lengths of slices
	from   pod.ID // that has the reference in b; 0 = another
	text   string // type of what a pointer leads to, of the elements of a slice, of a map
	fresh  bool   // it is new: there is no a
	path   *diffPath
}

// enqueue has a pair compared, if it was not before.
func (d *differ) enqueue(p objectPair) {
	key := fmt.Sprint(p.kind, p.fresh, p.ra, p.la, p.rb, p.lb)
	if len(p.text) > 0 && (p.text[0] == '[' || p.kind == nodeSlice) {
		key += p.text // its first element is something else
	}
	if !d.seen[key] {
		d.seen[key] = true
		d.queue = append(d.queue, p)
	}
}

// needed reports whether something behind a reference of the newer version may have
// changed; from is the pod that has the reference.
func (d *differ) needed(from pod.ID, r reference) bool {
	return !r.null && !r.zeroSize && (d.way[r.to] || r.to.pod == from)
}

// place finds where an object is, in a version that may not have it.
func (d *differ) place(v *viewer, t target) (target, pod.Kind, bool, error) {
	p, err := d.podOf(v, t.pod)
	if err != nil || p == nil {
		return t, 0, false, err
	}
	if int(t.slot) >= len(p.Slots) || p.Slots[t.slot].Kind == pod.SlotFree {
		return t, 0, false, nil
	}
	_, data, at, err := v.slot(t)
	return at, storedKind(&data), err == nil, err
}

// podOf returns a pod of a version, nil if it has none of that id.
func (d *differ) podOf(v *viewer, id pod.ID) (*pod.Pod, error) {
	absent := d.absent[v == d.b]
	if absent[id] {
		return nil, nil
	}
	p, err := v.fetch(id)
	if isNotFound(err) {
		absent[id] = true
		return nil, nil
	}
	return p, err
}

// same reports whether two references lead to the same object.
func (d *differ) same(ra, rb reference) (bool, error) {
	if ra.index != rb.index || !slices.Equal(ra.steps, rb.steps) {
		return false, nil
	}
	if ra.to == rb.to {
		return true, nil
	}
	for _, v := range []*viewer{d.b, d.a} {
		x, _, okX, err := d.place(v, ra.to)
		if err != nil {
			return false, err
		}
		y, _, okY, err := d.place(v, rb.to)
		if err != nil {
			return false, err
		}
		if okX && okY && x == y {
			return true, nil
		}
	}
	return false, nil
}

// existed reports whether an object of the newer version was in the older one.
func (d *differ) existed(rb reference) (bool, error) {
	if !d.changed[rb.to.pod] { // it is as it was, or a collect has taken it from the older version
		p, err := d.podOf(d.a, rb.to.pod)
		return p != nil, err
	}
	_, before, ok, err := d.place(d.a, rb.to)
	if err != nil || !ok {
		return false, err
	}
	_, now, _, err := d.place(d.b, rb.to)
	return before == now, err
}

// reference compares two references that are not nil.
func (d *differ) reference(p objectPair) error {
	same, err := d.same(p.ra, p.rb)
	if err != nil {
		return err
	}
	if same && p.la == p.lb {
		if d.needed(p.from, p.rb) || d.way[p.ra.to] {
			d.enqueue(p)
		}
		return nil
	}
	if p.kind == nodeSlice {
		d.enqueue(p) // of whatever: elements are compared
		return nil
	}
	old, err := d.existed(p.rb)
	if err != nil {
		return err
	}
	if !old {
		d.enqueue(p)
		return nil
	}
	was, err := d.shown(d.a, p, p.ra)
	if err != nil {
		return err
	}
	is, err := d.shown(d.b, p, p.rb)
	if err != nil {
		return err
	}
	if was == is {
		is = "another " + is
	}
	d.tell(Change{Path: p.path.String(), Kind: ValueChanged, Old: was, New: is})
	d.again(p)
	return nil
}

// again compares an object that both versions have with itself, if it is on a way.
func (d *differ) again(p objectPair) {
	if d.needed(p.from, p.rb) {
		p.ra, p.la = p.rb, p.lb
		d.enqueue(p)
	}
}

// shown is how a reference is shown in a change.
func (d *differ) shown(v *viewer, p objectPair, r reference) (string, error) {
	if p.kind == nodeMap {
		return p.text, nil
	}
	w, err := v.resolve(r, p.text)
	if err != nil || w.n == nil {
		return "nil", err
	}
	return "*" + w.n.text, nil
}

// pair compares what the references of a pair lead to.
func (d *differ) pair(p objectPair) error {
	if p.fresh {
		return d.freshPair(p)
	}
	switch p.kind {
	case nodeMap:
		return d.maps(p)
	case nodeSlice:
		return d.slices(p)
	}
	wa, err := d.a.resolve(p.ra, p.text)
	if err != nil {
		return err
	}
	wb, err := d.b.resolve(p.rb, p.text)
	if err != nil {
		return err
	}
	return d.values(wa, wb, p.path)
}
