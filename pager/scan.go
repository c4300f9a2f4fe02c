package pager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Scan reads a page file that may be damaged anywhere, for a salvage. It never
// writes, and it takes damage and read errors as facts to go around, not as
// reasons to stop. It trusts what a checksum covers, and nothing else:
//
//   - a root that a valid meta slot names, and below it every page whose checksum
//     its parent has: what Walk gives is the tree of that root, minus the key
//     ranges that Walk reports as lost;
//   - any page of the file whose own checksum fits its place (it is seeded with the
//     page number): what Leaves gives was a leaf of some root, or of one that
//     was never finished. It may be stale. Its stamp says how new it is.
//
// It knows nothing of the free space: a damaged map costs nothing here.
type Scan struct {
	file     vfs.File
	path     string
	size     int64
	pageSize int
	roots    []ScanRoot
	reached  pageSet // pages of the last Walk
	damage   []string
	skipped  map[int64]bool // places, in steps of the smallest page, that cannot be read
}

// ScanRoot is a root that a meta slot names.
type ScanRoot struct {
	Generation uint64
	LogPos     uint64 // what the tree holds: the log up to here
	Clean      bool   // no log is needed
	DatabaseID [16]byte

	root  ref
	level int
}

// ScanGap is a key range whose rows a walk could not reach.
type ScanGap struct {
	Lower, Upper []byte // [Lower, Upper); Upper nil = no bound
	Page         uint64
	Why          string
}

// ScanLeaf is a leaf page. It is valid during the call that gets it.
type ScanLeaf struct {
	Page       uint64
	Generation uint64 // higher = written by a later checkpoint; low 48 bits
	page       *page
	buf        []byte
}

// Len returns the number of rows, at least 1.
func (l *ScanLeaf) Len() int { return l.page.count }

// Row returns a row. The key is valid until the next call.
func (l *ScanLeaf) Row(i int) (key, val []byte) {
	l.buf = l.page.appendKey(l.buf[:0], i)
	return l.buf, l.page.value(i)
}

// OpenScan opens a file for scanning and takes its lock: a *dberr.LockedError if
// somebody has it open. Damage is no error. A file without any page that can be
// recognised has page size 0; one of a newer format is dberr.ErrTooNew.
func OpenScan(ctx context.Context, fs vfs.FS, path string) (*Scan, error) {
	file, err := fs.Open(path, 0)
	if err != nil {
		return nil, err
	}
	s := &Scan{file: file, path: path, skipped: map[int64]bool{}}
	if err := s.open(ctx, fs); err != nil {
		return nil, dberr.Join(err, file.Close())
	}
	return s, nil
}

func (s *Scan) open(ctx context.Context, fs vfs.FS) (err error) {
	if err := lock(Options{FS: fs, Path: s.path}, s.file); errors.Is(err, dberr.ErrLocked) {
		return err
	}
	if s.size, err = s.file.Size(); err != nil {
		return err
	}
	newest := meta{}
	for slot := range 2 {
		b := make([]byte, metaSize)
		n := s.fill(b, slotOffset(slot))
		m, state, why := decodeMeta(b[:n], slot)
		switch state {
		case slotTooNew:
			return fmt.Errorf("%w: %s", dberr.ErrTooNew, s.path)
		case slotValid:
			s.addRoot(m)
			if m.generation > newest.generation {
				newest = m
			}
		default:
			s.damage = append(s.damage, fmt.Sprintf("meta slot %d at byte %d: %s", slot, slotOffset(slot), why))
		}
	}
	if s.pageSize = int(newest.pageSize); s.pageSize == 0 {
		s.pageSize, err = s.guessPageSize(ctx)
	}
	return err
}

// addRoot keeps the roots newest first.
func (s *Scan) addRoot(m meta) {
	r := ScanRoot{
		Generation: m.generation, LogPos: m.logPos, Clean: m.clean, DatabaseID: m.databaseID,
		root: m.root, level: int(m.rootLevel),
	}
	s.roots = append(s.roots, r)
	if n := len(s.roots); n > 1 && s.roots[0].Generation < r.Generation {
		s.roots[0], s.roots[1] = s.roots[1], s.roots[0]
	}
}

