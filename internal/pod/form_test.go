package pod

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// testOwn is the generation of changes in tests.
var testOwn = Generation{Line: 1, Number: 77}

// reread decodes and merges b, failing the test on an error.
func reread(t *testing.T, base *Pod, b, shared []byte) *Pod {
	t.Helper()
	v, err := DecodeVersion(b)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	v.SetGeneration(testOwn)
	p, err := Merge(base, v, shared)
	if err != nil {
		t.Fatalf("%x: %v", b, err)
	}
	return p
}

func wantPod(t *testing.T, how string, got, want *Pod) {
	t.Helper()
	if !Equal(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", how, got, want)
	}
}

func TestEveryFormReadsBackWhatWasWritten(t *testing.T) {
	prefix := []byte("before")
	var deltas int
	seeds(t, 400, func(t *testing.T, g gen) {
		base := g.pod()
		for step := range 6 {
			next := g.next(base)
			if err := Validate(next); err != nil {
				t.Fatalf("generator: %v", err)
			}
			check := func(how string, made []byte, shared []byte) {
				t.Helper()
				rest, ok := bytes.CutPrefix(made, prefix)
				if !ok {
					t.Fatalf("%s: what stood before is gone: %x", how, made)
				}
				wantPod(t, how, reread(t, base, rest, shared), next)
			}
			whole := AppendWhole(prefix[:len(prefix):len(prefix)], next)
			check("whole", whole, nil)
			check("shared", AppendWholeShared(prefix[:len(prefix):len(prefix)], next, 1<<40), next.Body())
			check("patch", AppendPatch(prefix[:len(prefix):len(prefix)], base, next, testOwn), nil)
			if b, ok := AppendDelta(prefix[:len(prefix):len(prefix)], base, next, testOwn); ok {
				deltas++
				check("delta", b, nil)
			} else if len(b) != len(prefix) {
				t.Fatal("a delta that was not made left something behind")
			}
			if again := AppendWhole(prefix[:len(prefix):len(prefix)], next); !bytes.Equal(again, whole) {
				t.Fatalf("step %d: two encodings of one pod differ", step)
			}
			base = next
		}
	})
	if deltas < 100 {
		t.Errorf("only %d deltas made: the test says nothing about them", deltas)
	}
}

func TestNothingChangedCostsThreeBytes(t *testing.T) {
	seeds(t, 50, func(t *testing.T, g gen) {
		p := g.pod()
		if b := AppendPatch(nil, p, p, testOwn); len(b) != 3 {
			t.Fatalf("patch of nothing: %x", b)
		}
	})
}

// typical makes an 8 KiB pod: a list of n objects of 24 bytes, some strings and
// external references.
func typical(n int) *Pod {
	p := &Pod{Exports: []Export{{0, EdgeSet{All: true}}}}
	g := newGen(4)
	for i := range n {
		object := make([]byte, 24)
		for j := range object[:16] {
			object[j] = byte(g.Uint32())
		}
		p.Slots = append(p.Slots, Data{Kind: SlotObject, Type: 70, Bytes: object})
		if i%10 == 0 {
			p.Slots = append(p.Slots, Data{Kind: SlotString, Type: 17, Bytes: bytes.Repeat([]byte{byte(i)}, 40)})
			p.Refs = append(p.Refs, Ref{Pod: ID(1000 + i)})
		}
	}
	return p
}

func TestSizeOfStoredForms(t *testing.T) {
	base := typical(280)
	g := newGen(3)
	body := len(base.Body())
	own := len(AppendWhole(nil, base)) - body
	next := &Pod{Refs: append([]Ref(nil), base.Refs...), Slots: append([]Data(nil), base.Slots...), Exports: base.Exports}
	next.Slots[100].Bytes = bytes.Repeat([]byte{9}, 25)
	next.Refs[7] = Ref{Pod: 5000}
	patch := len(AppendPatch(nil, base, next, testOwn))
	many := &Pod{Refs: base.Refs, Slots: append([]Data(nil), base.Slots...), Exports: base.Exports}
	for range 20 {
		i := g.IntN(len(many.Slots))
		many.Slots[i].Bytes = bytes.Clone(many.Slots[i].Bytes)
		many.Slots[i].Bytes[5]++
	}
	delta, ok := AppendDelta(nil, base, many, testOwn)
	t.Logf("body %d, own part whole %d, patch of one 25-byte slot and one reference %d, 20 slots by one byte: patch %d delta %d",
		body, own, patch, len(AppendPatch(nil, base, many, testOwn)), len(delta))
	if own > body/20 || patch > 25+12 || !ok || len(delta) > 250 {
		t.Error("a stored form is longer than it should be")
	}
}

