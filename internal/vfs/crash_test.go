package vfs

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
)

// oracle knows, apart from the implementation, in which states each sector of
// one file may be after a crash: the visible state at the last sync that made
// it durable and every visible state since.
type oracle struct {
	states  map[int64][][]byte
	dirty   map[int64]bool // touched since the last sync, failed or not
	written map[int64]bool // by a pending write: may be garbage
	sizes   []int64
	resized bool
	reach   int64
	cur     []byte
}

const oracleSectors = 40

func newOracle(cur []byte) *oracle {
	o := &oracle{states: map[int64][][]byte{}, dirty: map[int64]bool{}, written: map[int64]bool{},
		sizes: []int64{int64(len(cur))}, cur: cur}
	for s := range int64(oracleSectors) {
		o.states[s] = [][]byte{o.sector(s)}
	}
	return o
}

// sector returns the visible sector, zeros behind the end.
func (o *oracle) sector(s int64) []byte {
	b := make([]byte, SectorSize)
	if at := s * SectorSize; at < int64(len(o.cur)) {
		copy(b, o.cur[at:])
	}
	return b
}

func (o *oracle) change(cur []byte, off, end int64, write bool) {
	o.resized = o.resized || len(cur) != len(o.cur) || !write && int64(len(cur)) != o.sizes[0]
	o.cur = cur
	o.sizes = append(o.sizes, int64(len(cur)))
	for s := off / SectorSize; off < end && s*SectorSize < end; s++ {
		o.states[s] = append(o.states[s], o.sector(s))
		o.dirty[s] = true
		o.written[s] = o.written[s] || write
	}
	if write {
		o.reach = max(o.reach, (end+SectorSize-1)/SectorSize*SectorSize)
	}
}

func (o *oracle) synced() {
	if o.resized {
		o.cut(int64(len(o.cur)))
		o.sizes = []int64{int64(len(o.cur))}
	} else {
		reach := min(o.reach, int64(len(o.cur)))
		o.sizes[0] = max(o.sizes[0], reach)
		kept := o.sizes[:1]
		for _, size := range o.sizes[1:] {
			if size >= reach {
				kept = append(kept, size)
			}
		}
		o.sizes = kept
	}
	for s := range o.dirty {
		o.states[s] = [][]byte{o.sector(s)}
		delete(o.written, s)
	}
	o.forget()
}

// cut is a synced size: behind it everything is durable as it is visible, no
// bytes; if it shortens the durable file, the sector it cuts is written.
func (o *oracle) cut(size int64) {
	first := (size + SectorSize - 1) / SectorSize
	if size < o.sizes[0] {
		first = size / SectorSize
	}
	for s := first; s < oracleSectors; s++ {
		o.dirty[s] = true
	}
}

func (o *oracle) forget() { o.dirty, o.resized, o.reach = map[int64]bool{}, false, 0 }

// legal explains what is wrong with an image, "" if nothing is.
func (o *oracle) legal(image []byte) string {
	size := int64(len(image))
	found := false
	for _, s := range o.sizes {
		found = found || s == size
	}
	if !found {
		return fmt.Sprintf("size %d, legal are %d", size, o.sizes)
	}
	for s := int64(0); s*SectorSize < size; s++ {
		from, to := s*SectorSize, min(size, (s+1)*SectorSize)
		got := image[from:to]
		ok := false
		for _, state := range o.states[s] {
			ok = ok || bytes.Equal(got, state[:to-from])
		}
		if ok {
			continue
		}
		tagged := bytes.Contains(got, []byte(tagMark))
		if o.written[s] && !tagged {
			continue // a torn write
		}
		durable := min(max(o.sizes[0]-from, 0), to-from)
		if durable < to-from && bytes.Equal(got[:durable], o.states[s][0][:durable]) {
			if !bytes.Contains(got[durable:], []byte(tagMark)) || o.stale(got[durable:], durable) {
				continue // longer than its data
			}
		}
		return fmt.Sprintf("sector %d is none of its %d states (garbage allowed: %v)", s, len(o.states[s]), o.written[s])
	}
	return ""
}

// stale reports whether b is from the same place of some visible sector.
func (o *oracle) stale(b []byte, at int64) bool {
	for s := range int64(oracleSectors) {
		if bytes.Equal(o.sector(s)[at:at+int64(len(b))], b) {
			return true
		}
	}
	return false
}

const tagMark = "TAG!"

