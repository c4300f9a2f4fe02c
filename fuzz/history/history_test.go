package history

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func app(key string, v int) Op              { return Op{Kind: Append, Key: key, Value: v} }
func rd(key string, seen ...int) Op         { return Op{Kind: Read, Key: key, Seen: seen} }
func rep(key string, v int, seen ...int) Op { return Op{Kind: Replace, Key: key, Value: v, Seen: seen} }
func look(key string, seen ...int) Op       { return Op{Kind: Look, Key: key, Seen: seen} }
func add(key string, v int) Op              { return Op{Kind: Add, Key: key, Value: v} }
func members(key string, seen ...int) Op    { return Op{Kind: Members, Key: key, Seen: seen} }
func at(begin, end int64, ops ...Op) Txn    { return Txn{Ops: ops, Begin: begin, End: end} }
func ended(o Outcome, ops ...Op) Txn        { return Txn{Ops: ops, Outcome: o} }

// over gives transactions times that all overlap.
func over(txns ...Txn) []Txn {
	for i := range txns {
		if txns[i].Begin == 0 && txns[i].End == 0 {
			txns[i].Begin, txns[i].End = int64(i+1), int64(1000+i)
		}
	}
	return txns
}

// Each planted anomaly is found, under its name.
func TestPlantedAnomalies(t *testing.T) {
	tx := func(ops ...Op) Txn { return Txn{Ops: ops} }
	for _, c := range []struct {
		name string
		txns []Txn
		want string
		rw   int
	}{
		{"write skew", over(tx(rd("x"), app("y", 1)), tx(rd("y"), app("x", 1)), tx(rd("x", 1), rd("y", 1))), "cycle", 2},
		{"write skew of registers", over(tx(look("x"), rep("y", 1)), tx(look("y"), rep("x", 1))), "cycle", 2},
		{"write skew of sets", over(tx(members("x"), add("y", 1)), tx(members("y"), add("x", 1))), "cycle", 2},
		{"read skew", over(tx(app("x", 1), app("y", 1)), tx(rd("x", 1), rd("y")), tx(rd("y", 1))), "cycle", 1},
		{"lost append", over(tx(rd("x"), app("x", 1)), tx(rd("x"), app("x", 2)), tx(rd("x", 1, 2))), "cycle", 1},
		{"lost update", over(tx(rep("r", 1)), tx(rep("r", 2, 1)), tx(rep("r", 3, 1))), "lost update", 0},
		{"dirty write", over(tx(app("x", 1), app("y", 2)), tx(app("x", 2), app("y", 1)), tx(rd("x", 1, 2), rd("y", 1, 2))), "cycle", 0},
		{"circular information", over(tx(app("x", 1), rd("y", 1)), tx(app("y", 1), rd("x", 1))), "cycle", 0},
		{"dirty read", over(ended(Aborted, app("x", 1)), tx(rd("x", 1))), "dirty read", 0},
		{"dirty read of a register", over(ended(Aborted, rep("x", 1)), tx(look("x", 1))), "dirty read", 0},
		{"dirty read of a set", over(ended(Aborted, add("x", 1)), tx(members("x", 1))), "dirty read", 0},
		{"intermediate read", over(tx(app("x", 1), app("x", 2)), tx(rd("x", 1))), "intermediate read", 0},
		{"intermediate read of a register", over(tx(rep("x", 1), rep("x", 2, 1)), tx(look("x", 1))), "intermediate read", 0},
		{"own write not seen", over(tx(app("x", 1), rd("x"))), "internal", 0},
		{"own write of a register not seen", over(tx(rep("x", 1), look("x"))), "internal", 0},
		{"own element not seen", over(tx(add("x", 1), members("x"))), "internal", 0},
		{"a read that does not repeat", over(tx(rd("x"), rd("x", 1)), tx(app("x", 1))), "internal", 0},
		{"two orders", over(tx(app("x", 1)), tx(app("x", 2)), tx(rd("x", 1, 2)), tx(rd("x", 2, 1))), "order", 0},
		{"an element twice", over(tx(app("x", 1)), tx(rd("x", 1, 1))), "duplicate", 0},
		{"an element from nowhere", over(tx(rd("x", 7))), "garbage", 0},
		{"half of an unknown transaction", over(ended(Unknown, app("x", 1), app("y", 1)), tx(rd("x", 1), rd("y")), tx(rd("x", 1), rd("y", 1))), "cycle", 1},
		{"a phantom", over(tx(members("s"), app("x", 1)), tx(rd("x"), add("s", 1))), "cycle", 2},
		{"a stale read", []Txn{at(1, 2, app("x", 1)), at(3, 4, rd("x"))}, "cycle", 1},
		{"a commit that is lost", []Txn{at(1, 2, add("s", 1)), at(3, 4, members("s"))}, "cycle", 1},
		{"time against two dependencies", []Txn{at(1, 9, rd("x", 1), app("y", 1)), at(2, 3, rd("y", 1)), at(4, 8, app("x", 1))}, "cycle", 0},
		{"three in a circle", over(tx(rd("x"), app("y", 1)), tx(rd("y"), app("z", 1)), tx(rd("z"), app("x", 1)), tx(rd("x", 1), rd("y", 1), rd("z", 1))), "cycle", 3},
	} {
		found := Check(c.txns)
		ok := slices.ContainsFunc(found, func(a Anomaly) bool { return a.Kind == c.want && a.RW == c.rw })
		if !ok {
			t.Errorf("%s: found %v", c.name, found)
		}
		if c.want == "cycle" && len(found) != 1 {
			t.Errorf("%s: more than the cycle: %v", c.name, found)
		}
	}
}

