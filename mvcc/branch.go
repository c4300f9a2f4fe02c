package mvcc

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// maxBranchName bounds branch names, in bytes.
const maxBranchName = 200

func checkBranchName(what, name string) error {
	if name == "" || len(name) > maxBranchName {
		return fmt.Errorf("%w: %s name of %d bytes, from 1 to %d", dberr.ErrInvalid, what, len(name), maxBranchName)
	}
	if name[0] == 0 { // rows of deleted branches have such keys
		return fmt.Errorf("%w: %s name %q begins with a zero byte", dberr.ErrInvalid, what, name)
	}
	return nil
}

// CreateBranch makes a branch whose line begins at a version. Its commits are
// seen by nobody else, and it sees nothing that is committed elsewhere later.
// Branches may begin on branches to any depth. Mostly that costs nothing; every
// dozen or so of forks deep one is created by a commit of its own, hidden from
// Log, which copies what the nearest forks changed (deepbranch.go): its version
// is the branch's head then.
func (s *Store) CreateBranch(ctx context.Context, name string, at Version) error {
	if err := checkBranchName("branch", name); err != nil {
		return err
	}
	select {
	case <-s.branching:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.branching <- struct{}{} }()
	if err := s.writable(); err != nil {
		return err
	}
	if s.lines.Load().byName[name] != nil {
		return fmt.Errorf("%w: %q", dberr.ErrBranchExists, name)
	}
	from, err := s.At(ctx, at) // open until the line keeps it
	if err != nil {
		return err
	}
	defer from.Close()
	l := &line{id: uint32(s.published.Load().counters.line), branch: name, lineage: from.lineage}
	var t *Tx
	if len(l.lineage) > s.o.maxLineage {
		if t, err = s.copyForks(ctx, l, from); err != nil {
			return fmt.Errorf("branch %q, %d forks deep: %w", name, len(from.lineage), err)
		}
		defer t.Rollback()
	}
	q, err := s.sequenceBranch(ctx, l, t)
	if err != nil {
		return err
	}
	<-q.finished
	if q.awaited {
		s.log.Load().Back()
	}
	s.tidy()
	return q.err
}

// sequenceBranch submits a new line, with what t copies to it if that is not nil.
// Only one branch is created at a time, so the line's number is still the next.
func (s *Store) sequenceBranch(ctx context.Context, l *line, t *Tx) (*queued, error) {
	if err := s.seq.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	q := &queued{line: l, head: l.fresh(), newLine: true}
	if t != nil {
		if err := s.copyGroup(q, t); err != nil {
			return nil, err
		}
	} else {
		q.g = &group{db: s.logID, kind: groupBranch, counters: s.seq.counters}
		q.g.puts = append(q.g.puts, keyValue{branchKey(l.branch), branchValue(l.id, l.forkVersion())})
	}
	q.g.counters.line++
	q.g.puts = append(q.g.puts, keyValue{lineKey(l.id), lineValue(l)})
	if err := s.submit(q); err != nil {
		return nil, err
	}
	if t != nil {
		s.remember(q)
	}
	return q, nil
}
