package podder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"runtime/debug"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A save that follows another one need not walk. From the variables on, along the
// references that the state has, every region is compared with its fingerprint (resave_met.go);
// those that differ are scanned, what they lead to and is new is discovered from there,
// and only slots of regions that differ or are new are encoded. The state is changed
// in place; what it was is noted (undo.go) until the save is committed.
//
// Memory that no variable reaches is not read: it may be written meanwhile, or
// unmapped. It keeps its slots, and is kept alive, until a save walks, as it does
// when that is an eighth of all (garbage.go).
//
// Regions are scanned in the order in which the state has them, which comes from the
// graph and from what was saved and loaded, as the order of a walk does.
//
// Whatever needs more than that is left to a walk (errWalk), before anything was
// handed to the sink: memory that was reached as one thing and is a part of
// something larger now, variables that are gone, a type behind an interface
// that not all variables know, values that cannot be stored (the walk finds all of
// them and their paths), forwarders, weak pointers, values of unknown types.

// errWalk says that the save has to walk.
var errWalk = errors.New("podder: the save has to walk")

// leastUnused is how many entries of the index may be out of use, beyond one for
// each region.
const leastUnused = 1024

// canResave reports whether the next save of roots can do without a walk.
func (g *Graph) canResave(roots []Root) bool {
	st := g.cur
	if !st.prints.known || st.walkAlways || len(g.reshaped) > 0 || g.zeroed > 0 || len(st.forwards) > 0 || len(g.hidden) > 0 || len(st.named.regions) > 0 {
		return false
	}
	if st.muchGarbage() {
		return false
	}
	boxes := st.boxes
	for k := range roots {
		id, saved := g.roots[roots[k].Name]
		typ := roots[k].Value.Type()
		switch {
		case len(boxes) > 0 && boxes[0].name == roots[k].Name:
			r := st.regions.at(boxes[0].region)
			if boxes = boxes[1:]; !saved || r.plan.typ != typ || st.pods[r.pod].id != id {
				return false
			}
		case !g.knowsAsked(typ):
			return false
		case saved:
			if i := st.regionIn(pod.Ref{Pod: id}); i < 0 || st.regions.at(i).kind != pod.SlotBox || st.regions.at(i).plan.typ != typ {
				return false
			}
		case roots[k].Pod != 0:
			return false
		}
	}
	return len(boxes) == 0
}

// knowsAsked reports whether a variable of type t knows all types that variables have
// to know here.
func (g *Graph) knowsAsked(t reflect.Type) bool {
	if len(g.cur.asked) == 0 {
		return true
	}
	static := g.eng.reg.reachable(t)
	for u := range g.cur.asked {
		if !g.eng.known(u, static) {
			return false
		}
	}
	return true
}

// resaver is one such save.
type resaver struct {
	*encoder
	added    int32                  // regions from it on are new
	dirty    blockList[dirtyRegion] // known regions to be encoded
	early    blockList[earlySlot]   // others, that were encoded when they were met
	items    []slotItem
	relinked map[int32]bool // encoded since what they refer to, or they themselves, leave their pod (repod.go)
}

// dirtyRegion is a region to be encoded, with the edges and the weight that it had.
type dirtyRegion struct {
	region        int32
	edge, edgeEnd uint32
	weight        uint32
}

// relinked reports whether the region, r, has other edges than before.
func (d dirtyRegion) relinked(r *region) bool { return r.edge != d.edge || r.edgeEnd != d.edgeEnd }

