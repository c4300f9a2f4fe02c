package mvcc

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
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

// Rows of all kinds, put in the order in which commits and retention put them and
// in others: the index of newest versions and the shortcuts of put agree with a
// sorted list.
func TestOverlayFindsVersionsWithoutASearch(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 8))
		o, want := newOverlay(), map[string]string{}
		number := uint64(1000)
		type podLine struct {
			id   pid
			line uint32
		}
		places := map[podLine]*place{} // of an earlier moment
		for i := range 3000 {
			var k []byte
			var near *place
			if x := (podLine{pid(rng.IntN(400)), uint32(1 + rng.IntN(2))}); rng.IntN(2) == 0 {
				if p := new(place); p.find(o, x.id, x.line) {
					places[x] = p
				}
			}
			switch rng.IntN(8) {
			case 0:
				k = commitKey(uint64(i))
			case 1:
				k = commitKey(rng.Uint64N(3000))
			case 2:
				k = versionKey(nil, pid(1+rng.IntN(200)), uint32(1+rng.IntN(2)), rng.Uint64N(number+1))
			case 3:
				k = hashKey(kindContent, contentKey(be.AppendUint64(be.AppendUint64(nil, rng.Uint64N(50)), rng.Uint64N(3))))
			case 4:
				k = append([]byte{kindBranch}, make([]byte, rng.IntN(20))...)
			default:
				number++
				x := podLine{pid(1 + rng.IntN(200)*rng.IntN(2)), uint32(1 + rng.IntN(2))}
				if len(places) > 0 && rng.IntN(2) == 0 {
					all := slices.Collect(maps.Keys(places))
					slices.SortFunc(all, func(a, b podLine) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.line, b.line)) })
					x = all[rng.IntN(len(all))]
					near = places[x]
					delete(places, x)
				}
				k = versionKey(nil, x.id, x.line, number)
			}
			o.putNear(k, fmt.Append(nil, i), near)
			want[string(k)] = fmt.Sprint(i)
		}
		keys := sortedKeys(want)
		i := 0
		back := o.head
		for n := o.head.following(); n != nil; n = n.following() {
			if i == len(keys) || string(n.key) != keys[i] || string(n.value()) != want[keys[i]] || n.back != back {
				t.Fatalf("seed %d: row %d is %x=%s", seed, i, n.key, n.value())
			}
			back = n
			i++
		}
		if i != len(keys) {
			t.Fatalf("seed %d: %d rows of %d", seed, i, len(keys))
		}
		for range 2000 {
			k := string(versionKey(nil, pid(rng.IntN(210)), uint32(1+rng.IntN(2)), rng.Uint64N(number+2)))
			at, exact := slices.BinarySearch(keys, k)
			found := at < len(keys) && keys[at][:prefixLen] == k[:prefixLen]
			n := o.first([]byte(k), []byte(k[:prefixLen]))
			if found != (n != nil) || found && string(n.key) != keys[at] {
				t.Fatalf("seed %d: first of %x is wrong", seed, k)
			}
			if b, ok := o.get([]byte(k)); ok != exact || ok && string(b) != want[k] {
				t.Fatalf("seed %d: get %x is wrong", seed, k)
			}
		}
	}
}

// Whoever looks for a version while others are put finds it, or a newer one.
func TestOverlayReadersFindVersionsWhileItGrows(t *testing.T) {
	o := newOverlay()
	const pods, n = 500, 30000
	var put atomic.Uint64
	var wg sync.WaitGroup
	for r := range 2 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 6))
			for last := put.Load(); last < n; last = put.Load() {
				if last < pods {
					runtime.Gosched()
					continue
				}
				id := pid(rng.Uint64N(pods))
				newest := last - (last-uint64(id))%pods // of that pod
				k := versionKey(nil, id, 1, newest)
				x := o.first(k, k[:prefixLen])
				if x == nil || !bytes.Equal(x.key, k) || be.Uint64(x.value()) != newest {
					t.Errorf("version %d of pod %d is not found", newest, id)
					return
				}
			}
		})
	}
	for i := uint64(1); i <= n; i++ {
		o.put(versionKey(nil, pid(i%pods), 1, i), be.AppendUint64(nil, i))
		put.Store(i)
	}
	wg.Wait()
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
	v := &view{s: s, la: la, pv: s.pager.View()}
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
	in := packedIn(1<<40, memberAt{off: 77, length: 9})
	if e, err := decodeEnvelope(in); err != nil || e.block != 1<<40 || e.off != 77 || e.length != 9 {
		t.Fatalf("%+v, %v", e, err)
	}
	if e, err := decodeEnvelope(inline([]byte("abc"))); err != nil || string(e.data) != "abc" {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, b := range [][]byte{nil, {4}, {1}, {0, 0}, append(in, 0)} {
		if _, err := decodeEnvelope(b); err == nil {
			t.Fatalf("envelope %x was accepted", b)
		}
	}
}
