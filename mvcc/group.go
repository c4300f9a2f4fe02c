package mvcc

import (
	"encoding/binary"
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/pod"
)

// A group is everything that one commit, one new branch, or one step of upkeep
// (retention) does to the index.
// It is what travels in the log, all or nothing, and applying it neither reads
// anything nor fails: whatever had to be looked up was looked up by the
// sequencer (sequencer.go). So replay and live operation share one function.
//
// Its log form is one stream, cut into records of at most recordBytes wherever
// that falls:
//
//	kind 1 (1 commit, 2 branch, 3 upkeep) | u64 first 8 bytes of the database id
//	counters after the group
//	commit only: uvarint version | uvarint length, commit row
//	             uvarint n | n × (varint pod id − previous one, uvarint length, envelope)
//	uvarint n | n × (uvarint length, key, uvarint length, value)
//	upkeep only: uvarint n | n × (uvarint length, key), the rows that go
//
// Pod versions have the row's numbers in order.
type group struct {
	db       uint64
	counters counters
	kind     byte
	row      *commitRow // of a commit
	rowEnv   []byte     // its envelope, inline; made by records and by decodeGroup
	keys     []byte     // memory for those of the rows that apply puts, or nil
	versions []podVersion
	puts     []keyValue
	dels     [][]byte // of upkeep
	writer   recordWriter
}

// podVersion is one pod version of a group: its envelope, inline.
type podVersion struct {
	pod pod.ID
	env []byte
}

type keyValue struct{ key, val []byte }

const (
	groupCommit = 1
	groupBranch = 2
	groupUpkeep = 3

	recordBytes = 1 << 20
)

// records returns the log form.
func (g *group) records() [][]byte {
	if g.row != nil {
		// The overlay keeps the row as long as its keys.
		keys := len(g.versions)*versionKeyLen + commitKeyLen + shortBranch
		b := g.row.append(append(make([]byte, 0, 1+g.row.sizeHint()+keys), envInline))
		g.rowEnv, g.keys = b[:len(b):len(b)], b[len(b):]
	}
	w := &g.writer
	*w = recordWriter{cur: make([]byte, 0, min(recordBytes, g.sizeHint()))}
	w.cur = append(w.cur, g.kind)
	w.cur = binary.LittleEndian.AppendUint64(w.cur, g.db)
	w.cur = g.counters.append(w.cur)
	if g.row != nil {
		w.uvarint(g.row.version)
		w.sized(g.rowEnv[1:])
		w.uvarint(uint64(len(g.versions)))
		prev := pod.ID(0)
		for _, v := range g.versions {
			w.write(w.num[:binary.PutVarint(w.num[:], int64(v.pod-prev))])
			w.sized(v.env)
			prev = v.pod
		}
	}
	w.uvarint(uint64(len(g.puts)))
	for _, p := range g.puts {
		w.sized(p.key)
		w.sized(p.val)
	}
	if g.kind == groupUpkeep {
		w.uvarint(uint64(len(g.dels)))
		for _, key := range g.dels {
			w.sized(key)
		}
	}
	return w.end()
}

// sizeHint is about as long as the log form, and not shorter but for big varints.
func (g *group) sizeHint() int {
	n := 128 + len(g.rowEnv)
	for _, v := range g.versions {
		n += len(v.env) + 2*binary.MaxVarintLen32
	}
	for _, p := range g.puts {
		n += len(p.key) + len(p.val) + binary.MaxVarintLen32
	}
	for _, key := range g.dels {
		n += len(key) + 2
	}
	return n
}

// recordWriter cuts a stream into records.
type recordWriter struct {
	done [][]byte
	one  [1][]byte // what done is in, mostly
	cur  []byte
	num  [binary.MaxVarintLen64]byte // scratch
}

func (w *recordWriter) write(b []byte) {
	for len(b) > 0 {
		n := min(len(b), recordBytes-len(w.cur))
		w.cur = append(w.cur, b[:n]...)
		b = b[n:]
		if len(w.cur) == recordBytes {
			w.done = append(w.done, w.cur)
			w.cur = make([]byte, 0, min(recordBytes, max(len(b), 4096)))
		}
	}
}

func (w *recordWriter) uvarint(n uint64) {
	w.write(w.num[:binary.PutUvarint(w.num[:], n)])
}

func (w *recordWriter) sized(b []byte) {
	w.uvarint(uint64(len(b)))
	w.write(b)
}

