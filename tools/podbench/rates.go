package main

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strconv"
)

// The rates compare poddb with the encoders that Go programs use, on values that
// those can write at all: no cycles, nothing shared. A value is built in a
// process of its own, written and read back by one system, and compared with
// the original.

// rateCase is a value that every system can write.
type rateCase struct {
	name  string
	about string
	item  string
	items int
	loops rateLoops
	run   func(c codec, loops rateLoops) (rateSample, error)
}

// rateSample is what one process measured, in seconds of processor time.
type rateSample struct {
	Encode, Decode []float64
	Bytes          int
}

// codec is one system. encode keeps the encoded bytes in memory of its own, which
// the next call uses again; decode fills in *into from them.
type codec interface {
	encode(v any) error
	size() int
	decode(into any) error
}

func rateCases() []rateCase {
	return []rateCase{
		rateCaseOf("tree", "1,000,000 structs: name, score, 0 to 3 tags, 8 children, map of 1 to 3 entries", "node",
			rateTreeNodes, rateLoops{2, 3}, func() *rateNode { return buildRateTree(0, rateTreeNodes) }, equalRateNodes),
		rateCaseOf("floats", "[]float64 of 10,000,000 elements", "element", 10_000_000, rateLoops{3, 4}, buildRateFloats, slices.Equal[[]float64]),
		rateCaseOf("map", "map[string]int of 100,000 entries", "entry", rateMapEntries, rateLoops{4, 20}, buildRateMap, maps.Equal[map[string]int, map[string]int]),
		rateCaseOf("users", "map[string]*User of 100,000 structs with strings, tags and sessions", "entry",
			rateMapEntries, rateLoops{3, 8}, buildRateUsers, func(a, b map[string]*rateUser) bool { return reflect.DeepEqual(a, b) }),
	}
}

// rateLoops is how often one process measures, and how many calls in a row a measurement is the mean
// of. Between two calls the collector runs when it has to: what it does is a part of each, as in a
// program that goes on. Of one call on a heap that was just collected chance decides whether a
// collection, which costs as much as half of a decoding, falls into it or begins just behind it.
type rateLoops struct{ rounds, calls int }

// rateHeap is memory that each process has besides, as a program with other data: how often the
// collector runs follows from what a system allocates then, not from how large the buffers are that
// it keeps. Nothing is in it, so nothing looks at it.
const rateHeap = 512 << 20

// rateCaseOf makes the case of one type. The first round of each direction warms
// caches, buffers and the heap, and is not measured.
func rateCaseOf[T any](name, about, item string, items int, loops rateLoops, build func() T, equal func(a, b T) bool) rateCase {
	run := func(c codec, loops rateLoops) (s rateSample, err error) {
		heap := make([]byte, rateHeap)
		defer runtime.KeepAlive(heap)
		value := build()
		for i := range loops.rounds + 1 {
			used, err := cpuOfCalls(loops.calls, func() error { return c.encode(value) })
			if err != nil {
				return s, fmt.Errorf("encode: %w", err)
			}
			if i > 0 {
				s.Encode = append(s.Encode, used)
			}
		}
		s.Bytes = c.size()
		for i := range loops.rounds + 1 {
			var got T
			used, err := cpuOfCalls(loops.calls, func() error {
				got = *new(T)
				return c.decode(&got)
			})
			if err != nil {
				return s, fmt.Errorf("decode: %w", err)
			}
			if !equal(value, got) {
				return s, fmt.Errorf("what was read is not what was written")
			}
			if i > 0 {
				s.Decode = append(s.Decode, used)
			}
		}
		runtime.KeepAlive(value)
		return s, nil
	}
	return rateCase{name, about, item, items, loops, run}
}

// cpuOf returns the seconds of processor time that fn takes, with what the
// collector does meanwhile, on a heap that was just collected.
func cpuOf(fn func() error) (float64, error) {
	runtime.GC()
	before := cpuTime()
	err := fn()
	return (cpuTime() - before).Seconds(), err
}

// cpuOfCalls is cpuOf in the mean of several calls, with what the collector does in and
// between them.
func cpuOfCalls(calls int, fn func() error) (float64, error) {
	used, err := cpuOf(func() error {
		for range calls {
			if err := fn(); err != nil {
				return err
			}
		}
		return nil
	})
	return used / float64(calls), err
}

// rateNode is a node of the tree. The array tags give cbor its fastest form;
// msgpack is told by an option of its encoder.
type rateNode struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Score    float64
	Tags     []string
	Children []*rateNode
	Attrs    map[string]int
}

const (
	rateTreeNodes  = 1_000_000
	rateFanOut     = 8
	rateMapEntries = 100_000
)

// rateWords are what tags and attributes are named by.
var rateWords = [...]string{"alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta",
	"iota", "kappa", "lambda", "mu", "nu", "xi", "omicron", "pi"}

// buildRateTree makes node i of a complete tree of n, with what is below it: a
// parent before its children, one child after the other, as recursive code
// allocates and as the rivals walk.
func buildRateTree(i, n int) *rateNode {
	word := func(k int) string { return rateWords[(i*7+k*5)%len(rateWords)] }
	node := &rateNode{Name: "node-" + strconv.Itoa(i), Score: 1 / float64(i+3), Attrs: make(map[string]int, 3)}
	for k := range i % 4 {
		node.Tags = append(node.Tags, word(k))
	}
	for k := range 1 + i%3 {
		node.Attrs[word(k)] = i + k
	}
	first := rateFanOut*i + 1
	if first < n {
		node.Children = make([]*rateNode, min(rateFanOut, n-first))
		for k := range node.Children {
			node.Children[k] = buildRateTree(first+k, n)
		}
	}
	return node
}

func equalRateNodes(a, b *rateNode) bool {
	return a.Name == b.Name && a.Score == b.Score && slices.Equal(a.Tags, b.Tags) && maps.Equal(a.Attrs, b.Attrs) &&
		slices.EqualFunc(a.Children, b.Children, equalRateNodes)
}

func buildRateFloats() []float64 {
	out := make([]float64, 10_000_000)
	x := 0.5
	for i := range out {
		x = 3.9 * x * (1 - x) // a chaotic sequence: all bits of the fractions differ
		out[i] = x
	}
	return out
}

func buildRateMap() map[string]int {
	m := make(map[string]int)
	for i := range rateMapEntries {
		m["key-"+strconv.Itoa(i)] = i * 31
	}
	return m
}

type rateUser struct {
	_        struct{} `cbor:",toarray"`
	ID       int64
	Name     string
	Email    string
	Balance  float64
	Active   bool
	Tags     []string
	Sessions []rateSession
}

type rateSession struct {
	_       struct{} `cbor:",toarray"`
	Token   string
	Started int64
	Hits    int
}

func buildRateUsers() map[string]*rateUser {
	m := make(map[string]*rateUser)
	for i := range rateMapEntries {
		id := strconv.Itoa(i)
		u := &rateUser{ID: int64(i), Name: "user " + id, Email: "user" + id + "@example.com", Balance: float64(i) / 7, Active: i%3 > 0}
		for k := range 1 + i%3 {
			u.Tags = append(u.Tags, rateWords[(i+k)%len(rateWords)])
			u.Sessions = append(u.Sessions, rateSession{Token: "token-" + id + "-" + strconv.Itoa(k), Started: 1_700_000_000 + int64(i), Hits: i % 97})
		}
		m["user-"+id] = u
	}
	return m
}

// buffered is what rivals encode into and decode from.
type buffered struct{ buf bytes.Buffer }

func (b *buffered) size() int { return b.buf.Len() }
