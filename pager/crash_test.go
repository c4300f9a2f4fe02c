package pager

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// history is what a series of batches made: states[i] is the model at log
// position firstLogPos+i.
type history struct {
	states  []*model
	acked   int // the last commit that returned nil
	begun   int // the last commit that was called
	opened  bool
	opening bool
	chosen  int                // while opening: the newest state that can be seen
	log     []map[Place][]byte // the extents that a log names, in order
}

func newHistory() *history { return &history{states: []*model{newModel()}} }

// session opens the file, runs some batches, and closes, until an error.
// every, if not nil, is called after each commit.
func (h *history) session(o Options, r *rand.Rand, batches int, clean bool, every func(*Pager) error) error {
	h.opening, h.chosen = true, newestSeen(o.FS)
	p, err := Open(context.Background(), o)
	if err != nil {
		return err
	}
	defer p.Close(false)
	h.opened, h.opening = true, false
	if at := int(p.State().LogPos - firstLogPos); at > h.acked && at <= h.begun {
		h.acked = at // in doubt until a session rests on it
	}
	p.openedBytes = 128 << 10
	if err := h.recover(p, h.acked); err != nil {
		return err
	}
	if err := p.MarkUnclean(context.Background()); err != nil {
		return err
	}
	for i := range batches {
		last := i == batches-1 && clean
		if err := h.writeExtents(p, r); err != nil {
			return err
		}
		b, err := p.Begin()
		if err != nil {
			return err
		}
		next := h.states[h.acked].clone()
		if err := h.adopt(b, next, r); err != nil {
			b.Abort()
			return err
		}
		if !last {
			if err := h.writeExtents(p, r); err != nil {
				b.Abort()
				return err
			}
		}
		err = next.change(b, r, 300, r.IntN(120))
		if err == nil && r.IntN(4) == 0 {
			err = next.pack(b, p)
		}
		if err != nil {
			b.Abort()
			return err
		}
		if !last && r.IntN(8) == 0 {
			b.Abort()
			continue
		}
		h.states = append(h.states[:h.acked+1], next)
		h.begun = h.acked + 1
		if err := b.Commit(context.Background(), firstLogPos+uint64(h.begun), last); err != nil {
			return err
		}
		h.acked = h.begun
		if r.IntN(4) == 0 {
			if err := p.Shrink(context.Background()); err != nil {
				return err
			}
		}
		if every != nil {
			if err := every(p); err != nil {
				return err
			}
		}
	}
	return p.Close(clean)
}

// run is a few sessions: fewer with bigger pages, which take longer.
func (h *history) run(o Options, r *rand.Rand) error {
	for i := range 5 - o.PageSize/4096 {
		if err := h.session(o, r, 4, i%2 == 0, nil); err != nil {
			return err
		}
	}
	return nil
}

// verify opens an image and returns which state it holds.
func (h *history) verify(o Options) (int, error) {
	p, err := Open(context.Background(), o)
	if err != nil {
		return 0, err
	}
	defer p.Close(false)
	at := int(p.State().LogPos - firstLogPos)
	if at < 0 || at >= len(h.states) {
		return 0, fmt.Errorf("log position %d", p.State().LogPos)
	}
	if err := h.recover(p, at); err != nil {
		return at, err
	}
	return at, h.states[at].verify(p)
}

func (h *history) verifyImage(image vfs.FS, pageSize int) error {
	least := h.acked
	if h.opening && h.tornMeta(image) {
		least = max(min(least, h.chosen-1), 0)
	}
	at, err := h.verify(testOptions(image, pageSize))
	if errors.Is(err, fs.ErrNotExist) && !h.opened {
		return nil // the directory itself, before anything was acknowledged
	}
	if err != nil {
		return err
	}
	if at < least || at > h.begun {
		return fmt.Errorf("state %d, acknowledged %d, begun %d", at, h.acked, h.begun)
	}
	return nil
}

