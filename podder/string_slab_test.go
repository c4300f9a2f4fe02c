package podder

import (
	"bytes"
	"testing"
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
		if s.size > maxSlab || s.size > max(firstSlab, slabString, 3*total) {
			t.Fatalf("slab of %d bytes after %d bytes of strings", s.size, total)
		}
	}
}
