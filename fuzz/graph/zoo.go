package graph

//lint:file-ignore U1000 fields are reached by reflection

import (
	"bytes"
	"container/list"
	"container/ring"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
	"unique"
)

// The zoo has the types that reflection cannot build: named, recursive, with
// methods, with fields that are not exported.

// Node refers to every other part of a graph in every way that Go has.
type Node struct {
	ID    int
	Next  *Node
	In    *int
	Leaf  *Leaf
	Text  *string
	Nodes []Node
	Kids  []*Node
	Ints  []int
	Bytes []byte
	Anys  []any
	ByKey map[string]*Node
	Of    map[*Node]float32
	Wild  map[any]any
	Any   any
	Name  string
	When  time.Time
	Arr   [3]Leaf
	Some  []Leaf
	Void  *struct{}
	hidden
}

type hidden struct {
	small uint8
	comp  complex64
	flag  bool
	pp    **Node
	err   error
	Shape
}

// Leaf is small and often inside something.
type Leaf struct {
	A, B int
	F    float64
	next *Leaf
}

type (
	// Alike may be converted to Leaf, and its pointers to Leaf's.
	Alike Leaf
	// Celsius and the others below are named basic types.
	Celsius float64
	Label   string
	Bits    uint16
	Switch  bool
	Phase   complex128
	// Link and Tower are recursive without a struct.
	Link  *Link
	Tower []Tower
	// Tree is a map of maps of its own kind, as are Forest and AnyMap.
	Tree   map[string]Tree
	Forest map[int8]*Forest
	AnyMap map[any]any
	// Loop contains itself through arrays of pointers.
	Loop [2]*Loop
	// Set, Bag and Index are keyed by identity and by values that contain it.
	Set   map[*Leaf]struct{}
	Bag   map[Key][]*Node
	Index map[[2]*int]Leaf
	// Curve has keys that may be NaN.
	Curve map[float64]*int
	// Wave and Shapes, too.
	Wave   map[complex64][]byte
	Shapes map[Shape]*Shape
	// Row and Grid are arrays of arrays.
	Row  [3]int32
	Rows [2]Row
)

// Key is a key with all that keys may have.
type Key struct {
	f float32
	s string
	p *Leaf
	i any
}

// Own points into itself.
type Own struct {
	X    int
	PX   *int
	S    string
	PS   *string
	A    [4]int8
	PA   *[4]int8
	PE   *int8
	self *Own
	L    []int8
	M    map[int8]*int8
	MP   *map[int8]*int8
	LP   *[]int8
	any  any
	PI   *any
}

// Grid points into arrays of arrays.
type Grid struct {
	cells [2][3]Leaf
	row   *[3]Leaf
	cell  *Leaf
	num   *int
	all   [][3]Leaf
	some  []Leaf
	pair  *[2]Leaf // of any array of them
	four  *[4]*Leaf
	nums  *[5]int
	Rows  Rows
	Row   *Row
	N     *int32
	Ns    []int32
}

// Twice holds one type several times, and may be split by pointers.
type Twice struct {
	A, B   Leaf
	PA, PB *Leaf
	Both   []Leaf
	Other  *Alike
	Others []*Alike
}

// Deep is pointers to pointers and interfaces to interfaces.
type Deep struct {
	P1 *int
	P2 **int
	P3 ***int
	A  *any
	AA **any
	S  *Shape
	M  *map[string]int
	L  *[]*[]int
	E  *error
}

// Pair is generic.
type Pair[K comparable, V any] struct {
	Key  K
	Val  V
	next *Pair[K, V]
	all  map[K]V
}

// Embeds embeds by value and by pointer, exported and not.
type Embeds struct {
	Leaf
	*Node
	below
	Tower
	tail any
}

type below struct {
	n    int8
	back *Embeds
}

// Shape is an interface with methods.
type Shape interface{ Area() float64 }

// Square is a Shape as a value, Circle as a pointer, Scaled by one that it
// embeds, Celsius as a number and Label as a string.
type (
	Square struct{ side float64 }
	Circle struct {
		r  float32
		of *Circle
	}
	Scaled struct {
		Shape
		by float32
	}
)

// Area of a square.
func (s Square) Area() float64 { return s.side * s.side }

// Area of a circle.
func (c *Circle) Area() float64 { return float64(c.r * c.r) }

// Area of a temperature makes it a Shape that is a number.
func (c Celsius) Area() float64 { return float64(c) }

// Area of a label makes it a Shape that is a string.
func (l Label) Area() float64 { return float64(len(l)) }

// Area of a Link makes none: methods of pointer types do not exist. Area of a
// Tower makes it a Shape that has no equality.
func (t Tower) Area() float64 { return float64(len(t)) }

// Fault is an error.
type Fault struct {
	at  *Node
	why string
}

func (f Fault) Error() string { return f.why }

// Slip is an error by its pointer.
type Slip struct{ code int }

