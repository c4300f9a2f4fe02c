package fuzz

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"

	"github.com/poddb/poddb/db"
)

// purse is a variable of the bank: Balance never leaves the bank, assets are
// shared, dropped, and given back.
type purse struct {
	Balance int
	Assets  []*asset
}

// asset has an id of its own, so that one that is two objects is seen.
type asset struct {
	ID    string
	Value int
	Next  *asset
}

const (
	purses     = 8
	kept       = 3 // variables of the namespace
	openingSum = 100
)

// effect is what one commit has made of what it wrote.
type effect struct {
	purses map[string]string // name to text; "" is deleted
	assets map[string]string // id to text
}

// mint is the model of a bank: the effects of all commits by version.
type mint struct {
	mu      sync.Mutex
	effects map[db.Version]effect
	unknown map[string]effect // by message: commits whose outcome is not known
	next    int
}

func newMint() *mint { return &mint{effects: map[db.Version]effect{}, unknown: map[string]effect{}} }

// id gives out a name for an asset, or a message.
func (b *mint) id(prefix string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return fmt.Sprint(prefix, b.next)
}

func (b *mint) begin(message string, e effect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unknown[message] = e
}

// end notes the outcome; after a crash it stays unknown.
func (b *mint) end(message string, v db.Version, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case err == nil:
		b.effects[v] = b.unknown[message]
		delete(b.unknown, message)
	case errors.Is(err, db.ErrConflict):
		delete(b.unknown, message)
	}
}

func newEffect() effect {
	return effect{purses: map[string]string{}, assets: map[string]string{}}
}

// note adds what a variable reaches.
func (e effect) note(name string, a *purse) {
	var ids []string
	for _, x := range a.Assets {
		ids = append(ids, x.ID)
		for ; x != nil; x = x.Next {
			e.assets[x.ID] = x.text()
		}
	}
	e.purses[name] = fmt.Sprint(a.Balance, ids)
}

// since leaves what differs from before.
func (e effect) since(before effect) {
	maps.DeleteFunc(e.purses, func(n, t string) bool { old, ok := before.purses[n]; return ok && old == t })
	maps.DeleteFunc(e.assets, func(id, t string) bool { old, ok := before.assets[id]; return ok && old == t })
}

func (x *asset) text() string {
	next := ""
	if x.Next != nil {
		next = x.Next.ID
	}
	return fmt.Sprint(x.Value, " ", next)
}

// state is the bank as of a version.
func (b *mint) state(v db.Version) effect {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := newEffect()
	var versions []db.Version
	for w := range b.effects {
		if w <= v {
			versions = append(versions, w)
		}
	}
	slices.Sort(versions)
	for _, w := range versions {
		for n, t := range b.effects[w].purses {
			if all.purses[n] = t; t == "" {
				delete(all.purses, n)
			}
		}
		for id, t := range b.effects[w].assets {
			all.assets[id] = t
		}
	}
	return all
}

// newest is the newest acknowledged version.
func (b *mint) newest() (v db.Version) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.effects {
		v = max(v, w)
	}
	return v
}

// compare returns how a version differs from the model.
func (b *mint) compare(ctx context.Context, d *db.DB, v db.Version) error {
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	var all map[string]any
	if err := s.Load(ctx, &all); err != nil {
		return err
	}
	want, total := b.state(v), 0
	objects := map[string]*asset{}
	for name, v := range all {
		a := v.(*purse)
		got := newEffect()
		got.note(name, a)
		if got.purses[name] != want.purses[name] {
			return fmt.Errorf("%s is %q, want %q", name, got.purses[name], want.purses[name])
		}
		if !strings.HasPrefix(name, "ns/") {
			total += a.Balance
		}
		for _, x := range a.Assets {
			for ; x != nil; x = x.Next {
				if y := objects[x.ID]; y != nil && y != x {
					return fmt.Errorf("asset %s is two objects", x.ID)
				}
				objects[x.ID] = x
				if x.text() != want.assets[x.ID] {
					return fmt.Errorf("asset %s is %q, want %q", x.ID, x.text(), want.assets[x.ID])
				}
			}
		}
	}
	if len(all) != len(want.purses) {
		return fmt.Errorf("%d variables, want %d", len(all), len(want.purses))
	}
	if v > 0 && total != purses*openingSum {
		return fmt.Errorf("the purses hold %d, want %d", total, purses*openingSum)
	}
	return nil
}

