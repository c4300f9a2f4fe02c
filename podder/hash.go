package podder

import (
	"encoding/binary"
	"math/bits"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// hash128 is a keyed hash of stored bytes that finds equal ones. It never leaves
// the process.
type hash128 struct{ hi, lo uint64 }

// slotHash is a keyed hash by which the contents of a slot are compared with what
// the same slot had before, and with nothing else. It never leaves the process.
type slotHash uint64

// hashSlot hashes the contents of a slot. Arrays and strings are hashed in two
// parts, what is encoded (of an array its header) and what may be hashed where
// it lies in memory.
func (e *engine) hashSlot(kind pod.Kind, typ pod.TypeID, head, body []byte) slotHash {
	h := hashPart(head, e.hashSeed(kind, typ))
	if kind == pod.SlotArray || kind == pod.SlotString {
		if len(body) > shortPart {
			h = bits.RotateLeft64(h, 29) ^ e.hashBody(body)
		} else {
			h = hashPart(body, h)
		}
	}
	return slotHash(h)
}

// hashSeed is what the hash of a slot begins with.
func (e *engine) hashSeed(kind pod.Kind, typ pod.TypeID) uint64 {
	return e.seed ^ (uint64(kind)<<32|uint64(typ))*0x9E3779B97F4A7C15
}

// shortPart is the length up to which hashPart needs no call: most slots, and heads
// of arrays, are that short.
const shortPart = 64

// hashPart hashes bytes that the encoder made, or a few of the program's own: in steps
// of 16 bytes, each a multiplication folded, and a last one that overlaps, as in Wang
// Yi's wyhash.
func hashPart(b []byte, seed uint64) uint64 {
	n := len(b)
	if n > shortPart {
		return xxh3.HashSeed(b, seed)
	}
	var lo, hi uint64
	switch {
	case n > 16:
		last := b[n-16:]
		lo, hi = binary.LittleEndian.Uint64(last), binary.LittleEndian.Uint64(last[8:])
		for ; len(b) > 16; b = b[16:] {
			// Both factors are keyed: one that is known could be made 0, and the other lost.
			h, l := bits.Mul64(binary.LittleEndian.Uint64(b)^(seed+0x9E3779B97F4A7C15), binary.LittleEndian.Uint64(b[8:])^seed)
			seed = h ^ l
		}
	case n >= 8:
		lo, hi = binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[n-8:])
	case n >= 4:
		lo, hi = uint64(binary.LittleEndian.Uint32(b)), uint64(binary.LittleEndian.Uint32(b[n-4:]))
	case n > 0:
		lo = uint64(b[0]) | uint64(b[n/2])<<8 | uint64(b[n-1])<<16
	}
	hi, lo = bits.Mul64(lo^seed^0xA0761D6478BD642F, hi^(seed+uint64(n))^0xE7037ED1A0B428DB)
	hi, lo = bits.Mul64(lo^seed^0x8EBC6AF09C88C6E3, hi^uint64(n)^0x589965CC75374CC3)
	return hi ^ lo
}

// hashKey orders map entries.
func (e *engine) hashKey(key []byte) uint64 { return xxh3.HashSeed(key, e.seed) }

// memory views n bytes of one region. It is used only for bytes that are all
// masked in: numbers and string data.
func memory(p unsafe.Pointer, n int) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}
