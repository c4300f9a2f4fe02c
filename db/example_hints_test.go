package db_test

import (
	"context"
	"fmt"
	"log"
	"sync"

	"github.com/poddb/poddb/db"
)

// frames are large buffers of a program that always knows which of them it writes.
type frames struct {
	All [][]float64

	mu     sync.Mutex
	moment uint64
	wrote  []uint64 // the moment that was the newest when a frame was written last
}

func newFrames(n, size int) *frames {
	f := &frames{wrote: make([]uint64, n)}
	for range n {
		f.All = append(f.All, make([]float64, size))
	}
	return f
}

// Write is the only way to write a frame.
func (f *frames) Write(frame int, x float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.All[frame][0] = x
	f.wrote[frame] = f.moment
}

// Moment and Unchanged make it a db.HintSource.
func (f *frames) Moment() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.moment++
	return f.moment
}

func (f *frames) Unchanged(list []db.MemoryRange, from, _ uint64, _ []db.MemoryRange) []db.MemoryRange {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, frame := range f.All {
		if f.wrote[i] < from { // else it was written at that moment or after it
			list = append(list, db.MemoryOf(frame))
		}
	}
	return list
}

// A program that knows what it writes has saves look at that alone.
func ExampleHintSource() {
	ctx := context.Background()
	f := newFrames(100, 10_000)
	d, err := db.OpenMemory(ctx, &db.Options{Hints: f, VerifyEvery: 1}) // which checks the hints
	if err != nil {
		log.Fatal(err)
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		log.Fatal(err)
	}
	if err := ns.Set(ctx, "frames", &f.All); err != nil {
		log.Fatal(err)
	}
	for i := range 4 {
		f.Write(i, 1)
		if _, err := ns.Save(ctx); err != nil {
			log.Fatal(err)
		}
		fmt.Println(ns.LastSave().Walked, ns.LastSave().Hinted)
	}
	// Output:
	// true 0
	// true 0
	// false 99
	// false 99
}
