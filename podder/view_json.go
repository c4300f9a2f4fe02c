package podder

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/poddb/poddb/internal/pod"
)

// JSONOptions refines WriteJSON.
type JSONOptions struct {
	Indent bool // one member a line
	// Depth bounds how many levels are written; what lies deeper is
	// {"$more": path}. 0 means DefaultJSONDepth.
	Depth int
}

// DefaultJSONDepth is the depth that WriteJSON goes to by itself.
const DefaultJSONDepth = 64

// maxJSONDepth bounds what a caller may ask for.
const maxJSONDepth = 10_000

// WriteJSON writes the stored object at a path such as x.Items[3].Name or
// m["key"] as JSON, without the program's types. Unexported fields are
// written too. An object, map or slice of what may refer further met a second time
// is {"$ref": path of the first}.
// []byte is base64, NaN and infinities are strings, maps whose keys are not
// text or numbers are lists of [key, value].
func WriteJSON(ctx context.Context, src pod.Source, w io.Writer, path string, o JSONOptions) error {
	v := newViewer(ctx, src)
	name, sels, err := splitPath(path, func(name string) (bool, error) { return hasName(ctx, src, name) })
	if err != nil {
		return err
	}
	val, err := v.root(name)
	for _, s := range sels {
		if err != nil {
			return err
		}
		val, err = v.choose(val, s)
	}
	if err != nil {
		return err
	}
	if o.Depth <= 0 {
		o.Depth = DefaultJSONDepth
	}
	out := jsonWriter{viewer: v, w: bufio.NewWriter(w), seen: map[seenKey]string{}, indent: o.Indent, depth: min(o.Depth, maxJSONDepth)}
	if err := out.value(&val, path, 0); err != nil {
		return err
	}
	return out.w.Flush()
}

// TypeText returns the type of a stored variable, without the program.
func TypeText(ctx context.Context, src pod.Source, name string) (string, error) {
	w, err := newViewer(ctx, src).root(name)
	if err != nil {
		return "", err
	}
	return w.n.text, nil
}

type seenKey struct {
	target
	index uint64
	steps string
}

type jsonWriter struct {
	*viewer
	w      *bufio.Writer
	seen   map[seenKey]string
	indent bool
	depth  int
	level  int // values inside values, pointers included
}

func (j *jsonWriter) raw(s string) { _, _ = j.w.WriteString(s) } // errors stick until Flush

func (j *jsonWriter) line(depth int) {
	if j.indent {
		j.raw("\n" + strings.Repeat("  ", depth))
	}
}

func (j *jsonWriter) text(s string) {
	b, _ := json.Marshal(strings.ToValidUTF8(s, "\uFFFD")) // a string always marshals
	_, _ = j.w.Write(b)
}

func (j *jsonWriter) note(key, path string) {
	j.raw(`{"` + key + `":`)
	j.text(path)
	j.raw("}")
}

// value writes the value at w and moves w past it.
func (j *jsonWriter) value(w *view, path string, depth int) error {
	if err := j.ctx.Err(); err != nil {
		return err
	}
	if w.n == nil {
		j.raw("null")
		return nil
	}
	j.level++
	defer func() { j.level-- }()
	if (depth > j.depth || j.level > maxJSONDepth) && w.n.kind != nodeBasic && w.n.kind != nodeCodec {
		j.note("$more", path)
		if w.group != nil {
			return nil
		}
		return j.skip(w, w.n, w.fixed)
	}
	switch w.n.kind {
	case nodeBasic:
		return j.basic(w)
	case nodePointer:
		r, err := j.pointer(w.at, w.in, &w.c)
		if err != nil {
			return err
		}
		return j.pointee(r, w.n.valText, path, depth)
	case nodeInterface:
		id := w.c.uvarint()
		if id == 0 && !w.c.bad {
			j.raw("null")
			return nil
		}
		n, err := j.node(typeIDOf(id))
		if err != nil {
			return err
		}
		outer, fixed := w.n, w.fixed
		w.n, w.fixed = n, false
		err = j.value(w, path, depth)
		w.n, w.fixed = outer, fixed
		return err
	case nodeStruct:
		return j.fields(w, path, depth)
	case nodeArray:
		return j.arrayValue(w, path, depth)
	case nodeSlice:
		return j.sliceValue(w, path, depth)
	case nodeMap:
		return j.mapValue(w, path, depth)
	case nodeCodec:
		return j.codecValue(w)
	case nodeHanded:
		return j.handedValue(w, path, depth)
	case nodeNamed:
		j.note("$value", w.n.codec)
		return nil
	}
	j.raw("null") // a nil func, chan or unsafe.Pointer
	return nil
}

