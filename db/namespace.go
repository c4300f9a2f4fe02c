package db

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"runtime"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Namespace is a live set of variables bound to a branch. Its methods may be
// called from many goroutines, one at a time runs: the others wait, those with a
// context no longer than that lasts. What a call runs of the program (BeforeStore,
// MarshalPod, AfterLoad, UnmarshalPod, codecs, migrations, a Strategy) runs on the call's goroutine
// and cannot use the namespace: that is ErrNested, but for methods that only tell
// (Base, Names, LastSave, Moved) and Trim. If it starts a goroutine that does and waits for it,
// only the context given to that ends it. The objects themselves
// belong to the program, and nothing may write them while Save or Checkout
// runs. Retention keeps Base for as long as the program can reach the namespace.
type Namespace struct {
	d      *DB
	branch string

	turn    turn
	graph   *podder.Graph
	base    *base
	stored  map[string]struct{} // names at base
	live    map[string]variable // set or loaded
	deleted map[string]struct{} // names at base that the next Save removes
	rebound map[string]pod.ID   // names that the next Save binds, after Checkout
	last    SaveStats
	moved   []string
}

// variable is a live one.
type variable struct {
	value reflect.Value
	root  pod.ID // 0 until it was saved or loaded
}

// SaveStats says what the newest Save of a namespace did.
type SaveStats struct {
	Version     Version
	Objects     int   // regions of memory that the variables reach
	Pods        int   // pods that hold them
	PodsWritten int   // pods of which a new version was stored
	Bytes       int64 // bytes of the stored pod versions, before the log's framing
	// Walked: the save looked at everything that the variables reach. The first two of
	// a namespace do, and one after a checkout, after variables were deleted or bound to
	// another type, when much has become garbage, with Options.NoIndex, and for a few rare
	// kinds of values.
	Walked bool
	// IndexBytes is the memory of the fingerprints by which the next Save finds what
	// changed; 0 if there are none, so that it walks.
	IndexBytes int64
	// Hinted objects and arrays were not looked at, because Options.Hints vouched for them.
	Hinted int
	// PodsSplit and PodsDivided are pods that objects left for pods of their own, in a save that
	// wrote them anyway, because that costs less by their history, or because they
	// had outgrown what a pod may hold. SlotsMoved are these objects, arrays and maps, and
	// MovedBytes about what was written for it. Stats has the sums.
	PodsSplit, PodsDivided, SlotsMoved int
	MovedBytes                         int64
}

// Namespace opens the live variables of a branch at its newest version.
// Variables load when they are first asked for.
func (d *DB) Namespace(ctx context.Context, branch string) (_ *Namespace, err error) {
	defer func() { err = d.named(err) }()
	conf := d.conf
	conf.Index = d.index
	graph, err := podder.NewGraph(conf)
	if err != nil {
		return nil, err
	}
	b, err := d.openBase(ctx, branch)
	if err != nil {
		return nil, err
	}
	names, err := namesAt(ctx, b.sn)
	if err != nil {
		b.close()
		return nil, err
	}
	ns := &Namespace{d: d, branch: branch, graph: graph, base: b, stored: names,
		live: map[string]variable{}, deleted: map[string]struct{}{}, rebound: map[string]pod.ID{}, turn: newTurn()}
	ns.keepRefs()
	runtime.AddCleanup(ns, (*base).close, ns.base)
	return ns, nil
}

// base keeps the version that a namespace rests on open, so that retention
// keeps it, until the program has let go of the namespace.
type base struct {
	sn *mvcc.Snapshot
	// followed is up to where the graph knows what collects took away.
	followed *mvcc.Follower
}

// openBase returns a base that is the newest version of a branch.
func (d *DB) openBase(ctx context.Context, branch string) (*base, error) {
	f, err := d.store.FollowCollects(ctx, branch)
	if err != nil {
		return nil, err
	}
	head, err := d.store.AtHead(ctx, branch)
	if err != nil {
		f.Close()
		return nil, err
	}
	f.Pass(head.Version())
	return &base{head, f}, nil
}

func (b *base) version() Version { return b.sn.Version() }

