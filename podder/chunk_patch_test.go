package podder

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/poddb/poddb/internal/pod"
)

// patches counts the pods of a transaction that got some runs.
func (t *fakeTx) patches() (n int) {
	for id, was := range t.s.pods {
		now := t.pods[id]
		if was != nil && now != nil && len(was.Slots) == 1 && was.Slots[0].Kind == pod.SlotArray && len(was.Slots[0].Runs) == len(now.Slots[0].Runs) {
			n++
		}
	}
	return n
}

// One string of a long list is written as the run that has it.
func TestAStringInChunksIsPatched(t *testing.T) {
	for _, walk := range []bool{false, true} {
		s := newFakeStore()
		cfg := indexed(s)
		cfg.TargetBytes, cfg.Index = 512, !walk
		g := mustGraph(t, cfg)
		list := make([]string, 3_000)
		for i := range list {
			list[i] = fmt.Sprintf("a string with number %d", i)
		}
		for range 3 {
			mustSave(t, g, s, "list", list)
		}
		for k := range 20 {
			i := k * 149
			list[i] = fmt.Sprintf("another string, number %d", k)
			tx := s.begin()
			patched := mustSaveInto(t, g, tx, "list", list)
			if len(tx.changes) != 1 || patched == 0 || tx.bytes > 2*runBytes {
				t.Fatalf("walk %v: string %d wrote %d pods, %d of them in runs, %d bytes", walk, i, len(tx.changes), patched, tx.bytes)
			}
			mustStayQuiet(t, g, s, "list", list)
		}
		_, got := reload(t, s, cfg, "list", list)
		if !slices.Equal(got[0].Interface().([]string), list) {
			t.Fatal("another list was loaded")
		}
	}
}

// mustSaveInto is mustSave into a transaction, of which it returns the pods that were patched.
func mustSaveInto(t *testing.T, g *Graph, tx *fakeTx, pairs ...any) int {
	t.Helper()
	saved, err := g.Save(t.Context(), rootsOf(pairs...), tx)
	if err != nil {
		t.Fatal(err)
	}
	n := tx.patches()
	if err := tx.commit(); err != nil {
		t.Fatal(err)
	}
	saved.Commit()
	return n
}

