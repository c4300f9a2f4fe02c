package mvcc

import (
	"encoding/binary"
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// commitRow is what the index keeps about one commit, stored as
//
//	format 1 | kind 1 | uvarint line, position | uvarint n, n × uvarint parent
//	u64 time, ns since 1970 | u64 nonce | text author | text message (uvarint length, bytes)
//	uvarint last number, added, stored bytes, bytes no longer current, names
//	sized set: the numbers removed
//	byte 0, or 1 and: sized set: the numbers added
//	                  uvarint own added, own removed, names of the run
//	uvarint inline ids (0 or added) | that many varints: first id, differences
//
// with all numbers of commits and pod versions absolute. The numbers added are
// last-added+1 … last, except in a folded row (retire.go). A commit of more than
// idInline pods has its ids in chunk rows of idChunk each, in the same coding.
//
// A folded row also stands for the run of retired commits before it: added,
// removed, ids and parents are those of the run and the commit together, last,
// bytes, goneByte and names are the commit's own, as is what fold keeps apart.
type commitRow struct {
	version  Version // the key
	kind     Kind
	line     uint32
	pos      uint64 // commits before it on its line
	parents  []Version
	time     int64
	nonce    uint64 // tells this commit from another that would get its version
	author   string
	message  string
	last     uint64 // highest number given out up to and with this commit
	added    uint64
	bytes    uint64
	goneByte uint64 // stored bytes of the versions in removed
	names    uint64 // names set or deleted
	removed  *Set
	fold     *fold    // nil if no commit was retired before this one
	ids      []pod.ID // of the numbers added, in order; nil if chunked
}

// fold is what a folded row has beside others.
type fold struct {
	births         *Set   // the numbers added
	added, removed uint64 // how many the commit itself added and removed
	names          uint64 // names set or deleted by commits of the run
}

const (
	rowFormat  = 1
	idInline   = 512
	idChunk    = 4096
	maxParents = 16
	maxText    = 1 << 20 // bytes of author and of message
)

// own returns how many numbers the commit itself added and removed.
func (c *commitRow) own() (added, removed uint64) {
	if c.fold != nil {
		return c.fold.added, c.fold.removed
	}
	return c.added, c.removed.Len()
}

// first is the lowest number that the commit itself added.
func (c *commitRow) first() uint64 {
	if c.fold != nil {
		return c.last - c.fold.added + 1
	}
	return c.last - c.added + 1
}

// births adds the numbers that the row adds to s.
func (c *commitRow) births(s *Set) {
	if c.fold != nil {
		s.union(c.fold.births)
	} else {
		s.AddRange(c.first(), c.last)
	}
}

// numbers yields the numbers that the row adds, in order.
func (c *commitRow) numbers(yield func(uint64) bool) {
	s := &Set{}
	c.births(s)
	s.All()(yield)
}

func (c *commitRow) chunked() bool { return c.added > idInline }

// sizeHint is about how long append makes it, sets apart.
func (c *commitRow) sizeHint() int {
	return 64 + len(c.author) + len(c.message) + 2*len(c.ids)
}

func (c *commitRow) append(dst []byte) []byte {
	dst = append(dst, rowFormat, byte(c.kind))
	dst = binary.AppendUvarint(dst, uint64(c.line))
	dst = binary.AppendUvarint(dst, c.pos)
	dst = binary.AppendUvarint(dst, uint64(len(c.parents)))
	for _, p := range c.parents {
		dst = binary.AppendUvarint(dst, p)
	}
	dst = binary.LittleEndian.AppendUint64(dst, uint64(c.time))
	dst = binary.LittleEndian.AppendUint64(dst, c.nonce)
	dst = appendText(dst, c.author)
	dst = appendText(dst, c.message)
	for _, n := range [...]uint64{c.last, c.added, c.bytes, c.goneByte, c.names} {
		dst = binary.AppendUvarint(dst, n)
	}
	dst = appendSizedSet(dst, c.removed)
	if f := c.fold; f == nil {
		dst = append(dst, 0)
	} else {
		dst = appendSizedSet(append(dst, 1), f.births)
		for _, n := range [...]uint64{f.added, f.removed, f.names} {
			dst = binary.AppendUvarint(dst, n)
		}
	}
	if c.chunked() {
		return binary.AppendUvarint(dst, 0)
	}
	dst = binary.AppendUvarint(dst, uint64(len(c.ids)))
	return appendIDs(dst, c.ids)
}

func decodeRow(v Version, b []byte) (*commitRow, error) {
	r := binenc.NewReader(b)
	if f := r.Byte(); f != rowFormat && r.Err() == nil {
		r.Fail("format %d of a commit row is unknown", f)
	}
	c := &commitRow{version: v, kind: Kind(r.Byte()), line: r.Uvarint32(), pos: r.Uvarint()}
	n := r.Count(1)
	if n > maxParents {
		r.Fail("%d parents", n)
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		p := r.Uvarint()
		if p >= v {
			r.Fail("parent %d of version %d", p, v)
		}
		c.parents = append(c.parents, p)
	}
	c.time, c.nonce = int64(r.U64()), r.U64()
	c.author, c.message = readText(r), readText(r)
	c.last, c.added, c.bytes, c.goneByte, c.names = r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint(), r.Uvarint()
	if c.added > c.last {
		r.Fail("%d numbers added up to number %d", c.added, c.last)
	}
	c.removed = readSet(r)
	c.readFold(r)
	switch n := r.Count(1); {
	case r.Err() != nil:
	case c.chunked() && n == 0:
	case uint64(n) != c.added:
		r.Fail("%d pod ids for %d numbers", n, c.added)
	default:
		c.ids = readIDs(r, n)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("commit row of version %d: %w", v, err)
	}
	return c, nil
}

func (c *commitRow) readFold(r *binenc.Reader) {
	switch folded := r.Byte(); {
	case r.Err() != nil || folded == 0:
		return
	case folded != 1:
		r.Fail("%d where 1 marks a folded row", folded)
		return
	}
	f := &fold{births: readSet(r), added: r.Uvarint(), removed: r.Uvarint(), names: r.Uvarint()}
	if r.Err() == nil && (f.births.Len() != c.added || f.births.max() > c.last || f.added > c.last) {
		r.Fail("%d numbers up to %d, of them %d its own, expected %d up to %d", f.births.Len(), f.births.max(), f.added, c.added, c.last)
	}
	c.fold = f
}

// numChunks is the number of chunk rows.
func (c *commitRow) numChunks() int {
	if !c.chunked() {
		return 0
	}
	return int((c.added + idChunk - 1) / idChunk)
}

// chunks yields the chunk rows of a big commit.
func (c *commitRow) chunks(yield func(chunk int, b []byte)) {
	if !c.chunked() {
		return
	}
	for i := 0; i*idChunk < len(c.ids); i++ {
		part := c.ids[i*idChunk : min((i+1)*idChunk, len(c.ids))]
		yield(i, appendIDs(binary.AppendUvarint(nil, uint64(len(part))), part))
	}
}

func decodeChunk(b []byte, want int) ([]pod.ID, error) {
	r := binenc.NewReader(b)
	n := r.Count(1)
	if r.Err() == nil && n != want {
		r.Fail("%d pod ids in a chunk of %d", n, want)
	}
	ids := readIDs(r, n)
	return ids, r.End()
}

func appendIDs(dst []byte, ids []pod.ID) []byte {
	prev := pod.ID(0)
	for _, id := range ids {
		dst = binary.AppendVarint(dst, int64(id-prev))
		prev = id
	}
	return dst
}

// readIDs reads n ids; r.Count has bounded n.
func readIDs(r *binenc.Reader, n int) []pod.ID {
	if r.Err() != nil || n == 0 {
		return nil
	}
	ids := make([]pod.ID, n)
	prev := pod.ID(0)
	for i := range ids {
		prev += pod.ID(r.Varint())
		if prev == 0 && r.Err() == nil {
			r.Fail("pod id 0")
		}
		ids[i] = prev
	}
	return ids
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func readText(r *binenc.Reader) string {
	n := r.Uvarint()
	if n > maxText {
		r.Fail("text of %d bytes", n)
		return ""
	}
	return string(r.Bytes(n))
}

func checkText(what, s string) error {
	if len(s) > maxText {
		return fmt.Errorf("%w: %s of %d bytes, at most %d", dberr.ErrTooLarge, what, len(s), maxText)
	}
	return nil
}
