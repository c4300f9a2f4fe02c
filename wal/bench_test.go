package wal

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// Group commit on the real disk: go test ./wal -run - -bench Commit
// (TMPDIR chooses the disk). ahead is how many zeros are written in advance.
func BenchmarkCommit(b *testing.B) {
	for _, ahead := range []int64{-1, extendBytes, 1 << 20} {
		for _, submitters := range []int{1, 16} {
			for _, size := range []int{200, 8 << 10} {
				b.Run(fmt.Sprintf("ahead=%d/submitters=%d/bytes=%d", ahead, submitters, size), func(b *testing.B) {
					commits(b, Options{FS: vfs.OS(), Dir: b.TempDir() + "/log", extend: ahead}, submitters, size)
				})
			}
		}
	}
}

func commits(b *testing.B, o Options, submitters, size int) {
	l, _, _ := mustOpen(b, o, 0)
	b.SetBytes(int64(size))
	b.ResetTimer()
	var wg sync.WaitGroup
	for s := range submitters {
		n := b.N/submitters + min(1, max(0, b.N%submitters-s))
		wg.Go(func() {
			record := [][]byte{make([]byte, size)}
			answered := make(chan error, 1)
			for range n {
				if err := l.Submit(record, func(_ LSN, err error) { answered <- err }); err != nil {
					b.Error(err)
					return
				}
				if err := <-answered; err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	s := l.Stats()
	b.ReportMetric(float64(s.Groups)/float64(s.Batches), "groups/sync")
	b.ReportMetric(float64(s.Bytes)/float64(s.Groups), "logbytes/op")
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// Recovery speed: tiny groups, clean and with everything behind the last promise.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir() + "/log"
	o := Options{FS: vfs.OS(), Dir: dir, SegmentBytes: 1 << 30, IdlePromise: time.Hour}
	l, _, _ := mustOpen(b, o, 0)
	var groups int
	for l.Bytes() < 64<<20 {
		es := make([]entry, 500)
		for i := range es {
			es[i] = entry{records: [][]byte{make([]byte, 200)}}
		}
		ack(b, l, es...)
		groups += len(es)
	}
	size := l.Bytes()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	b.SetBytes(size)
	for b.Loop() {
		n := 0
		l, _, err := Open(b.Context(), o, 0, func(Group) error { n++; return nil })
		if err != nil || n != groups {
			b.Fatal(err, n)
		}
		l.Close()
	}
}
