package prefetch

import (
	"testing"
	"unsafe"
)

// Addresses may be anything.
func TestLinesTakesAnyAddress(t *testing.T) {
	x := make([]byte, 100)
	at := uintptr(unsafe.Pointer(&x[0]))
	list := []uintptr{at, at + 99, at + 1<<30, 0, 1, ^uintptr(0), ^uintptr(0) >> 1}
	Lines(list)
	Lines(list[:1])
	Lines(nil)
	Pointers(unsafe.Pointer(&list[0]), 2*unsafe.Sizeof(list[0]), (len(list)+1)/2)
	Pointers(nil, 8, 0)
	for i, b := range x {
		if b != 0 {
			t.Fatalf("byte %d was written", i)
		}
	}
}

// Fields and addresses behind them may be anything, too, and what is behind may be missing.
func TestFieldsTakesAnyAddress(t *testing.T) {
	type object struct {
		n    int
		at   uintptr
		next *[2]uintptr
	}
	objects := []*object{{1, 1, nil}, {2, ^uintptr(0), &[2]uintptr{0, 1}}, {3, 1 << 63, &[2]uintptr{5, ^uintptr(63)}}}
	list := (*unsafe.Pointer)(unsafe.Pointer(&objects[0]))
	Fields(list, unsafe.Offsetof(object{}.at), len(objects))
	Behind(list, unsafe.Offsetof(object{}.next), unsafe.Sizeof(uintptr(0)), len(objects))
	Fields(nil, 0, 0)
	Behind(nil, 0, 0, 0)
	for i, o := range objects {
		if o.n != i+1 {
			t.Fatalf("object %d was written", i)
		}
	}
}

// What is fetched is there when it is read: a chase through pointers that lie anywhere,
// with and without.
func BenchmarkLines(b *testing.B) {
	const objects, together = 1 << 20, 16
	type object struct {
		n int
		_ [120]byte
	}
	list := make([]*object, objects)
	for i := range list {
		list[i] = &object{n: i}
	}
	for i := range list { // a step that is prime to the length
		k := i * 7919 % objects
		list[i], list[k] = list[k], list[i]
	}
	for _, with := range []bool{false, true} {
		name := "without"
		if with {
			name = "with"
		}
		b.Run(name, func(b *testing.B) {
			sum := 0
			var room [together]uintptr
			for b.Loop() {
				for i := 0; i+together <= len(list); i += together {
					if with {
						for k, p := range list[i : i+together] {
							room[k] = uintptr(unsafe.Pointer(p))
						}
						Lines(room[:])
					}
					for _, p := range list[i : i+together] {
						for range 32 { // work that hides loads from each other
							sum = sum*31 + p.n
						}
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/objects, "ns/object")
			if sum == 1 {
				b.Log(sum)
			}
		})
	}
}
