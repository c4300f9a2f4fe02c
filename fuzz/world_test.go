package fuzz

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// world is a store, the model of what is in it, and a random program of
// operations (operations_test.go) on both. The same seed on the same file system
// makes the same operations in the same order, file-system operations too.
//
// An operation that returns an error leaves in the model, as pending, what the
// store may or may not have done.
type world struct {
	ctx   context.Context
	fs    vfs.FS
	rng   *rand.Rand
	s     *mvcc.Store
	m     *model
	big   bool // some commits are larger than the log takes
	level mvcc.Durability
	ticks int64
	// asked is the commit whose outcome is unknown, for Lookup.
	asked *dberr.CommitUnknownError
	steps []string // what was done, for the message
}

const worldPath = "w.pod"

func newWorld(fs vfs.FS, seed uint64) *world {
	return &world{ctx: context.Background(), fs: fs, rng: rand.New(rand.NewPCG(seed, 3)), m: newModel()}
}

func (w *world) options() mvcc.Options {
	var key [32]byte
	for i := range key {
		key[i] = byte(w.rng.Uint32())
	}
	return mvcc.Options{
		FS: w.fs, Path: worldPath, PageSize: 4096, SegmentBytes: 16 << 10, CheckpointBytes: -1, IdlePromise: -1, MemoryBytes: 8 << 20,
		Durability: w.level, Interval: time.Hour,
		Rand: rand.NewChaCha8(key),
		Now:  func() time.Time { w.ticks++; return time.Unix(1_700_000_000, w.ticks) },
	}
}

func (w *world) open() (err error) {
	w.s, err = mvcc.Open(w.ctx, w.options())
	w.m.relaxed = w.level != mvcc.DurabilityFull
	return err
}

// close may be called in any state.
func (w *world) close() error {
	if w.s == nil {
		return nil
	}
	s := w.s
	w.s = nil
	return s.Close()
}

// step runs one random operation.
func (w *world) step() error {
	total := 0
	for _, o := range operations {
		total += o.weight
	}
	n := w.rng.IntN(total)
	for _, o := range operations {
		if n -= o.weight; n < 0 {
			w.steps = append(w.steps, o.name)
			if err := o.run(w); err != nil {
				return fmt.Errorf("%s: %w", o.name, err)
			}
			return nil
		}
	}
	return nil
}

// check compares the store with the model, in which nothing is pending
// afterwards.
func (w *world) check() error {
	seen, err := w.m.observe(w.ctx, w.s)
	if err != nil {
		return err
	}
	w.m = seen
	if err := w.lookUp(); err != nil {
		return err
	}
	return verify(w.ctx, w.s)
}

// lookUp asks what became of a commit whose outcome was unknown. The answer must
// be what the store shows.
func (w *world) lookUp() error {
	if w.asked == nil || w.poisoned() {
		return nil
	}
	token := w.asked.Token
	w.asked = nil
	v, there, err := w.s.Lookup(w.ctx, token)
	if err != nil || there != (v == token.Version) || there != (w.m.newest >= token.Version) {
		return wrong("Lookup of %v gives %d, %v, %v; the newest version is %d", token, v, there, err, w.m.newest)
	}
	return nil
}

func (w *world) branch() string { return pick(w.rng, slices.Sorted(maps.Keys(w.m.heads))) }

func pick[T any](rng *rand.Rand, s []T) T { return s[rng.IntN(len(s))] }

// text is some bytes: few or many, that shrink or not, now and then the same
// ones as elsewhere.
func (w *world) text() []byte {
	switch w.rng.IntN(6) {
	case 0:
		return fmt.Appendf(nil, "%0*d", 1200, w.rng.IntN(3))
	case 1:
		return w.noise(w.rng.IntN(3000))
	case 2:
		return []byte(strings.Repeat(fmt.Sprint("again and again ", w.rng.IntN(9)), w.rng.IntN(90)))
	}
	return w.noise(w.rng.IntN(40))
}

func (w *world) noise(n int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += 8 {
		x := w.rng.Uint64()
		for j := i; j < min(n, i+8); j++ {
			b[j], x = byte(x), x>>8
		}
	}
	return b
}

func (w *world) data() pod.Data {
	d := pod.Data{Kind: pod.SlotObject, Type: 17, Bytes: w.text()}
	if w.rng.IntN(3) == 0 {
		d.Kind = pod.SlotArray
		for left := len(d.Bytes); ; {
			n := min(left, 1+w.rng.IntN(400))
			d.Runs = append(d.Runs, uint32(n))
			if left -= n; left == 0 {
				break
			}
		}
	}
	return d
}

// fresh is a new pod of one to three slots that refers to pods of the state.
func (w *world) fresh(id pod.ID, st *state) *pod.Change {
	c := &pod.Change{ID: id, New: true, Exports: []pod.Export{{Edges: pod.EdgeSet{All: true}}}}
	for i := range 1 + w.rng.IntN(3) {
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: w.data()})
	}
	if ids := slices.Sorted(maps.Keys(st.pods)); len(ids) > 0 && w.rng.IntN(2) == 0 {
		c.Refs = []pod.Ref{{Pod: pick(w.rng, ids)}}
	}
	return c
}

// changed writes some slots, or a run of one, of a pod again.
func (w *world) changed(id pod.ID, old *pod.Pod) *pod.Change {
	c := &pod.Change{ID: id, Refs: slices.Clone(old.Refs), Exports: slices.Clone(old.Exports)}
	for i, was := range old.Slots {
		switch {
		case i > 0 && w.rng.IntN(2) == 0:
		case was.Kind == pod.SlotArray && w.rng.IntN(2) == 0:
			n := was.NumRuns()
			c.Slots = append(c.Slots, pod.SlotWrite{
				Slot: pod.Slot(i), Data: pod.Data{Kind: was.Kind, Type: was.Type}, NumRuns: n,
				Runs: []pod.RunWrite{{Run: w.rng.IntN(n), Bytes: w.noise(w.rng.IntN(60))}},
			})
		case len(was.Bytes) > 64 && w.rng.IntN(2) == 0: // a little of much: what deltas are for
			d := pod.Data{Kind: was.Kind, Type: was.Type, Bytes: slices.Clone(was.Bytes), Runs: was.Runs}
			copy(d.Bytes[w.rng.IntN(len(d.Bytes)-20):], w.noise(20))
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: d})
		default:
			c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: w.data()})
		}
	}
	return c
}
