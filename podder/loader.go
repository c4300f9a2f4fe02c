package podder

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"sync"
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
//     after the fetch (late); for anything else the slot is blocked and, when all
//     pods that it needs are here, decoded again, which stores the same addresses.
//  3. Memory is allocated with its true type, and pointers, slices, strings and
//     interfaces are stored through Go types, so that the collector sees them.
//  4. What is allocated is bounded by the bytes that ask for it, times
//     memoryPerByte, plus a budget for what is known to be zero (limits.go).
//  5. Recursion follows types and interface values inside one slot, and references
//     a few slots deep; what is left to do is in the queue, and in the stack of
//     pods to be fetched.
//  6. A pod whose slots are all filled is let go of if the source can use its memory
//     again (release). The addresses of exported slots stay.
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
	// knows tells whether anything of a pod lives, if lookup is there; nil if it
	// is asked slot by slot.
	knows func(pod.ID) bool
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
	fetched []*loadPod // in order of fetching
	ask     []*loadPod // needed, not fetched; the newest is fetched first
	awaited int        // how long ask is when blocked may be decoded again
	queue   []loadSlot // placed, not filled
	head    int        // first of queue that is not done
	blocked []loadSlot // to be decoded again
	late    lateList
	lacks   *loadPod // the last that was needed and is not here
	// recycler takes back pods that were released; nil if they stay.
	recycler pod.Recycler
	// first takes in the pods that are released; nil if nobody does.
	first *firstLoad
	// bulk has the source asked for a recycler when there is much to load.
	bulk    bool
	done    []*loadPod // filled, to be released
	exports exportBlocks
	idle    idleLists
	batch   []*loadPod // being fetched
	shadows []loadSlot // live regions that have shadow memory
	// forwarders that were followed, with the address they lead to
	forwarders map[loadSlot]unsafe.Pointer

	want  reflect.Type             // what the reference being followed leads to, if that is stored as another type
	nodes map[nodeType]*storedType // parts of descriptors, by what they are read as

	slab    stringSlab
	mapSeed uintptr // of the small maps made here, 0 if there are none
	budget  budget
	made    map[string]bool // type texts of which types were made
	err     error
	located bool // err says at which byte
	nest
	at     loadSlot
	copied map[loadSlot]int // objects that were decoded as values of others
	// strays are parts that the program no longer has (decode_stray.go).
	strays       map[string]*stray
	strayed      []*stray // to be decoded
	strayBlocked []*stray // to be decoded again, like blocked
	warnings     []string
	reshaped     map[pod.Ref]*decodePlan // slots that lose parts when they are written
	// migrations are slots that hold values to be migrated (migrate.go).
	migrations []loadSlot
	hooks      []loadedHook
	turns
	migrating bool
	capturing *capture // reading an opaque value
	// intoUnknown says of err that it is about a reference, of the slot being decoded,
	// to a slot of an unknown type.
	intoUnknown bool
	// hidden is nil if there is no live graph to keep the values.
	hidden hiddenValues
	named  namedLinks
	// chunked are the lists of containers whose chunks are all here.
	chunked map[loadSlot]*chunkList
	// passes are maps that are filled in part.
	passes map[loadSlot]*mapPasses

	home    *sync.Pool    // where it waits for the next load; nil if it does not
	age     uint64        // Registry.changes when it was made
	fillers []*storedType // that have one
	spare   *pod.Pod      // for the pod of a variable, if that is small
	lone    *pod.Pod      // likewise, of a load that may be of a lone variable (lone.go)
	one     [1]variable   // of a load of one

	gate   *refGate // of the Refs that it keeps; nil if it follows them
	kept   int      // Refs whose place was kept
	noRefs bool     // it cannot keep them, and begins again if it meets one

	textDepth int
	steps     []uint64 // of interior references being read
}

// nest is what is true of the slot being decoded alone, also if it is decoded in
// the midst of another one.
type nest struct {
	level        int    // slots being decoded inside each other
	scratch      int    // >0 while decoding to memory that will be copied
	depth        int    // interface values inside each other, and values that were behind pointers
	unboxing     int    // values that were behind pointers, inside each other
	unboxed      string // the path of the innermost
	lowest       int    // of ask, among the pods that it needs
	missing      bool   // it refers to a pod that is not here
	sawMigration bool   // it holds a value to be migrated
}

type loadPod struct {
	id     pod.ID
	merged *pod.Pod // nil until fetched, and when released
	asked  bool
	fresh  bool       // nothing of it lives
	keep   bool       // is not released: what is stored in it will be read again
	at     int        // in ask, until fetched
	late   int32      // first of the pointers that wait for it
	left   int        // slots that are not filled
	refs   []*loadPod // targets by reference number; nil until one is followed
	slots  []loadRegion
	// released says that only exported is left of it.
	released bool
	exported *podExports
	shadow   []unsafe.Pointer // where to decode live regions to, if inPlace
	freed    func(pod.Slot) bool
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
	regionArray              // is an array
	regionFlags  = 5
)

