package pod

import (
	"bytes"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// TestEveryLieIsNamed holds one version for each check that stands between
// stored bytes and a pod. Without the check the version would be accepted, or
// would make more memory than its bytes warrant.
func TestEveryLieIsNamed(t *testing.T) {
	small, whole := goldenShared(), goldenWhole()
	for _, c := range []struct {
		name string
		base *Pod
		hex  string
		want string
	}{
		{"body kind", nil, "14", "starts with"},
		{"references beyond the bytes", nil, "10 ff ff ff ff 0f 00", "count"},
		{"reference to pod 0 as a difference", nil, "10 01 02 00 00", "pod 0"},
		{"reference to pod 0 written out", nil, "10 01 01 00 00 00 00", "pod 0"},
		{"slot 0 written out", nil, "10 01 05 00 00 00", "slot 0"},
		{"difference that has an absolute form", nil, "10 01 82 80 80 80 80 80 80 80 80 01 00 00", "too far"},
		{"first export same as before", nil, "10 00 01 02 01 01 40 00", "first export"},
		{"empty list of edges", nil, "10 00 01 03 00 01 01 40 00", "empty list"},
		{"export of a far slot", nil, "10 00 01 81 80 80 80 40 01 01 40 00", "export of slot"},
		{"unknown slot kind", nil, "10 00 01 01 01 09 40 00", "slot group"},
		{"unknown group flag", nil, "10 00 01 01 01 81 40 00", "slot group"},
		{"equal lengths of one slot", nil, "10 00 01 01 01 21 40 00", "slot group"},
		{"equal lengths of runs", nil, "10 00 01 01 02 73 00 40 01 00", "slot group"},
		{"group beyond the slots", nil, "10 00 01 01 01 32 00 40 01 aa bb", "group of 2"},
		{"free group beyond the slots", nil, "10 00 00 01 10", "group of 2"},
		{"many empty slots in few bytes", nil, "10 00 01 01 80 80 40 32 fe ff 3f 40 00", "equal slots"},
		{"lengths that overflow", nil, "10 00 01 01 04 32 02 40 80 80 80 80 80 80 80 80 40", "equal slots"},
		{"lengths that overflow together", nil, "10 00 01 01 02 12 00 40 80 80 80 80 80 80 04 80 80 80 80 80 80 80 80 80 01", "bytes and more"},
		{"body longer than the slots", nil, "10 00 01 01 01 01 40 01 aa bb", "body of 2"},
		{"body shorter than the slots", nil, "10 00 01 01 01 01 40 01", "body of 0"},
		{"no runs", nil, "10 00 01 01 01 43 40 00", "no runs"},
		{"run below 0", nil, "10 00 01 01 01 43 40 01 06", "run length"},
		{"run that is no difference", nil, "10 00 01 01 01 43 40 01 00", "run length"},
		{"repeat beyond the runs", nil, "10 00 01 01 01 43 40 01 03", "equal runs"},
		{"repeat in two bytes", nil, "10 00 01 01 01 43 40 c8 01 81 01", "equal runs"},
		{"shared body of another length", nil, "11 07 00 01 01 01 01 40 05", "shared body"},
		{"no generations", nil, "20 00 00 01 00 01 01 40 00", "empty list"},
		{"line of a generation written out again", nil, "20 01 00 00 02 00 01 00 01 01 40 00", "written out again"},
		{"generation of a far slot", nil, "20 01 81 80 80 80 10 00 01 02 00 01 00 01 01 40 00", "generation of"},
		{"generations of many slots that are not there", nil, "20 01 01 fd ff 3f 01 02 00 01 00 01 01 40 00", "not there"},
		{"generations of as many slots as there are numbers", nil, "20 01 01 fe ff ff ff ff ff ff ff ff 01 01 02 00 01 00 01 01 40 00", "generation of"},
		{"generations of more slots than there are numbers", nil, "20 01 01 ff ff ff ff ff ff ff ff ff 01 01 02 00 01 00 01 01 40 00", "generation of"},
		{"no generation written out", nil, "20 01 02 00 00 01 00 01 01 40 00", "without a generation"},
		{"generation of a free slot", nil, "20 01 04 01 02 00 01 00 02 01 40 00 00", "generation of a free slot"},
		{"generation of a slot that a patch frees", small, "22 01 04 01 02 00 01 04", "generation of a free slot"},
		{"object that was moved from where it is", nil, "40 01 0c 01 0a 01 02 00 01 00 01 01 40 00", "moved from"},
		{"object that was moved from a far slot", nil, "40 01 0c 01 0a 80 80 80 80 01 02 00 01 00 01 01 40 00", "moved from"},
		{"objects that were moved together", nil, "40 01 0d 00 01 0a 05 02 00 01 00 01 01 40 00", "moved from"},
		{"nothing that was moved", nil, "40 01 08 01 0a 02 00 01 00 01 01 40 00", "nothing was moved"},
		{"root not exported", nil, "10 00 00 01 01 40 00", "root"},

		{"unknown flag", small, "12 80 00", "flags"},
		{"references of no known form", small, "12 03 00", "flags"},
		{"whole directory in a patch", small, "12 20 00", "flags"},
		{"table grows unnamed", small, "12 01 05 01 00 06 00", "reference table grows"},
		{"table grows with a hole", small, "12 01 02 02 01 06 00 06 00", "index"},
		{"table grows with a hole at first", small, "12 01 03 02 01 06 00 06 00", "reference table grows"},
		{"table grows unnamed at its end", whole, "12 01 08 02 00 06 05 06 00", "reference table grows"},
		{"table grows with a hole behind a change", whole, "12 01 08 02 02 06 04 06 00", "reference table grows"},
		{"change lands on pod 0", small, "12 01 01 01 00 02 00", "pod 0"},
		{"export goes that was not", small, "12 04 01 06 00", "was not there"},
		{"slots grow unnamed", small, "12 10 05 00", "not named"},
		{"slots grow with a hole", small, "12 10 04 01 0e 01 40 00", "not there"},
		{"slot beyond the number", small, "12 00 01 0a 01 40 00", "not there"},
		{"free slot written out", small, "12 00 01 06 00", "free slot"},
		{"two slots written as one", small, "12 00 01 06 32 00 40 01 aa bb", "group of 2"},
		{"bytes for a slot in runs", whole, "12 00 01 1d 00", "free or in runs"},
		{"bytes for a free slot", whole, "12 00 01 15 01 aa", "free or in runs"},
		{"runs for a slot without", small, "12 00 01 07 01 01 00 00", "has none"},
		{"runs grow unnamed", whole, "12 00 01 1f 05 00", "grows by runs"},
		{"runs grow with a hole", whole, "12 00 01 1f 06 01 05 01 aa", "run that is not there"},
		{"cut of a slot in runs", whole, "12 40 01 3c 00 00 00", "free or in runs"},
		{"cut of a free slot", whole, "12 40 01 2c 00 00 00", "free or in runs"},
		{"cut that keeps more than there is", small, "12 40 01 0c 01 02 00", "kept of a slot"},
		{"cut that keeps very much", small, "12 40 01 0c ff ff ff ff ff ff ff ff ff 01 03 00", "kept of a slot"},
		{"cut that keeps more of a run", whole, "12 40 01 3d 04 01 01 05 04 00", "kept of a run"},
		{"cut that keeps of a new run", whole, "12 40 01 3d 05 01 04 01 00 00", "kept of a run"},
		{"change of no known form", small, "12 40 01 0e 00 00 00", "change 6"},
		{"cuts in a delta", whole, "13 40 46 fe 46 00 16 46 00", "flags"},

		{"delta against too little", small, "13 00 04 0c 01 02 03 04", "no dictionary"},
		{"delta block without a length", whole, "13 00", "bad length"},
		{"delta block of a huge length", whole, "13 28 01 01 01 02 06 80 80 80 20 80 80 80 20 00", "bad length"},
		{"delta block of another length", whole, "13 00 45 ae 46 00 62 45 00", "not as long"},
		{"delta block longer than the slots", whole, "13 10 1f 01 09 05 11 02 46 fe 46 00 16 46 00", "not as long"},
		{"delta block that copies from nowhere", whole, "13 00 46 fe 47 00 16 47 00", "does not decode"},
		{"delta lengths that overflow", whole, "13 10 1f 02 01 02 41 80 80 80 80 80 80 04 00 02 41 80 80 80 80 80 80 80 80 7f 46", "slot of"},
		{"delta grows unnamed", whole, "13 10 20 00 46 fe 46 00 16 46 00", "not named"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b, err := hex.DecodeString(strings.ReplaceAll(c.hex, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			var p *Pod
			v, err := DecodeVersion(b)
			if err == nil {
				p, err = Merge(c.base, v, []byte{1, 2, 3, 4})
			}
			if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v, %v; want ErrCorrupt with %q", p, err, c.want)
			}
		})
	}
}

func TestFormsThatDoNotLendThemselvesToADelta(t *testing.T) {
	pod := func(n int) *Pod {
		body := bytes.Repeat([]byte("poddb "), n/6+1)[:n]
		return &Pod{Slots: []Data{{SlotObject, 64, body, nil}}, Exports: []Export{{0, all}}}
	}
	for _, c := range []struct {
		base, next int
		want       bool
	}{
		{15, 100, false}, {16, 100, true}, {64 << 10, 100, true}, {64<<10 + 1, 100, false},
		{100, 200 + 4<<10, true}, {100, 201 + 4<<10, false}, {100, 0, false}, {100, 2, false},
	} {
		base, next := pod(c.base), pod(c.next)
		b, ok := AppendDelta(nil, base, next, testOwn)
		if ok != c.want {
			t.Errorf("%d to %d bytes: %v", c.base, c.next, ok)
		}
		if ok {
			wantPod(t, "delta", reread(t, base, b, nil), next)
		}
	}
}
