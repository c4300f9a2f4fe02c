package trace

import (
	"bytes"
	"encoding/gob"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// replay rebuilds a recording and checks every step; it returns the last state.
func replay(t testing.TB, in io.Reader) (*World, *Recording) {
	t.Helper()
	r, err := Open(in)
	if err != nil {
		t.Fatal(err)
	}
	w, rec := NewWorld(), NewRecording()
	for {
		s, err := r.Step()
		if errors.Is(err, io.EOF) {
			return w, rec
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Apply(s); err != nil {
			t.Fatal(err)
		}
		if err := rec.Apply(s); err != nil {
			t.Fatal(err)
		}
		sum, err := Sum(w.Vars, rec)
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		if sum != s.Sum || w.Len() != s.Live || rec.Payload != s.Payload {
			t.Fatalf("%s, step %d: sum %08x of %08x, %d objects of %d", r.Name, s.Number, sum, s.Sum, w.Len(), s.Live)
		}
	}
}

func TestRebuiltObjectsHaveTheRecordedSums(t *testing.T) {
	replay(t, bytes.NewReader(synthetic()))
	replay(t, Sample())
	for _, pattern := range []string{"testdata/*.ogt.gz", "../../../shared/traces/*.ogt.gz"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			t.Run(filepath.Base(path), func(t *testing.T) {
				f, err := os.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				defer f.Close()
				replay(t, f)
			})
		}
	}
}

func TestChangesAreMadeInTheSameGoObject(t *testing.T) {
	steps := readAll(t, mustOpen(t, synthetic()))
	w := NewWorld()
	if err := w.Apply(steps[0]); err != nil {
		t.Fatal(err)
	}
	cycle := w.Vars["cycle"].(*List)
	last := w.Vars["views"].(*View[float64])
	owner := last.Owner.(*Array[float64])
	items, box := &cycle.Items[0], &owner.Data[2]
	next := w.Vars["all"].(*List).Items[2].(*Object).Values[0].(*Object)
	if last.Data[0] != 3 || len(last.Data) != 4 || &last.Data[0] != box {
		t.Fatalf("view %v does not share %v", last.Data, owner.Data)
	}
	if back := w.Vars["back"].(*View[float64]); back.Data[0] != 2 || len(back.Data) != 5 {
		t.Fatalf("view that runs backwards is %v", back.Data)
	}
	if err := w.Apply(steps[1]); err != nil {
		t.Fatal(err)
	}
	switch {
	case w.Vars["cycle"] != any(cycle) || cycle.Items[0] != any(cycle) || &cycle.Items[0] != items:
		t.Fatal("the list was replaced")
	case len(cycle.Items) != 3 || cycle.Items[:7][6] != nil:
		t.Fatal("what fell off the list is still held")
	case &owner.Data[2] != box || last.Data[0] != 30:
		t.Fatal("the view does not see the change of its owner")
	case len(next.Values) != 3 || next.Class.Attrs[2] != "extra":
		t.Fatal("the instance did not get its new attribute in place")
	}
	if err := w.Apply(steps[2]); err != nil {
		t.Fatal(err)
	}
	if len(owner.Data) != 8 || &last.Data[0] != &owner.Data[2] {
		t.Fatal("the view did not follow its owner to new memory")
	}
}

func TestEqualSlotsKeepTheirBoxes(t *testing.T) {
	r := newRecorder()
	r.begin("")
	r.object(1, 'l', n(3), 1_000_000, 1.5, 7_000_000)
	r.variable("x", ref(1))
	r.end()
	r.begin("")
	r.object(1, 'l', n(3), 1_000_000, 1.5, 8_000_000)
	r.end()
	steps := readAll(t, mustOpen(t, r.bytes()))
	w := NewWorld()
	if err := w.Apply(steps[0]); err != nil {
		t.Fatal(err)
	}
	payload := steps[1]
	if err := w.Apply(payload); err != nil {
		t.Fatal(err)
	}
	list := w.Vars["x"].(*List)
	if list.Items[2] != any(int64(8_000_000)) {
		t.Fatal(list.Items)
	}
	allocs := testing.AllocsPerRun(100, func() {
		if err := w.Apply(payload); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2 { // the reader of the payload; no box
		t.Fatalf("%v allocations for a change that changes nothing", allocs)
	}
}

func mustOpen(t testing.TB, b []byte) *Reader {
	t.Helper()
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// drain reads and rebuilds whatever b is and returns the first error.
func drain(b []byte) error {
	r, err := Open(bytes.NewReader(b))
	if err != nil {
		return err
	}
	w := NewWorld()
	for {
		s, err := r.Step()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.Apply(s); err != nil {
			return err
		}
	}
}

func TestTruncatedRecordingIsAnErrorWithItsOffset(t *testing.T) {
	b := synthetic()
	for i := range b {
		err := drain(b[:i])
		if err == nil {
			t.Fatalf("%d of %d bytes accepted", i, len(b))
		}
		if i >= len(magic) && !strings.Contains(err.Error(), "at byte") {
			t.Fatalf("no offset in %q", err)
		}
	}
	if err := drain(append(b, 'x')); err == nil {
		t.Fatal("bytes after the end accepted")
	}
}

func TestNoFlippedBitPassesTheSums(t *testing.T) {
	b := synthetic()
	head := len(magic) + 1 + len("synthetic") + 1 + len("{}")
	good := readAll(t, mustOpen(t, b))
	for i := head; i < len(b); i++ {
		for bit := range 8 {
			c := bytes.Clone(b)
			c[i] ^= 1 << bit
			if drain(c) != nil {
				continue
			}
			// What no sum covers are labels and variables; they must show there.
			same := true
			for k, s := range readAll(t, mustOpen(t, c)) {
				same = same && s.Label == good[k].Label && equalBindings(s, good[k])
			}
			if same {
				t.Fatalf("bit %d of byte %d flipped without trace", bit, i)
			}
		}
	}
}

func equalBindings(a, b *Step) bool {
	if len(a.Vars) != len(b.Vars) || strings.Join(a.Deleted, "\x00") != strings.Join(b.Deleted, "\x00") {
		return false
	}
	for i := range a.Vars {
		if a.Vars[i].Name != b.Vars[i].Name || !bytes.Equal(a.Vars[i].Value, b.Vars[i].Value) {
			return false
		}
	}
	return true
}

func TestLyingPayloadsAreErrors(t *testing.T) {
	huge := n(1 << 62)
	for name, make := range map[string]func(r *recorder){
		"count":          func(r *recorder) { r.object(1, 'l', huge) },
		"text":           func(r *recorder) { r.object(1, 's', huge) },
		"left over":      func(r *recorder) { r.object(1, 'l', n(0), n(0)) },
		"kind":           func(r *recorder) { r.object(1, 'q', n(0)) },
		"reference":      func(r *recorder) { r.object(1, 'l', n(1), ref(9)) },
		"dimensions":     func(r *recorder) { r.object(1, 'a', text("<f8"), n(1), n(5), float64s(1)) },
		"big dimensions": func(r *recorder) { r.object(1, 'a', text("<f8"), n(2), n(1<<40), n(1<<40), float64s()) },
		"part element":   func(r *recorder) { r.object(1, 'a', text("<f8"), n(1), n(1), text("1234")) },
		"view outside": func(r *recorder) {
			r.object(2, 'a', text("<f8"), n(1), n(2), float64s(1, 2))
			r.object(1, 'v', text("<f8"), n(1), n(3), ref(2), zz(0), zz(8))
		},
		"view before": func(r *recorder) {
			r.object(2, 'a', text("<f8"), n(1), n(2), float64s(1, 2))
			r.object(1, 'v', text("<f8"), n(1), n(2), ref(2), zz(0), zz(-8))
		},
		"view overflow": func(r *recorder) {
			r.object(2, 'a', text("<f8"), n(1), n(2), float64s(1, 2))
			r.object(1, 'v', text("<f8"), n(2), n(1<<62), n(1<<62), ref(2), zz(0), zz(1<<62), zz(-1<<63))
		},
	} {
		r := newRecorder()
		r.begin("")
		make(r)
		r.variable("x", ref(1))
		r.end()
		if err := drain(r.bytes()); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add(synthetic())
	f.Fuzz(func(t *testing.T, b []byte) { _ = drain(b) })
}

func TestRandomDamageNeverPanics(t *testing.T) {
	const seed = 11 // replay: go test ./internal/trace -run RandomDamage
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := synthetic()
	for range 5000 {
		c := bytes.Clone(b)
		for range 1 + rnd.IntN(4) {
			c[rnd.IntN(len(c))] = byte(rnd.Uint32())
		}
		_ = drain(c)
	}
}

// gob loses what the sum check is there for: a snapshot of the sample decodes
// without an error, and is refused.
func TestSumRefusesWhatGobLoses(t *testing.T) {
	w, rec := replay(t, Sample())
	for _, nt := range Types() {
		gob.RegisterName(nt.Name, nt.Zero)
	}
	var buf bytes.Buffer
	if err := gob.NewEncoder(&buf).Encode(w.Vars); err != nil {
		t.Fatal(err)
	}
	var back map[string]any
	if err := gob.NewDecoder(&buf).Decode(&back); err != nil {
		t.Fatal(err)
	}
	if _, err := Sum(back, rec); err == nil {
		t.Fatal("a graph without sharing was accepted")
	}
}
