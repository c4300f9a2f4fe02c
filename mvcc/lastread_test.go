package mvcc

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// pairOf is a change of a pod of two slots, of which it writes some.
func pairOf(id pod.ID, isNew bool, slots ...pod.SlotWrite) *pod.Change {
	return &pod.Change{ID: id, New: isNew, Whole: isNew, Exports: []pod.Export{{}}, Slots: slots}
}

func slotOf(n pod.Slot, text string) pod.SlotWrite {
	kind := pod.SlotObject
	if n == 0 {
		kind = pod.SlotBox
	}
	return pod.SlotWrite{Slot: n, Data: pod.Data{Kind: kind, Type: 1, Bytes: []byte(text)}}
}

// A transaction that changes the variable that it has read last writes what one does that has not
// read it, also when the pod becomes large, small, is patched or does not change, and reads into the
// same memory every time.
func TestPutOfWhatWasReadLast(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	cached := testOptions(newFS(t))
	cached.MemoryBytes = 16 << 20
	s, plain := mustOpen(t, cached), mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	defer plain.Close()
	spare, used, patched := new(pod.Pod), 0, 0
	var id pod.ID
	text := randomText(1, 700)
	other := begin(t, s, MainBranch)
	all := pairOf(other.NewPod(), true, slotOf(0, "ref"), slotOf(1, "other"), slotOf(2, "third"))
	all.Exports = []pod.Export{{Slot: 0}, {Slot: 2}}
	if err := errors.Join(other.Put(bg, all), other.SetName(bg, "other", all.ID)); err != nil {
		t.Fatal(err)
	}
	must(other.Commit(bg, CommitInfo{}))(t)
	other = begin(t, plain, MainBranch)
	all.ID = other.NewPod()
	if err := errors.Join(other.Put(bg, all), other.SetName(bg, "other", all.ID)); err != nil {
		t.Fatal(err)
	}
	must(other.Commit(bg, CommitInfo{}))(t)
	for step := range 400 {
		from, n := rng.IntN(100), rng.IntN(300)
		if step%7 == 0 {
			n = 600
		}
		slots := []pod.SlotWrite{slotOf(1, text[from:from+n])}
		switch rng.IntN(4) {
		case 0:
			slots = []pod.SlotWrite{slotOf(0, text[from:from+n/2]), slots[0]}
		case 1:
			slots[0] = slotOf(1, text[:min(20+step%3, n)])
		}
		var stats [2]TxStats
		var versions [2]Version
		last := false
		for i, x := range []*Store{s, plain} {
			tx := begin(t, x, MainBranch)
			if step == 0 {
				id = tx.NewPod()
				if err := tx.SetName(bg, "x", id); err != nil {
					t.Fatal(err)
				}
				slots = []pod.SlotWrite{slotOf(0, "ref"), slotOf(1, "first")}
			} else if x == s {
				root, p, err := tx.Base().Variable(bg, "x", spare)
				if err != nil || root != id {
					t.Fatalf("step %d: pod %d (%v)", step, root, err)
				}
				if last = p == spare; last {
					used++
				}
			}
			c := pairOf(id, step == 0, slots...)
			if err := tx.Put(bg, c); err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			stats[i] = tx.Written()
			if last && x == s && tx.Written().Patches > 0 {
				patched++
			}
			v, err := tx.Commit(bg, CommitInfo{})
			if err != nil {
				t.Fatalf("step %d: %v", step, err)
			}
			versions[i] = v
		}
		if stats[0] != stats[1] || versions[0] != versions[1] {
			t.Fatalf("step %d: wrote %+v as version %d, without reading %+v as version %d", step, stats[0], versions[0], stats[1], versions[1])
		}
		sn := must(s.At(bg, versions[0]))(t)
		if _, _, err := sn.Variable(bg, "other", spare); err != nil {
			t.Fatal(err)
		}
		sn.Close()
		got, want := pairAt(t, s, versions[0], id), pairAt(t, plain, versions[1], id)
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("step %d: reads as %q, without reading as %q", step, got, want)
		}
	}
	if used < 100 || patched == 0 {
		t.Errorf("%d variables were read into spare memory, and %d of them patched", used, patched)
	}
	verifyClean(t, s)
	for v := Version(2); v <= s.published.Load().version; v += 13 { // what was kept is still so
		if got, want := pairAt(t, s, v, id), pairAt(t, plain, v, id); !reflect.DeepEqual(got, want) {
			t.Fatalf("version %d: %q, without reading %q", v, got, want)
		}
	}
}

func pairAt(t *testing.T, s *Store, v Version, id pod.ID) []string {
	t.Helper()
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	p := must(sn.Pods(bg, []pod.ID{id}))(t)[0]
	var texts []string
	for i := range p.Slots {
		texts = append(texts, fmt.Sprint(string(p.Slots[i].Bytes), " exported: ", p.Exported(pod.Slot(i))))
	}
	texts = append(texts, fmt.Sprint(p.Refs, p.Exports))
	return texts
}

// What was read last is compared with what others commit meanwhile, like everything else; and it is
// for its pod alone.
func TestConflictsOfWhatWasReadLast(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var ids []pod.ID
	tx := begin(t, s, MainBranch)
	for _, name := range []string{"x", "y"} {
		id := tx.NewPod()
		ids = append(ids, id)
		if err := tx.Put(bg, pairOf(id, true, slotOf(0, name), slotOf(1, name))); err != nil {
			t.Fatal(err)
		}
		if err := tx.SetName(bg, name, id); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	change := func(tx *Tx, id pod.ID, text string) {
		if _, _, err := tx.Base().Variable(bg, "x", new(pod.Pod)); err != nil {
			t.Fatal(err)
		}
		tx.GuardPods(podList{ids[0]}) // what it has read
		if err := tx.Put(bg, pairOf(id, false, slotOf(1, text))); err != nil {
			t.Fatal(err)
		}
	}
	for i, c := range []struct {
		first, second pod.ID
		conflict      bool
	}{{ids[0], ids[0], true}, {ids[0], ids[1], true}, {ids[1], ids[0], false}, {ids[1], ids[1], true}} {
		a, b := begin(t, s, MainBranch), begin(t, s, MainBranch)
		byA := fmt.Sprint("by a, ", i)
		change(a, c.first, byA)
		change(b, c.second, fmt.Sprint("by b, ", i))
		v := must(a.Commit(bg, CommitInfo{}))(t)
		want := []string{map[pod.ID]string{ids[0]: "x", ids[1]: "y"}[c.first] + " exported: true", byA + " exported: false", "[] [{0 {false []}}]"}
		if got := pairAt(t, s, v, c.first); !slices.Equal(got, want) {
			t.Errorf("pod %d is %q after the commit, want %q", c.first, got, want)
		}
		if _, err := b.Commit(bg, CommitInfo{}); errors.Is(err, dberr.ErrConflict) != c.conflict {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := begin(t, s, MainBranch).Put(bg, pairOf(ids[0], false, slotOf(1, strings.Repeat("z", 10)))); err != nil {
		t.Error(err) // without having read it
	}
}

// podList is a PodSet.
type podList []pod.ID

func (l podList) Len() int              { return len(slices.Compact(slices.Sorted(slices.Values(l)))) }
func (l podList) Has(id pod.ID) bool    { return slices.Contains(l, id) }
func (l podList) All() iter.Seq[pod.ID] { return slices.Values(l) }
