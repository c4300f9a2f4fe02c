package mvcc

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

func zero(t *testing.T, fs vfs.FS, off, n int64) {
	t.Helper()
	f := must(fs.Open("dir/a.pod", vfs.ReadWrite))(t)
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, n), off); err != nil {
		t.Fatal(err)
	}
}

// treePages returns the tree pages of a closed database, by level, as offsets.
func treePages(t *testing.T, fs vfs.FS) map[byte][]int64 {
	t.Helper()
	b := contentsOfFile(t, fs, "dir/a.pod")
	s := mustOpen(t, func() Options { o := testOptions(fs); o.ReadOnly = true; return o }())
	defer s.Close()
	pages := map[byte][]int64{}
	for off := 8192; off < len(b); off += 4096 {
		if kind, level := b[off+4], b[off+5]; kind == 1 && level == 0 || kind == 2 && level > 0 && level < 10 && b[off+6] > 0 {
			pages[level] = append(pages[level], int64(off))
		}
	}
	return pages
}

// Without any inner page, and without meta slots, every row is still found.
func TestSalvageWithoutInnerPagesLosesNothing(t *testing.T) {
	fs, m := salvageModel(t, 3, true)
	for level, pages := range treePages(t, fs) {
		if level > 0 {
			for _, off := range pages {
				zero(t, fs, off, 4096)
			}
		}
	}
	for _, metas := range []bool{false, true} {
		image := fs.Crash(vfs.CrashKeepAll, 1)
		if metas {
			zero(t, image, 0, 8192)
		}
		rep, err := salvage(image)
		if err != nil {
			t.Fatal(err)
		}
		if len(rep.Damage) == 0 || rep.LostPodVersions != 0 || rep.LostSecret {
			t.Fatalf("metas lost %v: %+v", metas, rep)
		}
		s := openSalvaged(t, image)
		if _, lost := checkSalvaged(t, s, m); lost != 0 {
			t.Fatalf("metas lost %v: %d answers are lost: %+v", metas, lost, rep.Lost)
		}
		s.Close()
	}
}

// A cut that took the only index took what says how much there was. The report
// must not look as if nothing had been lost.
func TestSalvageWithoutAnIndexSaysThatSomethingWasLost(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	sc := script{boxes: 20, bytes: 3000}
	for range 8 {
		must(0, sc.commit(s))(t)
	}
	must(0, s.Close())(t) // the first checkpoint: the index lies behind the blocks
	size := must(mem.Stat("dir/a.pod"))(t).Size
	made := 0
	for part := int64(20); part < 100; part += 5 {
		image := mem.Crash(vfs.CrashKeepAll, 1)
		f := must(image.Open("dir/a.pod", vfs.ReadWrite))(t)
		must(0, f.Truncate(size*part/100))(t)
		must(0, f.Close())(t)
		rep, err := salvage(image)
		if errors.Is(err, dberr.ErrNotDatabase) {
			continue
		} else if err != nil {
			t.Fatalf("%d %%: %v", part, err)
		}
		made++
		if rep.Nothing() && rep.Versions < 8 {
			t.Errorf("%d %%: the report says that nothing was lost: %+v", part, rep)
		}
	}
	if made == 0 {
		t.Error("no cut left enough to salvage")
	}
}

// One destroyed leaf costs next to nothing: blocks, commits and older leaves say
// what it held.
func TestSalvageOfOneLeafOrBlock(t *testing.T) {
	fs, m := salvageModel(t, 3, true)
	size := must(fs.Stat("dir/a.pod"))(t).Size
	most, all, pages := 0, 0, 0
	stride := int64(4096 * 37)
	if *deepFlag {
		stride = 4096 * 11
	}
	for off := int64(8192); off < size; off += stride {
		image := fs.Crash(vfs.CrashKeepAll, 1)
		zero(t, image, off, 4096)
		rep, err := salvage(image)
		if err != nil {
			t.Fatalf("page at %d: %v", off, err)
		}
		// A page of 4 KiB has at most so many rows or members.
		if rep.LostPodVersions > 250 || rep.LostCommits > 40 {
			t.Fatalf("page at %d: %d pod versions and %d commits are lost", off, rep.LostPodVersions, rep.LostCommits)
		}
		most, all, pages = max(most, int(rep.LostPodVersions)), all+int(rep.LostPodVersions), pages+1
		s := openSalvaged(t, image)
		checkSalvaged(t, s, m)
		s.Close()
	}
	t.Logf("%d pages: %d pod versions lost, at most %d with one page", pages, all, most)
}

