package pager

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// Open opens the page file, or creates it where there is none (unless
// ReadOnly). The file is locked until Close, also against this process.
//
// Errors: dberr.ErrNotDatabase, dberr.ErrTooNew, *dberr.CorruptError,
// *dberr.LockedError, dberr.ErrDiskFull, dberr.ErrInvalid for bad options, and
// what the file system says about a missing file, a directory or permission.
func Open(ctx context.Context, o Options) (*Pager, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o, err := o.checked()
	if err != nil {
		return nil, err
	}
	if o.Path, err = vfs.Resolve(o.FS, o.Path); err != nil {
		return nil, err
	}
	if o.Inspect {
		return openInspect(ctx, o)
	}
	file, err := openOrCreate(o)
	if err != nil {
		return nil, err
	}
	if o.ReadOnly { // locked, so nobody cuts it off
		file = vfs.Mapped(o.FS, file, o.Path)
	}
	p, err := openFile(o, file)
	if err != nil {
		return nil, dberr.Join(err, file.Close())
	}
	if !o.ReadOnly {
		p.offer = openOffer(o, p.newest().databaseID, p.oldestRoot())
	}
	return p, nil
}

func (o Options) checked() (Options, error) {
	if o.FS == nil || o.Path == "" {
		return o, fmt.Errorf("%w: pager needs a file system and a path", dberr.ErrInvalid)
	}
	if o.PageSize == 0 {
		o.PageSize = DefaultPageSize
	}
	if !validPageSize(int64(o.PageSize)) {
		return o, fmt.Errorf("%w: page size %d is no power of two from %d to %d", dberr.ErrInvalid, o.PageSize, MinPageSize, MaxPageSize)
	}
	if o.CacheBytes <= 0 {
		o.CacheBytes = defaultCacheBytes
	}
	if o.BatchBytes <= 0 {
		o.BatchBytes = defaultBatchBytes
	}
	if o.MaxReaderAge == 0 {
		o.MaxReaderAge = defaultMaxReaderAge
	}
	return o, nil
}

// openOrCreate returns the locked file.
func openOrCreate(o Options) (vfs.File, error) {
	for range 3 {
		file, err := openLocked(o)
		if err == nil || o.ReadOnly || !errors.Is(err, fs.ErrNotExist) {
			return file, err
		}
		file, err = create(o)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return file, err
		}
	}
	return nil, fmt.Errorf("%s appears and disappears while it is opened", o.Path)
}

func openLocked(o Options) (vfs.File, error) {
	if info, err := o.FS.Stat(o.Path); err == nil && info.IsDir {
		return nil, fmt.Errorf("%w: %s is a directory", dberr.ErrNotDatabase, o.Path)
	}
	flag := vfs.ReadWrite
	if o.ReadOnly {
		flag = 0
	}
	file, err := o.FS.Open(o.Path, flag)
	if err != nil {
		return nil, err
	}
	if err := lock(o, file); err != nil {
		return nil, dberr.Join(err, file.Close())
	}
	// The name was looked up before the lock was there: the file may have been
	// removed since, and another made.
	same, err := file.SameFile(o.Path)
	if err == nil && !same {
		err = fmt.Errorf("%s: %w", o.Path, fs.ErrNotExist)
	}
	if err != nil {
		return nil, dberr.Join(err, file.Close())
	}
	return file, nil
}

