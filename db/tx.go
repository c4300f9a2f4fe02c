package db

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"sync/atomic"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Tx is a transaction: a view of one version of a branch, and private copies of
// the objects read in it, whose changes Commit finds. It is used by one
// goroutine at a time; a call that comes while another one runs is ErrTxBusy.
//
// What Get returned may be changed until Commit begins. It stays valid
// afterwards, but means nothing to the database any more: read it again in the
// next transaction.
//
// docs/guarantees.md says what transactions promise, and which test holds it.
type Tx struct {
	d    *DB
	opts TxOptions
	tx   *mvcc.Tx
	sn   *mvcc.Snapshot // the base, owned by tx

	graph   *podder.Graph
	tables  *txTables // what live and asked come from; nil until one is needed
	live    map[string]txVariable
	deleted map[string]struct{} // names at base that Commit removes
	asked   map[string]struct{} // names on which what was read depends
	// unbound are the pods that variables reached which were loaded and then bound
	// to something else or deleted. Only with SnapshotIsolation.
	unbound podIDs

	busy  atomic.Bool
	over  bool
	leak  runtime.Cleanup
	stats TxStats
}

// txVariable is a variable that lives in a transaction.
type txVariable struct {
	value reflect.Value
	use   use
}

// use says what a transaction may do to a variable.
type use uint8

const (
	useRead use = iota // Read: never written
	useGet             // Get: changes are found
	usePut             // Put: bound here
)

// Isolation says what a transaction is protected from.
type Isolation int

const (
	// Serializable: Commit is a conflict if anything that the transaction has read
	// was changed since its base: objects, which variables there are (absent ones
	// too), and which names Names yielded. So all transactions that commit happen
	// as if one after the other, in the order of their versions.
	Serializable Isolation = iota
	// SnapshotIsolation: only what the transaction writes is compared, the binding
	// of the variables that Get returned, and what was loaded of a variable that is
	// then bound to something else or deleted. Two transactions that each read
	// what the other one changes can both commit (write skew).
	SnapshotIsolation
)

// TxOptions refines a transaction. The zero value is what most want.
type TxOptions struct {
	Branch    string // "" means main
	Isolation Isolation
	// Base is the version to start from, which must lie on the branch; 0 means its
	// newest. Not for Update.
	Base    Version
	Message string // shown by Log
	Author  string
	// TrustReads leaves out looking at Commit whether an object that was only Read
	// was changed: then such a change is lost in silence.
	TrustReads bool
	// Attempts bounds how often Update runs its function; 0 means 100.
	Attempts int
}

// TxStats says what a Commit did.
type TxStats struct {
	Objects     int   // regions of memory that the variables of Get and Put reach
	Pods        int   // pods that hold them
	PodsWritten int   // pods of which a new version was stored
	Bytes       int64 // bytes of the stored pod versions, before the log's framing
}

// check returns o with what is empty filled in.
func (o TxOptions) check() (TxOptions, error) {
	if o.Branch == "" {
		o.Branch = mainBranch
	}
	if o.Isolation != Serializable && o.Isolation != SnapshotIsolation {
		return o, fmt.Errorf("%w: TxOptions.Isolation %d", ErrInvalid, o.Isolation)
	}
	if o.Attempts < 0 {
		return o, fmt.Errorf("%w: TxOptions.Attempts %d is negative", ErrInvalid, o.Attempts)
	}
	return o, nil
}

// Begin starts a transaction. It holds no lock: it blocks nobody, and nobody
// blocks it. Until it is over, retention keeps the version that it started
// from. End it with Commit or Rollback; one that the program lets go of is rolled
// back by the garbage collector.
//
// Errors: ErrNotFound (no such branch or version), ErrVersionGone (Base was
// pruned), ErrInvalid (Base is on another branch), ErrReadOnly, ErrPoisoned,
// ErrClosed.
func (d *DB) Begin(ctx context.Context, o TxOptions) (_ *Tx, err error) {
	defer func() { err = d.named(err) }()
	if o, err = o.check(); err != nil {
		return nil, err
	}
	tx, err := d.begin(ctx, o)
	if err == nil {
		tx.leak = tx.endWhenLost()
	}
	return tx, err
}

// endWhenLost has the garbage collector release what the transaction holds of the store.
func (tx *Tx) endWhenLost() runtime.Cleanup {
	return runtime.AddCleanup(tx, (*mvcc.Tx).Rollback, tx.tx)
}

// begin is Begin for who ends the transaction whatever happens.
func (d *DB) begin(ctx context.Context, o TxOptions) (*Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inner, err := d.beginAt(ctx, o)
	if err != nil {
		return nil, err
	}
	graph, err := d.graphs.Get()
	if err != nil {
		inner.Rollback()
		return nil, err
	}
	tx := &Tx{d: d, opts: o, tx: inner, sn: inner.Base(), graph: graph}
	tx.keepRefs()
	return tx, nil
}

