package mvcc

import (
	"cmp"
	"context"
	"errors"

	"github.com/poddb/poddb/internal/dberr"
)

// wouldPrune is Prune with DryRun: the same choice and the same folds, in
// memory only. It reads a view that changes no more.
func (s *Store) wouldPrune(ctx context.Context, keep rules) (_ PruneReport, err error) {
	report := PruneReport{}
	lines, heads := s.lines.Load().byID, map[uint32]*head{}
	for id, l := range lines {
		heads[id] = l.head.Load()
	}
	v, _, err := s.stillView()
	if err != nil {
		return report, err
	}
	defer v.close()
	ctx, end := s.lasting(ctx, &s.scans)
	defer func() { err = end(err) }()
	fixed := s.fixedVersions()
	if err := v.addMerged(ctx, lines, heads, fixed); err != nil {
		return report, err
	}
	uses := map[uint64]uint64{}
	for _, id := range sortedKeys(lines) {
		r := &retirement{s: s, l: lines[id], keep: keep}
		if err := r.extend(ctx, v, heads[id]); err != nil {
			return report, err
		}
		gone := keep.victims(r.l, r.commits, s.o.Now().UnixNano())
		open, followed := s.open.kept(id)
		for i, c := range r.commits {
			if fixed[c.version] || open[c.version] || r.apart(i, followed) {
				delete(gone, c.version)
			}
		}
		report.Versions += uint64(len(gone))
		before := report
		garbage, err := r.garbage(ctx, v, gone)
		if err != nil {
			return report, err
		}
		if err := v.count(ctx, id, garbage, uses, &report); err != nil {
			return report, err
		}
		if len(gone) > 0 {
			part := report.on(lines[id].branch)
			part.Versions += uint64(len(gone))
			part.PodVersions += report.PodVersions - before.PodVersions
			part.Bytes += report.Bytes - before.Bytes
		}
	}
	var bad error // the first row that cannot be read: Prune goes on, too
	for from := queueKey(1, 0); ; {
		key, line, list, err := v.queued(from)
		if key == nil {
			if err != nil {
				return report, err
			}
			break
		}
		if err == nil {
			err = v.count(ctx, line, list, uses, &report)
		}
		if err != nil && !errors.Is(err, dberr.ErrCorrupt) {
			return report, err
		}
		bad = cmp.Or(bad, err)
		from = append(key, 0)
	}
	return report, cmp.Or(v.countBodies(uses, &report), bad)
}

// garbage returns what retiring versions of the line would leave behind.
func (r *retirement) garbage(ctx context.Context, v *view, gone map[Version]bool) ([]garbage, error) {
	if len(gone) == 0 {
		return nil, nil
	}
	f := &folding{s: r.s, v: v, l: r.l, rows: map[Version]*commitRow{}}
	err := r.runs(ctx, f, gone)
	return f.garbage, err
}

// count adds pod versions that would go.
func (v *view) count(ctx context.Context, line uint32, list []garbage, uses map[uint64]uint64, report *PruneReport) error {
	for _, g := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		env, ok, err := v.get(versionKey(nil, g.pod, line, g.number))
		if err == nil && !ok {
			err = corrupt("pod %d has no number %d on line %d, which is to be reclaimed", g.pod, g.number, line)
		}
		if err != nil {
			return err
		}
		e, err := decodeEnvelope(env)
		if err != nil {
			return err
		}
		size, body, err := v.sizeAndBody(e)
		if err != nil {
			return err
		}
		report.PodVersions++
		report.Bytes += int64(size)
		if body != 0 {
			uses[body]++
		}
	}
	return nil
}

// countBodies adds the shared bodies that would lose their last user.
func (v *view) countBodies(uses map[uint64]uint64, report *PruneReport) error {
	for no, n := range uses {
		users, err := v.users(no)
		if err != nil {
			return err
		}
		if users > n {
			continue
		}
		env, _, err := v.get(recordKey(kindShared, no))
		if err != nil {
			return err
		}
		e, err := decodeEnvelope(env)
		if err != nil {
			return err
		}
		report.SharedBodies++
		if e.how == envLost {
			continue
		}
		fr, err := v.frame(e)
		if err != nil {
			return err
		}
		report.Bytes += int64(fr.size())
	}
	return nil
}
