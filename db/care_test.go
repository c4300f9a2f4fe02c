package db_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"syscall"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// history saves n versions of a person and of a long text, and returns the
// namespace.
func history(t *testing.T, d *db.DB, n int) (*db.Namespace, *person) {
	t.Helper()
	ns := namespace(t, d)
	p := &person{Friend: &person{Name: "friend"}}
	long := &[]string{}
	set(t, ns, "p", p)
	set(t, ns, "long", long)
	rng := rand.New(rand.NewPCG(1, 1))
	for i := range n {
		p.Name = fmt.Sprint("v", i+1)
		noise := make([]byte, 3000)
		for k := range noise {
			noise[k] = byte(rng.Uint32())
		}
		*long = append(*long, string(noise))
		save(t, ns)
	}
	return ns, p
}

func checkPerson(t *testing.T, d *db.DB, v db.Version) {
	t.Helper()
	ctx := context.Background()
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	if p := must(db.Get[*person](ctx, s, "p"))(t); p.Name != fmt.Sprint("v", v) || p.Friend.Name != "friend" {
		t.Fatalf("version %d has %q", v, p.Name)
	}
	if long := must(db.Get[*[]string](ctx, s, "long"))(t); len(*long) != int(v) {
		t.Fatalf("version %d has %d texts", v, len(*long))
	}
}

