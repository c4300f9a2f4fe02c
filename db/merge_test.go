package db_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

// fork makes branch other at main's head and returns a namespace on each.
func fork(t *testing.T, d *db.DB) (main, other *db.Namespace) {
	t.Helper()
	ctx := context.Background()
	if err := d.Branch(ctx, "other", must(d.Head(ctx, "main"))(t)); err != nil {
		t.Fatal(err)
	}
	return namespace(t, d), must(d.Namespace(ctx, "other"))(t)
}

func shelfOf(t *testing.T, ns *db.Namespace) *shelf {
	t.Helper()
	return must(db.Get[*shelf](context.Background(), ns, "s"))(t)
}

// merged merges other into main, checks the commit, and that the result verifies and saves
// nothing when it is loaded.
func merged(t *testing.T, d *db.DB, o db.MergeOptions) (db.MergeReport, *shelf) {
	t.Helper()
	ctx := context.Background()
	o.From = "other"
	r, err := d.Merge(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	c := must(d.CommitOf(ctx, r.Version))(t)
	if !slices.Equal(c.Parents, []db.Version{r.Ours, r.Theirs}) || c.Branch != "main" {
		t.Fatalf("%+v of %+v", c, r)
	}
	verifyDeep(t, d)
	ns := namespace(t, d)
	s := shelfOf(t, ns)
	if v := save(t, ns); v != r.Version {
		t.Fatalf("a load and save after Merge wrote version %d", v)
	}
	return r, s
}

func conflictTexts(list []*db.MergeConflict) string {
	var all []string
	for _, c := range list {
		all = append(all, strings.ReplaceAll(c.String(), "github.com/poddb/poddb/db_test.", ""))
	}
	return strings.Join(all, "\n")
}

func TestMergeOfDisjointChanges(t *testing.T) {
	type edit func(s *shelf)
	for _, n := range []int{4, 400, 6000} {
		if n > 1000 && testing.Short() {
			continue
		}
		mid := n / 2
		for name, c := range map[string]struct {
			ours, theirs edit
			check        func(s *shelf) bool
		}{
			"fields of one object": {
				func(s *shelf) { s.Items[mid].Name = "ours" },
				func(s *shelf) { s.Items[mid].Price = -1 },
				func(s *shelf) bool { return s.Items[mid].Name == "ours" && s.Items[mid].Price == -1 },
			},
			"fields of the root": {
				func(s *shelf) { s.Name, s.Fixed[0] = "ours", 1 },
				func(s *shelf) { s.note, s.Fixed[2] = "theirs", 3 },
				func(s *shelf) bool { return s.Name == "ours" && s.note == "theirs" && s.Fixed == [3]int16{1, 0, 3} },
			},
			"the same edit": {
				func(s *shelf) { s.Name, s.Prices["both"], s.Raw[3] = "same", 7, 'x' },
				func(s *shelf) { s.Name, s.Prices["both"], s.Raw[3] = "same", 7, 'x' },
				func(s *shelf) bool { return s.Name == "same" && s.Prices["both"] == 7 && string(s.Raw) == "012x456789" },
			},
			"keys of a map": {
				func(s *shelf) { s.Prices["ours"] = 1; delete(s.Prices, "article 0"); s.Prices["article 1"] = 11 },
				func(s *shelf) { s.Prices["theirs"] = 2; delete(s.Prices, "article 2"); s.Prices["article 3"] = 33 },
				func(s *shelf) bool {
					_, has0 := s.Prices["article 0"]
					_, has2 := s.Prices["article 2"]
					return s.Prices["ours"] == 1 && s.Prices["theirs"] == 2 && s.Prices["article 1"] == 11 && s.Prices["article 3"] == 33 && !has0 && !has2 && len(s.Prices) == n
				},
			},
			"one key deleted by both": {
				func(s *shelf) { delete(s.Prices, "article 0"); s.Prices["ours"] = 1 },
				func(s *shelf) { delete(s.Prices, "article 0"); s.Prices["theirs"] = 1 },
				func(s *shelf) bool { return len(s.Prices) == n+1 },
			},
			"new objects in a map": {
				func(s *shelf) { s.ByName["ours"] = &article{Name: "ours", Tags: []string{"o"}, Like: s.Items[0]} },
				func(s *shelf) { s.ByName["theirs"] = &article{Name: "theirs", Tags: []string{"t"}, Like: s.Items[1]} },
				func(s *shelf) bool {
					o, d := s.ByName["ours"], s.ByName["theirs"]
					return o.Tags[0] == "o" && d.Tags[0] == "t" && o.Like == s.Items[0] && d.Like == s.Items[1] && len(s.ByName) == n+2
				},
			},
			"new objects in both places": {
				func(s *shelf) { x := &article{Name: "ours"}; s.Best, s.Items[2].Like = x, x },
				func(s *shelf) { x := &article{Name: "theirs"}; s.Items[0].Like, s.Any = x, x },
				func(s *shelf) bool {
					return s.Best.Name == "ours" && s.Best == s.Items[2].Like && s.Items[0].Like.Name == "theirs" && s.Any == s.Items[0].Like
				},
			},
			"elements of slices": {
				func(s *shelf) { s.Nums[1], s.Raw[0] = 22, 'o'; s.Items[0].Tags[1] = "o" },
				func(s *shelf) { s.Nums[3], s.Raw[9] = 44, 't'; s.Items[0].Tags[0] = "t" },
				func(s *shelf) bool {
					return fmt.Sprint(s.Nums) == "[1 22 3 44 5]" && string(s.Raw) == "o12345678t" && fmt.Sprint(s.Items[0].Tags) == "[t o]"
				},
			},
			"elements appended on one side": {
				func(s *shelf) { s.Items = append(s.Items, &article{Name: "new"}) },
				func(s *shelf) { s.Items[1].Price = 111; s.Nums = append(s.Nums, 6) },
				func(s *shelf) bool {
					return len(s.Items) == n+1 && s.Items[n].Name == "new" && s.Items[1].Price == 111 && s.Best == s.Items[1] && len(s.Nums) == 6
				},
			},
			"an element removed, others edited": {
				func(s *shelf) {
					s.Items = slices.Delete(s.Items, n-1, n)
					delete(s.ByName, fmt.Sprint("article ", n-1))
					s.Items[n-2].Like = nil
				},
				func(s *shelf) { s.Items[0].Price = 5 },
				func(s *shelf) bool { return len(s.Items) == n-1 && s.Items[0].Price == 5 && len(s.ByName) == n-1 },
			},
			"references to old objects": {
				func(s *shelf) { s.Best = s.Items[0] },
				func(s *shelf) { s.Items[0].Price, s.Any = 9, s.Items[n-1] },
				func(s *shelf) bool { return s.Best == s.Items[0] && s.Best.Price == 9 && s.Any == s.Items[n-1] },
			},
			"the same new objects": {
				func(s *shelf) { x := &article{Name: "x"}; x.Like = x; s.Best, s.Items[0].Like = x, x },
				func(s *shelf) { x := &article{Name: "x"}; x.Like = x; s.Best, s.Items[1].Like = x, x },
				func(s *shelf) bool {
					return s.Best.Name == "x" && s.Best.Like == s.Best && s.Items[0].Like == s.Best && s.Items[1].Like == s.Best
				},
			},
			"long texts": {
				func(s *shelf) { s.Name = strings.Repeat("o", 9000); s.Items[0].Name = strings.Repeat("same", 3000) },
				func(s *shelf) { s.note = strings.Repeat("t", 9000); s.Items[0].Name = strings.Repeat("same", 3000) },
				func(s *shelf) bool {
					return s.Name[8999] == 'o' && s.note[8999] == 't' && len(s.Items[0].Name) == 12000
				},
			},
			"interfaces": {
				func(s *shelf) { s.Any = 5 },
				func(s *shelf) { s.Next = &shelf{Any: map[string]any{"a": []any{1, "x"}}} },
				func(s *shelf) bool { return s.Any == 5 && s.Next.Any.(map[string]any)["a"].([]any)[1] == "x" },
			},
			"only theirs": {
				func(s *shelf) {},
				func(s *shelf) { s.Name = "theirs"; s.ByName["new"] = &article{}; s.Items[3].Like = nil },
				func(s *shelf) bool { return s.Name == "theirs" && s.ByName["new"] != nil && s.Items[3].Like == nil },
			},
		} {
			for _, turned := range []bool{false, true} {
				if turned && name == "only theirs" {
					continue // nothing to merge: TestMergeAgain
				}
				t.Run(fmt.Sprint(name, "/", n, "/", turned), func(t *testing.T) {
					d := openMemory(t)
					first := namespace(t, d)
					set(t, first, "s", stock(n))
					save(t, first)
					a, b := fork(t, d)
					ours, theirs := c.ours, c.theirs
					if turned {
						ours, theirs = theirs, ours
					}
					ours(shelfOf(t, a))
					save(t, a)
					theirs(shelfOf(t, b))
					save(t, b)
					r, s := merged(t, d, db.MergeOptions{})
					if !c.check(s) || len(r.Conflicts) > 0 {
						t.Fatalf("%+v, conflicts %s", s, conflictTexts(r.Conflicts))
					}
				})
			}
		}
	}
}

func TestMergeConflicts(t *testing.T) {
	type edit func(s *shelf)
	for name, c := range map[string]struct {
		ours, theirs edit
		want         string
		isOurs       func(s *shelf) bool
		isTheirs     func(s *shelf) bool
	}{
		"a field": {
			func(s *shelf) { s.ByName["solo"].Name = "ours" }, func(s *shelf) { s.ByName["solo"].Name = "theirs" },
			`s.ByName["solo"].Name: "solo" → ours "ours", theirs "theirs"`,
			func(s *shelf) bool { return s.ByName["solo"].Name == "ours" }, func(s *shelf) bool { return s.ByName["solo"].Name == "theirs" },
		},
		"a key": {
			func(s *shelf) { s.Prices["article 1"] = 5 }, func(s *shelf) { delete(s.Prices, "article 1") },
			`s.Prices["article 1"]: 1 → ours 5, theirs absent`,
			func(s *shelf) bool { return s.Prices["article 1"] == 5 },
			func(s *shelf) bool { _, has := s.Prices["article 1"]; return !has },
		},
		"a new key": {
			func(s *shelf) { s.Prices["new"] = 5 }, func(s *shelf) { s.Prices["new"] = 6 },
			`s.Prices["new"]: absent → ours 5, theirs 6`,
			func(s *shelf) bool { return s.Prices["new"] == 5 }, func(s *shelf) bool { return s.Prices["new"] == 6 },
		},
		"a new object": {
			func(s *shelf) { s.ByName["new"] = &article{Name: "o"} }, func(s *shelf) { s.ByName["new"] = &article{Name: "t"} },
			`s.ByName["new"]: absent → ours *article, theirs *article`,
			func(s *shelf) bool { return s.ByName["new"].Name == "o" }, func(s *shelf) bool { return s.ByName["new"].Name == "t" },
		},
		"appended twice": {
			func(s *shelf) { s.Nums = append(s.Nums, 6) }, func(s *shelf) { s.Nums = append(s.Nums, 7) },
			`s.Nums: []int (5) → ours []int (6), theirs []int (6)`,
			func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[1 2 3 4 5 6]" }, func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[1 2 3 4 5 7]" },
		},
		"appended, and an element edited": {
			func(s *shelf) { s.Nums = append(s.Nums, 6) }, func(s *shelf) { s.Nums[0] = 7 },
			`s.Nums: []int (5) → ours []int (6), theirs []int (5) (changed behind it)`,
			func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[1 2 3 4 5 6]" }, func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[7 2 3 4 5]" },
		},
		"shortened, and an element edited": {
			func(s *shelf) { s.Nums = slices.Delete(s.Nums, 0, 2) }, func(s *shelf) { s.Nums[4] = 7 },
			`s.Nums: []int (5) → ours []int (3), theirs []int (5) (changed behind it)`,
			func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[3 4 5]" }, func(s *shelf) bool { return fmt.Sprint(s.Nums) == "[1 2 3 4 7]" },
		},
		"an object edited that nothing leads to any more": {
			func(s *shelf) { delete(s.ByName, "solo") }, func(s *shelf) { s.ByName["solo"].Price = 5 },
			`s.ByName["solo"]: *article → ours absent, theirs *article (changed behind it)`,
			func(s *shelf) bool { return s.ByName["solo"] == nil }, func(s *shelf) bool { x := s.ByName["solo"]; return x != nil && x.Price == 5 },
		},
		"deep behind what nothing leads to any more": {
			func(s *shelf) { s.ByName["solo"].Like = nil }, func(s *shelf) { s.ByName["solo"].Like.Like.Price = 5 },
			`s.ByName["solo"].Like: *article → ours nil, theirs *article (changed behind it)`,
			func(s *shelf) bool { return s.ByName["solo"].Like == nil }, func(s *shelf) bool { x := s.ByName["solo"].Like; return x != nil && x.Like.Price == 5 },
		},
		"a pointer": {
			func(s *shelf) { s.Best = s.Items[0] }, func(s *shelf) { s.Best = s.Items[2] },
			`s.Best: *article → ours *article, theirs *article`,
			func(s *shelf) bool { return s.Best == s.Items[0] }, func(s *shelf) bool { return s.Best == s.Items[2] },
		},
		"a type in an interface": {
			func(s *shelf) { s.Any = "text" }, func(s *shelf) { s.Any = 3.5 },
			`s.Any: nil → ours "text", theirs 3.5`,
			func(s *shelf) bool { return s.Any == "text" }, func(s *shelf) bool { return s.Any == 3.5 },
		},
		"a map replaced, and a key set": {
			func(s *shelf) { s.Prices = map[string]float64{"only": 1} }, func(s *shelf) { s.Prices["article 1"] = 9 },
			`s.Prices: map[string]float64 → ours map[string]float64, theirs map[string]float64 (changed behind it)`,
			func(s *shelf) bool { return len(s.Prices) == 1 }, func(s *shelf) bool { return s.Prices["article 1"] == 9 && len(s.Prices) > 3 },
		},
	} {
		for _, n := range []int{4, 300, 6000} {
			if n > 1000 && testing.Short() {
				continue
			}
			t.Run(fmt.Sprint(name, "/", n), func(t *testing.T) {
				ctx := context.Background()
				d := openMemory(t)
				first := namespace(t, d)
				s := stock(n)
				s.ByName["solo"] = &article{Name: "solo", Like: &article{Name: "behind", Like: &article{Name: "far"}}}
				set(t, first, "s", s)
				save(t, first)
				a, b := fork(t, d)
				c.ours(shelfOf(t, a))
				c.theirs(shelfOf(t, b))
				v := save(t, a)
				save(t, b)
				dry := must(d.Merge(ctx, db.MergeOptions{From: "other", DryRun: true}))(t)
				if got := conflictTexts(dry.Conflicts); got != c.want {
					t.Fatalf("dry run:\n%s\nwant\n%s", got, c.want)
				}
				_, err := d.Merge(ctx, db.MergeOptions{From: "other"})
				var e *db.MergeConflictError
				if !errors.As(err, &e) || !errors.Is(err, db.ErrConflict) || conflictTexts(e.Conflicts) != c.want || db.Retryable(err) {
					t.Fatal(err)
				}
				if head := must(d.Head(ctx, "main"))(t); head != v {
					t.Fatalf("a merge that failed made version %d of %d", head, v)
				}
				if err := d.Branch(ctx, "again", v); err != nil {
					t.Fatal(err)
				}
				if _, s := merged(t, d, db.MergeOptions{Resolve: db.TakeOurs}); !c.isOurs(s) || c.isTheirs(s) {
					t.Fatalf("ours: %+v", s)
				}
				must(d.Merge(ctx, db.MergeOptions{Into: "again", From: "other", Resolve: db.TakeTheirs}))(t)
				verifyDeep(t, d)
				if s := shelfOf(t, must(d.Namespace(ctx, "again"))(t)); c.isOurs(s) || !c.isTheirs(s) {
					t.Fatalf("theirs: %+v", s)
				}
			})
		}
	}
}
