package pager

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// writing is a page file that is being written, and what it held at each log
// position.
type writing struct {
	t      testing.TB
	o      Options
	r      *rand.Rand
	p      *Pager
	mu     sync.Mutex
	states []*model
}

func newWriting(t testing.TB, fs vfs.FS, seed uint64) *writing {
	w := &writing{t: t, o: testOptions(fs, 4096), r: seeded(t, seed), states: []*model{newModel()}}
	w.p = mustOpen(t, w.o)
	must(t, w.p.MarkUnclean(context.Background()))
	return w
}

// commit makes one more state, which rewrites much of the one before.
func (w *writing) commit(clean bool) {
	w.t.Helper()
	b, err := w.p.Begin()
	must(w.t, err)
	m := w.states[len(w.states)-1].clone()
	must(w.t, m.change(b, w.r, 60, 50))
	w.mu.Lock()
	w.states = append(w.states, m)
	at := firstLogPos + uint64(len(w.states)-1)
	w.mu.Unlock()
	must(w.t, b.Commit(context.Background(), at, clean))
}

func (w *writing) reopen(clean bool) {
	w.t.Helper()
	if clean {
		w.commit(true)
	}
	must(w.t, w.p.Close(clean))
	w.p = mustOpen(w.t, w.o)
}

func (w *writing) inspect() *Pager {
	w.t.Helper()
	o := w.o
	o.Inspect, o.CacheBytes = true, 1
	return mustOpen(w.t, o)
}

// check compares everything that an inspector reads.
func (w *writing) check(p *Pager) error {
	w.mu.Lock()
	m := w.states[p.State().LogPos-firstLogPos]
	w.mu.Unlock()
	p.cache = newPageCache(1, 4096) // what it read before is right for ever
	if err := m.compare(p); err != nil {
		return fmt.Errorf("state %d, generation %d: %w", p.State().LogPos-firstLogPos, p.State().Generation, err)
	}
	return nil
}

func TestInspectorsSeeOneStateBesideAWriter(t *testing.T) {
	mem := newFS(t)
	w := newWriting(t, mem, 41)
	var open []*Pager
	for i := range 120 {
		w.commit(false)
		if i%17 == 16 {
			open = append(open, w.inspect())
		}
		for _, p := range open {
			must(t, w.check(p))
		}
		if got := w.p.Stats().Readers; got != len(open) && i%17 != 16 {
			t.Fatalf("%d readers of %d are counted", got, len(open))
		}
		if len(open) > 4 {
			must(t, open[0].Close(true))
			open = open[1:]
		}
	}
	for _, p := range open {
		if _, err := p.Begin(); !errors.Is(err, dberr.ErrReadOnly) {
			t.Errorf("Begin: %v", err)
		}
		_, err := p.Check(context.Background(), nil)
		must(t, err)
		must(t, p.Close(true))
	}
	w.commit(false)
	if got := w.p.Stats().Readers; got != 0 || len(w.p.pending) > 2 {
		t.Errorf("%d readers and %d freed sets are left", got, len(w.p.pending))
	}
	must(t, w.p.Close(true))
	if names, _ := mem.List("/db"); len(names) != 1 {
		t.Errorf("after Close: %v", names)
	}
}

// A slot is honoured up to an age. Then reading fails, and is never wrong, also
// while the pages are not overwritten yet.
func TestASlotTooOldIsRefused(t *testing.T) {
	for _, back := range []bool{false, true} {
		w := newWriting(t, newFS(t), 42)
		must(t, w.p.Close(false))
		now := time.Unix(1_700_000_000, 0)
		w.o.Now = func() time.Time { return now }
		w.o.MaxReaderAge = time.Minute
		w.p = mustOpen(t, w.o)
		w.commit(false)
		w.commit(false)
		p := w.inspect()
		for range 20 {
			w.commit(false)
			must(t, w.check(p))
		}
		now = now.Add(time.Minute + 1)
		if back {
			now = now.Add(-3 * time.Minute)
		}
		must(t, w.check(p)) // until the next batch
		w.commit(false)
		for range 30 {
			if err := w.check(p); !errors.Is(err, dberr.ErrSnapshotTooOld) {
				t.Fatalf("too old: %v", err)
			}
			w.commit(false)
		}
		if w.p.Stats().Readers != 0 {
			t.Error("a refused reader is counted")
		}
		young := w.inspect()
		must(t, w.check(young))
		must(t, young.Close(true))
		must(t, p.Close(true))
		must(t, w.p.Close(true))
	}
}

