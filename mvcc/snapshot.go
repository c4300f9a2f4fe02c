package mvcc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Snapshot is a read-only view of the database at one version. It never
// changes, blocks nobody, and pins nothing in the file: each operation looks at
// the newest state of the index and asks it for the old version. All methods
// are safe for concurrent use.
type Snapshot struct {
	s       *Store
	version Version
	branch  string
	lineage []fork // the line as of version, then the line's own lineage
	opened  time.Time
	owner   owner // with Options.TraceSnapshots
	closed  atomic.Bool
	place   int       // in the registry, from 1 on; 0 = not there. Its lock is held
	mem     [1]fork   // for the lineage of a line that was not forked
	last    *lastRead // of the base of a transaction, else nil
}

var _ pod.VariableSource = (*Snapshot)(nil)

// At opens a snapshot of a version, registered with the store until it is
// closed. Version 0 is the empty database. An unknown version matches
// ErrNotFound and ErrUnknownVersion, a retired one ErrVersionGone.
func (s *Store) At(ctx context.Context, version Version) (*Snapshot, error) {
	sn := &Snapshot{}
	if err := s.openSnapshot(ctx, sn, version, nil); err != nil {
		return nil, err
	}
	return sn, nil
}

// AtHead opens a snapshot of the newest version of a branch, as At does.
func (s *Store) AtHead(ctx context.Context, branch string) (*Snapshot, error) {
	for {
		l, err := s.lineNow(ctx, branch)
		if err != nil {
			return nil, err
		}
		sn := &Snapshot{}
		err = s.openSnapshot(ctx, sn, l.head.Load().version, l)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue // committed and pruned since
		}
		if err != nil {
			return nil, err
		}
		return sn, nil
	}
}

// openSnapshot opens one of a version that is probably the head of a line, which then
// spares reading its commit; l may be nil.
func (s *Store) openSnapshot(ctx context.Context, sn *Snapshot, version Version, l *line) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	sn.s, sn.version, sn.opened = s, version, s.o.Now()
	if s.o.TraceSnapshots {
		sn.owner = traceOwner()
	}
	if !s.open.add(sn) { // first, so that what is read then stays
		return versionGone(version)
	}
	if l != nil {
		if h := l.head.Load(); h.version == version && h.commits > 0 && !s.closed.Load() {
			sn.lineage, sn.branch = append(append(sn.mem[:0], fork{l.id, version, h.number}), l.lineage...), l.branch
			return nil
		}
	}
	var err error
	if sn.lineage, sn.branch, err = s.lineageOf(version); err != nil {
		s.open.remove(sn)
	}
	return err
}

func versionGone(version Version) error {
	return fmt.Errorf("%w: version %d", dberr.ErrVersionGone, version)
}

// lineageOf returns the lineage of a version, itself first, and the branch that
// it was committed on.
func (s *Store) lineageOf(version Version) ([]fork, string, error) {
	v, err := s.view()
	if err != nil {
		return nil, "", err
	}
	defer v.close()
	if version == 0 {
		return nil, MainBranch, nil
	}
	if newest := s.published.Load().version; version > newest {
		return nil, "", fmt.Errorf("%w: %w %d, the newest is %d", dberr.ErrNotFound, dberr.ErrUnknownVersion, version, newest)
	}
	row, err := v.row(version)
	if err != nil {
		return nil, "", err
	}
	l := s.lines.Load().byID[row.line]
	if l == nil {
		return nil, "", corrupt("version %d is on line %d, which does not exist", version, row.line)
	}
	return append([]fork{{l.id, version, row.last}}, l.lineage...), l.branch, nil
}

// Close ends the snapshot. Operations under way finish; a second Close does
// nothing.
func (sn *Snapshot) Close() {
	if sn.closed.CompareAndSwap(false, true) {
		sn.s.open.remove(sn)
	}
}

// Version returns the version that the snapshot shows.
func (sn *Snapshot) Version() Version { return sn.version }

// Branch returns the branch that the version was committed on.
func (sn *Snapshot) Branch() string { return sn.branch }

// Secret is Store.Secret.
func (sn *Snapshot) Secret() [32]byte { return sn.s.secret }

func (sn *Snapshot) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if sn.closed.Load() {
		return fmt.Errorf("snapshot of version %d: %w", sn.version, dberr.ErrClosed)
	}
	return nil
}

func (sn *Snapshot) view(ctx context.Context) (*view, error) {
	if err := sn.usable(ctx); err != nil {
		return nil, err
	}
	return sn.s.view()
}

// Pods returns pods in the order of ids, merged and immutable. One that is not
// in the snapshot is ErrNotFound.
func (sn *Snapshot) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	return sn.read(ctx, ids, func(v *view, f found) (*pod.Pod, error) {
		m, err := v.version(f)
		if err != nil {
			return nil, err
		}
		return m.pod, nil
	})
}

// read returns pods, each of which one reads when it is found.
func (sn *Snapshot) read(ctx context.Context, ids []pod.ID, one func(*view, found) (*pod.Pod, error)) ([]*pod.Pod, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
	pods := make([]*pod.Pod, len(ids))
	order := make([]int, len(ids))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, k int) int { return cmp.Compare(ids[i], ids[k]) }) // neighbours lie in one block
	for n, i := range order {
		id := ids[i]
		if n%64 == 63 {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
		}
		f, ok, err := v.resolve(sn.lineage, id)
		if err != nil {
			return nil, err
		}
		if !ok {
			return nil, fmt.Errorf("%w: pod %d at version %d", dberr.ErrNotFound, id, sn.version)
		}
		if pods[i], err = one(v, f); err != nil {
			return nil, err
		}
	}
	return pods, nil
}