var crashImages = []struct {
	kind vfs.CrashKind
	seed uint64
}{
	{vfs.CrashLoseAll, 1}, {vfs.CrashKeepAll, 1}, {vfs.CrashNewestOnly, 0}, {vfs.CrashNewestOnly, 1},
	{vfs.CrashMix, 1}, {vfs.CrashMix, 2},
}

// everySo is the step between operations that are tried: n, or all with -pager.deep.
func everySo(n int) int {
	if *deepFlag {
		return 1
	}
	return n
}

func crashOps(t *testing.T, seed uint64, pageSize int) int {
	mem := newFS(t)
	if err := newHistory().run(testOptions(mem, pageSize), rand.New(rand.NewPCG(seed, 2))); err != nil {
		t.Fatal(err)
	}
	return mem.Ops()
}

func TestAfterACrashAtAnyOperationTheStateIsTheAcknowledgedOne(t *testing.T) {
	for _, pageSize := range []int{4096, 8192} {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			seed := seeded(t, uint64(pageSize)).Uint64()
			ops := crashOps(t, seed, pageSize)
			lost, tried := 0, 0
			step := pageSize / 4096 * everySo(5)
			for n := 1; n <= ops; n += step {
				tried++
				mem := newFS(t)
				mem.CrashAt(n)
				h := newHistory()
				if err := h.run(testOptions(mem, pageSize), rand.New(rand.NewPCG(seed, 2))); err == nil && n < ops {
					t.Fatalf("no error although the machine died at operation %d", n)
				}
				for _, c := range crashImages {
					image := mem.Crash(c.kind, c.seed+uint64(n)*10)
					if image.Lost() {
						lost++
					}
					if err := h.verifyImage(image, pageSize); err != nil {
						t.Fatalf("crash at operation %d of %d, image %v %d: %v", n, ops, c.kind, c.seed, err)
					}
				}
				if tried%8 == 0 {
					crashTwice(t, mem, h, n, pageSize)
				}
			}
			t.Logf("%d of %d operations, %d images that lost data", tried, ops, lost)
			if lost < tried {
				t.Errorf("only %d images lost data", lost)
			}
		})
	}
}

// tornMeta reports whether a meta slot reads as invalid. An image may then hold
// the state before the acknowledged one if it was made by a crash of an open,
// which writes the newest meta again: if that is torn the older one is the
// root, and the log, which is held as long, has the rest.
func (h *history) tornMeta(image vfs.FS) bool {
	valid, _ := readSlots(image)
	return valid < 2
}

// readSlots returns how many meta slots are valid and the log position of the
// newest.
func readSlots(image vfs.FS) (valid int, newest meta) {
	f, err := image.Open(testPath, 0)
	if err != nil {
		return 2, newest
	}
	defer f.Close()
	for slot := range 2 {
		b := make([]byte, metaSize)
		_, _ = f.ReadAt(b, slotOffset(slot))
		if m, state, _ := decodeMeta(b, slot); state == slotValid {
			valid++
			if m.generation > newest.generation {
				newest = m
			}
		}
	}
	return valid, newest
}

func newestSeen(image vfs.FS) int {
	_, m := readSlots(image)
	return int(m.logPos) - firstLogPos
}

// crashTwice crashes in every operation of the open that follows a crash.
func crashTwice(t *testing.T, mem *vfs.MemFS, h *history, n, pageSize int) {
	for k := 1; ; k++ {
		image := mem.Crash(vfs.CrashMix, uint64(n))
		before := image.Ops()
		seen := newestSeen(image)
		image.CrashAt(before + k)
		p, err := Open(context.Background(), testOptions(image, pageSize))
		if err == nil {
			p.Close(false)
		}
		for _, c := range crashImages {
			h.opening, h.chosen = true, seen
			if err := h.verifyImage(image.Crash(c.kind, c.seed+uint64(k)), pageSize); err != nil {
				t.Fatalf("crash at operation %d, then at %d of opening (%v %d): %v", n, k, c.kind, c.seed, err)
			}
		}
		if err == nil {
			return
		}
	}
}

