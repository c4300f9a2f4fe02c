package podder

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// loader turns pods into Go memory. It goes by slots: what a wanted variable
// reaches is decoded, other slots of the same pods are left alone.
//
// A slot goes through these steps:
//
//	unknown --place--> placed --fill--> filled
//	           |                 |
//	           |                 +--a pod is missing--> blocked --fetch--> placed
//	           +--lives in the graph--> live, never filled
//
// Invariants:
//
//  1. A placed slot has its final address, so references to it are stored at
//     once, whether it is filled or not. Cycles need nothing else.
//  2. Everything a slot refers to is placed when the slot is filled. If the pod
//     of a target has not been fetched, a plain pointer is noted and stored
//     after the fetch (late); for anything else the slot is blocked and decoded
//     again, which stores the same addresses.
//  3. Memory is allocated with its true type, and pointers, slices, strings and
//     interfaces are stored through Go types, so that the collector sees them.
//  4. What is allocated is bounded by the bytes that ask for it, times
//     memoryPerByte, plus a budget for what is known to be zero (limits.go).
//  5. Recursion follows types and interface values inside one slot, never
//     references; the queue is the only memory of what is left to do.
//
// After an error the loader is dropped as a whole; nothing that it made has
// been seen by anyone.
type loader struct {
	ctx    context.Context
	src    pod.Source
	reg    *Registry
	wanted []reflect.Type
	// lookup finds what already lives in the graph; nil if nothing does.
	lookup func(pod.ID, pod.Slot) (liveRegion, bool)
	// inPlace makes live regions be decoded into shadow memory (restore.go)
	// instead of being left alone.
	inPlace bool
	// ownTypes gives variables the types that are stored, not those that they
	// have now, where the two are called differently.
	ownTypes bool
	// freed tells which slots of a pod may be another object's than lookup
	// knows, if inPlace; nil if none.
	freed FreedSlots
	// met are types that the graph has met before, which stored types may be
	// even if no wanted type leads to them.
	met []reflect.Type

	types map[pod.TypeID]*storedType
	// recent holds types that have their plan, by the lowest bits of their ids.
	recent [recentTypes]*storedType
	typed  map[typedKey]*storedType
	itabs  map[itabKey]unsafe.Pointer

	pods    map[pod.ID]*loadPod
	fetched []*loadPod    // in order of fetching
	ask     []*loadPod    // needed, not fetched
	queue   []loadSlot    // placed, not filled
	head    int           // first of queue that is not done
	blocked []loadSlot    // to be decoded again after the next fetch
	late    []latePointer // plain pointers to be stored after the next fetch
	spare   []latePointer // memory for the next late
	shadows []loadSlot    // live regions that have shadow memory
	// forwarders that were followed, with the address they lead to
	forwarders map[loadSlot]unsafe.Pointer

	want  reflect.Type             // what the reference being followed leads to, if that is stored as another type
	nodes map[nodeType]*storedType // parts of descriptors, by what they are read as

	slab   stringSlab
	budget budget
	made   map[string]bool // type texts of which types were made
	err    error
	nest
	at     loadSlot
	copied map[loadSlot]int // objects that were decoded as values of others
	// strays are parts that the program no longer has (decode_stray.go).
	strays       map[string]*stray
	strayed      []*stray // to be decoded
	strayBlocked []*stray // to be decoded after the next fetch
	warnings     []string
	// migrations are slots that hold values to be migrated (migrate.go).
	migrations []loadSlot
	hooks      []loadedHook
	turns
	migrating bool
	capturing *capture // reading an opaque value
	// hidden is nil if there is no live graph to keep the values.
	hidden hiddenValues
	// chunked are the lists of containers whose chunks are all here.
	chunked map[loadSlot]*chunkList

	textDepth int
	steps     []uint64 // of interior references being read
}

// nest is what is true of the slot being decoded alone, also if it is decoded in
// the midst of another one.
type nest struct {
	level        int  // slots being decoded inside each other
	scratch      int  // >0 while decoding to memory that will be copied
	depth        int  // interface values inside each other
	missing      bool // it refers to a pod that is not here
	sawMigration bool // it holds a value to be migrated
}

type loadPod struct {
	id     pod.ID
	merged *pod.Pod // nil until fetched
	asked  bool
	refs   []*loadPod // targets by reference number
	slots  []loadRegion
	shadow []unsafe.Pointer // where to decode live regions to, if inPlace
	freed  func(pod.Slot) bool
	// justified is the memory of containers for which it, a chunk, has stood.
	justified uint64
}

type loadSlot struct {
	pod  *loadPod
	slot pod.Slot
}

// loadRegion is one slot in memory.
type loadRegion struct {
	addr  unsafe.Pointer // final address; nil if not placed
	typ   *storedType
	count uint64 // elements or bytes, and flags in the lowest bits
}

const (
	regionLive   = 1 << iota // was there before; must not be written
	regionFilled             // decoded completely
	regionPlain              // holds values that a plain pointer may point to
	regionMap                // is a map
	regionFlags  = 4
)

func (r *loadRegion) elements() int { return int(r.count >> regionFlags) }

const (
	// fetchBatch is how many pods are asked for at once.
	fetchBatch = 512
)

func newLoader(ctx context.Context, cfg *Config, src pod.Source, want []reflect.Type) *loader {
	l := &loader{
		ctx: ctx, src: src, reg: cfg.Registry, budget: newBudget(cfg),
		types: map[pod.TypeID]*storedType{},
		typed: map[typedKey]*storedType{},
		itabs: map[itabKey]unsafe.Pointer{},
		pods:  map[pod.ID]*loadPod{},

		nodes: map[nodeType]*storedType{},

		forwarders: map[loadSlot]unsafe.Pointer{},
	}
	for _, t := range want {
		if t != nil {
			l.wanted = append(l.wanted, t)
		}
	}
	return l
}

