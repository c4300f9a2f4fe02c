package podder

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"
)

// What a graph keeps for its next save is empty: states, the walk, the encoder, also
// beyond the ends of their lists.
func TestIdleTablesHoldNothing(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry, cfg.TargetBytes, cfg.Index = rndRegistry(t), 300, true
	pool, unwalked := NewPool(cfg), 0
	want := []reflect.Type{reflect.TypeFor[*rnd]()}
	for seed := range uint64(30) {
		g, err := pool.Get()
		if err != nil {
			t.Fatal(err)
		}
		r := rand.New(rand.NewPCG(seed, 13))
		name := fmt.Sprint("v", seed%3)
		var x any = newRndGraph(r, 1+r.IntN(6)).nodes[0]
		if _, ok := s.names[name]; ok {
			vs, err := g.Load(context.Background(), s, []string{name}, want)
			if err != nil {
				t.Fatal(err)
			}
			vs[0].Interface().(*rnd).S += "more"
			x = vs[0].Interface()
		}
		saved, err := g.SaveLast(context.Background(), rootsOf(name, x), s.begin())
		if err != nil {
			t.Fatal(err)
		}
		saved.Abort()
		for range 3 {
			x.(*rnd).S += "more"
			resaved := g.resaved
			mustSave(t, g, s, name, x)
			if g.resaved > resaved {
				unwalked++
			}
		}
		pool.Put(g)
		for _, st := range g.idle.states {
			mustHoldNothing(t, st, "own", "pinned", "byID", "regions", "pins", "spans", "edges", "memory", "strings", "prints", "otherEdges")
			if len(st.byID) > 0 || st.regions.n != 0 || st.regions.blocks != nil || st.memory.rows != nil || st.pins.blocks != nil || st.own.given != nil || st.pinned.given != nil {
				t.Error("a state that waits has something")
			}
		}
		if w := g.idle.walk; w != nil {
			mustHoldNothing(t, w, "own", "crossings")
			if w.own.given != nil || w.own.heap > 0 {
				t.Error("a walk that waits has memory")
			}
		}
		if e := g.idle.encoder; e != nil {
			mustHoldNothing(t, e, "buf", "numbers", "runs", "links", "starts", "refs", "used", "slots", "marked", "typeIDs")
		}
	}
	if unwalked < 10 {
		t.Errorf("%d saves did not walk", unwalked)
	}
}

func mustHoldNothing[T any](t *testing.T, x *T, but ...string) {
	t.Helper()
	skip := map[string]bool{}
	for _, n := range but {
		skip[n] = true
	}
	v := reflect.ValueOf(x).Elem()
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !skip[name] {
			mustBeEmpty(t, fmt.Sprintf("%T.%s", x, name), v.Field(i))
		}
	}
}
