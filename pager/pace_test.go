package pager

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// BenchmarkLogSyncBesideABatch measures how long 128 bytes and a sync take in a
// log on the same disk, alone and while batches of 256 MB are written.
func BenchmarkLogSyncBesideABatch(b *testing.B) {
	const logBytes, batchBytes = 32 << 20, 256 << 20
	dir := b.TempDir()
	log, err := vfs.OS().Open(dir+"/log", vfs.ReadWrite|vfs.Create)
	must(b, err)
	defer log.Close()
	_, err = log.WriteAt(make([]byte, logBytes), 0)
	must(b, err)
	must(b, log.Sync())
	off := int64(0)
	sync := func() time.Duration {
		start := time.Now()
		_, err := log.WriteAt(make([]byte, 128), off)
		must(b, err)
		must(b, log.SyncData())
		off = (off + 128) % logBytes
		return time.Since(start)
	}
	p, err := Open(context.Background(), Options{FS: vfs.OS(), Path: dir + "/bench.pod"})
	must(b, err)
	defer p.Close(false)
	record := randomBytes(seeded(b, 1), 64<<10)
	batch := func() error {
		t, err := p.Begin()
		if err != nil {
			return err
		}
		var places []Place
		for range batchBytes / len(record) {
			pl, err := t.Record(record)
			if err != nil {
				return err
			}
			places = append(places, pl)
		}
		for _, pl := range places {
			if err := t.FreeRecord(pl); err != nil {
				return err
			}
		}
		return t.Commit(context.Background(), 9, false)
	}
	must(b, batch())
	var alone, beside []time.Duration
	for b.Loop() {
		for range 500 { // in turns: other programs use the disk too
			alone = append(alone, sync())
		}
		done := make(chan error)
		go func() { done <- batch() }()
		for running := true; running; {
			select {
			case err := <-done:
				must(b, err)
				running = false
			default:
				beside = append(beside, sync())
			}
		}
	}
	for _, m := range []struct {
		name  string
		times []time.Duration
	}{{"alone", alone}, {"beside", beside}} {
		slices.Sort(m.times)
		for _, percent := range []int{50, 99} {
			unit := "µs-p" + map[int]string{50: "50", 99: "99"}[percent] + "-" + m.name
			b.ReportMetric(float64(m.times[len(m.times)*percent/100].Microseconds()), unit)
		}
	}
}
