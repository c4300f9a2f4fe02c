package db_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

type shelf struct {
	Name   string
	Items  []*article
	Prices map[string]float64
	ByName map[string]*article
	Any    any
	Raw    []byte
	Nums   []int
	Fixed  [3]int16
	Best   *article
	Next   *shelf
	note   string
}

type article struct {
	Name  string
	Price float64
	Tags  []string
	Like  *article
}

func changes(t *testing.T, d *db.DB, a, b db.Version) string {
	t.Helper()
	var list []string
	for c, err := range d.Diff(context.Background(), a, b) {
		if err != nil {
			t.Fatalf("diff of %d and %d: %v", a, b, err)
		}
		list = append(list, strings.ReplaceAll(c.String(), "github.com/poddb/poddb/db_test.", ""))
	}
	return strings.Join(list, "\n")
}

func stock(n int) *shelf {
	s := &shelf{Name: "shelf", Prices: map[string]float64{}, ByName: map[string]*article{}, Raw: []byte("0123456789"), Nums: []int{1, 2, 3, 4, 5}}
	for i := range n {
		x := &article{Name: fmt.Sprint("article ", i), Price: float64(i), Tags: []string{"a", "b"}}
		s.Items = append(s.Items, x)
		s.Prices[x.Name], s.ByName[x.Name] = x.Price, x
	}
	for i, x := range s.Items {
		x.Like = s.Items[(i+1)%n] // cycles
	}
	s.Best, s.Next = s.Items[1], s
	return s
}

var byName = regexp.MustCompile(`s\.ByName\["article (\d+)"\]`)

// otherWay reports whether got names the articles of want by the map that has them,
// too: both are ways as short, and which is found first depends on where pods lie.
func otherWay(got, want string) bool { return byName.ReplaceAllString(got, "s.Items[$1]") == want }

// Each edit alone gives just these changes, in graphs that are one pod, many pods,
// and containers in chunks.
func TestDiffNamesJustWhatWasEdited(t *testing.T) {
	ctx := context.Background()
	for _, n := range []int{4, 400, 20_000} {
		if n > 1000 && testing.Short() {
			continue
		}
		d := openMemory(t)
		ns := namespace(t, d)
		s := stock(n)
		set(t, ns, "s", s)
		set(t, ns, "t", &map[string]*shelf{"s": s})
		last := save(t, ns)
		mid := n / 2
		for _, c := range []struct {
			edit func()
			want string
		}{
			{func() { s.Name = "renamed" }, `s.Name: "shelf" → "renamed"`},
			{func() { s.note = "hidden" }, `s.note: "" → "hidden"`},
			{func() { s.Items[mid].Price = -5 }, fmt.Sprintf(`s.Items[%d].Price: %d → -5`, mid, mid)},
			{func() { s.Items[mid].Tags[1] = "x"; s.Items[0].Price = 7 }, fmt.Sprintf("s.Items[0].Price: 0 → 7\ns.Items[%d].Tags[1]: \"b\" → \"x\"", mid)},
			{func() { s.Items = append(s.Items, &article{Name: "new"}) }, fmt.Sprintf(`s.Items[%d]: added *article`, n)},
			{func() { s.Items = append([]*article{{Name: "first"}}, s.Items...) }, `s.Items[0]: added *article`},
			{func() { s.Items = append(s.Items[:2:2], s.Items[3:]...) }, `s.Items[2]: removed *article`},
			{func() { s.Items[0], s.Items[2] = s.Items[2], s.Items[0] }, "s.Items[0]: moved from s.Items[2]\ns.Items[2]: moved from s.Items[0]"},
			{func() { s.Prices["new"] = 3; delete(s.Prices, "article 1"); s.Prices["article 2"] = 22 },
				"s.Prices[\"article 1\"]: removed 1\ns.Prices[\"article 2\"]: 2 → 22\ns.Prices[\"new\"]: added 3"},
			{func() { s.Raw[3], s.Raw[4] = 'x', 'y' }, `s.Raw[3:5]: 0x3334 → 0x7879`},
			{func() { s.Raw = append(s.Raw, "ab"...) }, `s.Raw[10:12]: added 0x6162`},
			{func() { s.Nums = []int{1, 2, 9, 3, 4, 5} }, `s.Nums[2]: added 9`},
			{func() { s.Nums[0] = 0 }, `s.Nums[0]: 1 → 0`},
			{func() { s.Fixed[2] = 8 }, `s.Fixed[2]: 0 → 8`},
			{func() { s.Any = 5 }, `s.Any: nil → 5`},
			{func() { s.Any = "five" }, `s.Any: 5 → "five"`},
			{func() { s.Any = s.Items[1] }, `s.Any: "five" → *article`},
			{func() { s.Best = s.Items[2] }, `s.Best: *article → another *article`},
			{func() { s.Best = &article{Name: s.Items[2].Name, Price: -1} }, "*"},
			{func() { s.Best = nil }, `s.Best: *article → nil`},
			{func() { s.Next = nil }, `s.Next: *shelf → nil`},
			{func() { set(t, ns, "u", &person{}) }, `u: added *test.person`},
			{func() { _ = ns.Delete(ctx, "u") }, `u: removed *test.person`},
			{func() { _ = ns.Delete(ctx, "t") }, `t: removed *map[string]*shelf`},
		} {
			c.edit()
			v := save(t, ns)
			if v == last {
				t.Fatalf("%s: no commit", c.want)
			}
			if got := changes(t, d, last, v); c.want == "*" {
				if got == "" || strings.Contains(got, "Items") {
					t.Errorf("%d items: %s", n, got)
				}
			} else if got != c.want && !strings.HasPrefix(c.want, "t:") && !otherWay(got, c.want) {
				t.Errorf("%d items: got\n%s\nwant\n%s", n, got, c.want)
			}
			if got := changes(t, d, v, v); got != "" {
				t.Errorf("a version differs from itself: %s", got)
			}
			last = v
		}
	}
}

