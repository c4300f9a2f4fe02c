package podder

import (
	"unsafe"

	"github.com/poddb/poddb/internal/prefetch"
)

const (
	targetsAhead = 4 // slots
	mostTargets  = 8
)

// fetchTargets has fetched what slot s of a pod refers to: regions that lie anywhere in a graph in
// which references lead far.
func (e *encoder) fetchTargets(ps *podState, s int) {
	if s >= len(ps.slots) || ps.slots[s].region < 0 {
		return
	}
	r := e.st.regions.at(ps.slots[s].region)
	var at [mostTargets]uintptr
	n := min(int(r.edgeEnd-r.edge), mostTargets)
	for k := range n {
		at[k] = uintptr(unsafe.Pointer(e.st.regions.at(*e.edges.at(int32(r.edge) + int32(k)))))
	}
	prefetch.Lines(at[:n])
}