// Close ends the scan and gives up the lock.
func (s *Scan) Close() error { return s.file.Close() }

// Roots returns the roots that the valid meta slots name, newest first.
func (s *Scan) Roots() []ScanRoot { return s.roots }

// PageSize returns the page size, found by trying if no meta slot tells it; 0 if
// the file has no page of any size.
func (s *Scan) PageSize() int { return s.pageSize }

// Size returns the file's size in bytes.
func (s *Scan) Size() int64 { return s.size }

// Damage says what is wrong with the meta slots.
func (s *Scan) Damage() []string { return s.damage }

// Unreadable returns how many bytes the system could not read, rounded up to
// the smallest page size.
func (s *Scan) Unreadable() int64 { return int64(len(s.skipped)) * MinPageSize }

// fill reads as much of b at off as the file has. What the system cannot read
// stays zero: no checksum fits it.
func (s *Scan) fill(b []byte, off int64) int {
	clear(b)
	if off < 0 || off >= s.size {
		return 0
	}
	b = b[:min(int64(len(b)), s.size-off)]
	if n, err := s.file.ReadAt(b, off); n == len(b) || errors.Is(err, io.EOF) {
		return len(b)
	}
	for at := 0; at < len(b); {
		n := int(min(int64(len(b)-at), MinPageSize-(off+int64(at))%MinPageSize))
		part := b[at : at+n]
		if got, err := s.file.ReadAt(part, off+int64(at)); got < n && !errors.Is(err, io.EOF) {
			clear(part)
			s.skipped[(off+int64(at))/MinPageSize] = true
		}
		at += n
	}
	return len(b)
}

// Bytes returns n bytes at a place, or false if the file does not have them.
func (s *Scan) Bytes(off uint64, n uint32) ([]byte, bool) {
	if off > math.MaxInt64 || int64(off) > s.size || int64(n) > s.size-int64(off) {
		return nil, false
	}
	b := make([]byte, n)
	return b, s.fill(b, int64(off)) == len(b)
}

const scanChunk = 1 << 20 // a multiple of every page size

// validPage parses a page image if its checksum fits its place.
func validPage(b []byte, no uint64) *page {
	crc := uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16 | uint32(b[3])<<24
	if b[4] != kindLeaf && b[4] != kindBranch || crc != seededSum(no, b[4:]) {
		return nil
	}
	pg, err := parsePage(b)
	if err != nil {
		return nil
	}
	pg.ref = ref{page: no, crc: crc}
	return pg
}

// guessPageSize returns the size of which the file has most valid pages.
func (s *Scan) guessPageSize(ctx context.Context) (int, error) {
	counts := map[int]int{}
	b := make([]byte, scanChunk)
	for off := int64(0); off < s.size; off += scanChunk {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		n := s.fill(b, off)
		for size := MinPageSize; size <= MaxPageSize; size *= 2 {
			for at := 0; at+size <= n; at += size {
				if validPage(b[at:at+size], uint64(off+int64(at))/uint64(size)) != nil {
					counts[size]++
				}
			}
		}
	}
	best := 0
	for size := MinPageSize; size <= MaxPageSize; size *= 2 {
		if counts[size] > counts[best] {
			best = size
		}
	}
	return best, nil
}

// Walk gives the leaves of a root in key order, and the key ranges below pages
// that are damaged. It returns the first error of leaf, or the context's.
func (s *Scan) Walk(ctx context.Context, r ScanRoot, leaf func(*ScanLeaf) error, lost func(ScanGap)) error {
	s.reached = pageSet{}
	if r.root.page == 0 {
		return nil
	}
	w := &scanWalk{s: s, ctx: ctx, leaf: leaf, lost: lost}
	return w.walk(r.root, r.level, nil, nil)
}

