package offheap

import (
	"testing"
	"unsafe"
)

// What is handed out is zeroed, aligned and nobody else's, also after a release.
func TestMemoryIsZeroedAndApart(t *testing.T) {
	var a Arena
	for range 3 {
		type piece struct {
			b    []byte
			mark byte
		}
		var pieces []piece
		for k, n := range []int{1, 63, 64, 65, 4096, 3 << 20, 5 << 20, 0, 1 << 20, 100 << 20, 7} {
			p := a.Alloc(n)
			if uintptr(p)%alignment != 0 {
				t.Fatalf("%d bytes at %x", n, p)
			}
			b := unsafe.Slice((*byte)(p), n)
			for i := range b {
				if b[i] != 0 {
					t.Fatalf("byte %d of %d is %d", i, n, b[i])
				}
				b[i] = byte(k + 1)
			}
			pieces = append(pieces, piece{b, byte(k + 1)})
		}
		for _, p := range pieces {
			for i := range p.b {
				if p.b[i] != p.mark {
					t.Fatalf("byte %d of piece %d was overwritten by %d", i, p.mark, p.b[i])
				}
			}
		}
		a.Release()
	}
}
