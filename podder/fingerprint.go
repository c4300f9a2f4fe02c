package podder

import (
	"math/bits"
	"reflect"
	"unsafe"
)

// A fingerprint is a keyed 64-bit hash of the masked memory of a region: of the
// words that its plan reads and of nothing else. Saves that follow one that took
// them (resave.go) look only at regions whose fingerprint differs.
//
// Equal words mean equal contents, because what they lead to is either a region of
// its own, with a fingerprint of its own and pinned by the state, or immutable by
// the rules of the language: the bytes of strings and what interfaces box. Those
// are trusted without being read, and pinned (fingerprints.pins), so that no other
// string or box gets their address.
//
// Some values say nothing by their words: those of sync/atomic, which may be written
// while they are read, weak pointers, what codecs of the program make, boxes of
// codecs that run again. Regions with them have no fingerprint and are looked at by
// every save.
type printer struct {
	number   int // among the printers of the engine
	steps    []printStep
	pins     []uintptr // offsets of pointers to strings, boxes, and what codecs hold
	size     uintptr   // of a value
	flat     bool      // an array of it is hashed as bytes
	always   bool      // has no fingerprint
	rowWords uintptr   // from the start that are all there is; else 0
	// Of a map.
	key, elem *printer
	layout    mapLayout
	slot      uintptr // words from the start of a slot that are all there is of key and element; else 0
}

// printStep are n words of one width in a row, or n values of sub.
type printStep struct {
	off   uintptr
	n     int
	width uintptr // 8, 4, 2 or 1 bytes; 0: values
	sub   *printer
}

// printerOf compiles the printer of p.
func (e *engine) printerOf(p *plan) *printer {
	if p.printer == nil {
		p.printer = &printer{number: len(e.printers), size: p.size, flat: p.flat && nativeLittleEndian}
		e.printers = append(e.printers, p.printer)
		e.compilePrinter(p.printer, p)
		p.printer.findWords()
	}
	return p.printer
}

// mapPrinterOf compiles the printer of maps of plan p.
func (e *engine) mapPrinterOf(p *plan) *printer {
	if p.entries == nil {
		x := &printer{number: len(e.printers), layout: p.layout, always: !p.layout.inGroup}
		p.entries = x
		e.printers = append(e.printers, x)
		x.key, x.elem = e.printerOf(p.key), e.printerOf(p.elem)
		x.always = x.always || x.key.always || x.elem.always
		if words := x.key.rowWords; words > 0 && words*rowWord == p.layout.elem && (x.elem.rowWords > 0 || len(x.elem.steps) == 0) {
			x.slot = words + x.elem.rowWords
		}
	}
	return p.entries
}

func (e *engine) compilePrinter(x *printer, p *plan) {
	for k := range p.ops {
		o := &p.ops[k]
		switch o.code {
		case opBool, opInt8, opUint8:
			x.words(o.off, 1)
		case opInt16, opUint16:
			x.words(o.off, 2)
		case opInt32, opUint32, opFloat32:
			x.words(o.off, 4)
		case opInt64, opUint64, opFloat64:
			x.words(o.off, 8)
		case opRaw:
			x.words(o.off, uintptr(o.n))
		case opPointer, opMap, opNil:
			x.words(o.off, wordBytes)
		case opString:
			x.words(o.off, 2*wordBytes)
			x.pins = append(x.pins, o.off)
		case opSlice:
			x.words(o.off, 3*wordBytes)
		case opEface, opIface:
			x.words(o.off, 2*wordBytes)
			x.pins = append(x.pins, o.off+wordBytes)
		case opArray:
			sub := e.printerOf(o.sub)
			x.always = x.always || sub.always
			x.steps = append(x.steps, printStep{off: o.off, n: o.n, sub: sub})
			for i := range o.n {
				for _, at := range sub.pins {
					x.pins = append(x.pins, o.off+uintptr(i)*sub.size+at)
				}
			}
		case opCodec:
			if reruns(o.codec) {
				x.always = true
				continue
			}
			x.words(o.off, o.sub.typ.Size())
			x.pins = appendPointers(x.pins, o.sub.typ, o.off)
		case opRefuse:
		default: // atomics, weak pointers, codecs and methods of the program, opaque values
			x.always = true
		}
	}
}

func (x *printer) findWords() {
	if len(x.steps) == 1 && x.steps[0].width == 8 && x.steps[0].off == 0 {
		x.rowWords = uintptr(x.steps[0].n)
	}
}

// row returns how many words n values are, if these are all there is of them and lie in one
// row; else 0.
func (x *printer) row(n int) uintptr {
	if n > maxRow || n > 1 && x.rowWords*rowWord != x.size {
		return 0
	}
	words := x.rowWords * uintptr(n)
	if words > maxRow || x.flat && words > maxFlatRow {
		return 0
	}
	return words
}

const (
	rowWord    = 8       // bytes
	maxRow     = 1 << 12 // words
	maxFlatRow = 64      // of numbers: xxh3 is faster then
)

const wordBytes = unsafe.Sizeof(uintptr(0))

