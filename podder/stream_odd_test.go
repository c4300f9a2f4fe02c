package podder

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"weak"
)

type rareKey struct {
	A string
	_ int32
	B float64
}

type rarePart struct {
	P  *rarePart
	Mu sync.Mutex
}

type rareText struct {
	S string
	F func()
}

type rare struct {
	ID     int
	Floats map[float64]string
	Keys   map[rareKey]int16
	Bools  map[bool]string
	Nones  map[struct{}]struct{}
	Mus    []sync.Mutex
	Parts  []rarePart
	Ptrs   []*rare
	Texts  []rareText
	Names  []string
	Empty  []string
	Zero   []struct{}
	Long   string
	Longs  map[string]string
	Any    any
	Anys   map[any]*rare
	ByPtr  map[*rare]int
	Weak   weak.Pointer[rare]
	Inner  *string
	Rest   map[string]*rare
	Nums   []uint16
}

// rareWorld makes values that take the ways of encoding that most values do not.
func rareWorld(r *rand.Rand, n int) *rare {
	all := make([]*rare, n)
	for i := range all {
		all[i] = &rare{ID: i}
	}
	one := func() *rare { return all[r.IntN(n)] }
	text := func() string {
		if r.IntN(60) == 0 {
			return strings.Repeat("long", longString/4+r.IntN(3)-1)
		}
		return strings.Repeat("t", r.IntN(1<<r.IntN(8)))
	}
	for i, x := range all {
		if i > 0 { // all of them are reached
			up := all[r.IntN(i)]
			up.Ptrs = append(up.Ptrs, x)
		}
		switch r.IntN(14) {
		case 0:
			x.Floats = map[float64]string{}
			for k := range r.IntN(12) {
				x.Floats[math.NaN()] = fmt.Sprint(k % 3)
				x.Floats[float64(k)] = text()
			}
		case 1:
			x.Keys = map[rareKey]int16{}
			for range r.IntN(10) {
				x.Keys[rareKey{A: text(), B: r.Float64()}] = int16(r.Uint32())
			}
		case 2:
			x.Bools, x.Nones = map[bool]string{true: text(), false: ""}, map[struct{}]struct{}{{}: {}}
		case 3:
			x.Mus, x.Parts = make([]sync.Mutex, r.IntN(40)), make([]rarePart, r.IntN(40), 50)
			for k := range x.Parts {
				x.Parts[k].P = &x.Parts[r.IntN(len(x.Parts))]
			}
		case 4:
			x.Texts = make([]rareText, r.IntN(40), 41+r.IntN(9))
			for k := range x.Texts {
				x.Texts[k].S = text()
			}
		case 5:
			x.Names = make([]string, r.IntN(40), 41)
			for k := range x.Names {
				x.Names[k] = text()
			}
		case 6:
			x.Empty, x.Zero, x.Long = make([]string, 0, r.IntN(5)), make([]struct{}, r.IntN(3), 7), text()
		case 7:
			x.Longs = map[string]string{}
			for range r.IntN(10) {
				x.Longs[text()] = text()
			}
		case 8:
			x.Any, x.Anys = []any{rareKey{A: text()}, one(), text()}, map[any]*rare{}
			for k := range r.IntN(20) {
				x.Anys[k] = one()
			}
		case 9:
			x.ByPtr = map[*rare]int{one(): 1, one(): 2, one(): 3}
		case 10:
			x.Weak = weak.Make(one())
		case 11:
			if o := one(); len(o.Names) > 0 {
				o.Names[0] += "." // a part of an array that may have its pod
				x.Inner = &o.Names[0]
			}
		case 12:
			x.Rest = map[string]*rare{}
			for range r.IntN(30) {
				x.Rest[text()] = one()
			}
		case 13:
			x.Nums = make([]uint16, r.IntN(300), 301)
			if o := one(); len(o.Ptrs) > 0 {
				x.Ptrs = append(x.Ptrs, o.Ptrs...)
			}
		}
	}
	return all[0]
}

// Odd values are encoded early as they are encoded late, come back, and are not
// written again.
func TestOddValuesOfAFirstSave(t *testing.T) {
	seed := testSeed(t)
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for round := range rounds {
		r := rand.New(rand.NewPCG(seed, uint64(round)))
		cfg := Config{TargetBytes: 64 << r.IntN(9)}
		x := rareWorld(r, 1+r.IntN(200))
		early, _, types := firstSave(t, cfg, nil, false, "x", x)
		late, _, _ := firstSave(t, cfg, types, true, "x", x)
		if len(early) != len(late) {
			t.Fatalf("round %d: %d and %d pods", round, len(early), len(late))
		}
		for id, b := range late {
			if !bytes.Equal(b, early[id]) {
				t.Fatalf("round %d, target %d: pod %d differs: %x and %x", round, cfg.TargetBytes, id, early[id], b)
			}
		}
	}
}
