package db

import (
	"context"
	"iter"
	"maps"
	"slices"
	"strings"
)

// Names yields the variables whose names begin with prefix, in byte order: those
// of the base, with what Put and Delete had done when Names was called. The
// transaction depends on the names as far as they were looked at: one that comes
// or goes there is a conflict (a phantom). The loop may use the transaction. At
// most one error is yielded, and it ends the sequence.
func (tx *Tx) Names(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return tx.walkNames(ctx, prefix, false)
}

// NamesBackward is Names in the opposite order.
func (tx *Tx) NamesBackward(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return tx.walkNames(ctx, prefix, true)
}

// NamesBackward is Names in the opposite order.
func (s *Snapshot) NamesBackward(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for n, err := range s.sn.NamesBackward(ctx, prefix) {
			if !yield(n, s.d.named(err)) {
				return
			}
		}
	}
}

func (tx *Tx) walkNames(ctx context.Context, prefix string, backward bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := tx.enter(); err != nil {
			yield("", err)
			return
		}
		w := nameWalk{tx: tx, prefix: prefix, backward: backward, yield: yield}
		defer w.finish()
		w.begin()
		stored := tx.sn.Names(ctx, prefix)
		if backward {
			stored = tx.sn.NamesBackward(ctx, prefix)
		}
		for n, err := range stored {
			if err != nil {
				w.fail(tx.d.named(err))
				return
			}
			if !w.ownBefore(n) || !w.stored(n) {
				return
			}
		}
		w.all = w.ownBefore("")
	}
}

// nameWalk merges the names of the base with those of the transaction. The
// transaction is in use while it runs, but for the calls of yield.
type nameWalk struct {
	tx       *Tx
	prefix   string
	backward bool
	yield    func(string, error) bool

	own     []string // put here, in the order of the walk
	deleted map[string]struct{}
	last    string // name of the base or here that was looked at last
	all     bool   // everything was looked at
	ended   bool   // the transaction is not in use by this walk
}

func (w *nameWalk) begin() {
	for n, v := range w.tx.live {
		if v.use == usePut && strings.HasPrefix(n, w.prefix) {
			w.own = append(w.own, n)
		}
	}
	slices.Sort(w.own)
	if w.backward {
		slices.Reverse(w.own)
	}
	w.deleted = maps.Clone(w.tx.deleted)
}

// ownBefore yields the own names before a stored one, or all that are left.
func (w *nameWalk) ownBefore(stored string) bool {
	for len(w.own) > 0 && (stored == "" || w.before(w.own[0], stored)) {
		n := w.own[0]
		w.own = w.own[1:]
		if !w.give(n) {
			return false
		}
	}
	return true
}

// before reports whether the walk comes to a before b.
func (w *nameWalk) before(a, b string) bool {
	if w.backward {
		return a > b
	}
	return a < b
}

// stored yields a name of the base.
func (w *nameWalk) stored(n string) bool {
	w.last = n
	if len(w.own) > 0 && w.own[0] == n {
		w.own = w.own[1:]
	} else if _, gone := w.deleted[n]; gone {
		return true
	}
	return w.give(n)
}

func (w *nameWalk) give(n string) bool {
	w.last = n
	w.tx.leave()
	w.ended = true
	if !w.yield(n, nil) {
		if w.tx.enter() == nil {
			w.ended = false
		}
		return false
	}
	if err := w.tx.enter(); err != nil {
		w.yield("", err)
		return false
	}
	w.ended = false
	return true
}

func (w *nameWalk) fail(err error) {
	w.tx.leave()
	w.ended = true
	w.yield("", err)
}

// finish notes what was looked at.
func (w *nameWalk) finish() {
	if w.ended { // over, or somebody else's now
		return
	}
	defer w.tx.leave()
	if w.tx.opts.Isolation != Serializable {
		return
	}
	switch {
	case w.all:
		w.tx.tx.GuardNames(w.prefix, "", "")
	case w.last == "":
	case w.backward:
		w.tx.tx.GuardNames(w.prefix, w.last, "")
	default:
		w.tx.tx.GuardNames(w.prefix, "", w.last)
	}
}
