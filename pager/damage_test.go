package pager

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// closedFile makes a small file with history in both metas and returns what it
// holds.
func closedFile(t testing.TB, mem vfs.FS, pageSize int, clean bool) *model {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 3))
	p := mustOpen(t, testOptions(mem, pageSize))
	m := newModel()
	for i := range 3 {
		b, err := p.Begin()
		must(t, err)
		must(t, m.change(b, r, 200, 60))
		must(t, b.Commit(context.Background(), uint64(i+9), clean && i == 2))
	}
	must(t, p.Close(clean))
	return m
}

func typed(err error) bool {
	return errors.Is(err, dberr.ErrCorrupt) || errors.Is(err, dberr.ErrNotDatabase) || errors.Is(err, dberr.ErrTooNew)
}

func TestOneFlippedBitAnywhereIsATypedErrorOrHarmless(t *testing.T) {
	mem := newFS(t)
	m := closedFile(t, mem, 4096, true)
	info, err := mem.Stat(testPath)
	must(t, err)
	r := seeded(t, 12)
	refused, repaired := 0, 0
	step := int64(1)
	for off := int64(0); off < info.Size; off += step {
		if step = 1; off >= metaArea {
			step = 1 + int64(r.IntN(23*everySo(4)))
		}
		image := mem.Crash(vfs.CrashKeepAll, 1)
		f, err := image.Open(testPath, vfs.ReadWrite)
		must(t, err)
		flip(t, f, off, r.IntN(8))
		f.Close()
		p, err := Open(context.Background(), testOptions(image, 4096))
		if err == nil {
			if p.State().Damage != "" {
				repaired++
			}
			err = m.verify(p)
			p.Close(false)
		}
		if err != nil {
			refused++
			if !typed(err) {
				t.Fatalf("bit flipped at byte %d: %v", off, err)
			}
		}
	}
	if refused < 100 || repaired < 2*metaSize-2 {
		t.Errorf("%d refused, %d repaired", refused, repaired)
	}
}

// A page that is whole in itself but not the one that its parent wrote, as a
// lost write leaves it, is found.
func TestAStalePageIsFound(t *testing.T) {
	mem := newFS(t)
	p := mustOpen(t, testOptions(mem, 4096))
	b, err := p.Begin()
	must(t, err)
	must(t, b.Put([]byte("new"), nil))
	must(t, b.Commit(context.Background(), 9, true))
	root := p.current.Load().root.page
	must(t, p.Close(false))
	stale := &node{}
	stale.insertLeaf(0, []byte("old"), nil)
	image := stale.encode(4096)
	seal(image, root)
	f, err := mem.Open(testPath, vfs.ReadWrite)
	must(t, err)
	_, err = f.WriteAt(image, int64(root)*4096)
	must(t, err)
	f.Close()
	p = mustOpen(t, testOptions(mem, 4096))
	defer p.Close(false)
	v := p.View()
	defer v.Close()
	if _, _, err := v.Get([]byte("old")); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("stale page: %v", err)
	}
}

func TestATruncatedFileIsATypedError(t *testing.T) {
	mem := newFS(t)
	closedFile(t, mem, 4096, true)
	info, err := mem.Stat(testPath)
	must(t, err)
	for size := int64(0); size < info.Size; size += 256 {
		image := mem.Crash(vfs.CrashKeepAll, 1)
		f, err := image.Open(testPath, vfs.ReadWrite)
		must(t, err)
		must(t, f.Truncate(size))
		f.Close()
		p, err := Open(context.Background(), testOptions(image, 4096))
		if err == nil {
			p.Close(false)
		}
		if !typed(err) {
			t.Fatalf("%d bytes left: %v", size, err)
		}
	}
}

func TestOpenRefusesWhatItCannotRead(t *testing.T) {
	mem := newFS(t)
	write := func(name string, b []byte) {
		f, err := mem.Open(name, vfs.ReadWrite|vfs.Create)
		must(t, err)
		_, err = f.WriteAt(b, 0)
		must(t, err)
		f.Close()
	}
	write("/db/empty", nil)
	write("/db/text", bytes.Repeat([]byte("not a database\n"), 1000))
	m := meta{pageSize: 4096, generation: 2, pages: 2}
	newer := m.encode(0)
	binary.LittleEndian.PutUint32(newer[16:], formatVersion+1)
	binary.LittleEndian.PutUint32(newer[metaSumAt:], seededSum(0, newer[:metaSumAt]))
	write("/db/newer", append(newer, make([]byte, 8192)...))
	flags := m.encode(0)
	flags[27] = 0x80
	binary.LittleEndian.PutUint32(flags[metaSumAt:], seededSum(0, flags[:metaSumAt]))
	write("/db/flags", append(flags, make([]byte, 8192)...))
	for _, c := range []struct {
		path     string
		readOnly bool
		want     error
	}{
		{"/db/empty", false, dberr.ErrNotDatabase},
		{"/db/text", false, dberr.ErrNotDatabase},
		{"/db/newer", false, dberr.ErrTooNew},
		{"/db/flags", false, dberr.ErrTooNew},
		{"/db", false, dberr.ErrNotDatabase},
		{"/db/missing", true, fs.ErrNotExist},
		{"/missing/file", false, fs.ErrNotExist},
	} {
		o := testOptions(mem, 4096)
		o.Path, o.ReadOnly = c.path, c.readOnly
		if _, err := Open(context.Background(), o); !errors.Is(err, c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, wanted %v in one line", c.path, err, c.want)
		}
	}
	fault := vfs.NewFault(mem)
	fault.FailKind(vfs.OpOpen, fs.ErrPermission, true)
	if _, err := Open(context.Background(), testOptions(fault, 4096)); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("permission: %v", err)
	}
	o := testOptions(mem, 5000)
	if _, err := Open(context.Background(), o); !errors.Is(err, dberr.ErrInvalid) {
		t.Errorf("page size 5000: %v", err)
	}
}