// The next writer knows only what the newest root freed.
func TestTheNextWriterKeepsWhatItCan(t *testing.T) {
	for _, clean := range []bool{true, false} {
		mem := newFS(t)
		w := newWriting(t, mem, 43)
		for range 10 {
			w.commit(false)
		}
		old := w.inspect()
		w.commit(false)
		w.commit(false)
		must(t, w.p.Close(false))
		idle := w.inspect() // while nobody has it open
		must(t, w.check(old))
		must(t, w.check(idle))
		w.p = mustOpen(t, w.o)
		if clean {
			w.reopen(true)
		}
		if err := w.check(old); !errors.Is(err, dberr.ErrSnapshotTooOld) {
			t.Errorf("older than both metas: %v", err)
		}
		for range 20 {
			w.commit(false)
			if got := w.p.Stats().Readers; got > 1 {
				t.Fatalf("%d readers are honoured, one of them refused", got)
			}
			if err := w.check(idle); err != nil && (!clean || !errors.Is(err, dberr.ErrSnapshotTooOld)) {
				t.Fatal(err)
			}
		}
		must(t, idle.Close(true))
		must(t, w.p.Close(true))
		if _, err := mem.Stat(lockName(testPath)); err != nil {
			t.Error("the lock file went although a slot is held")
		}
		must(t, old.Close(true))
		if names, _ := mem.List("/db"); len(names) != 1 {
			t.Errorf("after the last one left: %v", names)
		}
	}
}

// What a writer cuts off when it closes is nothing that a reader needs.
func TestClosingCutsNothingThatAReaderNeeds(t *testing.T) {
	w := newWriting(t, newFS(t), 44)
	b, err := w.p.Begin()
	must(t, err)
	m := w.states[0].clone()
	var places []Place
	for range 100 {
		data := randomBytes(w.r, 10000)
		pl, err := b.Record(data)
		must(t, err)
		m.records[pl] = data
		places = append(places, pl)
	}
	w.states = append(w.states, m)
	must(t, b.Commit(context.Background(), firstLogPos+1, false))
	p := w.inspect()
	for range 2 {
		b, err = w.p.Begin()
		must(t, err)
		for _, pl := range places {
			must(t, b.FreeRecord(pl))
		}
		places = nil
		must(t, b.Put([]byte{byte(len(w.states))}, nil))
		w.states = append(w.states, newModel())
		must(t, b.Commit(context.Background(), 99, true))
	}
	must(t, w.p.Close(true))
	must(t, w.check(p))
	must(t, p.Close(true))
	w.p = mustOpen(t, w.o)
	for range 2 { // what lies at the end moves down
		b, err = w.p.Begin()
		must(t, err)
		must(t, b.Put([]byte("k"), []byte{byte(len(w.states))}))
		w.states = append(w.states, newModel())
		must(t, b.Commit(context.Background(), 99, true))
	}
	must(t, w.p.Close(true))
	w.p = mustOpen(t, w.o)
	if size := w.p.Stats().FileBytes; size > 600_000 {
		t.Errorf("%d bytes are left", size)
	}
	must(t, w.p.Close(true))
}

// A damaged page is corrupt, and not too old, as long as its root is kept.
func TestDamageUnderAnInspectorIsCorrupt(t *testing.T) {
	for _, slots := range []bool{true, false} {
		mem := newFS(t)
		if !slots {
			putFile(t, mem, lockName(testPath), []byte("precious"))
		}
		w := newWriting(t, mem, 45)
		w.commit(false)
		w.commit(false)
		p := w.inspect()
		root := p.current.Load().root.page
		f, err := mem.Open(testPath, vfs.ReadWrite)
		must(t, err)
		flip(t, f, int64(root)*4096+100, 3)
		for i := range 2 {
			if err := w.check(p); !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatalf("damaged, slots %v, %d commits later: %v", slots, i, err)
			}
			if i == 0 { // the root is not read again by a batch that replaces it
				flip(t, f, int64(root)*4096+100, 3)
				w.commit(false)
				if slots {
					w.commit(false)
					w.commit(false)
				}
				flip(t, f, int64(root)*4096+100, 3)
			}
		}
		must(t, f.Close())
		must(t, p.Close(true))
		must(t, w.p.Close(true))
	}
}

