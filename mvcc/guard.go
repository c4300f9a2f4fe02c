package mvcc

import (
	"bytes"
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/poddb/poddb/internal/pod"
)

// What a transaction has read, to be validated when it commits and others have
// committed on its line since the base. Nothing here depends on how long the
// history is:
//
//   - Pods: by key, one seek for each pod read, or by looking through what was
//     written since the base, whichever is less.
//   - Names: one seek each.
//   - Ranges of names: by the list of recent changes of names, while it reaches
//     back to the base; else by walking the range in the index.

// PodSet is a set of pods that a transaction depends on. Its methods are called
// while no other commit can proceed: they must be quick and not call the store.
type PodSet interface {
	Len() int
	Has(pod.ID) bool
	All() iter.Seq[pod.ID]
}

// nameRange are names that were looked through.
type nameRange struct {
	prefix, from, to string // to "" is no bound; all names are at least ""
}

func (r *nameRange) holds(name string) bool {
	return strings.HasPrefix(name, r.prefix) && name >= r.from && (r.to == "" || name <= r.to)
}

// Guard names pods that this transaction depends on: Commit is a conflict if
// one was written on the line since the base. fn is asked for every pod
// written since, while no other commit can proceed: it must be quick and not
// call the store.
func (t *Tx) Guard(fn func(pod.ID) bool) { t.guard = fn }

// GuardPods is Guard for a set that can be listed: where it is smaller than what
// was written since the base, its members are looked up one by one.
func (t *Tx) GuardPods(set PodSet) { t.guardedPods = set }

// GuardName names a variable that this transaction depends on, there or not:
// Commit is a conflict if its binding changed on the line since the base.
func (t *Tx) GuardName(name string) { t.guardedNames = append(t.guardedNames, name) }

// GuardNames has the transaction depend on which names there are that begin with
// prefix, from from up to to, both included; "" is no bound. Commit is a
// conflict if one of them was bound, bound anew or deleted on the line since the
// base.
func (t *Tx) GuardNames(prefix, from, to string) {
	t.guardedRanges = append(t.guardedRanges, nameRange{prefix, from, to})
}

// renaming is a name that a commit bound or deleted.
type renaming struct {
	version Version
	line    uint32
	name    string
}

// renamings are the newest changes of names of all lines, in order. It has all
// those of versions beyond floor. The token is held by whoever uses it.
type renamings struct {
	list  []renaming
	floor Version
}

// maxRenamings bounds how many changes are kept.
const maxRenamings = 1 << 14

func (c *renamings) add(line uint32, v Version, names map[string]pid) {
	if len(names) > maxRenamings/2 { // bulk loads
		c.list, c.floor = nil, v
		return
	}
	for name := range names {
		c.list = append(c.list, renaming{v, line, name})
	}
	if len(c.list) <= maxRenamings {
		return
	}
	cut := len(c.list) - maxRenamings/2
	c.floor = c.list[cut-1].version // of which the list may keep a part
	cut = sort.Search(len(c.list), func(i int) bool { return c.list[i].version > c.floor })
	c.list = append([]renaming(nil), c.list[cut:]...)
}

// forget makes the list empty; newest is the newest version that is sequenced.
func (c *renamings) forget(newest Version) { c.list, c.floor = nil, newest }

// since returns the changes after a version, false if not all are known.
func (c *renamings) since(v Version) ([]renaming, bool) {
	if v < c.floor {
		return nil, false
	}
	from := sort.Search(len(c.list), func(i int) bool { return c.list[i].version > v })
	return c.list[from:], true
}

// ranges checks that no name has come or gone in the ranges looked through.
func (c *conflict) ranges() error {
	for i := range c.t.guardedRanges {
		if err := c.nameRange(&c.t.guardedRanges[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *conflict) nameRange(r *nameRange) error {
	line, base := c.t.line.id, c.t.base.version
	if recent, ok := c.s.seq.renamings.since(base); ok {
		for _, x := range recent {
			if x.line == line && r.holds(x.name) {
				c.changedName(x.name, x.version)
			}
		}
		return nil
	}
	for n, version := range c.s.seq.pending.names {
		if n.line == line && version > base && r.holds(n.name) {
			c.changedName(n.name, version)
		}
	}
	first := max(r.prefix, r.from)
	for from := escapedName([]byte{kindName}, first); ; {
		name, nk, ok, err := c.v.nameFrom(from)
		if err != nil || !ok || !r.holds(name) {
			return err
		}
		k := nameVersionKey(nk, line, 1<<64-1)
		key, _, ok, err := c.v.seekIn(k, len(k)-8)
		if err != nil {
			return err
		}
		if version := Version(0); ok {
			if version = ^be.Uint64(key[len(key)-8:]); version > base {
				c.changedName(name, version)
			}
		}
		from = behindName(nk)
	}
}

// changedName notes a name that others have changed, once.
func (c *conflict) changedName(name string, with Version) {
	c.names = append(c.names, name)
	c.collide(with)
}

// nameFrom returns the first name with a row at or after a key.
func (v *view) nameFrom(from []byte) (name string, nk []byte, ok bool, err error) {
	cur := v.seek(from)
	key, _, ok := cur.at()
	if !ok || key[0] != kindName {
		return "", nil, false, cur.err()
	}
	name, nk, _, _, err = splitNameKey(key)
	return name, bytes.Clone(nk), err == nil, err
}

// own counts the members of a set that the transaction writes, which are compared by what
// they rest on (written).
func (c *conflict) own(set PodSet) int {
	n := 0
	for _, p := range c.t.order {
		if p.base.number != 0 && set.Has(p.id) {
			n++
		}
	}
	return n
}

// readPods checks that nobody has written what the transaction has read.
func (c *conflict) readPods() error {
	set := c.t.guardedPods
	if set == nil || set.Len() <= len(c.t.order) && set.Len() <= c.own(set) {
		return nil
	}
	base := uint64(0)
	if len(c.t.base.lineage) > 0 {
		base = c.t.base.lineage[0].number
	}
	if written := c.s.seq.counters.number - base; written+uint64(c.head.version-c.t.base.version) <= uint64(set.Len()) {
		c.guards = append(c.guards, set.Has) // scan does it
		return nil
	}
	var newer []uint64
	for id := range set.All() {
		n, same, err := c.number(id)
		if err != nil {
			return err
		}
		if !same && n > base { // numbers go up in the order of commits
			newer = append(newer, uint64(id))
		}
	}
	if len(newer) > 0 && c.t.line.collected.Load() > c.t.base.version {
		slices.Sort(newer) // scan tells which of them others have written than a collect
		c.guards = append(c.guards, func(id pod.ID) bool {
			_, ok := slices.BinarySearch(newer, uint64(id))
			return ok
		})
		return nil
	}
	c.pods = append(c.pods, newer...)
	return nil
}
