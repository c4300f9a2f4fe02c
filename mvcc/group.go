package mvcc

import (
	"encoding/binary"
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/pod"
)

// A group is everything that one commit, or one new branch, does to the index.
// It is what travels in the log, all or nothing, and applying it neither reads
// anything nor fails: whatever had to be looked up was looked up by the
// sequencer (sequencer.go). So replay and live operation share one function.
//
// Its log form is one stream, cut into records of at most recordBytes wherever
// that falls:
//
//	kind 1 (1 commit, 2 branch) | u64 first 8 bytes of the database id
//	counters after the group
//	commit only: uvarint version | uvarint length, commit row
//	             uvarint n | n × (varint pod id − previous one, uvarint length, envelope)
//	uvarint n | n × (uvarint length, key, uvarint length, value)
//
// Pod versions have the row's numbers in order.
type group struct {
	db       uint64
	counters counters
	row      *commitRow // nil for a new branch
	versions []podVersion
	puts     []keyValue
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

	recordBytes = 1 << 20
)

// records returns the log form.
func (g *group) records() [][]byte {
	w := &recordWriter{}
	head := []byte{groupBranch}
	if g.row != nil {
		head[0] = groupCommit
	}
	head = binary.LittleEndian.AppendUint64(head, g.db)
	head = g.counters.append(head)
	if g.row != nil {
		row := g.row.append(nil)
		head = binary.AppendUvarint(head, g.row.version)
		head = binary.AppendUvarint(head, uint64(len(row)))
		w.write(head)
		w.write(row)
		head = binary.AppendUvarint(nil, uint64(len(g.versions)))
	}
	w.write(head)
	if g.row != nil {
		prev := pod.ID(0)
		for _, v := range g.versions {
			w.num = binary.AppendVarint(w.num[:0], int64(v.pod-prev))
			w.write(binary.AppendUvarint(w.num, uint64(len(v.env))))
			w.write(v.env)
			prev = v.pod
		}
	}
	w.write(binary.AppendUvarint(nil, uint64(len(g.puts))))
	for _, p := range g.puts {
		w.sized(p.key)
		w.sized(p.val)
	}
	return w.end()
}

// recordWriter cuts a stream into records.
type recordWriter struct {
	done [][]byte
	cur  []byte
	num  []byte
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

func (w *recordWriter) sized(b []byte) {
	w.num = binary.AppendUvarint(w.num[:0], uint64(len(b)))
	w.write(w.num)
	w.write(b)
}

func (w *recordWriter) end() [][]byte {
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
	g := &group{}
	kind := r.Byte()
	g.db = r.U64()
	g.counters = readCounters(r)
	switch {
	case r.Err() != nil:
	case kind == groupCommit:
		if err := readGroupCommit(r, g); err != nil {
			return nil, err
		}
	case kind != groupBranch:
		r.Fail("kind %d of a log group is unknown", kind)
	}
	for n := r.Count(2); n > 0 && r.Err() == nil; n-- {
		key := r.Bytes(r.Uvarint())
		val := r.Bytes(r.Uvarint())
		if r.Err() == nil && (len(key) == 0 || len(key) > maxKeyLen) {
			r.Fail("key of %d bytes", len(key))
		}
		g.puts = append(g.puts, keyValue{key, val})
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("log group: %w", err)
	}
	return g, nil
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
	n := r.Count(3)
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
// row's line.
func (g *group) apply(o *overlay, branch string) {
	if c := g.row; c != nil {
		for i, v := range g.versions {
			o.put(versionKey(make([]byte, 0, versionKeyLen), v.pod, c.line, c.first()+uint64(i)), v.env)
		}
		o.put(commitKey(c.version), inline(c.append(nil)))
		c.chunks(func(i int, b []byte) { o.put(chunkKey(c.version, i), inline(b)) })
		o.put(branchKey(branch), branchValue(c.line, c.version))
	}
	for _, p := range g.puts {
		o.put(p.key, p.val)
	}
	o.put(singleKey(singleCounters), g.counters.append(nil))
}
