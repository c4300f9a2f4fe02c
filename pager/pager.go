// Package pager keeps the page file: fixed-size checked pages, a copy-on-write
// B+tree of keys and values, records at byte offsets, and the free space.
//
// Read meta.go for the roots and batch.go for the argument why a checkpoint is
// safe; then page.go (tree pages), space.go and alloc.go (free space), record.go,
// extent.go (records outside a batch), reserve.go (full disks), compact.go (files
// that shrink).
//
// Definitions. A generation is one write of a meta slot; generation g goes to
// slot g mod 2. The root set T(g) is what meta g needs: tree pages, pages with
// live record bytes, the space directory and its frames. Everything else is
// free in g.
//
// Invariants:
//
//  1. Meta g+1 is written only when meta g is durable in the other slot. So
//     at most the newest meta is in doubt.
//  2. No page of T(g) or T(g-1) is written while g is the newest meta and g-1
//     the older one: either meta is a full root.
//  3. No page is written that an open View can reach.
//  4. What a meta refers to was synced before the meta was written.
//  5. While a session writes, no slot reads as closed cleanly; after a clean
//     commit both do. So the flag can be believed whichever meta survives.
//  6. After a failed sync, or a meta write with unknown outcome, nothing is
//     written any more (poison). An unclean open writes the chosen meta again
//     before anything rests on it.
package pager

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Limits.
const (
	MinPageSize     = 4096
	MaxPageSize     = 1 << 16
	DefaultPageSize = 8192
	MaxKey          = 1300 // bytes
	// The longest value is a quarter of the page size.
)

const (
	defaultCacheBytes = 32 << 20
	defaultBatchBytes = 32 << 20
)

// Options configure Open.
type Options struct {
	FS         vfs.FS
	Path       string
	PageSize   int   // of a new file, bytes: a power of two from 4096 to 65536; 0 = 8192
	CacheBytes int64 // page cache; 0 = 32 MiB
	BatchBytes int64 // pages that a batch keeps in memory, about; 0 = 32 MiB
	ReadOnly   bool  // never write; the file must exist
	// Inspect reads the file while another process may write it, in a reader
	// slot of the lock file (slot.go). The database file is never written, nor
	// locked. What is read is one state until Close.
	Inspect bool
	// MaxReaderAge is how long a writer keeps the pages of a reader of another
	// process; 0 = one hour. After that the reader gets dberr.ErrSnapshotTooOld.
	MaxReaderAge time.Duration
	Rand         func() uint64 // database id of a new file; nil = from the system
	Now          func() time.Time
}

// Place says where a record lies.
type Place struct {
	Off uint64 // byte offset in the file
	Len uint32 // bytes
	CRC uint32 // CRC-32C of the bytes
}

// within reports whether the place lies in [lo, hi).
func (pl Place) within(lo, hi uint64) bool {
	return pl.Off >= lo && pl.Off <= hi && uint64(pl.Len) <= hi-pl.Off
}

// State describes the file as it was opened, or as the last commit left it.
type State struct {
	LogPos     uint64 // what the tree holds: the log up to here
	OldestLog  uint64 // log from here on is needed should the newer meta be lost
	Clean      bool   // closed cleanly: no log is needed
	DatabaseID [16]byte
	Generation uint64
	Created    time.Time
	PageSize   int
	Entries    uint64
	Damage     string // what Open found wrong with a meta slot and did without; "" = nothing
}