func mintTypes() db.TypeSet { return db.Types(db.Type[purse]("mint.purse")) }

func purseName(i int) string { return fmt.Sprint("purse/", i) }

// found makes the purses.
func (b *mint) found(ctx context.Context, d *db.DB) error {
	return b.update(ctx, d, db.Serializable, func(ctx context.Context, tx *db.Tx, e effect) error {
		for i := range purses {
			a := &purse{Balance: openingSum}
			if err := tx.Put(ctx, purseName(i), a); err != nil {
				return err
			}
			e.note(purseName(i), a)
		}
		return nil
	})
}

// update runs one transaction; a conflict is no error.
func (b *mint) update(ctx context.Context, d *db.DB, iso db.Isolation, fn func(context.Context, *db.Tx, effect) error) error {
	message := b.id("tx")
	tx, err := d.Begin(ctx, db.TxOptions{Message: message, Isolation: iso})
	if err != nil {
		return err
	}
	defer tx.Rollback()
	e := newEffect()
	if err := fn(ctx, tx, e); err != nil {
		return err
	}
	return b.commit(ctx, tx, message, e)
}

func (b *mint) commit(ctx context.Context, tx *db.Tx, message string, e effect) error {
	b.begin(message, e)
	base := tx.Base()
	v, err := tx.Commit(ctx)
	if err == nil && v == base { // nothing had changed: no commit
		b.end(message, v, db.ErrConflict)
		return nil
	}
	b.end(message, v, err)
	if errors.Is(err, db.ErrConflict) {
		return nil
	}
	return err
}

// anyAsset returns an asset of a purse, nil if it has none.
func anyAsset(r *rand.Rand, a *purse) *asset {
	if len(a.Assets) == 0 {
		return nil
	}
	x := a.Assets[r.IntN(len(a.Assets))]
	for x.Next != nil && r.IntN(2) == 0 {
		x = x.Next
	}
	return x
}

// act does something at random to two purses.
func (b *mint) act(r *rand.Rand) func(context.Context, *db.Tx, effect) error {
	i, j := r.IntN(purses), r.IntN(purses-1)
	if j >= i {
		j++
	}
	what, amount, chain := r.IntN(6), r.IntN(20), 1+r.IntN(4)
	return func(ctx context.Context, tx *db.Tx, e effect) error {
		from, err := db.Get[*purse](ctx, tx, purseName(i))
		if err != nil {
			return err
		}
		to, err := db.Get[*purse](ctx, tx, purseName(j))
		if err != nil {
			return err
		}
		before := newEffect()
		before.note(purseName(i), from)
		before.note(purseName(j), to)
		switch what {
		case 0:
			from.Balance -= amount
			to.Balance += amount
		case 1: // a new chain
			var first *asset
			for range chain {
				first = &asset{ID: b.id("a"), Value: amount, Next: first}
			}
			from.Assets = append(from.Assets, first)
		case 2, 3: // drop, all or one
			if n := len(from.Assets); n > 0 {
				k := r.IntN(n)
				from.Assets = slices.Delete(from.Assets, k, k+1)
			}
		case 4: // share
			if x := anyAsset(r, from); x != nil {
				to.Assets = append(to.Assets, x)
			}
		case 5: // change what others may share
			if x := anyAsset(r, from); x != nil {
				x.Value++
			}
		}
		e.note(purseName(i), from)
		e.note(purseName(j), to)
		e.since(before)
		return nil
	}
}
