package podder

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A decodePlan turns the slot bytes of one stored type into memory of one Go
// type. It is compiled once from descriptor and type: fields are matched by
// name, nested structs and short arrays are flattened, so that decoding is one
// loop over moves. A field that the program no longer has is a move that skips
// bytes; one that the stored type lacks has no move and stays zero. Where the
// stored type and the program's differ, a move converts (compiler.reshape).
type decodePlan struct {
	typ      reflect.Type
	node     *node
	moves    []decodeMove
	fields   map[uint32]planField // struct: stored field id to place, for interior references
	elem     *decodePlan          // array: elements; entries: elements
	key      *decodePlan          // entries: keys
	goMap    typedMap             // entries: how to make a map, and to put one into it
	box      *decodePlan          // a value that is behind a pointer now: the value's
	fixed    *fixedElem           // element of a SlotArray that is stored with fixed width
	ifaces   bool                 // the type has interfaces by value: hashing a key of it may fail
	migrated bool                 // made by functions of the program
	changed  bool                 // the stored form is not that of typ; structs differ by their fields
	boxes    bool                 // has values by value that are behind pointers now
	hand     *handCodec           // of a value with a codec of the program
	unsure   []unsureName         // of a whole type: what only the catalogue can say
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
	typ    reflect.Type   // pointer, slice: element; map, interface, box: itself; unbox: the value's
	same   uintptr        // typeAddress(typ) of a pointer, slice or map that is not loose, else 0
	sub    *decodePlan    // array, tail: elements; box: the value
	node   *node          // skip: what to pass over; toInterface: the stored type
	codec  valueCodec     // codec
	empty  unsafe.Pointer // pointer, slice: address of zero-size values
	loose  bool           // pointer, slice, map: to something stored under another type
	from   pod.TypeID     // convert: stored kind
	to     reflect.Kind   // convert
	chain  []migration    // migrate
	path   string         // of moves that may not fit: place in the type, for errors
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
	moveRaw // scalars that are stored as they lie in memory
	moveCodec
	moveHand  // a codec of the program
	moveWeak  // a weak pointer
	moveRef   // a Ref
	moveAfter // a method to be called when everything is filled
	moveSkip
	moveConvert       // number of another kind
	moveMigrate       // value that functions of the program make
	moveBox           // value that is behind a pointer now
	moveUnbox         // pointer that is the value now
	moveToInterface   // value that is in an interface now
	moveFromInterface // interface that is a value now
	moveTail          // elements beyond the end of an array that has become shorter
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
	pl.unsure = c.unsure
	r.mu.Lock()
	r.plans[key] = pl
	r.mu.Unlock()
	return pl, nil
}

type compiler struct {
	reg    *Registry
	unsure []unsureName
}

