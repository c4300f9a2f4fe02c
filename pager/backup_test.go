package pager

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// places names the records of a model.
func (m *model) places(_ *View, add func(Place) error) error {
	for pl := range m.records {
		if err := add(pl); err != nil {
			return err
		}
	}
	return nil
}

func (w *writing) backup(to io.Writer, while func(done, total int64)) (BackupReport, error) {
	return w.p.Backup(context.Background(), to, w.states[len(w.states)-1].places, while)
}

func restore(fs vfs.FS, stream io.Reader, m *model) error {
	return Restore(context.Background(), testOptions(fs, 0), stream, func(p *Pager) error {
		_, err := p.Backup(context.Background(), io.Discard, m.places, nil)
		return err
	})
}

// A backup is the state at its beginning, whatever is written meanwhile.
func TestABackupIsOneStateBesideAWriter(t *testing.T) {
	w := newWriting(t, newFS(t), 61)
	for range 12 { // so that a backup is several steps long
		w.commit(false)
	}
	for n := range 12 {
		w.commit(n%5 == 4)
		m := w.states[len(w.states)-1]
		var stream bytes.Buffer
		busy := 0
		rep, err := w.backup(&stream, func(done, total int64) {
			if busy++; busy < 20 {
				w.commit(false)
			}
		})
		must(t, err)
		if busy < 2 || rep.Bytes != int64(stream.Len()) {
			t.Fatalf("%+v: %d bytes, %d commits meanwhile", rep, stream.Len(), busy)
		}
		to := newFS(t)
		must(t, restore(to, bytes.NewReader(stream.Bytes()), m))
		p := mustOpen(t, testOptions(to, 4096))
		must(t, m.verify(p))
		if st := p.State(); !st.Clean || st.LogPos != rep.LogPos || st.Damage != "" {
			t.Errorf("restored as %+v", st)
		}
		var again bytes.Buffer
		_, err = p.Backup(context.Background(), &again, m.places, nil)
		must(t, err)
		if !bytes.Equal(again.Bytes(), stream.Bytes()) {
			t.Error("a backup of the restored file is another one")
		}
		must(t, p.Close(true))
		if names, _ := to.List("/db"); len(names) != 1 {
			t.Errorf("left %v", names)
		}
	}
	if got := w.p.Stats().Views; got != 0 {
		t.Errorf("%d views are left", got)
	}
	must(t, w.p.Close(true))
}

func TestAnEmptyFileCanBeBackedUp(t *testing.T) {
	for _, pageSize := range []int{MinPageSize, MaxPageSize} {
		p := mustOpen(t, testOptions(newFS(t), pageSize))
		var stream bytes.Buffer
		_, err := p.Backup(context.Background(), &stream, newModel().places, nil)
		must(t, err)
		must(t, p.Close(true))
		to := newFS(t)
		must(t, restore(to, &stream, newModel()))
		p = mustOpen(t, testOptions(to, 4096))
		must(t, newModel().verify(p))
		must(t, p.Close(true))
	}
}

// Nothing that is wrong is copied in silence: one flipped bit in the file, or
// one place that is missing or too much, ends the backup, or the backup holds
// the state all the same.
func TestABackupChecksWhatItCopies(t *testing.T) {
	r := seeded(t, 62)
	mem := newFS(t)
	m := closedFile(t, mem, 4096, true)
	info, err := mem.Stat(testPath)
	must(t, err)
	found := 0
	for range 400 {
		image := mem.Crash(vfs.CrashKeepAll, 1)
		f, err := image.Open(testPath, vfs.ReadWrite)
		must(t, err)
		flip(t, f, metaArea+r.Int64N(info.Size-metaArea), r.IntN(8))
		must(t, f.Close())
		p := mustOpen(t, testOptions(image, 4096))
		var stream bytes.Buffer
		_, err = p.Backup(context.Background(), &stream, m.places, nil)
		must(t, p.Close(false))
		if err != nil {
			found++
			if !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatal(err)
			}
			continue
		}
		must(t, restore(newFS(t), &stream, m))
	}
	if found < 60 {
		t.Errorf("%d found", found)
	}
	p := mustOpen(t, testOptions(mem, 4096))
	for pl := range m.records {
		for _, wrong := range []Place{{}, {pl.Off, pl.Len - 1, pl.CRC}, {pl.Off, pl.Len, pl.CRC + 1}, {pl.Off + 1, pl.Len, pl.CRC}, {1 << 63, pl.Len, 0}, {8, pl.Len, 0}} {
			lie := m.clone()
			delete(lie.records, pl)
			lie.records[wrong] = nil
			if _, err := p.Backup(context.Background(), io.Discard, lie.places, nil); !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatalf("%s as %s: %v", pl, wrong, err)
			}
		}
	}
	must(t, p.Close(false))
}

// stream is a backup and what it holds.
func stream(t *testing.T, seed uint64) ([]byte, *model) {
	w := newWriting(t, newFS(t), seed)
	for range 4 {
		w.commit(false)
	}
	var b bytes.Buffer
	_, err := w.backup(&b, nil)
	must(t, err)
	must(t, w.p.Close(false))
	return b.Bytes(), w.states[len(w.states)-1]
}

func nothingLeft(t *testing.T, fs vfs.FS, what ...any) {
	t.Helper()
	if names, err := fs.List("/db"); err != nil || len(names) != 0 {
		t.Fatalf("%v: left %v, %v", what, names, err)
	}
}

