package main

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"

	"github.com/poddb/poddb/internal/trace"
)

const rmtreeStringBytes = 100

// Strings is one variable of rmtree.
type Strings struct{ Items []string }

// rmtree is the synthetic workload of the published system: many lists of
// strings, of which each step replaces some.
type rmtree struct {
	p    params
	rnd  *rand.Rand
	step int64
	live map[string]any
	list []*Strings
}

func newRmtree(p params) (workload, error) {
	if p["tml"] > 100 || p["tme"] > 100 {
		return nil, fmt.Errorf("tml=%d and tme=%d are per cent", p["tml"], p["tme"])
	}
	return &rmtree{p: p, rnd: random(p), live: map[string]any{}}, nil
}

func random(p params) *rand.Rand { return rand.New(rand.NewPCG(uint64(p["seed"]), 0x706f64)) }

func (w *rmtree) next() (delta, error) {
	if w.step == w.p["tc"] {
		return delta{}, io.EOF
	}
	w.step++
	if w.step == 1 {
		for i := range w.p["tv"] {
			l := &Strings{make([]string, w.p["tl"])}
			for j := range l.Items {
				l.Items[j] = randomString(w.rnd)
			}
			w.list = append(w.list, l)
			w.live[fmt.Sprintf("l_%d", i)] = l
		}
		return delta{set: slices.Sorted(maps.Keys(w.live))}, nil
	}
	for _, i := range pick(w.rnd, len(w.list), int(w.p["tv"]*w.p["tml"]/100)) {
		items := w.list[i].Items
		for _, j := range pick(w.rnd, len(items), int(w.p["tl"]*w.p["tme"]/100)) {
			items[j] = randomString(w.rnd)
		}
	}
	return delta{}, nil
}

// pick returns k different numbers below n.
func pick(rnd *rand.Rand, n, k int) []int {
	if k >= n {
		k = n
	}
	seen := make(map[int]bool, k)
	picked := make([]int, 0, k)
	for len(picked) < k {
		if i := rnd.IntN(n); !seen[i] {
			seen[i] = true
			picked = append(picked, i)
		}
	}
	return picked
}

func randomString(rnd *rand.Rand) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b [rmtreeStringBytes]byte
	for i := 0; i < len(b); i += 10 {
		bits := rnd.Uint64()
		for j := range 10 {
			b[i+j] = letters[bits>>(6*j)&63]
		}
	}
	return string(b[:])
}

func (w *rmtree) vars() map[string]any { return w.live }
func (w *rmtree) flat() map[string]any { return w.live }

func (w *rmtree) types() []trace.NamedType {
	return []trace.NamedType{{Name: "podbench.Strings", Zero: Strings{}}}
}

func (w *rmtree) size() (int64, int64) {
	return w.p["tv"] * (1 + w.p["tl"]), w.p["tv"] * w.p["tl"] * rmtreeStringBytes
}

func (w *rmtree) checker() (checker, error) {
	again, err := newRmtree(w.p)
	return &replayChecker{w: again}, err
}

// replayChecker runs a deterministic workload a second time and compares.
type replayChecker struct {
	w     workload
	extra func(vars map[string]any) error // what DeepEqual does not see; may be nil
}

func (c *replayChecker) advance() error {
	_, err := c.w.next()
	return err
}

func (c *replayChecker) check(vars map[string]any) error {
	want := c.w.vars()
	if len(vars) != len(want) {
		return fmt.Errorf("%d variables, expected %d", len(vars), len(want))
	}
	for name, value := range want {
		if !reflect.DeepEqual(value, vars[name]) {
			return fmt.Errorf("variable %q differs from what was saved", name)
		}
	}
	if c.extra != nil {
		return c.extra(vars)
	}
	return nil
}
