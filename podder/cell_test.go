package podder

import (
	"context"
	"reflect"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"weak"
)

type tCells struct {
	A, B  atomic.Pointer[wNode]
	Self  atomic.Pointer[tCells]
	Plain *wNode
	Part  atomic.Pointer[string] // into Plain
	Empty atomic.Pointer[struct{}]
	In    any
	W     weak.Pointer[wNode]
	WPart weak.Pointer[string]
	WSelf weak.Pointer[tCells]
	WNone weak.Pointer[wNode]
	Lost  weak.Pointer[wNode] // to what only weak pointers lead to
	Map   map[weak.Pointer[wNode]]int
	List  []weak.Pointer[wNode]
}

func newCells() (x *tCells, lost *wNode) {
	n := &wNode{Name: "node"}
	lost = &wNode{Name: "lost"}
	x = &tCells{Plain: n, W: weak.Make(n), WPart: weak.Make(&n.Name), Lost: weak.Make(lost), In: weak.Make(n)}
	x.A.Store(n)
	x.Self.Store(x)
	x.Part.Store(&n.Name)
	x.Empty.Store(&struct{}{})
	x.WSelf = weak.Make(x)
	x.Map = map[weak.Pointer[wNode]]int{weak.Make(n): 1}
	x.List = []weak.Pointer[wNode]{weak.Make(n), weak.Make(lost), {}}
	return x, lost
}

func TestAtomicAndWeakPointersKeepIdentity(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[weak.Pointer[wNode]](), ""); err != nil {
		t.Fatal(err)
	}
	x, lost := newCells()
	g := mustGraph(t, cfg)
	mustSave(t, g, s, "x", x)
	mustStayQuiet(t, g, s, "x", x)
	_, vs := reload(t, s, cfg, "x", x)
	got := vs[0].Interface().(*tCells)
	n := got.Plain
	if got.A.Load() != n || got.B.Load() != nil || got.Self.Load() != got || got.Part.Load() != &n.Name || got.Empty.Load() == nil {
		t.Error("atomic pointers lead elsewhere")
	}
	if got.W != weak.Make(n) || got.WPart != weak.Make(&n.Name) || got.WSelf.Value() != got || got.WNone.Value() != nil || got.In != any(weak.Make(n)) {
		t.Error("weak pointers lead elsewhere")
	}
	if got.Map[weak.Make(n)] != 1 || got.List[0].Value() != n {
		t.Error("weak pointers in containers lead elsewhere")
	}
	if got.Lost.Value() != nil || got.List[1].Value() != nil || x.Lost.Value() != lost {
		t.Error("a weak pointer kept its target in the database")
	}
	for _, p := range s.pods {
		for _, d := range p.Slots {
			if strings.Contains(string(d.Bytes), "lost") {
				t.Error("the target of a weak pointer was stored")
			}
		}
	}
	runtime.KeepAlive(lost)
}

// What a variable that is not loaded may hold stays with the weak pointer that leads
// to it.
func TestAWeakPointerToWhatIsNotLoadedIsKept(t *testing.T) {
	type holder struct {
		N    int
		W    weak.Pointer[wNode]
		Part weak.Pointer[string]
		List []weak.Pointer[wNode]
	}
	s := newFakeStore()
	n := &wNode{Name: "n"}
	x := &holder{W: weak.Make(n), Part: weak.Make(&n.Name), List: []weak.Pointer[wNode]{weak.Make(n)}}
	mustSave(t, mustGraph(t, s.config()), s, "x", x, "y", n)
	g := mustGraph(t, s.config())
	vs, err := g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	g.Others(true)
	alone := vs[0].Interface().(*holder)
	mustStayQuiet(t, g, s, "x", alone)
	alone.N++
	mustSave(t, g, s, "x", alone)
	runtime.GC()
	mustStayQuiet(t, g, s, "x", alone)
	_, vs = reload(t, s, s.config(), "x", x, "y", n)
	both, to := vs[0].Interface().(*holder), vs[1].Interface().(*wNode)
	if both.N != 1 || both.W.Value() != to || both.Part.Value() != &to.Name || both.List[0].Value() != to {
		t.Error("weak pointers lead elsewhere")
	}
	g.Others(false) // the other one was deleted
	mustSave(t, g, s, "x", alone)
	if _, vs = reload(t, s, s.config(), "x", x); vs[0].Interface().(*holder).W.Value() != nil {
		t.Error("a weak pointer kept its target")
	}
	runtime.KeepAlive(n)
}

// When the last strong reference goes, what the weak ones store changes although
// they do not.
func TestAWeakPointerWhoseTargetWentIsStoredAsNil(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	type holder struct {
		W      weak.Pointer[wNode]
		Strong *wNode
	}
	n := &wNode{Name: "n"}
	x := &holder{W: weak.Make(n), Strong: n}
	mustSave(t, g, s, "x", x)
	x.Strong = nil
	mustSave(t, g, s, "x", x)
	_, vs := reload(t, s, s.config(), "x", x)
	if got := vs[0].Interface().(*holder); got.W.Value() != nil {
		t.Error("the weak pointer has a target")
	}
	x.Strong = n
	mustSave(t, g, s, "x", x)
	x.W, x.Strong = weak.Pointer[wNode]{}, nil
	if _, err := g.Restore(context.Background(), s, []string{"x"}, History{}); err != nil || x.Strong != n || x.W.Value() != n {
		t.Errorf("restored to %v, %v", x.Strong, err)
	}
}