// Histories that were run one after the other have none, and neither have those
// whose transactions overlap in time but not in effect.
func TestNothingIsFoundInSerialHistories(t *testing.T) {
	tx := func(ops ...Op) Txn { return Txn{Ops: ops} }
	for name, txns := range map[string][]Txn{
		"unknown that happened":     over(ended(Unknown, app("x", 1), rd("y")), tx(rd("x", 1))),
		"unknown that did not":      over(ended(Unknown, app("x", 1), rd("y", 9)), tx(rd("x"))),
		"aborted saw nonsense":      over(ended(Aborted, rd("x", 9))),
		"against the order of time": {at(1, 10, app("x", 1)), at(2, 9, rd("x"))},
		"own writes":                over(tx(app("x", 1), rd("x", 1), app("x", 2), rd("x", 1, 2), rep("r", 1), look("r", 1), rep("r", 2, 1), add("s", 1), members("s", 1))),
	} {
		if found := Check(txns); len(found) > 0 {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// random runs n transactions one after the other and gives them times that
// overlap up to width others.
func random(seed uint64, n, width int) []Txn {
	rng := rand.New(rand.NewPCG(seed, 1))
	lists, registers, sets := map[string][]int{}, map[string]int{}, map[string]map[int]bool{}
	var txns []Txn
	value := 0
	for i := range n {
		var ops []Op
		was := func(l []int) []int { return slices.Clone(l) }
		aborted := rng.IntN(10) == 0
		l2, r2, s2 := map[string][]int{}, map[string]int{}, map[string]map[int]bool{}
		for k, v := range lists {
			l2[k] = was(v)
		}
		for k, v := range registers {
			r2[k] = v
		}
		for k, v := range sets {
			s2[k] = map[int]bool{}
			for e := range v {
				s2[k][e] = true
			}
		}
		for range 1 + rng.IntN(4) {
			key := fmt.Sprint(rng.IntN(4))
			value++
			switch rng.IntN(6) {
			case 0:
				l2["l"+key] = append(l2["l"+key], value)
				ops = append(ops, app("l"+key, value))
			case 1:
				ops = append(ops, rd("l"+key, was(l2["l"+key])...))
			case 2:
				ops = append(ops, Op{Kind: Replace, Key: "r" + key, Value: value, Seen: one(r2["r"+key])})
				r2["r"+key] = value
			case 3:
				ops = append(ops, Op{Kind: Look, Key: "r" + key, Seen: one(r2["r"+key])})
			case 4:
				if s2["s"+key] == nil {
					s2["s"+key] = map[int]bool{}
				}
				s2["s"+key][value] = true
				ops = append(ops, add("s"+key, value))
			case 5:
				var seen []int
				for v := range s2["s"+key] {
					seen = append(seen, v)
				}
				ops = append(ops, members("s"+key, seen...))
			}
		}
		t := Txn{Ops: ops, Begin: int64(1000*i - rng.IntN(1000*width+1)), End: int64(1000*i + 1 + rng.IntN(1000*width+1))}
		if aborted {
			t.Outcome = Aborted
		} else {
			lists, registers, sets = l2, r2, s2
		}
		txns = append(txns, t)
	}
	stamps := map[int64]bool{}
	for i := range txns { // different moments
		for stamps[txns[i].Begin] || txns[i].Begin == 0 {
			txns[i].Begin--
		}
		stamps[txns[i].Begin] = true
		for stamps[txns[i].End] || txns[i].End == 0 {
			txns[i].End++
		}
		stamps[txns[i].End] = true
	}
	return txns
}

func one(v int) []int {
	if v == 0 {
		return nil
	}
	return []int{v}
}

// Random serial histories are clean; with one value taken out of what one
// transaction saw they are not, unless the end of the history says nothing about
// it.
func TestRandomHistories(t *testing.T) {
	noticed, spoiled := 0, 0
	for seed := range uint64(60) {
		txns := random(seed, 80, 3)
		if found := Check(txns); len(found) > 0 {
			t.Fatalf("seed %d: %v", seed, found)
		}
		rng := rand.New(rand.NewPCG(seed, 2))
		for range 200 {
			i := rng.IntN(len(txns))
			o := &txns[i].Ops[rng.IntN(len(txns[i].Ops))]
			if txns[i].Outcome == Aborted || len(o.Seen) < 2 {
				continue
			}
			spoiled++
			was := o.Seen
			o.Seen = o.Seen[:len(o.Seen)-1]
			if len(Check(txns)) > 0 {
				noticed++
			}
			o.Seen = was
			break
		}
	}
	if spoiled < 30 || noticed < spoiled/2 {
		t.Fatalf("%d of %d spoiled histories were noticed", noticed, spoiled)
	}
}

// The search is not slower than it needs to be, and the report is bounded.
func TestManyAnomalies(t *testing.T) {
	var txns []Txn
	for i := range 500 {
		k := fmt.Sprint(i)
		txns = append(txns, Txn{Ops: []Op{rd("x" + k), app("y"+k, 1)}}, Txn{Ops: []Op{rd("y" + k), app("x"+k, 1)}},
			Txn{Ops: []Op{rd("x"+k, 1), rd("y"+k, 1)}})
	}
	for i := range txns {
		txns[i].Begin, txns[i].End = int64(i+1), int64(1e6+i)
	}
	found := Check(txns)
	if len(found) != maxFound || !strings.HasPrefix(found[0].String(), "cycle: T") {
		t.Fatalf("%d: %v", len(found), found[0])
	}
}
