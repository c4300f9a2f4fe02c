package pod

import (
	"bytes"
	"testing"
)

// A pod read into used memory is the pod that DecodeVersion and Merge make, and
// what they refuse is refused.
func TestReadWholeIsDecodeAndMerge(t *testing.T) {
	refused := 0
	seeds(t, 60, func(t *testing.T, g gen) {
		p := &Pod{} // used over and over
		next := &Pod{}
		for range 20 {
			next = g.next(next)
			form := AppendWhole(nil, next)
			if err := p.ReadWhole(form); err != nil {
				t.Fatal(err)
			}
			wantPod(t, "read whole", p, next)
			bad := bytes.Clone(form)
			bad[g.IntN(len(bad))] ^= 1 << g.IntN(8)
			want, err := (*Pod)(nil), error(nil)
			v, err := DecodeVersion(bad)
			if err == nil && v.kind != bodyWhole {
				continue
			}
			if err == nil {
				want, err = Merge(nil, v, nil)
			}
			got := p.ReadWhole(bad)
			if (got == nil) != (err == nil) {
				t.Fatalf("%x: %v, DecodeVersion and Merge say %v", bad, got, err)
			}
			if err != nil {
				refused++
				continue
			}
			wantPod(t, "read damaged", p, want)
		}
	})
	if refused < 100 {
		t.Errorf("only %d were refused: the test says nothing about them", refused)
	}
}
