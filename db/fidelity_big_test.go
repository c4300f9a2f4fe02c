package db_test

import (
	"testing"

	"github.com/poddb/poddb/db"
)

type link struct {
	N    int
	Next *link
}

func bigGraphRows() []row {
	type lists struct{ L *link }
	type trees struct{ T *node }
	type nests struct{ D *[]any }
	long, far := 100_000, 50_000
	if *bigRows {
		long, far = 10_000_000, 1_000_000
	}
	return []row{
		kept("a long list", func() *lists {
			v := &lists{}
			for i := range long {
				v.L = &link{i, v.L}
			}
			return v
		}, func(t *testing.T, v *lists) {
			n, ok := long, true
			for l := v.L; l != nil; l = l.Next {
				n--
				ok = ok && l.N == n
			}
			is(t, "every link", ok && n == 0)
		}),
		kept("a deep tree", func() *trees {
			v := &trees{T: &node{}}
			n := v.T
			for range far {
				n.Right = &node{Left: n, Any: &link{N: 1}}
				n = n.Right
			}
			return v
		}, func(t *testing.T, v *trees) {
			depth, ok := 0, true
			for n := v.T; n.Right != nil; n = n.Right {
				ok = ok && n.Right.Left == n && n.Right.Any.(*link).N == 1
				depth++
			}
			is(t, "every level", ok && depth == far)
		}, db.Type[link]("link")),
		kept("slices in interfaces in slices, deep", func() *nests {
			d := []any{1}
			for range far {
				d = []any{d}
			}
			return &nests{&d}
		}, func(t *testing.T, v *nests) {
			depth := 0
			d := *v.D
			for d[0] != 1 {
				d = d[0].([]any)
				depth++
			}
			is(t, "every level", depth == far)
		}),
	}
}