func (j *jsonWriter) pointee(r reference, text, path string, depth int) error {
	switch {
	case r.null:
		j.raw("null")
		return nil
	case r.zeroSize:
		j.raw("{}")
		return nil
	}
	key := seenKey{r.to, r.index, fmt.Sprint(r.steps)}
	if strings.HasPrefix(text, "[") {
		key.steps += text // its first element is something else
	}
	if first, ok := j.seen[key]; ok {
		j.note("$ref", first)
		return nil
	}
	j.seen[key] = path
	to, err := j.resolve(r, text)
	if err != nil {
		return err
	}
	return j.value(&to, path, depth)
}

func (j *jsonWriter) fields(w *view, path string, depth int) error {
	n := w.n
	j.raw("{")
	for i := range n.fields {
		f := &n.fields[i]
		if i > 0 {
			j.raw(",")
		}
		j.line(depth + 1)
		j.text(f.name)
		j.raw(":")
		w.n = f.node
		if err := j.value(w, path+"."+f.name, depth+1); err != nil {
			return err
		}
	}
	w.n = n
	if len(n.fields) > 0 {
		j.line(depth)
	}
	j.raw("}")
	return nil
}

func (j *jsonWriter) arrayValue(w *view, path string, depth int) error {
	if w.group != nil {
		return j.groupValue(w, path, depth)
	}
	n := w.n
	j.raw("[")
	for i := range n.length {
		if i > 0 {
			j.raw(",")
		}
		j.line(depth + 1)
		w.n = n.elem
		before := w.c.off
		if err := j.value(w, path+"["+strconv.FormatUint(i, 10)+"]", depth+1); err != nil {
			return err
		}
		if w.c.off == before { // no bytes: all elements are alike
			if i+1 < n.length {
				j.raw(",")
				j.note("$more", path+"["+strconv.FormatUint(i+1, 10)+"]")
			}
			break
		}
	}
	w.n = n
	j.line(depth)
	j.raw("]")
	return nil
}

// groupValue writes an array whose elements are those of a longer one.
func (j *jsonWriter) groupValue(w *view, path string, depth int) error {
	part := *w.group.of
	part.from, part.length, part.shown = w.group.from, w.n.length, nil
	return j.list(&part, path, depth)
}

// list writes the elements of a slice.
func (j *jsonWriter) list(sl *sliceView, path string, depth int) error {
	j.raw("[")
	err := sl.each(j.viewer, func(i uint64, e *view) error {
		if i > 0 {
			j.raw(",")
		}
		j.line(depth + 1)
		return j.value(e, path+"["+strconv.FormatUint(i, 10)+"]", depth+1)
	})
	j.line(depth)
	j.raw("]")
	return err
}

func (j *jsonWriter) sliceValue(w *view, path string, depth int) error {
	sl, err := j.slice(w)
	if err != nil {
		return err
	}
	switch {
	case sl.null:
		j.raw("null")
		return nil
	case sl.zeroSize || sl.length == 0:
		j.raw("[]")
		return nil
	}
	if sl.shown == nil && sl.elemN.kind == nodeBasic && sl.elemN.basic == typeUint8 {
		return j.byteSlice(sl)
	}
	// Numbers and text are written for each slice that has them. What leads further
	// is not: slices in slices have more ways through them than anybody could write.
	if sl.elemN.leads() {
		key := seenKey{sl.at, sl.from, fmt.Sprint("slice ", sl.length)}
		if sl.shown != nil {
			key.steps += sl.shown.text
		}
		if first, ok := j.seen[key]; ok {
			j.note("$ref", first)
			return nil
		}
		j.seen[key] = path
	}
	return j.list(&sl, path, depth)
}

// leads reports whether values may refer to others.
func (n *node) leads() bool {
	switch n.kind {
	case nodeBasic, nodeCodec, nodeNilOnly:
		return false
	case nodeArray:
		return n.elem.leads()
	case nodeStruct:
		return slices.ContainsFunc(n.fields, func(f nodeField) bool { return f.node.leads() })
	}
	return true
}

func (j *jsonWriter) byteSlice(sl sliceView) error {
	var b []byte
	err := sl.each(j.viewer, func(_ uint64, e *view) error {
		if e.n == nil {
			b = append(b, 0)
		} else {
			b = append(b, e.c.byte())
		}
		return nil
	})
	j.text(base64.StdEncoding.EncodeToString(b))
	return err
}

