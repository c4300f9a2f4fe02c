package podder

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unsafe"
)

// A string that a program keeps from a load must not keep more than its slab.
func TestStringSlabsAreSmall(t *testing.T) {
	var s stringSlab
	total := 0
	for i := range 10_000 {
		b := bytes.Repeat([]byte{byte(i)}, i%400)
		text := s.copyOf(b)
		if text != string(b) {
			t.Fatalf("copy of %d bytes differs", len(b))
		}
		if len(b) <= slabString && len(b) > 0 {
			total += len(b)
		}
		if len(s.slab) > maxSlab || len(s.slab) > max(firstSlab, slabString, 3*total) {
			t.Fatalf("slab of %d bytes after %d bytes of strings", len(s.slab), total)
		}
	}
}

// usedSlab is a slab of a load that has made many strings.
func usedSlab() *stringSlab {
	var s stringSlab
	for s.recent == nil {
		s.copyOf(make([]byte, slabString))
	}
	return &s
}

// The shortest strings are remembered, and none is taken for another one.
func TestShortStringsAreMadeOnce(t *testing.T) {
	s := usedSlab()
	rng := rand.New(rand.NewPCG(1, 2))
	shared := 0
	made := map[string]*byte{}
	for range 100_000 {
		b := make([]byte, rng.IntN(wordString+3))
		for i := range b {
			b[i] = "ab"[rng.IntN(2)] * byte(rng.IntN(8)/7+1) // mostly the same few
		}
		text := s.copyOf(b)
		if text != string(b) {
			t.Fatalf("copy of %q is %q", b, text)
		}
		if made[text] == unsafe.StringData(text) && len(text) > 0 {
			shared++
		}
		made[text] = unsafe.StringData(text)
	}
	if shared < 5_000 {
		t.Errorf("only %d of 100,000 were remembered", shared)
	}
}

// A string that is taken back is not remembered.
func TestATakenBackStringIsForgotten(t *testing.T) {
	for _, text := range []string{"key-a", "key-abcd", "key-abcde", "a longer key"} {
		s := usedSlab()
		before := *s
		s.takeBack(before, s.copyOf([]byte(text)))
		other := s.copyOf(bytes.Repeat([]byte{'z'}, len(text)))
		if again := s.copyOf([]byte(text)); again != text || other == text {
			t.Errorf("%q is %q now", text, again)
		}
		before = *s
		used := s.used
		if s.takeBack(before, s.copyOf([]byte("long enough to be taken back"))); s.used != used {
			t.Errorf("%d bytes are used, %d before", s.used, used)
		}
	}
}
