package podder

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type lateRoot struct {
	P *string
	S []string
	M map[string]string
}

// lateStore holds a variable in pod 1, its object in pod 2, and what pointer, slice
// and map of that lead to in pods 3 to 5.
func lateStore(p, s, m func(h *handStore) pod.Data, length, extra uint64) *handStore {
	h := newHandStore()
	root := reflect.TypeFor[lateRoot]()
	h.names["x"] = 1
	h.pod(1, []pod.Ref{{Pod: 2}}, h.box(reflect.PointerTo(root), hand{}.out(0)))
	h.pod(2, []pod.Ref{{Pod: 3}, {Pod: 4}, {Pod: 5}}, h.object(root, hand{}.out(0).uv(length+2, extra).out(1).out(2)))
	for i, d := range []func(h *handStore) pod.Data{p, s, m} {
		h.pod(pod.ID(3+i), nil, d(h))
	}
	return h
}

// Pointers, slices and maps wait for the pods that they lead into, each by itself:
// the object that holds them is decoded once. What comes is checked.
func TestReferencesWaitForTheirPods(t *testing.T) {
	text := func(h *handStore) pod.Data { return h.object(reflect.TypeFor[string](), hand{}.str("a")) }
	three := func(h *handStore) pod.Data {
		return h.array(reflect.TypeFor[string](), 3, 8, hand{}.str("b"), hand{}.str("c"), hand{}.str("d"))
	}
	dict := func(h *handStore) pod.Data {
		return h.mapOf(reflect.TypeFor[map[string]string](), hand{}.str("k").str("v"))
	}
	number := func(h *handStore) pod.Data { return h.object(reflect.TypeFor[bool](), hand{}.raw(1)) }
	bools := func(h *handStore) pod.Data {
		return h.mapOf(reflect.TypeFor[map[string]bool](), hand{}.str("k").raw(1))
	}

	got := *mustGet[*lateRoot](t, lateStore(text, three, dict, 2, 1), "x")
	if *got.P != "a" || !reflect.DeepEqual(got.S[:3], []string{"b", "c", "d"}) || len(got.S) != 2 || cap(got.S) != 3 || got.M["k"] != "v" || len(got.M) != 1 {
		t.Errorf("%+v", got)
	}
	for name, h := range map[string]*handStore{
		"pointer to a bool":          lateStore(number, three, dict, 2, 1),
		"pointer to a map":           lateStore(dict, three, dict, 2, 1),
		"slice of a bool":            lateStore(text, number, dict, 1, 0),
		"slice of a map":             lateStore(text, dict, dict, 1, 0),
		"slice longer than an array": lateStore(text, three, dict, 4, 0),
		"slice with more capacity":   lateStore(text, three, dict, 2, 2),
		"map that is an array":       lateStore(text, three, three, 2, 1),
		"map of another type":        lateStore(text, three, bools, 2, 1),
	} {
		_, err := Decode(t.Context(), Config{Registry: h.reg}, h, []string{"x"}, []reflect.Type{reflect.TypeFor[*lateRoot]()})
		if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), "pod 2 slot 0") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
