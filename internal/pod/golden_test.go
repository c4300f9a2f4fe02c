package pod

import (
	"bytes"
	"encoding/hex"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/binenc"
)

// readHex parses an annotated hex file: name to bytes.
func readHex(t *testing.T, name string) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	items := map[string][]byte{}
	item := ""
	for i, line := range strings.Split(string(text), "\n") {
		if after, ok := strings.CutPrefix(line, "== "); ok {
			item = after
			continue
		}
		code, _, _ := strings.Cut(line, "#")
		b, err := hex.DecodeString(strings.ReplaceAll(code, " ", ""))
		if err != nil {
			t.Fatalf("%s:%d: %v", name, i+1, err)
		}
		items[item] = append(items[item], b...)
	}
	return items
}

func list(n ...uint32) EdgeSet { return EdgeSet{List: n} }

// The pods that testdata/everykind.hex holds, by its comments.
var (
	all  = EdgeSet{All: true}
	none = EdgeSet{}
)

func goldenWhole() *Pod {
	p := &Pod{
		Refs: []Ref{{100, 0}, {101, 0}, {}, {101, 5}, {7, 0}, {1<<63 + 9, 2}},
		Exports: []Export{{0, all}, {1, none}, {2, list(0, 1, 4)}, {3, list(0, 1, 4)}, {4, list(0, 1, 4)}, {7, list(0, 1, 4)},
			{9, none}, {11, none}, {12, all}, {13, list(5)}},
		Slots: make([]Data, 31),
	}
	copy(p.Slots, []Data{
		{SlotBox, 64, []byte{6}, nil},
		{SlotObject, 65, []byte{1, 2, 3}, nil},
		{SlotObject, 65, []byte{4, 5, 6}, nil},
		{SlotObject, 66, []byte{7, 8}, nil},
		{SlotObject, 66, nil, nil},
		{},
		{},
		{SlotArray, 6, []byte("\xac\x02\x03\x01" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x02\x00\x00\x00\x00\x00\x00\x00" +
			"\xff\xff\xff\xff\xff\xff\xff\xff"), []uint32{4, 8, 8, 8}},
		{SlotMap, 67, []byte{1, 2, 0x80, 1, 1}, []uint32{2, 0, 3, 0, 0}},
		{SlotString, 17, []byte("pod"), nil},
		{SlotForward, 0, []byte{15}, nil},
		{SlotOpaque, 68, []byte{0xde, 0xad, 0}, nil},
		{SlotChunks, 6, []byte{0x90, 0x4e, 0x90, 0x4e, 2, 0x88, 0x27, 3, 0x88, 0x27, 7}, nil},
		{SlotObject, 69, []byte{32, 2, 0, 9, 0, 2, 1, 3, 0, 1}, nil},
	})
	return p
}

func goldenPatched() *Pod {
	p := goldenWhole()
	p.Refs = []Ref{{100, 0}, {101, 0}, {102, 0}, {101, 5}, {7, 0}, {}, {8, 0}}
	p.Exports = []Export{{0, all}, {1, list(2)}, {2, list(0, 1, 4)}, {3, list(0, 1, 4)}, {4, list(0, 1, 4)},
		{9, none}, {11, none}, {12, all}, {13, none}, {14, all}}
	p.Slots = p.Slots[:16]
	p.Slots[1].Bytes = []byte{9, 9}
	p.Slots[7].Runs = []uint32{4, 8, 8, 8, 8}
	p.Slots[7].Bytes = []byte("\xac\x02\x04\x01" + "\x01\x00\x00\x00\x00\x00\x00\x00" + "\x05\x00\x00\x00\x00\x00\x00\x00" +
		"\xff\xff\xff\xff\xff\xff\xff\xff" + "\x06\x00\x00\x00\x00\x00\x00\x00")
	p.Slots[8] = Data{SlotMap, 70, []byte{0, 0}, []uint32{2}}
	p.Slots[10] = Data{}
	p.Slots[14] = Data{SlotString, 17, []byte("hi"), nil}
	return p
}

func goldenCut() *Pod {
	p := goldenWhole()
	p.Slots[1].Bytes = []byte{9, 9}
	p.Slots[7] = goldenPatched().Slots[7]
	p.Slots[13].Bytes = []byte{32, 2, 0, 9, 7, 7, 2, 1, 3, 0, 1}
	return p
}

