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

// account is a variable of the bank: Balance never leaves the bank, assets are
// shared, dropped, and given back.
type account struct {
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
	accounts = 8
	kept     = 3 // variables of the namespace
	opening  = 100
)

// effect is what one commit has made of what it wrote.
type effect struct {
	accounts map[string]string // name to text; "" is deleted
	assets   map[string]string // id to text
}

// bank is the model: the effects of all commits by version.
type bank struct {
	mu      sync.Mutex
	effects map[db.Version]effect
	unknown map[string]effect // by message: commits whose outcome is not known
	next    int
}

func newBank() *bank { return &bank{effects: map[db.Version]effect{}, unknown: map[string]effect{}} }

// id gives out a name for an asset, or a message.
func (b *bank) id(prefix string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.next++
	return fmt.Sprint(prefix, b.next)
}

func (b *bank) begin(message string, e effect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unknown[message] = e
}

// end notes the outcome; after a crash it stays unknown.
func (b *bank) end(message string, v db.Version, err error) {
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
	return effect{accounts: map[string]string{}, assets: map[string]string{}}
}

// note adds what a variable reaches.
func (e effect) note(name string, a *account) {
	var ids []string
	for _, x := range a.Assets {
		ids = append(ids, x.ID)
		for ; x != nil; x = x.Next {
			e.assets[x.ID] = x.text()
		}
	}
	e.accounts[name] = fmt.Sprint(a.Balance, ids)
}

// since leaves what differs from before.
func (e effect) since(before effect) {
	maps.DeleteFunc(e.accounts, func(n, t string) bool { old, ok := before.accounts[n]; return ok && old == t })
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
func (b *bank) state(v db.Version) effect {
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
		for n, t := range b.effects[w].accounts {
			if all.accounts[n] = t; t == "" {
				delete(all.accounts, n)
			}
		}
		for id, t := range b.effects[w].assets {
			all.assets[id] = t
		}
	}
	return all
}

// newest is the newest acknowledged version.
func (b *bank) newest() (v db.Version) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.effects {
		v = max(v, w)
	}
	return v
}

// compare returns how a version differs from the model.
func (b *bank) compare(ctx context.Context, d *db.DB, v db.Version) error {
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
		a := v.(*account)
		got := newEffect()
		got.note(name, a)
		if got.accounts[name] != want.accounts[name] {
			return fmt.Errorf("%s is %q, want %q", name, got.accounts[name], want.accounts[name])
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
	if len(all) != len(want.accounts) {
		return fmt.Errorf("%d variables, want %d", len(all), len(want.accounts))
	}
	if v > 0 && total != accounts*opening {
		return fmt.Errorf("the accounts hold %d, want %d", total, accounts*opening)
	}
	return nil
}

func bankTypes() db.TypeSet { return db.Types(db.Type[account]("bank.account")) }

func name(i int) string { return fmt.Sprint("account/", i) }

// found makes the accounts.
func (b *bank) found(ctx context.Context, d *db.DB) error {
	return b.update(ctx, d, db.Serializable, func(ctx context.Context, tx *db.Tx, e effect) error {
		for i := range accounts {
			a := &account{Balance: opening}
			if err := tx.Put(ctx, name(i), a); err != nil {
				return err
			}
			e.note(name(i), a)
		}
		return nil
	})
}

// update runs one transaction; a conflict is no error.
func (b *bank) update(ctx context.Context, d *db.DB, iso db.Isolation, fn func(context.Context, *db.Tx, effect) error) error {
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

func (b *bank) commit(ctx context.Context, tx *db.Tx, message string, e effect) error {
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

// anyAsset returns an asset of an account, nil if it has none.
func anyAsset(r *rand.Rand, a *account) *asset {
	if len(a.Assets) == 0 {
		return nil
	}
	x := a.Assets[r.IntN(len(a.Assets))]
	for x.Next != nil && r.IntN(2) == 0 {
		x = x.Next
	}
	return x
}

// act does something at random to two accounts.
func (b *bank) act(r *rand.Rand) func(context.Context, *db.Tx, effect) error {
	i, j := r.IntN(accounts), r.IntN(accounts-1)
	if j >= i {
		j++
	}
	what, amount, chain := r.IntN(6), r.IntN(20), 1+r.IntN(4)
	return func(ctx context.Context, tx *db.Tx, e effect) error {
		from, err := db.Get[*account](ctx, tx, name(i))
		if err != nil {
			return err
		}
		to, err := db.Get[*account](ctx, tx, name(j))
		if err != nil {
			return err
		}
		before := newEffect()
		before.note(name(i), from)
		before.note(name(j), to)
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
		e.note(name(i), from)
		e.note(name(j), to)
		e.since(before)
		return nil
	}
}
