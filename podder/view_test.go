package podder

import (
	"context"
	"errors"
	"math"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

type viewed struct {
	Name   string
	hidden int
	Next   *viewed
	List   []any
	Bytes  []byte
	Floats []float64
	Grid   [2][2]int16
	ByName map[string]*viewed
	ByPair map[[2]int]bool
	When   time.Time
	Part   []int16 // of Grid
	In     *float64
	Nil    *viewed
	C      complex128
	Fn     func()
	Empty  struct{}
}

// view saves v as the variable x.y and returns the store.
func viewSource(t testing.TB, v any) *fakeStore {
	t.Helper()
	g, err := NewGraph(Config{Registry: NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	store := newFakeStore()
	tx := store.begin()
	saved, err := g.Save(context.Background(), []Root{{Name: "x.y", Value: reflect.ValueOf(v)}}, tx)
	if err != nil {
		t.Fatal(err)
	}
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	return store
}

func jsonOf(t *testing.T, src pod.Source, path string, o JSONOptions) string {
	t.Helper()
	var b strings.Builder
	if err := WriteJSON(context.Background(), src, &b, path, o); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return b.String()
}

func TestJSONShowsAnyObjectWithoutItsTypes(t *testing.T) {
	v := &viewed{
		Name: "a", hidden: 7, Bytes: []byte("bytes"), Floats: []float64{1.5, math.NaN(), math.Inf(-1)},
		Grid: [2][2]int16{{1, -2}, {3, 4}}, ByPair: map[[2]int]bool{{1, 2}: true},
		When: time.Date(2026, 11, 22, 1, 2, 3, 4, time.UTC), C: complex(1, -2),
	}
	v.Next = &viewed{Name: strings.Repeat("long", 2000), Next: v}
	v.List = []any{1, "two", 3.5, nil, v.Next, []int{1, 2}}
	v.ByName = map[string]*viewed{"self": v, "odd \"key\"": v.Next}
	v.Part, v.In = v.Grid[1][:], &v.Floats[0]
	src := viewSource(t, v)
	for path, want := range map[string]string{
		"x.y.Name":                    `"a"`,
		"x.y.hidden":                  `7`,
		"x.y.Bytes":                   `"Ynl0ZXM="`,
		"x.y.Floats":                  `[1.5,"NaN","-Inf"]`,
		"x.y.Floats[0]":               `1.5`,
		"x.y.Grid":                    `[[1,-2],[3,4]]`,
		"x.y.Grid[0][1]":              `-2`,
		"x.y.Part":                    `[3,4]`,
		"x.y.In":                      `1.5`,
		"x.y.List[1]":                 `"two"`,
		"x.y.List[5]":                 `[1,2]`,
		"x.y.List[4].Next.Name":       `"a"`,
		"x.y.ByName[\"self\"].hidden": `7`,
		"x.y.ByPair":                  `[[[1,2],true]]`,
		"x.y.When":                    `"2026-11-22T01:02:03.000000004Z"`,
		"x.y.Nil":                     `null`,
		"x.y.C":                       `"(1-2i)"`,
		"x.y.Fn":                      `null`,
		"x.y.Empty":                   `{}`,
		"x.y.Next.Name":               `"` + strings.Repeat("long", 2000) + `"`,
	} {
		if got := jsonOf(t, src, path, JSONOptions{}); got != want {
			t.Errorf("%s = %.200s, want %.200s", path, got, want)
		}
	}
	whole := jsonOf(t, src, "x.y", JSONOptions{})
	for _, part := range []string{`"Next":{"$ref":"x.y"}`, `"odd \"key\"":{"$ref":"x.y.Next"}`} {
		if !strings.Contains(whole, part) {
			t.Errorf("no %s in %s", part, whole)
		}
	}
}

func TestJSONOfWhatIsNotThereIsNotFound(t *testing.T) {
	src := viewSource(t, &viewed{List: []any{1}})
	for _, path := range []string{"z", "x", "x.y.None", "x.y.List[1]", "x.y.List[-1]", "x.y.Grid[2]", "x.y.Next.Name", "x.y.ByName[\"no\"]", "x.y.Name.More"} {
		if err := WriteJSON(context.Background(), src, &strings.Builder{}, path, JSONOptions{}); !errors.Is(err, dberr.ErrNotFound) {
			t.Errorf("%s: %v", path, err)
		}
	}
	for _, path := range []string{"x.y[", "x.y[\"a", "x.y.List[0"} {
		if err := WriteJSON(context.Background(), src, &strings.Builder{}, path, JSONOptions{}); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestJSONOfDeepAndCyclicGraphsEnds(t *testing.T) {
	var list *viewed
	for range 100_000 {
		list = &viewed{Next: list}
	}
	got := jsonOf(t, viewSource(t, list), "x.y", JSONOptions{Depth: 3})
	if !strings.Contains(got, `{"$more":"x.y.Next.Next.Next.Next"}`) {
		t.Errorf("depth is not cut: %.300s", got)
	}
	type ptr *ptr
	var p ptr
	for range 100_000 {
		q := p
		p = &q
	}
	if got := jsonOf(t, viewSource(t, &p), "x.y", JSONOptions{}); !strings.Contains(got, "$more") {
		t.Errorf("pointers to pointers: %.100s", got)
	}
	self := []any{nil}
	self[0] = self
	if got := jsonOf(t, viewSource(t, &self), "x.y", JSONOptions{}); got != `[{"$ref":"x.y"}]` {
		t.Errorf("a slice inside itself: %s", got)
	}
}

// FuzzView damages the slots of a stored graph: whatever the bytes say, the
// viewer ends, without a panic, and without output out of proportion.
func FuzzView(f *testing.F) {
	v := &viewed{Name: "a", List: []any{1, "two", []int{3}}, Floats: []float64{1}, ByName: map[string]*viewed{"k": {}}}
	v.Next = v
	v.Part = v.Grid[0][:]
	for i := range 8 {
		f.Add(uint16(i*7), byte(i), []byte{0xff, byte(i), 0x80})
	}
	f.Fuzz(func(t *testing.T, at uint16, slot byte, patch []byte) {
		store := viewSource(t, v)
		for _, p := range store.pods {
			d := &p.Slots[int(slot)%len(p.Slots)]
			b := append([]byte(nil), d.Bytes...)
			if len(b) > 0 {
				copy(b[int(at)%len(b):], patch)
			}
			d.Bytes = b
		}
		var out strings.Builder
		_ = WriteJSON(context.Background(), store, &out, "x.y", JSONOptions{}) // an error or some JSON
		if out.Len() > 1<<20 {
			t.Errorf("%d bytes of JSON", out.Len())
		}
	})
}

// TestJSONShowsSlicesOfOneObjectAndEmptyTails: an object is an array of one, and
// an empty slice may begin behind everything that is stored of its array.
func TestJSONShowsSlicesOfOneObjectAndEmptyTails(t *testing.T) {
	type pieces struct {
		One  *viewed
		As   []viewed
		Tail []*viewed
		Head []*viewed
	}
	list, many := []viewed{{Name: "a"}, {Name: "b"}}, make([]*viewed, 9)
	src := viewSource(t, &pieces{One: &list[0], As: list[:1:1], Tail: many[7:7], Head: many[:2]})
	for path, want := range map[string]string{"x.y.As[0].Name": `"a"`, "x.y.Tail": `[]`, "x.y.Head": `[null,null]`} {
		if got := jsonOf(t, src, path, JSONOptions{}); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := jsonOf(t, src, "x.y.As", JSONOptions{}); !strings.Contains(got, `"a"`) {
		t.Errorf("As is %s", got)
	}
}

// TestJSONShowsArraysOverElements: of slices and pointers over one memory that show
// it as elements and as arrays of them, each is written as what it is, in runs,
// chunks, fields and single objects.
func TestJSONShowsArraysOverElements(t *testing.T) {
	type link struct {
		ID   int
		Next *link
	}
	type pieces struct {
		All    []int
		Pairs  [][2]int
		Pair   *[2]int
		One    *int
		Grid   [2][4]int8
		Row    []int8
		Halves [][2]int8
		Half   *[2]int8
		Text   []byte
		Words  [][2]byte
		Links  []link
		Twos   [][2]link
		Two    *[2]link
		Single *link
		Alone  [][1]link
		Last   *[2]link
	}
	arrays := func(n int) *pieces {
		p := &pieces{All: make([]int, n), Text: []byte("abcdef"), Links: make([]link, n), Single: &link{ID: 9}}
		for i := range p.All {
			p.All[i] = i
			p.Links[i] = link{i, &p.Links[0]}
		}
		p.Pair, p.One = (*[2]int)(p.All[1:]), &p.All[1]
		p.Pairs = unsafe.Slice(p.Pair, 1)
		p.Grid = [2][4]int8{{1, 2, 3, 4}, {5, 6, 7, 8}}
		p.Row, p.Half = p.Grid[1][1:], (*[2]int8)(p.Grid[1][2:])
		p.Halves = unsafe.Slice(p.Half, 1)
		p.Words = unsafe.Slice((*[2]byte)(p.Text[2:]), 1)
		p.Two, p.Last = (*[2]link)(p.Links[1:]), (*[2]link)(p.Links[n-2:])
		p.Twos = unsafe.Slice(p.Two, 1)
		p.Alone = unsafe.Slice((*[1]link)(unsafe.Pointer(p.Single)), 1)
		return p
	}
	for _, n := range []int{9, 30_000} {
		src := viewSource(t, arrays(n))
		for path, want := range map[string]string{
			"Pairs": `[[1,2]]`, "Pairs[0]": `[1,2]`, "Pairs[0][1]": `2`, "Pair": `[1,2]`, "Pair[1]": `2`, "One": `1`,
			"Row": `[6,7,8]`, "Halves": `[[7,8]]`, "Halves[0][1]": `8`, "Half": `[7,8]`, "Half[0]": `7`,
			"Words": `[[99,100]]`, "Text": `"YWJjZGVm"`, "Two[1].ID": `2`, "Two[1].Next.ID": `0`,
			"Twos[0][1].ID": `2`, "Twos[0][1].Next.ID": `0`, "Last[1].ID": strconv.Itoa(n - 1), "Alone": `[[{"ID":9,"Next":null}]]`,
		} {
			if got := jsonOf(t, src, "x.y."+path, JSONOptions{}); got != want {
				t.Errorf("of %d: %s is %.200s, want %s", n, path, got, want)
			}
		}
		whole := jsonOf(t, src, "x.y", JSONOptions{})
		for _, part := range []string{`"Twos":[[{"ID":1,"Next":`, `"Pair":[1,2],"One":1,`, `"Pairs":[[1,2]]`} {
			if !strings.Contains(whole, part) {
				t.Errorf("of %d: no %s in %.600s", n, part, whole)
			}
		}
		for _, path := range []string{"Pairs[1]", "Pairs[0][2]", "Pair[2]", "Pair[0][0]", "Twos[0][2]"} {
			if err := WriteJSON(context.Background(), src, &strings.Builder{}, "x.y."+path, JSONOptions{}); !errors.Is(err, dberr.ErrNotFound) {
				t.Errorf("of %d: %s: %v", n, path, err)
			}
		}
	}
}

// TestJSONOfSlicesInSlicesEnds: there are 2^60 ways through sixty slices of two, and
// endless ones through slices of each other; each slice is written once.
func TestJSONOfSlicesInSlicesEnds(t *testing.T) {
	type tower []tower
	var top tower
	for range 60 {
		top = tower{top, top}
	}
	got := jsonOf(t, viewSource(t, &top), "x.y", JSONOptions{})
	if !strings.Contains(got, `,{"$ref":"x.y[0][0]`) || len(got) > 30_000 {
		t.Errorf("%d bytes: %.200s", len(got), got)
	}
	circle := make(tower, 50)
	for i := range circle {
		circle[i] = circle[i:]
	}
	if got := jsonOf(t, viewSource(t, &circle), "x.y", JSONOptions{}); len(got) > 1_000_000 {
		t.Errorf("%d bytes", len(got))
	}
	// Shared numbers are written for each.
	type two struct{ A, B, C []int }
	n := []int{1, 2, 3}
	if got := jsonOf(t, viewSource(t, &two{n, n, n[:2]}), "x.y", JSONOptions{}); got != `{"A":[1,2,3],"B":[1,2,3],"C":[1,2]}` {
		t.Errorf("shared numbers: %s", got)
	}
	// A shorter slice of what leads further is not the longer one.
	type links struct{ A, B, C []*int }
	p := []*int{&n[0], nil, nil}
	if got := jsonOf(t, viewSource(t, &links{p, p[:2], p}), "x.y", JSONOptions{}); got != `{"A":[1,null,null],"B":[{"$ref":"x.y.A[0]"},null],"C":{"$ref":"x.y.A"}}` {
		t.Errorf("shared pointers: %s", got)
	}
}

// Elements may be stored in no bytes at all; how many of them are shown is bounded.
func TestElementsWithoutBytesAreShown(t *testing.T) {
	type hollow struct {
		N int `pod:"-"`
	}
	list := make([]hollow, 300)
	if got, want := jsonOf(t, viewSource(t, &list), "x.y", JSONOptions{}), "["+strings.Repeat("{},", 299)+"{}]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	list = make([]hollow, maxHollow+100)
	var b strings.Builder
	if err := WriteJSON(t.Context(), viewSource(t, &list), &b, "x.y", JSONOptions{}); !errors.Is(err, dberr.ErrTooLarge) {
		t.Errorf("%d elements: %v, want ErrTooLarge", len(list), err)
	}
}