// After a failed sync the process exits and another one goes on from what the
// system shows; then the power fails. What the second one acknowledged and
// what it built on must be there.
func TestWhatAReopenAfterAFailedSyncRestsOnSurvivesAPowerCut(t *testing.T) {
	const pageSize = 4096
	seed := seeded(t, 77).Uint64()
	tried := 0
	for n := 1; ; n++ {
		mem := newFS(t)
		h := newHistory()
		r := rand.New(rand.NewPCG(seed, 3))
		if err := h.session(testOptions(mem, pageSize), r, 3, n%2 == 0, nil); err != nil {
			t.Fatal(err)
		}
		mem.FailSync(n)
		err := h.session(testOptions(mem, pageSize), r, 6, true, nil)
		if err == nil {
			break
		}
		tried++
		mem = mem.Restart()
		h.dieWhileReopened(t, mem, n, pageSize)
		o := testOptions(mem, pageSize)
		at, err := h.verify(o)
		if err != nil || at < h.acked || at > h.begun {
			t.Fatalf("failed sync %d: state %d, acknowledged %d, begun %d: %v", n, at, h.acked, h.begun, err)
		}
		h.acked, h.begun = at, at
		for _, c := range crashImages {
			if err := h.verifyImage(mem.Crash(c.kind, c.seed+uint64(n)), pageSize); err != nil {
				t.Fatalf("failed sync %d, opened, power cut (%v %d): %v", n, c.kind, c.seed, err)
			}
		}
		for range 2 {
			if err := h.session(o, r, 2, false, nil); err != nil {
				t.Fatal(err)
			}
			for _, c := range crashImages {
				if err := h.verifyImage(mem.Crash(c.kind, c.seed+uint64(n)), pageSize); err != nil {
					t.Fatalf("failed sync %d, reopened, power cut (%v %d): %v", n, c.kind, c.seed, err)
				}
			}
		}
	}
	if tried < 10 {
		t.Errorf("only %d syncs failed", tried)
	}
}

// dieWhileReopened lets the power fail at each of the first operations of the
// process that comes after a failed sync.
func (h *history) dieWhileReopened(t *testing.T, mem *vfs.MemFS, n, pageSize int) {
	for k := 1; k <= 7; k++ {
		next := mem.Restart()
		next.CrashAt(next.Ops() + k)
		after := *h
		after.states, after.log = slices.Clone(h.states), slices.Clone(h.log)
		_ = after.session(testOptions(next, pageSize), rand.New(rand.NewPCG(uint64(k), 5)), 2, false, nil)
		for seed := range uint64(20) {
			if err := after.verifyImage(next.Crash(vfs.CrashMix, seed), pageSize); err != nil {
				t.Fatalf("failed sync %d, power cut at operation %d after it (image %d): %v", n, k, seed, err)
			}
		}
	}
}

// The twin of a clean meta never reaches the disk, and shows nevertheless. The
// next session must not write over the one that did.
func TestTheFirstMetaWriteOfASessionSparesTheDurableTwin(t *testing.T) {
	const pageSize = 4096
	mem := newFS(t)
	h := newHistory()
	r := seeded(t, 80)
	o := testOptions(mem, pageSize)
	must(t, h.session(o, r, 2, false, nil))
	p := mustOpen(t, o)
	must(t, p.MarkUnclean(context.Background()))
	b, err := p.Begin()
	must(t, err)
	must(t, b.Put([]byte("k"), nil))
	mem.FailSync(3) // data, meta, twin
	if err := b.Commit(context.Background(), 99, true); !errors.Is(err, dberr.ErrPoisoned) {
		t.Fatal(err)
	}
	must(t, p.Close(true))
	next := mem.Restart()
	p = mustOpen(t, testOptions(next, pageSize))
	if !p.State().Clean {
		t.Fatal("both slots should read clean")
	}
	for k := 1; k <= 4; k++ {
		dying := next.Restart()
		p := mustOpen(t, testOptions(dying, pageSize))
		dying.CrashAt(dying.Ops() + k)
		_ = p.MarkUnclean(context.Background())
		for seed := range uint64(200) {
			q := mustOpen(t, testOptions(dying.Crash(vfs.CrashMix, seed), pageSize))
			if pos := q.State().LogPos; pos != 99 {
				t.Fatalf("operation %d, image %d: log position %d", k, seed, pos)
			}
			q.Close(false)
		}
	}
}

