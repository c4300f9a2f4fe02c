package main

import (
	"context"
	"testing"
)

// Every system counts the changes of an object, keeps others as they are, and
// goes on under many writers and readers.
func TestSmallObjectStores(t *testing.T) {
	ctx := context.Background()
	for _, system := range append(kvSystems(), "bbolt-batch", "bbolt-batch16", "log") {
		for _, size := range []int{128, 4096, 64} {
			spec := kvSpec{System: system, Dir: t.TempDir(), Keys: 100, Size: size, Cache: 16 << 20}
			k, err := openKV(ctx, spec)
			if err != nil {
				t.Fatalf("%s: %v", system, err)
			}
			if err := k.load(ctx, spec.Keys); err != nil {
				t.Fatalf("%s: load: %v", system, err)
			}
			for range 3 {
				if err := k.change(ctx, 7, noiseOf(1, size-8)); err != nil {
					t.Fatalf("%s: change: %v", system, err)
				}
			}
			if system != "log" {
				for key, want := range map[int]uint64{7: 3, 8: 0} {
					if n, err := k.get(ctx, key); err != nil || n != want {
						t.Errorf("%s: object %d was changed %d times (%v), not %d", system, key, n, err, want)
					}
				}
				checkRound(t, k, spec)
			}
			if err := k.close(); err != nil {
				t.Errorf("%s: close: %v", system, err)
			}
		}
	}
}

// checkRound runs a round, after which the counters add up to the changes.
func checkRound(t *testing.T, k kvStore, spec kvSpec) {
	ctx := context.Background()
	var res kvResult
	want := uint64(3)
	for res.Writes == 0 || res.Reads == 0 { // a slow disk may need more than one
		var err error
		if res, err = runOrder(ctx, k, spec, kvOrder{Writers: 4, Readers: 2, Seconds: 0.05, Prune: spec.System == "poddb"}); err != nil {
			t.Fatalf("%s: %v", spec.System, err)
		}
		want += uint64(res.Writes)
	}
	sum := uint64(0)
	for key := range spec.Keys {
		n, err := k.get(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	if sum != want {
		t.Errorf("%s: %d changes are seen, not %d", spec.System, sum, want)
	}
}