// resave is Save without a walk. It returns errWalk, and has changed nothing, if
// that is not possible.
func (g *Graph) resave(ctx context.Context, roots []Root, sink pod.Sink, now uint64) (_ *Saved, err error) {
	quiet := g.askHints(now)
	w := newWalkIn(ctx, g)
	w.met.quiet = quiet
	u := w.undo
	committed := false
	defer func() {
		if !committed {
			u.undo()
		}
		w.end()
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.catchFault(&err)
	p := &placer{walk: w, cfg: g.cfg, sink: sink, from: w.added, most: uint32(g.cfg.podBytes())}
	s := &Saved{Roots: map[string]pod.ID{}, g: g, base: g.cur, next: g.cur, undo: u, moment: now}
	x := &resaver{encoder: g.idle.takeEncoder(), added: w.added}
	x.placer, x.ctx, x.saved = p, ctx, s
	x.dirty.memory, x.early.memory = &w.own, &w.own
	if err := x.discover(w, roots); err != nil {
		return nil, err
	}
	if err := x.repod(w, g); err != nil {
		return nil, err
	}
	if x.added < w.st.regions.len() {
		if err := x.askStrategy(g); err != nil {
			return nil, err
		}
	}
	x.placeAdded()
	end := w.edges.put(0) // so that one past the last edge can be looked at
	g.warnModuleData(w)
	if err := x.run(); err != nil {
		return nil, err
	}
	w.edges.cut(end)
	x.reprint()
	g.resaved++
	if n := g.cfg.VerifyEvery; n > 0 && g.resaved%n == 0 {
		if err := g.verifyIndex(ctx, w.placedRoots(roots)); err != nil {
			return nil, err
		}
	}
	for _, c := range w.cells {
		id := w.st.placeOf(c.region).Pod
		s.Roots[c.name] = id
		if c.region < w.added {
			continue
		}
		if err := sink.SetName(ctx, c.name, id); err != nil {
			return nil, fmt.Errorf("variable %q: %w", c.name, err)
		}
	}
	w.st.boxes = w.cells
	w.st.chunkIDs = nil
	u.live, u.garbage, u.garbageBytes = w.met.live(w.st)
	if quiet != nil {
		s.Hinted = quiet.hits
	}
	s.Objects, s.Pods = w.met.count+x.objectsAdded(), s.Pods+u.live.podCount(w.st)
	committed = true
	g.idle.giveItems(x.items)
	g.idle.giveEncoder(x.encoder)
	return s, nil
}

// newWalkIn returns a walk that changes the state of g.
func newWalkIn(ctx context.Context, g *Graph) *walk {
	st := g.cur
	w := g.idle.takeWalk()
	w.ctx, w.eng, w.old, w.st, w.hidden, w.oldRoots, w.others = ctx, g.eng, st, st, g.hidden, g.roots, g.others
	w.partial, w.added, w.covered = true, st.regions.len(), st.regions.len()
	w.home = &g.idle
	w.own.spare = &g.spare
	w.written.spare, g.eng.written = g.eng.written, nil
	w.edges, w.crossings.memory = &st.edges, &w.own
	w.undo = newUndo(st, &g.spare)
	w.met, w.printKeys = newMetRegions(st), g.eng.printKeys()
	return w
}

// discover finds the regions that differ, and what is new behind them.
func (x *resaver) discover(w *walk, roots []Root) error {
	w.needs.begin(w.eng, roots)
	w.eng.walks++
	changed := w.changedBoxes(roots, nil)
	if err := w.drain(); err != nil { // from new variables
		return err
	}
	for _, c := range w.st.byPlace(changed) {
		if err := x.renew(w, c.region); err != nil {
			return err
		}
	}
	for _, c := range w.cells {
		w.met.mark(c.region)
	}
	if err := x.lookAtAll(w); err != nil {
		return err
	}
	if err := cmp.Or(x.rescanGrown(w), w.ctx.Err()); err != nil {
		return err
	}
	if w.needsWalk() || w.met.garbage || !x.allKnow(w) {
		return errWalk
	}
	return nil
}

// renew scans region i anew, and what is new behind it.
func (x *resaver) renew(w *walk, i int32) error {
	x.rescan(w, i)
	if err := w.drain(); err != nil {
		return err
	}
	if w.needsWalk() {
		return errWalk
	}
	return nil
}

// placedRegion is a region with its place.
type placedRegion struct {
	pod    pod.ID
	slot   pod.Slot
	region int32
}

// byPlace puts regions in the order of their places.
func (st *state) byPlace(list []int32) []placedRegion {
	placed := make([]placedRegion, len(list))
	for k, i := range list {
		ref := st.placeOf(i)
		placed[k] = placedRegion{ref.Pod, ref.Slot, i}
	}
	slices.SortFunc(placed, func(a, b placedRegion) int {
		if a.pod != b.pod {
			return cmp.Compare(a.pod, b.pod)
		}
		return cmp.Compare(a.slot, b.slot)
	})
	return placed
}

// needsWalk reports whether something was met that only a walk can settle.
func (w *walk) needsWalk() bool {
	return w.overlaps || w.written.replaced || w.st.walkAlways || len(w.problems) > 0 || len(w.zeroed) > 0 ||
		len(w.needs.others) > 0
}

// changedBoxes appends the boxes of variables whose value is another one, or that were
// loaded since, and gives them that. New variables get boxes.
func (w *walk) changedBoxes(roots []Root, list []int32) []int32 {
	boxes := w.st.boxes
	for n := range roots {
		known := len(boxes) > 0 && boxes[0].name == roots[n].Name
		var i int32
		if id, loaded := w.oldRoots[roots[n].Name]; known {
			i, boxes = boxes[0].region, boxes[1:]
		} else if loaded {
			i = w.st.regionIn(pod.Ref{Pod: id})
		} else {
			w.root = n + 1
			w.addBox(roots[n])
			w.askable(roots[n])
			continue
		}
		w.cells = append(w.cells, boxCell{roots[n].Name, i})
		p := w.st.prints.list.at(i)
		cell := reflect.New(roots[n].Value.Type())
		cell.Elem().Set(roots[n].Value)
		if p.n > 0 && w.eng.printValues(w.eng.printers[p.what>>printKindBits], w.printKeys, cell.UnsafePointer(), 1) == p.hash {
			continue
		}
		w.undo.region(i)
		w.st.moveRegion(i, cell.UnsafePointer())
		list = append(list, i)
	}
	return list
}

// rescan scans region i anew.
func (x *resaver) rescan(w *walk, i int32) {
	w.undo.region(i)
	r := w.st.regions.at(i)
	if r.kind == pod.SlotArray {
		w.undo.span(r.extra)
	}
	d := dirtyRegion{i, r.edge, r.edgeEnd, r.weight}
	r.flags &^= flagScanned | flagSame | flagRescan | flagRerun | flagStatic
	r.weight, r.written = 0, 0
	w.visit(i, r)
	x.dirty.put(d)
	if w.sameEdges(d, r) && w.edges.len() == int32(r.edgeEnd) {
		w.edges.cut(int32(r.edge))
		r.edge, r.edgeEnd = d.edge, d.edgeEnd
	}
}

// sameEdges reports whether a region refers to what it referred to.
func (w *walk) sameEdges(d dirtyRegion, r *region) bool {
	if d.edgeEnd-d.edge != r.edgeEnd-r.edge {
		return false
	}
	for k := range d.edgeEnd - d.edge {
		if *w.edges.at(int32(d.edge + k)) != *w.edges.at(int32(r.edge + k)) {
			return false
		}
	}
	return true
}

// rescanGrown collects the edges of regions of which more is kept now.
func (x *resaver) rescanGrown(w *walk) error {
	if len(w.again) == 0 {
		return nil
	}
	w.settled = true
	defer func() { w.settled = false }()
	known := x.encodings()
	for n, i := range w.again {
		if n%1024 == 0 {
			if err := w.ctx.Err(); err != nil {
				return err
			}
		}
		r := w.st.regions.at(i)
		if r.flags&flagRescan == 0 {
			continue
		}
		r.flags &^= flagRescan
		d := dirtyRegion{i, r.edge, r.edgeEnd, r.weight}
		r.weight, r.written = 0, 0
		r.edge = uint32(w.edges.len())
		w.current = i
		w.scan(i, 0, w.elements(r))
		r.edgeEnd = uint32(w.edges.len())
		if i < w.added && known[i] != scanned {
			if k := known[i]; k > 0 {
				x.early.at(k - 1).region = -1 // it has grown since
			}
			x.dirty.put(d)
			known[i] = scanned
		}
	}
	return nil
}

// scanned stands for a region in resaver.dirty.
const scanned = -1

// encodings returns by known region how it is encoded: scanned, or one more than where in
// resaver.early it is, 0 if not at all.
func (x *resaver) encodings() []int32 {
	list := make([]int32, x.added)
	for k := range x.early.len() {
		if i := x.early.at(k).region; i >= 0 {
			list[i] = k + 1
		}
	}
	for k := range x.dirty.len() {
		list[x.dirty.at(k).region] = scanned
	}
	return list
}

// reprint takes the fingerprints of what was encoded, and counts what is out of use.
func (x *resaver) reprint() {
	st, k := x.st, x.printKeys
	unused := st.edges.len() - x.undo.edges
	for n := range x.dirty.len() {
		d := x.dirty.at(n)
		x.undo.print(d.region)
		*st.prints.list.at(d.region) = st.print(x.eng, k, d.region)
		st.pinAgain(x.eng, d.region, d.weight)
		if r := st.regions.at(d.region); d.relinked(r) {
			unused += int32(d.edgeEnd-d.edge) - int32(r.edgeEnd-r.edge)
		}
	}
	for i := x.added; i < st.regions.len(); i++ {
		r := st.regions.at(i)
		st.prints.put(st.print(x.eng, k, i))
		st.pin(x.eng, i)
		unused -= int32(r.edgeEnd - r.edge)
		st.bytes += st.held(r)
	}
	st.unusedEdges += int(unused)
	if f := &st.prints; f.unusedPins > leastUnused+max(int(st.regions.len()), int(f.pins.len())/2) || f.unusedBytes > leastHeld+st.bytes/garbageShare {
		x.repin()
	}
}

// pinAgain is pin for a region that differs. What it had before, of a weight, is out of use.
func (st *state) pinAgain(e *engine, i int32, weight uint32) {
	f := &st.prints
	was := f.pins.len()
	st.pin(e, i)
	if n := int(f.pins.len() - was); n > 0 {
		f.unusedPins += n
		f.unusedBytes += int(weight)
	}
}

// repin pins all anew that the fingerprints of what was reached trust, and lets go of all else.
func (x *resaver) repin() {
	st := x.st
	x.undo.repin()
	for i := range st.regions.len() {
		st.prints.pinned.put(st.prints.pins.len())
		if i >= x.added || x.met.reached.has(i) {
			st.pin(x.eng, i)
		}
	}
	st.prints.unusedPins, st.prints.unusedBytes = 0, 0
}

// objectsAdded counts the new regions but for aliases.
func (x *resaver) objectsAdded() (n int) {
	for i := x.added; i < x.st.regions.len(); i++ {
		if x.st.regions.at(i).kind != pod.SlotFree {
			n++
		}
	}
	return n
}

// placedRoots are roots with the pods that they have now.
func (w *walk) placedRoots(roots []Root) []Root {
	roots = slices.Clone(roots)
	for k, c := range w.cells {
		roots[k].Pod = w.st.placeOf(c.region).Pod
	}
	return roots
}

// verifyIndex walks everything and fails if a save that had to find all changes by
// itself would write something: the fingerprints missed it. It does not believe the copies
// of words (shadow.go) either, and encodes all anew; of chunks that were patched, whose hash
// nobody knows, and of arrays with values of pure codecs it compares the words alone.
func (g *Graph) verifyIndex(ctx context.Context, roots []Root) error {
	probe := &unsoundSink{st: g.cur}
	saved, err := g.saveWalking(ctx, roots, probe, false)
	if err != nil {
		if probe.moving {
			return nil
		}
		g.resaved-- // the next save is verified as well
		return err
	}
	saved.Abort()
	return nil
}

// unsoundSink refuses everything but slots that are looked at by every save: values
// of sync/atomic may have been written since.
type unsoundSink struct {
	st     *state
	moving bool
}

func unsound(what string, args ...any) error {
	return fmt.Errorf("%w by a save without a walk: %s", dberr.ErrUnsound, fmt.Sprintf(what, args...))
}

func (*unsoundSink) NewPod() pod.ID { return ^pod.ID(0) }

func (*unsoundSink) Type(context.Context, []byte) (pod.TypeID, error) {
	return 0, unsound("values of a type that it did not meet")
}

func (s *unsoundSink) Put(_ context.Context, c *pod.Change) error {
	n, known := s.st.byID[c.ID]
	for i := range c.Slots {
		slot := c.Slots[i].Slot
		if known && int(slot) < len(s.st.pods[n].slots) {
			if r := s.st.pods[n].slots[slot].region; r >= 0 && s.st.prints.list.at(r).kind() == printAlways {
				s.moving = true
			}
		}
	}
	if s.moving {
		return nil
	}
	var slots []string
	for i := range c.Slots {
		what := "new"
		if slot := int(c.Slots[i].Slot); known && slot < len(s.st.pods[n].slots) {
			if r := s.st.pods[n].slots[slot].region; r >= 0 {
				what = s.st.regions.at(r).plan.typ.String()
			}
		}
		slots = append(slots, fmt.Sprintf("%d (%s)", c.Slots[i].Slot, what))
	}
	return unsound("pod %d, slots %v", c.ID, slots)
}

func (*unsoundSink) SetName(_ context.Context, name string, _ pod.ID) error {
	return unsound("variable %q", name)
}

func (*unsoundSink) DeleteName(context.Context, string) error { return nil }
