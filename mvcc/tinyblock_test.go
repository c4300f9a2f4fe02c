package mvcc

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// A big commit of tiny pods lies in blocks as small as those of what is current, one of larger
// pods in large ones; and both can be read, one by one and into memory that is used again.
func TestTinyPodsOfABigCommitLieInSmallBlocks(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	for _, size := range []int{100, 800} {
		tx := begin(t, s, MainBranch)
		ids, texts := make([]pod.ID, 3<<20/size), make([]string, 3<<20/size)
		for i := range ids {
			ids[i], texts[i] = tx.NewPod(), randomText(uint64(size+i), size)
			if err := tx.Put(bg, box(ids[i], texts[i])); err != nil {
				t.Fatal(err)
			}
			if err := tx.SetName(bg, fmt.Sprintf("%d/%d", size, i), ids[i]); err != nil {
				t.Fatal(err)
			}
		}
		if tx.stream == nil {
			t.Fatal("the transaction is not streamed")
		}
		v := must(tx.Commit(bg, CommitInfo{}))(t)
		readAll(t, s, v, ids, texts)
		sn := must(s.At(bg, v))(t)
		defer sn.Close()
		view := must(s.view())(t)
		defer view.close()
		spare := new(pod.Pod)
		for i := 0; i < len(ids)*9/10; i += 97 { // not of the last block
			f, ok, err := view.resolve(sn.lineage, ids[i])
			if err != nil || !ok {
				t.Fatalf("pod %d: %v, %v", ids[i], ok, err)
			}
			e := must(decodeEnvelope(f.env))(t)
			row := must(view.blockRow(e.block))(t)
			if small := row.raw <= 2*hotBytes; small != (size == 100) {
				t.Fatalf("a pod of %d bytes lies in a block of %d", size, row.raw)
			}
			id, p, err := sn.Variable(bg, fmt.Sprintf("%d/%d", size, i), spare)
			if err != nil || id != ids[i] || string(p.Slots[0].Bytes) != texts[i] {
				t.Fatalf("variable %d: pod %d (%v)", i, id, err)
			}
			if (p == spare) != (size == 100) {
				t.Fatalf("a pod of %d bytes: read into spare memory: %v", size, p == spare)
			}
		}
	}
	verifyClean(t, s)
}

// A variable that was written often between two checkpoints may be alone in its block. It is kept
// at hand, as those are that share one: a second read needs no file.
func TestATinyPodAloneInItsBlockIsKept(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	var id pod.ID
	text := ""
	for i := range 60 {
		text = randomText(uint64(i+1), 400)
		var err error
		if id, _, err = commitBox(t, s, MainBranch, "x", id, text); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Checkpoint(bg); err != nil {
		t.Fatal(err)
	}
	sn := must(s.AtHead(bg, MainBranch))(t)
	defer sn.Close()
	view := must(s.view())(t)
	defer view.close()
	f, ok, err := view.resolve(sn.lineage, id)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	e := must(decodeEnvelope(f.env))(t)
	if row := must(view.blockRow(e.block))(t); row.members != 1 {
		t.Fatalf("%d pods in its block: the test proves nothing", row.members)
	}
	spare := new(pod.Pod)
	if _, p, err := sn.Variable(bg, "x", spare); err != nil || p != spare || string(p.Slots[0].Bytes) != text {
		t.Fatal(p == spare, err)
	}
	if _, ok := s.recent.get(e.block); !ok {
		t.Fatal("its block is not at hand after it was read")
	}
}
