package trace

// The Go forms of the recorded kinds. Every object with an identity is a pointer
// to one of the structs below. A slot of a container holds, as an any: nil, bool,
// int64, float64, string (short, without identity), BigInt, or such a pointer.
// All fields are exported, so that encoders of other make can read them too.

// Str is a string longer than 64 bytes whose identity the program keeps.
type Str struct{ S string }

// Bytes is an immutable run of bytes; in Go that is a string.
type Bytes struct{ S string }

// ByteArray is a mutable run of bytes.
type ByteArray struct{ B []byte }

// List is a list or a deque.
type List struct{ Items []any }

// Tuple is an immutable sequence.
type Tuple struct{ Items []any }

// Set is a mutable set; its elements stand in the recorded order.
type Set struct{ Items []any }

// FrozenSet is an immutable set; its elements stand in the recorded order.
type FrozenSet struct{ Items []any }

// Dict is a dictionary in insertion order. Keys may be any value, also pointers
// to tuples and instances, so it is no Go map.
type Dict struct{ Entries []Entry }

// Entry is one entry of a Dict.
type Entry struct{ Key, Val any }

// Class is the shape of class instances: what they are called and which
// attributes they have, in order. Instances of one shape share one Class, the way
// interpreters do it; a Class is no recorded object and has no recorded identity.
type Class struct {
	Name  string
	Attrs []string
}

// Object is an instance of a class; Values[i] is the attribute Class.Attrs[i].
// A subclass of a container holds its content in the attribute "*".
type Object struct {
	Class  *Class
	Values []any
}

// Elem are the element types that arrays have in Go memory.
type Elem interface {
	float64 | float32 | int64 | int32 | byte
}

// Array is a numeric array in C order: <f8 is Array[float64], <f4 float32, <i8
// and times int64, <i4 int32, and every other dtype is its bytes.
type Array[T Elem] struct {
	DType string
	Dims  []int
	Data  []T
}

// ObjArray is an array of objects, such as a column of strings.
type ObjArray struct {
	Dims  []int
	Items []any
}

// View is an array that shares the memory of its owner. Data is the sub-slice of
// the owner's Data from the lowest to the highest element the view reaches; it is
// nil where the owner's memory has another element type.
type View[T Elem] struct {
	DType   string
	Dims    []int
	Owner   any
	Offset  int64
	Strides []int64
	Data    []T
}

// Frame is a table of named columns.
type Frame struct {
	Rows    int
	Index   any
	Columns []Column
}

// Column is one column of a Frame.
type Column struct{ Name, Data any }

// Series is one named column with its index.
type Series struct{ Name, Index, Data any }

// Opaque is a leaf that the recording does not open: a function, a module.
type Opaque struct{ Type string }

// BigInt is an integer outside int64, in decimal digits. It is a value without
// identity, so it is no pointer to a big.Int.
type BigInt struct{ Digits string }

// Var holds the value of a variable that is neither an object nor a bare number,
// bool or string: nil and BigInt, which cannot be variables of a namespace.
type Var struct{ Value any }

// NamedType pairs a type with the stable name under which stores and encoders
// know it behind interfaces. Zero is a value of the type; objects are used
// through pointers to it, except BigInt, which is used as a value.
type NamedType struct {
	Name string
	Zero any
}

// Types returns every type that rebuilt variables hold behind interfaces.
func Types() []NamedType {
	return []NamedType{
		{"trace.Str", Str{}},
		{"trace.Bytes", Bytes{}},
		{"trace.ByteArray", ByteArray{}},
		{"trace.List", List{}},
		{"trace.Tuple", Tuple{}},
		{"trace.Set", Set{}},
		{"trace.FrozenSet", FrozenSet{}},
		{"trace.Dict", Dict{}},
		{"trace.Object", Object{}},
		{"trace.ObjArray", ObjArray{}},
		{"trace.Frame", Frame{}},
		{"trace.Series", Series{}},
		{"trace.Opaque", Opaque{}},
		{"trace.BigInt", BigInt{}},
		{"trace.Var", Var{}},
		{"trace.Array.f8", Array[float64]{}},
		{"trace.Array.f4", Array[float32]{}},
		{"trace.Array.i8", Array[int64]{}},
		{"trace.Array.i4", Array[int32]{}},
		{"trace.Array.u1", Array[byte]{}},
		{"trace.View.f8", View[float64]{}},
		{"trace.View.f4", View[float32]{}},
		{"trace.View.i8", View[int64]{}},
		{"trace.View.i4", View[int32]{}},
		{"trace.View.u1", View[byte]{}},
	}
}
