package podder

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Values of conflicts as Go values, and what a resolver made of them as stored ones. This
// is for values that stand for themselves: what is behind pointers and in maps has an
// identity, which a computed value has not.

// Load fills the variable that dst points to with the value: a bool, number or string, a
// value with a codec of the standard library such as time.Time, a struct or array of these (fields by
// their stored names), or a slice of such. Another type, and a value that is not Present, is ErrTypeMismatch.
func (v MergeValue) Load(dst any) error {
	p := reflect.ValueOf(dst)
	if p.Kind() != reflect.Pointer || p.IsNil() {
		return fmt.Errorf("%w: Load into %T, which is no pointer", dberr.ErrInvalid, dst)
	}
	if v.tree == nil {
		return fmt.Errorf("%w: no value that %v can hold", dberr.ErrTypeMismatch, p.Type().Elem())
	}
	if !fits(v.m.registry(), v.tree.dynamic().n, p.Type().Elem()) {
		return v.m.unfit(v.tree, p.Type().Elem())
	}
	return v.m.loadTree(v.tree, p.Elem())
}

func (m *merger) registry() *Registry {
	if m.in.Codecs == nil {
		m.in.Codecs = NewRegistry()
	}
	return m.in.Codecs
}

func (m *merger) unfit(t *mergeTree, typ reflect.Type) error {
	return fmt.Errorf("%w: stored as %s, asked for as %v", dberr.ErrTypeMismatch, t.dynamic().n.text, typ)
}

// fits reports whether a Go type is what is stored, by name, so that a function for a named
// type is not called for another one.
func fits(reg *Registry, n *node, typ reflect.Type) bool {
	return n.text == reg.typeText(typ)
}