// kind returns what is stored in the slot.
func (r *loadRegion) kind() pod.Kind {
	switch {
	case r.typ == nil:
		return pod.SlotString
	case r.count&regionMap != 0:
		return pod.SlotMap
	case r.count&regionArray != 0:
		return pod.SlotArray
	case r.count&regionPlain != 0:
		return pod.SlotObject
	}
	return pod.SlotBox
}

func (r *loadRegion) elements() int { return int(r.count >> regionFlags) }

// fetchBatch is how many pods are asked for at once: what is decoded next stays
// in the processor's caches.
const fetchBatch = 16

func newLoader(ctx context.Context, cfg *Config, src pod.Source, want []reflect.Type) *loader {
	l := &loader{
		ctx: ctx, src: src, reg: cfg.Registry, budget: newBudget(cfg),
		types: map[pod.TypeID]*storedType{},
		typed: map[typedKey]*storedType{},
		itabs: map[itabKey]unsafe.Pointer{},
		pods:  map[pod.ID]*loadPod{},

		nodes:   map[nodeType]*storedType{},
		awaited: math.MaxInt,

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

// locate adds to an error about damage how far into its slot the cursor has come,
// unless that is known: who reads the innermost value sees it first.
func (l *loader) locate(c *cursor) {
	damage, ok := l.err.(*dberr.CorruptError)
	if !ok || l.located {
		return
	}
	l.located = true
	if l.at.pod == nil || l.at.pod.merged == nil || int(l.at.slot) >= len(l.at.pod.merged.Slots) {
		return
	}
	slot := l.at.pod.merged.Slots[l.at.slot].Bytes
	// A run is a part of its slot's bytes; what was made for reading is not.
	from := uintptr(unsafe.Pointer(unsafe.SliceData(c.buf))) - uintptr(unsafe.Pointer(unsafe.SliceData(slot)))
	if place := from + uintptr(c.off); len(c.buf) > 0 && place <= uintptr(len(slot)) {
		damage.What = strings.Replace(damage.What, ": ", fmt.Sprintf(" at byte %d: ", place), 1)
	}
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
		if last := len(l.idle.pods) - 1; last >= 0 {
			p, l.idle.pods = l.idle.pods[last], l.idle.pods[:last]
		} else {
			p = new(loadPod)
		}
		p.id = id
		l.pods[id] = p
	}
	return p
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
			if done, err := l.next(); done || err != nil {
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

// next finds more to fill when the queue is empty, and ends the load if there is
// nothing.
func (l *loader) next() (done bool, err error) {
	l.release()
	switch blocked := len(l.blocked) + len(l.strayBlocked); {
	case len(l.strayed) > 0:
		return false, l.decodeStrays()
	case blocked > 0 && len(l.ask) <= l.awaited:
		l.queue, l.blocked, l.head = l.blocked, l.queue[:0], 0
		l.strayed, l.strayBlocked = l.strayBlocked, nil
		l.awaited = math.MaxInt
		return false, nil
	case len(l.ask) > 0:
		return false, l.fetch()
	}
	if err := l.migrateSlots(); err != nil {
		return true, err
	}
	return true, l.runHooks()
}

// start prepares for decoding something that is stored in slot s.
func (l *loader) start(s loadSlot) {
	l.at, l.missing, l.sawMigration = s, false, false
	l.lowest = math.MaxInt
}

// awaitPods has what was decoded wait for all pods that it needs.
func (l *loader) awaitPods() { l.awaited = min(l.awaited, l.lowest) }

// fillSlot decodes one placed slot.
func (l *loader) fillSlot(s loadSlot) error {
	l.start(s)
	hooks := len(l.hooks)
	l.begin(s)
	l.fill(s.pod, s.slot)
	if l.err != nil {
		return l.err
	}
	if l.missing {
		l.blocked = append(l.blocked, s)
		l.awaitPods()
		l.dropHooks(hooks, s)
	} else {
		if l.sawMigration {
			l.migrations = append(l.migrations, s)
			s.pod.keep = true
		}
		l.filled(s.pod, s.slot)
	}
	if l.sawMigration || l.missing && l.sawHook {
		l.remember(s)
	}
	return nil
}

// filled notes that a slot is decoded completely.
func (l *loader) filled(p *loadPod, s pod.Slot) {
	p.slots[s].count |= regionFilled
	if p.left--; p.left == 0 && l.recycler != nil {
		l.done = append(l.done, p)
	}
}
