package mvcc

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// nameModel are the variables on main at each version.
type nameModel struct {
	s  *Store
	id pod.ID
	at map[Version]map[string]bool
}

func (m *nameModel) change(t *testing.T, name string, bind bool) {
	t.Helper()
	tx := begin(t, m.s, MainBranch)
	err := tx.DeleteName(bg, name)
	if bind {
		err = tx.SetName(bg, name, m.id)
	}
	if err != nil && !errors.Is(err, dberr.ErrNotFound) {
		t.Fatal(err)
	}
	before := must(m.s.Head(bg, MainBranch))(t)
	v := must(tx.Commit(bg, CommitInfo{}))(t)
	if v == before {
		return // nothing to delete
	}
	names := maps.Clone(m.at[before])
	if names == nil {
		names = map[string]bool{}
	}
	names[name] = bind
	m.at[v] = names
}

// check reads all names of all versions that are left.
func (m *nameModel) check(t *testing.T) (left int) {
	t.Helper()
	for v, names := range m.at {
		sn, err := m.s.At(bg, v)
		if errors.Is(err, dberr.ErrVersionGone) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		left++
		for name, bound := range names {
			id, err := sn.Root(bg, name)
			if (err == nil && id == m.id) != bound || err != nil && !errors.Is(err, dberr.ErrNotFound) {
				t.Errorf("version %d: %s is %d (%v), bound: %v", v, name, id, err, bound)
			}
		}
		sn.Close()
	}
	return left
}

// Names are looked through beside commits: none waits for it, and what they do to names between the
// looking and the step's commit is not lost.
func TestNamesOfCommitsBetweenTheSteps(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, _, err := commitBox(t, s, MainBranch, "first", 0, "x")
	if err != nil {
		t.Fatal(err)
	}
	m := &nameModel{s, id, map[Version]map[string]bool{}}
	var names []string
	for i := range 6 {
		names = append(names, fmt.Sprint("n", i))
	}
	for i := range 40 {
		m.change(t, names[i*i%len(names)], i%3 != 1)
	}
	change := func(i int) {
		for k, name := range names {
			m.change(t, name, (i+k)%2 == 0)
		}
	}
	r := &retirement{s: s, l: s.lines.Load().byName[MainBranch], keep: rules{last: 2}, report: &PruneReport{}}
	<-s.upkeep
	if err := r.run(bg); err != nil {
		t.Fatal(err)
	}
	d := s.newDeadNames()
	gone := 0
	for i := range 3 {
		change(i)
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
		var g *group
		if err := s.seq.acquire(bg); err != nil { // the looking does not need it
			t.Fatal(err)
		}
		err := s.read(func(v *view) (err error) {
			var dead int
			g, dead, err = d.step(bg, v)
			gone += dead
			return err
		})
		s.release()
		if err != nil {
			t.Fatal(err)
		}
		if g == nil {
			break
		}
		change(i + 1)
		err = s.alone(bg, func(*view) (*group, error) {
			g.counters = s.seq.counters
			return g, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		m.check(t)
		verifyClean(t, s)
	}
	s.upkeep <- struct{}{}
	if gone == 0 {
		t.Error("no row went")
	}
	prune(t, s, 1)
	verifyClean(t, s)
	if left := m.check(t); left != 1 {
		t.Errorf("%d versions are left", left)
	}
}
