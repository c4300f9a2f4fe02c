package graph

import (
	"fmt"
	"math/rand/v2"
	"reflect"
)

// Family is a set of types that refer to each other.
type Family struct {
	// Types are the random types and those of the zoo.
	Types []reflect.Type
	// Named lists what must be registered to stand behind interfaces: named
	// types and structs without a name.
	Named []reflect.Type

	random []reflect.Type
	all    []reflect.Type         // Types and everything that they lead to
	fields map[reflect.Type][]int // StoredFields
	impls  map[reflect.Type][]reflect.Type
	alike  map[reflect.Type][]reflect.Type // that pointers may be converted to
}

// maxTypeBytes bounds the size of a random type's values.
const maxTypeBytes = 1 << 11

// NewFamily makes the family of a seed.
func NewFamily(seed uint64) *Family {
	r := rand.New(rand.NewPCG(seed, 0xfa))
	f := &Family{fields: map[reflect.Type][]int{}, impls: map[reflect.Type][]reflect.Type{}, alike: map[reflect.Type][]reflect.Type{}}
	b := typeBuilder{r: r}
	for range 6 + r.IntN(10) {
		b.made = append(b.made, b.typ(4))
	}
	f.random = b.made
	f.Types = append(append(f.Types, b.made...), zoo...)
	f.close()
	return f
}

// close finds all types that the family leads to.
func (f *Family) close() {
	seen := map[reflect.Type]bool{}
	add := func(t reflect.Type) {
		if !seen[t] {
			seen[t] = true
			f.all = append(f.all, t)
		}
	}
	for _, t := range f.Types {
		add(t)
	}
	for i := 0; i < len(f.all); i++ {
		t := f.all[i]
		if means(t) || t == syncMapType {
			continue
		}
		if c, ok := cells[t]; ok {
			add(c.elem)
			continue
		}
		switch t.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			add(t.Elem())
		case reflect.Map:
			add(t.Key())
			add(t.Elem())
		case reflect.Struct:
			f.fields[t] = StoredFields(t)
			for _, k := range f.fields[t] {
				add(t.Field(k).Type)
			}
		}
	}
	for _, t := range f.all {
		if t.Kind() == reflect.Interface {
			f.impls[t] = f.implementers(t)
		}
		own := t.Name() != "" && t.PkgPath() == reflect.TypeFor[Node]().PkgPath() && t.Kind() != reflect.Interface
		if own || t.Name() == "" && t.Kind() == reflect.Struct && t.NumField() > 0 {
			f.Named = append(f.Named, t)
		}
		if t.Name() == "" && t.Kind() != reflect.Struct || t.Size() == 0 {
			continue
		}
		for _, u := range f.all {
			if u != t && u.Kind() == t.Kind() && reflect.PointerTo(t).ConvertibleTo(reflect.PointerTo(u)) && storesSame(t, u) {
				f.alike[t] = append(f.alike[t], u)
			}
		}
	}
}

// storesSame reports whether two types with fields at the same places leave out the same ones: an
// object that is reached as both cannot be stored otherwise.
func storesSame(t, u reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct:
		for i := range t.NumField() {
			a, b := t.Field(i), u.Field(i)
			if (a.Tag.Get("pod") == "-") != (b.Tag.Get("pod") == "-") || !storesSame(a.Type, b.Type) {
				return false
			}
		}
	case reflect.Array:
		return storesSame(t.Elem(), u.Elem())
	}
	return true
}

// implementers lists the types of the family, and pointers to them, that an
// interface may hold.
func (f *Family) implementers(t reflect.Type) []reflect.Type {
	var list []reflect.Type
	for _, u := range f.all {
		for _, v := range []reflect.Type{u, reflect.PointerTo(u)} {
			if v.Kind() != reflect.Interface && v.Kind() != reflect.Func && v.Kind() != reflect.Chan && !foreign(v) && v != syncMapType && v.Implements(t) {
				list = append(list, v)
			}
		}
	}
	return list
}

