package pager

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"github.com/RoaringBitmap/roaring/v2"
	"github.com/poddb/poddb/internal/vfs"
)

// FuzzPage: whatever a page holds, reading it is an error or works within its
// bounds.
func FuzzPage(f *testing.F) {
	leaf := &node{}
	for i := range 20 {
		leaf.insertLeaf(i, []byte{'k', byte(i)}, []byte("value"))
	}
	f.Add(leaf.encode(4096)[:200])
	branch := &node{level: 1}
	for i := range 20 {
		branch.insertKid(i, []byte{'k', byte(i)}, kid{ref: ref{page: uint64(i)}})
	}
	f.Add(branch.encode(4096)[:500])
	f.Fuzz(func(t *testing.T, b []byte) {
		pg, err := parsePage(b)
		if err != nil {
			return
		}
		var key []byte
		for i := range pg.count {
			key = pg.appendKey(key[:0], i)
			pg.search(key)
			if pg.kind == kindLeaf {
				pg.value(i)
			} else {
				pg.child(i)
				pg.route(key)
			}
		}
		n, err := decodeNode(pg, nil, nil)
		if err == nil && n.size() <= 4096 {
			again, err := parsePage(n.encode(4096))
			if err != nil || again.count != pg.count {
				t.Fatalf("re-encoded page: %v", err)
			}
		}
	})
}

// FuzzSpace: frames and directories from anywhere.
func FuzzSpace(f *testing.F) {
	s := &space{first: 2}
	c := s.newChunk(0)
	c.free.RemoveRange(0, 100)
	c.rec.AddRange(10, 20)
	c.setDead(12, 77)
	f.Add(c.appendFrame(nil))
	s.chunks = []*chunk{{place: Place{Off: 4096, Len: 100, CRC: 7}}}
	f.Add(s.appendDirectory(nil, 5, pageSet{0: roaring.BitmapOf(3, 4)}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := s.decodeFrame(b, 0, 4096); err == nil {
			again, err := s.decodeFrame(c.appendFrame(nil), 0, 4096)
			if err != nil || !again.free.Equals(c.free) || !again.rec.Equals(c.rec) {
				t.Fatalf("re-encoded frame: %v", err)
			}
		}
		_, _, _ = decodeDirectory(b, 5, 1<<20, 2)
	})
}

// FuzzOpenMutated changes bytes of a file. With fix set, the checksum of the
// page or meta slot that was hit is made right again, and those of the metas
// for a root page, so that what lies behind the checksums is reached too.
func FuzzOpenMutated(f *testing.F) {
	base := vfs.NewMem()
	must(f, base.MkdirAll("/db"))
	must(f, base.SyncDir("/"))
	closedFile(f, base, 4096, true)
	info, err := base.Stat(testPath)
	must(f, err)
	f.Add(uint64(20), []byte{9}, true)
	f.Add(uint64(100), []byte{1, 2, 3}, true)
	f.Add(uint64(9000), []byte{255, 255}, false)
	f.Add(uint64(30000), []byte{0, 255}, true)
	f.Fuzz(func(t *testing.T, at uint64, change []byte, fix bool) {
		image := base.Crash(vfs.CrashKeepAll, 1)
		file, err := image.Open(testPath, vfs.ReadWrite)
		must(t, err)
		off := int64(at % uint64(info.Size))
		b := make([]byte, min(len(change), int(info.Size-off)))
		_, err = file.ReadAt(b, off)
		must(t, err)
		for i := range b {
			b[i] ^= change[i]
		}
		_, err = file.WriteAt(b, off)
		must(t, err)
		if fix {
			reseal(t, file, off)
		}
		file.Close()
		useAll(t, image)
	})
}

// reseal makes the checksums around off right.
func reseal(t *testing.T, file vfs.File, off int64) {
	if off >= metaArea {
		no := off / 4096
		b := make([]byte, 4096)
		_, err := file.ReadAt(b, no*4096)
		must(t, err)
		r := seal(b, uint64(no))
		_, err = file.WriteAt(b, no*4096)
		must(t, err)
		resealMetas(t, file, func(m []byte) {
			if binary.LittleEndian.Uint64(m[88:]) == uint64(no) {
				binary.LittleEndian.PutUint32(m[96:], r.crc)
			}
			if at, n := binary.LittleEndian.Uint64(m[120:]), binary.LittleEndian.Uint32(m[128:]); at <= uint64(off) && uint64(off) < at+uint64(n) && n < 1<<20 {
				b := make([]byte, n)
				if _, err := file.ReadAt(b, int64(at)); err == nil {
					binary.LittleEndian.PutUint32(m[100:], sum(b))
				}
			}
		})
		return
	}
	resealMetas(t, file, func([]byte) {})
}

func resealMetas(t *testing.T, file vfs.File, change func([]byte)) {
	for slot := range 2 {
		m := make([]byte, metaSize)
		_, err := file.ReadAt(m, slotOffset(slot))
		must(t, err)
		change(m)
		binary.LittleEndian.PutUint32(m[metaSumAt:], seededSum(uint64(slot), m[:metaSumAt]))
		_, err = file.WriteAt(m, slotOffset(slot))
		must(t, err)
	}
}

// useAll uses every way into the file; only panics and hangs are failures.
func useAll(t *testing.T, image vfs.FS) {
	p, err := Open(context.Background(), testOptions(image, 4096))
	if err != nil {
		if !typed(err) {
			t.Fatalf("untyped: %v", err)
		}
		return
	}
	defer p.Close(true)
	v := p.View()
	defer v.Close()
	steps := 0
	for c := v.Seek(nil); c.Valid() && steps < 10000; c.Next() {
		_ = append(bytes.Clone(c.Key()), c.Value()...)
		steps++
	}
	for c := v.SeekBefore([]byte("k00000100")); c.Valid() && steps < 20000; c.Prev() {
		steps++
	}
	_, _ = p.Check(context.Background(), nil)
	b, err := p.Begin()
	if err != nil {
		return
	}
	for i := range 30 {
		if b.Put([]byte{'k', byte(i * 8)}, []byte("x")) != nil || b.Delete([]byte{byte(i * 8)}) != nil {
			break
		}
		if pl, err := b.Record(make([]byte, 300)); err == nil {
			_ = b.FreeRecord(pl)
		}
	}
	_ = b.Commit(context.Background(), 99, false)
	b.Abort()
}
