package main

import (
	"strings"
	"testing"
)

// The graphs whose strategies are compared are of another module, which does not keep them from
// being saved.
func TestStrategiesAreCompared(t *testing.T) {
	var out strings.Builder
	if err := strategiesCommand(t.Context(), []string{"-n", "2"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"Learned", "BundleAll", "SplitAll", "ByType", "Random", "Greedy(0.02)"} {
		if !strings.Contains(out.String(), name) {
			t.Errorf("no row of %s:\n%s", name, out.String())
		}
	}
}
