package podder

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// The fuzz targets here take a store that a real save made and put other bytes
// into its slots and its catalogue. Then everything that reads does so: loads of
// values and into a graph, a save after the load, the viewer, the counts of types.
// Whatever the bytes say, there is no panic and no hang, errors are documented
// ones, and what is allocated is in proportion to what is stored.

var writeSeeds = flag.Bool("podder.seeds", false, "write the seeds of the hostile fuzz targets to testdata/fuzz")

// hostileStore is what one fuzz target damages.
type hostileStore struct {
	name  string
	store *fakeStore
	cfg   func(testing.TB) Config // of the reader: a new registry each time, as in a new process
	vars  []string
	want  []reflect.Type
	path  string // what the viewer shows
	least uint64 // bytes that reading the undamaged store allocates
	size  int    // bytes stored
}

// hostile makes the store of variables, which are read by programs that have the
// types of the given registry.
func hostile(t testing.TB, name string, writer, reader func(testing.TB) *Registry, target int, pairs ...any) *hostileStore {
	t.Helper()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.TargetBytes = writer(t), target
	mustSave(t, mustGraph(t, cfg), s, pairs...)
	h := &hostileStore{name: name, store: s, path: pairs[0].(string)}
	h.cfg = func(t testing.TB) Config {
		return Config{Secret: s.key, Registry: reader(t), TargetBytes: target, MaxUnstored: 1 << 20, MaxLoad: 64 << 20}
	}
	for i := 0; i < len(pairs); i += 2 {
		h.vars = append(h.vars, pairs[i].(string))
		h.want = append(h.want, reflect.TypeOf(pairs[i+1]))
	}
	for _, p := range s.pods {
		for i := range p.Slots {
			h.size += len(p.Slots[i].Bytes)
		}
	}
	h.read(t, h.store) // what is made once
	h.least = allocated(func() {
		if err := h.read(t, h.store); err != nil {
			t.Fatalf("%s, undamaged: %v", name, err)
		}
	})
	return h
}

// noTypes is the registry of a program that registers none.
func noTypes(testing.TB) *Registry { return NewRegistry() }

// slotPlace is a slot of a store.
type slotPlace struct {
	pod  pod.ID
	slot int
}

// slots are all slots, in order.
func (h *hostileStore) slots() (all []slotPlace) {
	for id, p := range h.store.pods {
		for i := range p.Slots {
			all = append(all, slotPlace{id, i})
		}
	}
	slices.SortFunc(all, func(a, b slotPlace) int { return int(a.pod-b.pod)*1000 + a.slot - b.slot })
	return all
}

// with returns a copy of a store that has other bytes in one slot. The runs are as
// long as they were, as far as the bytes go; the last has what is left.
func with(s *fakeStore, at slotPlace, b []byte) *fakeStore {
	m := s.snapshot()
	p := *m.pods[at.pod]
	p.Slots = slices.Clone(p.Slots)
	d := &p.Slots[at.slot]
	d.Bytes, d.Runs = b, slices.Clone(d.Runs)
	left := uint32(len(b))
	for i := range d.Runs {
		if i == len(d.Runs)-1 {
			d.Runs[i] = left
		}
		d.Runs[i] = min(d.Runs[i], left)
		left -= d.Runs[i]
	}
	m.pods[at.pod] = &p
	return m
}

// read does everything that reads, and returns what the first load says.
func (h *hostileStore) read(t testing.TB, s *fakeStore) error {
	ctx := context.Background()
	_, err := Decode(ctx, h.cfg(t), s, h.vars, h.want)
	mustBeDocumented(t, "decode", err)
	cfg := h.cfg(t)
	g := mustGraph(t, cfg)
	vs, loadErr := g.Load(ctx, s, h.vars, h.want)
	mustBeDocumented(t, "load", loadErr)
	if loadErr == nil {
		var roots []Root
		for i, name := range h.vars {
			roots = append(roots, Root{Name: name, Value: vs[i]})
		}
		saved, err := g.Save(ctx, roots, s.snapshot().begin())
		if mustBeDocumented(t, "save after load", err); err == nil {
			saved.Abort()
		}
	}
	mustBeDocumented(t, "JSON", WriteJSON(ctx, s, io.Discard, h.path, JSONOptions{}))
	_, err = CountValues(ctx, s, h.vars)
	mustBeDocumented(t, "count", err)
	return loadErr
}

func mustBeDocumented(t testing.TB, what string, err error) {
	t.Helper()
	for _, known := range []error{nil, dberr.ErrCorrupt, dberr.ErrTooLarge, dberr.ErrTypeMismatch, dberr.ErrUnregistered, dberr.ErrUnsupported, dberr.ErrNotFound} {
		if errors.Is(err, known) {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

// mustCope reads a damaged store with added bytes in it.
func (h *hostileStore) mustCope(t *testing.T, s *fakeStore, added int) {
	t.Helper()
	start := time.Now()
	took := allocated(func() { h.read(t, s) })
	// Each reader has its own MaxUnstored; garbage counts, and what a slot justifies
	// once is decoded by several.
	if most := 4*h.least + 4<<20 + 1024*uint64(added); took > most {
		t.Fatalf("%s: %d bytes allocated, undamaged %d, added %d", h.name, took, h.least, added)
	}
	if d := time.Since(start); d > 5*time.Minute { // the machine may have been stopped meanwhile
		t.Fatalf("%s: took %v", h.name, d)
	}
}

// addSeeds adds what the stores hold as seeds, slot by slot, and writes them to
// testdata if the flag says so.
func addSeeds(f *testing.F, stores []*hostileStore) {
	for i, h := range stores {
		all := h.slots()
		step := max(1, len(all)/12)
		for k := 0; k < len(all); k += step {
			a := h.store.pods[all[k].pod].Slots[all[k].slot].Bytes
			next := (k + 1) % len(all)
			b := h.store.pods[all[next].pod].Slots[all[next].slot].Bytes
			if len(a)+len(b) > 4096 {
				continue
			}
			f.Add(byte(i), uint16(k), a, uint16(next), b)
			seedFile(f, fmt.Sprintf("saved-%s-%d", h.name, k), byte(i), uint16(k), a, uint16(next), b)
		}
	}
}

// seedFile writes a seed as the go command reads it.
func seedFile(f *testing.F, name string, args ...any) {
	if !*writeSeeds {
		return
	}
	var b strings.Builder
	b.WriteString("go test fuzz v1\n")
	for _, a := range args {
		switch a := a.(type) {
		case byte:
			fmt.Fprintf(&b, "byte(%q)\n", rune(a))
		case uint16:
			fmt.Fprintf(&b, "uint16(%d)\n", a)
		case []byte:
			fmt.Fprintf(&b, "[]byte(%q)\n", a)
		case string:
			fmt.Fprintf(&b, "string(%q)\n", a)
		default:
			f.Fatalf("seed of type %T", a)
		}
	}
	dir := filepath.Join("testdata", "fuzz", f.Name())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), []byte(b.String()), 0o644); err != nil {
		f.Fatal(err)
	}
}

// fuzzSlots replaces the bytes of two slots.
func fuzzSlots(f *testing.F, stores []*hostileStore) {
	addSeeds(f, stores)
	f.Fuzz(func(t *testing.T, which byte, at uint16, a []byte, at2 uint16, b []byte) {
		h := stores[int(which)%len(stores)]
		all := h.slots()
		s := with(h.store, all[int(at)%len(all)], a)
		if len(b) > 0 {
			s = with(s, all[int(at2)%len(all)], b)
		}
		h.mustCope(t, s, len(a)+len(b))
	})
}
