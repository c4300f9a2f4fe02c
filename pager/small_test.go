package pager

import (
	"context"
	"fmt"
	"testing"
)

// What a checkpoint holds beside its records and pages, the reserve and the rest
// of its last run, is not what the file ends with.
func TestASmallFileIsShortAfterClose(t *testing.T) {
	ctx := context.Background()
	fs := newFS(t)
	must(t, fs.MkdirAll("dir"))
	o := Options{FS: fs, Path: "dir/small.pod", Rand: seeded(t, 5).Uint64}
	p := mustOpen(t, o)
	must(t, p.Reserve(1<<20))
	for i := range 20 {
		b, err := p.Begin()
		must(t, err)
		for k := range 4 {
			if _, err := b.Record(make([]byte, 3000)); err != nil {
				t.Fatal(err)
			}
			must(t, b.Put(fmt.Appendf(nil, "key %d %d", i, k), make([]byte, 40)))
		}
		must(t, b.Commit(ctx, 0, i == 19))
	}
	used := p.Stats()
	must(t, p.Close(true))
	info, err := fs.Stat(o.Path)
	must(t, err)
	// The pages in use, and as many as one checkpoint writes and frees again.
	if most := int64(used.TreePages+used.RecordPages+2+8) * DefaultPageSize; info.Size > most {
		t.Fatalf("%d bytes for %d pages in use", info.Size, used.TreePages+used.RecordPages)
	}
}
