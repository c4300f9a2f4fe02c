package podder

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// A descriptor says how values of a type lie in slot bytes, complete in
// itself, so that any reader can find its way without the program. It is a
// tree of what is stored by value; what lies behind a pointer, slice or
// interface carries its own type in its own slot and is only named here.
//
//	descriptor = version byte, node
//	node       = kind byte, uv len + type text, body by kind (nodeKind)

const descriptorVersion = 1

type nodeKind byte

const (
	nodeBasic     nodeKind = 1 + iota // predeclared id of the underlying kind
	nodePointer                       // text of the element
	nodeSlice                         // text of the element
	nodeArray                         // uv length, node of the element
	nodeMap                           // texts of key and element
	nodeStruct                        // uv count, fields
	nodeInterface                     // nothing
	nodeCodec                         // codec name, uv version
	nodeNilOnly                       // nothing: func, chan, unsafe.Pointer
	nodeEntries                       // nodes of key and element; top node of a SlotMap only
	nodeHanded                        // codec name, uv version: data and values that the codec handed over
	nodeNamed                         // name of a sentinel, node of its type; top node only
	nodeForeign                       // module, u64 layout hash, then as nodeStruct: parsed as one
	endNodeKinds
)

// Flags of a struct field.
const (
	fieldEmbedded   = 1
	fieldUnexported = 2
)

// maxNodeDepth bounds how deeply by-value parts nest in one descriptor.
const maxNodeDepth = 1000

// maxFieldID bounds field ids, which are indices of Go fields.
const maxFieldID = 1 << 20

// node is one parsed node of a descriptor.
type node struct {
	kind    nodeKind
	text    string
	basic   pod.TypeID
	keyText string // map
	valText string // pointer, slice, map: element
	length  uint64 // array
	key     *node  // entries
	elem    *node  // array, entries, named
	fields  []nodeField
	codec   string         // of a codec; of a sentinel: its name
	version uint64         // of the codec
	foreign *foreignLayout // struct of an allowed package
}

type nodeField struct {
	name  string
	id    uint32 // index among the Go fields at the time of writing
	flags byte
	node  *node
}

// describe returns the descriptor of t. It fails if t cannot be told from
// another type by its text.
func describe(reg *Registry, t reflect.Type) ([]byte, error) {
	return appendType([]byte{descriptorVersion}, reg, t, 0)
}

// describeMap returns the descriptor of the entries of a map type, which is the
// Type of a SlotMap.
func describeMap(reg *Registry, t reflect.Type) ([]byte, error) {
	text, err := nodeText(reg, t)
	if err != nil {
		return nil, err
	}
	b := []byte{descriptorVersion, byte(nodeEntries)}
	b = appendText(b, text)
	if b, err = appendType(b, reg, t.Key(), 1); err != nil {
		return nil, err
	}
	return appendType(b, reg, t.Elem(), 1)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// nameError says why no name stands for a type alone. It matches ErrUnregistered.
type nameError struct {
	typ reflect.Type
	why string
}

func (e *nameError) Error() string { return e.typ.String() + ": " + e.why }

// Is reports that a registration is lacking.
func (e *nameError) Is(target error) bool { return target == dberr.ErrUnregistered }

const nameHint = "give it one of its own before Open, with db.Type[T](name) in Options.Types or with db.Register[T](name)"

// nodeText returns the text of t and makes sure that it stands for t alone.
func nodeText(reg *Registry, t reflect.Type) (string, error) {
	text := reg.typeText(t)
	if len(text) > maxTypeText {
		return "", fmt.Errorf("type text of %d bytes: %w", len(text), dberr.ErrTooLarge)
	}
	if t.Name() != "" {
		if i := strings.IndexByte(t.Name(), '['); i >= 0 && strings.Contains(t.Name()[i:], "·") && !reg.isRegistered(t) && ownArgs(t) == nil {
			return "", &nameError{t, "it has a type argument that is local to a function, which no name tells from others; " + nameHint}
		}
		return text, reg.claim(text, t)
	}
	return text, nil
}

func appendType(b []byte, reg *Registry, t reflect.Type, depth int) ([]byte, error) {
	if depth > maxNodeDepth {
		return nil, fmt.Errorf("type %v nests deeper than %d: %w", t, maxNodeDepth, dberr.ErrTooLarge)
	}
	text, err := nodeText(reg, t)
	if err != nil {
		return nil, err
	}
	kind := reg.kindOf(t)
	foreign := reg.foreign(t)
	if kind == nodeStruct && foreign != nil {
		b = appendForeign(appendText(append(b, byte(nodeForeign)), text), foreign)
		return appendFields(b, reg, t, depth)
	}
	b = append(b, byte(kind))
	b = appendText(b, text)
	switch kind {
	case nodeBasic:
		b = append(b, byte(basicID(t.Kind())))
	case nodePointer, nodeSlice:
		b = appendText(b, reg.typeText(pointee(t)))
	case nodeArray:
		b = binary.AppendUvarint(b, uint64(t.Len()))
		return appendType(b, reg, t.Elem(), depth+1)
	case nodeMap:
		b = appendText(b, reg.typeText(t.Key()))
		b = appendText(b, reg.typeText(t.Elem()))
	case nodeStruct:
		return appendFields(b, reg, t, depth)
	case nodeCodec, nodeHanded:
		c := reg.codec(t)
		b = appendText(b, c.name())
		b = binary.AppendUvarint(b, c.version())
	}
	return b, nil
}

func appendFields(b []byte, reg *Registry, t reflect.Type, depth int) ([]byte, error) {
	if err := checkTags(t); err != nil {
		return nil, err
	}
	stored := storedFields(t)
	b = binary.AppendUvarint(b, uint64(len(stored)))
	for _, f := range stored {
		b = appendText(b, storedName(f))
		b = binary.AppendUvarint(b, uint64(f.Index[0]))
		var flags byte
		if f.Anonymous {
			flags |= fieldEmbedded
		}
		if f.PkgPath != "" {
			flags |= fieldUnexported
		}
		b = append(b, flags)
		var err error
		if b, err = appendType(b, reg, f.Type, depth+1); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// kindOf returns how a value of type t is stored.
func (r *Registry) kindOf(t reflect.Type) nodeKind {
	switch r.codec(t).(type) {
	case valueCodec:
		return nodeCodec
	case *handCodec:
		return nodeHanded
	}
	if _, _, ok := cellOf(t); ok {
		return nodePointer
	}
	switch t.Kind() {
	case reflect.Pointer:
		return nodePointer
	case reflect.Slice:
		return nodeSlice
	case reflect.Array:
		return nodeArray
	case reflect.Map:
		return nodeMap
	case reflect.Struct:
		return nodeStruct
	case reflect.Interface:
		return nodeInterface
	case reflect.Func, reflect.Chan, reflect.UnsafePointer:
		return nodeNilOnly
	}
	return nodeBasic
}