func TestTheSecondOpenerLearnsWhoHoldsTheFile(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	p := mustOpen(t, o)
	_, err := Open(context.Background(), o)
	var locked *dberr.LockedError
	if !errors.As(err, &locked) || locked.PID == 0 || !locked.Since.Equal(time.Unix(1_700_000_000, 0)) {
		t.Fatalf("second open: %v", err)
	}
	must(t, p.Close(true))
	names, err := mem.List("/db")
	must(t, err)
	if len(names) != 1 {
		t.Errorf("after Close there are %v", names)
	}
	mustOpen(t, o).Close(false)
}

func TestReadOnlyWritesNothing(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem := newFS(t)
		m := closedFile(t, mem, 4096, clean)
		o := testOptions(mem, 4096)
		o.ReadOnly = true
		ops := mem.Ops()
		p := mustOpen(t, o)
		must(t, m.verify(p))
		if _, err := p.Begin(); !errors.Is(err, dberr.ErrReadOnly) {
			t.Errorf("Begin: %v", err)
		}
		if p.State().Clean != clean {
			t.Errorf("clean is %v", p.State().Clean)
		}
		must(t, p.Close(true))
		if mem.Ops() != ops {
			t.Errorf("%d operations", mem.Ops()-ops)
		}
	}
}

func TestCleanFlag(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	closedFile(t, mem, 4096, true)
	for _, newest := range []bool{true, false} {
		image := mem.Restart()
		corruptSlot(t, image, newest)
		q := mustOpen(t, testOptions(image, 4096))
		if !q.State().Clean {
			t.Error("a slot said unclean after a clean commit")
		}
		q.Close(false)
	}
	p := mustOpen(t, o)
	must(t, p.MarkUnclean(context.Background()))
	if p.State().Clean {
		t.Error("clean after MarkUnclean")
	}
	must(t, p.Close(false))
	for _, newest := range []bool{true, false} {
		image := mem.Crash(vfs.CrashLoseAll, 1)
		corruptSlot(t, image, newest)
		q := mustOpen(t, testOptions(image, 4096))
		if q.State().Clean {
			t.Error("a slot still said clean")
		}
		q.Close(false)
	}
}

func TestCloseTrimsTheUnusedEnd(t *testing.T) {
	mem := newFS(t)
	o := testOptions(mem, 4096)
	p := mustOpen(t, o)
	b, err := p.Begin()
	must(t, err)
	var places []Place
	for range 200 {
		pl, err := b.Record(make([]byte, 10000))
		must(t, err)
		places = append(places, pl)
	}
	must(t, b.Commit(context.Background(), 9, false))
	b, err = p.Begin()
	must(t, err)
	for _, pl := range places {
		must(t, b.FreeRecord(pl))
	}
	must(t, b.Commit(context.Background(), 10, false))
	must(t, p.Close(true))
	if info, _ := mem.Stat(testPath); info.Size < 2_000_000 {
		t.Errorf("%d bytes: cut below what the older meta needs", info.Size)
	}
	p = mustOpen(t, o)
	for i := range uint64(3) {
		b, err = p.Begin()
		must(t, err)
		must(t, b.Put([]byte("k"), []byte{byte(i)}))
		must(t, b.Commit(context.Background(), 11+i, i == 2))
	}
	must(t, p.Close(true))
	if info, _ := mem.Stat(testPath); info.Size > 100_000 {
		t.Errorf("%d bytes left", info.Size)
	}
	p = mustOpen(t, o)
	must(t, (&model{tree: map[string][]byte{"k": {2}}}).verify(p))
	must(t, p.Close(false))
}

func TestRecordsFreedTwiceAreAnError(t *testing.T) {
	p := mustOpen(t, testOptions(newFS(t), 4096))
	defer p.Close(false)
	b, err := p.Begin()
	must(t, err)
	pl, err := b.Record(make([]byte, 3000))
	must(t, err)
	must(t, b.FreeRecord(pl))
	if err := b.FreeRecord(pl); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("freed twice: %v", err)
	}
	b.Abort()
	v := p.View()
	defer v.Close()
	for _, pl := range []Place{{Off: 1 << 60, Len: 1}, {Off: 8192, Len: 1<<32 - 1}, {Off: 0, Len: 10}, {Off: 1<<64 - 1, Len: 3}} {
		if _, err := v.ReadRecord(pl); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("record %s: %v", pl, err)
		}
	}
}
