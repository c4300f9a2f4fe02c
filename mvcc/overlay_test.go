package mvcc

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/poddb/poddb/pager"
)

func TestOverlayIsAnOrderedMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	o, want := newOverlay(), map[string]string{}
	for i := range 5000 {
		k := fmt.Sprintf("%x", rng.IntN(2500))
		o.put([]byte(k), []byte(fmt.Sprint(i)))
		want[k] = fmt.Sprint(i)
	}
	keys := sortedKeys(want)
	i := 0
	for n := o.head.following(); n != nil; n = n.following() {
		if string(n.key) != keys[i] || string(n.value()) != want[keys[i]] {
			t.Fatalf("row %d is %s=%s", i, n.key, n.value())
		}
		i++
	}
	if i != len(keys) || int(o.entries.Load()) != len(keys) {
		t.Fatalf("%d rows, %d counted, expected %d", i, o.entries.Load(), len(keys))
	}
	for range 2000 {
		k := fmt.Sprintf("%x", rng.IntN(3000))
		at, exact := slices.BinarySearch(keys, k)
		n := o.seek([]byte(k))
		if (n == nil) != (at == len(keys)) || n != nil && string(n.key) != keys[at] {
			t.Fatalf("seek %s is wrong", k)
		}
		if b, ok := o.get([]byte(k)); ok != exact || ok && string(b) != want[k] {
			t.Fatalf("get %s is wrong", k)
		}
	}
}

func TestOverlayReadersSeeOrderedKeysWhileItGrows(t *testing.T) {
	o := newOverlay()
	const n = 20000
	var wg sync.WaitGroup
	done := make(chan struct{})
	for r := range 3 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(r), 5))
			for {
				select {
				case <-done:
					return
				default:
				}
				var prev []byte
				for x, i := o.seek(be.AppendUint64(nil, rng.Uint64())), 0; x != nil && i < 200; x, i = x.following(), i+1 {
					if bytes.Compare(prev, x.key) >= 0 || !bytes.Equal(x.key, x.value()[:8]) {
						t.Error("keys out of order, or a value that is not the key's")
						return
					}
					prev = x.key
				}
			}
		}()
	}
	rng := rand.New(rand.NewPCG(9, 5))
	var keys [][]byte
	for i := range n {
		k := be.AppendUint64(nil, rng.Uint64())
		if i%4 == 3 {
			k = keys[rng.IntN(len(keys))]
		}
		keys = append(keys, k)
		o.put(k, be.AppendUint64(bytes.Clone(k), uint64(i)))
	}
	close(done)
	wg.Wait()
}

// The merged cursor and the seeks give what one map would, whichever layers
// hold the rows.
func TestViewMergesItsLayers(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	rng := rand.New(rand.NewPCG(3, 3))
	want := map[string]string{}
	b, err := s.pager.Begin()
	if err != nil {
		t.Fatal(err)
	}
	fill := func(put func(k, v []byte) error) {
		for i := range 300 {
			k, v := fmt.Sprintf("z%03x", rng.IntN(600)), fmt.Sprint(rng.Uint64(), i)
			want[k] = v
			if err := put([]byte(k), []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(b.Put)
	if err := b.Commit(bg, s.pager.State().LogPos, true); err != nil {
		t.Fatal(err)
	}
	la := &layers{frozen: newOverlay(), active: newOverlay()}
	for _, o := range []*overlay{la.frozen, la.active} {
		fill(func(k, v []byte) error { o.put(k, v); return nil })
	}
	v := &view{s, la, s.pager.View()}
	defer v.pv.Close()
	keys := sortedKeys(want)
	i := 0
	if err := v.walk([]byte("z"), func(k, val []byte) error {
		if string(k) != keys[i] || string(val) != want[keys[i]] {
			return fmt.Errorf("row %d is %s=%s, expected %s=%s", i, k, val, keys[i], want[keys[i]])
		}
		i++
		return nil
	}); err != nil || i != len(keys) {
		t.Fatalf("%d of %d rows, %v", i, len(keys), err)
	}
	for k, val := range want {
		if b, ok, err := v.get([]byte(k)); err != nil || !ok || string(b) != val {
			t.Fatalf("get %s: %s, %v", k, b, err)
		}
	}
}

func TestEnvelopeKeepsWhatItHolds(t *testing.T) {
	pl := pager.Place{Off: 1 << 40, Len: 77, CRC: 0xdeadbeef}
	if e, err := decodeEnvelope(placed(pl)); err != nil || e.place != pl || e.size() != 77 {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err := decodeEnvelope(inline([]byte("abc"))); err != nil || string(e.data) != "abc" || e.size() != 3 {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, b := range [][]byte{nil, {3}, {1}, {0, 0}, append(placed(pl), 0)} {
		if _, err := decodeEnvelope(b); err == nil {
			t.Fatalf("envelope %x was accepted", b)
		}
	}
}
