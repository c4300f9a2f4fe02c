package pager

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// A branch that loses all that is below it, and is the first child of its parent,
// leaves its key range to the branch behind it: that one is read, and written to,
// as before.
func TestTheFirstBranchIsEmptied(t *testing.T) {
	for _, repeat := range []int{2, 40, 150} { // of what neighbours share: separators are so long, and branches have few children
		r := seeded(t, uint64(repeat))
		p := mustOpen(t, testOptions(newFS(t), 4096))
		m := newModel()
		var keys []string
		commit := func(fn func(*Batch)) {
			b, err := p.Begin()
			must(t, err)
			fn(b)
			must(t, b.Commit(context.Background(), 9, false))
		}
		key := func(i int) string {
			return strings.Repeat(fmt.Sprintf("%05d/", i/4), repeat) + fmt.Sprintf("%06d", i)
		}
		put := func(b *Batch, k string) {
			v := randomBytes(r, 400+r.IntN(600))
			must(t, b.Put([]byte(k), v))
			m.tree[k] = v
		}
		commit(func(b *Batch) {
			for i := range 600 {
				keys = append(keys, key(i))
				put(b, keys[i])
			}
		})
		slices.Sort(keys)
		for len(keys) > 0 {
			commit(func(b *Batch) {
				n := min(len(keys), 1+r.IntN(8))
				for _, k := range keys[:n] {
					must(t, b.Delete([]byte(k)))
					delete(m.tree, k)
				}
				keys = keys[n:]
			})
			if r.IntN(3) == 0 && len(keys) > 50 {
				commit(func(b *Batch) { // in the range of what has gone
					k := key(r.IntN(600))
					put(b, k)
					if at, ok := slices.BinarySearch(keys, k); !ok {
						keys = slices.Insert(keys, at, k)
					}
				})
			}
			if r.IntN(20) == 0 {
				must(t, m.verify(p))
			}
		}
		must(t, m.verify(p))
		_, err := p.Check(context.Background(), nil)
		must(t, err)
		must(t, p.Close(true))
	}
}