// tagged fills n bytes so that no two operations write the same.
func tagged(op, n int) []byte {
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.BigEndian.AppendUint32(append(b, tagMark...), uint32(op))
	}
	return b[:n]
}

// crashRun drives random operations on one file and checks every image.
type crashRun struct {
	t     *testing.T
	rng   *rand.Rand
	mem   *MemFS
	file  File
	model *oracle
	op    int
	seen  map[string]int
}

func (r *crashRun) step() {
	r.op++
	limit := int64(oracleSectors * SectorSize)
	off := r.rng.Int64N(limit)
	switch draw := r.rng.IntN(20); {
	case draw < 10:
		n := 1 + r.rng.Int64N(min(limit-off, 1+r.rng.Int64N([]int64{300, 3000, 3 * chunkSize}[r.rng.IntN(3)])))
		if r.rng.IntN(3) == 0 {
			off = off / SectorSize * SectorSize
		}
		data := tagged(r.op, int(n))
		buf := append([]byte(nil), data...)
		_, err := r.file.WriteAt(buf, off)
		must(r.t, err)
		clear(buf) // the caller may use its buffer again
		cur := append([]byte(nil), r.model.cur...)
		cur = append(cur, make([]byte, max(0, off+n-int64(len(cur))))...)
		copy(cur[off:], data)
		r.model.change(cur, off, off+n, true)
	case draw < 13:
		must(r.t, r.file.Truncate(off))
		r.resized(off)
	case draw < 14:
		must(r.t, r.file.Preallocate(0, off+1))
		r.resized(max(off+1, int64(len(r.model.cur))))
	case draw < 17:
		must(r.t, r.file.SyncData())
		r.model.synced()
	case draw < 18:
		r.mem.FailSync(1)
		mustBe(r.t, r.file.SyncData(), syscall.EIO)
		r.model.forget()
	case draw < 19:
		r.restart(r.mem.Restart(), r.model)
	default:
		image := r.mem.Crash(CrashMix, r.rng.Uint64())
		file := open(r.t, image, "dir/file", 0)
		r.restart(image, newOracle(read(r.t, file)))
		r.seen["image of image"]++
	}
}

func (r *crashRun) resized(size int64) {
	old := int64(len(r.model.cur))
	cur := append([]byte(nil), r.model.cur[:min(size, old)]...)
	cur = append(cur, make([]byte, size-int64(len(cur)))...)
	r.model.change(cur, size, max(size, old), false)
}

func (r *crashRun) restart(mem *MemFS, model *oracle) {
	r.mem, r.model = mem, model
	r.file = open(r.t, mem, "dir/file", ReadWrite)
}

func (r *crashRun) check() {
	if got := read(r.t, r.file); !bytes.Equal(got, r.model.cur) {
		r.t.Fatalf("op %d: visible contents differ from the model", r.op)
	}
	for kind := CrashLoseAll; kind <= CrashMix; kind++ {
		seed := r.rng.Uint64()
		image := r.mem.Crash(kind, seed)
		got := contents(r.t, image, "dir/file")
		if wrong := r.model.legal([]byte(got)); wrong != "" {
			r.t.Fatalf("op %d, %v image %d: %s", r.op, kind, seed, wrong)
		}
		if image.Lost() != (got != string(r.model.cur)) {
			r.t.Fatalf("op %d, %v image %d: Lost is %v", r.op, kind, seed, image.Lost())
		}
		if again := contents(r.t, r.mem.Crash(kind, seed), "dir/file"); again != got {
			r.t.Fatalf("op %d, %v image %d: not the same twice", r.op, kind, seed)
		}
		if kind == CrashKeepAll && image.Lost() {
			r.t.Fatalf("op %d: keep-all lost something", r.op)
		}
		r.note(kind, got)
	}
}

// note marks what kinds of damage the run has met.
func (r *crashRun) note(kind CrashKind, got string) {
	if got != string(r.model.cur) {
		r.seen[kind.String()+" lost"]++
	}
	if kind != CrashMix {
		return
	}
	if int64(len(got)) > r.model.sizes[0] {
		r.seen["longer"]++
	}
	for s := int64(0); s*SectorSize < int64(len(got)); s++ {
		end := min(int64(len(got)), (s+1)*SectorSize)
		sector := got[s*SectorSize : end]
		at := -1
		for i, state := range r.model.states[s] {
			if sector == string(state[:len(sector)]) {
				at = i
			}
		}
		switch {
		case at < 0 && end <= r.model.sizes[0]:
			r.seen["garbage"]++
		case at < 0:
			r.seen["garbage behind the durable end"]++
		case at > 0 && at < len(r.model.states[s])-1:
			r.seen["partial history"]++
		}
	}
}

