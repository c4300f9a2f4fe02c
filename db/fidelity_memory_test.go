package db_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"unsafe"
	"weak"

	"github.com/poddb/poddb/db"
)

type (
	// reaching has slices that show a part of what they may hold.
	reaching struct {
		A, B  []string
		Nodes []*node
		Nums  []int
		live  bool `pod:"-"` // not loaded
	}
	guardedNumber struct {
		locked
		M *int
	}
	// Either alone, too: what is copied as a whole else.
	withLock struct {
		N  int
		mu sync.RWMutex
	}
	withSkipped struct {
		N    int
		temp string `pod:"-"`
	}
	// chunked is larger than what is stored in one piece, all of it.
	chunked struct {
		Structs []inner
		Nodes   []*node
		Nums    []float64
		Words   []string
		Raw     []byte
		Boxes   []any
		ByName  map[string]*node
		ByPlace map[*inner]int
		Text    string
		// Into them.
		Mid   []inner
		Elem  *inner
		Str   *string
		Num   *float64
		Slot  **node
		Bytes []byte
		Part  string
	}
)

// noise returns n bytes that do not compress.
func noise(n int) string {
	b, r := make([]byte, n), rand.New(rand.NewPCG(1, uint64(n)))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func newChunked() *chunked {
	c := &chunked{ByName: map[string]*node{}, ByPlace: map[*inner]int{}, Text: noise(200_000)}
	for i := range 10_000 {
		c.Structs = append(c.Structs, inner{i, -i, fmt.Sprint("in ", i)})
		c.Nums = append(c.Nums, float64(i)/7)
		c.Words = append(c.Words, fmt.Sprint("word ", i*i))
		c.Raw = append(c.Raw, noise(16)...)
		c.Boxes = append(c.Boxes, i, fmt.Sprint(i))
		n := &node{Name: fmt.Sprint("n", i%100)}
		c.Nodes = append(c.Nodes, n, n)
		c.ByName[fmt.Sprint("key ", i)] = n
	}
	c.Structs = append([]inner(nil), c.Structs...)
	for i := range c.Structs {
		c.ByPlace[&c.Structs[i]] = i
	}
	c.Mid, c.Elem, c.Str, c.Num = c.Structs[4000:4100], &c.Structs[5000], &c.Structs[6000].s, &c.Nums[7000]
	c.Slot, c.Bytes, c.Part = &c.Nodes[9000], c.Raw[50_000:50_010], c.Text[100_000:150_000]
	return c
}

// changedInTheMidst is what a step does to the above.
func (c *chunked) changedInTheMidst() {
	c.Structs[5000].x = 77
	c.Nums[7000] = 0.5
	c.Words[3000] = "changed"
	c.Raw[50_000] = 'x'
	c.Nodes[9000] = c.Nodes[0]
	c.Boxes[5001] = c.Elem
	c.ByName["key 5000"] = c.Nodes[0]
	delete(c.ByName, "key 6000")
	c.ByPlace[&c.Structs[4000]] = -1
	c.Text = c.Text[:1000] + "inserted" + c.Text[1000:]
	c.Words = append(append(append([]string{}, c.Words[:5000]...), "inserted"), c.Words[5000:]...)
}

func (c *chunked) check(t *testing.T) {
	t.Helper()
	text := noise(200_000)
	ok := len(c.Structs) == 10_000 && len(c.Nums) == 10_000 && len(c.Words) == 10_001 && len(c.Nodes) == 20_000 && len(c.Boxes) == 20_000
	is(t, "lengths", ok && len(c.Raw) == 160_000 && len(c.ByName) == 9999 && len(c.ByPlace) == 10_000)
	for i := range 10_000 {
		x, f, w, place := i, float64(i)/7, fmt.Sprint("word ", i*i), i
		switch i {
		case 5000:
			x = 77
		case 7000:
			f = 0.5
		case 3000:
			w = "changed"
		case 4000:
			place = -1
		}
		at := i
		if i >= 5000 {
			at++
		}
		ok = ok && c.Structs[i] == inner{x, -i, fmt.Sprint("in ", i)} && c.Nums[i] == f && c.Words[at] == w && c.ByPlace[&c.Structs[i]] == place
		n := c.Nodes[2*i]
		if i == 4500 {
			ok = ok && n == c.Nodes[0] && c.Nodes[2*i+1].Name == "n0" && c.Nodes[2*i+1] != n
			n = c.Nodes[2*i+1]
		}
		ok = ok && n.Name == fmt.Sprint("n", i%100) && c.Nodes[2*i+1] == n && c.Boxes[2*i] == i
		switch e := c.ByName[fmt.Sprint("key ", i)]; i {
		case 5000:
			ok = ok && e == c.Nodes[0]
		case 6000:
			ok = ok && e == nil
		default:
			ok = ok && e == n
		}
	}
	is(t, "every element", ok)
	is(t, "bytes and text", string(c.Raw) == strings.Repeat(noise(16), 3125)+"x"+strings.Repeat(noise(16), 6875)[1:] &&
		c.Text == text[:1000]+"inserted"+text[1000:] && c.Words[5000] == "inserted" && c.Boxes[5001] == any(c.Elem))
	is(t, "slices and pointers into them", &c.Mid[0] == &c.Structs[4000] && len(c.Mid) == 100 && cap(c.Mid) == cap(c.Structs)-4000 && c.Elem == &c.Structs[5000] && c.Str == &c.Structs[6000].s &&
		c.Num == &c.Nums[7000] && c.Slot == &c.Nodes[9000] && &c.Bytes[0] == &c.Raw[50_000])
	is(t, "a part of the text that it was", c.Part == text[100_000:150_000])
}

func memoryRows() []row {
	type reach struct{ X *reaching }
	type chunks struct {
		C    *chunked
		Elem *inner
		Mid  *[]inner
	}
	type substrings struct {
		All  *[]string
		Some *map[string]string
	}
	type locks struct {
		X *guardedNumber
		L *[]withLock
		S *[2]withSkipped
	}
	type weakly struct {
		N *node
		W *[]weak.Pointer[node] // loaded before what it leads to
	}
	return []row{
		kept("weak pointers to what another variable holds", func() *weakly {
			n := &node{Name: "n", Left: &node{Name: "left"}}
			return &weakly{n, &[]weak.Pointer[node]{weak.Make(n), {}, weak.Make(n.Left)}}
		}, func(t *testing.T, v *weakly) {
			l := *v.W
			is(t, "its target", l[0].Value() == v.N && l[1].Value() == nil && l[2].Value() == v.N.Left && v.N.Left.Name == "left")
		}),
		kept("elements beyond the furthest that a slice reaches are zero, those before it are kept", func() *reach {
			s := []string{"0", "1", "2", "3", "4"}
			n := []*node{{Name: "0"}, {Name: "1"}, {Name: "2"}}
			return &reach{&reaching{A: s[:1], B: s[2:3], Nodes: n[:1:2], Nums: []int{0, 1, 2, 3}[:0], live: true}}
		}, func(t *testing.T, v *reach) {
			x := v.X
			is(t, "capacities", cap(x.A) == 5 && cap(x.B) == 3 && cap(x.Nodes) == 2 && cap(x.Nums) == 4)
			is(t, "one array", &x.A[:3][2] == &x.B[0])
			is(t, "what another slice reaches", x.A[:2][1] == "1" && x.B[0] == "2")
			is(t, "what none reaches", x.live || x.A[:5][3] == "" && x.A[:5][4] == "" && x.Nodes[:2][1] == nil)
			is(t, "numbers", x.Nums[:4][3] == 3)
		}),
		kept("many substrings of one long string store it once", func() *substrings {
			long := noise(1 << 20)
			v := &substrings{&[]string{long[5:]}, &map[string]string{"tail": long[1<<19:]}}
			for i := range 100 {
				*v.All = append(*v.All, long[i*5000:][:5000+i*1000])
			}
			return v
		}, func(t *testing.T, v *substrings) {
			long := noise(1 << 20)
			at := func(s string) uintptr {
				return uintptr(unsafe.Pointer(unsafe.StringData(s))) - uintptr(unsafe.Pointer(unsafe.StringData((*v.All)[0])))
			}
			for i, s := range (*v.All)[1:] {
				is(t, "a substring", s == long[i*5000:][:5000+i*1000] && at(s)+5 == uintptr(i*5000))
			}
			is(t, "another variable", (*v.Some)["tail"] == long[1<<19:] && at((*v.Some)["tail"])+5 == 1<<19)
		}).after(func(t *testing.T, ns *db.Namespace, vars any) {
			if n := ns.LastSave().Bytes; n < 1<<20 || n > 1<<20+20_000 {
				t.Errorf("%d bytes for a string of 2^20", n)
			}
		}),
		kept("containers in chunks, what points into them, changes in their midst", func() *chunks {
			c := newChunked()
			mid := c.Structs[5000:5001]
			return &chunks{c, &c.Structs[4000], &mid}
		}, func(t *testing.T, v *chunks) {
			v.C.check(t)
			is(t, "other variables", v.Elem == &v.C.Mid[0] && &(*v.Mid)[0] == v.C.Elem)
		}).after(did(func(v *chunks) { v.C.changedInTheMidst() })),
		kept("locks are left alone by a checkout, also those that are held", func() *locks {
			return &locks{&guardedNumber{M: new(int), locked: locked{N: 1}}, &[]withLock{{N: 1}, {N: 2}}, &[2]withSkipped{{N: 1}, {N: 2}}}
		}, func(t *testing.T, v *locks) {
			is(t, "what was checked out", v.X.N == 1 && *v.X.M == 0 && (*v.L)[0].N == 1 && (*v.L)[1].N == 2 && v.S[0].N == 1 && v.S[1].N == 2)
		}).after(did(func(v *locks) { v.X.N, *v.X.M, (*v.L)[1].N, v.S[1].N = 2, 5, 7, 8 }), func(t *testing.T, ns *db.Namespace, vars any) {
			x, l, s := vars.(*locks).X, &(*vars.(*locks).L)[1], &vars.(*locks).S[1]
			l.mu.RLock()
			s.temp = "kept"
			x.mu.Lock()
			x.rw.RLock()
			x.wg.Add(1)
			x.once.Do(func() {})
			x.temp, x.fn = "kept", func() {}
			if err := ns.Checkout(context.Background(), 1, db.CheckoutOptions{}); err != nil {
				t.Fatal(err)
			}
			done := true
			x.once.Do(func() { done = false })
			is(t, "locks and skipped fields", !x.mu.TryLock() && !x.rw.TryLock() && done && x.temp == "kept" && x.fn != nil)
			is(t, "locks alone, skipped fields alone", !l.mu.TryLock() && s.temp == "kept")
			l.mu.RUnlock()
			x.mu.Unlock()
			x.rw.RUnlock()
			x.wg.Done()
		}, func(t *testing.T, ns *db.Namespace, vars any) { // and never read: the race detector would say so
			x := vars.(*locks).X
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
						x.mu.Lock()
						x.rw.Lock()
						x.rw.Unlock()
						x.mu.Unlock()
						x.temp += "."
					}
				}
			}()
			for range 3 {
				save(t, ns)
			}
			close(stop)
			<-done
		}),
	}
}
