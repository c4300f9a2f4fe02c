package podder

import (
	"reflect"
	"unsafe"
)

// A plan says how values of one type are read, compiled once: a flat list of
// operations over offsets. It is also the read mask of the type: what no
// operation names is never read.
//
// Never read are locks and the rest of what isSync names, fields tagged
// pod:"-", blank fields and padding. Values of sync/atomic are read with its
// functions. Of funcs and channels only the word that says nil is read.
type plan struct {
	typ    reflect.Type
	number int // among the plans of its engine
	size   uintptr
	ops    []op // all, in the order of the stored form
	refs   []op // those that lead to other regions or may be refused
	ahead  []aheadRef
	// est is the stored size of a value without what strings, interfaces and
	// maps add.
	est     int
	ptrFree bool // no pointers in its memory
	rerun   bool // has codecs that run again although its memory has not changed
	flat    bool // an array of it is stored as it lies in memory
	raw     bool // a single value of it is stored as it lies in memory
	plain   bool // numbers and strings only
	// writable says that a value can be written down when it is met
	// (discover_write.go).
	writable bool
	done     bool // compiled
	// only is the operation of a value that has no other one, at its beginning; else
	// opArray, which is never alone.
	only opCode
	// Of a map.
	key, elem *plan
	wholeKey  bool // all of the key is stored
	// plainGroup says, once somebody asked, that the map leads nowhere but for long
	// strings and can be read as memory: 2 if so, else 1.
	plainGroup uint8
	layout     mapLayout
	// Of a type with a codec of the program.
	hand *handCodec
	// How its values are fingerprinted, once somebody asked (fingerprint.go).
	printer *printer
	entries *printer // of the entries of a map
	// Of the region of a sentinel: its contents are not stored.
	sentinel *sentinel
}

// op is one step of a plan.
type op struct {
	code  opCode
	off   uintptr
	n     int   // array: elements; raw: bytes; slice: shownOnly, keepAll; codec: checked
	sub   *plan // pointer, slice, array: element; map: the map; others: the type
	codec valueCodec
	why   string // of a refusal
}

// What is kept of the memory between length and capacity of a slice, where it
// does not depend on the element: nothing (it is never read), or everything.
const (
	shownOnly = 1
	keepAll   = 2
)

// checked marks codecs that refuse some values.
const checked = 1

type opCode uint8

const (
	opBool opCode = iota
	opInt8
	opInt16
	opInt32
	opInt64
	opUint8
	opUint16
	opUint32
	opUint64
	opFloat32
	opFloat64
	opAtomic32  // atomic.Int32
	opAtomic64  // atomic.Int64
	opAtomicU32 // atomic.Uint32, atomic.Bool
	opAtomicU64 // atomic.Uint64, atomic.Uintptr
	opAtomicAny // atomic.Value
	opAtomicPointer
	opWeak
	opRef
	opRaw // n bytes as they are
	opString
	opPointer
	opMap
	opSlice
	opEface
	opIface
	opArray
	opCodec
	opHand   // a codec of the program
	opBefore // a method to be called before the rest is read
	opNil    // func, chan, unsafe.Pointer: refused unless nil
	opRefuse // a value that cannot be stored at all
	opOpaque // an opaqueSlot
)

// isRef reports whether the operation may lead to another region or be refused.
func (o *op) isRef() bool {
	switch o.code {
	case opString, opPointer, opMap, opSlice, opEface, opIface, opNil, opRefuse, opAtomicAny, opOpaque, opHand, opBefore, opAtomicPointer, opWeak, opRef:
		return true
	case opArray:
		return len(o.sub.refs) > 0
	case opCodec:
		return o.n == checked
	}
	return false
}

// reruns reports whether the operation runs a codec again although the memory of
// the value has not changed.
func (o *op) reruns() bool {
	switch o.code {
	case opRef:
		return true // loaded since: it leads to another region then
	case opCodec:
		return reruns(o.codec)
	case opHand:
		return reruns(o.sub.hand)
	case opArray:
		return o.sub.rerun
	}
	return false
}

// unrollOps bounds the operations into which an array inside a struct is
// unrolled.
const unrollOps = 16

// engine holds what is compiled once and never depends on data.
type engine struct {
	reg       *Registry
	seed      uint64
	zero      bool // Config.ZeroUnsupported
	plans     map[reflect.Type]*plan
	todo      []*plan // named, and not complete yet
	dynamics  map[uintptr]*dynamic
	walks     uint64 // walks of a variable so far
	modules   ownModules
	sentinels sentinelSet
	coded     map[reflect.Type]bool     // types with a codec that were met
	stored    storedIDs                 // what the catalogue held when the registry saw it first
	ids       map[reflect.Type][]uint32 // fieldIDs
	scratch   []byte                    // of hashChunk
	written   *[writtenBlock]byte       // for the next walk
	home      *refHome                  // of Refs that are not loaded; nil if they are loaded at once
	described map[typeKey][]byte        // descriptors
	printers  []*printer                // by number
}

