package mvcc

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/poddb/poddb/internal/binenc"
)

// A line is the run of commits made on one branch since it was created. What
// it shows of the time before, it inherits from the lines it forked from: its
// lineage. A snapshot is a fork of its own: the line as of one version, and
// then the line's lineage.
type line struct {
	id      uint32
	branch  string
	lineage []fork  // parent first
	origin  *origin // of a line that begins with a copy (deepbranch.go)
	head    atomic.Pointer[head]

	deleted   atomic.Bool          // its branch (deletebranch.go)
	collected atomic.Uint64        // the newest commit of a collect since Open
	turn      atomic.Pointer[Turn] // that somebody has (turn.go)

	once       sync.Once
	everything []fork // see there
}

// fork says: of this line, what was there at that version. number is the
// highest pod version number given out up to that version.
type fork struct {
	line    uint32
	version Version
	number  uint64
}

// head is the newest state of a line. Before its first commit it is the
// version that the line forked from, with commits 0.
type head struct {
	version Version
	number  uint64
	commits uint64 // on this line
}

const (
	mainLine   = 1
	maxLineage = 32
)

// forkVersion is the version that the line begins at.
func (l *line) forkVersion() Version {
	if len(l.lineage) == 0 {
		return 0
	}
	return l.lineage[0].version
}

// lines is the table of all lines; a new one means a new table.
type lines struct {
	byID   map[uint32]*line
	byName map[string]*line
}

func (t *lines) with(l *line) *lines {
	n := &lines{byID: map[uint32]*line{}, byName: map[string]*line{}}
	for _, x := range t.byID {
		n.add(x)
	}
	n.add(l)
	return n
}

func (t *lines) without(l *line) *lines {
	n := &lines{byID: map[uint32]*line{}, byName: map[string]*line{}}
	for id, x := range t.byID {
		if id != l.id {
			n.add(x)
		}
	}
	return n
}

func isRemoved(row []byte) bool { return len(row) == 1 && row[0] == lineFormatRemoved }

func (t *lines) add(l *line) {
	t.byID[l.id] = l
	if !l.deleted.Load() {
		t.byName[l.branch] = l
	}
}

// Formats of a line row.
const (
	lineFormat       = 1
	lineFormatOrigin = 2
	// Of a line whose branch was deleted it is that much more.
	lineFormatDeleted = 2
	// A line that was removed is this one byte.
	lineFormatRemoved = 5
)

// lineValue is a line row: format, text branch name, uvarint n, n × uvarint
// (line, version, number), parent first. In format 2 follow the same three of
// the origin, and uvarint the version of the copy. Formats 3 and 4 are 1 and 2 of a
// line whose branch was deleted.
func lineValue(l *line) []byte {
	b := appendText([]byte{lineFormat}, l.branch)
	b = binary.AppendUvarint(b, uint64(len(l.lineage)))
	for _, f := range l.lineage {
		b = f.append(b)
	}
	if l.origin != nil {
		b[0] = lineFormatOrigin
		b = binary.AppendUvarint(l.origin.append(b), l.origin.copy)
	}
	if l.deleted.Load() {
		b[0] += lineFormatDeleted
	}
	return b
}

func (f fork) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(f.line))
	dst = binary.AppendUvarint(dst, f.version)
	return binary.AppendUvarint(dst, f.number)
}

func decodeLine(id uint32, b []byte) (*line, error) {
	r := binenc.NewReader(b)
	format := r.Byte()
	deleted := format > lineFormatOrigin
	if deleted {
		format -= lineFormatDeleted
	}
	if format != lineFormat && format != lineFormatOrigin && r.Err() == nil {
		r.Fail("format %d of a line is unknown", format)
	}
	l := &line{id: id, branch: readText(r)}
	l.deleted.Store(deleted)
	n := r.Count(3)
	if n > maxLineage {
		r.Fail("lineage of %d forks", n)
	}
	for i := 0; i < n && r.Err() == nil; i++ {
		l.lineage = append(l.lineage, fork{r.Uvarint32(), r.Uvarint(), r.Uvarint()})
	}
	if format == lineFormatOrigin {
		o := &origin{fork{r.Uvarint32(), r.Uvarint(), r.Uvarint()}, r.Uvarint()}
		if r.Err() == nil && (o.version <= l.forkVersion() || o.copy <= o.version) {
			r.Fail("copy %d of version %d on a line that begins at %d", o.copy, o.version, l.forkVersion())
		}
		l.origin = o
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("line %d: %w", id, err)
	}
	if l.branch == "" || id == 0 {
		return nil, corrupt("line %d has no branch", id)
	}
	if deleted && id == mainLine {
		return nil, corrupt("branch %s is deleted", MainBranch)
	}
	return l, nil
}

// branchValue is a branch row: line 4, head version 8, big-endian.
func branchValue(line uint32, head Version) []byte {
	return appendBranchValue(make([]byte, 0, branchValueLen), line, head)
}

const branchValueLen = 12

func appendBranchValue(dst []byte, line uint32, head Version) []byte {
	return be.AppendUint64(be.AppendUint32(dst, line), head)
}

func decodeBranch(b []byte) (line uint32, head Version, err error) {
	if len(b) != branchValueLen {
		return 0, 0, corrupt("branch row of %d bytes", len(b))
	}
	return be.Uint32(b), be.Uint64(b[4:]), nil
}