// words adds the n bytes at off, as words as wide as there are, to those just before.
func (x *printer) words(off, n uintptr) {
	for _, width := range [...]uintptr{8, 4, 2, 1} {
		m := n / width
		if m == 0 {
			continue
		}
		if k := len(x.steps) - 1; k >= 0 && x.steps[k].width == width && x.steps[k].off+uintptr(x.steps[k].n)*width == off {
			x.steps[k].n += int(m)
		} else {
			x.steps = append(x.steps, printStep{off: off, n: int(m), width: width})
		}
		off, n = off+m*width, n%width
	}
}

// appendPointers appends where values of type t, at off, have pointers.
func appendPointers(list []uintptr, t reflect.Type, off uintptr) []uintptr {
	switch t.Kind() {
	case reflect.Pointer, reflect.UnsafePointer, reflect.Map, reflect.Chan, reflect.Func, reflect.Slice, reflect.String:
		return append(list, off)
	case reflect.Interface:
		return append(list, off+wordBytes)
	case reflect.Array:
		for i := range t.Len() {
			list = appendPointers(list, t.Elem(), off+uintptr(i)*t.Elem().Size())
		}
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			list = appendPointers(list, f.Type, off+f.Offset)
		}
	}
	return list
}

// printKeys key fingerprints: nobody who does not know the secret of the database
// can make values that the multiplication below loses.
type printKeys struct{ a, b, start uint64 }

func (e *engine) printKeys() printKeys {
	key := func(name string) uint64 { return hashPart([]byte(name), e.seed) }
	return printKeys{key("fingerprint a"), key("fingerprint b"), key("fingerprint start")}
}

// fold is two words multiplied and folded, as in Wang Yi's wyhash.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// value continues h with the value at p.
func (x *printer) value(k printKeys, h uint64, p unsafe.Pointer) uint64 {
	for i := range x.steps {
		s := &x.steps[i]
		switch s.width {
		case 8:
			off, end := s.off, s.off+uintptr(s.n&^1)*8
			for ; off < end; off += 16 {
				h = fold(*(*uint64)(unsafe.Add(p, off))^h^k.a, *(*uint64)(unsafe.Add(p, off+8))^k.b)
			}
			if s.n&1 != 0 {
				h = fold(*(*uint64)(unsafe.Add(p, off))^h^k.a, k.b)
			}
		case 0:
			for j := range s.n {
				h = s.sub.value(k, h, unsafe.Add(p, s.off+uintptr(j)*s.sub.size))
			}
		default:
			for j := range uintptr(s.n) {
				at, w := unsafe.Add(p, s.off+j*s.width), uint64(0)
				switch s.width {
				case 4:
					w = uint64(*(*uint32)(at))
				case 2:
					w = uint64(*(*uint16)(at))
				default:
					w = uint64(*(*uint8)(at))
				}
				h = fold(w^h^k.a, k.b)
			}
		}
	}
	return h
}

// rowPrint is the fingerprint of a row of words, continued from h.
func rowPrint(k printKeys, h uint64, p unsafe.Pointer, words uintptr) uint64 {
	off, end := uintptr(0), words&^1*rowWord
	for ; off < end; off += 2 * rowWord {
		h = fold(*(*uint64)(unsafe.Add(p, off))^h^k.a, *(*uint64)(unsafe.Add(p, off+rowWord))^k.b)
	}
	if words&1 != 0 {
		h = fold(*(*uint64)(unsafe.Add(p, off))^h^k.a, k.b)
	}
	return h
}

// printValues is the fingerprint of n values in a row.
func (e *engine) printValues(x *printer, k printKeys, p unsafe.Pointer, n int) uint64 {
	if x.flat {
		return e.hashBody(flatMemory(p, uintptr(n)*x.size))
	}
	h := k.start ^ uint64(n)
	for i := range n {
		h = x.value(k, h, unsafe.Add(p, uintptr(i)*x.size))
	}
	return h
}

// printMap is the fingerprint of the map whose header is at p: its slots as they
// lie. It reports false if the map cannot be read as memory now.
func (e *engine) printMap(x *printer, k printKeys, p unsafe.Pointer) (uint64, bool) {
	m := (*goMap)(p)
	h, n := k.start^m.used, uint64(0)
	if m.dirLen == 0 && m.dir != nil && m.writing == 0 && m.used > 0 {
		g := groupAt(m.dir)
		return x.group(k, h, g), uint64(bits.OnesCount64(g.full)) == m.used
	}
	ok := x.layout.eachGroup(m, func(g mapGroup) {
		n += uint64(bits.OnesCount64(g.full))
		h = x.group(k, h, g)
	})
	return h, ok && n == m.used
}

// group continues h with the slots in use of a group of a map.
func (x *printer) group(k printKeys, h uint64, g mapGroup) uint64 {
	for g.full != 0 {
		var at unsafe.Pointer
		at, g = g.next(x.layout.size)
		if x.slot > 0 {
			h = rowPrint(k, h, at, x.slot)
			continue
		}
		h = x.key.value(k, h, at)
		h = x.elem.value(k, h, unsafe.Add(at, x.layout.elem))
	}
	return h
}