// beginAt begins at the wanted version, or at the newest one.
func (d *DB) beginAt(ctx context.Context, o TxOptions) (*mvcc.Tx, error) {
	if o.Base != 0 {
		return d.store.Begin(ctx, o.Branch, o.Base)
	}
	for {
		v, err := d.store.Head(ctx, o.Branch)
		if err != nil {
			return nil, err
		}
		tx, err := d.store.Begin(ctx, o.Branch, v)
		if errors.Is(err, ErrVersionGone) {
			continue // committed and pruned since
		}
		return tx, err
	}
}

// enter marks the transaction as used; leave ends that.
func (tx *Tx) enter() error {
	if !tx.busy.CompareAndSwap(false, true) {
		return ErrTxBusy
	}
	if tx.over {
		tx.busy.Store(false)
		return ErrTxDone
	}
	return nil
}

func (tx *Tx) leave() { tx.busy.Store(false) }

// Base returns the version that the transaction started from.
func (tx *Tx) Base() Version { return tx.sn.Version() }

// Get returns a variable to read and change, as Get[T] does.
func (tx *Tx) Get(ctx context.Context, name string) (any, error) { return Get[any](ctx, tx, name) }

// Read returns a variable of a transaction that is only read: Commit depends on
// it and never writes it. What it reaches and shares with variables of Get and
// Put is one object, and changed through those it is written. If an object that
// only Read variables reach was changed, Commit is ErrReadChanged, unless
// TxOptions.TrustReads. A variable that Get or Put had before stays theirs, and a
// later Get makes a Read one theirs.
func Read[T any](ctx context.Context, tx *Tx, name string) (T, error) {
	return readAs[T](ctx, tx, useRead, name)
}

func readAs[T any](ctx context.Context, tx *Tx, u use, name string) (T, error) {
	var zero T
	want := reflect.TypeFor[T]()
	vs, err := tx.readFor(ctx, u, []string{name}, []reflect.Type{want})
	if err != nil {
		return zero, err
	}
	return assign[T](vs[0], want, name)
}

func (tx *Tx) readOne(ctx context.Context, name string, want reflect.Type) (reflect.Value, error) {
	vs, err := tx.readFor(ctx, useGet, []string{name}, []reflect.Type{want})
	if err != nil {
		return reflect.Value{}, err
	}
	return vs[0], nil
}

// read makes a Tx a Reader.
func (tx *Tx) read(ctx context.Context, names []string, want []reflect.Type) ([]reflect.Value, error) {
	return tx.readFor(ctx, useGet, names, want)
}

func (tx *Tx) readFor(ctx context.Context, u use, names []string, want []reflect.Type) (_ []reflect.Value, err error) {
	if err := tx.enter(); err != nil {
		return nil, err
	}
	defer tx.leave()
	defer func() { err = tx.d.named(err) }()
	var missing []string
	var types []reflect.Type
	for i, n := range names {
		tx.depend(n)
		if _, gone := tx.deleted[n]; gone {
			return nil, fmt.Errorf("variable %q: %w", n, ErrNotFound)
		}
		if _, ok := tx.live[n]; !ok && !slices.Contains(missing, n) {
			missing = append(missing, n)
			types = append(types, want[i])
		}
	}
	if len(missing) > 0 {
		vals, err := tx.graph.Load(ctx, tx.sn, missing, types)
		if err != nil {
			return nil, err
		}
		for i, n := range missing {
			tx.bind(n, txVariable{vals[i], useRead})
		}
	}
	out := make([]reflect.Value, len(names))
	for i, n := range names {
		v := tx.live[n]
		if u > v.use {
			v.use = u
			tx.live[n] = v
		}
		out[i] = v.value
	}
	return out, nil
}

// depend notes that what the transaction does depends on a name.
func (tx *Tx) depend(name string) {
	tx.takeTables()
	tx.asked[name] = struct{}{}
}

func (tx *Tx) bind(name string, v txVariable) {
	tx.takeTables()
	tx.live[name] = v
}

// txTables are tables of a transaction that is over, empty, for the next one.
type txTables struct {
	live  map[string]txVariable
	asked map[string]struct{}
}

// maxTable bounds what tables that are used again may have had.
const maxTable = 64

func (tx *Tx) takeTables() {
	if tx.tables != nil {
		return
	}
	t, _ := tx.d.tables.Get().(*txTables)
	if t == nil {
		t = &txTables{map[string]txVariable{}, map[string]struct{}{}}
	}
	tx.tables, tx.live, tx.asked = t, t.live, t.asked
}

func (tx *Tx) giveTables() {
	if t := tx.tables; t != nil && max(len(t.live), len(t.asked)) <= maxTable {
		clear(t.live)
		clear(t.asked)
		tx.d.tables.Put(t)
	}
	tx.tables, tx.live, tx.asked = nil, nil, nil
}

// Load reads several variables at once, as Get does; see Snapshot.Load for dst.
func (tx *Tx) Load(ctx context.Context, dst any) error {
	return load(ctx, tx, dst, func(name string) (bool, error) { return tx.has(ctx, name) },
		func() ([]string, error) {
			var names []string
			for n, err := range tx.Names(ctx, "") {
				if err != nil {
					return nil, err
				}
				names = append(names, n)
			}
			return names, nil
		})
}