func TestRunsCostTheirChange(t *testing.T) {
	d := Data{Kind: SlotArray, Type: 2, Runs: []uint32{4}, Bytes: make([]byte, 4, 1<<20)}
	for range 4000 {
		d.Runs = append(d.Runs, 256)
		d.Bytes = append(d.Bytes, make([]byte, 256)...)
	}
	base := &Pod{Slots: []Data{d}, Exports: []Export{{0, EdgeSet{}}}}
	own := len(AppendWhole(nil, base)) - len(d.Bytes)
	d.Bytes = bytes.Clone(d.Bytes)
	d.Bytes[500_000] = 1
	patch := len(AppendPatch(nil, base, &Pod{Slots: []Data{d}, Exports: base.Exports}, testOwn))
	if t.Logf("4001 runs: own part %d, patch of one run %d", own, patch); own > 100 || patch > 256+16 {
		t.Error("a stored form is longer than it should be")
	}
}

func TestReaderRefusesOtherFormats(t *testing.T) {
	if _, err := DecodeVersion([]byte{9 << 4}); !errors.Is(err, dberr.ErrTooNew) {
		t.Errorf("newer format: %v", err)
	}
	for _, b := range [][]byte{nil, {0}, {0x14}, {0x1f}, {0x30}, {0x31, 0}, {0x52, 0}, {0x63}, {0x70}, {0x72}} {
		if _, err := DecodeVersion(b); !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("%x: %v", b, err)
		}
	}
	if _, err := Merge(nil, &Version{kind: bodyPatch}, nil); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("patch without base: %v", err)
	}
}

func TestDamageIsAnErrorOrAValidPod(t *testing.T) {
	seeds(t, 60, func(t *testing.T, g gen) {
		base := g.pod()
		next := g.next(base)
		forms := [][]byte{AppendWhole(nil, next), AppendWholeShared(nil, next, 3), AppendPatch(nil, base, next, testOwn)}
		if b, ok := AppendDelta(nil, base, next, testOwn); ok {
			forms = append(forms, b)
		}
		for _, b := range forms {
			for n := range b {
				if v, err := DecodeVersion(b[:n]); err == nil && v.kind != bodyDelta {
					t.Fatalf("%x cut to %d bytes reads", b, n)
				}
				bad := bytes.Clone(b)
				bad[n] ^= byte(1 + g.IntN(255))
				tryMerge(t, base, bad, next.Body())
			}
			if _, err := DecodeVersion(append(bytes.Clone(b), 0)); err == nil && b[0]&15 == byte(bodyPatch) {
				t.Fatalf("%x with a byte more reads", b)
			}
		}
	})
}

// tryMerge reads bytes that may be anything.
func tryMerge(t *testing.T, base *Pod, b, shared []byte) {
	t.Helper()
	v, err := DecodeVersion(b)
	if err == nil {
		v.SetGeneration(testOwn)
		var p *Pod
		if p, err = Merge(base, v, shared); err == nil {
			if err := Validate(p); err != nil {
				t.Fatalf("%x merges to what is not valid: %v", b, err)
			}
			wantPod(t, "written again", reread(t, nil, AppendWhole(nil, p), nil), p)
			wantPod(t, "written as a patch", reread(t, base, AppendPatch(nil, base, p, testOwn), nil), p)
		}
	}
	if err != nil && !errors.Is(err, dberr.ErrCorrupt) && !errors.Is(err, dberr.ErrTooNew) {
		t.Fatalf("%x: %v is not of the right kind", b, err)
	}
}

