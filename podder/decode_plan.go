package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// A decodePlan turns the slot bytes of one stored type into memory of one Go
// type. It is compiled once from descriptor and type: fields are matched by
// name, nested structs and short arrays are flattened, so that decoding is one
// loop over moves. A field that the program no longer has is a move that skips
// bytes; one that the stored type lacks has no move and stays zero.
type decodePlan struct {
	typ      reflect.Type
	node     *node
	moves    []decodeMove
	minBytes int                  // fewest bytes of an encoded value
	fields   map[uint32]planField // struct: stored field id to place, for interior references
	elem     *decodePlan          // array: elements; entries: elements
	key      *decodePlan          // entries: keys
	fixed    *fixedElem           // element of a SlotArray that is stored with fixed width
	ifaces   bool                 // the type has interfaces by value: hashing a key of it may fail
}

// planField is where a stored field is in the Go type.
type planField struct {
	offset uintptr
	plan   *decodePlan
}

// decodeMove decodes one value to an offset.
type decodeMove struct {
	code   moveCode
	offset uintptr
	count  int            // array: elements
	typ    reflect.Type   // pointer, slice: element; map, interface: itself
	sub    *decodePlan    // array: elements
	skip   *node          // skip: what to pass over
	codec  valueCodec     // codec
	empty  unsafe.Pointer // pointer, slice: address of zero-size values
}

type moveCode uint8

const (
	moveBool moveCode = iota
	moveInt
	moveInt8
	moveInt16
	moveInt32
	moveInt64
	moveUint
	moveUint8
	moveUint16
	moveUint32
	moveUint64
	moveUintptr
	move4 // float32
	move8 // float64, complex64 as two of them
	moveString
	movePointer
	moveSlice
	moveMap
	moveInterface
	moveArray
	moveCodec
	moveSkip
)

type planKey struct {
	descriptor string
	typ        reflect.Type
}

// plan returns the compiled plan for a stored type and a Go type.
func (r *Registry) plan(descriptor []byte, n *node, t reflect.Type) (*decodePlan, error) {
	key := planKey{string(descriptor), t}
	r.mu.RLock()
	pl, ok := r.plans[key]
	r.mu.RUnlock()
	if ok {
		return pl, nil
	}
	c := compiler{reg: r}
	pl, err := c.compileTop(n, t)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.plans[key] = pl
	r.mu.Unlock()
	return pl, nil
}

type compiler struct{ reg *Registry }

// mismatch is the error for a stored type that does not fit the program's.
func (c *compiler) mismatch(path string, n *node, t reflect.Type) error {
	stored, have := n.text, c.reg.typeText(t)
	// Kinds where they are what differs and the texts do not say so.
	if a, b := n.kindName(), kindName(t); a != b && (a != stored || b != have) {
		stored, have = stored+" ("+a+")", have+" ("+b+")"
	}
	return fmt.Errorf("%s: stored as %s, the program has %s: %w", path, stored, have, dberr.ErrTypeMismatch)
}

// kindName names how values are stored, in the words of package reflect.
func (n *node) kindName() string {
	switch n.kind {
	case nodeBasic:
		return basicKind(n.basic).String()
	case nodePointer:
		return "ptr"
	case nodeSlice:
		return "slice"
	case nodeArray:
		return "array"
	case nodeMap, nodeEntries:
		return "map"
	case nodeStruct:
		return "struct"
	case nodeInterface:
		return "interface"
	case nodeCodec:
		return "codec " + n.codec
	}
	return "func or chan"
}

// kindName is node.kindName for a type of the program.
func kindName(t reflect.Type) string {
	if codec := codecFor(t); codec != nil {
		return "codec " + codec.name()
	}
	if kindOf(t) == nodeNilOnly {
		return "func or chan"
	}
	return t.Kind().String()
}

func (c *compiler) compileTop(n *node, t reflect.Type) (*decodePlan, error) {
	if n.kind != nodeEntries {
		return c.compile(n, t, n.text)
	}
	if t.Kind() != reflect.Map || !c.reg.textIs(n.text, t) {
		return nil, c.mismatch(n.text, n, t)
	}
	key, err := c.compile(n.key, t.Key(), n.text+" key")
	if err != nil {
		return nil, err
	}
	elem, err := c.compile(n.elem, t.Elem(), n.text+" element")
	if err != nil {
		return nil, err
	}
	return &decodePlan{typ: t, node: n, key: key, elem: elem, minBytes: key.minBytes + elem.minBytes}, nil
}