// Pager is an open page file. Views may be used concurrently with each other
// and with one Batch.
type Pager struct {
	fs          vfs.FS
	file        vfs.File
	path        string
	pageSize    int
	readOnly    bool
	proven      bool    // this process wrote the newest meta, or wrote it again
	openedBytes int     // of nodes that a batch keeps in memory, about
	offer       *offer  // slots for readers of other processes; nil = none
	reader      *reader // of Inspect, else nil
	cache       *pageCache
	passing     sync.Pool // of *passingLeaf
	current     atomic.Pointer[generation]
	size        atomic.Uint64 // pages that the file has room for
	closed      atomic.Bool
	loaded      atomic.Bool   // space is there
	treePages   atomic.Uint64 // of the newest root, 0 until loaded
	written     atomic.Uint64 // bytes that batches wrote

	writtenExtents atomic.Uint64 // bytes

	mu      sync.Mutex // guards what follows, and meta writes
	slots   [2]meta    // as last written or read; generation 0 = invalid
	damage  string
	space   *space     // of the newest root; nil until loaded
	alloc   *allocator // with space; may be used without the lock once it is there
	named   *Extent    // what the log named when it was recovered; nil = nothing
	pending []freedSet
	live    []*generation // those that Views may hold, current last
	batch   *Batch

	syncing sync.Mutex // one sync at a time (syncData)
	poison  atomic.Pointer[poison]
}

// poison is the first failure after which nothing is written any more.
type poison struct{ err error }

// generation is one root that Views can pin.
type generation struct {
	number  uint64 // the root generation
	root    ref
	level   int
	entries uint64
	space   *space // nil until loaded
	place   Place  // of the space directory
	pages   uint64
	refs    atomic.Int64
}

// freedSet is what the root of one generation freed: pages of the root before
// it that it does not need.
type freedSet struct {
	generation uint64
	pages      pageSet
}

// newest returns the meta with the highest generation.
func (p *Pager) newest() *meta {
	if p.slots[0].generation > p.slots[1].generation {
		return &p.slots[0]
	}
	return &p.slots[1]
}

// State describes the newest root. It may be called at any time.
func (p *Pager) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.newest()
	s := State{
		LogPos: m.logPos, OldestLog: m.logPos, Clean: m.clean, DatabaseID: m.databaseID,
		Generation: m.generation, Created: m.createdTime(), PageSize: p.pageSize,
		Entries: m.entries, Damage: p.damage,
	}
	for i := range p.slots {
		if p.slots[i].generation != 0 {
			s.OldestLog = min(s.OldestLog, p.slots[i].logPos)
		}
	}
	return s
}

// Stats are counters for people.
type Stats struct {
	Pages       uint64 // below the highest used one
	MetaPages   uint64
	TreePages   uint64
	RecordPages uint64
	FreePages   uint64
	Entries     uint64
	FileBytes   uint64
	Generation  uint64
	CacheHits   uint64
	CacheMisses uint64
	CacheBytes  uint64 // of memory that cached pages take
	Views       int    // open
	Readers     int    // of other processes, whose pages the last batch kept

	// Of the pages that the newest root does not use:
	HeldPages    uint64 // kept for the older meta, Views and readers
	ExtentPages  uint64 // of extents that are written or that the log names
	ReservePages uint64 // at the end of the file, for batches only
	FencePage    uint64 // the running batch takes pages below; 0 = no fence

	CheckpointBytesWritten uint64 // by batches, since Open
	ExtentBytesWritten     uint64
}

// Size is the length of the file in bytes. It is cheap.
func (p *Pager) Size() int64 { return int64(p.size.Load()) * int64(p.pageSize) }

// Stats may be called at any time. The first call reads the free space map; the
// page counts are zero if that is damaged, which Check reports.
func (p *Pager) Stats() Stats {
	g := p.current.Load()
	s := Stats{Pages: g.pages, Entries: g.entries, FileBytes: p.size.Load() * uint64(p.pageSize), Generation: g.number,
		MetaPages: firstPage(p.pageSize)}
	p.mu.Lock()
	if err := p.loadSpace(); err == nil {
		used, rec := p.space.counts()
		s.RecordPages = rec
		s.TreePages = used - rec - firstPage(p.pageSize)
		s.FreePages = g.pages - used
		for _, f := range p.pending {
			s.HeldPages += f.pages.count()
		}
		s.ExtentPages, s.ReservePages = p.alloc.promised()
	}
	if p.batch != nil {
		s.FencePage = p.batch.fence.Load()
	}
	for _, g := range p.live {
		s.Views += int(g.refs.Load())
	}
	if p.offer != nil {
		s.Readers = p.offer.taken
	}
	p.mu.Unlock()
	hits, misses, bytes := p.cache.stats()
	s.CacheHits, s.CacheMisses, s.CacheBytes = hits, misses, uint64(bytes)
	s.CheckpointBytesWritten, s.ExtentBytesWritten = p.written.Load(), p.writtenExtents.Load()
	return s
}

