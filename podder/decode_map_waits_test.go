package podder

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// lentStore counts the pods that are lent at a time.
type lentStore struct {
	*fakeStore
	lent, most, calls int
}

func (s *lentStore) Pods(ctx context.Context, ids []pod.ID) ([]*pod.Pod, error) {
	ps, err := s.fakeStore.Pods(ctx, ids)
	s.lent += len(ps)
	s.most = max(s.most, s.lent)
	s.calls++
	return ps, err
}

func (s *lentStore) Recycle(p *pod.Pod) {
	s.lent--
	s.fakeStore.Recycle(p)
}

type (
	waitedUser struct {
		Name string
		Tags []string
		Next *waitedUser
	}
	waitedMaps struct {
		Users map[string]*waitedUser
		Ages  map[*waitedUser]int
		Tags  map[string][]string
	}
)

func waitedValue(n int) *waitedMaps {
	v := &waitedMaps{Users: map[string]*waitedUser{}, Ages: map[*waitedUser]int{}, Tags: map[string][]string{}}
	var before *waitedUser
	for i := range n {
		u := &waitedUser{Name: fmt.Sprint("user ", i), Tags: []string{strings.Repeat("x", 100+i%50)}, Next: before}
		if i%100 == 7 {
			before = u
		}
		v.Users[fmt.Sprint("key ", i)] = u
		if i%10 == 3 {
			v.Users[fmt.Sprint("other key ", i)] = u
		}
		v.Ages[u] = i
		v.Tags[fmt.Sprint("tag ", i)] = u.Tags
	}
	return v
}

func checkWaited(t *testing.T, got, want *waitedMaps) {
	t.Helper()
	if len(got.Users) != len(want.Users) || len(got.Ages) != len(want.Ages) || len(got.Tags) != len(want.Tags) {
		t.Fatalf("%d, %d, %d entries, want %d, %d, %d", len(got.Users), len(got.Ages), len(got.Tags), len(want.Users), len(want.Ages), len(want.Tags))
	}
	twin := map[*waitedUser]*waitedUser{nil: nil}
	for key, w := range want.Users {
		g := got.Users[key]
		if g == nil || g.Name != w.Name || !reflect.DeepEqual(g.Tags, w.Tags) {
			t.Fatalf("%s is %+v, want %+v", key, g, w)
		}
		if twin[w] != nil && twin[w] != g {
			t.Fatalf("%s is %+v, once more", key, g)
		}
		twin[w] = g
	}
	for key, w := range want.Users {
		g := got.Users[key]
		if g.Next != twin[w.Next] || got.Ages[g] != want.Ages[w] {
			t.Fatalf("%s leads to %+v, age %d", key, g.Next, got.Ages[g])
		}
		if i := strings.TrimPrefix(w.Name, "user "); &got.Tags["tag "+i][0] != &g.Tags[0] {
			t.Fatalf("%s does not share its tags", key)
		}
	}
}

// Maps whose entries lead into many pods, each to places of its own and to the same.
func TestMapsOfManyPods(t *testing.T) {
	for _, n := range []int{fetchBatch, fetchBatch + 1, 300, 20_000} {
		s := newFakeStore()
		want := waitedValue(n)
		mustSave(t, mustGraph(t, s.config()), s, "x", want)
		vs, err := Decode(t.Context(), s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*waitedMaps]()})
		if err != nil {
			t.Fatal(err)
		}
		checkWaited(t, vs[0].Interface().(*waitedMaps), want)
		// The same into a graph, which lets go of nothing.
		g := mustGraph(t, s.config())
		vs, err = g.Load(t.Context(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*waitedMaps]()})
		if err != nil {
			t.Fatal(err)
		}
		checkWaited(t, vs[0].Interface().(*waitedMaps), want)
	}
}

// Few of the pods that a map leads into are lent at a time, and they are asked for
// in batches.
func TestAMapHoldsFewPods(t *testing.T) {
	s := newFakeStore()
	want := map[int]*waitedUser{}
	for i := range 30_000 {
		want[i] = &waitedUser{Name: fmt.Sprint("user ", i), Tags: []string{strings.Repeat("x", 100+i%50)}}
	}
	mustSave(t, mustGraph(t, s.config()), s, "x", want)
	src := &lentStore{fakeStore: s}
	vs, err := Decode(t.Context(), s.config(), src, []string{"x"}, []reflect.Type{reflect.TypeOf(want)})
	if err != nil {
		t.Fatal(err)
	}
	if got := vs[0].Interface().(map[int]*waitedUser); !reflect.DeepEqual(got, want) {
		t.Error("what was read is not what was written")
	}
	kept := 2 // variable and map
	for _, p := range s.pods {
		if len(p.Slots) == 1 && p.Slots[0].Kind == pod.SlotMap {
			kept++ // chunks
		}
	}
	if led := len(s.pods) - kept; led < 6*fetchBatch || src.most > kept+3*fetchBatch {
		t.Errorf("%d pods were lent at a time: %d are kept, and the map leads into %d", src.most, kept, led)
	}
	if most := 2*len(s.pods)/fetchBatch + 10; src.calls > most {
		t.Errorf("%d calls for %d pods, want %d at most", src.calls, len(s.pods), most)
	}
}

// An entry waits once for the pod that it leads into, and again for the one to which a
// forwarder there leads on. Its key is what it was.
func TestEntriesThatWaitTwiceKeepTheirKeys(t *testing.T) {
	h := newHandStore()
	entries := make([]hand, 10*fetchBatch)
	refs := make([]pod.Ref, len(entries))
	key := func(i int) string { return strings.Repeat("k", i%20) + fmt.Sprint(i) }
	for i := range entries {
		n := pod.ID(i)
		entries[i] = hand{}.str(key(i)).out(uint64(i))
		refs[i] = pod.Ref{Pod: 1000 + n}
		target := h.object(reflect.TypeFor[int](), hand{}.zz(int64(i)))
		switch i % 4 {
		case 0:
			h.pod(1000+n, nil, target)
		default:
			h.pod(1000+n, []pod.Ref{{Pod: 2000 + n}}, forwarder(hand{}.out(0)))
			h.pod(2000+n, nil, target)
		}
	}
	h.pod(1, refs, h.box(reflect.TypeFor[map[string]*int](), hand{}.to(1)), h.mapOf(reflect.TypeFor[map[string]*int](), entries...))
	h.names["x"] = 1
	vs, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[map[string]*int]()})
	if err != nil {
		t.Fatal(err)
	}
	got := vs[0].Interface().(map[string]*int)
	if len(got) != len(entries) {
		t.Fatalf("%d entries, want %d", len(got), len(entries))
	}
	for i := range entries {
		if e := got[key(i)]; e == nil || *e != i {
			t.Errorf("%s is %v, want %d", key(i), e, i)
		}
	}
}

// The groups of keys are found, so that they can be fetched before their turn.
func TestGroupsAreFoundByHash(t *testing.T) {
	if want := mapsOfThisGo && unsafe.Sizeof(uintptr(0)) == 8; mapsFindGroups() != want {
		t.Errorf("groups are found: %v, want %v", !want, want)
	}
}
