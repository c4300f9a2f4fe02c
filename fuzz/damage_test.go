package fuzz

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path"

	"github.com/poddb/poddb/internal/vfs"
)

// original is a database that is damaged again and again.
type original struct {
	name   string
	mem    *vfs.MemFS
	bytes  disk
	older  disk // as it was some time before: where lost writes leave stale bytes
	m      *model
	closed bool
}

// disk is the bytes of every file of a database.
type disk map[string][]byte

func diskOf(fsys vfs.FS) (disk, error) {
	names := []string{worldPath}
	logs, err := fsys.List(worldPath + ".wal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, n := range logs {
		names = append(names, path.Join(worldPath+".wal", n))
	}
	d := disk{}
	for _, n := range names {
		f, err := fsys.Open(n, 0)
		if err != nil {
			return nil, err
		}
		size, err := f.Size()
		if err != nil {
			return nil, err
		}
		b := make([]byte, size)
		if n, err := f.ReadAt(b, 0); n != len(b) {
			return nil, err
		}
		f.Close()
		d[n] = b
	}
	return d, nil
}

// newOriginal runs a program whose end the kind says.
func newOriginal(kind, seed uint64) (*original, error) {
	mem := vfs.NewMem()
	w := newWorld(mem, seed)
	w.big = seed%9 == 7 // some MiB: reading all of it is slow
	o := &original{name: [...]string{"closed", "killed", "killed twice"}[kind], closed: kind == 0}
	err := w.open()
	for i := 0; err == nil && i < 34; i++ {
		switch {
		case kind == 0 || i < 20:
			err = w.step()
		case kind == 2 && i == 26: // from here on the log has several segments
			w.fs = mem.Restart()
			mem = w.fs.(*vfs.MemFS)
			killed := w.s
			err = w.open()
			_ = killed.Close()
		default:
			err = w.commit()
		}
		if err == nil && i == 25 {
			o.older, err = diskOf(mem)
		}
	}
	if err == nil && o.closed {
		err = w.close()
	}
	if err != nil {
		return nil, err
	}
	o.mem, o.m = mem.Crash(vfs.CrashKeepAll, 0), w.m
	if !o.closed {
		_ = w.close()
	}
	if o.bytes, err = diskOf(o.mem); err != nil {
		return nil, err
	}
	for name, b := range o.older {
		if name != worldPath && !bytes.HasPrefix(o.bytes[name], b[:min(512, len(b))]) {
			delete(o.older, name) // a log file of another header is another file: recovery replaced it
		}
	}
	return o, nil
}

// wound is one damaged place.
type wound struct {
	file  string
	what  string
	parts []part
	cut   int64 // the file ends here; -1: it does not
	small bool  // within one sector
}

type part struct {
	off   int
	bytes []byte
}

const pageBytes = 4096

// wounded draws a place and a kind of damage.
func (o *original) wounded(rng *rand.Rand) wound {
	names := sortedNames(o.bytes)
	name := names[rng.IntN(len(names))]
	b, w := o.bytes[name], wound{file: name, cut: -1}
	// Most of a log file is zeros written ahead; most damage goes where data are.
	end := len(b)
	if rng.IntN(8) > 0 {
		end = len(bytes.TrimRight(b, "\x00"))
	}
	if end == 0 {
		end = max(1, len(b))
	}
	lo := 0
	if name == worldPath && rng.IntN(6) == 0 { // the metas decide about everything
		lo = rng.IntN(2) * pageBytes
		end = min(len(b), lo+512)
	}
	at := func() int { return lo + rng.IntN(end-lo) }
	unit, unitName := 512, "sector"
	if rng.IntN(2) == 0 {
		unit, unitName = pageBytes, "page"
	}
	whole := func() int { return at() / unit * unit }
	cut := func(src []byte, off int) []byte { return bytes.Clone(src[min(off, len(src)):min(len(src), off+unit)]) }
	set := func(off int, to []byte) { w.parts = append(w.parts, part{off, to}) }
	switch rng.IntN(14) {
	case 0:
		w.cut = int64(at())
		w.what = fmt.Sprintf("cut to %d of %d", w.cut, len(b))
	case 1:
		off := whole()
		set(off, make([]byte, len(cut(b, off))))
		w.what, w.small = fmt.Sprintf("%s at %d zeroed", unitName, off), unit == 512
	case 2:
		from, to := whole(), whole()
		set(to, cut(b, from))
		w.what, w.small = fmt.Sprintf("%s at %d written to %d too", unitName, from, to), unit == 512
	case 3:
		from, to := whole(), whole()
		set(to, cut(b, from))
		set(from, cut(b, to))
		w.what = fmt.Sprintf("%ss at %d and %d swapped", unitName, from, to)
	case 4:
		off := whole()
		set(off, cut(o.older[name], off))
		w.what, w.small = fmt.Sprintf("%s at %d lost a write", unitName, off), unit == 512
	case 5:
		off := at()
		junk := make([]byte, min(1+rng.IntN(64), len(b)-off))
		for i := range junk {
			junk[i] = byte(rng.Uint32())
		}
		set(off, junk)
		w.what = fmt.Sprintf("%d bytes of garbage at %d", len(junk), off)
	case 6:
		off := at()
		for range 2 + rng.IntN(7) {
			off = min(len(b)-1, off+rng.IntN(64))
			set(off, []byte{b[off] ^ 1<<rng.IntN(8)})
		}
		w.what = fmt.Sprintf("%d bits flipped up to %d", len(w.parts), off)
	default:
		if off := at(); off < len(b) {
			bit := rng.IntN(8)
			set(off, []byte{b[off] ^ 1<<bit})
			w.what, w.small = fmt.Sprintf("bit %d of byte %d flipped", bit, off), true
		}
	}
	return w
}

// copyWith returns a copy of the database with the damage done.
func (o *original) copyWith(w wound) (*vfs.MemFS, error) {
	m := o.mem.Crash(vfs.CrashKeepAll, 0)
	f, err := m.Open(w.file, vfs.ReadWrite)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := len(o.bytes[w.file])
	for _, p := range w.parts {
		if p.off < size {
			if _, err := f.WriteAt(p.bytes[:min(len(p.bytes), size-p.off)], int64(p.off)); err != nil {
				return nil, err
			}
		}
	}
	if w.cut >= 0 {
		err = f.Truncate(w.cut)
	}
	return m, err
}