// openFile reads the metas, chooses one and makes it safe to rest on.
func openFile(o Options, file vfs.File) (*Pager, error) {
	p := &Pager{fs: o.FS, file: file, path: o.Path, readOnly: o.ReadOnly, openedBytes: int(o.BatchBytes)}
	size, err := file.Size()
	if err != nil {
		return nil, err
	}
	chosen, err := p.chooseMeta(size)
	if err != nil {
		return nil, err
	}
	if !o.ReadOnly && chosen.generation <= firstGeneration {
		if err := settleName(o); err != nil {
			return nil, err
		}
	}
	if err := p.adopt(o, chosen, size); err != nil {
		return nil, err
	}
	if !o.ReadOnly && !p.settled() {
		if err := p.rewriteMeta(size); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// adopt makes the roots of m current.
func (p *Pager) adopt(o Options, m meta, size int64) error {
	p.pageSize = int(m.pageSize)
	p.size.Store(uint64(size) / uint64(p.pageSize))
	if p.size.Load() < m.pages {
		return p.corrupt(size, "file has %d bytes where its meta needs %d pages of %d", size, m.pages, p.pageSize)
	}
	p.cache = newPageCache(o.CacheBytes, p.pageSize)
	p.publish(&generation{
		number: m.rootGeneration, root: m.root, level: int(m.rootLevel),
		entries: m.entries, place: m.space, pages: m.pages,
	})
	return nil
}

// chooseMeta fills p.slots and returns the newest valid meta.
func (p *Pager) chooseMeta(size int64) (meta, error) {
	var states [2]slotState
	var whys [2]string
	for slot := range p.slots {
		b := make([]byte, metaSize)
		n, err := p.file.ReadAt(b, slotOffset(slot))
		if err != nil && !errors.Is(err, io.EOF) {
			return meta{}, fmt.Errorf("reading %s: %w", p.path, err)
		}
		var m meta
		m, states[slot], whys[slot] = decodeMeta(b[:n], slot)
		if states[slot] == slotValid {
			p.slots[slot] = m
		}
	}
	if states[0] == slotTooNew || states[1] == slotTooNew {
		return meta{}, fmt.Errorf("%w: %s", dberr.ErrTooNew, p.path)
	}
	for slot := range p.slots {
		if states[slot] != slotValid && p.damage == "" {
			p.damage = fmt.Sprintf("meta slot %d at byte %d: %s", slot, slotOffset(slot), whys[slot])
		}
	}
	if states[0] == slotValid && states[1] == slotValid {
		if err := p.compareMetas(); err != nil {
			return meta{}, err
		}
	}
	if m := p.newest(); m.generation != 0 {
		return *m, nil
	}
	if states[0] == slotForeign && states[1] == slotForeign {
		what := "no magic at its beginning"
		if size == 0 {
			what = "file is empty"
		}
		return meta{}, fmt.Errorf("%w: %s: %s", dberr.ErrNotDatabase, p.path, what)
	}
	return meta{}, p.corrupt(0, "both meta slots are damaged (%s; %s)", whys[0], whys[1])
}

// compareMetas refuses two valid metas that cannot belong to one file. An older
// one that is not the generation just before is left over from under a write
// that never reached the disk; it is no full root and counts as damaged.
func (p *Pager) compareMetas() error {
	a, b := &p.slots[0], &p.slots[1]
	if a.databaseID != b.databaseID || a.pageSize != b.pageSize {
		return p.corrupt(0, "the meta slots belong to different databases")
	}
	if a.generation > b.generation {
		a, b = b, a
	}
	if b.generation-a.generation != 1 {
		p.damage = fmt.Sprintf("meta slot %d at byte %d: generation %d beside %d",
			slotOf(a.generation), slotOffset(slotOf(a.generation)), a.generation, b.generation)
		*a = meta{}
	}
	return nil
}

// settled reports whether the file was closed cleanly as far as its metas tell:
// both are valid and say so.
func (p *Pager) settled() bool {
	for i := range p.slots {
		if p.slots[i].generation == 0 || !p.slots[i].clean {
			return false
		}
	}
	return true
}

// rewriteMeta is what an open does before anything rests on the chosen meta
// (invariant 6), unless both say clean: after a failed sync the system may
// show bytes, and a size, that never reached the disk, and syncing a new
// handle proves nothing. So the size is set again too.
//
// If both slots are valid the other one holds the durable generation before
// (invariant 1), and the chosen one is written again in its own. Should that
// be torn, the other one is a full root, whose log is still there. If the
// other slot reads as invalid, the slot that was read may be the only copy, so
// it is not touched first: the roots go to the other slot as the next
// generation, and when that is durable to their own slot as the one after. A
// clean meta beside an unclean one gets its twin (invariant 5).
func (p *Pager) rewriteMeta(size int64) error {
	if err := p.file.Truncate(size); err != nil {
		return diskFull(fmt.Errorf("setting the size of %s: %w", p.path, err))
	}
	m := *p.newest()
	other := &p.slots[slotOf(m.generation+1)]
	writes := []uint64{m.generation}
	if other.generation == 0 {
		writes = []uint64{m.generation + 1, m.generation + 2}
	} else if m.clean && !other.clean {
		writes = append(writes, m.generation+1)
	}
	for _, m.generation = range writes {
		if err := p.putMeta(m); err != nil {
			return err
		}
	}
	p.proven = true
	return nil
}

// putMeta writes m to its slot and makes it durable.
func (p *Pager) putMeta(m meta) error {
	slot := slotOf(m.generation)
	if _, err := p.file.WriteAt(m.encode(slot), slotOffset(slot)); err != nil {
		return diskFull(fmt.Errorf("writing meta slot %d of %s: %w", slot, p.path, err))
	}
	if err := p.syncData(); err != nil {
		return err
	}
	p.slots[slot] = m
	return nil
}

// MarkUnclean is the first write of a session: from here on a log is needed to
// open the file. Both slots are written (invariant 5), the newer roots of
// both are the same, and nothing happens if both are unclean already. What a
// log needs to exist must exist before: unclean without a log is an error at
// the next open.
func (p *Pager) MarkUnclean(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.writable(); err != nil {
		return err
	}
	for range 2 {
		if !p.slots[0].clean && !p.slots[1].clean {
			return nil
		}
		m := *p.newest()
		m.clean = false
		if err := p.writeMeta(m); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the use of the file. With trim it first gives back the end of the
// file that neither meta needs. It writes nothing else, and nothing at all
// after a failed sync. Open Views fail from here on. A second Close is nil.
func (p *Pager) Close(trim bool) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Swap(true) {
		return nil
	}
	var err error
	if trim && !p.readOnly && p.Poisoned() == nil {
		err = p.trim()
	}
	p.offer.close(p.Poisoned() == nil)
	if p.reader != nil {
		p.reader.close()
	}
	return dberr.Join(err, p.file.Close())
}

// trim cuts the file behind the last page that either meta, a reader of another
// process, or the log needs. Both metas are durable and valid below the cut
// before it happens, so there is no moment at which a meta refers to something
// behind the end. What the log of a file that is not clean names is known to
// the allocator, and to nobody as long as nothing was allocated: then all stays.
func (p *Pager) trim() error {
	if p.batch != nil || p.alloc == nil && !p.newest().clean {
		return nil
	}
	_, pages := p.offer.honour(p.oldestNeeded())
	end := max(p.slots[0].pages, p.slots[1].pages, pages)
	if !p.newest().clean {
		end = max(end, p.alloc.keptEnd())
	}
	if pages != 0 && p.alloc != nil { // a reader may use extents behind its root's pages
		end = max(end, p.alloc.neededEnd())
	}
	size, err := p.file.Size()
	if err != nil || uint64(size)/uint64(p.pageSize) <= end {
		return err
	}
	if err := p.file.Truncate(int64(end) * int64(p.pageSize)); err != nil {
		return fmt.Errorf("trimming %s: %w", p.path, err)
	}
	if err := p.file.Sync(); err != nil {
		return fmt.Errorf("syncing %s: %w", p.path, err)
	}
	p.size.Store(end)
	return nil
}
