package db_test

import (
	"context"
	"fmt"
	"testing"
)

// A transaction that changes one small variable allocates the same, however many
// others there are, and not much.
func TestSmallTransactionsCostWhatTheyTouch(t *testing.T) {
	ctx := context.Background()
	allocs := func(variables int) float64 {
		d := openMemory(t)
		vars := map[string]any{}
		for i := range variables {
			vars[fmt.Sprintf("user/%06d", i)] = &holding{Owner: &person{Name: "somebody"}, Balance: i}
		}
		putAll(t, d, vars)
		if err := d.Checkpoint(ctx); err != nil {
			t.Fatal(err)
		}
		i := 0
		return testing.AllocsPerRun(200, func() {
			i++
			name := fmt.Sprintf("user/%06d", i*7919%variables)
			if err := raise(ctx, d, name); err != nil {
				t.Fatal(err)
			}
		})
	}
	few, many := allocs(200), allocs(5_000)
	if many > 1.3*few || few > 400 {
		t.Errorf("%v allocations among 200 variables, %v among 5,000", few, many)
	}
}