// SetCacheBytes sets how much memory the page cache takes, and drops what is too
// much now. It may be called at any time. Stats.CacheBytes counts the same way;
// pages that are in use stay in memory until they are not.
func (p *Pager) SetCacheBytes(bytes int64) { p.cache.resize(bytes) }

// Poisoned returns the first failure after which nothing is written any more,
// or nil.
func (p *Pager) Poisoned() error {
	if first := p.poison.Load(); first != nil {
		return first.err
	}
	return nil
}

// fail poisons, and returns the first failure.
func (p *Pager) fail(cause error) error {
	p.poison.CompareAndSwap(nil, &poison{fmt.Errorf("%w: %w", dberr.ErrPoisoned, cause)})
	return p.Poisoned()
}

// Present says whether the file still goes by the name that it was opened by. If
// it was removed, renamed or replaced, what lies beside that name may be somebody
// else's: the error matches fs.ErrNotExist.
func (p *Pager) Present() error {
	same, err := p.file.SameFile(p.path)
	if err == nil && !same {
		err = fmt.Errorf("%s was removed, renamed or replaced while it was open: %w", p.path, fs.ErrNotExist)
	}
	return err
}

// writable says whether the file may be written.
func (p *Pager) writable() error {
	switch {
	case p.closed.Load():
		return dberr.ErrClosed
	case p.readOnly:
		return dberr.ErrReadOnly
	}
	return p.Poisoned()
}

// syncData makes all writes that came back durable, or poisons. A system tells
// of a failed write to one sync only. So one runs at a time, and the next one
// begins when the poison is there to see: batch and extents share the file.
func (p *Pager) syncData() error {
	p.syncing.Lock()
	defer p.syncing.Unlock()
	if err := p.Poisoned(); err != nil {
		return err
	}
	if err := p.file.SyncData(); err != nil {
		return p.fail(fmt.Errorf("syncing %s: %w", p.path, err))
	}
	return nil
}

// corrupt names a place in the file.
func (p *Pager) corrupt(off int64, format string, args ...any) error {
	return dberr.Corrupt(p.path, off, format, args...)
}

func (p *Pager) pageOffset(no uint64) int64 { return int64(no) * int64(p.pageSize) }

// read fills b from off. What is not there is corrupt, what cannot be read is
// an I/O error.
func (p *Pager) read(b []byte, off int64) error {
	n, err := p.file.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if p.closed.Load() {
		return dberr.ErrClosed
	}
	if err == nil || errors.Is(err, io.EOF) {
		return p.corrupt(off, "file ends after %d of %d bytes", n, len(b))
	}
	return fmt.Errorf("reading %s at byte %d: %w", p.path, off, err)
}

// load returns the page that r names, checked, from the cache or the file.
// A parent says which level its child must have; -1 takes any.
func (p *Pager) load(r ref, level int) (*page, error) {
	pg := p.cache.get(r)
	if pg == nil {
		var err error
		pg, err = p.loadUncached(r)
		if err = p.judge(err); err != nil {
			return nil, err
		}
		p.cache.put(pg)
	}
	return pg, p.checkLevel(pg, level)
}

// loadBranch is load of the i-th child of a root, a branch. The root keeps it beside the cache: they are few.
func (p *Pager) loadBranch(root *page, i, level int) (*page, error) {
	kid := root.kids[i].Load()
	if kid != nil {
		return kid, nil
	}
	kid, err := p.load(root.child(i), level)
	if err == nil {
		root.kids[i].Store(kid)
	}
	return kid, err
}

