package mvcc

import (
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// The history of a pod says which of its newest versions changed which slot, as of any version, and the
// same after the database is opened again.
func TestSlotHistorySaysWhichVersionsChangedWhat(t *testing.T) {
	o := testOptions(newFS(t))
	s := ratedStore(t, o, 2)
	check := func(s *Store) {
		for v, want := range map[Version]pod.SlotHistory{
			1:  {},
			2:  {Commits: 1, Versions: 1, Changed: []uint32{0, 1}},
			9:  {Commits: 8, Versions: 4, Changed: []uint32{0, 1<<4 - 1}},
			40: {Commits: 32, Versions: 16, Changed: []uint32{0, 1<<16 - 1}},
		} {
			tx := must(s.Begin(bg, MainBranch, v))(t)
			h := must(tx.SlotHistory(bg, 1))(t)
			if tx.Commits() != int(v) || h.Commits != want.Commits || h.Versions != want.Versions || len(h.Changed) != len(want.Changed) {
				t.Errorf("version %d: %+v, want %+v", v, h, want)
			}
			for k := range want.Changed {
				if h.Changed[k] != want.Changed[k] || (h.Bytes[k] > 0) != (want.Changed[k] > 0) {
					t.Errorf("version %d, slot %d: %b, %d bytes, want %b", v, k, h.Changed[k], h.Bytes[k], want.Changed[k])
				}
			}
			if h := must(tx.SlotHistory(bg, 1<<30))(t); h.Versions != 0 {
				t.Errorf("a pod that is not there: %+v", h)
			}
			tx.Rollback()
		}
	}
	check(s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	check(s)
}
