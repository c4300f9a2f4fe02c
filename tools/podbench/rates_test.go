package main

import (
	"maps"
	"reflect"
	"testing"
)

func smallRateCases() []rateCase {
	return []rateCase{
		rateCaseOf("tree", "", "", 100, rateLoops{1, 2}, func() *rateNode { return buildRateTree(0, 100) }, equalRateNodes),
		rateCaseOf("floats", "", "", 3, rateLoops{1, 2}, func() []float64 { return []float64{0, -1, 1e300} }, func(a, b []float64) bool { return reflect.DeepEqual(a, b) }),
		rateCaseOf("map", "", "", 2, rateLoops{1, 2}, func() map[string]int { return map[string]int{"a": 1, "b": -2} }, maps.Equal[map[string]int, map[string]int]),
		rateCaseOf("users", "", "", 1, rateLoops{1, 2}, func() map[string]*rateUser {
			return map[string]*rateUser{"u": {ID: 7, Name: "n", Active: true, Tags: []string{"t"}, Sessions: []rateSession{{Token: "s", Hits: 3}}}}
		}, func(a, b map[string]*rateUser) bool { return reflect.DeepEqual(a, b) }),
	}
}

// No system of the rate table is credited with what it did not keep.
func TestRateSystemsReadBackWhatTheyWrote(t *testing.T) {
	for _, c := range smallRateCases() {
		for _, system := range rateSystems() {
			codec, err := newCodec(system)
			if err != nil {
				t.Fatal(err)
			}
			s, err := c.run(codec, c.loops)
			if err != nil || s.Bytes == 0 || len(s.Encode) != 1 || len(s.Decode) != 1 {
				t.Errorf("%s on %s: %+v, %v", c.name, system, s, err)
			}
		}
	}
}

// lossy is a codec that forgets.
type lossy struct{ gobCodec }

func (c *lossy) encode(v any) error {
	if n, ok := v.(*rateNode); ok {
		less := *n
		less.Tags = nil
		less.Children = n.Children[1:]
		v = &less
	}
	return c.gobCodec.encode(v)
}

func TestRatesRefuseACodecThatForgets(t *testing.T) {
	c := smallRateCases()[0]
	if _, err := c.run(&lossy{}, c.loops); err == nil {
		t.Fatal("a tree that lost a branch was accepted")
	}
}

func TestDeepGraphsComeBackAndHaveTheShapesTheyClaim(t *testing.T) {
	list, comb, balanced := linkNodes(10, 1)[:1], linkNodes(10, 2)[:1], balanceNodes(10)[:1]
	for name, roots := range map[string][]*deepNode{"list": list, "comb": comb, "balanced": balanced} {
		if n, sum := sumNodes(roots); n != 10 || sum != 45 {
			t.Errorf("%s: %d nodes, sum %d", name, n, sum)
		}
		if s, err := deepRun(roots); err != nil || len(s.Save) != 1 || len(s.Load) != 1 {
			t.Errorf("%s: %+v, %v", name, s, err)
		}
	}
	depth := 0
	for n := comb[0]; n != nil; n = n.Right {
		depth++
	}
	if depth != 5 || comb[0].Left == nil {
		t.Errorf("comb of 10 nodes is %d deep", depth)
	}
}

// A container in chunks is put after its chunks, whose ids are higher.
func TestPodCodecTakesPodsInAnyOrder(t *testing.T) {
	want := map[int]*rateUser{}
	for i := range 5000 {
		want[i] = &rateUser{ID: int64(i), Name: "a name long enough to fill chunks"}
	}
	c := newPodCodec()
	if err := c.encode(want); err != nil {
		t.Fatal(err)
	}
	var got map[int]*rateUser
	if err := c.decode(&got); err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("%d entries, %v", len(got), err)
	}
}
