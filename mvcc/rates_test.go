package mvcc

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

const (
	hotType  = pod.FirstCatalogType + 1
	coldType = pod.FirstCatalogType + 2
)

// ratedStore is a store with pods of two slots, of which the second changes every
// second commit, for all of 40 commits.
func ratedStore(t *testing.T, o Options, pods int) *Store {
	s := mustOpen(t, o)
	var ids []pod.ID
	for round := range 40 {
		tx := begin(t, s, MainBranch)
		if round == 0 {
			for range pods {
				id := tx.NewPod()
				c := box(id, "root")
				c.Slots[0].Data.Type = coldType
				c.Slots = append(c.Slots, pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Type: hotType, Bytes: []byte("0")}})
				if err := tx.Put(bg, c); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
		}
		if round%2 == 1 {
			for _, id := range ids {
				hot := pod.SlotWrite{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Type: hotType, Bytes: fmt.Append(nil, round)}}
				if err := tx.Put(bg, &pod.Change{ID: id, Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}}, Slots: []pod.SlotWrite{hot}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := tx.SetName(bg, fmt.Sprint("round", round), ids[0]); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func ratesAt(t *testing.T, s *Store, v Version) *pod.Rates {
	t.Helper()
	tx := must(s.Begin(bg, MainBranch, v))(t)
	defer tx.Rollback()
	return must(tx.Rates(bg))(t)
}

// What changes, and how often, is counted in the stored history.
func TestRatesAreThoseOfTheHistory(t *testing.T) {
	o := testOptions(newFS(t))
	s := ratedStore(t, o, 50)
	if r := ratesAt(t, s, 7); r != nil {
		t.Errorf("7 commits say something: %v", r)
	}
	for _, v := range []Version{8, 15, 16, 40} {
		until := 8
		for until*2 <= int(v) {
			until *= 2
		}
		r := ratesAt(t, s, v)
		if r == nil || r.Commits != until || len(r.Slots) != 2 {
			t.Fatalf("version %d: %+v", v, r)
		}
		hot, cold := r.Slots[pod.RateKey{Kind: pod.SlotObject, Type: hotType}], r.Slots[pod.RateKey{Kind: pod.SlotBox, Type: coldType}]
		if cold.Changes != 0 || cold.Commits != hot.Commits || cold.Commits < 50*min(until-1, 15) {
			t.Errorf("version %d: cold %v, hot %v", v, cold, hot)
		}
		if rate := float64(hot.Changes) / float64(hot.Commits); rate < 0.4 || rate > 0.6 {
			t.Errorf("version %d: %v changes in a commit, every second changes it", v, rate)
		}
		if cold.Bytes != 0 || hot.Bytes < hot.Changes || v == 40 && 2*hot.Bytes >= 3*hot.Changes { // of two digits mostly the second
			t.Errorf("version %d: bytes of cold %v, hot %v", v, cold, hot)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A process that opens the database later, when it has a longer history, learns of the
// same past the same.
func TestRatesAreTheSameAfterARestart(t *testing.T) {
	o := testOptions(newFS(t))
	s := ratedStore(t, o, 200)
	want := fmt.Sprint(*ratesAt(t, s, 17))
	if again := fmt.Sprint(*ratesAt(t, s, 31)); again != want {
		t.Errorf("16 commits, later: %v, want %v", again, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	if again := fmt.Sprint(*ratesAt(t, s, 20)); again != want {
		t.Errorf("16 commits, after a restart: %v, want %v", again, want)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// However many pods there are, a sample is looked at, and no pod of it twice.
func TestRatesLookAtASample(t *testing.T) {
	s := ratedStore(t, testOptions(newFS(t)), 1000)
	tx := begin(t, s, MainBranch)
	v := must(s.view())(t)
	seen := map[pid]bool{}
	list := v.ratedPods(tx.base.lineage)
	for _, f := range list {
		if seen[f.pod] {
			t.Errorf("pod %d twice", f.pod)
		}
		seen[f.pod] = true
	}
	if n := len(list); n < ratedPods || n > 2*ratedPods {
		t.Errorf("%d pods of 1000", n)
	}
	v.close()
	tx.Rollback()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Slots of one pod that change in the same commits are told from those that change in
// turns.
func TestRatesTellWhatChangesTogether(t *testing.T) {
	for _, c := range []struct {
		name     string
		changes  func(round int) (one, other bool)
		low, top float64
	}{
		{"the same commits", func(n int) (bool, bool) { return n%3 == 0, n%3 == 0 }, 0.7, 1},
		{"in turns", func(n int) (bool, bool) { return n%3 == 0, n%3 == 1 }, 0, 0.1},
		{"one alone", func(n int) (bool, bool) { return n%3 == 0, false }, 0, 0.1},
	} {
		s := mustOpen(t, testOptions(newFS(t)))
		var ids []pod.ID
		for round := range 32 {
			one, other := c.changes(round)
			tx := begin(t, s, MainBranch)
			for n := range 40 {
				slots := []pod.SlotWrite{
					{Slot: 0, Data: pod.Data{Kind: pod.SlotBox, Type: coldType, Bytes: []byte("root")}},
					{Slot: 1, Data: pod.Data{Kind: pod.SlotObject, Type: hotType, Bytes: fmt.Append(nil, "one ", round)}},
					{Slot: 2, Data: pod.Data{Kind: pod.SlotObject, Type: hotType, Bytes: fmt.Append(nil, "two ", round)}},
				}
				if round == 0 {
					ids = append(ids, tx.NewPod())
				} else {
					if !other {
						slots = slots[:2]
					}
					if slots = slots[1:]; !one {
						slots = slots[1:]
					}
				}
				if len(slots) == 0 {
					continue
				}
				change := &pod.Change{ID: ids[n], New: round == 0, Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}}, Slots: slots}
				if err := tx.Put(bg, change); err != nil {
					t.Fatal(err)
				}
			}
			if err := tx.SetName(bg, fmt.Sprint("round", round), ids[0]); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
				t.Fatal(err)
			}
		}
		if got := ratesAt(t, s, 32).Together; got < c.low || got > c.top {
			t.Errorf("%s: %v, want %v to %v", c.name, got, c.low, c.top)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