// What was lost stays ErrCorrupt, and can be replaced.
func TestLostPodsAndNamesCanBeReplaced(t *testing.T) {
	image := newFS(t)
	s := mustOpen(t, testOptions(image))
	id, v, err := commitBox(t, s, MainBranch, "x", 0, "old")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, testOptions(image))
	s.lost = &lostRows{
		ranges:   []keyRange{{[]byte{kindName}, []byte{kindName + 1}}, {[]byte{kindVersion}, []byte{kindVersion + 1}}},
		numbers:  &Set{},
		versions: &Set{},
	}
	s.lost.numbers.Add(1)
	s.lost.versions.Add(1)
	sn := must(s.At(bg, v))(t)
	if _, err := sn.Pods(bg, []pod.ID{id}); err != nil { // found at 1: nothing can lie between
		t.Fatal(err)
	}
	if _, err := sn.Pods(bg, []pod.ID{id + 1}); !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("a pod that may have been there: %v", err)
	}
	var where *dberr.CorruptError
	if _, err := sn.Root(bg, "y"); !errors.As(err, &where) {
		t.Fatalf("a name that may have been there: %v", err)
	}
	sn.Close()
	if _, v, err = commitBox(t, s, MainBranch, "y", 0, "new"); err != nil {
		t.Fatal(err)
	}
	sn = must(s.At(bg, v))(t)
	if _, err := sn.Root(bg, "y"); err != nil {
		t.Fatal(err)
	}
	sn.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSalvageRefuses(t *testing.T) {
	image, _ := salvageModel(t, 1, true)
	o := SalvageOptions{FS: image, From: "dir/a.pod", To: "dir/a.pod"}
	if _, err := Salvage(bg, o); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("onto itself: %v", err)
	}
	o.To = "dir/new.pod"
	s := mustOpen(t, testOptions(image))
	if _, err := Salvage(bg, o); !errors.Is(err, dberr.ErrLocked) {
		t.Fatalf("while it is open: %v", err)
	}
	s.Close()
	f := must(image.Open("dir/noise", vfs.ReadWrite|vfs.Create))(t)
	if _, err := f.WriteAt(make([]byte, 100000), 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	o.From = "dir/noise"
	if _, err := Salvage(bg, o); !errors.Is(err, dberr.ErrNotDatabase) {
		t.Fatalf("of zeros: %v", err)
	}
	for _, name := range []string{"dir/new.pod", "dir/new.pod.salvage"} {
		if _, err := image.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s was left behind: %v", name, err)
		}
	}
}

func TestLostRowsAreReadAsWritten(t *testing.T) {
	l := &lostRows{
		ranges:  []keyRange{{[]byte("na"), []byte("nb")}, {[]byte("v\x00"), []byte("v\x01")}},
		numbers: &Set{}, versions: &Set{},
	}
	l.numbers.AddRange(3, 900)
	l.versions.Add(7)
	b := l.append(nil)
	got, err := decodeLostRows(b)
	if err != nil || len(got.ranges) != 2 || !got.numbers.Equal(l.numbers) || !got.versions.Equal(l.versions) {
		t.Fatalf("%+v, %v", got, err)
	}
	for i := range b {
		if _, err := decodeLostRows(b[:i]); !errors.Is(err, dberr.ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", i, err)
		}
	}
}

// A pruned database, reclaimed or not, is salvaged as it is; damage never brings
// a retired version back as another state.
func TestSalvageAfterRetention(t *testing.T) {
	for _, closed := range []bool{true, false} {
		fs, m := salvageModel(t, 4, true)
		o := testOptions(fs)
		s := mustOpen(t, o)
		if _, err := s.Prune(bg, PruneOptions{KeepLast: 7}); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if _, _, err := commitBox(t, s, MainBranch, "late", 0, "late"); err != nil {
				t.Fatal(err)
			}
		}
		heads := map[string]Version{}
		for b := range m.heads {
			heads[b] = must(s.Head(bg, b))(t)
		}
		image := fs.Crash(vfs.CrashKeepAll, 1)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if closed {
			image = fs.Crash(vfs.CrashKeepAll, 1)
		}
		whole := image.Crash(vfs.CrashKeepAll, 1)
		rep, err := salvage(whole)
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Nothing() {
			t.Fatalf("closed %v: %+v", closed, rep)
		}
		s = openSalvaged(t, whole)
		for b, v := range heads {
			if got := must(s.Head(bg, b))(t); got != v {
				t.Fatalf("head of %s is %d, expected %d", b, got, v)
			}
		}
		m.versions = m.versions[:len(m.versions):len(m.versions)]
		checkSalvaged(t, s, m)
		verifyClean(t, s)
		s.Close()
		for seed := uint64(1); seed <= 15; seed++ {
			hurt := image.Crash(vfs.CrashKeepAll, 1)
			what := damage(t, hurt, seed)
			_, err := salvage(hurt)
			if errors.Is(err, dberr.ErrNotDatabase) {
				continue
			}
			if err != nil {
				t.Fatalf("closed %v, seed %d, %s: %v", closed, seed, what, err)
			}
			s := openSalvaged(t, hurt)
			checkSalvaged(t, s, m)
			s.Close()
		}
	}
}

// One destroyed tree page of a pruned database: older copies of the page, from
// before the pruning, are told from what is left.
func TestSalvageOfOneTreePageAfterRetention(t *testing.T) {
	fs, m := salvageModel(t, 5, true)
	s := mustOpen(t, testOptions(fs))
	if _, err := s.Prune(bg, PruneOptions{KeepLast: 5}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	lost := 0
	for level, pages := range treePages(t, fs) {
		for i, off := range pages {
			if !*deepFlag && i%3 != 0 {
				continue
			}
			image := fs.Crash(vfs.CrashKeepAll, 1)
			zero(t, image, off, 4096)
			rep, err := salvage(image)
			if err != nil {
				t.Fatalf("page of level %d at %d: %v", level, off, err)
			}
			lost += int(rep.LostPodVersions)
			s := openSalvaged(t, image)
			checkSalvaged(t, s, m)
			s.Close()
		}
	}
	t.Logf("%d pod versions lost", lost)
}
