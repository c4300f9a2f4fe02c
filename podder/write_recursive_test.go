package podder

import "testing"

type (
	loopOfTwo  [2]*loopOfTwo
	loopOfMany [20]*loopOfMany
	loopOfMaps [2]map[string]loopOfMaps
	loopOfList [18][]loopOfList
	fan        struct {
		n    int
		kids [2]*fan
		many [17]*fan
	}
)

// TestRoundTripTypesThatLeadToThemselvesThroughArrays: the operations of an
// array are made from those of its elements, which lead back to it.
func TestRoundTripTypesThatLeadToThemselvesThroughArrays(t *testing.T) {
	two := &loopOfTwo{}
	two[1] = two
	roundTrip(t, "two", two)
	many := &loopOfMany{}
	many[19] = &loopOfMany{3: many}
	roundTrip(t, "many", many)
	roundTrip(t, "maps", &loopOfMaps{1: {"a": {0: {}}}})
	roundTrip(t, "list", &loopOfList{17: {{}, {3: {}}}})
	top := &fan{n: 1}
	top.kids[1], top.many[16] = &fan{n: 2, kids: [2]*fan{top}}, &fan{n: 3}
	roundTrip(t, "fan", top)
}
