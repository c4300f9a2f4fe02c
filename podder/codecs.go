package podder

import (
	"math/big"
	randv2 "math/rand/v2"
	"net/netip"
	"reflect"
	"regexp"
	"time"
	"unique"
	"unsafe"
)

// storedCodec is what a descriptor says of a codec.
type storedCodec interface {
	name() string
	version() uint64
}

// valueCodec stores values of one type as bytes of its own making, because
// the type's memory is no contract (it belongs to another package) or holds
// what must not be stored.
//
// append reads the value at p and appends its bytes; decode writes the value
// for b to p, whatever p held before. decode accepts any bytes and never panics. Equal values must give equal bytes.
type valueCodec interface {
	storedCodec
	append(dst []byte, p unsafe.Pointer) ([]byte, error)
	decode(b []byte, p unsafe.Pointer) error
}

// reruns reports whether a value must be asked for its bytes again although its
// own memory has not changed.
func reruns(c storedCodec) bool {
	if k, ok := c.(checkedCodec); ok {
		c = k.valueCodec
	}
	r, ok := c.(interface{ reruns() bool })
	return ok && r.reruns()
}

// codecTable has every type of the standard library that has a codec. Codecs
// that remember something do it in the registry. All types in it are known to
// every process.
var codecTable = [...]struct {
	typ  reflect.Type
	make func(*Registry) valueCodec
}{
	{timeType, func(r *Registry) valueCodec { return timeCodec{zones: r.zones} }},
	{reflect.TypeFor[*time.Location](), locationCodec},
	{reflect.TypeFor[big.Int](), bigInt},
	{reflect.TypeFor[big.Rat](), bigRat},
	{reflect.TypeFor[big.Float](), bigFloat},
	{reflect.TypeFor[netip.Addr](), netAddr},
	{reflect.TypeFor[netip.AddrPort](), netAddrPort},
	{reflect.TypeFor[netip.Prefix](), netPrefix},
	{reflect.TypeFor[regexp.Regexp](), regexpCodec},
	{reflect.TypeFor[randv2.PCG](), randPCG},
	{reflect.TypeFor[randv2.ChaCha8](), randChaCha8},
	{reflect.TypeFor[unique.Handle[string]](), handleCodec},
	{runtimeType, reflectCodec},
}

// codec returns how exactly t is stored if that is not by its parts, else nil: a
// valueCodec or a *handCodec.
func (r *Registry) codec(t reflect.Type) storedCodec {
	r.mu.RLock()
	c, ok := r.codecs[t]
	r.mu.RUnlock()
	if ok {
		return c
	}
	if h := hookCodec(t); h != nil {
		c = h
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.codecs[t] = c
	return c
}

// addBuiltin makes the types of the standard library known that have a codec,
// and those that are stored by their parts (stdTypes).
func (r *Registry) addBuiltin() {
	for _, c := range codecTable {
		r.codecs[c.typ] = c.make(r)
		r.addStd(c.typ)
	}
	m := syncMap()
	r.codecs[m.Type] = m
	r.addStd(m.Type)
	for _, s := range stdTypes {
		r.layouts[s.typ] = s.fields
		r.addStd(s.typ)
	}
	r.addStdValues()
}

func (r *Registry) isValueType(t reflect.Type) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.values[t]
}

func (r *Registry) addStd(t reflect.Type) {
	r.std[t] = true
	r.builtin[r.typeText(t)] = t
}
