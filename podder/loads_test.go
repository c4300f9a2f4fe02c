package podder

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"weak"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// varStore reads a fakeStore as package mvcc does: variables in one step, into spare
// memory if there is any, and pods are not taken back.
type varStore struct{ s *fakeStore }

func (v varStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	return v.s.Pods(ctx, ids)
}

func (v varStore) Type(ctx context.Context, id pod.TypeID) ([]byte, error) { return v.s.Type(ctx, id) }
func (v varStore) Root(ctx context.Context, name string) (pod.ID, error)   { return v.s.Root(ctx, name) }
func (v varStore) Secret() [32]byte                                        { return v.s.Secret() }

func (v varStore) Variable(ctx context.Context, name string, spare *pod.Pod) (pod.ID, *pod.Pod, error) {
	root, err := v.s.Root(ctx, name)
	if err != nil {
		return 0, nil, err
	}
	p := lent(v.s.pods[root])
	if spare == nil || p.BodyLen() > 2000 {
		return root, p, nil
	}
	return root, spare, spare.ReadWhole(pod.AppendWhole(nil, p))
}

// waitingLoader returns a loader that waits for a load of a type, nil if none does.
func waitingLoader(k *Loads, want reflect.Type) *loader {
	home, ok := k.waiting.Load(want)
	if !ok {
		return nil
	}
	l, _ := home.(*sync.Pool).Get().(*loader)
	return l
}

// A load with a loader that was used before gives what one with a new loader gives,
// whatever the one before has loaded, also one that failed.
func TestALoaderThatIsUsedAgainLoadsAsANewOne(t *testing.T) {
	ctx := t.Context()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.TargetBytes = rndRegistry(t), 600
	fresh := cfg
	cfg.Loads = new(Loads)
	want := reflect.TypeFor[*rnd]()
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 11))
		name := fmt.Sprint("v", seed)
		mustSave(t, mustGraph(t, fresh), s, name, newRndGraph(r, 1+r.IntN(12)).nodes[0])
		old := fmt.Sprint("v", r.Uint64N(seed+1))
		expected, err := Decode(ctx, fresh, s, []string{old}, []reflect.Type{want})
		if err != nil {
			t.Fatal(err)
		}
		for _, src := range []pod.Source{s, varStore{s}} {
			if _, err := DecodeOne(ctx, &cfg, src, old, reflect.TypeFor[*rndSmall]()); !errors.Is(err, dberr.ErrTypeMismatch) {
				t.Fatal(err)
			}
			if _, err := DecodeOne(ctx, &cfg, src, "none", want); !errors.Is(err, dberr.ErrNotFound) {
				t.Fatal(err)
			}
			got, err := DecodeOne(ctx, &cfg, src, old, want)
			if err != nil {
				t.Fatal(err)
			}
			if err := isomorphic(expected[0], got); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			g := mustGraph(t, cfg)
			vs, err := g.Load(ctx, src, []string{old}, []reflect.Type{want})
			if err != nil {
				t.Fatal(err)
			}
			if err := isomorphic(expected[0], vs[0]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			for _, other := range []string{name, "v0"} { // with the memory of the loader before
				if _, err := DecodeOne(ctx, &cfg, src, other, want); err != nil {
					t.Fatal(err)
				}
			}
			mustStayQuiet(t, g, s, old, vs[0].Interface())
		}
	}
}

// A loader that waits holds nothing of what it has loaded: every field but those
// that it keeps is empty, and those have no elements, not even beyond their length.
func TestALoaderThatWaitsHoldsNothing(t *testing.T) {
	kept := map[string]bool{"home": true, "age": true, "reg": true, "wanted": true, "types": true, "recent": true, "typed": true,
		"itabs": true, "nodes": true, "awaited": true, "idle": true, "spare": true}
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.TargetBytes, cfg.Loads = rndRegistry(t), 300, new(Loads)
	want := reflect.TypeFor[*rnd]()
	seen := 0
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 12))
		mustSave(t, mustGraph(t, cfg), s, "v", newRndGraph(r, 1+r.IntN(12)).nodes[0])
		if _, err := DecodeOne(t.Context(), &cfg, varStore{s}, "v", want); err != nil {
			t.Fatal(err)
		}
		l := waitingLoader(cfg.Loads, want)
		if l == nil {
			continue // the race detector has pools lose things
		}
		seen++
		v := reflect.ValueOf(l).Elem()
		for i := range v.NumField() {
			if name := v.Type().Field(i).Name; !kept[name] {
				mustBeEmpty(t, name, v.Field(i))
			}
		}
		mustBeEmpty(t, "idle.slots", reflect.ValueOf(l.idle.slots), true)
		mustBeEmpty(t, "idle.refs", reflect.ValueOf(l.idle.refs), true)
		for _, p := range l.idle.pods {
			mustBeEmpty(t, "idle pod", reflect.ValueOf(*p))
		}
		mustBeEmpty(t, "spare.Slots", reflect.ValueOf(l.spare.Slots[:0]))
		for _, st := range l.types {
			if st.filler != nil {
				t.Errorf("the filler of %v is kept", st.typ)
			}
		}
		cfg.Loads.waiting.Clear()
		l.home.Put(l)
	}
	if seen == 0 {
		t.Error("no loader waits")
	}
}

