package pod

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// length is one of a run: often none, or near the bound of a code.
func (g gen) length() int {
	switch g.IntN(4) {
	case 0:
		return 0
	case 1:
		return g.IntN(5)
	case 2:
		return mostExports*g.IntN(9) + g.IntN(3)
	}
	return g.IntN(200)
}

// tablesInRuns makes a pod whose tables repeat themselves, as those of many small objects do.
func (g gen) tablesInRuns() *Pod {
	p := &Pod{}
	last := Ref{Pod: 7}
	for range g.IntN(6) + 1 {
		p.Refs = append(p.Refs, make([]Ref, g.length())...)
		for range g.length() {
			last.Slot++
			p.Refs = append(p.Refs, last)
		}
		for range g.IntN(4) {
			if ref := g.ref(); ref.Pod != 0 {
				last = ref
			}
			p.Refs = append(p.Refs, last)
		}
	}
	used := []uint32{}
	for n, ref := range p.Refs {
		if ref.Pod != 0 {
			used = append(used, uint32(n))
		}
	}
	export := func(e EdgeSet) {
		p.Exports = append(p.Exports, Export{Slot(len(p.Slots)), e})
		p.Slots = append(p.Slots, Data{Kind: SlotObject, Type: 64, Bytes: []byte{1}})
	}
	export(EdgeSet{All: g.IntN(2) == 0})
	for range g.IntN(6) + 1 {
		e := g.edges(p)
		for range g.length() {
			export(e)
		}
		if len(used) > 0 {
			from := g.IntN(len(used))
			for _, n := range used[from:min(len(used), from+g.length())] {
				export(list(n))
			}
		}
		for range g.length() * g.IntN(2) { // not exported
			p.Slots = append(p.Slots, Data{Kind: SlotObject, Type: 64, Bytes: []byte{2}})
		}
	}
	if g.IntN(2) == 0 {
		return p
	}
	g.giveOut(p)
	if g.IntN(2) == 0 {
		for i := range p.Generations {
			p.Generations[i].Gen.Moved = 0
		}
		p.Generations = slices.DeleteFunc(p.Generations, func(s SlotGeneration) bool { return s.Gen == Generation{} })
	}
	return p
}

// Tables that repeat themselves come back from either reader, and take no more than without runs, mostly
// much less.
func TestTablesInRunsComeBack(t *testing.T) {
	formats := map[byte]int{}
	used := &Pod{}
	whole, plain := 0, 0
	seeds(t, 300, func(t *testing.T, g gen) {
		p := g.tablesInRuns()
		if err := Validate(p); err != nil {
			t.Fatal(err)
		}
		form := AppendWhole([]byte("before"), p)[len("before"):]
		formats[form[0]>>4]++
		wantPod(t, "decoded", reread(t, nil, form, nil), p)
		if err := used.ReadWhole(form); err != nil {
			t.Fatal(err)
		}
		wantPod(t, "read into used memory", used, p)
		wantPod(t, "with a shared body", reread(t, nil, AppendWholeShared(nil, p, 9), p.Body()), p)
		var w DirectoryWriter
		for _, s := range p.Slots {
			w.Add(s.Kind, s.Type, len(s.Bytes), s.Runs)
		}
		if len(p.Generations) == 0 && !bytes.HasPrefix(form, AppendWholeHeadOf(nil, p.Refs, p.Exports, &w)) {
			t.Fatal("a head whose slots were added is another one")
		}
		without := appendHead(nil, bodyWhole, p.Generations)
		without = appendBody(appendDirectory(appendExports(appendRefs(without, p.Refs), p.Exports), p.Slots), p)
		if len(form) > len(without) || len(form) == len(without) && form[0] != without[0] {
			t.Fatalf("%d bytes, %d without runs", len(form), len(without))
		}
		body := len(p.Body())
		whole, plain = whole+len(form)-body, plain+len(without)-body
		for range 20 { // damage is an error, or a pod that is valid, of both readers
			bad := bytes.Clone(form)
			bad[g.IntN(len(bad)-body)] ^= 1 << g.IntN(8)
			tryMerge(t, &Pod{}, bad, nil)
			v, err := DecodeVersion(bad)
			if err == nil && v.kind != bodyWhole {
				continue
			}
			want := (*Pod)(nil)
			if err == nil {
				want, err = Merge(nil, v, nil)
			}
			if got := used.ReadWhole(bad); (got == nil) != (err == nil) {
				t.Fatalf("%x: %v, DecodeVersion and Merge say %v", bad, got, err)
			}
			if err == nil {
				wantPod(t, "read damaged", used, want)
			}
		}
	})
	for _, f := range []byte{formatVersion + runsFormats, generationFormat + runsFormats, movedFormat + runsFormats} {
		if formats[f] == 0 {
			t.Errorf("no pod of format %d: %v", f, formats)
		}
	}
	if whole > plain/2 {
		t.Errorf("own parts take %d bytes, %d without runs", whole, plain)
	}
}