// Lists that change in any way are loaded as they are: strings replaced by equal, longer,
// shorter, empty and very long ones, in place or not, few and many; elements that come, go
// and move; other slices of the array; saves that are given up.
func TestStringsInChunksChangeInAnyWay(t *testing.T) {
	for seed := range sample(30, 8, 2) {
		rnd := rand.New(rand.NewPCG(seed, 8))
		s := newFakeStore()
		cfg := indexed(s)
		cfg.TargetBytes, cfg.VerifyEvery, cfg.Index = 128<<rnd.IntN(3), 1, seed%4 > 0
		if seed%2 == 1 { // a long string fits into a chunk
			cfg.TargetBytes = 4 << 10
		}
		g := mustGraph(t, cfg)
		list, mutable := make([]string, 400+rnd.IntN(2_000)+int(seed%2)*1_500, 4_000), make([]byte, 64)
		text := func() string { return strings.Repeat("text ", rnd.IntN(12)) + fmt.Sprint(rnd.IntN(50)) }
		for i := range list {
			list[i] = text()
		}
		if seed%2 == 1 {
			for i := range list {
				list[i] = strings.Repeat(list[i], 4)
			}
		}
		window := list[10:20:20]
		patched := 0
		for range 25 {
			switch rnd.IntN(13) {
			case 0:
				i := rnd.IntN(len(list))
				list[i] = strings.Clone(list[i])
			case 1:
				list[rnd.IntN(len(list))] = ""
			case 2:
				list[rnd.IntN(len(list))] = strings.Repeat("long ", longString/5+rnd.IntN(3)-1)
			case 3: // no string is long
				for i := range list {
					list[i] = list[i][:min(len(list[i]), 90)]
				}
			case 4:
				if len(list) < cap(list) {
					list = append(list, text())
				}
			case 5:
				list = slices.Delete(list, 5, 5+rnd.IntN(3))
			case 6:
				i := rnd.IntN(len(list) - 1)
				copy(list[i+1:], list[i:])
			case 7:
				for i := range list {
					list[i] = text()
				}
			case 8:
				k := rnd.IntN(len(list) / 3)
				for i := range k {
					list[i] = strings.Repeat("grow ", 14)
				}
			case 10:
				list = list[: len(list) : len(list)+rnd.IntN(cap(list)-len(list)+1)]
			case 9: // equal addresses, other length
				whole := unsafe.String(&mutable[0], len(mutable))
				list[7], list[8] = whole[:10+rnd.IntN(20)], whole[rnd.IntN(30):]
			default:
				for range 1 + rnd.IntN(9) {
					list[rnd.IntN(len(list))] = text()
				}
			}
			if rnd.IntN(5) == 0 {
				saved, err := g.Save(t.Context(), rootsOf("list", &list, "window", window), s.begin())
				if err != nil {
					t.Fatal(err)
				}
				saved.Abort()
			}
			patched += mustSaveInto(t, g, s.begin(), "list", &list, "window", window)
			mustStayQuiet(t, g, s, "list", &list, "window", window)
			_, got := reload(t, s, cfg, "list", &list, "window", window)
			if err := isomorphic(reflect.ValueOf(&list), got[0]); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if patched == 0 {
			t.Errorf("seed %d: nothing was patched", seed)
		}
	}
}

// A chunk does not grow or shrink for ever: then its list is cut anew.
func TestPatchedChunksKeepTheirSizes(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 512
	g := mustGraph(t, cfg)
	list := make([]string, 3_000)
	for i := range list {
		list[i] = fmt.Sprintf("a string with number %d", i)
	}
	for range 3 {
		mustSave(t, g, s, "list", list)
	}
	for k := range 300 { // one after the other, so that no save has much to change
		list[k] = strings.Repeat("it grows ", 30)
		mustSave(t, g, s, "list", list)
	}
	for _, id := range s.lists(pod.SlotArray) {
		for _, ref := range s.pods[id].Refs {
			if p := s.pods[ref.Pod]; p != nil && len(p.Slots) == 1 && p.BodyLen() > 3*cfg.TargetBytes {
				t.Errorf("chunk %d has %d bytes", ref.Pod, p.BodyLen())
			}
		}
	}
}

// Chunks that several lists name are not patched, and one that was patched is not taken for
// what it was.
func TestPatchedChunksAreNotShared(t *testing.T) {
	s := newFakeStore()
	cfg := indexed(s)
	cfg.TargetBytes = 512
	g := mustGraph(t, cfg)
	list := make([]string, 2_000)
	for i := range list {
		list[i] = fmt.Sprintf("a string with number %d", i)
	}
	first := slices.Clone(list)
	save := func(pairs ...any) {
		t.Helper()
		mustSave(t, g, s, pairs...)
		mustStayQuiet(t, g, s, pairs...)
		_, got := reload(t, s, cfg, pairs...)
		for i := range got {
			if want := pairs[2*i+1].([]string); !slices.Equal(got[i].Interface().([]string), want) {
				t.Fatalf("%v was loaded as something else", pairs[2*i])
			}
		}
	}
	for range 3 {
		save("list", list)
	}
	list[5] = "another one"
	save("list", list)
	save("list", list, "first", first) // it has the chunk that was patched since, as it was
	clone := slices.Clone(list)
	save("clone", clone, "first", first, "list", list)
	for k := range 5 {
		for i, x := range [][]string{clone, first, list} {
			x[700*i+k*100] = fmt.Sprint("of its own ", i, k)
			save("clone", clone, "first", first, "list", list)
		}
	}
	twice := append(slices.Clone(clone), clone...)
	for range 3 {
		save("clone", clone, "first", first, "list", list, "twice", twice)
	}
	for k := range 5 {
		twice[k*300] = fmt.Sprint("only here ", k)
		clone[k*300+1] = fmt.Sprint("and only there ", k)
		save("clone", clone, "first", first, "list", list, "twice", twice)
	}
}

// An array of which more is known now is stored with all of it.
func TestPatchedChunksOfAnArrayThatIsLonger(t *testing.T) {
	for _, walk := range []bool{false, true} {
		s := newFakeStore()
		cfg := indexed(s)
		cfg.TargetBytes, cfg.Index = 512, !walk
		g := mustGraph(t, cfg)
		whole := make([]string, 2_000, 2_500)
		for i := range whole {
			whole[i] = fmt.Sprintf("a string with number %d", i)
		}
		list := whole[:2_000:2_000]
		for range 3 {
			mustSave(t, g, s, "list", list)
		}
		for k := range 3 {
			list[k] = "another one"
			list = whole[: 2_000 : 2_100+k]
			mustSave(t, g, s, "list", list)
			_, got := reload(t, s, cfg, "list", list)
			if err := isomorphic(reflect.ValueOf(list), got[0]); err != nil || got[0].Cap() != 2_100+k {
				t.Fatalf("capacity %d: %v", got[0].Cap(), err)
			}
		}
	}
}

// Two containers that share a pod, since they have become large there, lend their chunks in the
// save that finds nothing of the pod in use any more: it is put once.
func TestContainersOfOnePodLendTheirChunks(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 512
	g := mustGraph(t, cfg)
	type two struct{ A, B []string }
	x := &two{make([]string, 100), make([]string, 100)}
	mustSave(t, g, s, "two", x, "other", new(int))
	for i := range x.A {
		x.A[i] = fmt.Sprintf("%d %s", i, strings.Repeat("a string ", 9))
		x.B[i] = fmt.Sprintf("%d %s", i, strings.Repeat("another ", 9))
	}
	mustSave(t, g, s, "two", x, "other", new(int))
	place := func(list []string) int32 {
		return g.cur.regions.at(g.cur.memory.find(g.cur, unsafe.Pointer(&list[0]))).pod
	}
	if n := len(g.cur.chunked); n != 2 || place(x.A) != place(x.B) {
		t.Fatalf("%d containers in chunks, in pods %d and %d", n, place(x.A), place(x.B))
	}
	shared := g.cur.pods[place(x.A)].id
	a, b := slices.Clone(x.A), slices.Clone(x.B)
	tx := mustSave(t, g, s, "other", new(int), "a", a, "b", b)
	if !slices.Contains(tx.changes, shared) || tx.chunks() > 0 {
		t.Errorf("changed %v and wrote %d chunks, want %d, of which chunks were lent", tx.changes, tx.chunks(), shared)
	}
	for id := range s.pods { // both lists own nothing any more
		for i := range s.pods[id].Slots {
			if d := &s.pods[id].Slots[i]; id == shared && d.Kind == pod.SlotChunks {
				if list, wrong := parseChunks(d, s.pods[id].Refs); wrong != "" || !list.frozen {
					t.Errorf("slot %d: not frozen, %s", i, wrong)
				}
			}
		}
	}
	_, got := reload(t, s, cfg, "a", a, "b", b)
	for i, want := range [][]string{a, b} {
		if !slices.Equal(got[i].Interface().([]string), want) {
			t.Errorf("list %d was loaded as another one", i)
		}
	}
}
