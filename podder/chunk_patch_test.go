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
		g := mustGraph(t, cfg)
		list, mutable := make([]string, 400+rnd.IntN(2_000), 3_000), make([]byte, 64)
		text := func() string { return strings.Repeat("text ", rnd.IntN(12)) + fmt.Sprint(rnd.IntN(50)) }
		for i := range list {
			list[i] = text()
		}
		window := list[10:20:20]
		patched := 0
		for range 25 {
			switch rnd.IntN(12) {
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