// Number returns the number of the pod version that the snapshot sees; 0 and
// ErrNotFound if there is none.
func (sn *Snapshot) Number(ctx context.Context, id pod.ID) (uint64, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return 0, err
	}
	defer v.close()
	f, ok, err := v.resolve(sn.lineage, id)
	if err != nil || !ok {
		return 0, cmp.Or(err, fmt.Errorf("%w: pod %d at version %d", dberr.ErrNotFound, id, sn.version))
	}
	return f.number, nil
}

// Type returns the descriptor of a catalogue type.
func (sn *Snapshot) Type(ctx context.Context, id pod.TypeID) ([]byte, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return nil, err
	}
	defer v.close()
	return v.descriptor(id)
}

// Types calls fn with every type of the catalogue from an id on, in order: also
// those that came after the snapshot's version.
func (sn *Snapshot) Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	v, err := sn.view(ctx)
	if err != nil {
		return err
	}
	defer v.close()
	return v.types(ctx, from, fn)
}

func (v *view) descriptor(id pod.TypeID) ([]byte, error) {
	b, ok, err := v.fetch(typeKey(id))
	if err == nil && !ok {
		err = fmt.Errorf("%w: type %d", dberr.ErrNotFound, id)
	}
	return b, err
}

// Root returns the root pod of a variable, or ErrNotFound.
func (sn *Snapshot) Root(ctx context.Context, name string) (pod.ID, error) {
	v, err := sn.viewNamed(ctx, name)
	if err != nil {
		return 0, err
	}
	defer v.close()
	return sn.root(v, name)
}

// viewNamed is view for looking for a variable.
func (sn *Snapshot) viewNamed(ctx context.Context, name string) (*view, error) {
	if err := checkName("variable", name); err != nil {
		return nil, fmt.Errorf("%w: variable %q: %w", dberr.ErrNotFound, name, err)
	}
	return sn.view(ctx)
}

func (sn *Snapshot) root(v *view, name string) (pod.ID, error) {
	root, err := v.resolveName(sn.lineage, nameKey(name))
	if err == nil && root == 0 {
		err = fmt.Errorf("%w: variable %q at version %d", dberr.ErrNotFound, name, sn.version)
	}
	return root, err
}

// Variable returns the root pod of a variable with its id, or ErrNotFound. One that
// is small is read into spare, unless that is nil. Of the base of a transaction it is for
// the transaction alone, and spare stays as it is until the transaction is over.
func (sn *Snapshot) Variable(ctx context.Context, name string, spare *pod.Pod) (pod.ID, *pod.Pod, error) {
	v, err := sn.viewNamed(ctx, name)
	if err != nil {
		return 0, nil, err
	}
	defer v.close()
	root, err := sn.root(v, name)
	if err != nil {
		return 0, nil, err
	}
	p, err := v.podInto(sn.lineage, root, spare, sn.last)
	if err == nil && p == nil {
		err = corrupt("pod %d, the root of variable %q, is not in version %d", root, name, sn.version)
	}
	return root, p, err
}

// namesBatch is the number of names read in one view.
const namesBatch = 128

// Names yields the variables whose names begin with prefix, in byte order. At
// most one error is yielded, and it ends the sequence. Nothing is held while
// the caller works on a name.
func (sn *Snapshot) Names(ctx context.Context, prefix string) iter.Seq2[string, error] {
	head := escapedName([]byte{kindName}, prefix)
	return sn.batches(ctx, head, func(v *view, from []byte) ([]string, []byte, error) {
		return v.names(sn.lineage, head, from, namesBatch)
	})
}

// NamesBackward is Names in the opposite order.
func (sn *Snapshot) NamesBackward(ctx context.Context, prefix string) iter.Seq2[string, error] {
	head := escapedName([]byte{kindName}, prefix)
	return sn.batches(ctx, behindPrefix(head), func(v *view, before []byte) ([]string, []byte, error) {
		return v.namesBack(sn.lineage, head, before, namesBatch)
	})
}

// batches yields the names that read finds from a key on, and from each key that it
// returns with them until that is nil. No view is held while the caller works.
func (sn *Snapshot) batches(ctx context.Context, from []byte, read func(v *view, from []byte) ([]string, []byte, error)) iter.Seq2[string, error] {
	one := func(from []byte) ([]string, []byte, error) {
		v, err := sn.view(ctx)
		if err != nil {
			return nil, nil, err
		}
		defer v.close()
		return read(v, from)
	}
	return func(yield func(string, error) bool) {
		for at := from; at != nil; {
			names, next, err := one(at)
			if err != nil {
				yield("", err)
				return
			}
			for _, n := range names {
				if !yield(n, nil) {
					return
				}
			}
			at = next
		}
	}
}

// behindPrefix returns the first key behind all that begin with prefix, which
// begins with a kind.
func behindPrefix(prefix []byte) []byte {
	k := bytes.Clone(prefix)
	for k[len(k)-1] == 0xff {
		k = k[:len(k)-1]
	}
	k[len(k)-1]++
	return k
}
