package podder

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// chunkSim edits two variables at random and saves them, with everything that may
// happen between: loads in another process, one of them not loaded, versions
// brought back.
type chunkSim struct {
	t    *testing.T
	r    *rand.Rand
	cfg  Config
	s    *fakeStore
	g    *Graph
	a, b *chunkBox // b is nil if it is not loaded
	// versions are what was stored, and what it looked like.
	versions []chunkVersion
}

type chunkVersion struct {
	store *fakeStore
	a, b  reflect.Value
}

func TestRandomEditsOfContainersInChunks(t *testing.T) {
	for seed := range sample(16, 6, 2) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			t.Logf("replay with: go test ./podder -run '^TestRandomEditsOfContainersInChunks$/^seed_%d$'", seed)
			r := rand.New(rand.NewPCG(seed, 11))
			sim := &chunkSim{t: t, r: r, s: newFakeStore()}
			sim.cfg = sim.s.config()
			sim.cfg.TargetBytes = 32 << r.IntN(3)
			sim.g = mustGraph(t, sim.cfg)
			sim.a, sim.b = newChunkBox(r, 60+r.IntN(150)), newChunkBox(r, 10)
			for range 20 {
				sim.step()
				if t.Failed() {
					return
				}
			}
			sim.checkVersions()
		})
	}
}

func (m *chunkSim) step() {
	switch m.r.IntN(10) {
	case 0:
		m.process(true)
	case 1:
		m.process(false)
	case 2:
		if len(m.versions) > 1 {
			m.restore(m.versions[m.r.IntN(len(m.versions))])
		}
	}
	for range m.r.IntN(4) {
		m.edit()
	}
	m.save()
}

func (m *chunkSim) vars() []any {
	if m.b == nil {
		return []any{"a", m.a}
	}
	return []any{"a", m.a, "b", m.b}
}

func (m *chunkSim) save() {
	m.t.Helper()
	mustSave(m.t, m.g, m.s, m.vars()...)
	mustStayQuiet(m.t, m.g, m.s, m.vars()...)
	_, vs := reload(m.t, m.s, m.cfg, "a", m.a, "b", m.a)
	if err := isomorphic(reflect.ValueOf(m.a), vs[0]); err != nil {
		m.t.Fatalf("a: %v", err)
	}
	switch {
	case m.b != nil:
		if err := isomorphic(reflect.ValueOf(m.b), vs[1]); err != nil {
			m.t.Fatalf("b: %v", err)
		}
	case len(m.versions) > 0:
		if err := isomorphic(m.versions[len(m.versions)-1].b, vs[1]); err != nil {
			m.t.Fatalf("b, which was not loaded, has changed: %v", err)
		}
	}
	m.versions = append(m.versions, chunkVersion{m.s.snapshot(), vs[0], vs[1]})
}

// process goes on in another process, which loads a, or both.
func (m *chunkSim) process(both bool) {
	if len(m.versions) == 0 {
		return
	}
	m.g = mustGraph(m.t, m.cfg)
	names := []string{"a", "b"}
	if !both {
		names = names[:1]
	}
	want := []reflect.Type{reflect.TypeFor[*chunkBox](), reflect.TypeFor[*chunkBox]()}[:len(names)]
	vs, err := m.g.Load(m.t.Context(), m.s, names, want)
	if err != nil {
		m.t.Fatal(err)
	}
	m.a, m.b = vs[0].Interface().(*chunkBox), nil
	if both {
		m.b = vs[1].Interface().(*chunkBox)
	}
}

// restore brings both variables back to a version.
func (m *chunkSim) restore(v chunkVersion) {
	m.process(true)
	head := func(ids []pod.ID) ([]*pod.Pod, error) {
		ps := make([]*pod.Pod, len(ids))
		for i, id := range ids {
			if m.s.pods[id] != v.store.pods[id] {
				ps[i] = m.s.pods[id]
			}
		}
		return ps, nil
	}
	// As if every slot had been out of use in between.
	freed := func(pod.ID) (func(pod.Slot) bool, error) { return func(pod.Slot) bool { return true }, nil }
	res, err := m.g.Restore(m.t.Context(), v.store, []string{"a", "b"}, History{Head: head, HeadFreed: freed})
	if err != nil {
		m.t.Fatal(err)
	}
	m.a, m.b = res.Values["a"].Interface().(*chunkBox), res.Values["b"].Interface().(*chunkBox)
	if err := isomorphic(v.a, reflect.ValueOf(m.a)); err != nil {
		m.t.Fatalf("a as restored: %v", err)
	}
	if err := isomorphic(v.b, reflect.ValueOf(m.b)); err != nil {
		m.t.Fatalf("b as restored: %v", err)
	}
}

// checkVersions decodes all that was ever stored.
func (m *chunkSim) checkVersions() {
	for i, v := range m.versions {
		_, vs := reload(m.t, v.store, m.cfg, "a", m.a, "b", m.a)
		if err := isomorphic(v.a, vs[0]); err != nil {
			m.t.Fatalf("version %d, a: %v", i, err)
		}
		if err := isomorphic(v.b, vs[1]); err != nil {
			m.t.Fatalf("version %d, b: %v", i, err)
		}
	}
}

