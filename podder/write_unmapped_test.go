//go:build unix

package podder

import (
	"context"
	"errors"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/poddb/poddb/internal/dberr"
)

func TestUnmappedMemoryIsAnErrorWithThePath(t *testing.T) {
	page, err := unix.Mmap(-1, 0, 1<<16, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	x := &struct {
		Name string
		Deep *struct{ Data []byte }
		Leaf *leaf
	}{Deep: &struct{ Data []byte }{page}, Leaf: (*leaf)(unsafe.Pointer(&page[4096]))}
	g := mustGraph(t, Config{})
	if _, err := g.Save(context.Background(), rootsOf("x", &x.Deep), newNullSink()); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mprotect(page, unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	for _, v := range []any{&x.Deep, &x.Leaf} {
		if _, err = g.Save(context.Background(), rootsOf("x", v), newNullSink()); !errors.Is(err, dberr.ErrMemoryFault) {
			t.Fatalf("reading what cannot be read: %v", err)
		}
		t.Log(err)
	}
	if debug.SetPanicOnFault(false) {
		t.Error("Save left the goroutine panicking on faults")
	}
}
