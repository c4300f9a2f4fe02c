package podder

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Saved is a save that was handed to a sink. Exactly one of Commit and Abort is
// called when the fate of the sink's transaction is known.
type Saved struct {
	Objects      int   // regions of memory that the variables reach
	Pods         int   // pods that hold them
	PodsChanged  int   // pods that were put
	SlotsChanged int   // slots in them
	Bytes        int64 // encoded bytes of the changed slots
	Walked       bool  // everything that the variables reach was looked at, not only what differs
	// PodsSplit and PodsDivided are pods that objects left for others (repod.go), SlotsMoved these
	// objects, arrays and maps, and MovedBytes about what was written for it.
	PodsSplit, PodsDivided, SlotsMoved int
	MovedBytes                         int64
	Hinted                             int // objects and arrays that were not compared, since Config.Hints vouched for them
	// Roots are the pods of all variables of the save.
	Roots map[string]pod.ID

	last      bool // of SaveLast
	choices   int  // that a strategy made
	g         *Graph
	base      *state
	next      *state
	undo      *undo  // if base was changed in place
	moment    uint64 // at which it began (hints.go)
	overtaken bool
	reshaping // of this save
}

// Commit makes the saved state the one that later saves compare with, and lets
// go of objects that no variable reaches any more.
func (s *Saved) Commit() {
	if s.overtaken {
		panic("podder: Commit of a save that another save or load has overtaken")
	}
	if s.next == nil {
		return
	}
	if s.last {
		panic("podder: Commit of the last save of a graph")
	}
	maps.Copy(s.g.roots, s.Roots)
	s.g.asOf = s.moment
	s.g.choices += s.choices
	s.g.repod.earn(s)
	s.g.reshaped = nil
	if s.undo != nil {
		s.undo.keep()
		if s.g.tooLarge(&s.g.cur.prints) {
			s.g.cur.forgetPrints()
		}
	} else {
		s.g.cur = s.next
		s.g.uncover()
		s.base.release()
	}
	s.over()
}

// Abort forgets the save: the next one finds the same changes again.
func (s *Saved) Abort() {
	switch {
	case s.undo != nil:
		s.undo.undo()
	case s.next != nil:
		s.next.release()
	}
	s.over()
}

// over says that the save has its fate.
func (s *Saved) over() {
	s.next, s.base, s.undo = nil, nil, nil
	if s.g.open == s {
		s.g.open = nil
	}
}

// overtake aborts the save that waits for its fate.
func (g *Graph) overtake() {
	if s := g.open; s != nil {
		s.Abort()
		s.overtaken = true
	}
}

// Save finds what the variables reach, and puts every pod that differs from its
// last saved or loaded state into sink. It reads everything that the variables
// reach: nothing may write it meanwhile, except through sync/atomic.
//
// Values that cannot be stored are an UnsupportedError with all their paths;
// memory that cannot be read is ErrMemoryFault. After an error, and until
// Commit, the graph is as it was; what went to the sink is to be thrown away. A save
// that still waits for its Commit is aborted, as Load, Restore, Follow and Trim do:
// its Commit panics from then on.
func (g *Graph) Save(ctx context.Context, roots []Root, sink pod.Sink) (*Saved, error) {
	return g.save(ctx, roots, sink, false)
}

// SaveLast is a Save that no other is to follow, and so keeps less: what it returns is
// to be aborted, whatever became of the sink's transaction.
func (g *Graph) SaveLast(ctx context.Context, roots []Root, sink pod.Sink) (*Saved, error) {
	return g.save(ctx, roots, sink, true)
}

func (g *Graph) save(ctx context.Context, roots []Root, sink pod.Sink, last bool) (s *Saved, err error) {
	g.overtake()
	defer func() { g.open = s }()
	roots, err = checkRoots(roots)
	if err != nil {
		return nil, err
	}
	if err := g.eng.learn(ctx, sink); err != nil {
		return nil, err
	}
	defer runtime.KeepAlive(g) // the memory of its state
	if last && g.lone.isRoot(roots) {
		if s, err := g.saveLone(ctx, sink); s != nil || err != nil {
			return s, err
		}
	}
	g.settle()
	now := g.moment()
	if g.canResave(roots) {
		if s, err := g.resave(ctx, roots, sink, now); !errors.Is(err, errWalk) {
			return s, err
		}
	}
	g.sweep() // others may have changed the pods of what is not reached since
	s, err = g.saveWalking(ctx, roots, sink, last)
	if err == nil {
		s.moment = now
	}
	return s, err
}

