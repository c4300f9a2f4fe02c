package wal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// beside is a file that groups name bytes of, as commits name extents: a
// group's second record is an offset into it, where the first one stands again.
type beside struct {
	file  vfs.File
	end   int64
	named []Group // by the replay
	syncs int
}

func openBeside(t *testing.T, fs vfs.FS) *beside {
	t.Helper()
	file, err := fs.Open("beside", vfs.ReadWrite|vfs.Create)
	if err == nil {
		err = errors.Join(file.Sync(), fs.SyncDir(""))
	}
	if err != nil {
		t.Fatal(err)
	}
	size, _ := file.Size()
	return &beside{file: file, end: (size + vfs.SectorSize - 1) / vfs.SectorSize * vfs.SectorSize}
}

func (b *beside) options(o Options, level Level) Options {
	o.Sync, o.Interval = level, 100*time.Millisecond
	o.BeforeSync = func() error { b.syncs++; return b.file.SyncData() }
	o.Resync = b.resync
	return o
}

// write makes a group whose bytes stand in the file, unsynced.
func (b *beside) write(m *model, rng *rand.Rand) (entry, error) {
	payload := m.newEntry(rng).records[0]
	_, err := b.file.WriteAt(payload, b.end)
	e := entry{records: [][]byte{payload, binary.LittleEndian.AppendUint64(nil, uint64(b.end))}}
	b.end += int64(len(payload)+vfs.SectorSize-1) / vfs.SectorSize * vfs.SectorSize
	return e, err
}

func (b *beside) replay(g Group) error {
	if off, ok := place(g); ok {
		got := make([]byte, len(g.Records[0]))
		if _, err := b.file.ReadAt(got, off); err != nil && err != io.EOF {
			return err
		}
		if !bytes.Equal(got, g.Records[0]) {
			return fmt.Errorf("bytes at %d: %w", off, ErrGroupLost)
		}
	}
	b.named = append(b.named, g)
	return nil
}

func place(g Group) (int64, bool) {
	if len(g.Records) != 2 || len(g.Records[1]) != 8 {
		return 0, false
	}
	return int64(binary.LittleEndian.Uint64(g.Records[1])), true
}

func (b *beside) resync(promised LSN) error {
	for _, g := range b.named {
		if off, ok := place(g); ok && g.End > promised {
			if _, err := b.file.WriteAt(g.Records[0], off); err != nil {
				return err
			}
		}
	}
	return b.file.SyncData()
}

// weakRun commits at a weak level until the file system stops it, and returns
// how many groups were durable at least.
func weakRun(t *testing.T, fs *vfs.MemFS, m *model, level Level, seed uint64, rng *rand.Rand) (durable int) {
	t.Helper()
	b := openBeside(t, fs)
	l, _, err := Open(context.Background(), b.options(testOptions(fs, seed), level), 0, b.replay)
	if err != nil {
		return 0
	}
	defer func() { l.w.closeFilesForCrash(t, l) }()
	covered := func() {
		upTo := l.Durable()
		for durable < len(m.acked) && m.acked[durable].end <= upTo {
			durable++
		}
	}
	for range 30 {
		var es []entry
		for range 2 {
			e, err := b.write(m, rng)
			if err != nil {
				return durable
			}
			es = append(es, e)
		}
		if !m.commit(t, l, es) {
			return durable
		}
		switch rng.IntN(8) {
		case 0:
			if l.Sync() != nil {
				return durable
			}
			if covered(); durable != len(m.acked) {
				t.Fatalf("after Sync %d of %d groups are durable", durable, len(m.acked))
			}
		case 1:
			time.Sleep(150 * time.Millisecond)
			synctest.Wait()
			if covered(); level == Interval && durable != len(m.acked) && l.Poisoned() == nil {
				t.Fatalf("an interval after the last write %d of %d groups are durable", durable, len(m.acked))
			}
		}
		covered()
	}
	return durable
}

// recoverWeak recovers an image of a weak run, at any level, and checks that
// what came back is a beginning that holds all that was durable.
func recoverWeak(t *testing.T, fs *vfs.MemFS, all []entry, durable int, seed uint64, what string) *beside {
	t.Helper()
	b := openBeside(t, fs)
	l, _, err := Open(context.Background(), b.options(testOptions(fs, seed), Level(seed%3)), 0, b.replay)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	l.w.closeFilesForCrash(t, l)
	if len(b.named) < durable || len(b.named) > len(all) {
		t.Fatalf("%s: %d groups of %d came back, %d were durable", what, len(b.named), len(all), durable)
	}
	for i, g := range b.named {
		if !all[i].same(g) {
			t.Fatalf("%s: group %d came back different", what, i)
		}
	}
	return b
}

