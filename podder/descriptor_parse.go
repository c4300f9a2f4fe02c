package podder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"

	"github.com/poddb/poddb/internal/pod"
)

// parseDescriptor reads a descriptor. It accepts any bytes: every length is
// checked against what is left, and depth is bounded. Errors carry no place;
// the caller knows it.
func parseDescriptor(b []byte) (*node, error) {
	c := cursor{buf: b}
	if v := c.byte(); v != descriptorVersion {
		return nil, fmt.Errorf("descriptor version %d, want %d", v, descriptorVersion)
	}
	n, err := parseNode(&c, 0)
	if err != nil {
		return nil, fmt.Errorf("descriptor at byte %d: %w", c.off, err)
	}
	if c.bad || c.off != len(b) {
		return nil, fmt.Errorf("descriptor of %d bytes ends at byte %d", len(b), c.off)
	}
	return n, nil
}

var errShort = errors.New("ends early")

func parseText(c *cursor) string {
	n := c.uvarint()
	if n > maxTypeText {
		c.fail()
		return ""
	}
	return string(c.bytes(n))
}

func parseNode(c *cursor, depth int) (*node, error) {
	if depth > maxNodeDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxNodeDepth)
	}
	n := &node{kind: nodeKind(c.byte())}
	n.text = parseText(c)
	if c.bad {
		return nil, errShort
	}
	if n.text == "" {
		return nil, errors.New("empty type text")
	}
	var err error
	switch n.kind {
	case nodeBasic:
		n.basic = pod.TypeID(c.byte())
		if basicKind(n.basic) == reflect.Invalid {
			err = fmt.Errorf("basic kind %d", n.basic)
		}
	case nodePointer, nodeSlice:
		n.valText = parseText(c)
	case nodeArray:
		n.length = c.uvarint()
		n.elem, err = parseNode(c, depth+1)
	case nodeMap:
		n.keyText = parseText(c)
		n.valText = parseText(c)
	case nodeStruct:
		err = parseFields(c, n, depth)
	case nodeForeign:
		n.kind = nodeStruct
		n.foreign = &foreignLayout{module: parseText(c), hash: c.uint64()}
		err = parseFields(c, n, depth)
	case nodeInterface, nodeNilOnly:
	case nodeCodec, nodeHanded:
		n.codec = parseText(c)
		n.version = c.uvarint()
	case nodeNamed:
		if depth > 0 {
			return nil, errors.New("a name inside a value")
		}
		if n.codec = parseText(c); n.codec == "" {
			return nil, errShort
		}
		n.elem, err = parseNode(c, depth+1)
		if err == nil && n.elem.kind == nodeNamed {
			err = errors.New("a name of a name")
		}
	case nodeEntries:
		if depth > 0 {
			return nil, errors.New("map entries inside a value")
		}
		if n.key, err = parseNode(c, depth+1); err == nil {
			n.elem, err = parseNode(c, depth+1)
		}
	default:
		err = fmt.Errorf("node kind %d", n.kind)
	}
	if err == nil && c.bad {
		err = errShort
	}
	return n, err
}

func parseFields(c *cursor, n *node, depth int) error {
	count := c.uvarint()
	const least = 6 // name, id, flags, kind, text, and a byte of either text
	if count > uint64(c.left()/least) {
		return fmt.Errorf("%d fields in %d bytes", count, c.left())
	}
	// Fields in a field have the same bytes left, so the list grows with what was read.
	n.fields = make([]nodeField, 0, min(count, 16))
	ids := map[uint32]bool{}
	for range count {
		n.fields = append(n.fields, nodeField{})
		f := &n.fields[len(n.fields)-1]
		f.name = parseText(c)
		id := c.uvarint()
		f.flags = c.byte()
		if id > maxFieldID || ids[uint32(id)] {
			return fmt.Errorf("field id %d", id)
		}
		f.id = uint32(id)
		ids[f.id] = true
		var err error
		if f.node, err = parseNode(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// appendNode writes a parsed node back; the result equals the bytes it was
// parsed from.
func appendNode(b []byte, n *node) []byte {
	if n.foreign != nil {
		b = appendForeign(appendText(append(b, byte(nodeForeign)), n.text), n.foreign)
	} else {
		b = appendText(append(b, byte(n.kind)), n.text)
	}
	switch n.kind {
	case nodeBasic:
		b = append(b, byte(n.basic))
	case nodePointer, nodeSlice:
		b = appendText(b, n.valText)
	case nodeArray:
		b = binary.AppendUvarint(b, n.length)
		b = appendNode(b, n.elem)
	case nodeMap:
		b = appendText(b, n.keyText)
		b = appendText(b, n.valText)
	case nodeStruct:
		b = binary.AppendUvarint(b, uint64(len(n.fields)))
		for _, f := range n.fields {
			b = appendText(b, f.name)
			b = binary.AppendUvarint(b, uint64(f.id))
			b = append(b, f.flags)
			b = appendNode(b, f.node)
		}
	case nodeCodec, nodeHanded:
		b = appendText(b, n.codec)
		b = binary.AppendUvarint(b, n.version)
	case nodeNamed:
		b = appendText(b, n.codec)
		b = appendNode(b, n.elem)
	case nodeEntries:
		b = appendNode(b, n.key)
		b = appendNode(b, n.elem)
	}
	return b
}