func eachSeed(t *testing.T, n int, run func(t *testing.T, seed uint64)) {
	for seed := range uint64(n) {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("replay: go test ./internal/vfs -run '^%s$'", t.Name())
				}
			})
			run(t, seed)
		})
	}
}

func TestEveryImageIsLegal(t *testing.T) {
	seen := map[string]int{}
	eachSeed(t, 60, func(t *testing.T, seed uint64) {
		seen["runs"]++
		mem := NewMem()
		must(t, mem.MkdirAll("dir"))
		put(t, mem, "dir/file", "")
		must(t, mem.SyncDir("dir"))
		must(t, mem.SyncDir(""))
		r := &crashRun{t: t, rng: rand.New(rand.NewPCG(seed, 1)), mem: mem, model: newOracle(nil), seen: seen}
		r.file = open(t, mem, "dir/file", ReadWrite)
		for range 80 {
			r.step()
			r.check()
		}
	})
	if t.Failed() || seen["runs"] < 60 { // replaying one seed
		return
	}
	for _, mark := range []string{"lose-all lost", "newest-only lost", "mix lost", "longer", "garbage",
		"garbage behind the durable end", "partial history", "image of image"} {
		if seen[mark] == 0 {
			t.Errorf("no image had: %s", mark)
		}
	}
}

// images calls check with every kind and many seeds.
func images(t *testing.T, mem *MemFS, check func(image *MemFS, what string)) {
	t.Helper()
	for kind := CrashLoseAll; kind <= CrashMix; kind++ {
		for seed := range uint64(60) {
			check(mem.Crash(kind, seed), fmt.Sprintf("%v image %d", kind, seed))
		}
	}
}

// durableFile makes an empty file that no crash takes away.
func durableFile(t *testing.T) (*MemFS, File) {
	mem := NewMem()
	file := open(t, mem, "file", ReadWrite|Create)
	must(t, mem.SyncDir(""))
	must(t, file.Sync())
	return mem, file
}

func TestSyncedDataSurviveEveryImage(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, "kept")
	must(t, file.SyncData())
	write(t, file, SectorSize, "at risk")
	images(t, mem, func(image *MemFS, what string) {
		if got := contents(t, image, "file"); got[:4] != "kept" {
			t.Fatalf("%s: %q", what, got[:4])
		}
	})
}

func TestFailedSyncIsNotHealedByTheNext(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, "first")
	mem.FailSync(1)
	mustBe(t, file.SyncData(), syscall.EIO)
	must(t, file.SyncData())
	write(t, file, 3*SectorSize, "other sector")
	must(t, file.SyncData())
	if got := read(t, file); string(got[:5]) != "first" {
		t.Fatalf("the operation is not visible: %q", got[:5])
	}
	lostIt := func(m *MemFS) bool {
		got := contents(t, m.Crash(CrashLoseAll, 0), "file")
		return got[:5] != "first" && got[3*SectorSize:] == "other sector"
	}
	if !lostIt(mem) {
		t.Fatal("a later sync healed the failed one")
	}
	next := mem.Restart()
	again := open(t, next, "file", ReadWrite)
	must(t, again.Sync())
	if !lostIt(next) {
		t.Fatal("the next process's sync healed the failed one")
	}
	write(t, again, 0, string(read(t, again)))
	must(t, again.SyncData())
	images(t, next, func(image *MemFS, what string) {
		if got := contents(t, image, "file"); got[:5] != "first" || image.Lost() {
			t.Fatalf("%s: written again and lost: %q", what, got[:5])
		}
	})
}

func TestWhatIsWrittenEarlyIsNotDurable(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, "later")
	must(t, file.(EarlyWriter).StartWrite(0, 5))
	must(t, file.(EarlyWriter).AwaitWrite(0, 5))
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); strings.HasPrefix(got, "later") {
		t.Fatal("written early and durable")
	}
	fault := NewFault(mem)
	again := open(t, fault, "file", ReadWrite)
	fault.FailKind(OpSync, syscall.EIO, false)
	mustBe(t, again.(EarlyWriter).AwaitWrite(0, 5), syscall.EIO)
	must(t, again.Sync())
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); strings.HasPrefix(got, "later") {
		t.Fatal("a sync healed a failed early write")
	}
}