// Without a slot reading is right or too old.
func TestInspectWithoutASlot(t *testing.T) {
	mem := newFS(t)
	putFile(t, mem, lockName(testPath), []byte("precious"))
	w := newWriting(t, mem, 46)
	tooOld := 0
	for range 30 {
		w.commit(false)
		p := w.inspect()
		for range 6 {
			err := w.check(p)
			if errors.Is(err, dberr.ErrSnapshotTooOld) {
				tooOld++
			} else {
				must(t, err)
			}
			w.commit(false)
		}
		must(t, p.Close(true))
	}
	if tooOld == 0 {
		t.Error("no page was overwritten under a reader")
	}
	must(t, w.p.Close(true))
	if got := string(fileBytes(t, mem, lockName(testPath))); got != "precious" {
		t.Errorf("the file in the lock file's place became %q", got)
	}
}

func TestMoreInspectorsThanSlots(t *testing.T) {
	w := newWriting(t, newFS(t), 47)
	w.commit(false)
	var open []*Pager
	for range slotCount + 3 {
		open = append(open, w.inspect())
	}
	w.commit(false)
	if got := w.p.Stats().Readers; got != slotCount {
		t.Errorf("%d slots are held", got)
	}
	for _, p := range open {
		must(t, w.check(p))
		must(t, p.Close(true))
	}
	must(t, w.p.Close(true))
}

// steps is a file system that calls a function before each operation on it.
type steps struct {
	vfs.FS
	before func()
}

type stepFile struct {
	vfs.File
	before func()
}

func (s steps) Open(name string, flag vfs.Flag) (vfs.File, error) {
	s.before()
	f, err := s.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return stepFile{f, s.before}, nil
}

func (s steps) Remove(name string) error { s.before(); return s.FS.Remove(name) }

func (f stepFile) ReadAt(p []byte, off int64) (int, error) {
	f.before()
	return f.File.ReadAt(p, off)
}

func (f stepFile) WriteAt(p []byte, off int64) (int, error) {
	f.before()
	return f.File.WriteAt(p, off)
}

func (f stepFile) Lock() error { f.before(); return f.File.Lock() }

func (f stepFile) LockRange(off, n int64) error {
	f.before()
	return f.File.LockRange(off, n)
}

func (f stepFile) RangeLocked(off, n int64) (bool, error) {
	f.before()
	return f.File.RangeLocked(off, n)
}

func (f stepFile) SameFile(name string) (bool, error) {
	f.before()
	return f.File.SameFile(name)
}

func (f stepFile) Close() error { f.before(); return f.File.Close() }

// whatAWriterDoes are the things that may happen between any two steps of an
// inspector. Each leaves the file open or closed as it says.
var whatAWriterDoes = []struct {
	name string
	do   func(w *writing)
}{
	{"one batch", func(w *writing) { w.commit(false) }},
	{"three batches", func(w *writing) { w.commit(false); w.commit(false); w.commit(false) }},
	{"a clean close", func(w *writing) { w.commit(true); must(w.t, w.p.Close(true)); w.p = nil }},
	{"a new writer", func(w *writing) { w.reopen(true); w.commit(false); w.commit(false) }},
	{"a new writer after a crash", func(w *writing) { w.reopen(false); w.commit(false) }},
}

// At each step of an inspector's life the writer does something: what the
// inspector reads is one state, and it gets its slot.
func TestAWriterAtEveryStepOfAnInspector(t *testing.T) {
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for _, what := range whatAWriterDoes {
		for n, done := 1, false; !done; n += stride {
			mem := newFS(t)
			w := newWriting(t, mem, uint64(n))
			for range 4 {
				w.commit(false)
			}
			at := 0
			o := w.o
			o.Inspect, o.CacheBytes = true, 1
			o.FS = steps{mem, func() {
				if at++; at == n {
					what.do(w)
				}
			}}
			p, err := Open(context.Background(), o)
			if err != nil {
				t.Fatalf("%s at step %d: %v", what.name, n, err)
			}
			opened := at >= n
			if p.reader.file == nil {
				t.Errorf("%s at step %d: no slot", what.name, n)
			}
			for range 6 {
				err := w.check(p)
				if err != nil && (opened || !errors.Is(err, dberr.ErrSnapshotTooOld)) {
					t.Fatalf("%s at step %d of %d: %v", what.name, n, at, err)
				}
				if w.p == nil {
					break
				}
				w.commit(false)
			}
			must(t, p.Close(true))
			done = at < n
			if w.p != nil {
				must(t, w.p.Close(true))
			}
			if names, _ := mem.List("/db"); len(names) != 1 {
				t.Fatalf("%s at step %d: left %v", what.name, n, names)
			}
		}
	}
}

