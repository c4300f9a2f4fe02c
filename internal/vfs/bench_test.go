package vfs

import (
	"fmt"
	"testing"
)

// BenchmarkCrashImage is the cost of one image of a database in use: 16 MiB of
// durable bytes, 64 unsynced pages.
func BenchmarkCrashImage(b *testing.B) {
	mem := NewMem()
	for i := range 4 {
		file := open(b, mem, fmt.Sprintf("file%d", i), ReadWrite|Create)
		write(b, file, 0, string(tagged(i, 4<<20)))
		must(b, file.Sync())
		for page := range int64(16) {
			write(b, file, page*8192*5, string(tagged(i, 8192)))
		}
	}
	must(b, mem.SyncDir(""))
	for seed := uint64(0); b.Loop(); seed++ {
		mem.Crash(CrashMix, seed)
	}
}

// BenchmarkMemAppend is a page written and synced.
func BenchmarkMemAppend(b *testing.B) {
	mem := NewMem()
	file := open(b, mem, "file", ReadWrite|Create)
	page := string(tagged(1, 8192))
	b.SetBytes(8192)
	for i := int64(0); b.Loop(); i++ {
		write(b, file, i%1024*8192, page)
		must(b, file.SyncData())
	}
}
