package mvcc

import (
	"fmt"
	"strings"
	"testing"
)

// Without compression what lies in blocks is as long as what was encoded, however
// often it repeats itself, in small commits and in streamed ones; and nothing is a delta.
// What is stored either way is read either way.
func TestWithoutCompressionNothingShrinks(t *testing.T) {
	o := testOptions(newFS(t))
	o.streamFrom = 50_000
	texts := map[Version]string{}
	var small pid
	for round := range 4 {
		o.NoCompression = round%2 == 0
		s := mustOpen(t, o)
		grows := func(what string, commit func()) {
			before := must(s.SpaceReport(bg))(t)
			commit()
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
			after := must(s.SpaceReport(bg))(t)
			raw, stored := after.contents()-before.contents(), after.Stored-before.Stored
			if plain := stored >= raw; plain != o.NoCompression {
				t.Errorf("round %d: %d bytes of %s take %d bytes", round, raw, what, stored)
			}
		}
		grows("small commits", func() {
			text := noise(t, 3000, uint64(round))
			for i := range 6 {
				text = strings.Repeat(text[:2500]+noise(t, 500, uint64(round+10*i)), 3)
				id, v, err := commitBox(t, s, MainBranch, "small", small, text)
				if err != nil {
					t.Fatal(err)
				}
				small, texts[v] = id, text
				if kind := storedKind(t, s, id); kind == "delta" && o.NoCompression {
					t.Fatal("a delta without compression")
				}
				if log := s.logBytes(); i == 0 && (log >= 9000) != o.NoCompression {
					t.Errorf("round %d: a log of %d bytes", round, log)
				}
			}
		})
		grows("small pods", func() { // which are compressed by blocks alone
			for i := range 20 {
				text := noise(t, 400, uint64(1000+100*round+i))
				if _, _, err := commitBox(t, s, MainBranch, fmt.Sprint("tiny", round, i), 0, text+text); err != nil {
					t.Fatal(err)
				}
			}
		})
		grows("a streamed commit", func() {
			tx := begin(t, s, MainBranch)
			for i := range 3 {
				id := tx.NewPod()
				if err := tx.SetName(bg, fmt.Sprint("big", round, i), id); err != nil {
					t.Fatal(err)
				}
				if err := tx.Put(bg, box(id, strings.Repeat(noise(t, 20_000, uint64(100+10*round+i)), 10))); err != nil {
					t.Fatal(err)
				}
			}
			if tx.stream == nil {
				t.Fatal("not streamed")
			}
			if _, err := tx.Commit(bg, CommitInfo{}); err != nil {
				t.Fatal(err)
			}
		})
		for v, want := range texts {
			if read(t, s, v, small) != want {
				t.Fatalf("round %d: version %d reads as another text", round, v)
			}
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// contents are the bytes of what lies in blocks, before compression.
func (r SpaceReport) contents() (n int64) {
	for _, c := range []ContentSpace{r.Live, r.History, r.Shared, r.Commits, r.Types} {
		n += c.Raw - c.Inline
	}
	return n
}
