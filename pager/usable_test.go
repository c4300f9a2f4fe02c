package pager

import "testing"

// The bitmap with its hints equals a list of booleans.
func TestUsablePagesEqualAList(t *testing.T) {
	r := seeded(t, 91)
	var u usable
	var list []bool
	find := func(need, limit uint64) (uint64, bool) {
		run := uint64(0)
		for i := range min(limit, uint64(len(list))) {
			if run++; !list[i] {
				run = 0
			}
			if run == need {
				return i + 1 - need, true
			}
		}
		return 0, false
	}
	resize := func(n int) {
		u.resize(uint64(n))
		for len(list) < n {
			list = append(list, false)
		}
		list = list[:n]
	}
	resize(3*groupPages + 100)
	for step := range 4_000 {
		start := uint64(r.IntN(len(list)))
		if r.IntN(3) == 0 {
			start = start / groupPages * groupPages
		}
		n := uint64(1 + r.IntN(70))
		if r.IntN(30) == 0 {
			n = uint64(1 + r.IntN(2*groupPages))
		}
		switch r.IntN(6) {
		case 0, 1: // what can be given of a span
			for no := start; no < min(start+n, uint64(len(list))); no++ {
				end := no
				for end < min(start+n, uint64(len(list))) && !list[end] {
					list[end] = true
					end++
				}
				u.give(no, end-no)
				no = end
			}
		case 2, 3, 4:
			limit := uint64(r.IntN(len(list) + 200))
			want, ok := find(n, limit)
			got, found := u.find(n, limit)
			if got != want || found != ok {
				t.Fatalf("step %d: %d pages below %d: %d %v, wanted %d %v", step, n, limit, got, found, want, ok)
			}
			if ok {
				n = u.next(got, min(got+n+uint64(r.IntN(300)), u.size), false) - got
				u.take(got, n)
				for no := got; no < got+n; no++ {
					if !list[no] {
						t.Fatalf("step %d: page %d is not usable", step, no)
					}
					list[no] = false
				}
			}
		case 5:
			if r.IntN(20) == 0 {
				resize(len(list) + r.IntN(5000))
			} else if r.IntN(5) == 0 {
				resize(int(u.end) + r.IntN(len(list)-int(u.end)+1))
			}
		}
		count, end := uint64(0), uint64(0)
		for i, ok := range list {
			if ok {
				count++
			} else {
				end = uint64(i) + 1
			}
		}
		if u.count != count || u.end != end || u.size != uint64(len(list)) {
			t.Fatalf("step %d: count %d end %d size %d, wanted %d %d %d", step, u.count, u.end, u.size, count, end, len(list))
		}
	}
}