// The history of a value names the commits in which it changed, and no others: an oracle
// compares what every version has there.
func TestHistoryOfOneObject(t *testing.T) {
	ctx := context.Background()
	d := openMemory(t)
	ns := namespace(t, d)
	s, other := stock(300), stock(300)
	set(t, ns, "s", s)
	set(t, ns, "o", other)
	save(t, ns)
	rng := rand.New(rand.NewPCG(3, 3))
	for i := range 60 {
		switch rng.IntN(6) {
		case 0:
			s.Items[3].Price += 0.5
		case 1:
			s.Items[rng.IntN(300)].Price += 0.25
		case 2:
			other.Items[rng.IntN(300)].Price++
		case 3:
			s.Name = fmt.Sprint("name ", i)
		case 4:
			s.Items[3].Tags = append(s.Items[3].Tags, "more")
		case 5:
			set(t, ns, "s", s)
			s.Best = s.Items[rng.IntN(300)]
		}
		save(t, ns)
		if i == 30 {
			if err := ns.Delete(ctx, "s"); err != nil {
				t.Fatal(err)
			}
			save(t, ns)
			set(t, ns, "s", s)
			save(t, ns)
		}
	}
	for _, path := range []string{"s.Items[3].Tags", "s.Items[3].Price", "s.Name", "o.Items[7].Price", "s.Best.Price", "s.Prices"} {
		shown := func(v db.Version) string {
			sn := must(d.At(ctx, v))(t)
			defer sn.Close()
			var b strings.Builder
			if err := sn.WriteJSON(ctx, &b, path, db.JSONOptions{}); err != nil {
				return "none"
			}
			return b.String()
		}
		var want, got []db.Version
		for v := must(d.Head(ctx, "main"))(t); v > 0; v-- {
			if shown(v) != shown(v-1) {
				want = append(want, v)
			}
		}
		for c, err := range d.History(ctx, path, db.LogOptions{}) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c.Version)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		var back []db.Version
		for c, err := range d.History(ctx, path, db.LogOptions{Reverse: true}) {
			if err != nil {
				t.Fatal(err)
			}
			back = append([]db.Version{c.Version}, back...)
		}
		if fmt.Sprint(back) != fmt.Sprint(want) {
			t.Errorf("%s, oldest first: %v, want %v", path, back, want)
		}
	}
	for _, err := range d.History(ctx, "none.at.all", db.LogOptions{}) {
		if !errors.Is(err, db.ErrNotFound) {
			t.Errorf("a path that nothing has: %v", err)
		}
	}
}
