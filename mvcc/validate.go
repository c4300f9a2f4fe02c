package mvcc

import (
	"slices"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Validation of a commit whose base is no longer the head of its line. By key:
// each pod and name that the transaction writes has no version on the line
// newer than the base. What it has only read: guard.go. References written are
// checked against the head. No commit but those of a collect takes an exported slot
// away (put.go), and these are compared with the references that came since
// (collect.go); so what others came to refer to since is still there.

func (p *put) exported(slot pod.Slot) bool {
	_, ok := slices.BinarySearch(p.exports, slot)
	return ok
}

// everything is the fork that sees all of a line.
func everything(l *line) []fork {
	l.once.Do(func() {
		const all = 1<<64 - 1
		l.everything = append([]fork{{l.id, all, all}}, l.lineage...)
	})
	return l.everything
}

func (s *Store) validate(v *view, t *Tx, h head) error {
	c := &conflict{s: s, v: v, t: t, head: h, all: everything(t.line)}
	if err := c.written(); err != nil {
		return err
	}
	if err := c.references(); err != nil {
		return err
	}
	if t.guard != nil {
		c.guards = append(c.guards, t.guard)
	}
	if err := c.readPods(); err != nil {
		return err
	}
	if err := c.ranges(); err != nil {
		return err
	}
	if len(c.pods)+len(c.names) == 0 && len(c.guards) == 0 {
		return nil
	}
	if err := c.scan(); err != nil {
		return err
	}
	if len(c.pods)+len(c.names) == 0 {
		return nil
	}
	s.conflicts.Add(1)
	if c.with == 0 {
		c.with = h.version
	}
	slices.Sort(c.names)
	slices.Sort(c.pods)
	return &dberr.ConflictError{Names: slices.Compact(c.names), Pods: slices.Compact(c.pods), Base: t.base.version, With: c.with}
}

// conflict collects what collides.
type conflict struct {
	s    *Store
	v    *view
	t    *Tx
	head head
	all  []fork // everything on the line
	// guards say which of the pods written since the base collide.
	guards []func(pod.ID) bool

	names []string
	pods  []uint64
	with  Version // the first commit it collides with
}

// written checks the transaction's own pods and names, and the names that it
// depends on.
func (c *conflict) written() error {
	for _, p := range c.t.order {
		n, same, err := c.number(p.id)
		if err != nil {
			return err
		}
		if !same && n != p.base.number {
			c.pods = append(c.pods, uint64(p.id))
		}
	}
	for name := range c.t.names {
		if err := c.name(name); err != nil {
			return err
		}
	}
	recent, known := c.s.seq.renamings.since(c.t.base.version)
	known = known && len(recent) <= fewRenamings
	for _, name := range c.t.guardedNames {
		if _, own := c.t.names[name]; own || known && !c.renamed(recent, name) {
			continue
		}
		if err := c.name(name); err != nil {
			return err
		}
	}
	return nil
}

// fewRenamings are looked through for each name rather than that it is looked for in the index.
const fewRenamings = 16

// renamed reports whether a name is among changes of names.
func (c *conflict) renamed(recent []renaming, name string) bool {
	return slices.ContainsFunc(recent, func(r renaming) bool { return r.line == c.t.line.id && r.name == name })
}

// name checks that nobody has bound or deleted a variable since the base.
func (c *conflict) name(name string) error {
	l := c.t.line
	version, ok := c.s.seq.pending.names[nameOnLine{l.id, name}]
	if !ok {
		nk := nameKey(name)
		k := nameVersionKey(nk, l.id, 1<<64-1)
		key, _, ok, err := c.v.seekIn(k, len(k)-8)
		if err != nil {
			return err
		}
		if ok {
			version = ^be.Uint64(key[len(key)-8:])
		}
	}
	if version > c.t.base.version {
		c.names = append(c.names, name)
		c.collide(version)
	}
	return nil
}

func (c *conflict) collide(with Version) {
	if c.with == 0 || with < c.with {
		c.with = with
	}
}

// number returns the newest sequenced version of a pod on the line, 0 if none; or same: it is
// that of the base.
func (c *conflict) number(id pid) (number uint64, same bool, err error) {
	if p, ok := c.s.seq.pending.pods[podOnLine{c.t.line.id, id}]; ok {
		return p.put.number, false, nil
	}
	if c.v.unwritten(c.t.line.id, id, c.t.base) {
		return 0, true, nil
	}
	f, _, err := c.v.resolve(c.all, id)
	return f.number, false, err
}

// unwritten reports whether layers in memory, which are searched without the page file and without
// waiting for it, say that no version of a pod came on a line since a snapshot, which is on that line or
// before it. False says nothing.
func (v *view) unwritten(line uint32, id pid, base *Snapshot) bool {
	var buf [versionKeyLen]byte
	k := versionKey(buf[:0], id, line, 1<<64-1)
	number := uint64(0) // numbers go up in the order of commits
	if len(base.lineage) > 0 {
		number = base.lineage[0].number
	}
	for _, o := range [2]*overlay{v.la.active, v.la.frozen} {
		if o == nil {
			return false
		}
		if n := o.newest.get(k); n != nil && ^be.Uint64(n.key[prefixLen:]) > number {
			return false
		}
		if o.since <= base.version {
			return true
		}
	}
	return false
}

// references checks that what the transaction newly refers to is exported in
// the head too: a collect may have taken it away.
func (c *conflict) references() error {
	check := func(r pod.Ref) error {
		if c.t.find(r.Pod) != nil {
			return nil
		}
		ok := false
		if p, pending := c.s.seq.pending.pods[podOnLine{c.t.line.id, r.Pod}]; pending {
			ok = p.put.exported(r.Slot)
		} else {
			m, _, err := c.v.pod(c.all, r.Pod)
			if err != nil {
				return err
			}
			ok = m != nil && m.pod.Exported(r.Slot)
		}
		if !ok {
			c.pods = append(c.pods, uint64(r.Pod))
		}
		return nil
	}
	for r := range c.t.refs {
		if err := check(r); err != nil {
			return err
		}
	}
	for _, root := range c.t.names {
		if root != 0 {
			if err := check(pod.Ref{Pod: root}); err != nil {
				return err
			}
		}
	}
	return nil
}

// maxNamed is how many commits are looked through only to name the one that the
// transaction collides with.
const maxNamed = 1024

// scan walks the commits on the line since the base.
func (c *conflict) scan() error {
	own := make(map[pid]bool, len(c.pods))
	for _, id := range c.pods {
		own[pid(id)] = true
	}
	for n, version := 0, c.head.version; version > c.t.base.version; n++ {
		if n == maxNamed && len(c.guards) == 0 {
			return nil
		}
		row, err := c.s.sequencedRow(c.v, version)
		if err != nil {
			return err
		}
		if row.line != c.t.line.id {
			return nil
		}
		ids, err := c.v.ids(row)
		if err != nil {
			return err
		}
		// What a collect writes is no change for those who only read: it takes away what
		// nobody reaches, and who reached it before collides with what cut it off.
		guards := c.guards
		if row.kind == KindCollect && row.fold == nil {
			guards = nil
		}
		for _, id := range ids {
			if own[id] || slices.ContainsFunc(guards, func(has func(pod.ID) bool) bool { return has(id) }) {
				c.pods = append(c.pods, uint64(id))
				c.collide(version)
			}
		}
		if len(row.parents) == 0 {
			return nil
		}
		version = row.parents[0]
	}
	return nil
}

// sequencedRow returns the row of a commit that may still be queued.
func (s *Store) sequencedRow(v *view, version Version) (*commitRow, error) {
	for _, q := range s.seq.queue {
		if q.g.row != nil && q.g.row.version == version {
			return q.g.row, nil
		}
	}
	return v.row(version)
}