// loadTree fills v.
func (m *merger) loadTree(t *mergeTree, v reflect.Value) error {
	t = t.dynamic()
	if !v.CanSet() {
		v = reflect.NewAt(v.Type(), v.Addr().UnsafePointer()).Elem()
	}
	switch t.n.kind {
	case nodeBasic:
		return m.loadBasic(t, v)
	case nodeCodec:
		k, ok := m.registry().codec(v.Type()).(valueCodec)
		if !ok || k.name() != t.n.codec {
			return m.unfit(t, v.Type())
		}
		c := cursor{buf: t.raw}
		return k.decode(c.bytes(c.uvarint()), v.Addr().UnsafePointer())
	case nodeStruct:
		if v.Kind() != reflect.Struct {
			return m.unfit(t, v.Type())
		}
		for _, f := range storedFields(v.Type()) {
			if k := t.field(storedName(f)); k != nil {
				if err := m.loadTree(k, v.Field(f.Index[0])); err != nil {
					return err
				}
			}
		}
		return nil
	case nodeArray:
		if v.Kind() != reflect.Array || v.Len() != len(t.kids) {
			return m.unfit(t, v.Type())
		}
		for i, k := range t.kids {
			if err := m.loadTree(k, v.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case nodeSlice:
		return m.loadSlice(t, v)
	}
	return m.unfit(t, v.Type())
}

func (m *merger) loadSlice(t *mergeTree, v reflect.Value) error {
	if v.Kind() != reflect.Slice {
		return m.unfit(t, v.Type())
	}
	if !t.isRef {
		if v.SetZero(); len(t.raw) == 1 && t.raw[0] == 1 {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
		}
		return nil
	}
	from := m.v[t.side]
	s, err := from.sliceAt(t.ref, t.length, t.n.valText)
	if err != nil || s.elemN == nil {
		return m.unfit(t, v.Type())
	}
	list := reflect.MakeSlice(v.Type(), 0, 0)
	err = from.eachOf(s, 0, s.length, func(_ uint64, e view) error {
		x := reflect.New(v.Type().Elem()).Elem()
		if e.n != nil {
			k, err := from.mergeTreeAt(t.side, &e)
			if err != nil {
				return err
			}
			if err := m.loadTree(k, x); err != nil {
				return err
			}
		}
		list = reflect.Append(list, x)
		return nil
	})
	v.Set(list)
	return err
}

func (m *merger) loadBasic(t *mergeTree, v reflect.Value) error {
	if basicID(v.Kind()) != t.n.basic {
		return m.unfit(t, v.Type())
	}
	c := &cursor{buf: t.raw}
	wide := t.fixed || basicWidth(t.n.basic) == 1
	switch id := t.n.basic; {
	case id == typeString:
		s, err := m.textOf(t)
		v.SetString(s)
		return err
	case id == typeBool:
		v.SetBool(c.byte() != 0)
	case v.CanInt():
		if wide {
			v.SetInt(int64(fixedBits(c, id)) << (64 - 8*basicWidth(id)) >> (64 - 8*basicWidth(id)))
		} else {
			v.SetInt(c.varint())
		}
	case v.CanUint():
		if wide {
			v.SetUint(fixedBits(c, id))
		} else {
			v.SetUint(c.uvarint())
		}
	case id == typeFloat32:
		v.SetFloat(float64(math.Float32frombits(c.uint32())))
	case id == typeFloat64:
		v.SetFloat(math.Float64frombits(c.uint64()))
	case id == typeComplex64:
		v.SetComplex(complex(float64(math.Float32frombits(c.uint32())), float64(math.Float32frombits(c.uint32()))))
	case id == typeComplex128:
		v.SetComplex(complex(math.Float64frombits(c.uint64()), math.Float64frombits(c.uint64())))
	}
	if c.bad {
		return m.v[t.side].corrupt(target{}, "%s ends early", t.n.text)
	}
	return nil
}

func fixedBits(c *cursor, id pod.TypeID) (x uint64) {
	for i, b := range c.bytes(basicWidth(id)) {
		x |= uint64(b) << (8 * i)
	}
	return x
}

// makeValue stores what a resolver set, as the type that is stored there.
func (m *merger) makeValue(c *MergeConflict) (*mergeTree, error) {
	like := c.Ours.tree
	if like == nil {
		like = c.Theirs.tree
	}
	if like == nil {
		return nil, fmt.Errorf("%w: no value can be set here, choose ours or theirs", dberr.ErrInvalid)
	}
	v := reflect.ValueOf(c.value)
	for _, t := range []*mergeTree{c.Ours.tree, c.Theirs.tree} {
		if v.IsValid() && t != nil && fits(m.registry(), t.dynamic().n, v.Type()) {
			p := reflect.New(v.Type()).Elem() // so that it has an address
			p.Set(v)
			return m.makeTree(t, t.n, p)
		}
	}
	return nil, fmt.Errorf("%w: a %T was set, stored is %s", dberr.ErrTypeMismatch, c.value, like.dynamic().n.text)
}

// makeTree makes a value of node n; like is a stored one of that type.
func (m *merger) makeTree(like *mergeTree, n *node, v reflect.Value) (*mergeTree, error) {
	t := &mergeTree{side: oursSide, n: n}
	if like != nil {
		t.fixed, t.typ = like.fixed, like.typ
	}
	switch n.kind {
	case nodeInterface:
		if like == nil || len(like.kids) != 1 {
			return nil, fmt.Errorf("%w: an interface in a value that was set", dberr.ErrUnsupported)
		}
		k, err := m.makeTree(like.kids[0], like.kids[0].n, v)
		t.kids = []*mergeTree{k}
		return t, err
	case nodeBasic:
		return t, t.makeBasic(v)
	case nodeCodec:
		k, ok := m.registry().codec(v.Type()).(valueCodec)
		if !ok || k.name() != n.codec {
			return nil, m.unfit(t, v.Type())
		}
		b, err := k.append(nil, v.Addr().UnsafePointer())
		t.raw = append(binary.AppendUvarint(nil, uint64(len(b))), b...)
		return t, err
	case nodeStruct:
		fields := storedFields(v.Type())
		for i := range n.fields {
			var k *mergeTree
			var err error = m.unfit(t, v.Type())
			for _, f := range fields {
				if storedName(f) == n.fields[i].name {
					k, err = m.makeTree(like.fieldOrNil(n.fields[i].name), n.fields[i].node, v.Field(f.Index[0]))
				}
			}
			if err != nil {
				return nil, err
			}
			t.kids = append(t.kids, k)
		}
		return t, nil
	case nodeArray:
		for i := range v.Len() {
			var one *mergeTree
			if like != nil && i < len(like.kids) {
				one = like.kids[i]
			}
			k, err := m.makeTree(one, n.elem, v.Index(i))
			if err != nil {
				return nil, err
			}
			t.kids = append(t.kids, k)
		}
		return t, nil
	case nodeSlice:
		return t, m.makeSlice(like, t, v)
	}
	return nil, fmt.Errorf("%w: a %s in a value that was set", dberr.ErrUnsupported, n.text)
}

func (t *mergeTree) fieldOrNil(name string) *mergeTree {
	if t == nil {
		return nil
	}
	return t.field(name)
}

// makeSlice makes a slice with elements of its own.
func (m *merger) makeSlice(like, t *mergeTree, v reflect.Value) error {
	if v.Len() == 0 {
		t.raw = []byte{1}
		if v.IsNil() {
			t.raw[0] = 0
		}
		return nil
	}
	if like == nil || !like.leads() {
		return fmt.Errorf("%w: elements for a slice of which ours and theirs have none", dberr.ErrUnsupported)
	}
	s, err := m.v[like.side].sliceAt(like.ref, like.length, like.n.valText)
	if err != nil {
		return err
	}
	if s.shown != nil || s.inner != nil || s.elemN == nil {
		return fmt.Errorf("%w: a slice that is a part of something else, in a value that was set", dberr.ErrUnsupported)
	}
	_, d, _, err := m.v[like.side].slot(like.ref.to)
	if err != nil {
		return err
	}
	t.typ = d.Type
	for i := range v.Len() {
		e, err := m.makeTree(&mergeTree{fixed: s.numeric}, s.elemN, v.Index(i))
		if err != nil {
			return err
		}
		if s.numeric {
			e.setFixed(v.Index(i))
		}
		t.fresh = append(t.fresh, e)
	}
	t.isRef, t.length = true, uint64(v.Len())
	t.ref = reference{to: target{slot: 1}} // to be placed
	t.head = append(binary.AppendUvarint(nil, t.length+2), 0)
	return nil
}

// setFixed is for numbers in arrays of arrays of numbers.
func (t *mergeTree) setFixed(v reflect.Value) {
	for i, k := range t.kids {
		k.fixed = true
		k.setFixed(v.Index(i))
	}
	if t.n.kind == nodeBasic {
		t.fixed, t.raw = true, nil
		_ = t.makeBasic(v) // it went well before
	}
}

func (t *mergeTree) makeBasic(v reflect.Value) error {
	id := t.n.basic
	if basicID(v.Kind()) != id {
		return fmt.Errorf("%w: stored as %s, set as %v", dberr.ErrTypeMismatch, t.n.text, v.Type())
	}
	bits, wide := uint64(0), t.fixed || basicWidth(id) == 1
	switch {
	case id == typeString:
		s := v.String()
		t.raw = append(binary.AppendUvarint(nil, uint64(len(s))<<1), s...)
		return nil
	case id == typeBool:
		if v.Bool() {
			bits = 1
		}
	case v.CanInt():
		if bits = uint64(v.Int()); !wide {
			t.raw = binary.AppendVarint(nil, v.Int())
			return nil
		}
	case v.CanUint():
		if bits = v.Uint(); !wide {
			t.raw = binary.AppendUvarint(nil, bits)
			return nil
		}
	case id == typeFloat32:
		bits = uint64(math.Float32bits(float32(v.Float())))
	case id == typeFloat64:
		bits = math.Float64bits(v.Float())
	case id == typeComplex64:
		bits = uint64(math.Float32bits(float32(real(v.Complex())))) | uint64(math.Float32bits(float32(imag(v.Complex()))))<<32
	case id == typeComplex128:
		t.raw = binary.LittleEndian.AppendUint64(nil, math.Float64bits(real(v.Complex())))
		bits = math.Float64bits(imag(v.Complex()))
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], bits)
	t.raw = append(t.raw, b[:min(8, basicWidth(id))]...)
	return nil
}
