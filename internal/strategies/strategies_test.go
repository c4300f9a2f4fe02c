package strategies

import (
	"testing"

	"github.com/poddb/poddb/db"
)

// The promise: on 200 random small graphs that change, Learned stores at most 1.15 times
// what the best of all ways to cut them stores, in the median, and no other strategy is
// better where it matters, in the graphs that do not suit it.
func TestLearnedIsNearTheOptimum(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 30
	}
	rows, err := Compare(t.Context(), Programs(n))
	if err != nil {
		t.Fatal(err)
	}
	learned := rows[0]
	if learned.Strategy != "Learned" || learned.Median > 1.15 || learned.P90 > 1.25 {
		t.Errorf("%+v", learned)
	}
	for _, r := range rows {
		t.Logf("%-22s median %.3f, 90 %% %.3f, worst %.3f", r.Strategy, r.Median, r.P90, r.Worst)
		if r.Median < 0.99 { // pods of another history have other numbers
			t.Errorf("%s stores less than the optimum", r.Strategy)
		}
		if r.Strategy != learned.Strategy && r.P90 < learned.P90 {
			t.Errorf("%s is better than Learned", r.Strategy)
		}
	}
}

// Without a history Learned bundles; what it learns meanwhile lets objects leave their pods, so in the long
// run it stores hardly more than with one, and bundling much more.
func TestLearnedLearnsWhileItRuns(t *testing.T) {
	r, err := Long(t.Context(), 40, 256) // of fewer graphs the tenth that gains most is one or two
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", r)
	if r.NoHistory.Median > 1.05 || r.NoHistory.P90 > 1.3 || r.Bundle.P90 < 1.5 {
		t.Errorf("%+v", r)
	}
}

// The optimum is that of all cuts: none stores less, and one stores as much.
func TestTheOptimumIsTheLeastOfAllCuts(t *testing.T) {
	p := New(3, 5, 12)
	best, err := p.Optimum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range map[string]db.Strategy{"bundle all": db.BundleAll(), "split all": db.SplitAll(), "random 1": db.RandomStrategy(1), "random 2": db.RandomStrategy(2)} {
		stored, choices, err := p.Stored(t.Context(), s, false)
		if err != nil {
			t.Fatal(err)
		}
		if stored < best {
			t.Errorf("%s stores %v bytes, the optimum %v", name, stored, best)
		}
		if name != "bundle all" && choices != p.Objects {
			t.Errorf("%s was asked %d times, of %d objects", name, choices, p.Objects)
		}
	}
}

// The figures that Learned reckons with are those of the storage.
func TestTheCostsAreThoseOfTheStorage(t *testing.T) {
	c, err := Measure(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Pod < 10 || c.Pod > 80 || c.Version < 25 || c.Version > 100 || c.BigShare < 0.03 || c.BigShare > 0.1 || c.SmallShare < 0.05 || c.SmallShare > 0.2 {
		t.Errorf("%+v, Learned takes 30, 40, 1/17 and 1/9", c)
	}
}
