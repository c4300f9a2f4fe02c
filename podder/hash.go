package podder

import (
	"encoding/binary"
	"unsafe"

	"github.com/zeebo/xxh3"

	"github.com/poddb/poddb/internal/pod"
)

// hash128 is a keyed hash of stored bytes. It never leaves the process.
type hash128 struct{ hi, lo uint64 }

// hashSlot hashes the contents of a slot. Arrays and strings are hashed in two
// parts, what is encoded (of an array its header) and what may be hashed where
// it lies in memory.
func (e *engine) hashSlot(kind pod.Kind, typ pod.TypeID, head, body []byte) hash128 {
	h := xxh3.Hash128Seed(head, e.seed)
	if kind == pod.SlotArray || kind == pod.SlotString {
		g := e.hashBody(body)
		var b [32]byte
		binary.LittleEndian.PutUint64(b[0:], h.Hi)
		binary.LittleEndian.PutUint64(b[8:], h.Lo)
		binary.LittleEndian.PutUint64(b[16:], g.Hi)
		binary.LittleEndian.PutUint64(b[24:], g.Lo)
		h = xxh3.Hash128Seed(b[:], e.seed)
	}
	is := uint64(kind)<<32 | uint64(typ)
	return hash128{h.Hi + is*0x9E3779B97F4A7C15, h.Lo ^ is*0xC2B2AE3D27D4EB4F}
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
