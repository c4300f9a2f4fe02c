// Package pod is the seam between Go memory and storage. Package podder makes
// pods from live values and values from pods; package mvcc stores and
// versions them. Neither imports the other: both know only this package, and
// this file fixes what they say to each other. The stored form of a pod
// version is in form.go and docs/format.md.
//
// Words. A pod is a connected part of an object graph that is stored, hashed
// and versioned as one unit. It is a list of slots, one object each, and a
// reference table. Slot bytes never contain ids: they refer to the table by
// number, so equal contents have equal bytes whatever the ids are.
//
// Invariants of a valid pod, checked by Validate:
//
//  1. A reference number in use names a pod id that is not 0. Numbers are
//     sticky: while a reference lives it keeps its number.
//  2. Slot numbers are sticky: while an object lives in a pod it keeps its
//     slot. Unused slots are SlotFree.
//  3. Exports are in ascending slot order, of slots that are not free; every
//     pod other than an empty one exports slot 0, its root, unless that is free.
//  4. Edge sets name reference numbers in use.
//  5. The lengths of a slot's runs add up to the length of its data.
//  6. Generations are of slots in use, in ascending order, and none is zero.
package pod

import "context"

// ID identifies a pod across all its versions; never 0, never reused.
type ID uint64

// Slot is the place of one object inside a pod.
type Slot uint32

// TypeID names a type descriptor in the database's catalogue. Ids below
// FirstCatalogType are predeclared and have no catalogue entry.
type TypeID uint32

// FirstCatalogType is the first id given to a type of a program.
const FirstCatalogType TypeID = 64

// Ref names an exported slot of another pod. The zero Ref is an unused number.
type Ref struct {
	Pod  ID
	Slot Slot
}

// Kind says what a slot holds.
type Kind uint8

// Slot kinds. The layout of each one's data is in docs/format.md.
const (
	SlotFree    Kind = iota // nothing; its number may be given out again
	SlotBox                 // a variable: one value of the dynamic type Type
	SlotObject              // one value of Type
	SlotArray               // a container: elements of Type, in runs
	SlotMap                 // a container: entries of map type Type, in runs
	SlotString              // the bytes of a string that is shared or long
	SlotForward             // moved: one pointer code to where the object is now
	SlotOpaque              // a value of a type the writer did not know, kept byte for byte
	SlotChunks              // a container cut into chunk pods: lengths and references
	slotKinds
)

// Data is one slot. Bytes must not be changed once handed over.
type Data struct {
	Kind  Kind
	Type  TypeID
	Bytes []byte
	// Runs are the lengths of the runs that make up Bytes, nil for one run.
	// Containers are patched by run, everything else by slot.
	Runs []uint32
}

// Away reports whether the slot is left behind by an object that is in another pod as it was: a forwarder that has
// the object's type. Those without lead to a part of something else.
func (d *Data) Away() bool { return d.Kind == SlotForward && d.Type != 0 }

// Run returns the bytes of run i.
func (d Data) Run(i int) []byte {
	if d.Runs == nil {
		return d.Bytes
	}
	off := 0
	for _, n := range d.Runs[:i] {
		off += int(n)
	}
	return d.Bytes[off : off+int(d.Runs[i])]
}

// NumRuns returns the number of runs, at least 1 for a slot in use.
func (d Data) NumRuns() int {
	if d.Runs == nil {
		return 1
	}
	return len(d.Runs)
}

// EdgeSet says which references an exported slot reaches inside its pod.
type EdgeSet struct {
	All  bool     // every reference in use; List is nil
	List []uint32 // ascending reference numbers, if not All
}

// Export is a slot that other pods or names may refer to, with what it keeps
// alive. Liveness is decided on (pod, exported slot).
type Export struct {
	Slot  Slot
	Edges EdgeSet
}

// Pod is one merged state of a pod. It is immutable once published: readers
// in many goroutines share it.
type Pod struct {
	Refs    []Ref
	Slots   []Data
	Exports []Export
	// Generations are those of the slots that have one other than the zero one, ascending
	// by slot (generation.go).
	Generations []SlotGeneration

	reused *reused // of ReadWhole, else nil
}

// Exported reports whether slot s is exported, by binary search: often all slots
// up to it are.
func (p *Pod) Exported(s Slot) bool {
	if int(s) < len(p.Exports) && p.Exports[s].Slot == s {
		return true
	}
	return p.exportedBeyond(s)
}

