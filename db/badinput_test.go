package db_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// room is what the tests about bad input store: text, large equal bodies that
// are shared, numbers, a map and a cycle.
type room struct {
	Name  string
	Data  []byte
	Next  *room
	Marks map[string]int
	Twin  *[]byte
}

// change makes version v of the graph out of version v-1.
func change(x *room, v int) {
	x.Name = fmt.Sprintf("version %d", v)
	x.Next = &room{Name: fmt.Sprint("made by ", v), Next: x.Next, Marks: map[string]int{"v": v}}
	if v%2 == 1 {
		x.Data = seededBytes(3000, uint64(v))
		copied := append([]byte(nil), x.Data...)
		x.Twin = &copied
	}
	if v%3 == 0 {
		x.Next.Next = x
	}
}

func seededBytes(n int, seed uint64) []byte {
	b := make([]byte, n)
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

func wanted(v db.Version) *room {
	x := &room{}
	for i := 1; i <= int(v); i++ {
		change(x, i)
	}
	return x
}

const sampleName = "app.pod"

// sampleOptions replace every random choice, so that a seed says all.
func sampleOptions(fsys vfs.FS) *db.Options {
	return &db.Options{
		FS: fsys, Types: db.Types(db.Type[room]("test.room")), PageSize: 4096,
		PodTargetBytes: 256, CheckpointBytes: -1,
		Rand: rand.NewChaCha8([32]byte{7}), Now: func() time.Time { return time.Unix(1_700_000_000, 0) },
	}
}

// makeSample runs saves on fsys, with a checkpoint after each version in
// checkpoints, and closes the database if closed says so.
func makeSample(t *testing.T, fsys vfs.FS, saves int, checkpoints map[int]bool, closed bool) *db.DB {
	t.Helper()
	ctx := context.Background()
	d := must(db.Open(ctx, sampleName, sampleOptions(fsys)))(t)
	ns := must(d.Namespace(ctx, "main"))(t)
	x := &room{}
	set(t, ns, "x", x)
	for v := 1; v <= saves; v++ {
		change(x, v)
		if got := save(t, ns); got != db.Version(v) {
			t.Fatalf("save %d made version %d", v, got)
		}
		if checkpoints[v] {
			if err := d.Checkpoint(ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if closed {
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// image is the bytes of all files of a database.
type image map[string][]byte

func imageOf(t *testing.T, fsys vfs.FS) image {
	t.Helper()
	im := image{}
	names := []string{sampleName}
	logs, err := fsys.List(sampleName + ".wal")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, n := range logs {
		names = append(names, path.Join(sampleName+".wal", n))
	}
	for _, n := range names {
		f := must(fsys.Open(n, 0))(t)
		b := make([]byte, must(f.Size())(t))
		if n, err := f.ReadAt(b, 0); n != len(b) && err != io.EOF {
			t.Fatal(err)
		}
		im[n] = b
		f.Close()
	}
	return im
}

// on writes the image to a new file system in memory.
func (im image) on(t *testing.T) *vfs.MemFS {
	t.Helper()
	m := vfs.NewMem()
	for name, b := range im {
		if dir := path.Dir(name); dir != "." {
			if err := m.MkdirAll(dir); err != nil {
				t.Fatal(err)
			}
		}
		f := must(m.Open(name, vfs.ReadWrite|vfs.Create))(t)
		if _, err := f.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return m.Crash(vfs.CrashKeepAll, 0) // all of it durable
}

func (im image) with(name string, b []byte) image {
	out := image{}
	for n, old := range im {
		out[n] = old
	}
	out[name] = b
	return out
}

// flip returns the image with one bit inverted.
func (im image) flip(name string, at, bit int) image {
	b := append([]byte(nil), im[name]...)
	b[at] ^= 1 << bit
	return im.with(name, b)
}

// seen is what a reader found out about a database: an error from some call,
// or all versions, each compared with the model.
type seen struct {
	head     db.Version
	err      error    // the first error of any call but Verify
	wrong    string   // a version that differs from the model: never allowed
	problems []string // what Verify listed
}

func (s seen) noticed() bool { return s.err != nil || len(s.problems) > 0 }

// look opens a database, verifies it and reads every version.
func look(o *db.Options) (s seen) {
	ctx := context.Background()
	d, err := db.Open(ctx, sampleName, o)
	if err != nil {
		return seen{err: err}
	}
	defer d.Close()
	rep, err := d.Verify(ctx, db.VerifyOptions{Deep: true})
	if err != nil {
		s.err = fmt.Errorf("verify: %w", err)
	}
	s.problems = rep.Problems
	if s.head, err = d.Head(ctx, "main"); err != nil {
		s.err = err
		return s
	}
	for v := db.Version(1); v <= s.head; v++ {
		got, err := readVersion(ctx, d, v)
		if err != nil {
			if s.err == nil {
				s.err = fmt.Errorf("version %d: %w", v, err)
			}
		} else if !reflect.DeepEqual(got, wanted(v)) {
			s.wrong = fmt.Sprintf("version %d reads as something else", v)
		}
	}
	return s
}

func readVersion(ctx context.Context, d *db.DB, v db.Version) (*room, error) {
	s, err := d.At(ctx, v)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return db.Get[*room](ctx, s, "x")
}

// clearError checks that an error is typed, one line, and names the file.
func clearError(t *testing.T, err error, want ...error) {
	t.Helper()
	if err == nil {
		t.Error("no error")
		return
	}
	if !strings.Contains(err.Error(), sampleName) {
		t.Errorf("error does not name the file: %v", err)
	}
	if strings.ContainsAny(err.Error(), "\n\r") {
		t.Errorf("error of several lines: %q", err)
	}
	if len(err.Error()) > 400 {
		t.Errorf("error of %d bytes: %v", len(err.Error()), err)
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	t.Errorf("error %q is none of %v", err, want)
}

func TestWhatIsNoDatabaseIsSaidInOneLineAndLeftAlone(t *testing.T) {
	ctx := context.Background()
	for name, content := range map[string][]byte{
		"empty":        {},
		"one byte":     {0x89},
		"text":         []byte("Dear diary,\ntoday I was opened as a database.\n"),
		"long text":    []byte(strings.Repeat("all work and no play\n", 2000)),
		"random bytes": seededBytes(20000, 1),
		"zeros":        make([]byte, 16384),
		"SQLite":       append([]byte("SQLite format 3\x00"), make([]byte, 8176)...),
	} {
		t.Run(name, func(t *testing.T) {
			p := filepath.Join(t.TempDir(), sampleName)
			if err := os.WriteFile(p, content, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, readOnly := range []bool{false, true} {
				_, err := db.Open(ctx, p, &db.Options{ReadOnly: readOnly})
				clearError(t, err, db.ErrNotDatabase)
			}
			if got := must(os.ReadFile(p))(t); string(got) != string(content) {
				t.Error("the file was changed")
			}
			entries := must(os.ReadDir(filepath.Dir(p)))(t)
			if len(entries) != 1 {
				t.Errorf("files were left beside it: %v", entries)
			}
		})
	}
}

func TestADirectoryIsNoDatabase(t *testing.T) {
	p := filepath.Join(t.TempDir(), sampleName)
	if err := os.Mkdir(p, 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := db.Open(context.Background(), p, nil)
	clearError(t, err, db.ErrNotDatabase)
	_, err = db.Open(context.Background(), filepath.Join(t.TempDir(), "missing", sampleName), nil)
	clearError(t, err, fs.ErrNotExist)
	_, err = db.Open(context.Background(), filepath.Join(t.TempDir(), sampleName), &db.Options{ReadOnly: true})
	clearError(t, err, fs.ErrNotExist)
}

func TestALogDirectoryThatIsAFileIsAnError(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 3, nil, true)
	f := must(m.Open(sampleName+".wal", vfs.ReadWrite|vfs.Create))(t)
	f.Close()
	_, err := db.Open(context.Background(), sampleName, sampleOptions(m))
	clearError(t, err, syscall.ENOTDIR)
}

// A file cut anywhere is an error of Open: Close leaves no byte behind the
// last one needed.
func TestACutFileIsNeverOpened(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 6, map[int]bool{3: true}, true)
	whole := imageOf(t, m)
	size := len(whole[sampleName])
	cuts := []int{0, 1, 15, 16, 511, 512, 513, 4095, 4096, 4097, 4607, 4608, 8191, 8192, size - 1}
	for at := 4096; at < size; at += 4096 {
		cuts = append(cuts, at-1, at, at+1)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 40 {
		cuts = append(cuts, rng.IntN(size))
	}
	for _, cut := range cuts {
		for _, readOnly := range []bool{false, true} {
			o := sampleOptions(whole.with(sampleName, whole[sampleName][:cut]).on(t))
			o.ReadOnly = readOnly
			s := look(o)
			if s.err == nil {
				t.Errorf("cut to %d of %d bytes: opened, head %d", cut, size, s.head)
				continue
			}
			clearError(t, s.err, db.ErrCorrupt, db.ErrNotDatabase)
		}
	}
	if s := look(sampleOptions(whole.on(t))); s.noticed() || s.head != 6 || s.wrong != "" {
		t.Fatalf("the whole file: %+v", s)
	}
}

// A page file that was cut while its log is there is an error as well, down to
// what the newest checkpoint needs; a cut log gives whole versions.
func TestACutUncleanDatabaseIsAnErrorOrWholeVersions(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 6, map[int]bool{3: true}, false)
	whole := imageOf(t, m)
	rng := rand.New(rand.NewPCG(1, 2))
	full := look(sampleOptions(whole.on(t)))
	if full.noticed() || full.head != 6 || full.wrong != "" {
		t.Fatalf("the whole database: %+v", full)
	}
	for name, b := range whole {
		refused, shorter := 0, 0
		for i := range 60 {
			cut := rng.IntN(len(b))
			if name != sampleName && i%2 == 0 {
				cut = rng.IntN(min(len(b), 24<<10)) // where the groups are
			}
			s := look(sampleOptions(whole.with(name, b[:cut]).on(t)))
			switch {
			case s.wrong != "":
				t.Errorf("%s cut to %d: %s", name, cut, s.wrong)
			case s.err != nil:
				refused++
				clearError(t, s.err, db.ErrCorrupt, db.ErrNotDatabase, db.ErrLogMissing)
			case len(s.problems) > 0:
				t.Errorf("%s cut to %d: opened with %q", name, cut, s.problems)
			case name == sampleName && s.head != 6:
				t.Errorf("%s cut to %d: head %d, the log has 6", name, cut, s.head)
			case s.head < 3 || s.head > 6:
				t.Errorf("%s cut to %d: head %d, checkpointed 3, saved 6", name, cut, s.head)
			case s.head < 6:
				shorter++
			}
		}
		t.Logf("%s: %d cuts refused, %d gave an older head", name, refused, shorter)
		if refused+shorter == 0 {
			t.Errorf("no cut of %s did any harm: the test proves nothing", name)
		}
	}
}

func TestANewerFormatIsRefusedByName(t *testing.T) {
	m := vfs.NewMem()
	makeSample(t, m, 3, nil, false)
	unclean := imageOf(t, m)
	// newerSlot is a meta slot with another value at offset at and a valid checksum.
	newerSlot := func(im image, slot, at int) image {
		b := append([]byte(nil), im[sampleName]...)
		s := b[slot*4096:][:512]
		binary.LittleEndian.PutUint32(s[at:], 1<<20)
		seed := binary.LittleEndian.AppendUint64(nil, uint64(slot))
		table := crc32.MakeTable(crc32.Castagnoli)
		binary.LittleEndian.PutUint32(s[508:], crc32.Update(crc32.Checksum(seed, table), table, s[:508]))
		return im.with(sampleName, b)
	}
	cases := map[string]image{
		"version in both slots": newerSlot(newerSlot(unclean, 0, 16), 1, 16),
		"version in slot 0":     newerSlot(unclean, 0, 16),
		"version in slot 1":     newerSlot(unclean, 1, 16),
		"incompatible flag":     newerSlot(unclean, 1, 24),
	}
	for name, b := range unclean {
		if name != sampleName {
			b = append([]byte(nil), b...)
			binary.LittleEndian.PutUint32(b[8:], 99)
			table := crc32.MakeTable(crc32.Castagnoli)
			crc := crc32.Update(crc32.Update(0, table, b[:12]), table, b[16:512])
			binary.LittleEndian.PutUint32(b[12:], crc)
			cases["log"] = unclean.with(name, b)
		}
	}
	if len(cases) != 5 {
		t.Fatal("the sample has no log")
	}
	for name, im := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := db.Open(context.Background(), sampleName, sampleOptions(im.on(t)))
			clearError(t, err, db.ErrTooNew)
		})
	}
	// A compatible flag is no reason to refuse.
	if s := look(sampleOptions(newerSlot(newerSlot(unclean, 0, 20), 1, 20).on(t))); s.noticed() || s.head != 3 || s.wrong != "" {
		t.Errorf("unknown compatible flags: %+v", s)
	}
}

func TestAMissingLogIsNamedAndOldStateIsNotOpenedInSilence(t *testing.T) {
	ctx := context.Background()
	p := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, p, nil))(t)
	ns := must(d.Namespace(ctx, "main"))(t)
	set(t, ns, "x", &room{Name: "kept in the log"})
	save(t, ns)
	// What a killed process leaves, without its log.
	copied := filepath.Join(t.TempDir(), sampleName)
	if err := os.WriteFile(copied, must(os.ReadFile(p))(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, readOnly := range []bool{false, true} {
		_, err := db.Open(ctx, copied, &db.Options{ReadOnly: readOnly})
		clearError(t, err, db.ErrLogMissing)
	}
	if err := os.Mkdir(copied+".wal", 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := db.Open(ctx, copied, nil)
	clearError(t, err, db.ErrLogMissing)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p + ".wal"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after Close the log is still there: %v", err)
	}
}

func TestReadErrorsStayErrorsAndReadsWorkAgain(t *testing.T) {
	ctx := context.Background()
	m := vfs.NewMem()
	makeSample(t, m, 6, map[int]bool{3: true}, true)
	whole := imageOf(t, m)
	for _, short := range []bool{false, true} {
		for n := 1; ; n++ {
			f := vfs.NewFault(whole.on(t))
			if short {
				f.ShortRead(n, syscall.EIO)
			} else {
				f.FailOp(n, syscall.EIO)
			}
			d, err := db.Open(ctx, sampleName, sampleOptions(f))
			if err != nil {
				clearError(t, err, syscall.EIO)
				if s := look(sampleOptions(f)); s.noticed() || s.head != 6 || s.wrong != "" {
					t.Fatalf("read %d failed at Open; afterwards: %+v", n, s)
				}
				continue
			}
			failed := 0
			for v := db.Version(1); v <= 6; v++ {
				x, err := readVersion(ctx, d, v)
				if err != nil {
					failed++
					clearError(t, err, syscall.EIO)
					x, err = readVersion(ctx, d, v)
				}
				if err != nil || !reflect.DeepEqual(x, wanted(v)) {
					t.Fatalf("read %d failed once; later version %d: %v", n, v, err)
				}
			}
			if failed > 1 {
				t.Errorf("one failing read made %d loads fail", failed)
			}
			_ = d.Close()
			if failed == 0 && (short && n > f.Count(vfs.OpRead) || !short && n > f.Ops()) {
				break
			}
		}
	}
}

func TestNegativeDurationsAreRefused(t *testing.T) {
	for _, o := range []*db.Options{{Interval: -1}, {MaxReaderAge: -1}, {SlowSync: -1}} {
		if d, err := db.OpenMemory(context.Background(), o); !errors.Is(err, db.ErrInvalid) {
			t.Errorf("%+v: %v, %v", o, d, err)
		}
	}
}
