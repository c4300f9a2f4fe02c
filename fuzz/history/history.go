// Package history says whether transactions that were run at once can have
// happened one after the other.
//
// It follows Adya's definitions (Weak Consistency, 1999) as Elle uses them
// (Kingsbury and Alvaro, VLDB 2020): every value is written once, so what a
// transaction read tells which one it follows. Three kinds of keys:
//
//   - Lists, to which transactions append. What is read shows the order of all
//     appends before.
//   - Registers, which transactions read and then overwrite: each write names the
//     value that it replaced.
//   - Sets, to which elements are added. They have no order, but who did not see
//     an element came before it.
//
// From these come the dependencies write-write, write-read and read-write, and
// from the clock that who began after another had returned follows it. A cycle
// is an anomaly, and so are reads of what was never committed.
package history

import (
	"fmt"
	"slices"
	"sort"
)

// Kind is what an operation does.
type Kind uint8

// Kinds of operations.
const (
	Append  Kind = iota // Value to the list Key
	Read                // the list Key: Seen
	Replace             // the register Key: Value instead of Seen[0], none if it had no value
	Look                // at the register Key: Seen[0]
	Add                 // Value to the set Key
	Members             // of the set Key: Seen, in any order
)

// Op is one operation.
type Op struct {
	Kind  Kind
	Key   string
	Value int // written; each at most once for a key, and not 0
	Seen  []int
}

// Outcome is how a transaction ended.
type Outcome uint8

// Outcomes.
const (
	Committed Outcome = iota
	Aborted
	Unknown // it happened wholly or not at all
)

// Txn is one transaction, with its operations in order.
type Txn struct {
	Ops     []Op
	Outcome Outcome
	// Begin and End are moments before its first and after its last step. All of
	// them are different; End 0 is never.
	Begin, End int64
}

// Anomaly is something that cannot have happened one after the other.
type Anomaly struct {
	Kind string // "dirty read", "lost update", "cycle", …
	What string
	RW   int // of a cycle: read-write dependencies in it
}

func (a Anomaly) String() string { return a.Kind + ": " + a.What }

// Check returns the anomalies of a history, at most a hundred.
func Check(txns []Txn) []Anomaly {
	c := &checker{txns: txns, keys: map[string]*key{}}
	c.writers()
	c.resolve()
	for i := range txns {
		if c.happened(i) {
			c.internal(i)
		}
	}
	c.order()
	c.dependencies()
	c.time()
	c.cycles()
	return c.found
}

const maxFound = 100

type checker struct {
	txns  []Txn
	keys  map[string]*key
	seen  []bool // by transaction: one that did happen saw what it wrote
	edges [][]edge
	found []Anomaly
}

// key is what is known of one key.
type key struct {
	name   string
	set    bool
	writer map[int]int // value to transaction
	last   map[int]int // transaction to the value that it wrote last
	next   map[int]int // register: value to the one that replaced it; 0 is the beginning
	order  []int       // values as they followed each other
	place  map[int]int // value to its index in order
	rest   []int       // values that come somewhere behind order: nobody saw them
	reads  []read
}

type read struct {
	txn  int
	seen []int
}

// dependency is why one transaction follows another.
type dependency uint8

const (
	writeWrite dependency = iota
	writeRead
	readWrite
	realTime
)

func (d dependency) String() string {
	return [...]string{"ww", "wr", "rw", "time"}[d]
}

type edge struct {
	to  int
	why dependency
	key string
}

func (c *checker) report(kind, format string, args ...any) {
	if len(c.found) < maxFound {
		c.found = append(c.found, Anomaly{Kind: kind, What: fmt.Sprintf(format, args...)})
	}
}

func (c *checker) key(name string) *key {
	k := c.keys[name]
	if k == nil {
		k = &key{name: name, writer: map[int]int{}, last: map[int]int{}, next: map[int]int{}, place: map[int]int{}}
		c.keys[name] = k
	}
	return k
}

func (o *Op) writes() bool { return o.Kind == Append || o.Kind == Replace || o.Kind == Add }