// saveWalking is Save that walks everything.
func (g *Graph) saveWalking(ctx context.Context, roots []Root, sink pod.Sink, last bool) (_ *Saved, err error) {
	w := newWalk(ctx, g)
	_, w.doubting = sink.(*unsoundSink)
	defer func() {
		if err != nil {
			w.st.release()
		}
		w.end()
	}()
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer w.catchFault(&err)
	s := &Saved{Roots: map[string]pod.ID{}, last: last, g: g, base: g.cur, next: w.st, Walked: true}
	p := &placer{walk: w, cfg: g.cfg, sink: sink, most: uint32(g.cfg.podBytes())}
	e := g.idle.takeEncoder()
	e.placer, e.ctx, e.saved = p, ctx, s
	if err := e.askStrategy(g); err != nil {
		return nil, err
	}
	if w.first && len(g.cur.pods) == 0 && p.chooser == nil {
		w.stream = newStream(e, last, g.late)
		if last {
			w.leaveUnpinned()
		}
	}
	if err := w.discover(roots); err != nil {
		return nil, err
	}
	if w.stream != nil {
		w.stream.end()
	} else {
		p.place(g, roots)
	}
	w.edges.put(0) // so that one past the last edge can be looked at
	g.warnZeroed(w)
	g.warnModuleData(w)
	if err := e.run(); err != nil {
		return nil, err
	}
	if err := e.checkReshaped(); err != nil {
		return nil, err
	}
	if w.stream == nil {
		defer g.idle.giveEncoder(e)
	}
	w.st.boxes = w.cells
	if g.cfg.Index && !w.first && !last {
		if err := w.takePrints(g); err != nil {
			return nil, err
		}
	}
	for k, c := range w.cells {
		id := w.st.pods[w.st.regions.at(c.region).pod].id
		s.Roots[c.name] = id
		if was, ok := g.roots[c.name]; ok && was == id || !ok && roots[k].Pod == id {
			continue
		}
		if err := sink.SetName(ctx, c.name, id); err != nil {
			return nil, fmt.Errorf("variable %q: %w", c.name, err)
		}
	}
	return s, nil
}

// checkRoots returns the roots with the values that interfaces hold.
func checkRoots(roots []Root) ([]Root, error) {
	names := make([]string, len(roots))
	roots = slices.Clone(roots)
	for i := range roots {
		r := &roots[i]
		if r.Value.IsValid() && r.Value.Kind() == reflect.Interface {
			r.Value = r.Value.Elem()
		}
		if !r.Value.IsValid() {
			return nil, fmt.Errorf("variable %q has no value: %w", r.Name, dberr.ErrInvalid)
		}
		names[i] = r.Name
	}
	slices.Sort(names)
	for i := 1; i < len(names); i++ {
		if names[i] == names[i-1] {
			return nil, fmt.Errorf("variable %q twice in one save: %w", names[i], dberr.ErrInvalid)
		}
	}
	return roots, nil
}

// maxWarned bounds the paths that one warning names.
const maxWarned = 20

// warnZeroed says which values are stored as nil, unless they are as many as
// they were.
func (g *Graph) warnZeroed(w *walk) {
	n := len(w.zeroed)
	if n == g.zeroed {
		return
	}
	g.zeroed = n
	if n == 0 || g.cfg.Warn == nil {
		return
	}
	f := newPathFinder(w)
	shown := w.zeroed[:min(n, maxWarned)]
	for _, p := range shown {
		f.want(p.region)
	}
	paths := make([]string, len(shown))
	for i, p := range shown {
		paths[i] = fmt.Sprintf("%s (%v)", f.path(p), p.typ)
	}
	w.pin() // that is code of the program
	g.cfg.Warn(w.ctx, fmt.Sprintf("%d values that cannot be stored were stored as nil: %s", n, strings.Join(paths, ", ")))
}
