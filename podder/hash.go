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
	var b [37]byte
	b[0] = byte(kind)
	binary.LittleEndian.PutUint32(b[1:], uint32(typ))
	h := xxh3.Hash128Seed(head, e.seed)
	binary.LittleEndian.PutUint64(b[5:], h.Hi)
	binary.LittleEndian.PutUint64(b[13:], h.Lo)
	if kind == pod.SlotArray || kind == pod.SlotString {
		h = e.hashBody(body)
		binary.LittleEndian.PutUint64(b[21:], h.Hi)
		binary.LittleEndian.PutUint64(b[29:], h.Lo)
	}
	h = xxh3.Hash128Seed(b[:], e.seed)
	return hash128{h.Hi, h.Lo}
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
