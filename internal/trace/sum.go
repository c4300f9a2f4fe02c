package trace

// The sum check decides whether Go variables, wherever they came from, are what
// a recording says. It walks both in step, starting at the variables:
//
//  1. A pointer met where the recording has a reference binds the Go object to the
//     recorded id. Each may be bound once only, so a shared object that came back
//     twice (lost sharing) and two objects that came back as one (aliasing) are
//     both found.
//  2. Each bound object is encoded again from its Go memory, with the bound ids
//     for its pointers, and compared byte for byte with the recorded payload.
//  3. At the end the bound ids are all recorded ids, and the check sum taken over
//     the bytes encoded in 2 is the recorded one.
//  4. Backing arrays of different objects do not overlap, and the memory of a
//     view is the very part of its owner's memory that the recording names.
//
// So nothing that Go code could see through these objects may differ, except
// capacities.

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"maps"
	"reflect"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
)

// Sum compares Go variables, as a World makes them, with a recorded state and
// returns the check sum of what it saw, which is then the recorded one. The first
// difference is an error that names the path to it.
func Sum(vars map[string]any, rec *Recording) (uint32, error) {
	c := &checker{
		rec:   rec,
		ids:   make(map[any]uint64, len(rec.objects)),
		bound: make(map[uint64]int32, len(rec.objects)),
		queue: make([]visit, 0, len(rec.objects)),
	}
	for name := range vars {
		if _, ok := rec.vars[name]; !ok {
			return 0, fmt.Errorf("trace: step %d: variable %q is not recorded", rec.Step, name)
		}
	}
	c.names = slices.Sorted(maps.Keys(rec.vars))
	for i, name := range c.names {
		value, ok := vars[name]
		if !ok {
			return 0, fmt.Errorf("trace: step %d: variable %q is missing", rec.Step, name)
		}
		if v, ok := value.(*Var); ok && v != nil {
			value = v.Value
		}
		c.begin(-1-int32(i), rec.vars[name])
		c.value(value)
		c.end()
	}
	for next := int32(0); int(next) < len(c.queue) && c.err == nil; next++ {
		v := &c.queue[next]
		c.begin(next, rec.objects[v.id].payload)
		c.object(v.obj)
		c.end()
		c.sum += crcOfObject(v.id, rec.objects[v.id].kind, c.out)
	}
	c.finish()
	if c.err != nil {
		return 0, fmt.Errorf("trace: step %d: %w", rec.Step, c.err)
	}
	return c.sum, nil
}

// visit is one bound object and where it was met first.
type visit struct {
	obj    any
	id     uint64
	parent int32 // index in the queue, or -1-index of the variable
	slot   int32 // how many values of the parent came before
}

type checker struct {
	rec   *Recording
	names []string
	ids   map[any]uint64   // Go object -> recorded id
	bound map[uint64]int32 // recorded id -> index in queue
	queue []visit
	spans []span
	sum   uint32
	err   error

	at       int32  // queue index of the object being compared, or -1-variable
	slot     int32  // values compared so far
	want     []byte // what is recorded
	out      []byte // what the Go object says so far
	compared int    // length of out known to equal want
}

// span is the backing memory of one object.
type span struct {
	start, end uintptr
	at         int32
}

func (c *checker) begin(at int32, want []byte) {
	c.at, c.slot, c.want, c.out, c.compared = at, 0, want, c.out[:0], 0
}

// end compares what is left of the recorded bytes.
func (c *checker) end() {
	if c.err == nil && c.same() && len(c.out) != len(c.want) {
		c.failObject("%d recorded bytes are missing", len(c.want)-len(c.out))
	}
}

// same compares what was encoded since the last call.
func (c *checker) same() bool {
	if len(c.out) > len(c.want) || string(c.out[c.compared:]) != string(c.want[c.compared:len(c.out)]) {
		return false
	}
	c.compared = len(c.out)
	return true
}

func (c *checker) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%s: %s", c.path(c.at, c.slot), fmt.Sprintf(format, args...))
	}
}

// failObject reports what is wrong with the object itself, not with a slot of it.
func (c *checker) failObject(format string, args ...any) {
	c.slot = -1
	c.fail(format, args...)
}

// expect compares the bytes just encoded, which describe what.
func (c *checker) expect(what string) {
	if c.err == nil && !c.same() {
		c.failObject("%s differs", what)
	}
}

