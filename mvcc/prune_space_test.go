package mvcc

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// longHistory is a database of many versions of a few hundred pods, some of
// whose bodies are shared, on three branches.
type longHistory struct {
	s     *Store
	rng   *rand.Rand
	ids   []pod.ID
	state [][]string // by version: the text of each pod
	heads map[string]Version
}

func (h *longHistory) text(i int) string {
	switch h.rng.IntN(4) {
	case 0:
		return bigText(h.rng.IntN(20))
	case 1:
		return strings.Repeat(fmt.Sprint(i, " "), 200) + fmt.Sprint(h.rng.IntN(1e6))
	}
	return fmt.Sprint(i, " ", h.rng.IntN(1e6))
}

func (h *longHistory) commit(t *testing.T, branch string, n int) {
	t.Helper()
	head := h.heads[branch]
	tx := must(h.s.Begin(bg, branch, head))(t)
	state := slices.Clone(h.state[head])
	for _, i := range h.rng.Perm(len(h.ids))[:n] {
		text := h.text(i)
		c := boxAgain(h.ids[i], text)
		if state[i] == "" {
			c = box(h.ids[i], text)
		}
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
		state[i] = text
	}
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	if v == head { // nothing changed
		return
	}
	h.heads[branch] = v
	h.state = append(h.state, state)
}

// check compares every version that is left with what was committed.
func (h *longHistory) check(t *testing.T) (left int) {
	t.Helper()
	for v := Version(1); v < Version(len(h.state)); v++ {
		sn, err := h.s.At(bg, v)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		left++
		pods, err := sn.Pods(bg, h.ids)
		if err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		for i, p := range pods {
			if string(p.Slots[0].Bytes) != h.state[v][i] {
				t.Fatalf("version %d: pod %d is another", v, h.ids[i])
			}
		}
		sn.Close()
	}
	return left
}

func TestPruneOfALongHistoryGivesSpaceBack(t *testing.T) {
	fs := newFS(t)
	h := &longHistory{s: mustOpen(t, testOptions(fs)), rng: rand.New(rand.NewPCG(8, 8)), heads: map[string]Version{MainBranch: 0}}
	tx := begin(t, h.s, MainBranch)
	for range 300 {
		h.ids = append(h.ids, tx.NewPod())
	}
	for i, id := range h.ids {
		if err := tx.Put(bg, box(id, fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	h.heads[MainBranch] = must(tx.Commit(bg, CommitInfo{}))(t)
	first := make([]string, len(h.ids))
	for i := range first {
		first[i] = fmt.Sprint(i)
	}
	h.state = [][]string{make([]string, len(h.ids)), first}
	for n := range 2000 {
		branch := MainBranch
		switch {
		case n == 500 || n == 900:
			name := fmt.Sprint("from ", n)
			if err := h.s.CreateBranch(bg, name, Version(n/2)); err != nil {
				t.Fatal(err)
			}
			h.heads[name] = Version(n / 2)
		case n > 500 && n%3 == 0:
			branch = "from 500"
		case n > 900 && n%5 == 0:
			branch = "from 900"
		}
		if h.commit(t, branch, 1+h.rng.IntN(12)); n%400 == 399 {
			if err := h.s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	old := must(h.s.At(bg, 123))(t)
	before := h.s.Stats()
	rep := prune(t, h.s, 10)
	if left := h.check(t); left < 31 || left > 34 {
		t.Fatalf("%d versions are left: %+v", left, rep)
	}
	for range 2 { // what the first frees may be used after the second
		if _, _, err := commitBox(t, h.s, "from 500", "x", h.ids[0], fmt.Sprint(h.rng.Uint64())); err != nil {
			t.Fatal(err)
		}
		h.state = append(h.state, nil)
		if err := h.s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	after := h.s.Stats()
	used := func(s Stats) int64 { return s.FileBytes - s.FreeBytes }
	if used(after) > used(before)/2 || after.LiveBytes+after.HistoryBytes != before.LiveBytes+before.HistoryBytes-uint64(rep.Bytes)+addedSince(t, h.s, 2) {
		t.Fatalf("used %d of %d bytes before, %d of %d after; %d + %d before, %d + %d after; %+v", used(before), before.FileBytes, used(after), after.FileBytes,
			before.LiveBytes, before.HistoryBytes, after.LiveBytes, after.HistoryBytes, rep)
	}
	if string(must(old.Pods(bg, h.ids[:1]))(t)[0].Slots[0].Bytes) != h.state[123][0] {
		t.Fatal("the open snapshot shows something else")
	}
	verifyClean(t, h.s)
	h.state = h.state[:len(h.state)-2]
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
	h.s = mustOpen(t, testOptions(fs))
	h.check(t)
	verifyClean(t, h.s)
	prune(t, h.s, 1)
	h.check(t)
	verifyClean(t, h.s)
	t.Logf("%+v: %d bytes used before, %d after, of %d", rep, used(before), used(after), after.FileBytes)
	if err := h.s.Close(); err != nil {
		t.Fatal(err)
	}
}

// addedSince is what the newest commits added to the sums.
func addedSince(t *testing.T, s *Store, n int) (bytes uint64) {
	t.Helper()
	newest := s.published.Load().version
	for v := newest; v > newest-Version(n); v-- {
		bytes += must(s.commit(bg, v))(t).Bytes
	}
	return bytes
}