func TestFailedSizeIsHealedBySettingItAgain(t *testing.T) {
	for name, again := range map[string]func(File) error{
		"truncate":    func(f File) error { return f.Truncate(1000) },
		"preallocate": func(f File) error { return f.Preallocate(500, 500) },
	} {
		mem, file := durableFile(t)
		must(t, file.Truncate(1000))
		mem.FailSync(1)
		mustBe(t, file.Sync(), syscall.EIO)
		must(t, file.Sync())
		if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); len(got) != 0 {
			t.Fatalf("%s: healed by a sync", name)
		}
		must(t, again(file))
		must(t, file.Sync())
		if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); len(got) != 1000 {
			t.Fatalf("%s: size %d", name, len(got))
		}
	}
}

func TestSyncedCutWritesTheSectorItCuts(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, string(bytes.Repeat([]byte("x"), 1000)))
	must(t, file.Sync())
	write(t, file, 520, "older than the cut")
	must(t, file.Truncate(100))
	mem.FailSync(1)
	mustBe(t, file.Sync(), syscall.EIO)
	must(t, file.Truncate(600))
	must(t, file.Sync())
	images(t, mem, func(image *MemFS, what string) {
		if got := contents(t, image, "file")[SectorSize:]; got != string(make([]byte, 600-SectorSize)) {
			t.Fatalf("%s: %q", what, got)
		}
	})
	want := append(bytes.Repeat([]byte("x"), SectorSize), make([]byte, 600-SectorSize)...)
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); got != string(want) {
		t.Fatalf("%q", got)
	}
}

func TestSyncedGrowthDoesNotTearAFailedWrite(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, strings.Repeat("y", SectorSize))
	must(t, file.Truncate(0))
	mem.FailSync(1)
	mustBe(t, file.Sync(), syscall.EIO)
	must(t, file.Truncate(100))
	must(t, file.Sync())
	must(t, file.Truncate(SectorSize))
	must(t, file.Sync())
	images(t, mem, func(image *MemFS, what string) {
		got := contents(t, image, "file")
		if strings.HasPrefix(got, "yyyyyyyy") != strings.HasSuffix(got, "yyyyyyyy") {
			t.Fatalf("%s: one sector kept order in a part of it: %q", what, got)
		}
	})
}

func TestWriteAfterSyncLeavesDurableBytesAlone(t *testing.T) {
	mem, file := durableFile(t)
	want := tagged(1, 3*chunkSize)
	write(t, file, 0, string(want))
	must(t, file.Sync())
	write(t, file, 0, string(tagged(2, 3*chunkSize)))
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); got != string(want) {
		t.Fatal("an unsynced write reached the durable bytes")
	}
}

func TestNewestOnlyReorders(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, "older")
	write(t, file, SectorSize, "newer")
	image := mem.Crash(CrashNewestOnly, 0)
	got := contents(t, image, "file")
	if got[:5] == "older" || got[SectorSize:] != "newer" || !image.Lost() {
		t.Fatalf("%q then %q", got[:5], got[SectorSize:])
	}
	// Two files: the newest of all, or with an odd seed the newest of each.
	put(t, mem, "second", "")
	must(t, mem.SyncDir(""))
	second := open(t, mem, "second", ReadWrite)
	write(t, second, 0, "newest")
	if got := contents(t, mem.Crash(CrashNewestOnly, 2), "file"); len(got) != 0 {
		t.Fatalf("not the newest: %q", got)
	}
	image = mem.Crash(CrashNewestOnly, 3)
	if got := contents(t, image, "file"); got[SectorSize:] != "newer" {
		t.Fatalf("the newest of the first file: %q", got)
	}
	if got := contents(t, image, "second"); got != "newest" {
		t.Fatalf("the newest of the second file: %q", got)
	}
}

func TestImagesAndOriginalAreIndependent(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, string(tagged(1, 3*chunkSize)))
	must(t, file.Sync())
	image := mem.Crash(CrashKeepAll, 0)
	write(t, open(t, image, "file", ReadWrite), 10, "image")
	write(t, file, chunkSize, "original")
	must(t, file.Sync())
	next := mem.Restart()
	write(t, open(t, next, "file", ReadWrite), 0, "next")
	must(t, image.Rename("file", "gone"))

	want := tagged(1, 3*chunkSize)
	copy(want[chunkSize:], "original")
	if got := contents(t, mem, "file"); got != string(want) {
		t.Fatal("the original changed")
	}
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); got != string(want) {
		t.Fatal("the original's durable bytes changed")
	}
	want = tagged(1, 3*chunkSize)
	if got := contents(t, image.Crash(CrashLoseAll, 0), "file"); got != string(want) {
		t.Fatal("the image's durable bytes changed")
	}
}