// FuzzVersion reads arbitrary bytes against a base: no panic, memory in
// proportion to what is there, and what is accepted is valid and can be written
// again.
// A patch stores of a slot, and of a run, what stands between what is as before.
func TestPatchesKeepWhatSurroundsAChange(t *testing.T) {
	text := strings.Repeat("0123456789", 30)
	base := &Pod{Exports: []Export{{0, all}}, Slots: []Data{
		{SlotObject, 64, []byte(text), nil},
		{SlotArray, 64, []byte(text), []uint32{150, 150}},
	}}
	next := &Pod{Exports: base.Exports, Slots: []Data{
		{SlotObject, 64, []byte(text[:100] + "ab" + text[101:]), nil},
		{SlotArray, 64, []byte(text[:200] + "c" + text[201:]), []uint32{150, 150}},
	}}
	b := AppendPatch(nil, base, next, testOwn)
	wantPod(t, "patched", reread(t, base, b, nil), next)
	if len(b) > 25 {
		t.Errorf("%d bytes for 3: % x", len(b), b)
	}
	if n, m := Differing(&base.Slots[0], &next.Slots[0]), Differing(&base.Slots[1], &next.Slots[1]); n != 2 || m != 1 {
		t.Errorf("%d and %d bytes differ, want 2 and 1", n, m)
	}
}

func FuzzVersion(f *testing.F) {
	for seed := range uint64(20) {
		g := newGen(seed)
		base := g.pod()
		next := g.next(base)
		f.Add(seed, AppendWhole(nil, next), next.Body())
		f.Add(seed, AppendWholeShared(nil, next, 1), next.Body())
		f.Add(seed, AppendPatch(nil, base, next, testOwn), []byte(nil))
		if b, ok := AppendDelta(nil, base, next, testOwn); ok {
			f.Add(seed, b, []byte(nil))
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, b, shared []byte) {
		base := newGen(seed % 100).pod()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if v, err := DecodeVersion(b); err == nil {
			_, _ = Merge(base, v, shared)
		}
		runtime.ReadMemStats(&after)
		if most := uint64(2<<10*(len(b)+64) + 4*base.Size() + 128*len(shared) + 1<<18); after.TotalAlloc-before.TotalAlloc > most {
			t.Fatalf("%d bytes made %d bytes of memory", len(b), after.TotalAlloc-before.TotalAlloc)
		}
		tryMerge(t, base, b, shared)
	})
}

func TestSizesInMemory(t *testing.T) {
	for _, c := range []struct {
		of   any
		want int
	}{{Pod{}, podBytes}, {Ref{}, refBytes}, {Data{}, dataBytes}, {Export{}, exportBytes}} {
		if got := int(reflect.TypeOf(c.of).Size()); got != c.want {
			t.Errorf("%T takes %d bytes, Size counts %d", c.of, got, c.want)
		}
	}
}

func BenchmarkForms(b *testing.B) {
	base := typical(280)
	next := &Pod{Refs: base.Refs, Slots: append([]Data(nil), base.Slots...), Exports: base.Exports}
	next.Slots[100].Bytes = bytes.Repeat([]byte{9}, 24)
	delta, _ := AppendDelta(nil, base, next, testOwn)
	var dst []byte
	for _, f := range []struct {
		name   string
		form   []byte
		append func()
	}{
		{"whole", AppendWhole(nil, base), func() { dst = AppendWhole(dst[:0], base) }},
		{"patch", AppendPatch(nil, base, next, testOwn), func() { dst = AppendPatch(dst[:0], base, next, testOwn) }},
		{"delta", delta, func() { dst, _ = AppendDelta(dst[:0], base, next, testOwn) }},
	} {
		b.Run(f.name+"/append", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f.append()
			}
		})
		b.Run(f.name+"/merge", func(b *testing.B) {
			b.ReportAllocs()
			b.ReportMetric(float64(len(f.form)), "stored-bytes")
			for b.Loop() {
				v, err := DecodeVersion(f.form)
				if err == nil {
					_, err = Merge(base, v, nil)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