// The same the other way round: an inspector comes at each step of a writer
// that commits, closes, opens, and goes on.
func TestAnInspectorAtEveryStepOfAWriter(t *testing.T) {
	for n, done := 1, false; !done; n++ {
		mem := newFS(t)
		w := newWriting(t, mem, 48)
		w.commit(false)
		w.commit(false)
		must(t, w.p.Close(false))
		var p *Pager
		at := 0
		inspect := w.o
		inspect.Inspect, inspect.CacheBytes = true, 1
		w.o.FS = steps{mem, func() {
			if at++; at == n {
				var err error
				p, err = Open(context.Background(), inspect)
				must(t, err)
			}
		}}
		late := false // it came while its writer was about to leave
		check := func() {
			if p == nil {
				return
			}
			if err := w.check(p); err != nil && (!late || !errors.Is(err, dberr.ErrSnapshotTooOld)) {
				t.Fatalf("step %d: %v", n, err)
			}
		}
		w.p = mustOpen(t, w.o)
		for range 3 {
			w.commit(false)
			check()
		}
		if p == nil {
			w.reopen(true)
			late = p != nil
		}
		for range 3 {
			w.commit(false)
			check()
		}
		w.commit(true)
		must(t, w.p.Close(true))
		check()
		done = at < n
		if p != nil {
			must(t, p.Close(true))
		}
		if names, _ := mem.List("/db"); len(names) != 1 {
			t.Fatalf("step %d: left %v", n, names)
		}
	}
}