func (b *base) close() {
	b.sn.Close()
	b.followed.Close()
}

// move makes sn the base.
func (b *base) move(sn *mvcc.Snapshot) {
	b.sn.Close()
	b.sn = sn
}

func namesAt(ctx context.Context, sn *mvcc.Snapshot) (map[string]struct{}, error) {
	names := map[string]struct{}{}
	for n, err := range sn.Names(ctx, "") {
		if err != nil {
			return nil, err
		}
		names[n] = struct{}{}
	}
	return names, nil
}

// Base returns the version this namespace was loaded from or last saved as.
func (ns *Namespace) Base() (v Version) {
	ns.look(func() { v = ns.base.version() })
	return v
}

// LastSave returns what the newest successful Save did.
func (ns *Namespace) LastSave() (s SaveStats) {
	ns.look(func() { s = ns.last })
	return s
}

// Trim lets go of objects that no variable reaches any more as of the newest Save, and
// of what the next one needs to look only at what changed: that one looks at everything. Called
// from within a call of the namespace (by a hook) it does so when that one ends.
func (ns *Namespace) Trim() {
	ns.turn.trim.Store(true)
	ns.look(func() {}) // whoever unlocks does it
}

// Set binds a variable to a live value: a pointer or a map, whose contents
// every later Save looks at, or a number, bool or string, whose value is
// stored. Anything else is ErrInvalid with a hint: a slice, struct or array
// passed by value would be a copy that later changes do not reach. A name has
// 1 to 1,024 bytes.
func (ns *Namespace) Set(ctx context.Context, name string, value any) error {
	if err := checkName(name); err != nil {
		return err
	}
	v := reflect.ValueOf(value)
	if err := checkValue(name, v); err != nil {
		return err
	}
	if err := ns.lock(ctx); err != nil {
		return err
	}
	defer ns.unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	// A live variable that is bound again keeps its root pod. A stored one that
	// was never loaded gets a new one: nothing is known about the old.
	ns.live[name] = variable{value: v, root: ns.live[name].root}
	delete(ns.deleted, name)
	return nil
}

const maxNameBytes = 1024

