package mvcc

import (
	"testing"
	"time"
)

func TestHistogramKnowsItsClasses(t *testing.T) {
	var l latencies
	for d, class := range map[time.Duration]int{
		0: 0, time.Microsecond: 0, 2*time.Microsecond - 1: 0, 2 * time.Microsecond: 1, time.Millisecond: 9,
		time.Second: 19, time.Hour: latencyClasses - 1, -5: 0,
	} {
		before := l.histogram().Buckets[class]
		l.add(d)
		if h := l.histogram(); h.Buckets[class] != before+1 {
			t.Errorf("%v went elsewhere: %v", d, h.Buckets)
		}
	}
	h := l.histogram()
	if h.Count != 8 || h.Max != time.Hour || h.Mean() < time.Hour/8 {
		t.Fatalf("%+v", h)
	}
	if q := h.Quantile(0.5); q < 2*time.Microsecond || q > 4*time.Microsecond {
		t.Errorf("median %v", q)
	}
	if h.Quantile(1) != time.Hour || (Histogram{}).Quantile(0.5) != 0 || (Histogram{}).Mean() != 0 {
		t.Error("quantiles at the ends")
	}
}

// Who only reads says how much log there is, though he has none open.
func TestStatsOfAReaderKnowTheLog(t *testing.T) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, randomText(1, 5000)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []Options{{Inspect: true}, {ReadOnly: true}} {
		opened := testOptions(fs)
		if opened.Inspect, opened.ReadOnly = o.Inspect, o.ReadOnly; o.ReadOnly {
			opened.FS = fs.Restart() // the writer died
		}
		r := mustOpen(t, opened)
		report, err := r.SpaceReport(bg)
		if err != nil {
			t.Fatal(err)
		}
		if has := s.Stats().LogBytes; r.Stats().LogBytes < has || report.Log != r.Stats().LogBytes {
			t.Errorf("%+v: a log of %d bytes is said to have %d and %d", o, has, r.Stats().LogBytes, report.Log)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r := mustOpen(t, testOptions(fs))
	defer r.Close()
	if n := r.Stats().LogBytes; n != 0 {
		t.Errorf("%d bytes of log after Close", n)
	}
}

// What pins pages for long is visible while it does.
func TestStatsShowWhatKeepsPages(t *testing.T) {
	s := mustOpen(t, testOptions(newFS(t)))
	defer s.Close()
	if _, _, err := commitBox(t, s, MainBranch, "x", 0, "a"); err != nil {
		t.Fatal(err)
	}
	most := 0
	if _, err := s.Verify(bg, VerifyOptions{Progress: func(_, _ uint64) { most = max(most, s.Stats().Scans) }}); err != nil {
		t.Fatal(err)
	}
	if now := s.Stats().Scans; most != 1 || now != 0 {
		t.Errorf("%d scans during Verify, %d after it", most, now)
	}
}
