package podder

import (
	"fmt"
	"runtime"

	"github.com/poddb/poddb/internal/dberr"
)

// catchFault turns a fault of the memory that is being walked (unmapped, cut
// off below its mapping) into an error that names the path. The walk runs under
// debug.SetPanicOnFault, which makes such a fault a panic of this goroutine.
func (w *walk) catchFault(err *error) {
	v := recover()
	if v == nil {
		return
	}
	f, ok := v.(memoryFault)
	if !ok {
		panic(v)
	}
	*err = fmt.Errorf("%s at %#x: %w", w.faultPath(), f.Addr(), dberr.ErrMemoryFault)
}

// memoryFault is the panic of a fault under debug.SetPanicOnFault.
type memoryFault interface {
	runtime.Error
	Addr() uintptr
}

// faultPath names the region that is being read. Finding the way to it reads
// memory again, and may fail again.
func (w *walk) faultPath() (path string) {
	defer func() {
		if recover() != nil {
			path = "a variable"
			if w.root > 0 && w.root <= len(w.cells) {
				path = w.cells[w.root-1].name
			}
		}
	}()
	if w.current >= w.st.regions.len() {
		return "a variable"
	}
	f := newPathFinder(w)
	f.want(w.current)
	return f.path(problem{region: w.current})
}
