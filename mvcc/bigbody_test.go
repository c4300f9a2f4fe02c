package mvcc

import (
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// Big bodies of noise are written in pieces, equal ones once, and one that
// compresses goes the ordinary way; all of them read back, before and after a
// checkpoint and a new opening, and nothing is left behind in the file.
func TestBigBodies(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.PageSize = 8192
	s := mustOpen(t, o)
	const mib = 1 << 20
	bodies := []string{
		noise(t, 3*mib+77, 1), noise(t, mib, 2), strings.Repeat("compresses ", mib/4), noise(t, 5*mib, 3), noise(t, mib-1, 4),
	}
	bodies = append(bodies, bodies[0]) // known to the transaction
	var ids []pod.ID
	write := func(bodies []string) {
		tx := begin(t, s, MainBranch)
		for i, b := range bodies {
			c := box(tx.NewPod(), b)
			if i == 1 { // of several slots
				c.Slots = append(c.Slots, pod.SlotWrite{Slot: 2, Data: pod.Data{Kind: pod.SlotObject, Bytes: []byte(noise(t, 2*mib, 9))}})
			}
			ids = append(ids, c.ID)
			if err := tx.Put(bg, c); err != nil {
				t.Fatal(err)
			}
			for k := range c.Slots { // the sender may use the memory again
				clear(c.Slots[k].Data.Bytes)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
	}
	write(bodies)
	write(bodies[:4]) // known to the index
	check := func() {
		t.Helper()
		sn := must(s.At(bg, 2))(t)
		defer sn.Close()
		for i, p := range must(sn.Pods(bg, ids))(t) {
			want := append(bodies, bodies[:4]...)[i]
			if got := string(p.Slots[0].Bytes); got != want {
				t.Fatalf("body %d of %d bytes came back as %d others", i, len(want), len(got))
			}
		}
		verifyClean(t, s)
	}
	check()
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	check()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, o)
	defer s.Close()
	check()
	stored := 0
	for _, b := range bodies[:5] {
		stored += len(b)
	}
	stored += 2*mib - len(bodies[2])
	if info := must(fs.Stat(o.Path))(t); info.Size > int64(stored)*11/10 {
		// What was written for bodies that turned out to be known is free.
		st := s.Stats()
		if info.Size-st.FreeBytes > int64(stored)*11/10 {
			t.Fatalf("file of %d bytes, %d free, for %d bytes of bodies", info.Size, st.FreeBytes, stored)
		}
	}
}