// mustBeEmpty fails if a value is neither zero nor a map or list without anything.
// Of lists of lists the inner ones are looked at.
func mustBeEmpty(t *testing.T, name string, v reflect.Value, inner ...bool) {
	t.Helper()
	switch {
	case len(inner) > 0:
		for i := range v.Len() {
			mustBeEmpty(t, name, v.Index(i))
		}
	case v.Kind() == reflect.Map && v.Len() == 0:
	case v.Kind() == reflect.Slice && v.Len() == 0:
		for i, all := 0, v.Slice(0, v.Cap()); i < all.Len(); i++ {
			if !all.Index(i).IsZero() && all.Index(i).Kind() != reflect.Uint64 {
				t.Errorf("%s has something beyond its end", name)
				return
			}
		}
	case !v.IsZero():
		t.Errorf("%s is kept", name)
	}
}

// What was loaded can be collected while the loader waits, also the entries of maps.
func TestALoaderThatWaitsKeepsNothingAlive(t *testing.T) {
	type big struct{ Data [1 << 16]byte }
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.Loads = NewRegistry(), new(Loads)
	want := reflect.TypeFor[map[string]*big]()
	mustSave(t, mustGraph(t, cfg), s, "m", map[string]*big{"x": {}, "y": {}, strings.Repeat("long", 900): {}})
	var l *loader
	var gone []weak.Pointer[big]
	for range 100 {
		v, err := DecodeOne(t.Context(), &cfg, varStore{s}, "m", want)
		if err != nil {
			t.Fatal(err)
		}
		gone = gone[:0]
		for _, b := range v.Interface().(map[string]*big) {
			gone = append(gone, weak.Make(b))
		}
		if l = waitingLoader(cfg.Loads, want); l != nil {
			break
		}
	}
	if l == nil {
		t.Fatal("no loader waits")
	}
	runtime.GC()
	runtime.GC()
	for _, w := range gone {
		if w.Value() != nil {
			t.Error("an object is alive that nobody has but the loader")
		}
	}
	runtime.KeepAlive(l)
}

// What is registered after a load counts for the next one.
func TestWhatIsRegisteredLaterCountsForLoadersThatWait(t *testing.T) {
	type before struct{ A int }
	type after struct{ B string }
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[before](), "it"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, mustGraph(t, cfg), s, "v", &before{7})
	now := s.config()
	now.Registry, now.Loads = NewRegistry(), new(Loads)
	if err := now.Registry.Register(reflect.TypeFor[after](), "it"); err != nil {
		t.Fatal(err)
	}
	load := func() *after {
		v, err := DecodeOne(t.Context(), &now, varStore{s}, "v", reflect.TypeFor[*after]())
		if err != nil {
			t.Fatal(err)
		}
		return v.Interface().(*after)
	}
	for range 20 { // the race detector has pools lose things
		if a := load(); a.B != "" {
			t.Fatalf("%+v", a)
		}
	}
	err := now.Registry.Migrate("it", reflect.TypeFor[before](), reflect.TypeFor[after](), func(old reflect.Value) (reflect.Value, error) {
		return reflect.ValueOf(after{fmt.Sprint(old.Interface().(*before).A)}), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if a := load(); a.B != "7" {
		t.Fatalf("loaded after a migration was registered: %+v", a)
	}
}

// The wanted type says which of several types of one name is meant.
func TestLoadersOfOneWantedTypeAreNotUsedForAnother(t *testing.T) {
	one, other := twoOfOneName()
	s := newFakeStore()
	for i, v := range []any{one, other} {
		mustSave(t, mustGraph(t, s.config()), s, fmt.Sprint("v", i), v)
	}
	cfg := s.config()
	cfg.Registry, cfg.Loads = NewRegistry(), new(Loads)
	for range 20 {
		for i, v := range []any{one, other} {
			got, err := DecodeOne(t.Context(), &cfg, varStore{s}, fmt.Sprint("v", i), reflect.TypeOf(v))
			if err != nil {
				t.Fatal(err)
			}
			if err := isomorphic(reflect.ValueOf(v), got); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// twoOfOneName returns objects that each have a value behind an interface, of types
// that have one name and the same fields.
func twoOfOneName() (any, any) {
	var one any
	{
		type twin struct{ X int }
		type holdsTwin struct {
			It  any
			Own twin
		}
		one = &holdsTwin{twin{1}, twin{2}}
	}
	type twin struct{ X int }
	type alsoHoldsTwin struct {
		It  any
		Own twin
	}
	return one, &alsoHoldsTwin{twin{3}, twin{4}}
}

// Many goroutines load at once, each what is its own.
func TestLoadersAreSharedByGoroutines(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.Loads = NewRegistry(), new(Loads)
	const n = 8
	for i := range n {
		mustSave(t, mustGraph(t, cfg), s, fmt.Sprint("v", i), &rnd{ID: i, M: map[string]*rnd{"it": {ID: i + 100}}, S: fmt.Sprint("text of ", i)})
	}
	var wg sync.WaitGroup
	for w := range n {
		wg.Go(func() {
			for k := range 300 {
				i := (w + k) % n
				v, err := DecodeOne(context.Background(), &cfg, varStore{s}, fmt.Sprint("v", i), reflect.TypeFor[*rnd]())
				if err != nil {
					t.Error(err)
					return
				}
				if x := v.Interface().(*rnd); x.ID != i || x.M["it"].ID != i+100 || x.S != fmt.Sprint("text of ", i) {
					t.Errorf("variable %d is %d with %d", i, x.ID, x.M["it"].ID)
				}
			}
		})
	}
	wg.Wait()
}