// value compares one slot.
func (c *checker) value(v any) {
	if c.err != nil {
		return
	}
	out, ok := appendScalar(c.out, v)
	c.out = out
	if !ok {
		c.reference(v)
	} else if !c.same() {
		c.fail("recorded %s, found %s", describeValue(c.want[min(c.compared, len(c.want)):]), describeGo(v))
	}
	c.slot++
}

// reference binds a pointer to the recorded id that stands in its place.
func (c *checker) reference(v any) {
	rest := c.want[min(len(c.out), len(c.want)):]
	r := binenc.NewReader(rest)
	tag, id := r.Byte(), uint64(0)
	if tag == 'r' {
		id = r.Uvarint()
	}
	known, ok := c.rec.objects[id]
	switch kind := kindOf(v); {
	case tag != 'r' || r.Err() != nil:
		c.fail("recorded %s, found %s", describeValue(rest), describeGo(v))
		return
	case !ok:
		c.fail("object %d is not recorded", id)
		return
	case kind != known.kind:
		c.fail("recorded object %d of kind %q, found %s", id, known.kind, describeGo(v))
		return
	}
	before, met := c.ids[v]
	index, taken := c.bound[id]
	switch {
	case met && before != id:
		c.fail("aliasing: one Go object stands for the recorded objects %d (also at %s) and %d",
			before, c.path(c.bound[before], -1), id)
	case taken && !met:
		c.fail("lost sharing: recorded object %d is another Go object at %s", id, c.path(index, -1))
	case !met:
		c.ids[v], c.bound[id] = id, int32(len(c.queue))
		c.queue = append(c.queue, visit{v, id, c.at, c.slot})
	}
	c.out = binary.AppendUvarint(append(c.out, 'r'), id)
	c.compared = len(c.out)
}

// kindOf returns the recorded kind of a Go object, 0 for what is none.
func kindOf(v any) byte {
	if m, ok := v.(memory); ok && !reflect.ValueOf(v).IsNil() {
		return m.kind()
	}
	switch o := v.(type) {
	case *Str:
		return kindUnlessNil(o, 's')
	case *Bytes:
		return kindUnlessNil(o, 'y')
	case *ByteArray:
		return kindUnlessNil(o, 'Y')
	case *List:
		return kindUnlessNil(o, 'l')
	case *Tuple:
		return kindUnlessNil(o, 't')
	case *Dict:
		return kindUnlessNil(o, 'd')
	case *Set:
		return kindUnlessNil(o, 'e')
	case *FrozenSet:
		return kindUnlessNil(o, 'z')
	case *Object:
		return kindUnlessNil(o, 'c')
	case *ObjArray:
		return kindUnlessNil(o, 'A')
	case *Frame:
		return kindUnlessNil(o, 'D')
	case *Series:
		return kindUnlessNil(o, 'P')
	case *Opaque:
		return kindUnlessNil(o, 'o')
	}
	return 0
}

func kindUnlessNil[T any](p *T, kind byte) byte {
	if p == nil {
		return 0
	}
	return kind
}

// object encodes and compares one object.
func (c *checker) object(obj any) {
	switch o := obj.(type) {
	case *Str:
		c.text("text", o.S)
	case *Bytes:
		c.text("bytes", o.S)
	case *ByteArray:
		checkMemory(c, o.B)
		c.text("bytes", string(o.B))
	case *Opaque:
		c.text("type name", o.Type)
	case *List:
		c.items(o.Items)
	case *Tuple:
		c.items(o.Items)
	case *Set:
		c.items(o.Items)
	case *FrozenSet:
		c.items(o.Items)
	case *ObjArray:
		c.dims(o.Dims)
		c.items(o.Items)
	case *Dict:
		checkMemory(c, o.Entries)
		c.count(len(o.Entries))
		for i := range o.Entries {
			c.value(o.Entries[i].Key)
			c.value(o.Entries[i].Val)
		}
	case *Object:
		c.instance(o)
	case *Frame:
		checkMemory(c, o.Columns)
		c.out = binary.AppendUvarint(c.out, uint64(o.Rows))
		c.expect("number of rows")
		c.value(o.Index)
		c.count(len(o.Columns))
		for i := range o.Columns {
			c.value(o.Columns[i].Name)
			c.value(o.Columns[i].Data)
		}
	case *Series:
		c.value(o.Name)
		c.value(o.Index)
		c.value(o.Data)
	case memory:
		o.check(c)
	}
}