func (p *Pager) checkLevel(pg *page, level int) error {
	if level >= 0 && int(pg.level) != level {
		return p.corrupt(p.pageOffset(pg.page), "page %d has level %d where its parent wants %d", pg.page, pg.level, level)
	}
	return nil
}

// loadQuietly is load for a batch, which does not put its leaves into the cache.
func (p *Pager) loadQuietly(r ref, level int) (*page, error) {
	pg := p.cache.peek(r)
	if pg == nil {
		var err error
		if pg, err = p.loadUncached(r); err != nil {
			return nil, err
		}
		if pg.level > 0 {
			p.cache.put(pg)
		}
	}
	return pg, p.checkLevel(pg, level)
}

func (p *Pager) loadUncached(r ref) (*page, error) {
	b := make([]byte, p.pageSize)
	if err := p.readPage(b, r); err != nil {
		return nil, err
	}
	pg, err := parsePage(b)
	if err != nil {
		return nil, p.misshapen(r, err)
	}
	pg.ref = r
	return pg, nil
}

// readPage reads the image of a page, and checks its checksum.
func (p *Pager) readPage(b []byte, r ref) error {
	if r.page < firstPage(p.pageSize) || r.page >= p.size.Load() {
		return p.corrupt(-1, "page %d is outside the file of %d pages", r.page, p.size.Load())
	}
	if err := p.read(b, p.pageOffset(r.page)); err != nil {
		return err
	}
	if got := seededSum(r.page, b[4:]); got != r.crc || got != uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24 {
		return p.corrupt(p.pageOffset(r.page), "page %d has checksum %08x, its parent wants %08x", r.page, got, r.crc)
	}
	return nil
}

// misshapen is the error of a page whose structure is wrong.
func (p *Pager) misshapen(r ref, err error) error {
	return p.corrupt(p.pageOffset(r.page), "page %d: %v", r.page, err)
}

// writeMeta writes m as the next generation and makes it durable; p.mu is
// held. Invariant 1: the newest meta is durable in the other slot, because
// this function syncs and a failed sync poisons. What an earlier process wrote
// last is not known to be durable even if both slots read clean, so the first
// write of a session writes it again; its twin is intact meanwhile.
func (p *Pager) writeMeta(m meta) error {
	if !p.proven {
		if err := p.putMeta(*p.newest()); err != nil {
			return p.fail(err)
		}
		p.proven = true
	}
	m.generation = p.newest().generation + 1
	slot := slotOf(m.generation)
	if _, err := p.file.WriteAt(m.encode(slot), slotOffset(slot)); err != nil {
		if !errors.Is(err, vfs.ErrDiskFull) {
			return p.fail(fmt.Errorf("writing meta slot %d of %s: %w", slot, p.path, err))
		}
		return p.restoreSlot(slot, err)
	}
	if err := p.syncData(); err != nil {
		return err
	}
	p.slots[slot] = m
	return nil
}

// restoreSlot takes back a meta write that found the disk full: the slot may
// hold anything, so the newest roots are written there as their own next
// generation. If that works everything is as before.
func (p *Pager) restoreSlot(slot int, cause error) error {
	m := *p.newest()
	m.generation++
	if _, err := p.file.WriteAt(m.encode(slot), slotOffset(slot)); err != nil {
		return p.fail(fmt.Errorf("writing meta slot %d of %s: %w", slot, p.path, err))
	}
	if err := p.syncData(); err != nil {
		return err
	}
	p.slots[slot] = m
	return diskFull(cause)
}

// diskFull makes a vfs error match dberr.ErrDiskFull too.
func diskFull(err error) error {
	if errors.Is(err, vfs.ErrDiskFull) && !errors.Is(err, dberr.ErrDiskFull) {
		return fmt.Errorf("%w: %w", dberr.ErrDiskFull, err)
	}
	return err
}