// writers finds who wrote each value.
func (c *checker) writers() {
	for i, t := range c.txns {
		for _, o := range t.Ops {
			k := c.key(o.Key)
			k.set = k.set || o.Kind == Add || o.Kind == Members
			if !o.writes() {
				continue
			}
			if j, twice := k.writer[o.Value]; twice {
				panic(fmt.Sprintf("history: value %d of %s is written by transactions %d and %d", o.Value, o.Key, j, i))
			}
			k.writer[o.Value] = i
			k.last[i] = o.Value
		}
	}
}

// resolve finds which transactions of unknown outcome did happen: those of which
// one that happened has seen something.
func (c *checker) resolve() {
	c.seen = make([]bool, len(c.txns))
	for changed := true; changed; {
		changed = false
		for i, t := range c.txns {
			if !c.happened(i) {
				continue
			}
			for _, o := range t.Ops {
				for _, v := range o.Seen {
					if w, ok := c.key(o.Key).writer[v]; ok && c.txns[w].Outcome == Unknown && w != i && !c.seen[w] {
						c.seen[w], changed = true, true
					}
				}
			}
		}
	}
}

func (c *checker) happened(i int) bool { return c.txns[i].Outcome == Committed || c.seen[i] }

// internal checks that a transaction sees its own writes, and itself nothing
// else twice, and takes what it saw of others.
func (c *checker) internal(i int) {
	own := map[string][]int{}    // written so far
	before := map[string][]int{} // seen of others
	known := map[string]bool{}   // before is known
	for _, o := range c.txns[i].Ops {
		k := c.key(o.Key)
		if o.Kind == Append || o.Kind == Add {
			own[o.Key] = append(own[o.Key], o.Value)
			continue
		}
		others, ok := o.Seen, true
		switch mine := own[o.Key]; o.Kind {
		case Read:
			n := len(o.Seen) - len(mine)
			if ok = n >= 0 && slices.Equal(o.Seen[max(n, 0):], mine); ok {
				others = o.Seen[:n]
			}
		case Members:
			others = nil
			for _, v := range o.Seen {
				if !slices.Contains(mine, v) {
					others = append(others, v)
				}
			}
			slices.Sort(others)
			ok = len(others) == len(o.Seen)-len(mine)
		default:
			if len(mine) > 0 {
				ok = slices.Equal(o.Seen, mine[len(mine)-1:])
				others = before[o.Key]
			}
		}
		if !ok {
			c.report("internal", "transaction %d wrote %v to %s and then saw %v", i, own[o.Key], o.Key, o.Seen)
			continue
		}
		switch {
		case !known[o.Key]:
			known[o.Key], before[o.Key] = true, others
			k.reads = append(k.reads, read{i, others})
		case !slices.Equal(before[o.Key], others):
			c.report("internal", "transaction %d saw %v in %s, then %v", i, before[o.Key], o.Key, others)
		}
		if o.Kind == Replace {
			own[o.Key] = append(own[o.Key], o.Value)
			from := 0
			if len(o.Seen) > 0 {
				from = o.Seen[0]
			}
			if v, twice := k.next[from]; twice {
				c.report("lost update", "transactions %d and %d both replaced %d in %s, by %d and %d", k.writer[v], i, from, o.Key, v, o.Value)
				continue
			}
			k.next[from] = o.Value
		}
	}
	c.dirty(i)
}

// dirty checks that a transaction saw only what was committed, and the last of
// it.
func (c *checker) dirty(i int) {
	for _, o := range c.txns[i].Ops {
		k := c.key(o.Key)
		dup := map[int]bool{}
		for n, v := range o.Seen {
			w, ok := k.writer[v]
			switch {
			case dup[v]:
				c.report("duplicate", "transaction %d saw %d twice in %s", i, v, o.Key)
			case !ok:
				c.report("garbage", "transaction %d saw %d in %s, which nobody wrote", i, v, o.Key)
			case w == i:
			case !c.happened(w):
				c.report("dirty read", "transaction %d saw %d in %s, which transaction %d wrote and did not commit", i, v, o.Key, w)
			case n == len(o.Seen)-1 && !k.set && k.last[w] != v:
				c.report("intermediate read", "transaction %d saw %d as the last of %s, but transaction %d went on to %d", i, v, o.Key, w, k.last[w])
			}
			dup[v] = true
		}
	}
}