func newEngine(reg *Registry, seed uint64, zero bool) *engine {
	return &engine{
		reg:       reg,
		seed:      seed,
		zero:      zero,
		plans:     map[reflect.Type]*plan{},
		dynamics:  map[uintptr]*dynamic{},
		coded:     map[reflect.Type]bool{},
		described: map[typeKey][]byte{},
		modules:   reg.modules,
		sentinels: reg.sentinelSet(),
	}
}

// planOf compiles t, or returns the plan it has.
func (e *engine) planOf(t reflect.Type) *plan {
	p := e.named(t)
	e.complete(p)
	for len(e.todo) > 0 {
		next := e.todo[len(e.todo)-1]
		e.todo = e.todo[:len(e.todo)-1]
		e.complete(next)
	}
	return p
}

// named returns the plan of t, which planOf completes before it returns: what
// is only referred to may contain what is being compiled.
func (e *engine) named(t reflect.Type) *plan {
	p := e.plans[t]
	if p == nil {
		p = &plan{typ: t, size: t.Size(), number: len(e.sentinels.plans) + len(e.plans)}
		e.plans[t] = p
		e.todo = append(e.todo, p)
	}
	return p
}

// complete compiles p, and what it holds by value, unless that was done.
func (e *engine) complete(p *plan) {
	if p.done {
		return
	}
	p.done = true
	e.compile(&p.ops, p, p.typ, 0)
	for i := range p.ops {
		if p.ops[i].isRef() {
			p.refs = append(p.refs, p.ops[i])
		}
		p.est += p.ops[i].estimate()
		p.rerun = p.rerun || p.ops[i].reruns()
	}
	p.ahead = aheadRefs(p.refs)
	p.plain, p.writable = p.onlyPlain(), p.onlyWritable()
	if p.only = opArray; len(p.ops) == 1 && p.ops[0].off == 0 {
		p.only = p.ops[0].code
	}
	p.ptrFree = pointerFree(p.typ)
	p.flat = e.isFlat(p.typ)
	p.raw = len(p.ops) == 1 && p.ops[0].code == opRaw && uintptr(p.ops[0].n) == p.size
}

// onlyPlain reports whether values are numbers and strings only.
func (p *plan) onlyPlain() bool {
	for k := range p.ops {
		if c := p.ops[k].code; c > opFloat64 && c != opRaw && c != opString {
			return false
		}
	}
	return true
}

// compile appends the operations of a value of type t at offset off. Go forbids
// types that contain themselves by value, so this ends.
func (e *engine) compile(ops *[]op, p *plan, t reflect.Type, off uintptr) {
	switch c := e.reg.codec(t).(type) {
	case *handCodec:
		e.coded[t] = true
		*ops = append(*ops, op{code: opHand, off: off, sub: &plan{typ: t, hand: c}})
		return
	case valueCodec:
		e.coded[t] = true
		o := op{code: opCodec, off: off, codec: c, sub: &plan{typ: t}}
		if _, ok := c.(checkedCodec); ok {
			o.n = checked
		}
		*ops = append(*ops, o)
		return
	}
	if t.Kind() == reflect.Struct && isSync(t) {
		return
	}
	if t == opaqueSlotType {
		*ops = append(*ops, op{code: opOpaque, off: off})
		return
	}
	if elem, code, ok := cellOf(t); ok {
		*ops = append(*ops, op{code: code, off: off, sub: e.named(elem)})
		return
	}
	if why := e.refusal(t); why != "" {
		*ops = append(*ops, op{code: opRefuse, off: off, why: why, sub: &plan{typ: t}})
		return
	}
	o := op{off: off}
	switch t.Kind() {
	case reflect.Bool, reflect.Int8, reflect.Uint8:
		e.appendRaw(ops, off, 1)
		return
	case reflect.Float32:
		e.appendFloats(ops, off, 4, 1)
		return
	case reflect.Float64:
		e.appendFloats(ops, off, 8, 1)
		return
	case reflect.Complex64:
		e.appendFloats(ops, off, 4, 2)
		return
	case reflect.Complex128:
		e.appendFloats(ops, off, 8, 2)
		return
	case reflect.Int, reflect.Int16, reflect.Int32, reflect.Int64:
		o.code = intOp(t.Size())
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		o.code = uintOp(t.Size())
	case reflect.String:
		o.code = opString
	case reflect.Pointer:
		o.code, o.sub = opPointer, e.named(t.Elem())
	case reflect.Slice:
		o.code, o.sub = opSlice, e.named(t.Elem())
	case reflect.Map:
		o.code, o.sub = opMap, e.named(t)
		o.sub.key, o.sub.elem, o.sub.layout = e.named(t.Key()), e.named(t.Elem()), layoutOf(t)
		o.sub.wholeKey = storedWhole(t.Key())
	case reflect.Interface:
		o.code = opIface
		if t.NumMethod() == 0 {
			o.code = opEface
		}
		o.sub = &plan{typ: t}
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		o.code, o.sub = opNil, &plan{typ: t}
	case reflect.Array:
		e.compileArray(ops, t, off)
		return
	case reflect.Struct:
		e.compileStruct(ops, p, t, off)
		return
	default:
		o.code, o.why, o.sub = opRefuse, "values of this kind cannot be stored", &plan{typ: t}
	}
	*ops = append(*ops, o)
}

