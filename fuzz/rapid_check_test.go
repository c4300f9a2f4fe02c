package fuzz

import (
	"errors"
	"fmt"

	"pgregory.net/rapid"

	"github.com/poddb/poddb/db"
)

// check compares everything.
func (p *programme) check(t *rapid.T) {
	for branch, l := range p.lines {
		head, err := p.d.Head(p.ctx, branch)
		must(t, err)
		if head != l.head() {
			t.Fatalf("the head of %s is %d, not %d", branch, head, l.head())
		}
	}
	for name, v := range p.tags {
		s, err := p.d.AtTag(p.ctx, name)
		must(t, err)
		if s.Version() != v {
			t.Fatalf("tag %s is at %d, not %d", name, s.Version(), v)
		}
		s.Close()
	}
	for v, want := range p.states {
		s, err := p.d.At(p.ctx, v)
		if p.gone[v] {
			if !errors.Is(err, db.ErrVersionGone) {
				t.Fatalf("version %d was pruned: %v", v, err)
			}
			continue
		}
		must(t, err)
		if err := p.shows(s, want); err != nil {
			t.Fatalf("version %d: %v", v, err)
		}
		s.Close()
	}
}

// shows compares a snapshot with a state: names, values, and which cells are one object.
func (p *programme) shows(s *db.Snapshot, want versionState) error {
	got, err := p.read(s)
	if err == nil && !got.equal(want) {
		return fmt.Errorf("it shows %v, not %v", got, want)
	}
	return err
}

var errTwo = errors.New("two objects")

// read is the state that a snapshot shows, without which document is which object.
func (p *programme) read(s *db.Snapshot) (versionState, error) {
	got := versionState{docs: map[string]docState{}, cells: map[int]int{}}
	var all map[string]any
	if err := s.Load(p.ctx, &all); err != nil {
		return got, err
	}
	at := map[int]*modelCell{}
	for name, v := range all {
		doc, ok := v.(*modelDoc)
		if !ok {
			return got, fmt.Errorf("%s is a %T", name, v)
		}
		state := docState{n: doc.N}
		for _, c := range doc.Cells {
			if other := at[c.ID]; other != nil && other != c {
				return got, fmt.Errorf("cell %d of %s is %w", c.ID, name, errTwo)
			}
			at[c.ID] = c
			got.cells[c.ID] = c.V
			state.cells = append(state.cells, c.ID)
		}
		got.docs[name] = state
	}
	return got, nil
}
