package podder

import (
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
	h := xxh3.HashSeed(head, e.seed)
	if kind == pod.SlotArray || kind == pod.SlotString {
		h = bits.RotateLeft64(h*0x9FB21C651E98DF25, 29) ^ e.hashBody(body)
	}
	return slotHash(h ^ (uint64(kind)<<32|uint64(typ))*0x9E3779B97F4A7C15)
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
