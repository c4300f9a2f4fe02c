package mvcc

import (
	"context"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// LastCollect returns the newest commit of a collect on a branch since Open, 0 if
// there was none.
func (s *Store) LastCollect(branch string) Version {
	if l := s.lines.Load().byName[branch]; l != nil {
		return l.collected.Load()
	}
	return 0
}

// WrittenSince returns the pods that commits on a branch wrote after one version, up to
// which a Follower knows, up to another: those that collects wrote, and the others. A pod
// may come twice.
func (s *Store) WrittenSince(ctx context.Context, branch string, after, upTo Version) (collected, others []pod.ID, err error) {
	l := s.lines.Load().byName[branch]
	if l == nil {
		return nil, nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	err = s.steady(ctx, func(v *view) error {
		collected, others = nil, nil
		for version := upTo; version > after; {
			if err := ctx.Err(); err != nil {
				return err
			}
			row, err := v.row(version)
			if err != nil || row.line != l.id {
				return err
			}
			ids, err := v.ids(row)
			if err != nil {
				return err
			}
			if row.kind == KindCollect && row.fold == nil {
				collected = append(collected, ids...)
			} else {
				others = append(others, ids...)
			}
			if len(row.parents) == 0 {
				return nil
			}
			version = row.parents[0]
		}
		return nil
	})
	return collected, others, err
}

// Collected reports whether a collect took a pod out of what the snapshot shows.
func (sn *Snapshot) Collected(ctx context.Context, id pod.ID) (bool, error) {
	v, err := sn.view(ctx)
	if err != nil {
		return false, err
	}
	defer v.close()
	f, ok, err := v.resolve(sn.lineage, id)
	return !ok && f.number != 0, err
}
