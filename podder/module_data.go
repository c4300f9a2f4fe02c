package podder

import (
	"fmt"
	"math/bits"
	"reflect"
	"strings"

	"github.com/poddb/poddb/internal/pod"
)

// An object that is a package's variable, or that one was initialised with, is
// known to the program by its address: what compares with it, or goes on to use it
// by its name, finds another object after a load, unless it is registered
// (sentinel.go). The first save that meets such an object says so.
//
// Go does not tell which addresses are module data. Compilers reach it relative to
// code, so on machines of 64 bits it all lies within 2 GiB, while the heap begins
// far from there. Should a heap lie near, nothing is said: a warning may be missing,
// and memory that C allocated may be taken for module data, but no heap object.

// moduleReach is how far from code package variables are looked for.
const moduleReach = 1 << 30

// addressRange is [low, low+span).
type addressRange struct{ low, span uintptr }

func (a addressRange) has(p uintptr) bool { return p-a.low < a.span }

// moduleData returns where package variables lie, nothing if that cannot be told.
func moduleData() addressRange {
	if bits.UintSize < 64 {
		return addressRange{}
	}
	mark := reflect.ValueOf(moduleData).Pointer() // of code
	low := mark - min(mark, moduleReach)
	return withoutHeap(addressRange{low, mark + moduleReach - low}, reflect.ValueOf(new([64]byte)).Pointer())
}

// withoutHeap is a if an object of the heap does not lie in it.
func withoutHeap(a addressRange, object uintptr) addressRange {
	if a.has(object) {
		return addressRange{}
	}
	return a
}

// warnModuleData names the objects of packages that the save is the first to meet.
func (g *Graph) warnModuleData(w *walk) {
	if g.cfg.Warn == nil {
		return
	}
	var found []int32
	n, data := 0, moduleData()
	for i := w.added; i < w.st.regions.len(); i++ {
		r := w.st.regions.at(i)
		if !data.has(uintptr(r.addr)) || r.flags&flagSticky != 0 || r.kind != pod.SlotObject && r.kind != pod.SlotArray || r.plan.sentinel != nil {
			continue
		}
		if n++; n <= maxWarned {
			found = append(found, i)
		}
	}
	if n == 0 {
		return
	}
	f := newPathFinder(w)
	for _, i := range found {
		f.want(i)
	}
	paths := make([]string, len(found))
	for k, i := range found {
		paths[k] = fmt.Sprintf("%s (%v)", f.pathTo(i), w.st.regions.at(i).plan.typ)
	}
	w.pin() // that is code of the program
	g.cfg.Warn(w.ctx, fmt.Sprintf("%d objects belong to a package of the program, and will be objects of their own after a load: %s; "+
		"to load them as the program's, register each: db.Value(name, pointer) in Options.Types", n, strings.Join(paths, ", ")))
}