func goldenShared() *Pod {
	return &Pod{Exports: []Export{{0, all}}, Slots: []Data{{SlotObject, 6, []byte{1, 2}, nil}, {SlotObject, 6, []byte{3, 4}, nil}}}
}

func goldenParts() *Pod {
	return &Pod{Refs: []Ref{{5, 0}}, Exports: []Export{{0, list(0)}}, Slots: goldenShared().Slots}
}

func goldenDelta() *Pod {
	p := goldenWhole()
	p.Slots[1].Bytes = []byte{0x2a, 2, 3}
	return p
}

func goldenShorter() *Pod {
	p := goldenWhole()
	p.Slots[9].Bytes = []byte("po")
	return p
}

func goldenGivenAnew() *Pod {
	p := goldenShared()
	p.Generations = []SlotGeneration{{1, Generation{Line: 2, Number: 300}}}
	return p
}

func goldenGivenAgain() *Pod {
	p := goldenGivenAnew()
	p.Slots = append(p.Slots, p.Slots[0], p.Slots[1])
	p.Generations = []SlotGeneration{{2, Generation{Line: 2, Number: 301}}, {3, Generation{Line: 2, Number: 301}}}
	return p
}

func goldenGiven() *Pod {
	p := goldenGivenAgain()
	p.Generations = []SlotGeneration{{1, Generation{Line: 2, Number: 300}}, {2, goldenOwn}, {3, goldenOwn}}
	return p
}

func goldenMoved() *Pod {
	p := goldenGivenAgain()
	p.Generations = []SlotGeneration{{1, Generation{Line: 2, Number: 300}}, {2, Generation{Line: 2, Number: 301}.At(2, 9)}, {3, goldenOwn}}
	return p
}

// goldenOwn is the generation of the changes.
var goldenOwn = Generation{Line: 2, Number: 302}

func goldenRuns() *Pod {
	p := &Pod{Refs: []Ref{{}, {}, {}, {}, {2, 2}, {2, 3}, {2, 4}, {2, 5}, {}, {}, {}, {2, 0}}}
	for i := range 8 {
		p.Slots = append(p.Slots, Data{SlotObject, 6, []byte{byte('a' + i)}, nil})
		p.Exports = append(p.Exports, Export{Slot(i), none})
		if i > 3 {
			p.Exports[i].Edges = list(uint32(i))
		}
	}
	return p
}

func goldenOneSlot() *Pod {
	whole := goldenWhole()
	return &Pod{Refs: whole.Refs, Exports: []Export{{0, all}}, Slots: []Data{{SlotObject, 6, whole.Body(), nil}}}
}

