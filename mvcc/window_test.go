package mvcc

import (
	"fmt"
	"testing"
)

// Retiring versions of long ago leaves the window of the newest commits alone, and the aggregates that
// come of it are right; retiring some of these does not.
func TestWindowOutlivesThePruneOfWhatIsOlder(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "x", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(n int) {
		for i := range n {
			if _, _, err := commitBox(t, s, MainBranch, "x", id, fmt.Sprint(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	commit(int(levelLen[2]) + 49) // 50 since the last level-2 aggregate
	for _, c := range []struct {
		keep  int
		stays bool
	}{{60, true}, {51, true}, {50, false}, {1, false}} {
		w := s.seq.windows[mainLine]
		prune(t, s, c.keep)
		if got := s.seq.windows[mainLine]; (got == w) != c.stays {
			t.Errorf("keeping %d: the window is %p, was %p", c.keep, got, w)
		}
		verifyClean(t, s)
		if !c.stays {
			commit(80)
			verifyClean(t, s)
		}
	}
}