type scanWalk struct {
	s    *Scan
	ctx  context.Context
	leaf func(*ScanLeaf) error
	lost func(ScanGap)
}

// walk ends even if pages lie, because levels descend and no page is entered
// twice.
func (w *scanWalk) walk(r ref, level int, lower, upper []byte) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	pg, n, why := w.s.page(r, level, lower, upper)
	if why != "" {
		w.lost(ScanGap{Lower: bytes.Clone(lower), Upper: bytes.Clone(upper), Page: r.page, Why: why})
		return nil
	}
	w.s.reached.add(r.page, 1)
	if level == 0 {
		return w.leaf(&ScanLeaf{Page: r.page, Generation: stamped(pg.buf), page: pg})
	}
	for i := range n.kids {
		to := upper
		if i+1 < len(n.keys) {
			to = n.keys[i+1]
		}
		if err := w.walk(n.kids[i].ref, level-1, n.keys[i], to); err != nil {
			return err
		}
	}
	return nil
}

// page reads and checks a page of a walk; why says what is wrong with it.
func (s *Scan) page(r ref, level int, lower, upper []byte) (pg *page, n *node, why string) {
	ps := uint64(s.pageSize)
	if r.page < firstPage(s.pageSize) || r.page >= uint64(s.size)/ps {
		return nil, nil, "page is outside the file"
	}
	if s.reached.has(r.page) {
		return nil, nil, "page is referred to twice"
	}
	b := make([]byte, ps)
	s.fill(b, int64(r.page*ps))
	if pg = validPage(b, r.page); pg == nil || pg.crc != r.crc {
		return nil, nil, "checksum does not fit"
	}
	if int(pg.level) != level {
		return nil, nil, fmt.Sprintf("level %d where %d is expected", pg.level, level)
	}
	n, err := decodeNode(pg, lower, upper)
	if err != nil {
		return nil, nil, err.Error()
	}
	return pg, n, ""
}

// Leaves gives every valid leaf of the file that the last Walk did not reach, in
// file order, whatever its age.
func (s *Scan) Leaves(ctx context.Context, leaf func(*ScanLeaf) error) error {
	if s.pageSize == 0 {
		return nil
	}
	ps := s.pageSize
	b := make([]byte, scanChunk)
	for off := int64(0); off < s.size; off += scanChunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := s.fill(b, off)
		for at := 0; at+ps <= n; at += ps {
			no := uint64(off+int64(at)) / uint64(ps)
			if no < firstPage(ps) || b[at+4] != kindLeaf || s.reached.has(no) {
				continue
			}
			pg := validPage(b[at:at+ps], no)
			if pg == nil {
				continue
			}
			if _, err := decodeNode(pg, nil, nil); err != nil {
				continue // keys out of order
			}
			if err := leaf(&ScanLeaf{Page: no, Generation: stamped(pg.buf), page: pg}); err != nil {
				return err
			}
		}
	}
	return nil
}

// Find calls fn for each place where pattern stands, ascending. fn returns the
// place to go on from, which must be higher.
func (s *Scan) Find(ctx context.Context, pattern []byte, fn func(off int64) (next int64, err error)) error {
	b := make([]byte, scanChunk+len(pattern)-1)
	start, n := int64(0), 0 // b[:n] is the file from start on
	for off := int64(0); off < s.size; {
		if off < start || off+int64(len(pattern)) > start+int64(n) {
			if err := ctx.Err(); err != nil {
				return err
			}
			start, n = off, s.fill(b, off)
		}
		i := bytes.Index(b[off-start:n], pattern)
		if i < 0 {
			if n < len(b) {
				return nil
			}
			off = max(off+1, start+int64(n-len(pattern)+1))
			continue
		}
		at := off + int64(i)
		next, err := fn(at)
		if err != nil {
			return err
		}
		off = max(next, at+1)
	}
	return nil
}