// foreign reports whether values of t alone cannot be stored: those of sync/atomic and
// weak, which have no name that a program registers here, and the private number in a
// bytes.Buffer.
func foreign(t reflect.Type) bool {
	for t.Name() == "" && (t.Kind() == reflect.Pointer || t.Kind() == reflect.Array || t.Kind() == reflect.Slice) {
		t = t.Elem()
	}
	return t.PkgPath() == "sync/atomic" || t.PkgPath() == "weak" || t.PkgPath() == "bytes" && t.Name() == "readOp"
}

// typeBuilder makes random types.
type typeBuilder struct {
	r    *rand.Rand
	made []reflect.Type
}

func (b *typeBuilder) basic() reflect.Type {
	list := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](),
		reflect.TypeFor[int64](), reflect.TypeFor[uint](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](), reflect.TypeFor[uint32](),
		reflect.TypeFor[uint64](), reflect.TypeFor[uintptr](), reflect.TypeFor[float32](), reflect.TypeFor[float64](),
		reflect.TypeFor[complex64](), reflect.TypeFor[complex128](), reflect.TypeFor[string](), reflect.TypeFor[string](),
	}
	return list[b.r.IntN(len(list))]
}

// typ makes a type that nests at most depth times.
func (b *typeBuilder) typ(depth int) reflect.Type {
	t := b.any(depth)
	if t.Size() > maxTypeBytes {
		return b.basic()
	}
	return t
}

func (b *typeBuilder) any(depth int) reflect.Type {
	r := b.r
	if depth <= 0 {
		return b.basic()
	}
	switch r.IntN(20) {
	case 0, 1, 2:
		return reflect.PointerTo(b.typ(depth - 1))
	case 3, 4, 5:
		return reflect.SliceOf(b.typ(depth - 1))
	case 6:
		return reflect.ArrayOf(r.IntN(5), b.typ(depth-1))
	case 7:
		return reflect.ArrayOf(17+r.IntN(10), b.typ(depth-2))
	case 8, 9:
		return reflect.MapOf(b.key(depth-1), b.typ(depth-1))
	case 10:
		return []reflect.Type{reflect.TypeFor[any](), reflect.TypeFor[Shape](), reflect.TypeFor[error](), reflect.TypeFor[struct{}]()}[r.IntN(4)]
	case 11, 12, 13:
		return b.structure(depth, b.typ, 16)
	case 14, 15:
		return zoo[r.IntN(len(zoo))]
	case 16, 17:
		if len(b.made) > 0 {
			return b.made[r.IntN(len(b.made))]
		}
	}
	return b.basic()
}

// structure makes a struct. Keys have no skipped fields, by which alone they may
// differ: kinds is 2 for them.
func (b *typeBuilder) structure(depth int, typ func(int) reflect.Type, kinds int) reflect.Type {
	var fields []reflect.StructField
	for i := range 1 + b.r.IntN(6) {
		f := reflect.StructField{Name: fmt.Sprint("F", i), Type: typ(depth - 1)}
		switch b.r.IntN(16) % kinds {
		case 0:
			if b.r.IntN(4) > 0 {
				break
			}
			f.Name, f.PkgPath = fmt.Sprint("f", i), reflect.TypeFor[Node]().PkgPath()
		case 1:
			f.Tag = reflect.StructTag(fmt.Sprintf("pod:%q", fmt.Sprint("named", i)))
		case 2:
			f.Tag = `pod:"-"`
		}
		fields = append(fields, f)
	}
	return reflect.StructOf(fields)
}

// key makes a type whose values may be keys.
func (b *typeBuilder) key(depth int) reflect.Type {
	r := b.r
	switch {
	case depth <= 0:
		return b.basic()
	case r.IntN(3) == 0:
		return b.basic()
	}
	switch r.IntN(7) {
	case 0:
		return reflect.PointerTo(b.typ(depth - 1))
	case 1:
		return reflect.TypeFor[any]()
	case 2:
		return reflect.ArrayOf(1+r.IntN(3), b.key(depth-1))
	case 3:
		return b.structure(depth, b.key, 2)
	case 4:
		return reflect.TypeFor[Shape]()
	}
	for range 20 {
		if t := zoo[r.IntN(len(zoo))]; t.Comparable() && t != reflect.TypeFor[Guarded]() && t.Size() < 100 {
			return t
		}
	}
	return b.basic()
}
