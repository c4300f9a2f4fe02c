package mvcc

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
)

// Deleted branches. A line that nobody committed to, and that no other line began on,
// is removed: nothing but its rows tells of it. Any other stays: lines that began on it
// inherit what it shows. Deleting its branch frees the name: the line is marked, and its
// branch row goes to a key that no name has. It keeps the rules that all lines
// have, so it needs no others; retention keeps of it only what every line
// keeps (retire.go, invariant 1), whatever the policy says.

// Branch describes a branch.
type Branch struct {
	Name    string
	Head    Version // its newest version
	Fork    Version // the version that it was created at; 0 for main
	Commits uint64  // made on it, retired ones included
}

// Branches returns all branches by name.
func (s *Store) Branches(ctx context.Context) ([]Branch, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	t := s.lines.Load()
	var list []Branch
	for _, name := range slices.Sorted(maps.Keys(t.byName)) {
		l := t.byName[name]
		h := l.head.Load()
		b := Branch{Name: name, Head: h.version, Fork: l.forkVersion(), Commits: h.commits}
		if l.origin != nil { // the copy is no commit of anybody's
			b.Fork = l.origin.version
			b.Commits--
		}
		list = append(list, b)
	}
	return list, nil
}

// DeleteBranch takes a branch away. Its versions stay readable until Prune
// removes them, which it does whatever is to be kept; the newest one stays, and
// those that other branches begin at. The main branch cannot be deleted.
// Transactions that are open on the branch are refused.
func (s *Store) DeleteBranch(ctx context.Context, name string) error {
	if name == MainBranch {
		return fmt.Errorf("%w: the branch %s cannot be deleted", dberr.ErrInvalid, name)
	}
	select {
	case <-s.branching:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.branching <- struct{}{} }()
	return s.alone(ctx, func(*view) (*group, error) {
		l := s.lines.Load().byName[name]
		if l == nil {
			return nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, name)
		}
		if s.unused(l) {
			return &group{
				counters: s.seq.counters,
				puts:     []keyValue{{lineKey(l.id), []byte{lineFormatRemoved}}},
				dels:     [][]byte{l.branchKey()},
			}, nil
		}
		gone := &line{id: l.id, branch: l.branch, lineage: l.lineage, origin: l.origin}
		gone.deleted.Store(true)
		return &group{
			counters: s.seq.counters,
			puts: []keyValue{
				{lineKey(l.id), lineValue(gone)},
				{gone.branchKey(), branchValue(l.id, l.head.Load().version)},
			},
			dels: [][]byte{l.branchKey()},
		}, nil
	})
}

// unused reports whether nothing depends on a line; the token is held, nothing is queued.
func (s *Store) unused(l *line) bool {
	if l.head.Load().commits > 0 {
		return false
	}
	for _, x := range s.lines.Load().byID {
		for _, f := range x.forks() {
			if f.line == l.id {
				return false
			}
		}
	}
	return true
}

// branchKey is the key of the line's branch row.
func (l *line) branchKey() []byte {
	if l.deleted.Load() {
		return be.AppendUint32([]byte{kindBranch, 0}, l.id)
	}
	return branchKey(l.branch)
}

// deletedLine finds the line of which a row says that it is deleted.
func (s *Store) deletedLine(row keyValue) (*line, error) {
	if len(row.key) != 5 {
		return nil, corrupt("line key %x", row.key)
	}
	if isRemoved(row.val) {
		l := s.lines.Load().byID[be.Uint32(row.key[1:])]
		if l == nil || l.id == mainLine {
			return nil, corrupt("line %d is removed", be.Uint32(row.key[1:]))
		}
		return l, nil
	}
	now, err := decodeLine(be.Uint32(row.key[1:]), row.val)
	if err != nil {
		return nil, err
	}
	l := s.lines.Load().byID[now.id]
	if l == nil || l.branch != now.branch || !now.deleted.Load() {
		return nil, corrupt("line %d changes to branch %q", now.id, now.branch)
	}
	return l, nil
}

// checkBranches is Verify's look at branch rows: each belongs to its line.
func (w *verifier) checkBranches() error {
	return w.walk(kindBranch, func(key, val []byte) error {
		id, _, err := decodeBranch(val)
		if err != nil {
			return w.damage(err)
		}
		row, ok, err := w.v.get(lineKey(id)) // as of the view: the line may have been deleted since
		if err != nil {
			return err
		}
		l := &line{}
		if ok {
			if l, err = decodeLine(id, row); err != nil {
				return w.damage(err)
			}
		}
		if !ok || string(l.branchKey()) != string(key) {
			w.problem("branch row %q is for line %d, which has another", key[1:], id)
		}
		return nil
	})
}
