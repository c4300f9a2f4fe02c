package podder

import (
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// A region is one allocation as far as the walk can see it: an object behind
// a pointer, the array behind slices up to their capacity, a map, the bytes of
// a long string, or the private cell of a variable (a box).
//
// Invariants, once a walk has settled:
//
//  1. Regions of memory do not overlap; what lies inside another one is an
//     alias of it. String bytes are a world of their own: a string may share
//     memory with a byte slice.
//  2. A region's parent was discovered before it.
//  3. A region holds a real pointer to its memory, so its address is not given
//     out again while a state knows it.
//
// It takes one cache line.
type region struct {
	addr    unsafe.Pointer
	plan    *plan  // object: its type; array: the element; map: the map type
	extra   int32  // array, string: number in state.spans; map: in walk.maps.list; alias: the region that contains it
	parent  int32  // region that was first seen to refer to it, -1 for a box
	edge    uint32 // first of its edges, in walk order
	edgeEnd uint32 // behind the last of them
	pod     int32  // number in state.pods, -1 until placed
	slot    uint32
	next    int32 // chain of one granule of the address index
	weight  uint32
	written uint32   // where it was written down, 0 for nowhere (discover_write.go)
	child   int32    // first region that has it as parent, 0 for none (cluster.go)
	size    uint32   // of the piece that it heads
	kind    pod.Kind // SlotFree: an alias
	flags   uint16
}

// Flags of a region.
const (
	flagExported = 1 << iota // referred to from another pod
	flagRescan               // grew after it was scanned: its edges are collected again
	flagSticky               // has its place from the state before
	flagSame                 // equals its shadow: unchanged, and leads nowhere
	flagStatic               // holds values of types that only some variables may know
	flagRerun                // holds boxed values whose codecs are to run again
	flagOther                // was reached as something else than it is
	flagHead                 // heads a piece (cluster.go)
	flagScanned              // was visited
	flagRefHead              // a Ref leads to it, so it begins a pod (ref_save.go)
	flagCrossed              // others than its parent refer to it
	flagNoted                // undo has what it was
	flagApart                // begins a pod, as the strategy says (chooser.go)
)

// span is the length of an array or string region.
type span struct {
	count  int // elements allocated, as far as seen; bytes of a string
	reach  int // elements kept
	perRun int // elements of one run, 0 until placed
}

// liveRegion is a region with its place, as load, restore and adopt speak of
// it.
type liveRegion struct {
	pod    pod.ID
	slot   pod.Slot
	kind   pod.Kind
	typ    reflect.Type   // object or box type, element type, map type, string
	addr   unsafe.Pointer // object, first element, map header, string data, the box's cell
	count  int            // elements allocated, bytes of a string
	perRun int            // elements per run of an array
}

// loadedPod is a pod that a load has read.
type loadedPod struct {
	id     pod.ID
	merged *pod.Pod
}
