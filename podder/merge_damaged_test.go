package podder

import (
	"context"
	"errors"
	"maps"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type damagedNode struct {
	N    int
	Next *damagedNode
}

// A reference of what comes over that leads to a slot which is not there is damage, and says where.
func TestMergeOfAReferenceToNoSlot(t *testing.T) {
	ctx := context.Background()
	store := newFakeStore()
	conf := store.config()
	conf.Strategy = SplitAll()
	save := func(pairs ...any) *fakeStore {
		g, err := NewGraph(conf)
		if err != nil {
			t.Fatal(err)
		}
		tx := store.begin()
		if _, err := g.Save(ctx, rootsOf(pairs...), tx); err != nil {
			t.Fatal(err)
		}
		if err := tx.commit(); err != nil {
			t.Fatal(err)
		}
		version := *store
		version.pods, version.names, version.types = maps.Clone(store.pods), maps.Clone(store.names), store.types
		return &version
	}
	base := save("x", &damagedNode{N: 1})
	theirs := save("y", &damagedNode{N: 2, Next: &damagedNode{N: 3}})
	merge := func() error {
		var changed []pod.ID
		for id := range theirs.pods {
			if base.pods[id] == nil {
				changed = append(changed, id)
			}
		}
		next := theirs.last
		_, err := Merge(ctx, MergeInput{Base: base, Ours: base, Theirs: theirs, TheirsChanged: changed, Names: []string{"x", "y"}, NewPod: func() pod.ID { next++; return next }})
		return err
	}
	if err := merge(); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	for id, p := range theirs.pods {
		for n, ref := range p.Refs {
			if base.pods[id] != nil || ref.Pod == 0 {
				continue
			}
			for _, to := range []pod.Ref{{Pod: ref.Pod, Slot: pod.Slot(len(theirs.pods[ref.Pod].Slots))}, {Pod: ref.Pod, Slot: 1 << 20}, {Pod: base.names["x"], Slot: 1 << 20}} {
				whole := *p
				whole.Refs = append([]pod.Ref(nil), p.Refs...)
				whole.Refs[n] = to
				theirs.pods[id] = &whole
				if err := merge(); !errors.Is(err, dberr.ErrCorrupt) {
					t.Errorf("reference %d of pod %d to %v: %v", n, id, to, err)
				}
				damaged++
			}
			theirs.pods[id] = p
		}
	}
	if damaged == 0 {
		t.Error("there is no reference to damage")
	}
}