// At the levels None and Interval a crash takes away only the newest groups,
// whole and with what they name elsewhere, never one that Durable covered, and
// the log always opens. What was recovered survives the next crash, also when
// the sync of what the groups name had failed.
func TestWeakLevelsLoseOnlyTheNewest(t *testing.T) {
	lost, cut, failed := false, false, false
	eachSeed(t, func(t *testing.T, seed uint64) {
		for turn := range 300 {
			level := []Level{None, Interval}[turn%2]
			rng := rand.New(rand.NewPCG(seed, uint64(turn)))
			fs := vfs.NewMem()
			m := &model{}
			switch {
			case turn > 200:
				fs.FailSync(rng.IntN(20) + 5)
			case turn > 50:
				fs.CrashAt(rng.IntN(200) + 8)
			}
			durable := weakRun(t, fs, m, level, seed, rng)
			all := append(append([]entry(nil), m.acked...), m.flight...)
			for i, im := range images(4) {
				what := fmt.Sprintf("turn %d, %v/%d", turn, im.kind, im.seed)
				image := fs.Crash(im.kind, im.seed)
				if turn > 200 && i%2 == 0 { // the next process finds the same cache
					image, failed = fs.Restart(), true
				}
				b := recoverWeak(t, image, all, durable, seed+uint64(turn+i), what)
				lost = lost || len(b.named) < len(m.acked)
				cut = cut || len(b.named) < len(m.acked) && im.kind == vfs.CrashMix
				recoverWeak(t, image.Crash(vfs.CrashLoseAll, 0), all, len(b.named), seed+uint64(i), what+"; then power lost")
			}
		}
	})
	if !lost || !cut || !failed {
		t.Errorf("nothing was ever lost (%v), cut (%v) or failed (%v): the test proves nothing", lost, cut, failed)
	}
}

// weakLog opens a log at level Interval with one synced group.
func weakLog(t *testing.T, fs vfs.FS, before func() error) *Log {
	t.Helper()
	o := testOptions(fs, 1)
	o.Sync, o.Interval, o.BeforeSync = Interval, time.Second, before
	l, _, _ := mustOpen(t, o, 0)
	ack(t, l, text("synced"))
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return l
}

// One sync an interval after the first unsynced write, not the last one, and
// none while there is nothing to sync.
func TestIntervalBoundsHowLongAGroupIsUnsynced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var syncs atomic.Int64
		l := weakLog(t, vfs.NewMem(), func() error { syncs.Add(1); return nil })
		defer l.Close()
		first := ack(t, l, text("first"))[0]
		for range 4 {
			time.Sleep(100 * time.Millisecond)
			ack(t, l, text("more"))
		}
		last := l.End()
		if l.Durable() >= first || syncs.Load() != 1 {
			t.Fatalf("durable up to %d after %d syncs, before the interval was over", l.Durable(), syncs.Load())
		}
		time.Sleep(601 * time.Millisecond)
		synctest.Wait()
		if l.Durable() != last || syncs.Load() != 2 {
			t.Fatalf("durable up to %d of %d after the interval, %d syncs", l.Durable(), last, syncs.Load())
		}
		time.Sleep(time.Minute)
		if before := l.Stats(); syncs.Load() != 2 || before.Syncs == 0 {
			t.Fatalf("%d syncs while nothing was written", syncs.Load())
		}
	})
}