// corrupt records that the slot being decoded is damaged.
func (l *loader) corrupt(format string, args ...any) {
	l.fail(dberr.Corrupt("", -1, "pod %d slot %d: %s", l.at.pod.id, l.at.slot, fmt.Sprintf(format, args...)))
}

// fail records the first error, with the slot if the error does not name it.
func (l *loader) fail(err error) {
	if l.err == nil {
		l.err = err
	}
}

// failAt records an error that does not know its slot.
func (l *loader) failAt(err error) {
	var c *dberr.CorruptError
	if errors.As(err, &c) {
		l.corrupt("%s", c.What)
		return
	}
	l.fail(fmt.Errorf("pod %d slot %d: %w", l.at.pod.id, l.at.slot, err))
}

// pod returns the entry of a pod, fetched or not.
func (l *loader) pod(id pod.ID) *loadPod {
	p, ok := l.pods[id]
	if !ok {
		p = &loadPod{id: id}
		l.pods[id] = p
	}
	return p
}

// latePointer is a pointer whose target was not here when its slot was decoded.
type latePointer struct {
	slot loadSlot
	at   unsafe.Pointer // where it belongs
	code uint64
	typ  reflect.Type // of the target
	// loose says that the target is stored as another type.
	loose bool
}

// storeLate stores the pointers that waited for the pods just fetched. Those
// that lead to a forwarder into yet another pod wait on.
func (l *loader) storeLate() error {
	late := l.late
	l.late, l.spare = l.spare[:0], late
	for _, f := range late {
		l.at, l.missing = f.slot, false
		if f.loose {
			l.want = f.typ
		}
		s, ok := l.referTo(f.slot.pod, f.code, 0)
		l.want = nil
		switch {
		case l.err != nil:
			return l.err
		case !ok:
			l.late = append(l.late, f)
		case !l.fits(&s, f.typ):
			l.wrongTarget("*"+l.reg.typeText(f.typ), &s, f.loose)
			return l.err
		default:
			*(*unsafe.Pointer)(f.at) = s.addr
		}
	}
	return nil
}

// need asks for a pod that is not here, and blocks the slot being decoded.
func (l *loader) need(p *loadPod) {
	l.missing = true
	if !p.asked {
		p.asked = true
		l.ask = append(l.ask, p)
	}
}

// fetch gets the pods that were asked for.
func (l *loader) fetch() error {
	ask := l.ask
	l.ask = nil
	ids := make([]pod.ID, 0, min(len(ask), fetchBatch))
	for len(ask) > 0 {
		n := min(len(ask), fetchBatch)
		ids = ids[:0]
		for _, p := range ask[:n] {
			ids = append(ids, p.id)
		}
		pods, err := l.src.Pods(l.ctx, ids)
		if errors.Is(err, dberr.ErrNotFound) {
			return dberr.Corrupt("", -1, "a pod that others refer to is not in the snapshot (one of %d from pod %d): %v", n, ids[0], err)
		}
		if err != nil {
			return fmt.Errorf("read pods: %w", err)
		}
		if len(pods) != n {
			return fmt.Errorf("source returned %d pods for %d ids", len(pods), n)
		}
		for i, p := range ask[:n] {
			p.merged = pods[i]
			p.refs = make([]*loadPod, len(pods[i].Refs))
			p.slots = make([]loadRegion, len(pods[i].Slots))
			if l.inPlace {
				p.shadow = make([]unsafe.Pointer, len(pods[i].Slots))
			}
			l.fetched = append(l.fetched, p)
		}
		ask = ask[n:]
	}
	return nil
}

// run fills every placed slot, and what they reach.
func (l *loader) run() error {
	for n := 0; ; n++ {
		if n%1024 == 0 {
			if err := l.ctx.Err(); err != nil {
				return err
			}
		}
		if l.head == len(l.queue) {
			if len(l.strayed) > 0 {
				if err := l.decodeStrays(); err != nil {
					return err
				}
				continue
			}
			if len(l.blocked)+len(l.late)+len(l.strayBlocked) == 0 {
				if err := l.migrateSlots(); err != nil {
					return err
				}
				return l.runHooks()
			}
			if err := l.fetch(); err != nil {
				return err
			}
			l.queue, l.blocked, l.head = l.blocked, l.queue[:0], 0
			l.strayed, l.strayBlocked = l.strayBlocked, nil
			if err := l.storeLate(); err != nil {
				return err
			}
			continue
		}
		s := l.queue[l.head]
		l.head++
		if l.head >= 4096 && l.head*2 > len(l.queue) {
			l.queue = l.queue[:copy(l.queue, l.queue[l.head:])]
			l.head = 0
		}
		if err := l.fillSlot(s); err != nil {
			return err
		}
	}
}

// fillSlot decodes one placed slot.
func (l *loader) fillSlot(s loadSlot) error {
	l.at, l.filling = s, s
	l.missing, l.sawMigration = false, false
	hooks := len(l.hooks)
	l.begin(s)
	l.fill(s.pod, s.slot)
	if l.err != nil {
		return l.err
	}
	if l.missing {
		l.blocked = append(l.blocked, s)
		l.dropHooks(hooks, s)
	} else {
		s.pod.slots[s.slot].count |= regionFilled
		if l.sawMigration {
			l.migrations = append(l.migrations, s)
		}
	}
	if l.sawMigration || l.missing && l.sawHook {
		l.remember(s)
	}
	return nil
}