// order finds how the values of each list and register followed each other.
func (c *checker) order() {
	for _, name := range c.names() {
		k := c.keys[name]
		if k.set {
			continue
		}
		for v, ok := k.next[0]; ok; v, ok = k.next[v] {
			if _, loop := k.place[v]; loop {
				break
			}
			k.place[v] = len(k.order)
			k.order = append(k.order, v)
		}
		if len(k.order) == 0 {
			c.listOrder(k)
		}
		for v, w := range k.writer {
			if _, ok := k.place[v]; !ok && c.happened(w) {
				k.rest = append(k.rest, v)
			}
		}
		slices.Sort(k.rest)
	}
}

// listOrder is order for a list.
func (c *checker) listOrder(k *key) {
	for _, r := range k.reads {
		if len(r.seen) > len(k.order) {
			k.order = r.seen
		}
	}
	for _, r := range k.reads {
		if !slices.Equal(r.seen, k.order[:len(r.seen)]) {
			c.report("order", "transaction %d saw %v in %s, another one %v", r.txn, r.seen, k.name, k.order)
		}
	}
	for n, v := range k.order {
		k.place[v] = n
	}
}

func (c *checker) names() []string {
	names := make([]string, 0, len(c.keys))
	for n := range c.keys {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// follows adds a dependency.
func (c *checker) follows(from, to int, why dependency, key string) {
	if from != to {
		c.edges[from] = append(c.edges[from], edge{to, why, key})
	}
}

func (c *checker) dependencies() {
	c.edges = make([][]edge, len(c.txns))
	for _, name := range c.names() {
		k := c.keys[name]
		if k.set {
			c.setDependencies(k)
			continue
		}
		for n := 1; n < len(k.order); n++ {
			a, aok := k.writer[k.order[n-1]]
			b, bok := k.writer[k.order[n]]
			if aok && bok {
				c.follows(a, b, writeWrite, name)
			}
		}
		if n := len(k.order); n > 0 {
			if w, ok := k.writer[k.order[n-1]]; ok {
				c.before(w, k.rest, k, writeWrite)
			}
		}
		for _, r := range k.reads {
			next := 0
			if len(r.seen) > 0 {
				v := r.seen[len(r.seen)-1]
				if w, ok := k.writer[v]; ok {
					c.follows(w, r.txn, writeRead, name)
				}
				at, ok := k.place[v]
				if !ok {
					continue
				}
				next = at + 1
			}
			found := false
			for ; next < len(k.order) && !found; next++ { // behind what it wrote itself
				if w, ok := k.writer[k.order[next]]; ok && w != r.txn {
					c.follows(r.txn, w, readWrite, name)
					found = true
				}
			}
			if !found {
				c.before(r.txn, k.rest, k, readWrite)
			}
		}
	}
}

// before has all writers of values follow a transaction.
func (c *checker) before(txn int, values []int, k *key, why dependency) {
	for _, v := range values {
		c.follows(txn, k.writer[v], why, k.name)
	}
}

func (c *checker) setDependencies(k *key) {
	for _, r := range k.reads {
		in := map[int]bool{}
		for _, v := range r.seen {
			in[v] = true
			if w, ok := k.writer[v]; ok {
				c.follows(w, r.txn, writeRead, k.name)
			}
		}
		for v, w := range k.writer {
			if !in[v] && c.happened(w) {
				c.follows(r.txn, w, readWrite, k.name)
			}
		}
	}
}

// time adds that who began after another had returned follows it: over one more
// node for each end, in a chain, so that there are few edges.
func (c *checker) time() {
	type event struct {
		at  int64
		txn int
		end bool
	}
	var events []event
	for i, t := range c.txns {
		if c.happened(i) {
			events = append(events, event{t.Begin, i, false})
			if t.End != 0 {
				events = append(events, event{t.End, i, true})
			}
		}
	}
	sort.Slice(events, func(a, b int) bool { return events[a].at < events[b].at })
	last := -1
	for _, e := range events {
		if !e.end {
			if last >= 0 {
				c.edges[last] = append(c.edges[last], edge{e.txn, realTime, ""})
			}
			continue
		}
		node := len(c.edges)
		c.edges = append(c.edges, nil)
		c.edges[e.txn] = append(c.edges[e.txn], edge{node, realTime, ""})
		if last >= 0 {
			c.edges[last] = append(c.edges[last], edge{node, realTime, ""})
		}
		last = node
	}
}
