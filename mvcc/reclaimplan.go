package mvcc

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// reclaimWindow is a part of the queue that is worked off at once (reclaim.go).
type reclaimWindow struct {
	s    *Store
	rows []queueRow // in the order in which they are worked off
	dead map[uint64]*deadVersion
	uses map[uint64]uint64 // of shared bodies, by all that is dead
	// whole has the lengths of versions that groups of the window stored whole.
	whole map[uint64]uint64
	// bases are what versions that stay rest on, as windows before have found it.
	bases map[uint64]baseRef
	ahead []*reclaiming // submitted, oldest first
	steps int           // that had something to do
	bad   error         // why something cannot be reclaimed, the first

	report   *PruneReport
	room     func(context.Context) error
	progress func() error
}

// queueRow is a row of the queue.
type queueRow struct {
	key  []byte
	line uint32
	list []garbage
}

// deadVersion is a version that is in the window.
type deadVersion struct {
	garbage
	line   uint32
	size   uint64
	body   uint64 // 0 if it has its own
	after  uint64 // number of the version that follows on its line in the index, 0 if none does
	free   bool   // that does not rest on it
	buried bool   // a group that deletes it is submitted
	bad    bool   // it cannot be read: so it stays
}

// maxBases bounds reclaimWindow.bases.
const maxBases = 1 << 16

// planBatch is the number of versions that are looked at in one view.
const planBatch = 1024

// queueKeys returns the keys of the queue in the order in which rows are worked off: what was retired last
// first, and the rows of one group as they are, since they begin with the newest versions of a pod. The upkeep
// token is held, so there will be no others.
func (s *Store) queueKeys(ctx context.Context) (keys [][]byte, err error) {
	err = s.read(func(v *view) error {
		c := v.seek(queueKey(1, 0))
		for key, _, ok := c.at(); ok && key[0] == kindQueue; key, _, ok = c.at() {
			if keys = append(keys, bytes.Clone(key)); len(keys)%1024 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			c.next()
		}
		return c.err()
	})
	slices.SortFunc(keys, func(a, b []byte) int {
		const chunk = 9 // behind kind and version
		return cmp.Or(bytes.Compare(b[:chunk], a[:chunk]), bytes.Compare(a, b))
	})
	return keys, err
}

