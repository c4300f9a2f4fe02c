package main

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"testing"
)

// Recordings that are not there are named, and count neither way.
func TestAbsentRecordingsAreSkippedByName(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"bars", "-only", "storage-payload", "-traces", t.TempDir()}, &out); err != nil {
		t.Fatal(err, out.String())
	}
	for _, program := range publishedPrograms() {
		if strings.Contains(out.String(), "storage-payload-"+program+": skipped") != pointerRich(program) {
			t.Errorf("%s is pointer-rich: %v, in\n%s", program, pointerRich(program), out.String())
		}
		if _, ok := publishedBytes(program); !ok {
			t.Errorf("no bytes of %s", program)
		}
	}
	if !strings.Contains(out.String(), "BARS passed=0 failed=0") {
		t.Error(out.String())
	}
}

func TestPayloadIsWhatARecordingCallsNewOrChanged(t *testing.T) {
	programs, err := recordedPrograms("../../internal/trace/testdata")
	if err != nil || len(programs) == 0 {
		t.Fatal(programs, err)
	}
	n, err := recordedPayload("../../internal/trace/testdata", programs[0])
	if err != nil || n <= 0 {
		t.Fatal(n, err)
	}
	w, err := newReplay("../../internal/trace/testdata", programs[0], 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.next(); err != nil {
		t.Fatal(err)
	}
	if _, first := w.size(); n < float64(first) {
		t.Fatalf("%.0f bytes in all steps, %d after the first", n, first)
	}
}

// Changes that are stored without compression take what the formula of the promise allows:
// and where nothing changed nothing may be stored.
func TestWhatASweepMayStore(t *testing.T) {
	if got := []float64{ofAllowed(-8192, 0), ofAllowed(0, 0), ofAllowed(50, 100)}; !slices.Equal(got, []float64{0, 0, 0.5}) {
		t.Error(got)
	}
	if b := (bar{limit: 1, value: ofAllowed(1, 0)}); b.passed() {
		t.Error("bytes for no change pass")
	}
}