func (w *recordWriter) end() [][]byte {
	if len(w.done) == 0 {
		w.one[0] = w.cur
		return w.one[:]
	}
	if len(w.cur) > 0 {
		w.done = append(w.done, w.cur)
	}
	return w.done
}

// decodeGroup reads the log form. The group refers to copies of the records.
func decodeGroup(records [][]byte) (*group, error) {
	var n int
	for _, r := range records {
		n += len(r)
	}
	b := make([]byte, 0, n)
	for _, r := range records {
		b = append(b, r...)
	}
	r := binenc.NewReader(b)
	g := &group{kind: r.Byte()}
	g.db = r.U64()
	g.counters = readCounters(r)
	switch {
	case r.Err() != nil:
	case g.kind == groupCommit:
		if err := readGroupCommit(r, g); err != nil {
			return nil, err
		}
	case g.kind != groupBranch && g.kind != groupUpkeep:
		r.Fail("kind %d of a log group is unknown", g.kind)
	}
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		key := readKey(r)
		g.puts = append(g.puts, keyValue{key, r.Bytes(r.Uvarint())})
	}
	if g.kind == groupUpkeep {
		for n := r.Count(1); n > 0 && r.Err() == nil; n-- {
			g.dels = append(g.dels, readKey(r))
		}
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("log group: %w", err)
	}
	return g, nil
}

func readKey(r *binenc.Reader) []byte {
	key := r.Bytes(r.Uvarint())
	if r.Err() == nil && (len(key) == 0 || len(key) > maxKeyLen) {
		r.Fail("key of %d bytes", len(key))
	}
	return key
}

func readGroupCommit(r *binenc.Reader, g *group) error {
	v := r.Uvarint()
	row := r.Bytes(r.Uvarint())
	if r.Err() != nil {
		return nil
	}
	var err error
	if g.row, err = decodeRow(v, row); err != nil {
		return err
	}
	g.rowEnv = inline(row)
	n := r.Count(3)
	if g.row.fold != nil {
		r.Fail("version %d is folded and new", v)
	}
	if uint64(n) != g.row.added {
		r.Fail("%d pod versions for %d numbers", n, g.row.added)
		return nil
	}
	if v == 0 || v != g.counters.version || g.row.last != g.counters.number {
		r.Fail("version %d and number %d with counters at %d and %d", v, g.row.last, g.counters.version, g.counters.number)
		return nil
	}
	g.versions = make([]podVersion, n)
	ids := make([]pod.ID, n)
	prev := pod.ID(0)
	for i := range g.versions {
		prev += pod.ID(r.Varint())
		env := r.Bytes(r.Uvarint())
		if r.Err() == nil && (prev == 0 || len(env) == 0) {
			r.Fail("pod version without pod or contents")
		}
		g.versions[i], ids[i] = podVersion{prev, env}, prev
	}
	g.row.ids = ids
	return nil
}

// apply puts the group's effects into an overlay. branch is the branch of the
// row's line, p the place of its version if it has one and that is known.
func (g *group) apply(o *overlay, branch string, p *place) {
	lasting := make([]byte, 0, branchValueLen+countersHint) // values until the next group
	if c := g.row; c != nil {
		keys := g.keys
		for i, v := range g.versions {
			at := len(keys)
			keys = versionKey(keys, v.pod, c.line, c.first()+uint64(i))
			o.putNear(behind(keys, at), v.env, p)
		}
		at := len(keys)
		keys = appendCommitKey(keys, c.version)
		o.put(behind(keys, at), g.rowEnv)
		c.chunks(func(i int, b []byte) { o.put(chunkKey(c.version, i), inline(b)) })
		at = len(keys)
		keys = appendBranchKey(keys, branch)
		lasting = appendBranchValue(lasting, c.line, c.version)
		o.put(behind(keys, at), behind(lasting, 0))
	}
	put := o.put
	if g.kind == groupUpkeep {
		put = o.replace
	}
	for _, p := range g.puts {
		if p.key[0] == kindBlock {
			o.extents.Add(blockBytes(p.val))
		}
		put(p.key, p.val)
	}
	for _, key := range g.dels {
		o.remove(key)
	}
	at := len(lasting)
	lasting = g.counters.append(lasting)
	o.put(countersKey, behind(lasting, at))
}

// behind returns what was appended to b from at on.
func behind(b []byte, at int) []byte { return b[at:len(b):len(b)] }
