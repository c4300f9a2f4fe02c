package mvcc

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// exportBytes is how much an inspector reads in TestAnExportBesideAWriter, about.
// The size of the issue: -args -mvcc.export=1000000000 -mvcc.every=1s
var (
	exportBytes = flag.Int64("mvcc.export", 12<<20, "bytes that an inspector exports beside a writer")
	exportEvery = flag.Duration("mvcc.every", 20*time.Millisecond, "time between two checkpoints of that writer")
)

// A script is a database whose every version is known beforehand: version v
// writes box (v-1) mod boxes, and what it writes follows from v alone.
type script struct {
	boxes int
	bytes int // of a box, most
}

func (sc script) box(v Version) int { return int((v - 1) % uint64(sc.boxes)) }

func (sc script) text(v Version) string {
	r := rand.New(rand.NewPCG(v, 77))
	b := make([]byte, 1+r.IntN(sc.bytes))
	for i := range b {
		b[i] = byte(r.Uint32() >> 3)
	}
	return fmt.Sprintf("v%d:%s", v, b)
}

func (sc script) name(i int) string { return fmt.Sprintf("box%06d", i) }

// commit makes the next version.
func (sc script) commit(s *Store) error {
	head, err := s.Head(bg, MainBranch)
	if err != nil {
		return err
	}
	tx, err := s.Begin(bg, MainBranch, head)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	i := sc.box(head + 1)
	sn, err := s.At(bg, head)
	if err != nil {
		return err
	}
	defer sn.Close()
	id, err := sn.Root(bg, sc.name(i))
	var c *pod.Change
	if errors.Is(err, dberr.ErrNotFound) {
		c = box(tx.NewPod(), sc.text(head+1))
		if err := tx.SetName(bg, sc.name(i), c.ID); err != nil {
			return err
		}
	} else if err != nil {
		return err
	} else {
		c = boxAgain(id, sc.text(head+1))
	}
	if err := tx.Put(bg, c); err != nil {
		return err
	}
	_, err = tx.Commit(bg, CommitInfo{})
	return err
}

// check compares all that a version holds, and returns how many bytes it read.
func (sc script) check(s *Store, at Version) (int64, error) {
	sn, err := s.At(bg, at)
	if err != nil {
		return 0, err
	}
	defer sn.Close()
	read := int64(0)
	n := 0
	for name, err := range sn.Names(bg, "") {
		if err != nil {
			return read, err
		}
		if name != sc.name(n) {
			return read, fmt.Errorf("version %d: name %q, expected %q", at, name, sc.name(n))
		}
		id, err := sn.Root(bg, name)
		if err != nil {
			return read, err
		}
		pods, err := sn.Pods(bg, []pod.ID{id})
		if err != nil {
			return read, err
		}
		first := Version(n + 1)
		last := first + (at-first)/uint64(sc.boxes)*uint64(sc.boxes)
		got := string(pods[0].Slots[0].Bytes)
		if got != sc.text(last) {
			return read, fmt.Errorf("version %d: %s holds %.20q, expected %.20q", at, name, got, sc.text(last))
		}
		read += int64(len(got))
		n++
	}
	if want := int(min(at, uint64(sc.boxes))); n != want {
		return read, fmt.Errorf("version %d has %d names, expected %d", at, n, want)
	}
	return read, nil
}

func inspectOptions(o Options) Options {
	o.Inspect = true
	o.MemoryBytes = -1
	o.Rand = nil
	return o
}

