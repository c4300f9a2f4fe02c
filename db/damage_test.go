package db_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// touched records which bytes of the page file are read.
type touched struct {
	vfs.FS
	bytes []bool
}

func (f *touched) Open(name string, flag vfs.Flag) (vfs.File, error) {
	file, err := f.FS.Open(name, flag)
	if err != nil || name != sampleName {
		return file, err
	}
	return &touchedFile{file, f.bytes}, nil
}

type touchedFile struct {
	vfs.File
	bytes []bool
}

func (f *touchedFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	for i := range n {
		f.bytes[int(off)+i] = true
	}
	return n, err
}

const metaBytes = 8192

// TestAFlippedBitIsNoticedOrHarmless flips bits of a database that was closed.
//
//   - In a meta slot: the other slot says the same, so every version reads, and
//     an open that may write repairs the slot. Verify of one that may not says
//     that it is damaged.
//   - In any other byte that Verify reads: Verify, or a load, reports it.
//   - In a byte that Verify does not read: nothing else reads it either.
func TestAFlippedBitIsNoticedOrHarmless(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 6, map[int]bool{2: true, 4: true}, true)
	whole := imageOf(t, m)
	size := len(whole[sampleName])
	record := &touched{FS: whole.on(t), bytes: make([]bool, size)}
	o := sampleOptions(record)
	o.ReadOnly = true
	if s := look(o); s.noticed() || s.head != 6 || s.wrong != "" {
		t.Fatalf("the undamaged file: %+v", s)
	}
	var used, unused []int
	for at := metaBytes; at < size; at++ {
		if record.bytes[at] {
			used = append(used, at)
		} else {
			unused = append(unused, at)
		}
	}
	t.Logf("%d bytes: %d read by Verify, %d not", size, len(used), len(unused))
	if len(used) < size/4 {
		t.Fatalf("Verify read only %d of %d bytes", len(used), size)
	}
	rng := rand.New(rand.NewPCG(1, 3))
	t.Run("meta", func(t *testing.T) {
		for slot := range 2 {
			for i := range 512 {
				at, bit := slot*4096+i, rng.IntN(8)
				damaged := whole.flip(sampleName, at, bit)
				fsys := damaged.on(t)
				if s := look(sampleOptions(fsys)); s.err != nil || s.wrong != "" || s.head != 6 {
					t.Fatalf("byte %d bit %d: %+v", at, bit, s)
				}
				if i%8 != 0 {
					continue
				}
				if s := look(sampleOptions(fsys)); s.noticed() || s.wrong != "" || s.head != 6 {
					t.Fatalf("byte %d bit %d, opened again: %+v", at, bit, s)
				}
				o := sampleOptions(damaged.on(t))
				o.ReadOnly = true
				if s := look(o); s.err != nil || s.wrong != "" || s.head != 6 || len(s.problems) == 0 {
					t.Fatalf("byte %d bit %d, read only: %+v, and Verify must name the slot", at, bit, s)
				}
			}
		}
	})
	t.Run("behind the slots", func(t *testing.T) {
		b := slices.Clone(whole[sampleName])
		for slot := range 2 {
			copy(b[slot*4096+512:], seededBytes(4096-512, uint64(slot)))
		}
		if s := look(sampleOptions(whole.with(sampleName, b).on(t))); s.noticed() || s.wrong != "" || s.head != 6 {
			t.Fatalf("garbage behind the meta slots: %+v", s)
		}
	})
	t.Run("used", func(t *testing.T) {
		for range 300 {
			at, bit := used[rng.IntN(len(used))], rng.IntN(8)
			o := sampleOptions(whole.flip(sampleName, at, bit).on(t))
			o.ReadOnly = rng.IntN(2) == 0
			s := look(o)
			if s.wrong != "" || !s.noticed() {
				t.Fatalf("byte %d bit %d: not noticed: %+v", at, bit, s)
			}
			if s.err != nil {
				clearError(t, s.err, db.ErrCorrupt)
			}
		}
	})
	t.Run("unused", func(t *testing.T) {
		b := slices.Clone(whole[sampleName])
		for _, at := range unused {
			b[at] ^= byte(1 + rng.IntN(255))
		}
		if s := look(sampleOptions(whole.with(sampleName, b).on(t))); s.noticed() || s.wrong != "" || s.head != 6 {
			t.Fatalf("garbage in every byte that Verify does not read: %+v", s)
		}
	})
}

// TestAFlippedBitInAnUncleanDatabase flips bits in the metas and in the log of
// a database whose process died. Every commit but the newest is promised by a
// record behind it: it is there, or Open says that the log is corrupt. The
// newest is there or wholly absent.
func TestAFlippedBitInAnUncleanDatabase(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 9, map[int]bool{2: true, 4: true}, false)
	whole := imageOf(t, m)
	rng := rand.New(rand.NewPCG(1, 4))
	try := func(t *testing.T, name string, at int, lowest db.Version) (refused bool) {
		t.Helper()
		bit := rng.IntN(8)
		s := look(sampleOptions(whole.flip(name, at, bit).on(t)))
		switch {
		case s.wrong != "":
			t.Errorf("%s byte %d bit %d: %s", name, at, bit, s.wrong)
		case s.err != nil:
			clearError(t, s.err, db.ErrCorrupt)
			return true
		case len(s.problems) > 0 && name != sampleName:
			t.Errorf("%s byte %d bit %d: opened with %q", name, at, bit, s.problems)
		case s.head < lowest || s.head > 9:
			t.Errorf("%s byte %d bit %d: head %d, want from %d to 9", name, at, bit, s.head, lowest)
		}
		return false
	}
	for name, b := range whole {
		t.Run(name, func(t *testing.T) {
			refused := 0
			if name == sampleName {
				for slot := range 2 {
					for i := 0; i < 512; i += 3 {
						try(t, name, slot*4096+i, 9)
					}
				}
				for range 100 {
					try(t, name, metaBytes+rng.IntN(len(b)-metaBytes), 9)
				}
				return
			}
			end := len(b)
			for end > 0 && b[end-1] == 0 {
				end--
			}
			tried := 0
			for at := 0; at < 512; at += 4 { // the header's sector
				tried++
				if try(t, name, at, 8) {
					refused++
				}
			}
			for range 300 {
				tried++
				if try(t, name, rng.IntN(end), 8) {
					refused++
				}
			}
			for range 20 { // zeros written ahead
				if end < len(b) {
					try(t, name, end+rng.IntN(len(b)-end), 9)
				}
			}
			t.Logf("%d of %d flips refused", refused, tried)
			if refused < tried/2 {
				t.Errorf("only %d of %d flips in %d bytes of log were refused", refused, tried, end)
			}
		})
	}
}

// TestFlippedBitsNeverPanic damages several places at once.
func TestFlippedBitsNeverPanic(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 7, map[int]bool{3: true}, false)
	whole := imageOf(t, m)
	rng := rand.New(rand.NewPCG(1, 5))
	var names []string
	for n := range whole {
		names = append(names, n)
	}
	slices.Sort(names)
	for i := range 150 {
		im := whole
		what := ""
		for range 1 + rng.IntN(6) {
			name := names[rng.IntN(len(names))]
			at := rng.IntN(min(len(im[name]), 64<<10))
			im = im.flip(name, at, rng.IntN(8))
			what += fmt.Sprintf(" %s:%d", name, at)
		}
		if s := look(sampleOptions(im.on(t))); s.wrong != "" {
			t.Fatalf("case %d,%s: %s", i, what, s.wrong)
		}
	}
}