func TestRunsAreUsedWhereTheyAreShorter(t *testing.T) {
	unused := Ref{}
	last := Ref{Pod: 9, Slot: math.MaxUint32}
	for _, c := range []struct {
		name string
		refs []Ref
		runs bool
	}{
		{"pairs of unused ones", []Ref{unused, unused, {Pod: 5}, unused, unused, {Pod: 5}, unused, unused}, false},
		{"four unused ones", []Ref{unused, unused, unused, unused}, true},
		{"four unused ones, and as much lost", []Ref{unused, unused, unused, unused, {Pod: 16}, {Pod: 47}, {Pod: 78}}, false},
		{"the last slot, and the first", []Ref{last, {Pod: 9}, {Pod: 9, Slot: 1}, {Pod: 9, Slot: 2}, {Pod: 9, Slot: 3}, last, {Pod: 9}, {Pod: 9}}, true},
	} {
		p := &Pod{Refs: c.refs}
		form := AppendWhole(nil, p)
		if runs := form[0]>>4 > movedFormat; runs != c.runs {
			t.Errorf("%s: %x, in runs %v", c.name, form, runs)
		}
		wantPod(t, c.name, reread(t, nil, form, nil), p)
	}
}

func TestLiesInRuns(t *testing.T) {
	for _, c := range []struct{ name, hex, want string }{
		{"a run of references beyond the table", "50 02 02 02", "run of 3 references"},
		{"a run of references beyond the bound", "50 48 02 40 00 00", "run of 65 references"},
		{"references that follow none", "50 02 03 01", "follow slot 0 of pod 0"},
		{"references that follow unused ones", "50 04 02 01 03 01", "follow slot 0 of pod 0"},
		{"references that follow the last slot", "50 03 01 07 ff ff ff ff 0f 03 01", "follow slot 4294967295"},
		{"a run of references that is cut off", "50 04 02", "one more byte"},
		{"a reference to pod 0", "50 01 04", "pod 0"},
		{"a table that is cut off", "50 40 00 00", "cut off"},
		{"more references than bytes", "50 81 01 00 00 00 00", "129 elements in 4 bytes"},
		{"more exports than bytes", "50 00 31 00 00 00", "49 elements in 3 bytes"},
		{"too many references", "50 81 80 80 80 01", "count"},
		{"a run of exports at first", "50 00 02 0c", "first export is like"},
		{"the export before at first", "50 00 02 02", "first export is like"},
		{"a run of exports beyond their number", "50 00 02 01 0c", "run of 2 exports"},
		{"a run of exports beyond the bound", "50 00 40 01 84 01 00 00", "run of 17 exports"},
		{"an unknown form", "50 00 02 01 06", "export of form 6"},
		{"exports that follow no list", "50 00 02 00 05", "follow one that reaches 0"},
		{"exports that follow a list of two", "50 02 06 06 02 03 02 00 00 05", "follow one that reaches 2"},
		{"an empty list", "50 00 01 03 00", "empty list"},
		{"an export of a slot that is not there", "50 00 02 01 04 01 02 06 01 aa", "which is free"},
		{"an export that reaches what is not there", "50 01 06 02 03 01 00 05 02 32 00 06 01 aa bb", "unused or out of order"},
		{"an export of a slot beyond all", "50 00 01 80 80 80 80 08", "export of slot"},
		{"in a patch", "52 00 00", "starts with"},
		{"in a delta", "63 00 00", "starts with"},
		{"given, whole", "70 00 00", "starts with"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			v, err := DecodeVersion(b)
			if err == nil {
				_, err = Merge(nil, v, nil)
			}
			if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v; want ErrCorrupt with %q", err, c.want)
			}
			if err := new(Pod).ReadWhole(b); !errors.Is(err, dberr.ErrCorrupt) {
				t.Errorf("read whole: %v", err)
			}
		})
	}
	if err := new(Pod).ReadWhole([]byte{9 << 4}); !errors.Is(err, dberr.ErrTooNew) {
		t.Errorf("format 9: %v", err)
	}
}

// A byte of runs stands for less than 1 KiB of memory.
func TestTheMemoryOfRunsIsBounded(t *testing.T) {
	refs := append([]byte{0x50, 0x81, 0x80, 0x04, 6}, bytes.Repeat([]byte{refsUnused, mostRefs - 1}, 1<<16/mostRefs)...)
	v, err := DecodeVersion(append(refs, 0, 0))
	if err != nil {
		t.Fatal(err)
	}
	if got := cap(v.refs.refs) * refBytes; len(v.refs.refs) != 1<<16+1 || got > len(refs)<<10 {
		t.Errorf("%d references in %d bytes of %d", len(v.refs.refs), got, len(refs))
	}
	for _, form := range []byte{exportsSame, exportsFollow} {
		exports := append([]byte{0x50, 0, 0x81, 0x80, 0x04, 3, 1, 0}, bytes.Repeat([]byte{(mostExports-1)<<3 | form}, 1<<16/mostExports)...)
		if v, err = DecodeVersion(append(exports, 0)); err != nil {
			t.Fatal(err)
		}
		if got := cap(v.exps.exports)*exportBytes + 8*len(v.exps.exports); len(v.exps.exports) != 1<<16+1 || got > len(exports)<<10 {
			t.Errorf("form %d: %d exports in %d bytes of %d", form, len(v.exps.exports), got, len(exports))
		}
	}
}