// look opens an inspector, compares the newest version that it sees and an
// older one, and closes it.
func (sc script) look(o Options) (Version, error) {
	s, err := Open(bg, inspectOptions(o))
	if err != nil {
		return 0, fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	v, err := s.Head(bg, MainBranch)
	if err != nil {
		return 0, err
	}
	for _, at := range []Version{v, v / 2, v} {
		if _, err := sc.check(s, at); err != nil {
			return v, err
		}
	}
	return v, nil
}

func TestInspectOfADatabaseThatNobodyHasOpen(t *testing.T) {
	sc := script{boxes: 9, bytes: 3000}
	mem := newFS(t)
	o := testOptions(mem)
	s := mustOpen(t, o)
	for i := range 40 {
		if err := sc.commit(s); err != nil {
			t.Fatal(err)
		}
		if i == 25 {
			must(0, s.Checkpoint(bg))(t)
		}
	}
	crashed := mem.Crash(vfs.CrashKeepAll, 1)
	must(0, s.Close())(t)
	for what, fs := range map[string]vfs.FS{"crashed": crashed, "closed": mem} {
		o := testOptions(fs)
		before := must(fs.List("dir"))(t)
		v, err := sc.look(o)
		if err != nil || v != 40 {
			t.Errorf("%s: version %d, %v", what, v, err)
		}
		if after := must(fs.List("dir"))(t); len(after) > len(before) { // a lock file that a crash left goes
			t.Errorf("%s: %v became %v", what, before, after)
		}
		in := mustOpen(t, inspectOptions(o))
		if _, err := in.Begin(bg, MainBranch, 40); !errors.Is(err, dberr.ErrReadOnly) {
			t.Errorf("Begin: %v", err)
		}
		w := mustOpen(t, o) // an inspector is in nobody's way
		for range 30 {
			must(0, sc.commit(w))(t)
			must(0, w.Checkpoint(bg))(t)
		}
		if st := w.Stats(); st.Inspectors != 1 {
			t.Errorf("%s: %d inspectors", what, st.Inspectors)
		}
		if _, err := sc.check(in, 40); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		must(0, in.Close())(t)
		must(0, w.Close())(t)
	}
	if _, err := Open(bg, inspectOptions(testOptions(newFS(t)))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no database: %v", err)
	}
}

// Inspectors come and go beside a writer that commits, checkpoints every few
// milliseconds, and now and then closes and opens.
func TestInspectBesideAWriterInMemory(t *testing.T) {
	sc := script{boxes: 40, bytes: 5000}
	o := testOptions(newFS(t))
	o.Now = time.Now
	o.SegmentBytes = 64 << 10
	lives := 4
	if testing.Short() {
		lives = 2
	}
	stop := make(chan struct{})
	var commits atomic.Int64
	var group sync.WaitGroup
	group.Go(func() {
		defer close(stop)
		for round := range lives {
			s, err := Open(bg, o)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 150 {
				if err := sc.commit(s); err != nil {
					t.Error(err)
				}
				if commits.Add(1); i%(7+round) == 0 {
					if err := s.Checkpoint(bg); err != nil {
						t.Error(err)
					}
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	var looks, tooOld atomic.Int64
	for range 3 {
		group.Go(func() {
			var newest Version
			for {
				select {
				case <-stop:
					return
				default:
				}
				created := commits.Load() > 0
				v, err := sc.look(o)
				switch {
				case errors.Is(err, os.ErrNotExist) && !created:
				case errors.Is(err, dberr.ErrSnapshotTooOld): // its writer closed
					tooOld.Add(1)
				case err != nil:
					t.Error(err)
					return
				case v < newest:
					t.Errorf("version %d after %d", v, newest)
				default:
					looks.Add(1)
					newest = v
				}
			}
		})
	}
	group.Wait()
	if looks.Load() < 20 || tooOld.Load() > 20 {
		t.Errorf("%d looks, %d too old", looks.Load(), tooOld.Load())
	}
	if v, err := sc.look(o); err != nil || v != Version(150*lives) {
		t.Errorf("at the end: version %d, %v", v, err)
	}
}

const inspectedEnv = "MVCC_TEST_INSPECTED"

// TestInspectedWriter is the child of the tests below: it commits and
// checkpoints until it is killed, and says when it has begun.
func TestInspectedWriter(t *testing.T) {
	var o Options
	var sc script
	var every time.Duration
	if n, _ := fmt.Sscanf(os.Getenv(inspectedEnv), "%d %d %d %d %s", &sc.boxes, &sc.bytes, &every, &o.MaxReaderAge, &o.Path); n != 5 {
		return
	}
	o.FS, o.CheckpointBytes = vfs.OS(), -1
	s, err := Open(bg, o)
	if err != nil {
		t.Fatal(err)
	}
	for v := must(s.Head(bg, MainBranch))(t); v < uint64(sc.boxes); v++ {
		must(0, sc.commit(s))(t)
	}
	must(0, s.Checkpoint(bg))(t)
	fmt.Println("begun")
	last := time.Now()
	for {
		must(0, sc.commit(s))(t)
		if time.Since(last) >= every {
			must(0, s.Checkpoint(bg))(t)
			last = time.Now()
		}
	}
}

// startWriter runs the child; stop kills it.
func startWriter(t *testing.T, sc script, every, age time.Duration, path string) (stop func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestInspectedWriter$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %d %s", inspectedEnv, sc.boxes, sc.bytes, every, age, path))
	out := must(cmd.StdoutPipe())(t)
	must(0, cmd.Start())(t)
	lines := bufio.NewScanner(out)
	begun := false
	for !begun && lines.Scan() {
		begun = strings.HasPrefix(lines.Text(), "begun")
		if !begun {
			t.Log(lines.Text())
		}
	}
	if !begun {
		t.Fatalf("the writer did not begin: %v", cmd.Wait())
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

func TestInspectBesideAWriterProcess(t *testing.T) {
	sc := script{boxes: 60, bytes: 6000}
	o := Options{FS: vfs.OS(), Path: t.TempDir() + "/a.pod"}
	for range 2 { // the second one recovers what the first one left when it was killed
		stop := startWriter(t, sc, 3*time.Millisecond, 0, o.Path)
		var newest Version
		for n := 0; n < 12 || newest < 150 && n < 300; n++ {
			v, err := sc.look(o)
			if err != nil || v < newest {
				t.Errorf("version %d after %d: %v", v, newest, err)
				break
			}
			newest = v
		}
		in := mustOpen(t, inspectOptions(o))
		v := must(in.Head(bg, MainBranch))(t)
		stop()
		if _, err := sc.check(in, v); err != nil {
			t.Errorf("after the writer was killed: %v", err)
		}
		if after, err := sc.look(o); err != nil || after < v {
			t.Errorf("killed: version %d after %d: %v", after, v, err)
		}
		must(0, in.Close())(t)
	}
}

// An export takes as long as it takes: many checkpoints of a writer that
// rewrites all the time. It is right, and finishes.
func TestAnExportBesideAWriter(t *testing.T) {
	sc := script{boxes: int(max(*exportBytes/16384, 50)), bytes: 32 << 10}
	o := Options{FS: vfs.OS(), Path: t.TempDir() + "/a.pod"}
	stop := startWriter(t, sc, *exportEvery, 0, o.Path)
	defer stop()
	in := mustOpen(t, inspectOptions(o))
	defer in.Close()
	v := must(in.Head(bg, MainBranch))(t)
	start := time.Now()
	read := int64(0)
	passed := Version(0)
	for round := 0; round < 2 || passed < v+50 && round < 200; round++ {
		n, err := sc.check(in, v)
		if err != nil {
			t.Fatal(err)
		}
		read += n
		other := mustOpen(t, inspectOptions(o))
		passed = must(other.Head(bg, MainBranch))(t)
		must(0, other.Close())(t)
	}
	if passed < v+50 {
		t.Errorf("the writer came from %d to %d only", v, passed)
	}
	t.Logf("%d MB in %v, while the writer made %d commits and a checkpoint every %v", read>>20, time.Since(start).Round(time.Millisecond), passed-v, *exportEvery)
}

// With a tiny age the slot is refused: an error, never wrong data.
func TestAnInspectorThatIsTooOld(t *testing.T) {
	sc := script{boxes: 60, bytes: 6000}
	o := Options{FS: vfs.OS(), Path: t.TempDir() + "/a.pod"}
	stop := startWriter(t, sc, time.Millisecond, time.Nanosecond, o.Path)
	defer stop()
	for range 5 {
		in := mustOpen(t, inspectOptions(o))
		v := must(in.Head(bg, MainBranch))(t)
		for {
			if _, err := sc.check(in, v); err != nil {
				if !errors.Is(err, dberr.ErrSnapshotTooOld) {
					t.Error(err)
				}
				break
			}
		}
		must(0, in.Close())(t)
	}
}

// A cancelled context ends an Open that a writer outruns.
func TestInspectIsBoundedByItsContext(t *testing.T) {
	mem := newFS(t)
	s := mustOpen(t, testOptions(mem))
	defer s.Close()
	must(0, (script{boxes: 1, bytes: 9}).commit(s))(t)
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := Open(ctx, inspectOptions(testOptions(mem))); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// An inspector that comes while the database is being made waits for it.
func TestInspectWaitsForACreator(t *testing.T) {
	o := testOptions(newFS(t))
	creator := must(pager.Open(bg, pager.Options{FS: o.FS, Path: o.Path, PageSize: o.PageSize, Rand: rand.Uint64}))(t)
	defer creator.Close(false)
	ctx, cancel := context.WithTimeout(bg, 300*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, inspectOptions(o)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside a creator at work: %v, expected to wait until the deadline", err)
	}
}

// One that comes before the creator can be seen waits a little, too: a file whose making
// ended early looks the same.
func TestInspectWaitsForACreatorThatIsNotSeen(t *testing.T) {
	o := testOptions(newFS(t))
	creator := must(pager.Open(bg, pager.Options{FS: o.FS, Path: o.Path, PageSize: o.PageSize, Rand: rand.Uint64}))(t)
	if err := creator.Close(false); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(bg, 50*time.Millisecond)
	defer cancel()
	if _, err := Open(ctx, inspectOptions(o)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("of a file that may yet be made: %v, expected to wait until the deadline", err)
	}
	if _, err := Open(bg, inspectOptions(o)); !errors.Is(err, errUnfinished) {
		t.Errorf("of a file that nobody makes: %v", err)
	}
}
