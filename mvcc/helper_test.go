package mvcc

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

var bg = context.Background()

// seededReader is a random source for stores under test.
type seededReader struct{ r *rand.ChaCha8 }

func seeded(n uint64) io.Reader {
	var b [32]byte
	be.PutUint64(b[:], n)
	return seededReader{rand.NewChaCha8(b)}
}

func (s seededReader) Read(p []byte) (int, error) { return s.r.Read(p) }

func testOptions(fs vfs.FS) Options {
	var ticks atomic.Int64
	return Options{
		FS: fs, Path: "dir/a.pod", PageSize: 4096, MemoryBytes: minMemoryBytes,
		CheckpointBytes: -1, IdlePromise: -1, Rand: seeded(7),
		Now: func() time.Time { return time.Unix(1, ticks.Add(1)/2) },
	}
}

func newFS(t testing.TB) *vfs.MemFS {
	t.Helper()
	fs := vfs.NewMem()
	if err := fs.MkdirAll("dir"); err != nil {
		t.Fatal(err)
	}
	if err := fs.SyncDir("."); err != nil {
		t.Fatal(err)
	}
	return fs
}

func mustOpen(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(bg, o)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	return s
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func begin(t testing.TB, s *Store, branch string) *Tx {
	t.Helper()
	return must(s.Begin(bg, branch, must(s.Head(bg, branch))(t)))(t)
}

// box is a new pod of one slot.
func box(id pod.ID, text string, refs ...pod.Ref) *pod.Change {
	return &pod.Change{
		ID: id, New: true, Refs: refs, Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}},
		Slots: []pod.SlotWrite{{Slot: 0, Data: pod.Data{Kind: pod.SlotBox, Bytes: []byte(text)}}},
	}
}

// boxAgain changes a pod made by box.
func boxAgain(id pod.ID, text string, refs ...pod.Ref) *pod.Change {
	c := box(id, text, refs...)
	c.New = false
	return c
}

func read(t testing.TB, s *Store, v Version, id pod.ID) string {
	t.Helper()
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	return string(must(sn.Pods(bg, []pod.ID{id}))(t)[0].Slots[0].Bytes)
}

// commitBox commits one new or changed box under a name.
func commitBox(t testing.TB, s *Store, branch, name string, id pod.ID, text string) (pod.ID, Version, error) {
	t.Helper()
	tx := begin(t, s, branch)
	c := boxAgain(id, text)
	if id == 0 {
		c = box(tx.NewPod(), text)
		if err := tx.SetName(bg, name, c.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	v, err := tx.Commit(bg, CommitInfo{Message: fmt.Sprint("set ", name)})
	return c.ID, v, err
}

func verifyClean(t testing.TB, s *Store) VerifyReport {
	t.Helper()
	rep, err := s.Verify(bg, VerifyOptions{Deep: true})
	if err != nil {
		t.Fatalf("Verify: %v", err)
	}
	for _, p := range rep.Problems {
		t.Errorf("Verify: %s", p)
	}
	if len(rep.Problems) > 0 {
		t.FailNow()
	}
	return rep
}
