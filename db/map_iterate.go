package db

import (
	"context"
	"iter"
)

// All yields the entries in order. At most one error is yielded, and it ends the
// sequence. The Map may be changed meanwhile: what is changed ahead is seen.
func (m *Map[K, V]) All(ctx context.Context) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, nil, nil, true)
}

// Backward yields the entries in reverse order, else like All.
func (m *Map[K, V]) Backward(ctx context.Context) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, nil, nil, false)
}

// Range yields the entries whose keys are not before from and before to, like All.
func (m *Map[K, V]) Range(ctx context.Context, from, to K) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, &from, &to, true)
}

// RangeBackward yields what Range does in reverse order.
func (m *Map[K, V]) RangeBackward(ctx context.Context, from, to K) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, &from, &to, false)
}

// From yields the entries whose keys are not before from, like All.
func (m *Map[K, V]) From(ctx context.Context, from K) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, &from, nil, true)
}

// Before yields the entries whose keys are before to, the greatest first.
func (m *Map[K, V]) Before(ctx context.Context, to K) iter.Seq2[MapEntry[K, V], error] {
	return m.walk(ctx, nil, &to, false)
}

// walk yields the entries from one key up to another one, or back; nil is no bound.
func (m *Map[K, V]) walk(ctx context.Context, from, to *K, up bool) iter.Seq2[MapEntry[K, V], error] {
	return func(yield func(MapEntry[K, V], error) bool) {
		w := mapWalk[K, V]{m: m, from: from, to: to, up: up}
		if err := w.run(ctx, yield); err != nil {
			yield(MapEntry[K, V]{}, err)
		}
	}
}

// mapWalk is a walk under way.
type mapWalk[K comparable, V any] struct {
	m        *Map[K, V]
	from, to *K
	up       bool
	path     mapPath[K, V]
	at       int // in path.leaf
}

func (w *mapWalk[K, V]) run(ctx context.Context, yield func(MapEntry[K, V], error) bool) (err error) {
	if w.path.order, err = orderOf[K](); err != nil {
		return err
	}
	start := w.from
	if !w.up {
		start = w.to
	}
	ok, err := w.seek(ctx, start, false)
	for ok && err == nil {
		e := w.path.leaf.Entries[w.at]
		if w.up && w.to != nil && w.path.order(&e.Key, w.to) >= 0 || !w.up && w.from != nil && w.path.order(&e.Key, w.from) < 0 {
			return nil
		}
		if !yield(e, nil) {
			return nil
		}
		if ok, err = w.next(ctx, &e.Key); err == nil {
			err = ctx.Err()
		}
	}
	return err
}

// seek goes to the first entry at or behind a key (only behind it, if past), or
// backward to the last one before it; nil is the end where the walk begins.
func (w *mapWalk[K, V]) seek(ctx context.Context, key *K, past bool) (bool, error) {
	root, err := w.m.root.Get(ctx)
	if err != nil || root == nil {
		return false, err
	}
	w.path.steps = w.path.steps[:0]
	choose := w.end
	if key != nil {
		choose = func(n *mapNode[K, V]) int { return n.childOf(key, w.path.order) }
	}
	if err := w.path.descend(ctx, root, choose); err != nil {
		return false, err
	}
	w.begin()
	if key != nil {
		i, found := w.path.leaf.search(key, w.path.order)
		switch {
		case !w.up:
			i--
		case found && past:
			i++
		}
		w.at = i
	}
	return w.settle(ctx)
}

// end returns the child at which the walk begins.
func (w *mapWalk[K, V]) end(n *mapNode[K, V]) int {
	if w.up {
		return 0
	}
	return len(n.Children) - 1
}

// begin goes to the first entry of the chunk.
func (w *mapWalk[K, V]) begin() {
	w.at = 0
	if !w.up {
		w.at = len(w.path.leaf.Entries) - 1
	}
}

// settle goes on to the next chunk that has entries if there are no more in this one.
func (w *mapWalk[K, V]) settle(ctx context.Context) (bool, error) {
	p := &w.path
	for w.at < 0 || w.at >= len(p.leaf.Entries) {
		var s *mapStep[K, V]
		for {
			if len(p.steps) == 0 {
				return false, nil
			}
			s = &p.steps[len(p.steps)-1]
			if s.child += toInt(w.up)*2 - 1; s.child >= 0 && s.child < len(s.node.Children) {
				break
			}
			p.steps = p.steps[:len(p.steps)-1]
		}
		n, err := s.node.child(ctx, s.child)
		if err != nil {
			return false, err
		}
		if err := p.descend(ctx, n, w.end); err != nil {
			return false, err
		}
		w.begin()
	}
	return true, nil
}

// next goes on from the entry with a key, which was the current one: entries may have
// been added and removed since.
func (w *mapWalk[K, V]) next(ctx context.Context, key *K) (bool, error) {
	n := w.path.leaf
	if w.at >= len(n.Entries) || w.path.order(&n.Entries[w.at].Key, key) != 0 {
		return w.seek(ctx, key, true)
	}
	step := toInt(w.up)*2 - 1
	if at := w.at + step; at >= 0 && at < len(n.Entries) {
		w.at = at
		return true, nil
	}
	// The nodes above may have changed.
	return w.seek(ctx, key, true)
}