// A busy log syncs too: the interval does not wait for a quiet moment.
func TestIntervalIsKeptUnderLoad(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	o.Sync, o.Interval, o.SegmentBytes = Interval, time.Millisecond, 1<<30
	l, _, _ := mustOpen(t, o, 0)
	defer l.Close()
	var inFlight atomic.Int64
	for start := time.Now(); l.Durable() == FirstLSN; {
		if time.Since(start) > 10*time.Second {
			t.Fatal("no sync while groups kept coming")
		}
		if inFlight.Load() < 64 {
			inFlight.Add(1)
			if err := l.Submit([][]byte{[]byte("x")}, func(LSN, error) { inFlight.Add(-1) }); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// What groups name is synced before every sync that covers them, also that of a
// new segment, of an undone batch and of Close; and if that fails, so has the sync.
func TestBeforeSyncComesBeforeEverySyncOfGroups(t *testing.T) {
	for what, sync := range map[string]func(l *Log, fault *vfs.FaultFS) error{
		"Sync":        func(l *Log, _ *vfs.FaultFS) error { return l.Sync() },
		"new segment": func(l *Log, _ *vfs.FaultFS) error { return submitOne(l, make([]byte, 5000)) },
		"Close":       func(l *Log, _ *vfs.FaultFS) error { return l.Close() },
		"undone batch": func(l *Log, fault *vfs.FaultFS) error {
			fault.ShortWrite(1, vfs.ErrDiskFull)
			return submitOne(l, []byte("undone"))
		},
	} {
		for _, fails := range []bool{false, true} {
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem)
			var calls int
			l := weakLog(t, fault, func() error {
				if calls++; fails && calls == 2 {
					return syscall.EIO
				}
				return nil
			})
			ack(t, l, text("names something"))
			durable, ops := l.Durable(), 0
			if calls != 1 {
				t.Fatalf("%s: called %d times before", what, calls)
			}
			ops = fault.Count(vfs.OpSync)
			err := sync(l, fault)
			if calls != 2 {
				t.Errorf("%s: called %d times in all", what, calls)
			}
			switch {
			case !fails && what != "undone batch" && err != nil:
				t.Errorf("%s: %v", what, err)
			case fails && (!errors.Is(err, syscall.EIO) || l.Durable() != durable || fault.Count(vfs.OpSync) != ops):
				t.Errorf("%s: %v, durable up to %d, %d syncs", what, err, l.Durable(), fault.Count(vfs.OpSync)-ops)
			case fails && what != "Close" && !errors.Is(l.Poisoned(), dberr.ErrPoisoned):
				t.Errorf("%s: not poisoned: %v", what, l.Poisoned())
			}
			l.Close()
		}
	}
}

func submitOne(l *Log, record []byte) error {
	answered := make(chan error, 1)
	if err := l.Submit([][]byte{record}, func(_ LSN, err error) { answered <- err }); err != nil {
		return err
	}
	return <-answered
}

// A group that was synced, or written at level Full, did not lose its bytes in a
// crash: if they are gone, that is damage.
func TestLostBytesOfASyncedGroupAreDamage(t *testing.T) {
	for _, c := range []struct {
		level  Level
		synced bool
		want   string // "" = cut
	}{
		{None, false, ""}, {None, true, "synced up to"}, {Full, true, "synced up to"}, {Full, false, "durable before the group"},
	} {
		fs := vfs.NewMem()
		o := testOptions(fs, 1)
		o.Sync = c.level
		l, _, _ := mustOpen(t, o, 0)
		ack(t, l, text("first"))
		ack(t, l, text("lost"))
		if c.synced {
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			ack(t, l, text("promises the one before"))
		}
		l.w.closeFilesForCrash(t, l)
		var back []Group
		l, r, err := Open(context.Background(), o, 0, func(g Group) error {
			if string(g.Records[0]) == "lost" {
				return fmt.Errorf("extent 7: %w", ErrGroupLost)
			}
			back = append(back, g)
			return nil
		})
		if c.want == "" {
			if err != nil || !r.Cut || r.Groups != 1 || strs(back) != "first;" {
				t.Fatalf("%+v: %v, %+v, %s", c, err, r, strs(back))
			}
			ack(t, l, text("next"))
			l.Close()
			if _, _, groups := mustOpen(t, o, 0); strs(groups) != "first;next;" {
				t.Fatalf("%+v: then %s", c, strs(groups))
			}
			continue
		}
		if !errors.Is(err, dberr.ErrCorrupt) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Every log sync is measured, told and counted.
func TestSyncsAreMeasured(t *testing.T) {
	fs := vfs.NewMem()
	o := testOptions(fs, 1)
	clock := time.Unix(0, 0)
	var told []time.Duration
	o.Now = func() time.Time { clock = clock.Add(time.Millisecond); return clock }
	o.OnSync = func(d time.Duration) { told = append(told, d) }
	l, _, _ := mustOpen(t, o, 0)
	for range 3 {
		ack(t, l, text("x"))
	}
	l.w.closeFilesForCrash(t, l)
	s := l.Stats()
	// One for the first segment, three for the groups.
	if len(told) != 4 || s.Syncs != 4 || s.SyncTime != 4*time.Millisecond || s.LongestSync != time.Millisecond || told[0] != time.Millisecond {
		t.Fatalf("told %v, counted %+v", told, s)
	}
}

// On a full disk the checkpoint is what makes room, and it syncs the log first. So
// Sync works while groups are undone, and says what is durable.
func TestSyncWorksOnAFullDisk(t *testing.T) {
	for _, level := range []Level{Full, Interval, None} {
		fs := vfs.NewMem()
		o := testOptions(fs, 1)
		o.Sync, o.Interval = level, time.Hour
		l, _, _ := mustOpen(t, o, 0)
		ack(t, l, text("a"), text("b"))
		fs.SetCapacity(fs.Used())
		_, errs := submitBatch(l, []entry{{records: [][]byte{make([]byte, 9000)}}})
		if !errors.Is(errs[0], dberr.ErrDiskFull) {
			t.Fatalf("level %d: %v", level, errs[0])
		}
		if l.Durable() != l.End() {
			t.Errorf("level %d: durable up to %d of %d after a group was cut off", level, l.Durable(), l.End())
		}
		if err := l.Sync(); err != nil {
			t.Errorf("level %d: %v", level, err)
		}
		if err := l.Submit([][]byte{{1}}, nil); !errors.Is(err, ErrUndone) {
			t.Errorf("level %d: Submit before Resume: %v", level, err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("level %d: %v", level, err)
		}
	}
}