// appendRaw adds bytes stored as they lie, joined to those just before them.
func (e *engine) appendRaw(ops *[]op, off uintptr, n int) {
	if k := len(*ops); nativeLittleEndian && k > 0 {
		if last := &(*ops)[k-1]; last.code == opRaw && last.off+uintptr(last.n) == off {
			last.n += n
			return
		}
	}
	*ops = append(*ops, op{code: opRaw, off: off, n: n})
}

// appendFloats adds n floats, which lie in memory as they are stored if the
// machine is little-endian.
func (e *engine) appendFloats(ops *[]op, off uintptr, size, n int) {
	if nativeLittleEndian {
		e.appendRaw(ops, off, n*size)
		return
	}
	code := opFloat64
	if size == 4 {
		code = opFloat32
	}
	for i := range n {
		*ops = append(*ops, op{code: code, off: off + uintptr(i*size)})
	}
}

func (e *engine) compileStruct(ops *[]op, p *plan, t reflect.Type, off uintptr) {
	if code, ok := atomicOp(t); ok {
		f := storedFields(t)[0]
		*ops = append(*ops, op{code: code, off: off + f.Offset, sub: &plan{typ: f.Type}})
		return
	}
	if hasHook(t, storerType) {
		*ops = append(*ops, op{code: opBefore, off: off, sub: &plan{typ: t}})
	}
	for _, f := range storedFields(t) {
		e.compile(ops, p, f.Type, off+f.Offset)
		if k := len(*ops) - 1; fullCapacity(f) && k >= 0 && (*ops)[k].code == opSlice {
			(*ops)[k].n = keepAll
		}
	}
	if t == builderPointer.Elem() {
		(*ops)[len(*ops)-1].n = shownOnly // it does not clear what it allocates
	}
}

func (e *engine) compileArray(ops *[]op, t reflect.Type, off uintptr) {
	sub := e.named(t.Elem())
	e.complete(sub)
	switch {
	case t.Len() == 0 || len(sub.ops) == 0:
	case sub.raw:
		e.appendRaw(ops, off, t.Len()*sub.ops[0].n)
	case t.Len()*len(sub.ops) <= unrollOps:
		for i := range t.Len() {
			for _, o := range sub.ops {
				o.off += off + uintptr(i)*sub.size
				*ops = append(*ops, o)
			}
		}
	default:
		*ops = append(*ops, op{code: opArray, off: off, n: t.Len(), sub: sub})
	}
}

func intOp(size uintptr) opCode {
	switch size {
	case 2:
		return opInt16
	case 4:
		return opInt32
	}
	return opInt64
}

func uintOp(size uintptr) opCode {
	switch size {
	case 2:
		return opUint16
	case 4:
		return opUint32
	}
	return opUint64
}

// atomicOp returns how a type of sync/atomic is read.
func atomicOp(t reflect.Type) (opCode, bool) {
	if t.PkgPath() != "sync/atomic" {
		return 0, false
	}
	switch t.Name() {
	case "Int32":
		return opAtomic32, true
	case "Int64":
		return opAtomic64, true
	case "Uint32", "Bool":
		return opAtomicU32, true
	case "Uint64":
		return opAtomicU64, true
	case "Uintptr":
		return uintptrAtomic(), true
	case "Value":
		return opAtomicAny, true
	}
	return 0, false
}

func uintptrAtomic() opCode {
	if unsafe.Sizeof(uintptr(0)) == 4 {
		return opAtomicU32
	}
	return opAtomicU64
}

func (o *op) estimate() int {
	switch o.code {
	case opRaw:
		return o.n
	case opFloat32:
		return 4
	case opFloat64:
		return 8
	case opArray:
		return o.n * o.sub.est
	case opInt16, opUint16, opInt32, opUint32, opInt64, opUint64, opAtomic32, opAtomic64, opAtomicU32, opAtomicU64, opPointer, opMap, opEface, opIface, opAtomicAny, opAtomicPointer, opWeak, opRef:
		return 2
	case opString:
		return 1
	case opSlice:
		return 4
	case opCodec, opHand:
		return 12
	}
	return 0
}

// pointerFree reports whether memory of type t has no pointers.
func pointerFree(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Len() == 0 || pointerFree(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if !pointerFree(t.Field(i).Type) {
				return false
			}
		}
		return true
	}
	return t.Kind() <= reflect.Complex128
}

// isFlat reports whether t is a number or an array of numbers.
func (e *engine) isFlat(t reflect.Type) bool {
	if t.Kind() == reflect.Array && e.reg.codec(t) == nil {
		return t.Len() > 0 && e.isFlat(t.Elem())
	}
	return t.Kind() >= reflect.Bool && t.Kind() <= reflect.Complex128 && e.reg.codec(t) == nil
}

// nativeLittleEndian reports whether numbers lie in memory as they are stored.
var nativeLittleEndian = func() bool {
	x := uint16(1)
	return *(*byte)(unsafe.Pointer(&x)) == 1
}()
