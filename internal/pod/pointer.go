package pod

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
)

// Target says what a Pointer points to.
type Target uint8

const (
	ToNil      Target = iota // nothing
	ToZeroSize               // a value without size and so without a place
	ToLocal                  // slot Number of the same pod
	ToExternal               // what reference Number of the same pod names
)

// Pointer is a pointer code, the only way slot bytes refer to other slots. It
// never holds an id: only a number of its own pod.
//
// Encoded it is one uvarint x: 0 nil, 1 zero-size, else x-2 = number<<2 |
// interior<<1 | external. If interior, uvarint Index, uvarint number of steps,
// and one uvarint a step follow. A pointer is interior exactly if Index is not
// 0 or there are steps, so each one has a single encoding.
type Pointer struct {
	To     Target
	Number uint32
	// Index is the absolute index of an element of the target container; 0
	// if the target is none.
	Index uint64
	// Steps lead from that element, or from the target's value, to the part
	// pointed to: a field id of a struct, an index of an array.
	Steps []uint64
}

// AppendPointer appends the code of p to dst.
func AppendPointer(dst []byte, p Pointer) []byte {
	if p.To < ToLocal {
		return append(dst, byte(p.To))
	}
	x := uint64(p.Number)<<2 + 2
	if p.To == ToExternal {
		x++
	}
	if p.Index == 0 && len(p.Steps) == 0 {
		return binary.AppendUvarint(dst, x)
	}
	dst = binary.AppendUvarint(dst, x+2)
	dst = binary.AppendUvarint(dst, p.Index)
	dst = binary.AppendUvarint(dst, uint64(len(p.Steps)))
	for _, s := range p.Steps {
		dst = binary.AppendUvarint(dst, s)
	}
	return dst
}

// ReadPointer reads one pointer code. After an error, which is in r, it is the
// zero Pointer.
func ReadPointer(r *binenc.Reader) Pointer {
	var p Pointer
	p.Read(r)
	return p
}

// Read is ReadPointer into p, reusing the memory of its Steps.
func (p *Pointer) Read(r *binenc.Reader) {
	*p = Pointer{Steps: p.Steps[:0]}
	x := r.Uvarint()
	if x < 2 {
		p.To = Target(x)
		return
	}
	y := x - 2
	if y>>2 > 1<<32-1 {
		r.Fail("pointer to number %d, beyond 32 bits", y>>2)
		return
	}
	to := ToLocal + Target(y&1)
	if y&2 != 0 && !p.readInterior(r) {
		return
	}
	p.To, p.Number = to, uint32(y>>2)
}

func (p *Pointer) readInterior(r *binenc.Reader) bool {
	index := r.Uvarint()
	n := r.Count(1)
	for range n {
		p.Steps = append(p.Steps, r.Uvarint())
	}
	if r.Err() == nil && index == 0 && n == 0 {
		r.Fail("interior pointer that is not interior")
	}
	if r.Err() != nil {
		p.Steps = p.Steps[:0]
		return false
	}
	p.Index = index
	return true
}