func TestInspectReadsBesideTheWriter(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, path, nil))(t)
	ns, p := history(t, d, 5)
	if err := d.Checkpoint(ctx); err != nil { // else the fifth may be known as durable a second later
		t.Fatal(err)
	}
	in := must(db.Inspect(ctx, path, nil))(t)
	for i := range 20 {
		p.Name = fmt.Sprint("later ", i)
		save(t, ns)
		if err := d.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if head := must(in.Head(ctx, "main"))(t); head != 5 {
		t.Fatalf("the inspector's newest version is %d", head)
	}
	for v := range db.Version(5) {
		checkPerson(t, in, v+1)
	}
	verifyClean(t, in)
	_, err := in.Namespace(ctx, "main")
	if err == nil {
		ns := must(in.Namespace(ctx, "main"))(t)
		set(t, ns, "x", 1)
		_, err = ns.Save(ctx)
	}
	if !errors.Is(err, db.ErrReadOnly) {
		t.Fatalf("saving through Inspect: %v", err)
	}
	if err := errors.Join(in.Close(), d.Close()); err != nil {
		t.Fatal(err)
	}
	names := must(os.ReadDir(filepath.Dir(path)))(t)
	if len(names) != 1 {
		t.Fatalf("%d files are left: %v", len(names), names)
	}
	in = must(db.Inspect(ctx, path, nil))(t) // nobody has it open
	checkPerson(t, in, 3)
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestPruneKeepsWhatIsShownAndGivesSpaceBack(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), sampleName)
	d := must(db.Open(ctx, path, nil))(t)
	ns, _ := history(t, d, 60)
	shown := must(d.At(ctx, 7))(t)
	dry := must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(5), DryRun: true}))(t)
	rep := must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(5)}))(t)
	if rep.Versions != 54 || dry.Versions != rep.Versions || dry.Bytes == 0 {
		t.Fatalf("removed %+v, announced %+v", rep, dry)
	}
	for v := range db.Version(60) {
		v++
		if v == 7 || v > 55 {
			checkPerson(t, d, v)
			continue
		}
		if _, err := d.At(ctx, v); !errors.Is(err, db.ErrVersionGone) {
			t.Fatalf("version %d: %v", v, err)
		}
	}
	if long := must(db.Get[*[]string](ctx, shown, "long"))(t); len(*long) != 7 {
		t.Fatalf("the open snapshot shows %d texts", len(*long))
	}
	if n := 0; true {
		for _, err := range d.Log(ctx, db.LogOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			n++
		}
		if n != 6 {
			t.Fatalf("%d commits in the log", n)
		}
	}
	verifyClean(t, d)
	shown.Close()
	if rep = must(d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(5)}))(t); rep.Versions != 1 {
		t.Fatalf("the version that was shown: %+v", rep)
	}
	if _, err := d.Compact(ctx); err != nil {
		t.Fatal(err)
	}
	set(t, ns, "more", 1)
	save(t, ns)
	verifyClean(t, d)
	for _, o := range []db.PruneOptions{{}, {Policy: db.KeepLast(0)}, {Policy: db.KeepLast(-1)}} {
		if _, err := d.Prune(ctx, o); !errors.Is(err, db.ErrInvalid) {
			t.Fatalf("prune with %+v: %v", o, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A namespace can be saved after everything that it does not show was pruned.
func TestANamespaceKeepsItsBase(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	idle, _ := history(t, d, 3)
	busy := namespace(t, d)
	for i := range 10 {
		set(t, busy, "other", i)
		save(t, busy)
		if _, err := d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(1)}); err != nil {
			t.Fatal(err)
		}
	}
	must(db.Get[*person](ctx, idle, "p"))(t).Name = "changed late"
	v := save(t, idle)
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	if p := must(db.Get[*person](ctx, s, "p"))(t); p.Name != "changed late" {
		t.Fatalf("saved %q", p.Name)
	}
	if n := must(db.Get[int](ctx, s, "other"))(t); n != 9 {
		t.Fatalf("the other variable is %d", n)
	}
}

func TestBackupIsADatabase(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	d := must(db.Open(ctx, filepath.Join(dir, sampleName), nil))(t)
	ns, p := history(t, d, 8)
	var copied bytes.Buffer
	rep := must(d.Backup(ctx, &copied))(t)
	if rep.Version != 8 || rep.Bytes != int64(copied.Len()) {
		t.Fatalf("backup of %d bytes: %+v", copied.Len(), rep)
	}
	p.Name = "later"
	save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	restored := filepath.Join(dir, "restored.pod")
	if err := db.Restore(ctx, bytes.NewReader(copied.Bytes()), restored); err != nil {
		t.Fatal(err)
	}
	if err := db.Restore(ctx, bytes.NewReader(copied.Bytes()), restored); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("restore over a database: %v", err)
	}
	for _, cut := range []int{0, 100, 9000, copied.Len() / 2, copied.Len() - 1} {
		bad := filepath.Join(dir, "bad.pod")
		if err := db.Restore(ctx, bytes.NewReader(copied.Bytes()[:cut]), bad); !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrNotDatabase) {
			t.Fatalf("restore of %d of %d bytes: %v", cut, copied.Len(), err)
		}
		if _, err := os.Stat(bad); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("restore of %d bytes left a file: %v", cut, err)
		}
	}
	d = must(db.Open(ctx, restored, nil))(t)
	if head := must(d.Head(ctx, "main"))(t); head != 8 {
		t.Fatalf("restored at version %d", head)
	}
	for v := range db.Version(8) {
		checkPerson(t, d, v+1)
	}
	verifyClean(t, d)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestSalvageListsWhatIsLost(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	path := filepath.Join(dir, sampleName)
	d := must(db.Open(ctx, path, nil))(t)
	history(t, d, 30)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	whole := filepath.Join(dir, "whole.pod")
	rep := must(db.Salvage(ctx, path, whole))(t)
	if len(rep.Lost) != 0 {
		t.Fatalf("of a sound file: %+v", rep)
	}
	d = must(db.Open(ctx, whole, nil))(t)
	for v := range db.Version(30) {
		checkPerson(t, d, v+1)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	b := must(os.ReadFile(path))(t)
	for at := len(b) / 2; at < len(b)/2+2*8192; at++ {
		b[at] ^= 0x5a
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "part.pod")
	rep = must(db.Salvage(ctx, path, part))(t)
	if len(rep.Lost) == 0 {
		t.Fatalf("two damaged pages lost nothing: %+v", rep)
	}
	if !bytes.Equal(b, must(os.ReadFile(path))(t)) {
		t.Fatal("the damaged file was changed")
	}
	d = must(db.Open(ctx, part, nil))(t)
	defer d.Close()
	read := 0
	for v := db.Version(1); v <= must(d.Head(ctx, "main"))(t); v++ {
		s, err := d.At(ctx, v)
		if err != nil {
			continue
		}
		p, err := db.Get[*person](ctx, s, "p")
		switch {
		case err == nil && p.Name == fmt.Sprint("v", v):
			read++
		case err == nil:
			t.Fatalf("version %d reads as %q", v, p.Name)
		case !errors.Is(err, db.ErrCorrupt) && !errors.Is(err, db.ErrNotFound):
			t.Fatalf("version %d: %v", v, err)
		}
		s.Close()
	}
	if read == 0 {
		t.Fatal("nothing can be read")
	}
}

// After a failed sync the commit's outcome is open; Lookup closes it.
func TestLookupAfterAnUnknownOutcome(t *testing.T) {
	ctx := context.Background()
	mem := vfs.NewMem()
	faults := vfs.NewFault(mem)
	d := must(db.Open(ctx, sampleName, &db.Options{FS: faults}))(t)
	_, p := history(t, d, 3)
	_ = p
	ns := namespace(t, d)
	must(db.Get[*person](ctx, ns, "p"))(t).Name = "v4"
	faults.FailKind(vfs.OpSync, syscall.EIO, true)
	_, err := ns.Save(ctx)
	var unknown *db.CommitUnknownError
	if !errors.As(err, &unknown) || !errors.Is(err, db.ErrCommitUnknown) || db.Retryable(err) {
		t.Fatalf("save with a failing sync: %v", err)
	}
	text := must(unknown.Token.MarshalText())(t)
	if _, err := ns.Save(ctx); !errors.Is(err, db.ErrPoisoned) {
		t.Fatalf("the next save: %v", err)
	}
	_ = d.Close()
	d = must(db.Open(ctx, sampleName, &db.Options{FS: mem}))(t)
	defer d.Close()
	var token db.Token
	if err := token.UnmarshalText(text); err != nil || !reflect.DeepEqual(token, unknown.Token) {
		t.Fatalf("token %s: %v", text, err)
	}
	v, found, err := d.Lookup(ctx, token)
	if err != nil {
		t.Fatal(err)
	}
	if head := must(d.Head(ctx, "main"))(t); found != (head == 4) || found && v != 4 {
		t.Fatalf("Lookup says version %d, found %v; the newest version is %d", v, found, head)
	}
}