// TestGoldenFile guards databases that are already written: every kind of the
// format reads as what docs/format.md says, and what the writer chooses has not
// changed.
func TestGoldenFile(t *testing.T) {
	file := readHex(t, "testdata/everykind.hex")
	whole, shared := goldenWhole(), goldenShared()
	for _, c := range []struct {
		name  string
		kind  BodyKind
		base  *Pod
		want  *Pod
		again func() []byte // nil where the writer may choose other bytes
	}{
		{"whole", bodyWhole, nil, whole, func() []byte { return AppendWhole(nil, goldenWhole()) }},
		{"shared", bodyShared, nil, shared, func() []byte { return AppendWholeShared(nil, goldenShared(), 300) }},
		{"patch", bodyPatch, whole, goldenPatched(), nil},
		{"patch with cuts", bodyPatch, whole, goldenCut(), func() []byte { return AppendPatch(nil, goldenWhole(), goldenCut(), goldenOwn) }},
		{"patch of parts", bodyPatch, shared, goldenParts(), func() []byte { return AppendPatch(nil, goldenShared(), goldenParts(), goldenOwn) }},
		{"whole with generations", bodyWhole, nil, goldenGivenAnew(), func() []byte { return AppendWhole(nil, goldenGivenAnew()) }},
		{"patch with generations", bodyPatch, goldenGivenAnew(), goldenGivenAgain(), func() []byte { return AppendPatch(nil, goldenGivenAnew(), goldenGivenAgain(), goldenOwn) }},
		{"patch that gives out slots", bodyPatch, goldenGivenAnew(), goldenGiven(), func() []byte { return AppendPatch(nil, goldenGivenAnew(), goldenGiven(), goldenOwn) }},
		{"whole with a moved object", bodyWhole, nil, goldenMoved(), func() []byte { return AppendWhole(nil, goldenMoved()) }},
		{"patch with a moved object", bodyPatch, goldenGivenAnew(), goldenMoved(), func() []byte { return AppendPatch(nil, goldenGivenAnew(), goldenMoved(), goldenOwn) }},
		{"whole with runs", bodyWhole, nil, goldenRuns(), func() []byte { return AppendWhole(nil, goldenRuns()) }},
		{"delta", bodyDelta, whole, goldenDelta(), nil},
		{"delta with directory changes", bodyDelta, whole, goldenShorter(), nil},
		{"delta with a directory", bodyDelta, whole, goldenOneSlot(), nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, ok := file[c.name]
			if !ok {
				t.Fatal("not in the file")
			}
			v, err := DecodeVersion(b)
			if err != nil {
				t.Fatal(err)
			}
			r, isShared := v.SharedBody()
			if v.Kind() != c.kind || v.NeedsBase() != (c.base != nil) || isShared != (c.kind == bodyShared) || isShared && r != 300 {
				t.Errorf("%v, base %v, shared %v in record %d", v.Kind(), v.NeedsBase(), isShared, r)
			}
			v.SetGeneration(goldenOwn)
			p, err := Merge(c.base, v, file["shared body"])
			if err != nil {
				t.Fatal(err)
			}
			wantPod(t, "merged", p, c.want)
			if c.again != nil && !bytes.Equal(c.again(), b) {
				t.Errorf("written again:\n% x, in the file\n% x", c.again(), b)
			}
			if b, ok := AppendDelta(nil, orEmpty(c.base), p, testOwn); ok {
				wantPod(t, "as a delta of today", reread(t, orEmpty(c.base), b, nil), c.want)
			}
		})
	}
	if len(file) != 16 { // with the shared body and what stands before the first name
		t.Errorf("%d items in the file, of which some are not read", len(file))
	}
}

func orEmpty(p *Pod) *Pod {
	if p == nil {
		return &Pod{}
	}
	return p
}

// TestGoldenFileHoldsEveryKind keeps the file complete when the format grows.
func TestGoldenFileHoldsEveryKind(t *testing.T) {
	var bodies, slots, ops []int
	for name, b := range readHex(t, "testdata/everykind.hex") {
		v, err := DecodeVersion(b)
		if err != nil {
			if name != "" && name != "shared body" {
				t.Fatal(err)
			}
			continue
		}
		bodies = append(bodies, int(v.kind))
		if v.kind == bodyPatch {
			for _, c := range v.slots.changes {
				ops = append(ops, int(c.op))
			}
		}
	}
	for _, d := range goldenWhole().Slots {
		slots = append(slots, int(d.Kind))
	}
	for _, c := range []struct {
		what string
		have []int
		want int
	}{{"body", bodies, bodyKinds}, {"slot", slots, int(slotKinds)}, {"change", ops, opCuts + 1}} {
		for kind := range c.want {
			if !slices.Contains(c.have, kind) {
				t.Errorf("no %s of kind %d in the file", c.what, kind)
			}
		}
	}
}

func TestGoldenFilePointers(t *testing.T) {
	p := reread(t, nil, readHex(t, "testdata/everykind.hex")["whole"], nil)
	read := func(slot, skip int) []Pointer {
		var got []Pointer
		r := binenc.NewReader(p.Slots[slot].Bytes[skip:])
		for r.Len() > 0 && r.Err() == nil {
			got = append(got, ReadPointer(r))
		}
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
		return got
	}
	for _, c := range []struct {
		slot, skip int
		want       []Pointer
	}{
		{0, 0, []Pointer{{To: ToLocal, Number: 1}}},
		{10, 0, []Pointer{{To: ToExternal, Number: 3}}},
		{12, 10, []Pointer{{To: ToExternal, Number: 1}}},
		{13, 0, []Pointer{
			{To: ToLocal, Number: 7, Index: 2},
			{To: ToExternal, Number: 1, Steps: []uint64{1, 3}},
			{},
			{To: ToZeroSize},
		}},
	} {
		if got := read(c.slot, c.skip); !reflect.DeepEqual(got, c.want) {
			t.Errorf("slot %d: %+v, want %+v", c.slot, got, c.want)
		}
	}
}