// planWindow reads rows of the queue, whose keys are given, and what has to be known of
// what they name. No group of reclaim is queued.
func (s *Store) planWindow(ctx context.Context, keys [][]byte, bases map[uint64]baseRef) (*reclaimWindow, error) {
	w := &reclaimWindow{s: s, bases: bases, dead: map[uint64]*deadVersion{}, uses: map[uint64]uint64{}, whole: map[uint64]uint64{}}
	err := s.read(func(v *view) error {
		for _, from := range keys {
			key, line, list, err := v.queued(from)
			switch {
			case !bytes.Equal(key, from):
				return cmp.Or(err, corrupt("row %x of the queue of reclaim is gone", from))
			case errors.Is(err, dberr.ErrCorrupt):
				w.spoiled(err)
			case err != nil:
				return err
			default:
				w.rows = append(w.rows, queueRow{key, line, list})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	near := &nearBlocks{}
	for all := w.inOrder(); len(all) > 0; {
		n := min(len(all), planBatch)
		err := s.read(func(v *view) error {
			v.near = near
			return w.look(ctx, v, all[:n])
		})
		if err != nil {
			return nil, err
		}
		all = all[n:]
	}
	return w, nil
}

// inOrder returns the versions of the window in the order of their keys. A row with a version
// that was named before is left out of the window: one of the two lies.
func (w *reclaimWindow) inOrder() []*deadVersion {
	n := 0
	for _, row := range w.rows {
		n += len(row.list)
	}
	mem, all := make([]deadVersion, 0, n), make([]*deadVersion, 0, n)
	w.rows = slices.DeleteFunc(w.rows, func(row queueRow) bool {
		for i, g := range row.list {
			if w.dead[g.number] == nil {
				mem = append(mem, deadVersion{garbage: g, line: row.line})
				w.dead[g.number] = &mem[len(mem)-1]
				continue
			}
			w.spoiled(corrupt("row %x of the queue of reclaim: number %d of pod %d is named a second time", row.key, g.number, g.pod))
			for _, g := range row.list[:i] {
				delete(w.dead, g.number)
			}
			mem = mem[:len(mem)-i]
			return true
		}
		return false
	})
	for i := range mem {
		all = append(all, &mem[i])
	}
	slices.SortFunc(all, func(a, b *deadVersion) int {
		return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(a.line, b.line), cmp.Compare(b.number, a.number))
	})
	return all
}

// look reads versions that are to go.
func (w *reclaimWindow) look(ctx context.Context, v *view, list []*deadVersion) error {
	walk := &versionWalk{v: v}
	for _, d := range list {
		if err := w.s.breathe(ctx, readPod); err != nil {
			return err
		}
		if err := w.lookAt(v, walk, d); errors.Is(err, dberr.ErrCorrupt) {
			w.spoiled(err)
			d.bad, walk.c = true, nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// spoiled notes damage: what it concerns stays queued, and the rest goes on.
func (w *reclaimWindow) spoiled(err error) {
	if w.bad == nil {
		w.bad = err
	}
}

func (w *reclaimWindow) lookAt(v *view, walk *versionWalk, d *deadVersion) error {
	env, err := walk.to(d.line, d.garbage)
	if err != nil {
		return err
	}
	if d.size, d.body, err = v.sizeAndBody(env); err != nil {
		return err
	}
	d.after = walk.after
	if w.dead[d.after] == nil { // else it goes before, or the group looks
		base, known := w.bases[d.after]
		if !known {
			if base, err = v.baseOf(walk.afterEnv); err != nil {
				return err
			}
			if len(w.bases) >= maxBases {
				clear(w.bases)
			}
			w.bases[d.after] = base
		}
		d.free = base != baseRef{d.line, d.number}
	}
	if d.body != 0 {
		w.uses[d.body]++
	}
	return nil
}

// baseOf returns what the version with an envelope rests on; the zero base if nothing or no envelope.
func (v *view) baseOf(env []byte) (baseRef, error) {
	if len(env) == 0 {
		return baseRef{}, nil
	}
	e, err := decodeEnvelope(env)
	if err != nil || e.how == envTombstone || e.how == envLost {
		return baseRef{}, err
	}
	rec, err := v.openDecoded(e)
	if err != nil {
		return baseRef{}, err
	}
	return rests(rec), nil
}

// versionWalk goes over rows of versions in the order of keys.
type versionWalk struct {
	v *view
	c *cursor
	// at is the prefix of pod and line, after the version passed last under it, 0 if none was.
	at       []byte
	after    uint64
	afterEnv []byte
}

// to goes to a version, which must come later in the order of keys than the one before, and
// returns its envelope. after is then the version that follows
// it in the index. Between it and the one that rows know as the next there may be
// garbage of other groups.
func (w *versionWalk) to(line uint32, g garbage) (envelope, error) {
	next := g.next
	if next == 0 {
		next = 1<<64 - 1
	}
	from := versionKey(nil, g.pod, line, next)
	prefix := from[:prefixLen]
	if w.c == nil || !bytes.Equal(w.at, prefix) || w.after > next {
		w.c, w.at, w.after, w.afterEnv = w.v.seekVersions(from), prefix, 0, nil
	}
	for ; ; w.c.next() {
		key, env, ok := w.c.at()
		if !ok || !bytes.HasPrefix(key, prefix) {
			break
		}
		_, _, n, _ := splitVersionKey(key)
		if n < g.number {
			break
		}
		if n == g.number {
			return decodeEnvelope(env)
		}
		w.after, w.afterEnv = n, bytes.Clone(env)
	}
	if err := w.c.err(); err != nil {
		return envelope{}, err
	}
	return envelope{}, corrupt("pod %d has no number %d on line %d, which is to be reclaimed", g.pod, g.number, line)
}

// sizeAndBody returns what a version counts for, and the shared body that it
// uses, 0 if none.
func (v *view) sizeAndBody(e envelope) (size, body uint64, err error) {
	if e.how == envTombstone || e.how == envLost {
		return 0, 0, nil
	}
	fr, err := v.frame(e)
	if err != nil {
		return 0, 0, err
	}
	ver, err := pod.DecodeVersion(fr.form)
	if err != nil {
		return 0, 0, err
	}
	no, _ := ver.SharedBody()
	return fr.size(), uint64(no), nil
}

// frame reads the version record that an envelope holds.
func (v *view) frame(e envelope) (frame, error) {
	rec, err := v.openDecoded(e)
	if err != nil {
		return frame{}, err
	}
	return decodeFrame(rec)
}
