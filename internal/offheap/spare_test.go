package offheap

import (
	"testing"
	"time"
)

// What was given back is kept up to a bound, handed out where it fits, and goes
// back to the system when nothing was given back for a time.
func TestMemoryGivenBackIsKeptForAWhile(t *testing.T) {
	const size = 1 << 20
	var set time.Duration
	var drop func()
	s := spares{most: 3 * size, warm: size, idle: time.Hour, after: func(d time.Duration, fn func()) *time.Timer {
		set, drop = d, fn
		return time.NewTimer(d)
	}}
	for _, n := range []int{size, 2 * size, size} {
		m, ok := mapMemory(n)
		if !ok {
			return // there is none to keep
		}
		s.put(m)
	}
	if s.bytes != 3*size || len(s.maps) != 2 {
		t.Fatalf("%d bytes in %d maps are kept, of 3 and 1 MiB more", s.bytes, len(s.maps))
	}
	if s.maps[0].lent || !s.maps[1].lent || s.kept != size {
		t.Fatalf("%d bytes are not lent, of 1 MiB that may be: %v, %v", s.kept, s.maps[0].lent, s.maps[1].lent)
	}
	if m := s.take(2*size + 1); m != nil {
		t.Fatalf("a map of %d bytes for more than 2 MiB", len(m))
	}
	if m := s.take(100); m != nil {
		t.Fatalf("a map of %d bytes for 100", len(m))
	}
	m := s.take(size - 1)
	if len(m) != size || s.bytes != 2*size || s.kept != 0 {
		t.Fatalf("a map of %d bytes, %d are kept, %d not lent; wanted the smallest that fits", len(m), s.bytes, s.kept)
	}
	s.put(m)
	if s.kept != size {
		t.Fatalf("%d bytes are not lent, of one map that need not be", s.kept)
	}
	if set != time.Hour {
		t.Fatalf("it is kept for %v", set)
	}
	drop()
	if s.bytes != 0 || s.kept != 0 || len(s.maps) != 0 {
		t.Fatalf("%d bytes in %d maps are kept for ever", s.bytes, len(s.maps))
	}
}

// Memory that is used again holds zeros, whatever was left in it.
func TestMemoryUsedAgainHoldsZeros(t *testing.T) {
	var a Arena
	for round := range 3 {
		p := (*[2 * leastMap]byte)(a.Alloc(2 * leastMap))
		for i, x := range p {
			if x != 0 {
				t.Fatalf("round %d: byte %d is %d", round, i, x)
			}
			p[i] = 0xA5
		}
		a.Release()
	}
}

// Who asks for the same again gets the same in the same order: the last of several of one size
// is mostly used in part only, and the system has not given the rest of it yet.
func TestMemoryComesBackInOrder(t *testing.T) {
	const size = 1 << 20
	s := spares{most: 100 * size, idle: time.Hour, after: func(time.Duration, func()) *time.Timer { return time.NewTimer(time.Hour) }}
	var given []*byte
	for range 3 {
		m, ok := mapMemory(size)
		if !ok {
			return
		}
		given = append(given, &m[0])
		s.put(m)
	}
	for round := range 3 {
		var taken [][]byte
		for i, want := range given {
			m := s.take(size)
			if &m[0] != want {
				t.Fatalf("round %d: what came as number %d is another map than before", round, i)
			}
			taken = append(taken, m)
		}
		for _, m := range taken {
			s.put(m)
		}
	}
	s.drop()
}
