package pager

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// setFlags sets a field of four bytes in the meta slots given.
func setFlags(t *testing.T, fs vfs.FS, at int, bits uint32, slots ...int) {
	t.Helper()
	f, err := fs.Open(testPath, vfs.ReadWrite)
	must(t, err)
	for _, slot := range slots {
		b := make([]byte, metaSize)
		_, err := f.ReadAt(b, slotOffset(slot))
		must(t, err)
		binary.LittleEndian.PutUint32(b[at:], bits)
		binary.LittleEndian.PutUint32(b[metaSumAt:], seededSum(uint64(slot), b[:metaSumAt]))
		_, err = f.WriteAt(b, slotOffset(slot))
		must(t, err)
	}
	must(t, f.Close())
}

func compatible(t *testing.T, b []byte) [2]uint32 {
	t.Helper()
	var flags [2]uint32
	for slot := range flags {
		m, state, why := decodeMeta(b[slotOffset(slot):], slot)
		if state != slotValid {
			t.Fatalf("slot %d: %s", slot, why)
		}
		flags[slot] = m.compatible
	}
	return flags
}

// Compatible flags that this version does not know are kept by whatever it
// writes: checkpoints, the marks of a session, mended slots, and backups.
func TestUnknownCompatibleFlagsAreKept(t *testing.T) {
	const bits = 0xA0000005
	mem := newFS(t)
	m := closedFile(t, mem, 4096, true)
	setFlags(t, mem, 20, bits, 0, 1)
	p := mustOpen(t, testOptions(mem, 4096))
	must(t, m.verify(p))
	must(t, p.MarkUnclean(context.Background()))
	both := [2]uint32{bits, bits}
	for i := range 3 {
		if got := compatible(t, fileBytes(t, mem, testPath)); got != both {
			t.Fatalf("commit %d: %x", i, got)
		}
		b, err := p.Begin()
		must(t, err)
		must(t, b.Put([]byte{byte(i)}, nil))
		must(t, b.Commit(context.Background(), 99, i == 2))
	}
	must(t, p.Close(false))
	corruptSlot(t, mem, true)
	p = mustOpen(t, testOptions(mem, 4096)) // mends it
	if got := compatible(t, fileBytes(t, mem, testPath)); got != both {
		t.Errorf("mended: %x", got)
	}
	var stream bytes.Buffer
	_, err := p.Backup(context.Background(), &stream, m.places, nil)
	must(t, err)
	if got := compatible(t, stream.Bytes()); got != both {
		t.Errorf("backup: %x", got)
	}
	must(t, p.Close(true))
}

// An incompatible flag that this version does not know, or a later format, in
// one slot or in both, ends every way of opening, and nothing is written.
func TestUnknownIncompatibleFlagsAreTooNew(t *testing.T) {
	for _, at := range []int{16, 24} {
		for _, slots := range [][]int{{0}, {1}, {0, 1}} {
			mem := newFS(t)
			closedFile(t, mem, 4096, true)
			setFlags(t, mem, at, 1<<31, slots...)
			for _, how := range []func(*Options){func(*Options) {}, func(o *Options) { o.ReadOnly = true }, func(o *Options) { o.Inspect = true }} {
				o := testOptions(mem, 4096)
				how(&o)
				ops := mem.Ops()
				if _, err := Open(context.Background(), o); !errors.Is(err, dberr.ErrTooNew) {
					t.Errorf("field %d in %v: %v", at, slots, err)
				}
				if !o.Inspect && mem.Ops() != ops {
					t.Errorf("field %d in %v: %d operations", at, slots, mem.Ops()-ops)
				}
			}
			stream := fileBytes(t, mem, testPath)
			if err := restore(newFS(t), bytes.NewReader(stream), newModel()); !errors.Is(err, dberr.ErrTooNew) {
				t.Errorf("restore: %v", err)
			}
		}
	}
}