func checkName(name string) error {
	if name == "" || len(name) > maxNameBytes {
		return fmt.Errorf("%w: a variable's name has 1 to %d bytes, not %d", ErrInvalid, maxNameBytes, len(name))
	}
	if err := mvcc.CheckName(name); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func checkValue(name string, v reflect.Value) error {
	if !v.IsValid() {
		return fmt.Errorf("%w: Set(%q, nil): use Delete, or a pointer to a variable that is nil", ErrInvalid, name)
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr,
		reflect.Float32, reflect.Float64, reflect.Complex64, reflect.Complex128:
		return nil
	case reflect.Slice:
		return fmt.Errorf("%w: Set(%q) with a bare %v: append would be lost; pass a pointer to the slice", ErrInvalid, name, v.Type())
	case reflect.Struct, reflect.Array:
		return fmt.Errorf("%w: Set(%q) with a %v by value: later changes would be lost; pass a pointer to it", ErrInvalid, name, v.Type())
	default:
		return &UnsupportedError{Problems: []PathProblem{{Path: name, Type: v.Type().String(), Reason: "cannot be stored"}}}
	}
}

// Delete removes a variable; objects that other variables share stay. A
// missing name is ErrNotFound.
func (ns *Namespace) Delete(ctx context.Context, name string) error {
	if err := ns.lock(ctx); err != nil {
		return err
	}
	defer ns.unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	if !ns.bound(name) {
		return fmt.Errorf("variable %q: %w", name, ErrNotFound)
	}
	if _, ok := ns.live[name]; ok {
		delete(ns.live, name)
		ns.graph.Forget(name)
	}
	delete(ns.rebound, name)
	if _, ok := ns.stored[name]; ok {
		ns.deleted[name] = struct{}{}
	}
	return nil
}

// bound reports whether name is a variable of the namespace now.
func (ns *Namespace) bound(name string) bool {
	if _, ok := ns.live[name]; ok {
		return true
	}
	_, stored := ns.stored[name]
	_, gone := ns.deleted[name]
	return stored && !gone
}

// Names yields the variables in byte order, as they were when it was called.
func (ns *Namespace) Names() iter.Seq[string] {
	var names []string
	ns.look(func() { names = ns.names() })
	return slices.Values(names)
}

func (ns *Namespace) names() []string {
	all := map[string]struct{}{}
	for n := range ns.stored {
		if _, gone := ns.deleted[n]; !gone {
			all[n] = struct{}{}
		}
	}
	for n := range ns.live {
		all[n] = struct{}{}
	}
	return slices.Sorted(maps.Keys(all))
}

// Get returns the live value of a variable, loading it if this is the first
// use. Get[T] is the typed form.
func (ns *Namespace) Get(ctx context.Context, name string) (any, error) {
	return Get[any](ctx, ns, name)
}

// Load reads several live variables at once; see Snapshot.Load for dst.
func (ns *Namespace) Load(ctx context.Context, dst any) error {
	has := func(name string) (bool, error) {
		if err := ns.lock(ctx); err != nil {
			return false, err
		}
		defer ns.unlock()
		return ns.bound(name), nil
	}
	all := func() ([]string, error) {
		if err := ns.lock(ctx); err != nil {
			return nil, err
		}
		defer ns.unlock()
		return ns.names(), nil
	}
	return load(ctx, ns, dst, has, all)
}

func (ns *Namespace) readOne(ctx context.Context, name string, want reflect.Type) (reflect.Value, error) {
	vs, err := ns.read(ctx, []string{name}, []reflect.Type{want})
	if err != nil {
		return reflect.Value{}, err
	}
	return vs[0], nil
}

func (ns *Namespace) read(ctx context.Context, names []string, want []reflect.Type) (_ []reflect.Value, err error) {
	defer func() { err = ns.d.named(err) }()
	if err := ns.lock(ctx); err != nil {
		return nil, err
	}
	defer ns.unlock()
	var missing []string
	var types []reflect.Type
	for i, n := range names {
		if !ns.bound(n) {
			return nil, fmt.Errorf("variable %q: %w", n, ErrNotFound)
		}
		if _, ok := ns.live[n]; !ok && !slices.Contains(missing, n) {
			missing = append(missing, n)
			types = append(types, want[i])
		}
	}
	if err := ns.load(ctx, missing, types); err != nil {
		return nil, err
	}
	out := make([]reflect.Value, len(names))
	for i, n := range names {
		out[i] = ns.live[n].value
	}
	return out, nil
}

// load brings variables of the base version into memory.
func (ns *Namespace) load(ctx context.Context, names []string, want []reflect.Type) error {
	if len(names) == 0 {
		return nil
	}
	ns.runsCode()
	sn := ns.base.sn
	vals, err := ns.graph.Load(ctx, sn, names, want)
	if err != nil {
		return err
	}
	for i, n := range names {
		root, err := sn.Root(ctx, n)
		if err != nil {
			return err
		}
		ns.live[n] = variable{value: vals[i], root: root}
	}
	return nil
}

// SaveOptions refines one Save.
type SaveOptions struct {
	Message string // shown by Log
	Author  string
}

// Save commits what changed since the last Save and returns the new version,
// durable when it returns. If nothing changed it makes no commit and returns
// Base. It reads everything that the live variables reach: nothing may write
// those objects meanwhile. Variables that were not loaded are left alone.
//
// If another commit on the branch since Base touched a pod that is live here, or
// bound or deleted a variable that is live or was deleted here, nothing is
// written and the error is ErrConflict: what is live here must then be taken
// over into a new Namespace. What a Collect wrote is no conflict: Save goes on from
// the version behind it. If a variable that was not loaded refers into a part of a value
// that is written in another shape now, since its type changed, and that part is elsewhere
// or gone in that, the error is ErrTypeMismatch and names the variables to load first. Values that cannot be stored give an UnsupportedError with all
// their paths. A failed Save changes nothing; the next one finds the same
// changes again.
func (ns *Namespace) Save(ctx context.Context, opts ...SaveOptions) (_ Version, err error) {
	defer func() { err = ns.d.named(err) }()
	var o SaveOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	if err := ns.lockToRun(ctx); err != nil {
		return 0, err
	}
	defer ns.unlock()
	for try := 0; ; try++ {
		if err := ns.followCollects(ctx); err != nil {
			return 0, err
		}
		v, err := ns.save(ctx, o)
		if !errors.Is(err, ErrConflict) || try == maxFollows || !ns.behindCollect() {
			return v, err
		}
	}
}

// save is Save at the base.
func (ns *Namespace) save(ctx context.Context, o SaveOptions) (Version, error) {
	tx, err := ns.d.store.Begin(ctx, ns.branch, ns.base.version())
	if err != nil {
		return 0, err
	}
	defer tx.Rollback()
	// Before the graph's own bindings, which are newer.
	for _, n := range slices.Sorted(maps.Keys(ns.rebound)) {
		if err := tx.SetName(ctx, n, ns.rebound[n]); err != nil {
			return 0, err
		}
	}
	saved, err := ns.graph.Save(ctx, ns.roots(), storedSink{tx, ns.remaining})
	if err != nil {
		return 0, err
	}
	defer saved.Abort() // nothing, once it was committed
	sn, err := ns.commit(ctx, tx, o)
	if err != nil {
		return 0, err
	}
	saved.Commit()
	for n, root := range saved.Roots {
		lv := ns.live[n]
		lv.root = root
		ns.live[n] = lv
		ns.stored[n] = struct{}{}
	}
	for n := range ns.deleted {
		delete(ns.stored, n)
	}
	for n := range ns.rebound {
		ns.stored[n] = struct{}{}
	}
	clear(ns.deleted)
	clear(ns.rebound)
	v := sn.Version()
	ns.follow(ctx, sn)
	w := tx.Written()
	ns.last = SaveStats{Version: v, Objects: saved.Objects, Pods: saved.Pods, PodsWritten: w.PodsNew + w.PodsChanged, Bytes: int64(w.Bytes), Walked: saved.Walked, IndexBytes: ns.graph.IndexBytes(), Hinted: saved.Hinted,
		PodsSplit: saved.PodsSplit, PodsDivided: saved.PodsDivided, SlotsMoved: saved.SlotsMoved, MovedBytes: saved.MovedBytes}
	ns.d.moved.add(&ns.last)
	return v, nil
}

// follow makes sn the base. Others may have committed between the old base and
// it; then their names are part of it too. The commit is durable whatever
// happens here, so a failure to read names leaves the known ones.
func (ns *Namespace) follow(ctx context.Context, sn *mvcc.Snapshot) {
	if sn.Version() > ns.base.version()+1 {
		if names, err := namesAt(ctx, sn); err == nil {
			ns.stored = names
		}
	}
	ns.base.move(sn)
}

func (ns *Namespace) commit(ctx context.Context, tx *mvcc.Tx, o SaveOptions) (*mvcc.Snapshot, error) {
	for _, n := range slices.Sorted(maps.Keys(ns.deleted)) {
		if err := tx.DeleteName(ctx, n); err != nil {
			return nil, err
		}
	}
	tx.Guard(ns.graph.Holds)
	for n := range ns.live {
		tx.GuardName(n) // bound elsewhere, our object would be saved where no name leads
	}
	return tx.CommitOpen(ctx, mvcc.CommitInfo{Message: o.Message, Author: o.Author})
}

// others reports whether there are variables that are not live.
func (ns *Namespace) others() bool {
	for n := range ns.stored {
		_, live := ns.live[n]
		if _, gone := ns.deleted[n]; !live && !gone {
			return true
		}
	}
	return false
}

// roots lists the live variables in name order, and tells the graph of others.
func (ns *Namespace) roots() []podder.Root {
	ns.graph.Others(ns.others())
	roots := make([]podder.Root, 0, len(ns.live))
	for _, n := range slices.Sorted(maps.Keys(ns.live)) {
		v := ns.live[n]
		roots = append(roots, podder.Root{Name: n, Value: v.value, Pod: v.root})
	}
	return roots
}

func found(err error) (bool, error) {
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
