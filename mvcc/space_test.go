package mvcc

import (
	"fmt"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/pager"
)

func noise(t testing.TB, n int, seed uint64) string {
	t.Helper()
	b := make([]byte, n)
	if _, err := seeded(seed).Read(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A checkpoint that has little to place puts it into the tree: record pages are
// not shared between checkpoints.
func TestSmallCheckpointsStrandNoPages(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.PageSize = 8192
	s := mustOpen(t, o)
	id := pod.ID(0)
	const commits = 200
	for i := range uint64(commits) {
		x, _, err := commitBox(t, s, MainBranch, "x", id, noise(t, 150, i))
		if err != nil {
			t.Fatal(err)
		}
		id = x
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if info, err := fs.Stat(o.Path); err != nil || info.Size > commits*2048 {
		t.Fatalf("%d bytes for %d commits of 150 bytes, %v", info.Size, commits, err)
	}
}

// stored returns how the page file holds the newest version of a pod.
func stored(t *testing.T, s *Store, id pod.ID) envelope {
	t.Helper()
	v := must(s.view())(t)
	defer v.close()
	f, _, err := v.resolve(everything(s.lines.Load().byName[MainBranch]), id)
	if err != nil {
		t.Fatal(err)
	}
	return must(decodeEnvelope(f.env))(t)
}

func TestWhatACheckpointPlaces(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t))) // pages of 4,096 bytes
	defer s.Close()
	for _, c := range []struct {
		pods, size int
		how        byte
	}{
		{1, 80, envInline},  // never worth a record
		{1, 400, envInline}, // less than half a page
		{4, 400, envInline}, // still
		{6, 400, envPacked}, // more
		{1, 700, envPacked}, // too long for a leaf
		{30, 80, envInline}, // not worth it, however many
		{1, 100000, envPacked},
	} {
		tx := begin(t, s, MainBranch)
		var id pod.ID
		for i := range c.pods {
			id = tx.NewPod()
			if err := tx.Put(bg, box(id, noise(t, c.size, uint64(i)))); err != nil {
				t.Fatal(err)
			}
		}
		v := must(tx.Commit(bg, CommitInfo{}))(t)
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
		want, what := c.how, fmt.Sprintf("%d pods of %d bytes", c.pods, c.size)
		if e := stored(t, s, id); e.how != want && c.size < shareMin {
			t.Errorf("%s: envelope %d, expected %d", what, e.how, want)
		}
		if got := read(t, s, v, id); got != noise(t, c.size, uint64(c.pods-1)) {
			t.Errorf("%s: another value", what)
		}
	}
	verifyClean(t, s)
}

// Two commits that bring the same type both write its row.
func TestTypeWrittenTwiceFreesTheFirstRecord(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	desc := []byte(noise(t, 1500, 5))
	var txs []*Tx
	for range 2 {
		tx := begin(t, s, MainBranch)
		c := box(tx.NewPod(), "x")
		c.Slots[0].Data.Type = must(tx.Type(bg, desc))(t)
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
		txs = append(txs, tx)
	}
	for _, tx := range txs {
		must(tx.Commit(bg, CommitInfo{}))(t)
		if err := s.Checkpoint(bg); err != nil {
			t.Fatal(err)
		}
	}
	verifyClean(t, s)
}

func TestVerifyFindsARecordThatNobodyOwns(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	s := mustOpen(t, o)
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	p := must(pager.Open(bg, pager.Options{FS: fs, Path: o.Path}))(t)
	b := must(p.Begin())(t)
	must(b.Record([]byte("nobody's")))(t)
	if err := b.Commit(bg, p.State().LogPos, true); err != nil {
		t.Fatal(err)
	}
	p.Close(true)
	s = mustOpen(t, o)
	defer s.Close()
	rep := must(s.Verify(bg, VerifyOptions{}))(t)
	if len(rep.Problems) != 1 || !strings.Contains(rep.Problems[0], "live record bytes") {
		t.Fatalf("problems: %q", rep.Problems)
	}
}

// A version is counted as replaced once for each line, so with branches more
// may be replaced than there is.
func TestLiveBytesDoNotWrapAround(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	id, v, err := commitBox(t, s, MainBranch, "x", 0, noise(t, 900, 1))
	if err != nil {
		t.Fatal(err)
	}
	for _, branch := range []string{"a", "b", "c"} {
		if err := s.CreateBranch(bg, branch, v); err != nil {
			t.Fatal(err)
		}
		if _, _, err := commitBox(t, s, branch, "", id, "short"); err != nil {
			t.Fatal(err)
		}
	}
	if st := s.Stats(); st.LiveBytes > 2000 || st.HistoryBytes > 2000 {
		t.Fatalf("%d live bytes, %d of history", st.LiveBytes, st.HistoryBytes)
	}
}
