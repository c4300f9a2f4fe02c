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

// hashKey orders map entries: XXH3 with a seed. Most keys are short, and those need no call.
func (e *engine) hashKey(key []byte) uint64 {
	n := len(key)
	switch {
	case n > 16 || n < 4:
		return xxh3.HashSeed(key, e.seed)
	case n > 8:
		return xxh3Of16(binary.LittleEndian.Uint64(key)^(xxh3Low+e.seed), binary.LittleEndian.Uint64(key[n-8:])^(xxh3High-e.seed), n)
	}
	return xxh3Of8(binary.LittleEndian.Uint32(key), binary.LittleEndian.Uint32(key[n-4:]), xxh3Few-xxh3Seed(e.seed), n)
}

// hashShortKeys fills in the hashes of entries whose keys lie in buf as short strings. It is
// hashKey for each, without calls and with the bounds left out: the entries are those that were
// just written there.
func (e *engine) hashShortKeys(buf []byte, list []plainEntry) {
	low, high, few := xxh3Low+e.seed, xxh3High-e.seed, xxh3Few-xxh3Seed(e.seed)
	begin := unsafe.Pointer(unsafe.SliceData(buf))
	for i := range list {
		x := &list[i]
		key := unsafe.Add(begin, x.from)
		n := 1 + int(*(*byte)(key)>>1)
		switch {
		case n > 16 || n < 3:
			e.hashOtherKeys(buf, list[i:])
			return
		case n > 8:
			x.hash = xxh3Of16(wordAt(key)^low, wordAt(unsafe.Add(key, n-8))^high, n)
		case n > 3:
			x.hash = xxh3Of8(halfAt(key), halfAt(unsafe.Add(key, n-4)), few, n)
		default:
			k := uint64(*(*byte)(key))<<16 | uint64(*(*byte)(unsafe.Add(key, 1)))<<24 | uint64(*(*byte)(unsafe.Add(key, 2))) | 3<<8
			k ^= xxh3Three + e.seed
			k = (k ^ k>>33) * 0xC2B2AE3D27D4EB4F
			k = (k ^ k>>29) * 0x165667B19E3779F9
			x.hash = k ^ k>>32
		}
	}
}

// xxh3Of16 is XXH3 of n bytes, 9 to 16: of their first word and of their last one, both keyed.
func xxh3Of16(lo, hi uint64, n int) uint64 {
	h, l := bits.Mul64(lo, hi)
	k := uint64(n) + bits.ReverseBytes64(lo) + hi + (h ^ l)
	k = (k ^ k>>37) * 0x165667919E3779F9
	return k ^ k>>32
}

// xxh3Of8 is XXH3 of n bytes, 4 to 8: of their first half word and of their last one, with a key.
func xxh3Of8(first, last uint32, key uint64, n int) uint64 {
	k := (uint64(last) | uint64(first)<<32) ^ key
	k = (k ^ bits.RotateLeft64(k, 49) ^ bits.RotateLeft64(k, 24)) * 0x9FB21C651E98DF25
	k = (k ^ (k>>35 + uint64(n))) * 0x9FB21C651E98DF25
	return k ^ k>>28
}

// xxh3Seed is the seed of xxh3Of8.
func xxh3Seed(seed uint64) uint64 { return seed ^ uint64(bits.ReverseBytes32(uint32(seed)))<<32 }

// hashOtherKeys is hashShortKeys for keys of any length.
func (e *engine) hashOtherKeys(buf []byte, list []plainEntry) {
	for i := range list {
		x := &list[i]
		x.hash = e.hashKey(buf[x.from : x.from+1+uint32(buf[x.from]>>1)])
	}
}

// wordAt reads 8 bytes.
func wordAt(p unsafe.Pointer) uint64 {
	return binary.LittleEndian.Uint64((*[8]byte)(p)[:])
}

// halfAt reads 4 bytes.
func halfAt(p unsafe.Pointer) uint32 {
	return binary.LittleEndian.Uint32((*[4]byte)(p)[:])
}

// The words of XXH3's default secret, two and two, that key the hashes of up to 16 bytes.
const (
	xxh3Three = 0xBE4BA423 ^ 0x396CFEB8
	xxh3Few   = 0x1CAD21F72C81017C ^ 0xDB979083E96DD4DE
	xxh3Low   = 0x1F67B3B7A4A44072 ^ 0x78E5C0CC4EE679CB
	xxh3High  = 0x2172FFCC7DD05A82 ^ 0x8E2443F7744608B8
)

// memory views n bytes of one region. It is used only for bytes that are all
// masked in: numbers and string data.
func memory(p unsafe.Pointer, n int) []byte {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*byte)(p), n)
}
