package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

const testDir = "db.wal"

// entry is a group as the model knows it.
type entry struct {
	records [][]byte
	end     LSN // known once acknowledged
}

func (e entry) same(g Group) bool {
	if len(e.records) != len(g.Records) {
		return false
	}
	for i := range e.records {
		if !bytes.Equal(e.records[i], g.Records[i]) {
			return false
		}
	}
	return true
}

// model is what must come back: all of acked behind from, then perhaps a
// beginning of flight. After an error that says so, nothing of a group may.
type model struct {
	acked  []entry
	flight []entry
	from   LSN
	count  int
}

var testIdentity = [16]byte{0: 0xd0, 15: 0x0d}

func testOptions(fs vfs.FS, seed uint64) Options {
	rng := rand.New(rand.NewPCG(seed, 77))
	return Options{FS: fs, Dir: testDir, Identity: testIdentity, SegmentBytes: 4096, IdlePromise: -1, Rand: rng.Uint64, extend: 1536}
}

func (m *model) newEntry(rng *rand.Rand) entry {
	m.count++
	e := entry{}
	for range 1 + rng.IntN(3) {
		b := make([]byte, rng.IntN(120))
		if rng.IntN(12) == 0 {
			b = make([]byte, 1000+rng.IntN(1500))
		}
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		b = binary.LittleEndian.AppendUint32(b, uint32(m.count))
		e.records = append(e.records, b)
	}
	return e
}

// submitBatch queues groups so that one batch takes them all, and waits.
func submitBatch(l *Log, es []entry) (ends []LSN, errs []error) {
	ends, errs = make([]LSN, len(es)), make([]error, len(es))
	answered := make(chan int, len(es))
	l.mu.Lock()
	if err := l.poison; err != nil || l.undone {
		l.mu.Unlock()
		for i := range errs {
			errs[i] = errors.Join(err, ErrUndone)
		}
		return ends, errs
	}
	for i, e := range es {
		l.queue = append(l.queue, group{e.records, 100, func(end LSN, err error) {
			ends[i], errs[i] = end, err
			answered <- i
		}})
	}
	l.signal()
	l.mu.Unlock()
	for i := range es {
		if got := <-answered; got != i {
			panic(fmt.Sprintf("group %d answered in place %d", got, i))
		}
	}
	return ends, errs
}

// commit submits a batch and keeps the books. It returns false when the log
// does not go on.
func (m *model) commit(t *testing.T, l *Log, es []entry) bool {
	t.Helper()
	m.flight = es
	ends, errs := submitBatch(l, es)
	for i, err := range errs {
		switch {
		case err == nil:
			if i > 0 && errs[i-1] != nil {
				t.Fatalf("group %d acknowledged after one that failed: %v", i, errs[i-1])
			}
			e := es[i]
			e.end = ends[i]
			m.acked = append(m.acked, e)
			m.flight = es[i+1:]
		case errors.Is(err, dberr.ErrCommitUnknown):
			return false
		case errors.Is(err, dberr.ErrPoisoned):
			m.flight = nil // known to be absent
			return false
		case errors.Is(err, dberr.ErrDiskFull):
			m.flight = nil
			if err := l.Submit([][]byte{{1}}, nil); !errors.Is(err, ErrUndone) {
				t.Fatalf("Submit between undo and Resume: %v", err)
			}
			if err := l.Resume(); err != nil {
				return false
			}
			return true
		default:
			t.Fatalf("unexpected error %v", err)
		}
	}
	return true
}

// open recovers and returns the log and the groups.
func openLog(o Options, from LSN) (*Log, Recovered, []Group, error) {
	var groups []Group
	l, r, err := Open(context.Background(), o, from, func(g Group) error {
		groups = append(groups, g)
		return nil
	})
	return l, r, groups, err
}

// expect returns the acked groups behind from.
func (m *model) expect() []entry {
	for i, e := range m.acked {
		if e.end > m.from {
			return m.acked[i:]
		}
	}
	return nil
}

// check compares a recovery with the model; the groups in flight that came
// back count as acknowledged from then on, the others must never come back.
func (m *model) check(groups []Group) error {
	want := m.expect()
	if len(groups) < len(want) {
		return fmt.Errorf("%d of %d acknowledged groups came back", len(groups), len(want))
	}
	last := m.from
	for i, g := range groups {
		if g.End <= last {
			return fmt.Errorf("group %d ends at %d, the one before at %d", i, g.End, last)
		}
		last = g.End
		switch {
		case i < len(want):
			if !want[i].same(g) || want[i].end != g.End {
				return fmt.Errorf("group %d came back different, end %d, want %d", i, g.End, want[i].end)
			}
		case i-len(want) >= len(m.flight) || !m.flight[i-len(want)].same(g):
			return fmt.Errorf("group %d of %d is none that was in flight (%d acked, %d in flight)", i, len(groups), len(want), len(m.flight))
		}
	}
	for _, g := range groups[len(want):] {
		e := m.flight[0]
		e.end = g.End
		m.acked, m.flight = append(m.acked, e), m.flight[1:]
	}
	m.flight = nil
	return nil
}

func (m *model) clone() *model {
	c := *m
	c.acked = append([]entry(nil), m.acked...)
	c.flight = append([]entry(nil), m.flight...)
	return &c
}

// workload runs seeded steps until something stops it. It sleeps for idle
// promises, so it belongs into a synctest bubble.
func (m *model) workload(t *testing.T, fs vfs.FS, seed uint64, steps int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 1))
	o := testOptions(fs, seed)
	o.IdlePromise = time.Second
	if seed%2 == 1 {
		o.extend = -1
	}
	l, _, groups, err := openLog(o, m.from)
	if err != nil {
		return
	}
	defer func() { l.Close() }()
	if err := m.check(groups); err != nil {
		t.Fatal(err)
	}
	for range steps {
		switch rng.IntN(10) {
		default:
			var es []entry
			for range 1 + rng.IntN(4) {
				es = append(es, m.newEntry(rng))
			}
			if !m.commit(t, l, es) {
				return
			}
		case 0:
			time.Sleep(2 * time.Second)
		case 1:
			if len(m.expect()) > 0 {
				e := m.expect()
				m.from = e[rng.IntN(len(e))].end
			}
			if l.Release(m.from) != nil {
				return
			}
		case 2:
			if rng.IntN(3) == 0 {
				continue
			}
			if l.Close() != nil {
				return
			}
			var again []Group
			next, _, again, err := openLog(o, m.from)
			if err != nil {
				return
			}
			l = next
			if err := m.check(again); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func mustOpen(t testing.TB, o Options, from LSN) (*Log, Recovered, []Group) {
	t.Helper()
	l, r, groups, err := openLog(o, from)
	if err != nil {
		t.Fatal(err)
	}
	return l, r, groups
}

func text(records ...string) entry {
	var e entry
	for _, r := range records {
		e.records = append(e.records, []byte(r))
	}
	return e
}

// ack submits groups as one batch and fails the test if one is refused.
func ack(t testing.TB, l *Log, es ...entry) []LSN {
	t.Helper()
	ends, errs := submitBatch(l, es)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return ends
}

func strs(groups []Group) string {
	var b bytes.Buffer
	for _, g := range groups {
		fmt.Fprintf(&b, "%s;", bytes.Join(g.Records, []byte(",")))
	}
	return b.String()
}