func (j *jsonWriter) mapValue(w *view, path string, depth int) error {
	c := w.c
	r, err := j.pointer(w.at, w.in, &c)
	if err != nil {
		return err
	}
	if !r.null {
		key := seenKey{target: r.to, steps: "map"}
		if first, ok := j.seen[key]; ok {
			w.c = c
			j.note("$ref", first)
			return nil
		}
		j.seen[key] = path
	}
	textKeys, count := false, 0
	null, err := j.entries(w, func(k, val view) error {
		if count == 0 {
			textKeys = k.n.kind == nodeBasic
			j.raw(brackets(textKeys)[:1])
		} else {
			j.raw(",")
		}
		count++
		j.line(depth + 1)
		return j.entry(k, val, textKeys, path, depth)
	})
	switch {
	case err != nil:
		return err
	case null:
		j.raw("null")
	case count == 0:
		j.raw("{}")
	default:
		j.line(depth)
		j.raw(brackets(textKeys)[1:])
	}
	return nil
}

func (j *jsonWriter) entry(k, val view, textKeys bool, path string, depth int) error {
	if textKeys {
		name, err := j.keyText(k)
		if err != nil {
			return err
		}
		j.text(name)
		j.raw(":")
		return j.value(&val, path+"["+strconv.Quote(name)+"]", depth+1)
	}
	j.raw("[")
	if err := j.value(&k, path+"[key]", depth+1); err != nil {
		return err
	}
	j.raw(",")
	if err := j.value(&val, path+"[value]", depth+1); err != nil {
		return err
	}
	j.raw("]")
	return nil
}

// basic writes a number, bool or string.
func (j *jsonWriter) basic(w *view) error {
	s, isText, err := j.basicText(w)
	if err != nil {
		return err
	}
	if isText {
		j.text(s)
	} else {
		j.raw(s)
	}
	return nil
}

// basicText reads a basic value as JSON text; quoted says it must be quoted.
func (v *viewer) basicText(w *view) (s string, quoted bool, err error) {
	c, id := &w.c, w.n.basic
	switch {
	case id == typeString:
		s, err = v.stringAt(w)
		return s, true, err
	case id == typeBool:
		s = strconv.FormatBool(c.byte() != 0)
	case id == typeFloat32:
		s, quoted = floatText(float64(math.Float32frombits(c.uint32())), 32)
	case id == typeFloat64:
		s, quoted = floatText(math.Float64frombits(c.uint64()), 64)
	case id == typeComplex64:
		re, im := math.Float32frombits(c.uint32()), math.Float32frombits(c.uint32())
		s, quoted = strconv.FormatComplex(complex(float64(re), float64(im)), 'g', -1, 64), true
	case id == typeComplex128:
		re, im := math.Float64frombits(c.uint64()), math.Float64frombits(c.uint64())
		s, quoted = strconv.FormatComplex(complex(re, im), 'g', -1, 128), true
	default:
		s = intText(c, id, w.fixed)
	}
	if c.bad {
		return "", false, v.corrupt(w.at, "%s ends early", w.n.text)
	}
	return s, quoted, nil
}

func intText(c *cursor, id pod.TypeID, fixed bool) string {
	signed := id <= typeInt64
	width := basicWidth(id)
	if !fixed && width > 1 {
		if signed {
			return strconv.FormatInt(c.varint(), 10)
		}
		return strconv.FormatUint(c.uvarint(), 10)
	}
	var u uint64
	for i, b := range c.bytes(width) {
		u |= uint64(b) << (8 * i)
	}
	if signed {
		shift := 64 - 8*width
		return strconv.FormatInt(int64(u<<shift)>>shift, 10)
	}
	return strconv.FormatUint(u, 10)
}

func floatText(f float64, bits int) (string, bool) {
	quoted := math.IsNaN(f) || math.IsInf(f, 0)
	return strconv.FormatFloat(f, 'g', -1, bits), quoted
}

func hasName(ctx context.Context, src pod.Source, name string) (bool, error) {
	_, err := src.Root(ctx, name)
	if err == nil {
		return true, nil
	}
	if isNotFound(err) {
		return false, nil
	}
	return false, err
}

func typeIDOf(x uint64) pod.TypeID {
	if x > math.MaxUint32 {
		return math.MaxUint32
	}
	return pod.TypeID(x)
}

// brackets are those of a map: an object if its keys are text or numbers.
func brackets(textKeys bool) string {
	if textKeys {
		return "{}"
	}
	return "[]"
}