func TestImageHasNoLocksAndCountsFromZero(t *testing.T) {
	mem, file := durableFile(t)
	must(t, file.Lock())
	mem.CrashAt(mem.Ops() + 1)
	_, err := file.WriteAt([]byte("x"), 0)
	mustBe(t, err, ErrCrashed)
	for _, next := range []*MemFS{mem.Crash(CrashKeepAll, 0), mem.Restart()} {
		other := open(t, next, "file", ReadWrite)
		must(t, other.Lock())
		write(t, other, 0, "goes on")
	}
	if mem.Crash(CrashKeepAll, 0).Ops() != 0 {
		t.Fatal("an image begins with operations")
	}
}

func TestCrashAtStopsEverythingFromThere(t *testing.T) {
	workload := func(mem *MemFS) (err error) {
		if err := mem.MkdirAll("d"); err != nil {
			return err
		}
		file, err := mem.Open("d/f", ReadWrite|Create)
		if err != nil {
			return err
		}
		defer file.Close()
		for _, step := range []func() error{
			func() error { _, err := file.WriteAt([]byte("data"), 0); return err },
			func() error { return file.Preallocate(0, 100) },
			func() error { return file.Truncate(50) },
			file.SyncData, file.Sync,
			func() error { return mem.Rename("d/f", "d/g") },
			func() error { return mem.SyncDir("d") },
			func() error { return mem.Remove("d/g") },
		} {
			if err := step(); err != nil {
				return err
			}
		}
		return nil
	}
	whole := NewMem()
	must(t, workload(whole))
	if whole.Ops() != 10 {
		t.Fatalf("%d operations", whole.Ops())
	}
	for n := 1; n <= whole.Ops(); n++ {
		mem := NewMem()
		mem.CrashAt(n)
		mustBe(t, workload(mem), ErrCrashed)
		if !mem.Crashed() {
			t.Fatal("not crashed")
		}
		_, statErr := mem.Stat("d")
		_, listErr := mem.List("")
		_, openErr := mem.Open("d/f", 0)
		for _, err := range []error{statErr, listErr, openErr, mem.MkdirAll("x"), mem.Remove("d/f"), mem.SyncDir("")} {
			mustBe(t, err, ErrCrashed)
		}
		left := mem.Crash(CrashKeepAll, 0)
		if _, err := left.Stat("d/g"); (err == nil) != (n == 9 || n == 10) {
			t.Fatalf("crash at %d: %v", n, err)
		}
	}
}

func TestDroppedSyncLosesData(t *testing.T) {
	mem, file := durableFile(t)
	write(t, file, 0, "data")
	mem.DropSync(1)
	must(t, file.SyncData())
	if image := mem.Crash(CrashLoseAll, 0); !image.Lost() || contents(t, image, "file") != "" {
		t.Fatal("the dropped sync worked")
	}
	must(t, file.SyncData())
	if image := mem.Crash(CrashLoseAll, 0); image.Lost() || contents(t, image, "file") != "data" {
		t.Fatal("the next sync did not work")
	}
	mem.DropSync(-1)
	for range 3 {
		write(t, file, 0, "more")
		must(t, file.Sync())
	}
	if !mem.Crash(CrashLoseAll, 0).Lost() {
		t.Fatal("a negative count does not drop every sync")
	}
}

func TestCreatedFileNeedsItsDirectorySynced(t *testing.T) {
	mem := NewMem()
	put(t, mem, "file", "synced contents")
	with, without := 0, 0
	images(t, mem, func(image *MemFS, what string) {
		if _, err := image.Stat("file"); err != nil {
			mustBe(t, err, fs.ErrNotExist)
			without++
			if !image.Lost() {
				t.Fatalf("%s: lost a file and does not say so", what)
			}
			return
		}
		with++
		if got := contents(t, image, "file"); got != "synced contents" {
			t.Fatalf("%s: the entry survived, the synced contents did not: %q", what, got)
		}
	})
	if with == 0 || without == 0 {
		t.Fatalf("%d images with the file, %d without", with, without)
	}
	must(t, mem.SyncDir(""))
	images(t, mem, func(image *MemFS, what string) {
		if got := contents(t, image, "file"); got != "synced contents" || image.Lost() {
			t.Fatalf("%s: %q", what, got)
		}
	})
}