func (c *compiler) compileTop(n *node, t reflect.Type) (*decodePlan, error) {
	if n.kind != nodeEntries {
		return c.compile(n, t, n.text)
	}
	if t.Kind() != reflect.Map {
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
	return &decodePlan{typ: t, node: n, key: key, elem: elem, goMap: typedMapOf(t), changed: key.changed || elem.changed, boxes: key.boxes || elem.boxes}, nil
}

func (c *compiler) compile(n *node, t reflect.Type, path string) (*decodePlan, error) {
	defer c.placeUnsure(len(c.unsure), n, t, path)
	pl := &decodePlan{typ: t, node: n}
	if chain := c.reg.migration(n, t); chain != nil {
		return pl, c.migrate(pl, chain, n, t, path)
	}
	if h, ok := c.reg.codec(t).(*handCodec); ok && h.fields && n.kind == nodeStruct && t.Kind() == reflect.Struct && c.sameStruct(n.text, t) {
		pl.changed = true // stored before the type had its methods
		return pl, c.structure(pl, n, t, path)
	}
	if c.reg.kindOf(t) != n.kind {
		return pl, c.reshape(pl, n, t, path)
	}
	fits := true
	switch n.kind {
	case nodeBasic:
		fits = c.basic(pl, n, t, path)
	case nodePointer:
		elem, code, _ := cellOf(t)
		m := decodeMove{code: movePointer, typ: pointee(t), empty: zeroSize(pointee(t))}
		switch {
		case elem != nil && code == opWeak:
			m.code = moveWeak
		case elem != nil && code == opRef:
			m.code = moveRef
		}
		fits = c.behind(pl, m, n.valText, m.typ)
	case nodeSlice:
		m := decodeMove{code: moveSlice, typ: t.Elem(), empty: reflect.MakeSlice(reflect.SliceOf(t.Elem()), 0, 0).UnsafePointer()}
		fits = c.behind(pl, m, n.valText, t.Elem())
	case nodeMap:
		m := decodeMove{code: moveMap, typ: t}
		m.loose = !c.reg.textIs(n.keyText, t.Key()) || !c.reg.textIs(n.valText, t.Elem())
		fits = !m.loose || c.mayBe(n.keyText, t.Key()) && c.mayBe(n.valText, t.Elem())
		pl.changed = m.loose
		pl.one(m)
	case nodeInterface:
		pl.one(decodeMove{code: moveInterface, typ: t})
		pl.ifaces = true
	case nodeArray:
		return pl, c.array(pl, n, t, path)
	case nodeStruct:
		if fits = c.sameStruct(n.text, t); fits {
			return pl, c.structure(pl, n, t, path)
		}
	case nodeCodec:
		codec := c.reg.codec(t).(valueCodec)
		fits = codec.name() == n.codec && codec.version() == n.version
		pl.one(decodeMove{code: moveCodec, codec: codec})
	case nodeHanded:
		h := c.reg.codec(t).(*handCodec)
		fits = h.Name == n.codec && n.version <= h.Version
		pl.ifaces = true // what its fields hold is up to the codec
		pl.one(decodeMove{code: moveHand, sub: &decodePlan{hand: h}, node: n, path: path})
	case nodeNilOnly:
	}
	if !fits {
		return nil, c.mismatch(path, n, t)
	}
	return pl, nil
}

// sameStruct reports whether a struct stored as text may be read as a t: the
// same type by name or alias, or one of the two has no name.
func (c *compiler) sameStruct(text string, t reflect.Type) bool {
	return t.Name() == "" || strings.HasPrefix(text, "struct{") || c.reg.textIs(text, t)
}

// behind adds a reference to values that are stored as text.
func (c *compiler) behind(pl *decodePlan, m decodeMove, text string, t reflect.Type) bool {
	m.loose = !c.reg.textIs(text, t)
	pl.changed = m.loose
	pl.one(m)
	return !m.loose || c.mayBe(text, t)
}

func (pl *decodePlan) one(m decodeMove) {
	if (m.code == movePointer || m.code == moveRef || m.code == moveSlice || m.code == moveMap) && !m.loose {
		m.same = typeAddress(m.typ)
	}
	pl.moves = []decodeMove{m}
}

func zeroSize(t reflect.Type) unsafe.Pointer {
	if t.Size() > 0 {
		return nil
	}
	return reflect.New(t).UnsafePointer()
}

// basic compiles a bool, number or string and reports whether it fits.
func (c *compiler) basic(pl *decodePlan, n *node, t reflect.Type, path string) bool {
	if n.basic != typeString {
		pl.fixed = &fixedElem{kind: basicKind(n.basic), count: 1}
	}
	if basicID(t.Kind()) != n.basic {
		pl.changed = true
		pl.one(decodeMove{code: moveConvert, from: n.basic, to: t.Kind(), path: path})
		return convertible(n.basic, t.Kind())
	}
	switch t.Kind() {
	case reflect.String:
		pl.one(decodeMove{code: moveString})
	case reflect.Float32:
		pl.one(decodeMove{code: move4})
	case reflect.Float64:
		pl.one(decodeMove{code: move8})
	case reflect.Complex64:
		pl.moves = []decodeMove{{code: move4}, {code: move4, offset: 4}}
	case reflect.Complex128:
		pl.moves = []decodeMove{{code: move8}, {code: move8, offset: 8}}
	default:
		pl.one(decodeMove{code: moveBool + moveCode(t.Kind()-reflect.Bool)})
	}
	return true
}

// flatMoves is how many moves an array may have to be written out flat.
const flatMoves = 16

// array compiles an array. One that became longer has zeros at its end; one that
// became shorter must have had them there (moveTail).
func (c *compiler) array(pl *decodePlan, n *node, t reflect.Type, path string) error {
	elem, err := c.compile(n.elem, t.Elem(), path+"[]")
	if err != nil {
		return err
	}
	pl.elem = elem
	pl.ifaces = elem.ifaces
	pl.boxes = elem.boxes
	pl.changed = elem.changed || uint64(t.Len()) != n.length
	if f := elem.fixed; f != nil && n.length <= maxFixed/uint64(max(1, f.count)) {
		pl.fixed = &fixedElem{kind: f.kind, count: f.count * int(n.length)}
	}
	count := int(min(uint64(t.Len()), n.length))
	switch {
	case len(elem.moves) == 0 || count == 0:
	case count > 1 && elem.lies():
		pl.moves = []decodeMove{{code: moveRaw, count: count * int(t.Elem().Size())}}
	case count*len(elem.moves) > flatMoves:
		pl.moves = []decodeMove{{code: moveArray, count: count, sub: elem}}
	default:
		for i := range count {
			pl.inline(elem, uintptr(i)*t.Elem().Size())
		}
	}
	if tail := n.length - uint64(count); tail > 0 && leastBytes(n.elem) > 0 {
		pl.moves = append(pl.moves, decodeMove{code: moveTail, count: int(min(tail, math.MaxInt)), sub: elem, path: fmt.Sprintf("%s (stored as %s, the program has %s)", path, n.text, c.reg.typeText(t))})
	}
	return nil
}

// lies reports whether values are stored, also outside of lists of numbers, as they lie in memory.
func (pl *decodePlan) lies() bool {
	if pl.fixed == nil || pl.changed || !pl.fixed.sameAsMemory() {
		return false
	}
	for i := range pl.moves {
		switch pl.moves[i].code {
		case moveInt8, moveUint8, move4, move8, moveRaw:
		default:
			return false
		}
	}
	return true
}

// maxFixed bounds the scalars of one element, which is bounded by what Go takes
// for a type anyway.
const maxFixed = 1 << 40

func (pl *decodePlan) inline(part *decodePlan, offset uintptr) {
	for _, m := range part.moves {
		m.offset += offset
		pl.moves = append(pl.moves, m)
	}
}

// structure matches stored fields with those of t: by name first, then by the
// names that a field had (pod:"name,was=old").
func (c *compiler) structure(pl *decodePlan, n *node, t reflect.Type, path string) error {
	if why := c.reg.otherLayout(t); why != "" {
		return fmt.Errorf("%s: %s: %w", path, why, dberr.ErrTypeMismatch)
	}
	if err := c.checkForeign(n, t, path); err != nil {
		return err
	}
	if err := checkTags(t); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	match := matchFields(n, t)
	pl.fields = make(map[uint32]planField, len(n.fields))
	for i := range n.fields {
		nf := &n.fields[i]
		f, ok := match[i]
		if !ok {
			if leastBytes(nf.node) > 0 { // else it has none, and a loop over many of it has no end
				pl.moves = append(pl.moves, decodeMove{code: moveSkip, node: nf.node})
			}
			continue
		}
		part, err := c.compile(nf.node, f.Type, path+"."+nf.name)
		if err != nil {
			return err
		}
		pl.fields[nf.id] = planField{offset: f.Offset, plan: part}
		pl.inline(part, f.Offset)
		pl.ifaces = pl.ifaces || part.ifaces
		pl.boxes = pl.boxes || part.boxes
	}
	if hasHook(t, loaderType) {
		pl.moves = append(pl.moves, decodeMove{code: moveAfter, typ: t})
	}
	return nil
}

// matchFields gives for each stored field, by number, the field of t that holds
// it now. Each side is taken once, even if a descriptor names a field twice.
func matchFields(n *node, t reflect.Type) map[int]reflect.StructField {
	stored := make(map[string]int, len(n.fields))
	for i := len(n.fields) - 1; i >= 0; i-- {
		stored[n.fields[i].name] = i
	}
	match := make(map[int]reflect.StructField, len(n.fields))
	fields := storedFields(t)
	done := make([]bool, len(fields))
	take := func(k int, name string) {
		i, ok := stored[name]
		if _, taken := match[i]; ok && !taken && !done[k] {
			match[i], done[k] = fields[k], true
		}
	}
	for k := range fields {
		take(k, storedName(fields[k]))
	}
	for k := range fields {
		for _, old := range formerNames(fields[k]) {
			take(k, old)
		}
	}
	return match
}