// The process dies at any operation, another one goes on from what the system
// shows, then the power fails.
func TestWhatAReopenAfterAProcessDeathRestsOnSurvivesAPowerCut(t *testing.T) {
	const pageSize = 8192
	seed := seeded(t, 78).Uint64()
	ops := crashOps(t, seed, pageSize)
	for n := 1; n <= ops; n++ {
		if n > 30 && n%(4*everySo(3)) != 0 { // creation and the first session whole
			continue
		}
		mem := newFS(t)
		mem.CrashAt(n)
		h := newHistory()
		_ = h.run(testOptions(mem, pageSize), rand.New(rand.NewPCG(seed, 2)))
		mem = mem.Restart()
		o := testOptions(mem, pageSize)
		at, err := h.verify(o)
		if err != nil || at < h.acked || at > h.begun {
			t.Fatalf("died at operation %d: state %d, acknowledged %d, begun %d: %v", n, at, h.acked, h.begun, err)
		}
		h.acked, h.begun, h.opened = at, at, true
		r := rand.New(rand.NewPCG(seed, 4))
		if err := h.session(o, r, 3, n%2 == 0, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range crashImages {
			if err := h.verifyImage(mem.Crash(c.kind, c.seed+uint64(n)), pageSize); err != nil {
				t.Fatalf("died at operation %d, reopened, power cut (%v %d): %v", n, c.kind, c.seed, err)
			}
		}
	}
}

func TestAFailedSyncPoisons(t *testing.T) {
	for n := 1; n <= 2; n++ {
		mem := newFS(t)
		p := mustOpen(t, testOptions(mem, 4096))
		must(t, p.MarkUnclean(context.Background()))
		b, err := p.Begin()
		must(t, err)
		must(t, b.Put([]byte("a"), []byte("b")))
		mem.FailSync(n)
		if err := b.Commit(context.Background(), 9, false); !errors.Is(err, dberr.ErrPoisoned) {
			t.Fatalf("sync %d: %v", n, err)
		}
		if _, err := p.Begin(); !errors.Is(err, dberr.ErrPoisoned) {
			t.Fatalf("Begin after poison: %v", err)
		}
		if err := p.MarkUnclean(context.Background()); !errors.Is(err, dberr.ErrPoisoned) {
			t.Fatalf("MarkUnclean after poison: %v", err)
		}
		must(t, newModel().compare(p))
		ops := mem.Ops()
		must(t, p.Close(true))
		if mem.Ops() != ops {
			t.Error("Close of a poisoned file wrote")
		}
	}
}

// corruptSlot flips a bit in the newest (or older) meta of a closed file.
func corruptSlot(t *testing.T, mem vfs.FS, newest bool) {
	t.Helper()
	f, err := mem.Open(testPath, vfs.ReadWrite)
	must(t, err)
	defer f.Close()
	var gen [2]uint64
	for slot := range gen {
		b := make([]byte, metaSize)
		_, err := f.ReadAt(b, slotOffset(slot))
		must(t, err)
		m, state, _ := decodeMeta(b, slot)
		if state == slotValid {
			gen[slot] = m.generation
		}
	}
	slot := 0
	if (gen[1] > gen[0]) == newest {
		slot = 1
	}
	flip(t, f, slotOffset(slot)+60, 3)
}

func flip(t *testing.T, f vfs.File, off int64, bit int) {
	t.Helper()
	var b [1]byte
	_, err := f.ReadAt(b[:], off)
	must(t, err)
	b[0] ^= 1 << bit
	_, err = f.WriteAt(b[:], off)
	must(t, err)
}

func TestEitherMetaIsAFullRootAtAnyTime(t *testing.T) {
	r := seeded(t, 9)
	mem := newFS(t)
	o := testOptions(mem, 4096)
	h := newHistory()
	fell := 0
	for i := range 12 {
		err := h.session(o, r, 4, i%3 == 0, func(p *Pager) error {
			want := p.State()
			for _, newest := range []bool{true, false} {
				image := mem.Crash(vfs.CrashKeepAll, 1)
				corruptSlot(t, image, newest)
				at, err := h.verify(testOptions(image, 4096))
				if err != nil {
					return fmt.Errorf("newest %v: %w", newest, err)
				}
				expect := want.LogPos
				if newest {
					expect = want.OldestLog
				}
				if uint64(at)+firstLogPos != expect {
					return fmt.Errorf("newest %v: log position %d, wanted %d", newest, at+firstLogPos, expect)
				}
				if expect != want.LogPos {
					fell++
				}
				q := mustOpen(t, testOptions(image, 4096)) // repaired by the first open
				if q.State().Damage != "" {
					return fmt.Errorf("damage stayed: %s", q.State().Damage)
				}
				q.Close(false)
			}
			return nil
		})
		must(t, err)
	}
	if fell < 10 {
		t.Errorf("fell back only %d times", fell)
	}
}

// Also while a batch writes: at any operation, with the newest meta damaged,
// the older one has all that it needs.
func TestTheOlderMetaIsAFullRootWhileABatchWrites(t *testing.T) {
	const pageSize = 8192
	seed := seeded(t, 79).Uint64()
	ops := crashOps(t, seed, pageSize)
	for n := 30; n <= ops; n += everySo(5) {
		mem := newFS(t)
		mem.CrashAt(n)
		h := newHistory()
		_ = h.run(testOptions(mem, pageSize), rand.New(rand.NewPCG(seed, 2)))
		image := mem.Crash(vfs.CrashKeepAll, 1)
		corruptSlot(t, image, true)
		if at, err := h.verify(testOptions(image, pageSize)); err != nil || at > h.begun || at < h.acked-1 {
			t.Fatalf("operation %d: state %d, acknowledged %d: %v", n, at, h.acked, err)
		}
	}
}

func TestAFullDiskChangesNothing(t *testing.T) {
	r := seeded(t, 31)
	failed := 0
	for kind := range 3 {
		for n := 1; ; n++ {
			fault := vfs.NewFault(newFS(t))
			o := testOptions(fault, 4096)
			p := mustOpen(t, o)
			m := newModel()
			b, err := p.Begin()
			must(t, err)
			must(t, m.change(b, r, 300, 100))
			must(t, b.Commit(context.Background(), 9, false))
			if kind == 0 {
				fault.FailOp(fault.Ops()+n, vfs.ErrDiskFull)
			} else if kind == 1 {
				fault.ShortWrite(n, vfs.ErrDiskFull)
			} else {
				fault.Space(int64(n-1) * 8192)
			}
			b, err = p.Begin()
			must(t, err)
			next := m.clone()
			err = next.change(b, r, 300, 2000)
			if err == nil {
				err = b.Commit(context.Background(), 10, false)
			}
			b.Abort()
			fault.Heal()
			if err == nil {
				must(t, next.verify(p))
				must(t, p.Close(true))
				break
			}
			failed++
			if p.Poisoned() != nil { // the failing operation was a sync
				must(t, p.Close(true))
				continue
			}
			if !errors.Is(err, dberr.ErrDiskFull) {
				t.Fatalf("operation %d: %v", n, err)
			}
			if valid, _ := readSlots(fault); valid != 2 {
				t.Fatalf("operation %d: a meta slot was left torn", n)
			}
			must(t, m.verify(p))
			b, err = p.Begin()
			must(t, err)
			must(t, m.change(b, r, 300, 100))
			must(t, b.Commit(context.Background(), 11, true))
			must(t, m.verify(p))
			must(t, p.Close(true))
			p = mustOpen(t, o)
			must(t, m.verify(p))
			must(t, p.Close(true))
		}
	}
	if failed < 6 {
		t.Errorf("only %d failures", failed)
	}
}
