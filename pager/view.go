package pager

import (
	"bytes"
	"fmt"

	"github.com/poddb/poddb/internal/dberr"
)

// View reads one root. It pins the pages of that root until it is closed, so
// hold it for an operation, not for a session. A View may be used by several
// goroutines; Close it once they are done.
type View struct {
	p *Pager
	g *generation
}

// View pins the current root.
//
// The count is raised before the root is looked at again: if it is still
// current then, a batch that begins later sees the count, because it reads
// counts only after the root stopped being current. If not, the count may have
// come too late, and we take the next root.
func (p *Pager) View() *View {
	v := &View{}
	p.Pin(v)
	return v
}

// Pin is View into memory of the caller: v must not be pinned.
func (p *Pager) Pin(v *View) {
	for {
		g := p.current.Load()
		g.refs.Add(1)
		if p.current.Load() == g {
			v.p, v.g = p, g
			return
		}
		g.refs.Add(-1)
	}
}

// Close unpins. A second Close does nothing.
func (v *View) Close() {
	if v.g != nil {
		v.g.refs.Add(-1)
		v.g = nil
	}
}

// publish makes g current; p.mu is held, or nobody else knows p.
func (p *Pager) publish(g *generation) {
	p.live = append(p.live, g)
	p.current.Store(g)
}

// oldestPinned drops roots that no View holds, and returns the oldest root
// generation that is held or current; p.mu is held.
func (p *Pager) oldestPinned() uint64 {
	current := p.current.Load()
	oldest := current.number
	kept := p.live[:0]
	for _, g := range p.live {
		if g == current || g.refs.Load() != 0 {
			kept = append(kept, g)
			oldest = min(oldest, g.number)
		}
	}
	clear(p.live[len(kept):])
	p.live = kept
	return oldest
}

// oldestNeeded is the oldest root generation that this process needs: those of
// the two metas, and what Views hold; p.mu is held.
func (p *Pager) oldestNeeded() uint64 { return min(p.oldestPinned(), p.oldestRoot()) }

// oldestRoot is the lower root generation of the two metas.
func (p *Pager) oldestRoot() uint64 {
	oldest := p.newest().rootGeneration
	for i := range p.slots {
		if p.slots[i].generation != 0 {
			oldest = min(oldest, p.slots[i].rootGeneration)
		}
	}
	return oldest
}

func (v *View) usable() error {
	if v.g == nil || v.p.closed.Load() {
		return dberr.ErrClosed
	}
	return nil
}

// Get returns the value of key. The value may share memory with the page cache:
// it stays valid, and must not be changed.
func (v *View) Get(key []byte) (val []byte, ok bool, err error) {
	if err := v.usable(); err != nil {
		return nil, false, err
	}
	if v.g.root.page == 0 {
		return nil, false, nil
	}
	_, val, ok, err = v.lookup(nil, key, true)
	return val, ok, err
}

// Ceiling returns the first key ≥ key, appended to dst, and its value; false if there is
// none. It is Seek for those who do not go on. The value is as that of Get.
func (v *View) Ceiling(dst, key []byte) (found, val []byte, ok bool, err error) {
	if err := v.usable(); err != nil {
		return nil, nil, false, err
	}
	if v.g.root.page == 0 {
		return nil, nil, false, nil
	}
	if found, val, ok, err = v.lookup(dst, key, false); ok || err != nil {
		return found, val, ok, err
	}
	c := v.Seek(bytes.Clone(key)) // it is on a later leaf
	if !c.Valid() {
		return nil, nil, false, c.Err()
	}
	return append(dst, c.Key()...), c.Value(), true, nil
}

// ReadRecord returns a record's bytes, checked, in fresh memory.
func (v *View) ReadRecord(pl Place) ([]byte, error) {
	return v.ReadRecordInto(nil, pl)
}

// ReadRecordInto is ReadRecord into the memory of dst, whose contents are lost, if the
// record fits there.
func (v *View) ReadRecordInto(dst []byte, pl Place) ([]byte, error) {
	if err := v.usable(); err != nil {
		return nil, err
	}
	return v.p.readRecord(dst, pl)
}

func (p *Pager) readRecord(dst []byte, pl Place) ([]byte, error) {
	b, err := p.readRecordAlone(dst, pl)
	if err = p.judge(err); err != nil {
		return nil, err
	}
	return b, nil
}

func (p *Pager) readRecordAlone(dst []byte, pl Place) ([]byte, error) {
	if pl.Len == 0 {
		if pl.CRC != 0 {
			return nil, p.corrupt(int64(pl.Off&(maxFileBytes-1)), "empty record with checksum %08x", pl.CRC)
		}
		return nil, nil
	}
	if !p.inFile(pl) {
		return nil, p.corrupt(-1, "record place %s is outside the file of %d pages", pl, p.size.Load())
	}
	b := dst[:0]
	if uint64(cap(b)) < uint64(pl.Len) {
		b = make([]byte, pl.Len)
	}
	b = b[:pl.Len]
	if err := p.read(b, int64(pl.Off)); err != nil {
		return nil, err
	}
	if got := sum(b); got != pl.CRC {
		return nil, p.corrupt(int64(pl.Off), "record of %d bytes has checksum %08x, its index entry wants %08x", pl.Len, got, pl.CRC)
	}
	return b, nil
}

// inFile reports whether a place lies in the file. The file of an inspector may
// have grown: records that the log names can lie behind what its root knew.
func (p *Pager) inFile(pl Place) bool {
	ps := uint64(p.pageSize)
	first := firstPage(p.pageSize) * ps
	if pl.within(first, p.size.Load()*ps) {
		return true
	}
	if p.reader != nil {
		if size, err := p.file.Size(); err == nil {
			p.size.Store(max(p.size.Load(), uint64(size)/ps))
		}
	}
	return pl.within(first, p.size.Load()*ps)
}

// String is for messages.
func (pl Place) String() string { return fmt.Sprintf("%d+%d", pl.Off, pl.Len) }