// Has reports whether there is a variable of that name. The transaction depends
// on the answer.
func (tx *Tx) Has(ctx context.Context, name string) (bool, error) { return tx.has(ctx, name) }

func (tx *Tx) has(ctx context.Context, name string) (_ bool, err error) {
	if err := tx.enter(); err != nil {
		return false, err
	}
	defer tx.leave()
	ok, err := tx.bound(ctx, name)
	return ok, tx.d.named(err)
}

// bound reports whether name is a variable now, and has the transaction depend
// on it.
func (tx *Tx) bound(ctx context.Context, name string) (bool, error) {
	tx.depend(name)
	if _, ok := tx.live[name]; ok {
		return true, nil
	}
	if _, gone := tx.deleted[name]; gone {
		return false, nil
	}
	_, err := tx.sn.Root(ctx, name)
	return found(err)
}

// Put binds a variable to a value, as Namespace.Set does; what the value is at
// Commit is stored. It depends on nothing that the variable was before, but two
// transactions that bind one name collide.
func (tx *Tx) Put(ctx context.Context, name string, value any) error {
	if err := tx.enter(); err != nil {
		return err
	}
	defer tx.leave()
	if err := checkName(name); err != nil {
		return err
	}
	v := reflect.ValueOf(value)
	if err := checkValue(name, v); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	old := tx.live[name]
	if old.use < usePut && sameObject(old.value, v) { // as Get has it
		old.use = useGet
		tx.bind(name, old)
		return nil
	}
	tx.unbind(name)
	tx.bind(name, txVariable{v, usePut})
	delete(tx.deleted, name)
	return nil
}

// unbind notes what a variable was that is bound anew or deleted: with snapshot
// isolation its change by others would be lost.
func (tx *Tx) unbind(name string) {
	if v, ok := tx.live[name]; !ok || v.use == usePut || tx.opts.Isolation != SnapshotIsolation {
		return
	}
	if tx.unbound == nil {
		tx.unbound = podIDs{}
	}
	tx.graph.PodsFrom(name, tx.unbound)
}

// podIDs is an mvcc.PodSet.
type podIDs map[pod.ID]struct{}

func (s podIDs) Len() int { return len(s) }

func (s podIDs) Has(id pod.ID) bool {
	_, ok := s[id]
	return ok
}

func (s podIDs) All() iter.Seq[pod.ID] { return maps.Keys(s) }

// sameObject reports whether two values are one pointer or map.
func sameObject(a, b reflect.Value) bool {
	return a.IsValid() && a.Type() == b.Type() && isObject(a) && a.UnsafePointer() == b.UnsafePointer()
}

func isObject(v reflect.Value) bool { return v.Kind() == reflect.Pointer || v.Kind() == reflect.Map }

// Delete removes a variable; objects that other variables share stay. A missing
// name is ErrNotFound.
func (tx *Tx) Delete(ctx context.Context, name string) (err error) {
	if err := tx.enter(); err != nil {
		return err
	}
	defer tx.leave()
	defer func() { err = tx.d.named(err) }()
	if err := ctx.Err(); err != nil {
		return err
	}
	if ok, err := tx.bound(ctx, name); err != nil {
		return err
	} else if !ok {
		return fmt.Errorf("variable %q: %w", name, ErrNotFound)
	}
	if _, ok := tx.live[name]; ok {
		tx.unbind(name)
		delete(tx.live, name)
		tx.graph.Forget(name)
	}
	_, err = tx.sn.Root(ctx, name)
	stored, err := found(err)
	if err != nil {
		return err
	}
	if stored {
		if tx.deleted == nil {
			tx.deleted = map[string]struct{}{}
		}
		tx.deleted[name] = struct{}{}
	}
	return nil
}

// Rollback gives the transaction up. After Commit or Rollback it does nothing; it
// fails only with ErrTxBusy, while another goroutine uses the transaction.
func (tx *Tx) Rollback() error {
	switch err := tx.enter(); {
	case errors.Is(err, ErrTxDone):
		return nil
	case err != nil:
		return err
	}
	defer tx.leave()
	tx.end()
	return nil
}

// end releases what the transaction holds.
func (tx *Tx) end() {
	tx.over = true
	tx.leak.Stop()
	tx.tx.Rollback()
	tx.d.graphs.Put(tx.graph)
	tx.giveTables()
	tx.graph, tx.deleted, tx.unbound = nil, nil, nil
}

// Stats returns what the transaction wrote; it is empty before Commit.
func (tx *Tx) Stats() TxStats { return tx.stats }

// roots lists the live variables that are used in one of the ways, in name order.
func (tx *Tx) roots(uses ...use) []podder.Root {
	var roots []podder.Root
	for n, v := range tx.live {
		if slices.Contains(uses, v.use) {
			roots = append(roots, podder.Root{Name: n, Value: v.value})
		}
	}
	slices.SortFunc(roots, func(a, b podder.Root) int { return cmp.Compare(a.Name, b.Name) })
	return roots
}