// edit changes one container. What b may share with a is changed in place only
// if b is loaded: then both see it.
func (m *chunkSim) edit() {
	x, r := m.a, m.r
	fresh := m.b == nil
	if !fresh && r.IntN(3) == 0 {
		x = m.b
	}
	switch r.IntN(13) {
	case 0, 1:
		x.Floats = editSlice(r, x.Floats, fresh, func() float64 { return r.Float64() * float64(r.IntN(2)) })
	case 2:
		x.Bytes = editSlice(r, x.Bytes, fresh, func() byte { return byte(r.IntN(3)) })
	case 3:
		x.Ptrs = editSlice(r, x.Ptrs, fresh, m.leaf)
	case 4:
		x.Rows = editSlice(r, x.Rows, fresh, func() chunkRow { return chunkRow{ID: r.Int(), Name: randomText(r, r.IntN(9)), Leaf: m.leaf()} })
	case 5:
		x.Names = editSlice(r, x.Names, fresh, func() string { return randomText(r, r.IntN(12)) })
	case 6:
		x.Anys = editSlice(r, x.Anys, fresh, func() any { return []any{1, "x", m.leaf(), nil, x.Floats}[r.IntN(5)] })
	case 7:
		x.Odd = editSlice(r, x.Odd, fresh, func() [3]uint16 { return [3]uint16{uint16(r.IntN(2))} })
	case 8:
		x.Text = string(editSlice(r, []byte(x.Text), true, func() byte { return 'A' + byte(r.IntN(3)) }))
		if n := len(x.Text); n > 10 {
			x.Part = x.Text[n/4 : n/2]
		}
	case 9:
		x.Map = editMap(r, x.Map, fresh, func() (int, string) { return r.Int(), randomText(r, r.IntN(9)) })
		x.SameMap = x.Map
	case 10:
		x.ByPtr = editMap(r, x.ByPtr, fresh, func() (*chunkLeaf, int) { return m.leaf(), r.Int() })
	case 11:
		x.Lists = editMap(r, x.Lists, fresh, func() (string, []int) { return randomText(r, 5), []int{r.Int()} })
	case 12:
		m.alias()
	}
}

// leaf returns an old or new leaf.
func (m *chunkSim) leaf() *chunkLeaf {
	if n := len(m.a.Ptrs); n > 0 && m.r.IntN(2) == 0 {
		return m.a.Ptrs[m.r.IntN(n)]
	}
	return &chunkLeaf{N: m.r.Int()}
}

// alias has other fields, and b, refer into containers of a.
func (m *chunkSim) alias() {
	x, r := m.a, m.r
	if n := len(x.Floats); n > 0 {
		i := r.IntN(n)
		x.Sub, x.Float = x.Floats[i/2:i], &x.Floats[i]
	}
	if n := len(x.Rows); n > 0 {
		x.Field = &x.Rows[r.IntN(n)].Name
	}
	if m.b == nil {
		return
	}
	y := m.b
	switch r.IntN(6) {
	case 0:
		y.Floats = x.Floats
	case 1:
		y.Ptrs, y.Anys = x.Ptrs, x.Anys
	case 2:
		y.Rows = x.Rows
	case 3:
		y.Text = x.Text
	case 4:
		y.Map = x.Map
	case 5:
		y.ByPtr = x.ByPtr
	}
}

// editSlice changes a slice at random, in memory of its own if fresh.
func editSlice[E any](r *rand.Rand, s []E, fresh bool, one func() E) []E {
	many := func() []E {
		var list []E
		for range 1 + r.IntN(1+r.IntN(80)) {
			list = append(list, one())
		}
		return list
	}
	if fresh || r.IntN(3) == 0 {
		s = slices.Clone(s)
	}
	n := len(s)
	at, to := r.IntN(n+1), r.IntN(n+1)
	if at > to {
		at, to = to, at
	}
	switch r.IntN(8) {
	case 0:
		return slices.Insert(s, at, many()...)
	case 1:
		return slices.Delete(s, at, min(to, at+r.IntN(60)))
	case 2:
		return append(s, many()...)
	case 3:
		return s[:to]
	case 4: // move a part to the front
		part := slices.Clone(s[at:to])
		return slices.Insert(slices.Delete(s, at, to), 0, part...)
	case 5: // the same part twice
		return slices.Insert(s, at, slices.Clone(s[at:min(to, at+100)])...)
	case 6: // scattered
		for range n / 20 {
			s[r.IntN(n)] = one()
		}
	default:
		if n > 0 {
			s[r.IntN(n)] = one()
		}
	}
	return s
}

func editMap[K comparable, V any](r *rand.Rand, m map[K]V, fresh bool, one func() (K, V)) map[K]V {
	if m == nil || fresh || r.IntN(4) == 0 {
		m = maps.Clone(m)
		if m == nil {
			m = map[K]V{}
		}
	}
	for range 1 + r.IntN(1+r.IntN(80)) {
		if r.IntN(3) > 0 {
			k, v := one()
			m[k] = v
			continue
		}
		for k := range m {
			if r.IntN(2) == 0 {
				delete(m, k)
			} else {
				_, m[k] = one()
			}
			break
		}
	}
	return m
}
