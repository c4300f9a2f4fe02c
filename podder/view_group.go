package podder

import (
	"strconv"
	"strings"
)

// What is reached as elements and as arrays of them, as []int and *[4]int over
// the same memory, is stored once, as elements. A reference that shows an array of
// them says so by the text of its type alone: its value is a group of elements.

// group is an array whose elements are some of those of a longer one.
type group struct {
	of   *sliceView
	from uint64 // by the count of the longer one
}

// groupOf returns the array with the type text whose elements are stored as n,
// nil if the text does not say that it is one, as a name does not.
func groupOf(text string, n *node) *node {
	digits, elem, ok := strings.Cut(strings.TrimPrefix(text, "["), "]")
	if length, err := strconv.ParseUint(digits, 10, 64); ok && err == nil && elem == n.text && length > 0 {
		return &node{kind: nodeArray, text: text, length: length, elem: n}
	}
	return nil
}

// grouped returns w, to which r leads, as a value with the type text.
func (v *viewer) grouped(r reference, text string, w view) (view, error) {
	if w.n == nil {
		return w, nil
	}
	g := groupOf(text, w.n)
	if g == nil {
		return w, nil
	}
	s, room, err := v.elements(r)
	if err == nil && g.length > room {
		err = v.corrupt(r.to, "%s where %d elements are", text, room)
	}
	return view{at: s.at, in: s.in, n: g, group: &group{&s, s.from}}, err
}