func (c *checker) text(what, s string) {
	c.out = appendText(c.out, s)
	c.expect(what)
}

func (c *checker) count(n int) {
	c.out = binary.AppendUvarint(c.out, uint64(n))
	if c.err == nil && !c.same() {
		n, _ := binary.Uvarint(c.want[min(c.compared, len(c.want)):])
		found, _ := binary.Uvarint(c.out[c.compared:])
		c.failObject("recorded %d elements, found %d", n, found)
	}
}

func (c *checker) dims(dims []int) {
	checkMemory(c, dims)
	c.count(len(dims))
	for _, d := range dims {
		c.out = binary.AppendUvarint(c.out, uint64(d))
	}
	c.expect(fmt.Sprintf("shape %v", dims))
}

func (c *checker) items(items []any) {
	checkMemory(c, items)
	c.count(len(items))
	for _, v := range items {
		c.value(v)
	}
}

func (c *checker) instance(o *Object) {
	checkMemory(c, o.Values)
	if o.Class == nil || len(o.Class.Attrs) != len(o.Values) {
		c.failObject("object has %d values, its class has other attributes", len(o.Values))
		return
	}
	c.text("class name", o.Class.Name)
	c.count(len(o.Values))
	for i, v := range o.Values {
		c.text("attribute name", o.Class.Attrs[i])
		c.value(v)
	}
}

func (a *Array[T]) check(c *checker) {
	checkMemory(c, a.Data)
	c.text("dtype", a.DType)
	c.dims(a.Dims)
	c.out = binary.AppendUvarint(c.out, uint64(len(a.Data)*elemSize[T]()))
	c.expect("size of the data")
	c.out = appendElems(c.out, a.Data)
	c.expect("data")
}

func (v *View[T]) check(c *checker) {
	c.text("dtype", v.DType)
	c.dims(v.Dims)
	c.value(v.Owner)
	c.out = binary.AppendVarint(c.out, v.Offset)
	checkMemory(c, v.Strides)
	for _, s := range v.Strides {
		c.out = binary.AppendVarint(c.out, s)
	}
	c.expect("offset or strides")
	if c.err != nil || len(v.Strides) != len(v.Dims) {
		c.failObject("%d strides for %d dimensions", len(v.Strides), len(v.Dims))
		return
	}
	want, err := v.part()
	switch {
	case err != nil:
		c.failObject("%v", err)
	case len(want) != len(v.Data) || len(want) > 0 && &want[0] != &v.Data[0]:
		c.failObject("view does not share the memory of its owner")
	}
}

// checkMemory notes the memory of a slice that belongs to the object at hand
// alone, up to its capacity.
func checkMemory[E any](c *checker, s []E) {
	if cap(s) == 0 {
		return
	}
	all := s[:cap(s)]
	start := reflect.ValueOf(&all[0]).Pointer()
	size := reflect.TypeFor[E]().Size()
	c.spans = append(c.spans, span{start, start + size*uintptr(len(all)), c.at})
}

// finish checks what only the whole can tell.
func (c *checker) finish() {
	if c.err != nil {
		return
	}
	if len(c.queue) != len(c.rec.objects) {
		c.err = fmt.Errorf("%d objects reached, %d recorded", len(c.queue), len(c.rec.objects))
		return
	}
	slices.SortFunc(c.spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(c.spans); i++ {
		if a, b := c.spans[i-1], c.spans[i]; b.start < a.end {
			c.err = fmt.Errorf("aliasing: %s and %s share a backing array", c.path(a.at, -1), c.path(b.at, -1))
			return
		}
	}
	if c.sum != c.rec.Sum {
		c.err = fmt.Errorf("sum is %08x, recorded %08x", c.sum, c.rec.Sum)
	}
}

// crcOfObject is written apart from the Reader's objectCRC on purpose: the Reader
// sums what the file holds, this sums what the Go objects hold.
func crcOfObject(id uint64, kind byte, payload []byte) uint32 {
	head := append(binary.AppendUvarint(nil, id), kind)
	return crc32.Update(crc32.Update(0, crc32.IEEETable, head), crc32.IEEETable, payload)
}
