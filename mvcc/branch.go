package mvcc

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// maxBranchName bounds branch names, in bytes.
const maxBranchName = 200

// CreateBranch makes a branch whose line begins at a version. Its commits are
// seen by nobody else, and it sees nothing that is committed elsewhere later.
func (s *Store) CreateBranch(ctx context.Context, name string, at Version) error {
	if name == "" || len(name) > maxBranchName {
		return fmt.Errorf("%w: branch name of %d bytes, from 1 to %d", dberr.ErrInvalid, len(name), maxBranchName)
	}
	q, err := s.sequenceBranch(ctx, name, at)
	if err != nil {
		return err
	}
	<-q.finished
	s.tidy()
	return q.err
}

func (s *Store) sequenceBranch(ctx context.Context, name string, at Version) (*queued, error) {
	if err := s.seq.acquire(ctx); err != nil {
		return nil, err
	}
	defer s.release()
	if err := s.ready(ctx); err != nil {
		return nil, err
	}
	if s.branchTaken(name) {
		return nil, fmt.Errorf("%w: %q", dberr.ErrBranchExists, name)
	}
	if s.open.gone.Load().Contains(at) { // nothing is retired while the token is held
		return nil, versionGone(at)
	}
	lineage, _, err := s.lineageOf(at)
	if err != nil {
		return nil, err
	}
	if len(lineage) > maxLineage {
		return nil, fmt.Errorf("%w: version %d is %d forks deep, at most %d", dberr.ErrTooLarge, at, len(lineage), maxLineage)
	}
	c := s.seq.counters
	l := &line{id: uint32(c.line), branch: name, lineage: lineage}
	c.line++
	q := &queued{
		line: l, head: l.fresh(), newLine: true,
		g: &group{db: s.logID, kind: groupBranch, counters: c, puts: []keyValue{
			{lineKey(l.id), lineValue(l)},
			{branchKey(name), branchValue(l.id, l.forkVersion())},
		}},
	}
	if err := s.submit(q); err != nil {
		return nil, err
	}
	return q, nil
}

// branchTaken also knows branches that are queued.
func (s *Store) branchTaken(name string) bool {
	for _, q := range s.seq.queue {
		if q.newLine && q.line.branch == name {
			return true
		}
	}
	return s.lines.Load().byName[name] != nil
}
