package mvcc

import (
	"bytes"
	"math/bits"
	"sync/atomic"
)

// newestIndex finds the node with the newest version of a pod on a line, which is
// the first one with that prefix in key order, without a search. It is a hash
// table with linear probing, for the overlay's one writer and any number of
// readers without a lock.
//
//  1. A slot is filled once; then only its node is swapped, for a newer version
//     of the same pod on the same line. Nothing is ever taken out.
//  2. A table that is three quarters full is copied to one twice as large, and
//     the pointer to it swapped. Whoever still reads the old one sees the state
//     at the swap at least.
//  3. A node is in the overlay before it is in the table, and readers ask for
//     nothing that was put after they began: what they do not find is not there
//     for them.
type newestIndex struct {
	slots atomic.Pointer[[]atomic.Pointer[onode]]
	used  int // the writer's
}

const (
	newestStart = 64 // slots; a power of two
	prefixLen   = versionKeyLen - 8
)

func hashPrefix(key []byte) uint64 {
	hi, lo := bits.Mul64(be.Uint64(key[1:])^0x9e3779b97f4a7c15, uint64(be.Uint32(key[9:]))<<1^0xd6e8feb86659fd93)
	return hi ^ lo
}

// slot returns the slot of the prefix of key: with its node, or empty.
func newestSlot(slots []atomic.Pointer[onode], key []byte) (*atomic.Pointer[onode], *onode) {
	mask := uint64(len(slots) - 1)
	for i := hashPrefix(key) & mask; ; i = (i + 1) & mask {
		n := slots[i].Load()
		if n == nil || bytes.Equal(n.key[:prefixLen], key[:prefixLen]) {
			return &slots[i], n
		}
	}
}

// get returns the newest version of the pod and line of a version key, nil if
// there is none.
func (x *newestIndex) get(key []byte) *onode {
	slots := x.slots.Load()
	if slots == nil {
		return nil
	}
	_, n := newestSlot(*slots, key)
	return n
}

// put notes a node that is in the overlay.
func (x *newestIndex) put(n *onode) {
	if slots := x.slots.Load(); slots == nil || x.used*4 >= len(*slots)*3 {
		x.grow()
	}
	at, old := newestSlot(*x.slots.Load(), n.key)
	switch {
	case old == nil:
		x.used++
	case bytes.Compare(old.key, n.key) <= 0:
		return
	}
	at.Store(n)
}

func (x *newestIndex) grow() {
	var old []atomic.Pointer[onode]
	size := newestStart
	if slots := x.slots.Load(); slots != nil {
		old, size = *slots, 2*len(*slots)
	}
	slots := make([]atomic.Pointer[onode], size)
	for i := range old {
		if n := old[i].Load(); n != nil {
			at, _ := newestSlot(slots, n.key)
			at.Store(n)
		}
	}
	x.slots.Store(&slots)
}