func (p *Pod) exportedBeyond(s Slot) bool {
	lo, hi := 0, len(p.Exports)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		if p.Exports[m].Slot < s {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo < len(p.Exports) && p.Exports[lo].Slot == s
}

// SlotWrite is one changed slot: its whole new state if Runs is nil, or some
// of its runs.
type SlotWrite struct {
	Slot Slot
	Data Data // whole state when Runs is nil; else Kind and Type only
	// NumRuns is the new number of runs and Runs the changed ones, ascending,
	// when only runs changed.
	NumRuns int
	Runs    []RunWrite
}

// RunWrite is one changed run of a container.
type RunWrite struct {
	Run   int
	Bytes []byte
}

// Change is what happened to one pod since its version in the base snapshot.
// Slots not named keep their state. The receiver must copy what it keeps: the
// sender may reuse all memory of a Change after Put returns.
type Change struct {
	ID      ID
	New     bool     // no version of the pod exists in the base snapshot
	Refs    []Ref    // the complete new reference table, with sticky numbers
	Exports []Export // the complete new exports
	Slots   []SlotWrite
	Drop    []Slot // slots that become free
	// Whole says that Slots is the pod's complete new state: every slot not
	// named is free. Then Drop is empty.
	Whole bool

	// Gen is the generation of slots that the change gives out: the receiver's to set.
	Gen Generation
	// Given says of slots in use that they hold the object that has this generation in another
	// version of the pod. Without it a slot that was in use holds the object that it held, and any
	// other slot a new one.
	Given []SlotGeneration
}

// Sink takes the changed pods of one transaction, streaming: a change is
// handed over when it is known, and nothing is visible before the
// transaction commits. A Sink is used by one goroutine.
type Sink interface {
	// NewPod gives out a pod id. Ids given out and not used are lost.
	NewPod() ID
	// Type returns the catalogue id of a descriptor, giving out a new one in
	// this transaction if the database has none with these bytes.
	Type(ctx context.Context, descriptor []byte) (TypeID, error)
	// Put takes one changed pod. A pod is put at most once a transaction.
	Put(ctx context.Context, c *Change) error
	// SetName binds a variable to its root pod, whose slot 0 is a SlotBox.
	SetName(ctx context.Context, name string, root ID) error
	// DeleteName removes a variable.
	DeleteName(ctx context.Context, name string) error
}

// BatchSink is a Sink that can begin to work on changes before they are put.
type BatchSink interface {
	Sink
	// Prepare returns what puts each of the changes, in order, up to the first that
	// fails. It is to be called at most once, and until it returns other goroutines
	// may read the changes.
	Prepare(changes []Change) (put func(ctx context.Context) error)
}

// WholeSink is a Sink that takes new pods in their stored form.
type WholeSink interface {
	Sink
	// Memory returns n bytes of the sink's own, for stored forms that may be put
	// later, or nil.
	Memory(n int) []byte
	// PutWhole is Put of a new pod with all its slots, of which form is what
	// AppendWhole makes. The receiver must copy what it keeps, unless it lies in what
	// Memory returned: that is not written again.
	PutWhole(ctx context.Context, id ID, form []byte) error
}

// Source gives the pods of one snapshot, merged. It is safe for concurrent
// use, and what it returns is immutable.
type Source interface {
	// Pods returns the pods in the order of ids. A pod that is not in the
	// snapshot is ErrNotFound.
	Pods(ctx context.Context, ids []ID) ([]*Pod, error)
	// Type returns the descriptor of a catalogue type.
	Type(ctx context.Context, id TypeID) ([]byte, error)
	// Root returns the root pod of a variable, or ErrNotFound.
	Root(ctx context.Context, name string) (ID, error)
	// Secret is the database's key for hashes that never leave it: contents,
	// map order. It is the same for the life of the database.
	Secret() [32]byte
}

// VariableSource is a Source that gives the pod of a variable in one step.
type VariableSource interface {
	Source
	// Variable returns the root pod of a variable, or ErrNotFound. Unless spare is nil
	// it may be the pod that is returned, read into the memory that it has: nobody else
	// may have it, and it is the caller's to use again.
	Variable(ctx context.Context, name string, spare *Pod) (ID, *Pod, error)
}
