package main

import (
	"errors"
	"io"
	"math/rand/v2"

	"github.com/poddb/poddb/internal/trace"
)

// Blob is a run of bytes with an identity.
type Blob struct{ Data []byte }

// Node is a list of anything, itself included.
type Node struct{ Items []any }

// rmlist is the published system's workload of sharing and cycles: one big
// blob, a list of big elements, a list that shares them all and has as many of
// its own, a cycle of two lists, and one list in two others.
type rmlist struct {
	p    params
	rnd  *rand.Rand
	step int64
	live map[string]any
}

func newRmlist(p params) (workload, error) {
	return &rmlist{p: p, rnd: random(p), live: map[string]any{}}, nil
}

func (w *rmlist) next() (delta, error) {
	if w.step == w.p["steps"] {
		return delta{}, io.EOF
	}
	w.step++
	if w.step == 1 {
		return w.build(), nil
	}
	l := w.live["l"].(*Node)
	for _, i := range pick(w.rnd, int(w.p["n"]), int(w.p["replace"])) {
		l.Items[i] = w.blob(w.p["bytes"])
	}
	a := w.live["a"].(*Node)
	a.Items = append(a.Items, w.step)
	return delta{}, nil
}

func (w *rmlist) build() delta {
	l, more, l2, a := &Node{}, &Node{}, &Node{}, &Node{}
	for range w.p["n"] {
		l.Items = append(l.Items, w.blob(w.p["bytes"]))
	}
	more.Items = append(more.Items, l.Items...)
	for range w.p["n"] {
		more.Items = append(more.Items, w.blob(w.p["bytes"]))
	}
	l2.Items = []any{l}
	l.Items = append(l.Items, l2)
	w.live["blob"] = w.blob(w.p["blob"])
	w.live["l"], w.live["more"], w.live["l2"] = l, more, l2
	w.live["a"], w.live["b1"], w.live["b2"] = a, &Node{[]any{a}}, &Node{[]any{a}}
	return delta{set: []string{"a", "b1", "b2", "blob", "l", "l2", "more"}}
}

func (w *rmlist) blob(n int64) *Blob {
	b := make([]byte, n)
	i := 0
	for ; i+8 <= len(b); i += 8 {
		bits := w.rnd.Uint64()
		for j := range 8 {
			b[i+j] = byte(bits >> (8 * j))
		}
	}
	for ; i < len(b); i++ {
		b[i] = byte(w.rnd.Uint64())
	}
	return &Blob{b}
}

func (w *rmlist) vars() map[string]any { return w.live }

// flat opens the cycle: the last element of l is the name of l2.
func (w *rmlist) flat() map[string]any {
	out := make(map[string]any, len(w.live))
	for name, value := range w.live {
		out[name] = value
	}
	l := w.live["l"].(*Node)
	items := append([]any(nil), l.Items...)
	items[len(items)-1] = "l2"
	out["l"] = &Node{items}
	out["l2"] = &Node{[]any{"l"}}
	return out
}

func (w *rmlist) types() []trace.NamedType {
	return []trace.NamedType{{Name: "podbench.Blob", Zero: Blob{}}, {Name: "podbench.Node", Zero: Node{}}}
}

func (w *rmlist) size() (int64, int64) {
	if w.step == 0 {
		return 0, 0
	}
	seen := map[*Blob]bool{}
	payload := int64(0)
	count := func(v any) {
		if b, ok := v.(*Blob); ok && !seen[b] {
			seen[b] = true
			payload += int64(len(b.Data))
		}
	}
	for _, v := range w.live {
		count(v)
		if n, ok := v.(*Node); ok {
			for _, item := range n.Items {
				count(item)
			}
		}
	}
	const lists = 6
	return int64(len(seen)) + lists, payload
}

func (w *rmlist) checker() (checker, error) {
	again, err := newRmlist(w.p)
	return &replayChecker{w: again, extra: rmlistIdentity}, err
}

// rmlistIdentity checks that the cycle closes and that what was shared is one.
func rmlistIdentity(vars map[string]any) error {
	l, _ := vars["l"].(*Node)
	more, _ := vars["more"].(*Node)
	l2, _ := vars["l2"].(*Node)
	b1, _ := vars["b1"].(*Node)
	b2, _ := vars["b2"].(*Node)
	switch {
	case l == nil || more == nil || l2 == nil || b1 == nil || b2 == nil:
		return errors.New("a list is missing")
	case l.Items[len(l.Items)-1] != any(l2) || l2.Items[0] != any(l):
		return errors.New("the cycle of l and l2 does not close")
	case b1.Items[0] != vars["a"] || b2.Items[0] != vars["a"]:
		return errors.New("a is no longer one object")
	}
	return rmlistShared(l, more)
}

// rmlistShared checks that an element is in both lists, or has other contents.
func rmlistShared(l, more *Node) error {
	for i, item := range l.Items[:len(l.Items)-1] {
		mine, theirs := item.(*Blob), more.Items[i].(*Blob)
		if mine != theirs && string(mine.Data) == string(theirs.Data) && len(mine.Data) > 16 {
			return errors.New("an element of l and more is no longer one object")
		}
	}
	return nil
}