func (c *compiler) compile(n *node, t reflect.Type, path string) (*decodePlan, error) {
	if kindOf(t) != n.kind {
		return nil, c.mismatch(path, n, t)
	}
	pl := &decodePlan{typ: t, node: n}
	fits := true
	switch n.kind {
	case nodeBasic:
		fits = basicID(t.Kind()) == n.basic
		pl.basic(t)
	case nodePointer:
		fits = c.reg.textIs(n.valText, t.Elem())
		pl.one(decodeMove{code: movePointer, typ: t.Elem(), empty: zeroSize(t.Elem())}, 1)
	case nodeSlice:
		fits = c.reg.textIs(n.valText, t.Elem())
		pl.one(decodeMove{code: moveSlice, typ: t.Elem(), empty: reflect.MakeSlice(reflect.SliceOf(t.Elem()), 0, 0).UnsafePointer()}, 1)
	case nodeMap:
		fits = c.reg.textIs(n.keyText, t.Key()) && c.reg.textIs(n.valText, t.Elem())
		pl.one(decodeMove{code: moveMap, typ: t}, 1)
	case nodeInterface:
		pl.one(decodeMove{code: moveInterface, typ: t}, 1)
		pl.ifaces = true
	case nodeArray:
		if fits = uint64(t.Len()) == n.length; fits {
			return pl, c.array(pl, n, t, path)
		}
	case nodeStruct:
		if fits = t.Name() == "" || c.reg.textIs(n.text, t); fits {
			return pl, c.structure(pl, n, t, path)
		}
	case nodeCodec:
		codec := c.reg.codec(t)
		fits = codec.name() == n.codec && codec.version() == n.version
		pl.one(decodeMove{code: moveCodec, codec: codec}, 1)
	case nodeNilOnly:
		fits = c.reg.textIs(n.text, t)
	}
	if !fits {
		return nil, c.mismatch(path, n, t)
	}
	return pl, nil
}

func (pl *decodePlan) one(m decodeMove, minBytes int) {
	pl.moves = []decodeMove{m}
	pl.minBytes = minBytes
}

func zeroSize(t reflect.Type) unsafe.Pointer {
	if t.Size() > 0 {
		return nil
	}
	return reflect.New(t).UnsafePointer()
}

func (pl *decodePlan) basic(t reflect.Type) {
	if t.Kind() != reflect.String {
		pl.fixed = &fixedElem{kind: t.Kind(), count: 1}
	}
	switch t.Kind() {
	case reflect.String:
		pl.one(decodeMove{code: moveString}, 1)
	case reflect.Float32:
		pl.one(decodeMove{code: move4}, 4)
	case reflect.Float64:
		pl.one(decodeMove{code: move8}, 8)
	case reflect.Complex64:
		pl.moves = []decodeMove{{code: move4}, {code: move4, offset: 4}}
		pl.minBytes = 8
	case reflect.Complex128:
		pl.moves = []decodeMove{{code: move8}, {code: move8, offset: 8}}
		pl.minBytes = 16
	default:
		pl.one(decodeMove{code: moveBool + moveCode(t.Kind()-reflect.Bool)}, 1)
	}
}

// flatMoves is how many moves an array may have to be written out flat.
const flatMoves = 16

func (c *compiler) array(pl *decodePlan, n *node, t reflect.Type, path string) error {
	elem, err := c.compile(n.elem, t.Elem(), path+"[]")
	if err != nil {
		return err
	}
	pl.elem = elem
	pl.ifaces = elem.ifaces
	if f := elem.fixed; f != nil {
		pl.fixed = &fixedElem{kind: f.kind, count: f.count * t.Len()}
	}
	if len(elem.moves) == 0 || t.Len() == 0 {
		return nil
	}
	pl.minBytes = elem.minBytes * t.Len()
	if t.Len()*len(elem.moves) > flatMoves {
		pl.moves = []decodeMove{{code: moveArray, count: t.Len(), sub: elem}}
		return nil
	}
	for i := range t.Len() {
		pl.inline(elem, uintptr(i)*t.Elem().Size())
	}
	return nil
}

func (pl *decodePlan) inline(part *decodePlan, offset uintptr) {
	for _, m := range part.moves {
		m.offset += offset
		pl.moves = append(pl.moves, m)
	}
}

func (c *compiler) structure(pl *decodePlan, n *node, t reflect.Type, path string) error {
	have := map[string]reflect.StructField{}
	for _, f := range storedFields(t) {
		have[f.Name] = f
	}
	pl.fields = make(map[uint32]planField, len(n.fields))
	for i := range n.fields {
		nf := &n.fields[i]
		f, ok := have[nf.name]
		if !ok {
			least := leastBytes(nf.node)
			pl.moves = append(pl.moves, decodeMove{code: moveSkip, skip: nf.node})
			pl.minBytes += least
			continue
		}
		delete(have, nf.name) // a descriptor that names a field twice does not fill it twice
		part, err := c.compile(nf.node, f.Type, path+"."+nf.name)
		if err != nil {
			return err
		}
		pl.fields[nf.id] = planField{offset: f.Offset, plan: part}
		pl.inline(part, f.Offset)
		pl.minBytes += part.minBytes
		pl.ifaces = pl.ifaces || part.ifaces
	}
	return nil
}

// leastBytes returns the fewest bytes of a value that is passed over.
func leastBytes(n *node) int {
	switch n.kind {
	case nodeNilOnly:
		return 0
	case nodeStruct:
		sum := 0
		for i := range n.fields {
			sum += leastBytes(n.fields[i].node)
		}
		return sum
	case nodeArray:
		if n.length == 0 {
			return 0
		}
		return leastBytes(n.elem)
	}
	return 1
}
