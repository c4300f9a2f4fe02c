package mvcc

import (
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

var (
	salvageSeed    = flag.Uint64("mvcc.salvage", 0, "seed of one damage of the salvage test; 0 = many")
	salvageDamages = flag.Int("mvcc.damages", 50, "damages of the salvage test")
	deepFlag       = flag.Bool("mvcc.deep", false, "three times as many damages and destroyed pages in the salvage tests")
)

// salvageModel makes a database with branches, shared bodies, patches, big
// commits and a few checkpoints. It is closed, or left as a power cut finds it.
func salvageModel(t *testing.T, seed uint64, closed bool) (*vfs.MemFS, *model) {
	t.Helper()
	fs := newFS(t)
	o := testOptions(fs)
	o.SegmentBytes, o.streamFrom, o.maxLineage = 16<<10, 8<<10, 1
	s := mustOpen(t, o)
	m := newModel()
	rng := rand.New(rand.NewPCG(seed, 3))
	for i := range 90 {
		switch {
		case i == 12 || i == 40 || i == 44 || i == 60:
			name := fmt.Sprintf("b%d", len(m.heads))
			at := Version(rng.IntN(len(m.versions)))
			if i > 40 { // deep: it begins with a copy
				at = m.heads[fmt.Sprintf("b%d", len(m.heads)-1)]
			}
			if err := s.CreateBranch(bg, name, at); err != nil {
				t.Fatal(err)
			}
			m.branched(t, s, name, at)
		case i%17 == 0 || i == 71:
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
		branch := pick(rng, slices.Sorted(maps.Keys(m.heads)))
		x := m.begin(t, s, rng, branch, m.heads[branch])
		if i%20 == 3 {
			must(x.tx.Type(bg, fmt.Appendf(nil, "type %d", i)))(t)
		}
		x.fill(t)
		if i == 50 { // its ids lie in chunk rows
			for range 600 {
				x.put(t, x.change(x.tx.NewPod(), nil))
			}
		}
		x.commit(t)
	}
	if closed {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return fs, m
	}
	image := fs.Crash(vfs.CrashKeepAll, seed)
	s.Close()
	return image, m
}

func salvage(fs vfs.FS) (SalvageReport, error) {
	o := testOptions(fs)
	return Salvage(bg, SalvageOptions{FS: fs, From: o.Path, To: "dir/new.pod", Now: o.Now, Rand: o.Rand})
}

func openSalvaged(t *testing.T, fs vfs.FS) *Store {
	t.Helper()
	o := testOptions(fs)
	o.Path = "dir/new.pod"
	return mustOpen(t, o)
}

func TestSalvageOfAWholeDatabaseLosesNothing(t *testing.T) {
	for _, closed := range []bool{true, false} {
		fs, m := salvageModel(t, 1, closed)
		before := fs.Crash(vfs.CrashKeepAll, 1)
		rep, err := salvage(fs)
		if err != nil {
			t.Fatal(err)
		}
		if !rep.Nothing() || len(rep.Damage) != 0 || rep.LostSecret {
			t.Fatalf("closed %v: %+v", closed, rep)
		}
		if closed == (rep.LogGroups > 0) {
			t.Fatalf("closed %v: %d groups", closed, rep.LogGroups)
		}
		sameFiles(t, before, fs)
		s := openSalvaged(t, fs)
		m.checkAll(t, s)
		verifyClean(t, s)
		commitBox(t, s, MainBranch, "after", 0, "goes on")
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// sameFiles checks that the damaged database was not touched.
func sameFiles(t *testing.T, want, got *vfs.MemFS) {
	t.Helper()
	names := []string{"dir/a.pod"}
	list, _ := want.List("dir/a.pod.wal")
	for _, n := range list {
		names = append(names, "dir/a.pod.wal/"+n)
	}
	for _, n := range names {
		if a, b := contentsOfFile(t, want, n), contentsOfFile(t, got, n); a != b {
			t.Fatalf("%s was changed", n)
		}
	}
}

func contentsOfFile(t *testing.T, fs vfs.FS, name string) string {
	t.Helper()
	info := must(fs.Stat(name))(t)
	f := must(fs.Open(name, 0))(t)
	defer f.Close()
	b := make([]byte, info.Size)
	if n, err := f.ReadAt(b, 0); n != len(b) {
		t.Fatal(err)
	}
	return string(b)
}

// checkSalvaged compares all that can be read with the model. It returns how
// many answers were right, and how many said that something was lost.
func checkSalvaged(t *testing.T, s *Store, m *model) (right, lost int) {
	t.Helper()
	answer := func(err error, ok bool, what string, args ...any) {
		t.Helper()
		switch {
		case err == nil && ok:
			right++
		case err == nil:
			t.Fatalf("wrong: "+what, args...)
		case errors.Is(err, dberr.ErrCorrupt), errors.Is(err, dberr.ErrNotFound), errors.Is(err, dberr.ErrVersionGone):
			lost++
		default:
			t.Fatalf("%s: %v", fmt.Sprintf(what, args...), err)
		}
	}
	for v, want := range m.versions {
		sn, err := s.At(bg, Version(v))
		if err != nil {
			answer(err, true, "version %d", v)
			continue
		}
		names := map[string]pod.ID{}
		for n, err := range sn.Names(bg, "") {
			if err != nil {
				t.Fatalf("version %d: names: %v", v, err)
			}
			root, err := sn.Root(bg, n)
			names[n] = root
			answer(err, root == want.names[n], "version %d: root of %q is %d, expected %d", v, n, root, want.names[n])
		}
		for n, root := range want.names {
			if _, ok := names[n]; !ok {
				got, err := sn.Root(bg, n)
				answer(err, got == root, "version %d: root of %q is %d, expected %d", v, n, got, root)
			}
		}
		for id := range m.pods {
			p, ok := want.pods[id]
			got, err := sn.Pods(bg, []pod.ID{id})
			switch {
			case !ok && err == nil:
				t.Fatalf("version %d: pod %d is there, and was not", v, id)
			case ok:
				answer(err, err == nil && samePod(got[0], p), "version %d: pod %d is another state", v, id)
			}
		}
		if _, err := sn.PodVersions(bg); err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		sn.Close()
	}
	return right, lost
}

// damage does one of several things to the file or its log, as a seed says.
func damage(t *testing.T, fs *vfs.MemFS, seed uint64) string {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 77))
	name := "dir/a.pod"
	if logs, err := fs.List("dir/a.pod.wal"); err == nil && len(logs) > 0 && rng.IntN(4) == 0 {
		name = "dir/a.pod.wal/" + pick(rng, logs)
	}
	size := must(fs.Stat(name))(t).Size
	f := must(fs.Open(name, vfs.ReadWrite))(t)
	defer f.Close()
	write := func(off int64, b []byte) {
		b = b[:max(0, min(int64(len(b)), size-off))]
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	pages := size/4096 + 1
	what := ""
	for range 1 + rng.IntN(3)*rng.IntN(2)*rng.IntN(8) {
		off := rng.Int64N(size)
		switch rng.IntN(8) {
		case 0, 1, 2:
			b := make([]byte, 1)
			if _, err := f.ReadAt(b, off); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 1 << rng.IntN(8)
			write(off, b)
			what += fmt.Sprintf("flip %d; ", off)
		case 3, 4:
			write(rng.Int64N(pages)*4096, make([]byte, 4096))
			what += "zero a page; "
		case 5:
			write(off, make([]byte, rng.Int64N(size/3+1)))
			what += "zero a range; "
		case 6:
			if rng.IntN(3) == 0 {
				if err := f.Truncate(off); err != nil {
					t.Fatal(err)
				}
				what += fmt.Sprintf("truncate to %d; ", off)
				return name + ": " + what
			}
			from := make([]byte, 4096)
			if n, _ := f.ReadAt(from, rng.Int64N(pages)*4096); n > 0 {
				write(rng.Int64N(pages)*4096, from[:n])
			}
			what += "copy a page; "
		case 7:
			slot := rng.Int64N(3)
			if slot != 1 {
				write(0, make([]byte, 512))
			}
			if slot != 0 {
				write(4096, make([]byte, 512))
			}
			what += fmt.Sprintf("zero meta slots (%d); ", slot)
		}
	}
	return name + ": " + what
}

// Whatever is damaged, all that the new database answers is right, and the rest
// is listed.
func TestSalvageOfDamage(t *testing.T) {
	seeds := []uint64{*salvageSeed}
	if *salvageSeed == 0 {
		n := *salvageDamages
		switch {
		case *deepFlag:
			n *= 3
		case testing.Short():
			n /= 10
		}
		seeds = seeds[:0]
		for i := range n {
			seeds = append(seeds, uint64(i+1))
		}
	}
	images := map[bool]*vfs.MemFS{}
	models := map[bool]*model{}
	for _, closed := range []bool{true, false} {
		images[closed], models[closed] = salvageModel(t, 2, closed)
	}
	nothing, some, none, all, answers := 0, 0, 0, 0, 0
	for _, seed := range seeds {
		closed := seed%2 == 0
		fs := images[closed].Crash(vfs.CrashKeepAll, 1)
		what := damage(t, fs, seed)
		ok := t.Run("", func(t *testing.T) {
			defer func() {
				if t.Failed() {
					t.Logf("%s\nreplay: go test ./mvcc -run TestSalvageOfDamage -mvcc.salvage=%d", what, seed)
				}
			}()
			rep, err := salvage(fs)
			if errors.Is(err, dberr.ErrNotDatabase) || errors.Is(err, dberr.ErrTooNew) {
				none++
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			s := openSalvaged(t, fs)
			defer s.Close()
			right, lost := checkSalvaged(t, s, models[closed])
			if lost > 0 && rep.Nothing() && len(rep.Damage) == 0 {
				t.Fatalf("%d answers are lost and the report says nothing", lost)
			}
			if rep.Nothing() {
				nothing++
			} else {
				some++
			}
			all, answers = all+right, answers+right+lost
		})
		if !ok {
			return
		}
	}
	t.Logf("%d damages: %d lost nothing, %d something, %d everything; %d of %d answers are right", len(seeds), nothing, some, none, all, answers)
}
