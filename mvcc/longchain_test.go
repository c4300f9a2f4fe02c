package mvcc

import (
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// A pod of some size that changes in few places is stored whole after maxDepth patches;
// a small one, and one of which each commit changes a quarter, after flatDepth.
func TestLongChainsAreOfSmallChanges(t *testing.T) {
	for _, c := range []struct {
		name            string
		bytes, changed  int
		deepest, wholes int
	}{
		{"big", 8000, 20, maxDepth, 2},
		{"small", 700, 20, flatDepth, 4},
		{"a quarter of it", 8000, 2000, flatDepth, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := testOptions(newFS(t))
			o.MemoryBytes = -1 // no caches: chains are read
			s := mustOpen(t, o)
			deepest, wholes := 0, 0
			texts := map[Version]string{}
			slots := boxSlots(noise(t, c.bytes, 5), 100)
			id := pod.ID(0)
			for round := range 2*maxDepth + 2 {
				for i := range max(1, c.changed*len(slots)/c.bytes) {
					at := (i*7 + round) % len(slots)
					n := min(c.changed, len(slots[at]))
					slots[at] = noise(t, n, uint64(100*round+i)) + slots[at][n:]
				}
				var v Version
				id, v = commitTexts(t, s, id, slots)
				texts[v] = strings.Join(slots, "")
				view := must(s.view())(t)
				f, _, err := view.resolve(everything(s.lines.Load().byName[MainBranch]), id)
				if err != nil {
					t.Fatal(err)
				}
				depth := int(must(decodeFrame(must(view.open(f.env))(t)))(t).depth)
				view.close()
				if deepest = max(deepest, depth); depth == 0 {
					wholes++
				}
			}
			if deepest != c.deepest || wholes != c.wholes {
				t.Errorf("chains of %d, %d versions stored whole; expected %d and %d", deepest, wholes, c.deepest, c.wholes)
			}
			for v, want := range texts {
				sn := must(s.At(bg, v))(t)
				if got := string(must(sn.Pods(bg, []pod.ID{id}))(t)[0].Body()); got != want {
					t.Fatalf("version %d reads as something else", v)
				}
				sn.Close()
			}
			verifyClean(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A number that changes in a small pod, which is mostly a text in the same slot, is stored as a
// patch.
func TestASmallChangeOfASmallPodIsAPatch(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	text := noise(t, 200, 7)
	id, _ := commitTexts(t, s, 0, []string{"1" + text})
	tx := begin(t, s, MainBranch)
	c := &pod.Change{ID: id, Exports: []pod.Export{{Slot: 0}}}
	c.Slots = []pod.SlotWrite{{Slot: 0, Data: pod.Data{Kind: pod.SlotBox, Bytes: []byte("2" + text)}}}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	if st := tx.stats; st.Patches != 1 || st.Bytes > 20 {
		t.Errorf("%+v", st)
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// boxSlots cuts a text into slots of n bytes.
func boxSlots(text string, n int) (slots []string) {
	for ; len(text) >= n; text = text[n:] {
		slots = append(slots, text[:n])
	}
	return slots
}

// commitTexts commits a pod of these slots, a new one if it has no id yet.
func commitTexts(t testing.TB, s *Store, id pod.ID, slots []string) (pod.ID, Version) {
	t.Helper()
	tx := begin(t, s, MainBranch)
	c := &pod.Change{ID: id, New: id == 0, Exports: []pod.Export{{Slot: 0}}}
	if c.New {
		c.ID = tx.NewPod()
		if err := tx.SetName(bg, "x", c.ID); err != nil {
			t.Fatal(err)
		}
	}
	for i, text := range slots {
		c.Slots = append(c.Slots, pod.SlotWrite{Slot: pod.Slot(i), Data: pod.Data{Kind: pod.SlotBox, Bytes: []byte(text)}})
	}
	if err := tx.Put(bg, c); err != nil {
		t.Fatal(err)
	}
	return c.ID, must(tx.Commit(bg, CommitInfo{}))(t)
}