// Many inspectors come and go while a writer commits, closes and opens.
func TestInspectorsBesideWritersAtRandom(t *testing.T) {
	for _, fs := range []vfs.FS{newFS(t), vfs.OS()} {
		w := &writing{t: t, o: testOptions(fs, 4096), r: seeded(t, 49), states: []*model{newModel()}}
		if fs == vfs.OS() {
			w.o.Path = t.TempDir() + "/a.pod"
		}
		w.p = mustOpen(t, w.o)
		w.commit(false)
		stop := make(chan struct{})
		var group sync.WaitGroup
		var counts [4]struct{ right, tooOld int }
		for i := range counts {
			group.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					o := w.o
					o.Inspect, o.CacheBytes = true, 1
					p, err := Open(context.Background(), o)
					if err != nil {
						t.Error(err)
						return
					}
					for range 3 {
						switch err := w.check(p); {
						case err == nil:
							counts[i].right++
						case errors.Is(err, dberr.ErrSnapshotTooOld):
							counts[i].tooOld++
						default:
							t.Error(err)
						}
					}
					if err := p.Close(true); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for i := range 60 {
			if i%10 == 9 {
				w.reopen(i%20 == 9)
			}
			w.commit(false)
		}
		close(stop)
		group.Wait()
		must(t, w.p.Close(true))
		right, tooOld := 0, 0
		for _, c := range counts {
			right, tooOld = right+c.right, tooOld+c.tooOld
		}
		if right < tooOld || right == 0 { // those that outlive the writer they began under are refused
			t.Errorf("%d readings were right, %d too old", right, tooOld)
		}
	}
}

// Each operation of an inspector fails in turn: an error or the state, and no
// slot stays taken.
func TestInspectWithEachOperationFailing(t *testing.T) {
	for n := 1; ; n++ {
		mem := newFS(t)
		w := newWriting(t, mem, 50)
		w.commit(false)
		fault := vfs.NewFault(mem)
		fault.FailOp(n, syscall.EIO)
		o := w.o
		o.Inspect, o.CacheBytes, o.FS = true, 1, fault
		p, err := Open(context.Background(), o)
		if err == nil {
			if err = w.check(p); err == nil {
				w.commit(false)
				w.commit(false)
				err = w.check(p)
			}
			if failed := p.Close(true); err == nil {
				err = failed
			}
		}
		if err != nil && !errors.Is(err, syscall.EIO) && !errors.Is(err, dberr.ErrSnapshotTooOld) {
			t.Fatalf("operation %d: %v", n, err)
		}
		w.commit(false)
		if got := w.p.Stats().Readers; got != 0 {
			t.Fatalf("operation %d: %d slots are taken", n, got)
		}
		must(t, w.p.Close(true))
		if names, _ := mem.List("/db"); len(names) != 1 {
			t.Fatalf("operation %d: left %v", n, names)
		}
		if fault.Ops() < n {
			must(t, err)
			return
		}
	}
}

// Nothing that reads as a slot or a board by chance is believed.
func TestSlotsAndBoardsAreChecked(t *testing.T) {
	s := slot{generation: 7, pages: 9, since: -5, pid: 3}
	if got, ok := decodeSlot(s.encode()); !ok || got != s {
		t.Errorf("slot %v %v", got, ok)
	}
	d := board{databaseID: [16]byte{1}, floor: 12}
	if got, ok := decodeBoard(d.encode()); !ok || got != d {
		t.Errorf("board %v %v", got, ok)
	}
	for i := range slotBytes {
		b := s.encode()
		b[i] ^= 4
		if got, ok := decodeSlot(b); ok {
			t.Errorf("slot with byte %d changed is %v", i, got)
		}
	}
	for i := range boardBytes {
		b := d.encode()
		b[i] ^= 4
		if got, ok := decodeBoard(b); ok {
			t.Errorf("board with byte %d changed is %v", i, got)
		}
	}
	if _, ok := decodeSlot(make([]byte, slotBytes)); ok {
		t.Error("zeros are a slot")
	}
	if !slices.Equal(lockText(testOptions(nil, 4096))[:4], []byte("pid=")) {
		t.Error("the text comes first")
	}
}

// A reader of another process that read the log too needs the extents that it
// names, which lie behind what the reader's root has: closing leaves them, also
// when the writer has taken them over and freed them meanwhile.
func TestClosingLeavesTheExtentsOfAReader(t *testing.T) {
	w := newWriting(t, newFS(t), 45)
	batch := func(do func(*Batch)) {
		b, err := w.p.Begin()
		must(t, err)
		do(b)
		must(t, b.Commit(context.Background(), firstLogPos+1, false))
	}
	var low Place // room below the extent, but not yet when that is written
	batch(func(b *Batch) {
		var err error
		low, err = b.Record(randomBytes(w.r, 200_000))
		must(t, err)
	})
	batch(func(b *Batch) { must(t, b.FreeRecord(low)) })
	e, err := w.p.NewExtent()
	must(t, err)
	records := map[Place][]byte{}
	for range 30 {
		data := randomBytes(w.r, 10000)
		pl, err := e.Record(data)
		must(t, err)
		records[pl] = data
	}
	must(t, e.Sync(context.Background()))
	e.Keep()
	p := w.inspect()
	for _, step := range []func(*Batch, Place) error{(*Batch).Adopt, (*Batch).FreeRecord} {
		batch(func(b *Batch) {
			for pl := range records {
				must(t, step(b, pl))
			}
		})
	}
	for i := range byte(4) { // what lies at the end moves down
		batch(func(b *Batch) { must(t, b.Put([]byte("k"), []byte{i})) })
	}
	if end := e.pages.end(); w.p.newest().pages >= end || p.newest().pages >= end {
		t.Fatalf("roots of %d and %d pages, the extent ends at %d: this proves nothing", w.p.newest().pages, p.newest().pages, end)
	}
	must(t, w.p.Close(true))
	must(t, sameRecords(p, records))
	must(t, p.Close(true))
}

// A power cut may leave anything in the lock file: nothing in it is synced.
func TestALockFileOfGarbageIsMadeAnew(t *testing.T) {
	for _, size := range []int{boardAt, slotsAt, lockFileBytes} {
		fs := newFS(t)
		w := newWriting(t, fs, 12)
		must(t, w.p.Close(true))
		f, err := fs.Open(lockName(testPath), vfs.ReadWrite|vfs.Create)
		must(t, err)
		garbage := make([]byte, size)
		for i := range garbage {
			garbage[i] = byte(7*i + 1)
		}
		_, err = f.WriteAt(garbage, 0)
		must(t, err)
		must(t, f.Close())
		w.p = mustOpen(t, w.o)
		q := w.inspect()
		// As long as ours it is ours; 256 bytes of something may be anybody's.
		if got, want := q.reader.file != nil, size != boardAt; got != want {
			t.Errorf("%d bytes of garbage: has a slot: %v, want %v", size, got, want)
		}
		must(t, q.Close(false))
		must(t, w.p.Close(true))
	}
}
