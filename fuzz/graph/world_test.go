package graph

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// A map that a part of the variables has only beyond the length of a slice has no order
// in a world of that part; so it has none in a world of all that is to change alike, and
// gets it back behind what came in meanwhile.
func TestOrdersThatAPartDoesNotSee(t *testing.T) {
	make2 := func() (all, part []Variable, hidden, shown reflect.Value) {
		nodes := make([]Node, 2)
		nodes[0].ByKey = map[string]*Node{"x": nil, "y": nil}
		nodes[1].ByKey = map[string]*Node{"p": nil, "q": nil}
		part = []Variable{{"b", reflect.ValueOf(&Node{Nodes: nodes[:1]})}}
		all = append([]Variable{{"a", reflect.ValueOf(&Node{Nodes: nodes})}}, part...)
		return all, part, reflect.ValueOf(nodes[1].ByKey), reflect.ValueOf(nodes[0].ByKey)
	}
	all, part, hidden, shown := make2()
	orders := Orders{}
	for _, m := range []reflect.Value{hidden, shown} {
		o := &order{m: m}
		for _, k := range m.MapKeys() {
			o.keys = append(o.keys, boxOf(k))
		}
		orders[m.Pointer()] = o
	}
	world := func(p, to []Variable, orders Orders) (*World, *Twins) {
		twins, err := Compare(p, to)
		if err != nil {
			t.Fatal(err)
		}
		w := NewWorld(rand.New(rand.NewPCG(1, 1)), NewFamily(1))
		w.Adopt(to, orders.Follow(twins), false)
		return w, twins
	}
	_, other, hidden1, shown1 := make2()
	one, seen := world(part, other, orders)
	others, _, hidden2, shown2 := make2()
	two, twins := world(all, others, orders.Seen(seen))
	for _, p := range [][2]reflect.Value{{hidden1, hidden2}, {shown1, shown2}} {
		if a, b := len(one.keysOf(p[0])), len(two.keysOf(p[1])); a != b {
			t.Errorf("a world of one variable knows %d keys of a map, one of both knows %d", a, b)
		}
	}
	if n := len(two.keysOf(shown2)); n != 2 {
		t.Errorf("%d keys of the map that both show", n)
	}
	two.put(hidden2, boxOf(reflect.ValueOf("new")), reflect.Zero(reflect.TypeFor[*Node]()))
	if n := len(two.Orders().With(orders.Follow(twins))[hidden2.Pointer()].keys); n != 3 {
		t.Errorf("the hidden map comes back with %d keys", n)
	}
}
