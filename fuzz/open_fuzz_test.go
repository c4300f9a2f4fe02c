package fuzz

import (
	"context"
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// FuzzWholeFile opens any bytes as a database file, and as the log segment
// beside a real one: a documented error, or a database that Verify and every
// read get through.
func FuzzWholeFile(f *testing.F) {
	killed, err := newOriginal(1, 1)
	if err != nil {
		f.Fatal(err)
	}
	segment := ""
	for name := range killed.bytes {
		if name != worldPath {
			segment = name
		}
	}
	for name, b := range killed.bytes {
		f.Add(b[:min(len(b), 64<<10)], name != worldPath)
	}
	f.Add([]byte("not a database"), false)
	f.Fuzz(func(t *testing.T, b []byte, log bool) {
		m, name := vfs.NewMem(), worldPath
		if log {
			m, name = killed.mem.Crash(vfs.CrashKeepAll, 0), segment
			if err := m.Remove(segment); err != nil {
				t.Fatal(err)
			}
		}
		file, err := m.Open(name, vfs.ReadWrite|vfs.Create)
		if err == nil {
			_, err = file.WriteAt(b, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		file.Close()
		if err := readAnything(m); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzDamagedFile changes bytes of a closed or killed database at one place, as
// TestBitflip does, and compares with the model.
func FuzzDamagedFile(f *testing.F) {
	var originals []*original
	for kind := range uint64(3) {
		o, err := newOriginal(kind, 1)
		if err != nil {
			f.Fatal(err)
		}
		originals = append(originals, o)
	}
	f.Add(byte(0), uint32(0), []byte{1})
	f.Add(byte(1), uint32(4096), []byte{0xff, 0xff})
	f.Add(byte(5), uint32(64), []byte{0, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, which byte, at uint32, change []byte) {
		o := originals[int(which)%len(originals)]
		names := sortedNames(o.bytes)
		w := wound{file: names[int(which)/len(originals)%len(names)], cut: -1}
		b := o.bytes[w.file]
		off := int(at) % len(b)
		part := part{off: off, bytes: append([]byte(nil), b[off:min(len(b), off+min(len(change), pageBytes))]...)}
		for i := range part.bytes {
			part.bytes[i] ^= change[i]
		}
		w.parts = append(w.parts, part)
		m, err := o.copyWith(w)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.judge(m, 1); err != nil {
			t.Fatal(err)
		}
	})
}

// readAnything opens a database of which nothing is known and reads all of it.
func readAnything(m *vfs.MemFS) error {
	ctx := context.Background()
	s, err := mvcc.Open(ctx, newWorldOptions(m, 1))
	if err != nil {
		return mustBeTyped(err)
	}
	defer s.Close()
	if _, err := s.Verify(ctx, mvcc.VerifyOptions{Deep: true}); err != nil {
		return mustBeTyped(err)
	}
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return nil // any branches may be there
	}
	for v := range min(head, 100) + 1 {
		sn, err := s.At(ctx, v)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue
		}
		if err != nil {
			if err := mustBeTyped(err); err != nil {
				return err
			}
			continue
		}
		for name, err := range sn.Names(ctx, "") {
			if err == nil {
				_, err = sn.Root(ctx, name)
			}
			if err := mustBeTyped(err); err != nil {
				return err
			}
		}
		sn.Close()
	}
	return nil
}