func TestARestoreRefusesDamagedStreams(t *testing.T) {
	b, m := stream(t, 63)
	r := seeded(t, 63)
	for n := 0; n < len(b); n += 1 + r.IntN(700) {
		to := newFS(t)
		if err := restore(to, bytes.NewReader(b[:n]), m); !errors.Is(err, dberr.ErrCorrupt) && (n >= len(magic) || !errors.Is(err, dberr.ErrNotDatabase)) {
			t.Fatalf("%d of %d bytes: %v", n, len(b), err)
		}
		nothingLeft(t, to, n, "bytes")
	}
	if err := restore(newFS(t), io.MultiReader(bytes.NewReader(b), bytes.NewReader(make([]byte, 1))), m); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("a byte too many: %v", err)
	}
	broken := errors.New("broken pipe")
	if err := restore(newFS(t), io.MultiReader(bytes.NewReader(b[:len(b)-9]), errReader{broken}), m); !errors.Is(err, broken) {
		t.Errorf("a stream that fails: %v", err)
	}
	refused := 0
	for range 600 {
		at, bit := r.IntN(len(b)), byte(1)<<r.IntN(8)
		if r.IntN(3) == 0 {
			at = r.IntN(metaSize) + metaStride*r.IntN(2)
		}
		bad := slices.Clone(b)
		bad[at] ^= bit
		to := newFS(t)
		err := restore(to, bytes.NewReader(bad), m)
		if err == nil { // in bytes that nobody needs
			p := mustOpen(t, testOptions(to, 4096))
			must(t, m.verify(p))
			must(t, p.Close(true))
			continue
		}
		refused++
		if !typed(err) {
			t.Fatalf("bit %d of byte %d: %v", bit, at, err)
		}
		nothingLeft(t, to, "byte", at)
	}
	if refused < 200 {
		t.Errorf("%d refused", refused)
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

func TestARestoreOverwritesNothing(t *testing.T) {
	b, m := stream(t, 64)
	to := newFS(t)
	putFile(t, to, testPath, []byte("precious"))
	if err := restore(to, bytes.NewReader(b), m); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: %v", err)
	}
	if got := string(fileBytes(t, to, testPath)); got != "precious" {
		t.Errorf("the file became %q", got)
	}
	must(t, to.Remove(testPath))
	// Two at once, and a database that is created just before the end.
	late := func(do func()) io.Reader {
		return io.MultiReader(bytes.NewReader(b), eofReader{do})
	}
	err := restore(to, late(func() {
		if err := restore(to, bytes.NewReader(b), m); !errors.Is(err, dberr.ErrLocked) {
			t.Errorf("two at once: %v", err)
		}
		must(t, mustOpen(t, testOptions(to, 4096)).Close(true))
	}), m)
	if !errors.Is(err, fs.ErrExist) {
		t.Errorf("beside a creation: %v", err)
	}
	p := mustOpen(t, testOptions(to, 4096))
	must(t, newModel().verify(p))
	must(t, p.Close(true))
	if names, _ := to.List("/db"); len(names) != 1 {
		t.Errorf("left %v", names)
	}
}

type eofReader struct{ do func() }

func (r eofReader) Read([]byte) (int, error) { r.do(); return 0, io.EOF }

// The power goes at every operation of a Restore: there is the whole database
// or none, and the next Restore is not in its own way.
func TestARestoreIsThereWholeOrNotAtAll(t *testing.T) {
	b, m := stream(t, 65)
	for n := 1; ; n++ {
		mem := newFS(t)
		mem.CrashAt(mem.Ops() + n)
		err := restore(mem, bytes.NewReader(b), m)
		whole := 0
		for seed := range uint64(12) {
			for _, kind := range []vfs.CrashKind{vfs.CrashKeepAll, vfs.CrashLoseAll, vfs.CrashMix} {
				image := mem.Crash(kind, seed)
				if _, failed := image.Stat(testPath); failed != nil {
					must(t, restore(image, bytes.NewReader(b), m))
				} else {
					whole++
				}
				p := mustOpen(t, testOptions(image, 4096))
				must(t, m.verify(p))
				must(t, p.Close(true))
			}
		}
		if err == nil {
			if whole != 36 || n < 6 {
				t.Errorf("after %d operations %d of 36 images have the file", n, whole)
			}
			return
		}
	}
}

// Each operation fails in turn.
func TestARestoreThatFailsLeavesNothing(t *testing.T) {
	b, m := stream(t, 66)
	for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 1; ; n++ {
			mem := newFS(t)
			fault := vfs.NewFault(mem)
			fault.FailOp(n, cause)
			err := restore(fault, bytes.NewReader(b), m)
			if err != nil && !errors.Is(err, cause) && !errors.Is(err, dberr.ErrLocked) {
				t.Fatalf("operation %d: %v", n, err)
			}
			if _, missing := mem.Stat(testPath); missing == nil {
				p := mustOpen(t, testOptions(mem, 4096))
				must(t, m.verify(p))
				must(t, p.Close(true))
			} else if err == nil {
				t.Fatalf("operation %d: no file", n)
			}
			if fault.Ops() < n {
				must(t, err)
				break
			}
		}
	}
}

// A backup that takes long holds no more than its own root.
func TestABackupPinsItsPagesVisibly(t *testing.T) {
	w := newWriting(t, newFS(t), 67)
	for range 12 { // more than one step of a backup
		w.commit(false)
	}
	ctx, cancel := context.WithCancel(context.Background())
	_, err := w.p.Backup(ctx, io.Discard, w.states[len(w.states)-1].places, func(int64, int64) {
		if w.p.Stats().Views != 1 {
			t.Error("the backup is not counted")
		}
		cancel()
	})
	if !errors.Is(err, context.Canceled) || w.p.Stats().Views != 0 {
		t.Errorf("cancelled: %v, %d views", err, w.p.Stats().Views)
	}
	must(t, w.p.Close(true))
}
