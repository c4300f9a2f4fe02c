package podder

import (
	"testing"

	"github.com/poddb/poddb/internal/pod"
)

// Nothing is known of the way between two versions if every slot counts as out of use; also where a collect
// took away all that the older one exported.
func TestUnknownSince(t *testing.T) {
	object, export := pod.Data{Kind: pod.SlotObject, Type: 1}, func(s pod.Slot) []pod.Export { return []pod.Export{{Slot: s}} }
	before := &pod.Pod{Slots: []pod.Data{object, object, object}, Exports: export(0)}
	collected := &pod.Pod{Slots: []pod.Data{{}, object, object}, Exports: export(1)}
	all := func(pod.Slot) bool { return true }
	for what, now := range map[string]*pod.Pod{"as it was": before, "collected": collected} {
		if !unknownSince(all, before, now) {
			t.Errorf("%s: all slots were out of use, and that is taken for knowledge", what)
		}
		if unknownSince(func(s pod.Slot) bool { return s != 2 }, before, now) {
			t.Errorf("%s: one slot was in use all the way, and that is taken for nothing", what)
		}
	}
}