func (s *Slip) Error() string { return "slip" }

// Zero has no size, Tail ends in nothing and None is an array of nothing.
type (
	Zero struct{}
	None [0]*Node
	Tail struct {
		N *Zero
		M map[Zero]*Tail
		L []Zero
		_ int32
		n int16
		z struct{}
	}
)

// Guarded has what is never stored beside what is.
type Guarded struct {
	mu   sync.Mutex
	once sync.Once
	n    atomic.Int64
	b    atomic.Bool
	u    [3]atomic.Uint32
	v    atomic.Value
	Skip *Node  `pod:"-"`
	Run  func() `pod:"-"`
	F    func()
	C    chan int
	Kept int
	self *Guarded
	_    [3]byte
	Q    *int
}

// Tagged has names of its own in the database.
type Tagged struct {
	A    int      `pod:"alpha"`
	next *Tagged  `pod:"beta,was=old"`
	L    []Tagged `pod:",was=list"`
	P    *int
	Full []*Leaf  `pod:",fullcap"`
	all  []string `pod:"texts,fullcap"`
}

// Numbers has every numeric kind, in an order that leaves holes.
type Numbers struct {
	B    bool
	I    int
	I8   int8
	I16  int16
	I32  int32
	I64  int64
	U    uint
	U8   uint8
	U16  uint16
	U32  uint32
	U64  uint64
	P    uintptr
	F32  float32
	F64  float64
	C64  complex64
	C128 complex128
	big  [40]int32
	PF   *float32
	PB   *uint8
	tail bool
}

// Wide has arrays too long to be unrolled.
type Wide struct {
	S [20]string
	A [18]any
	P [33]*Leaf
	L [17][]int
	T [9]Leaf
	M [5]map[string]int
}

// zoo lists the named types, as they stand in a Family.
var zoo = []reflect.Type{
	reflect.TypeFor[Node](), reflect.TypeFor[Leaf](), reflect.TypeFor[Alike](), reflect.TypeFor[Celsius](), reflect.TypeFor[Label](),
	reflect.TypeFor[Bits](), reflect.TypeFor[Switch](), reflect.TypeFor[Phase](), reflect.TypeFor[Link](), reflect.TypeFor[Tower](),
	reflect.TypeFor[Tree](), reflect.TypeFor[Forest](), reflect.TypeFor[AnyMap](), reflect.TypeFor[Loop](), reflect.TypeFor[Set](),
	reflect.TypeFor[Bag](), reflect.TypeFor[Index](), reflect.TypeFor[Curve](), reflect.TypeFor[Wave](), reflect.TypeFor[Shapes](),
	reflect.TypeFor[Row](), reflect.TypeFor[Rows](), reflect.TypeFor[Key](), reflect.TypeFor[Own](), reflect.TypeFor[Grid](),
	reflect.TypeFor[Twice](), reflect.TypeFor[Deep](), reflect.TypeFor[Embeds](), reflect.TypeFor[Square](), reflect.TypeFor[Circle](),
	reflect.TypeFor[Scaled](), reflect.TypeFor[Fault](), reflect.TypeFor[Slip](), reflect.TypeFor[Zero](), reflect.TypeFor[None](),
	reflect.TypeFor[Tail](), reflect.TypeFor[Guarded](), reflect.TypeFor[Tagged](), reflect.TypeFor[Numbers](), reflect.TypeFor[Wide](),
	reflect.TypeFor[Pair[string, *Node]](), reflect.TypeFor[Pair[*Leaf, any]](), reflect.TypeFor[Pair[Key, []Pair[int8, Celsius]]](),
	reflect.TypeFor[Pair[any, Shape]](), reflect.TypeFor[Pair[int8, Celsius]](), reflect.TypeFor[time.Time](),
	reflect.TypeFor[Standard](), reflect.TypeFor[big.Int](), reflect.TypeFor[big.Float](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[netip.Prefix](),
	reflect.TypeFor[regexp.Regexp](), reflect.TypeFor[rand.PCG](), reflect.TypeFor[unique.Handle[string]](), reflect.TypeFor[*time.Location](), reflect.TypeFor[url.URL](),
	reflect.TypeFor[list.List](), reflect.TypeFor[ring.Ring](), reflect.TypeFor[bytes.Buffer](), reflect.TypeFor[url.Values](), reflect.TypeFor[json.RawMessage](),
	reflect.TypeOf(io.EOF).Elem(), reflect.TypeOf(errors.Join(io.EOF)).Elem(), reflect.TypeOf(fmt.Errorf("%w", io.EOF)).Elem(), reflect.TypeFor[fs.PathError](), runtimeType,
	reflect.TypeFor[Concurrent](), reflect.TypeFor[Weakly](), reflect.TypeFor[Place](), reflect.TypeFor[unique.Handle[Place]](), reflect.TypeFor[Library](), reflect.TypeFor[Big](),
}
