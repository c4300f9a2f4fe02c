package podder

import (
	"reflect"
	"unsafe"
)

// An interface value is two words in every Go release so far: one that stands
// for the dynamic type (and methods), and either the value itself, if it is one
// pointer, or a pointer to an immutable copy of it. What the first word means is
// asked of reflect once for each of its values.
type interfaceWords struct {
	tab  unsafe.Pointer
	data unsafe.Pointer
}

// dynamic is the type behind an interface.
type dynamic struct {
	plan   *plan
	direct bool // the data word is the value
	// okFor is the last walk of a variable (engine.walks) for which it was found
	// that a later process would know this type.
	okFor uint64
	// static says that it would know it only from the types of some variables.
	static bool
	drop   bool // such values are stored as nil interfaces (Config.ZeroUnsupported)
}

// dynamicOf returns the dynamic type of the interface value of type t at p,
// which is not nil.
func (e *engine) dynamicOf(t reflect.Type, p unsafe.Pointer) *dynamic {
	tab := (*interfaceWords)(p).tab
	if d := e.dynamics[uintptr(tab)]; d != nil {
		return d
	}
	d := &dynamic{plan: e.planOf(reflect.NewAt(t, p).Elem().Elem().Type())}
	zero := reflect.Zero(d.plan.typ).Interface()
	d.direct = (*interfaceWords)(unsafe.Pointer(&zero)).data == nil
	d.drop = e.zero && runsOnly(d.plan.typ.Kind()) && !e.known(d.plan.typ, nil)
	// Type and method tables are never freed: the program's own lie in its
	// image, made ones are kept by the runtime for good.
	e.dynamics[uintptr(tab)] = d
	return d
}

// runsOnly reports whether values of a kind mean something to one process only.
func runsOnly(k reflect.Kind) bool {
	return k == reflect.Func || k == reflect.Chan || k == reflect.UnsafePointer
}

// value returns where the dynamic value of the interface at p lies.
func (d *dynamic) value(p unsafe.Pointer) unsafe.Pointer {
	w := (*interfaceWords)(p)
	if d.direct {
		return unsafe.Pointer(&w.data)
	}
	return w.data
}
