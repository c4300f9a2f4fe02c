package mvcc

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// The blocks that were used last are found, and all together are within the budget.
func TestRecentBlocks(t *testing.T) {
	const budget = 100
	r := recentBlocks{budget: budget}
	rng := rand.New(rand.NewPCG(1, 2))
	var model []rawBlock // used last is last
	length := func(number uint64) int { return int(number % 17) }
	for range 10_000 {
		number := rng.Uint64N(60)
		i := slices.IndexFunc(model, func(b rawBlock) bool { return b.number == number })
		got, ok := r.get(number)
		if ok != (i >= 0) || ok && (len(got) != length(number) || &got[:1][0] != &model[i].raw[:1][0]) {
			t.Fatalf("block %d: %v, expected %v", number, ok, i >= 0)
		}
		if ok {
			b := model[i]
			model = append(slices.Delete(model, i, i+1), b)
			continue
		}
		raw := make([]byte, length(number), length(number)+1)
		r.put(number, raw)
		if len(raw) > budget/8 {
			continue // too long to be kept
		}
		model = append(model, rawBlock{number, raw})
		sum := 0
		for _, b := range model {
			sum += len(b.raw)
		}
		for sum > budget {
			sum -= len(model[0].raw)
			model = model[1:]
		}
		if r.bytes != int64(sum) || len(r.list) != len(model) {
			t.Fatalf("%d blocks of %d bytes, expected %d of %d", len(r.list), r.bytes, len(model), sum)
		}
	}
	r.put(1, make([]byte, 1))
	r.put(1, make([]byte, 1))
	r.drop()
	if _, ok := r.get(1); ok || r.bytes != 0 {
		t.Fatal("it still has blocks")
	}
}
