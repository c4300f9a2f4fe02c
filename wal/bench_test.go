package wal

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// Group commit on the real disk beside a bare log, which appends the records as
// they are with one fdatasync for all that wait: go test ./wal -run - -bench
// Commit -benchtime 200x (TMPDIR chooses the disk). The variants take turns, one
// slice of commits each in every round, because what a sync costs changes from
// second to second; reported are medians over the rounds. Ahead is how many zeros
// are written in advance; inplace overwrites what was written, as a log with
// recycled segments would.
func BenchmarkCommit(b *testing.B) {
	for _, submitters := range []int{1, 16} {
		for _, size := range []int{128, 8 << 10} {
			b.Run(fmt.Sprintf("submitters=%d/bytes=%d", submitters, size), func(b *testing.B) {
				variants := []*variant{bareLog(b, size), poddbLog(b, "ahead", extendBytes, size),
					poddbLog(b, "none", -1, size), poddbLog(b, "inplace", 64<<20, size)}
				compare(b, variants, submitters)
			})
		}
	}
}

const sliceCommits = 64

// variant is one way to commit. Commit waits until the record is durable.
type variant struct {
	name   string
	commit func(answered chan error) error
	took   []float64 // microseconds a commit, by round
}

func compare(b *testing.B, variants []*variant, submitters int) {
	for _, v := range variants {
		v.slice(b, submitters) // begins files, writes ahead
	}
	b.ResetTimer()
	for round := range b.N {
		for i := range variants {
			v := variants[(round+i)%len(variants)]
			v.took = append(v.took, v.slice(b, submitters))
		}
	}
	b.StopTimer()
	bare := 0.0
	for i, v := range variants {
		slices.Sort(v.took)
		median := v.took[len(v.took)/2]
		sum := 0.0
		for _, took := range v.took {
			sum += took
		}
		b.ReportMetric(median, v.name+"-µs")
		b.ReportMetric(sum/float64(len(v.took)), v.name+"-mean-µs")
		if i == 0 {
			bare = median
		} else {
			b.ReportMetric(bare/median, v.name+"/bare")
		}
	}
}

// slice runs some commits and returns how long one took.
func (v *variant) slice(b *testing.B, submitters int) float64 {
	start := time.Now()
	var wg sync.WaitGroup
	for range submitters {
		wg.Go(func() {
			answered := make(chan error, 1)
			for range sliceCommits / submitters {
				if err := v.commit(answered); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return float64(time.Since(start).Microseconds()) / sliceCommits
}

func bareLog(b *testing.B, size int) *variant {
	f, err := vfs.OS().Open(b.TempDir()+"/bare", vfs.ReadWrite|vfs.Create)
	if err != nil {
		b.Fatal(err)
	}
	requests := make(chan chan error, 64)
	var writer sync.WaitGroup
	writer.Go(func() {
		record, off := make([]byte, size), int64(0)
		var buf []byte
		var waiting []chan error
		for r := range requests {
			buf, waiting = append(buf[:0], record...), append(waiting[:0], r)
			for n := len(requests); n > 0; n-- {
				buf, waiting = append(buf, record...), append(waiting, <-requests)
			}
			err := writeFull(f, buf, off)
			if err == nil {
				err = f.SyncData()
			}
			off += int64(len(buf))
			for _, w := range waiting {
				w <- err
			}
		}
	})
	b.Cleanup(func() {
		close(requests)
		writer.Wait()
		f.Close()
	})
	return &variant{name: "bare", commit: func(answered chan error) error {
		requests <- answered
		return <-answered
	}}
}

func poddbLog(b *testing.B, name string, extend int64, size int) *variant {
	l, _, _ := mustOpen(b, Options{FS: vfs.OS(), Dir: b.TempDir() + "/log", extend: extend, SegmentBytes: 64 << 20}, 0)
	b.Cleanup(func() {
		if err := l.Close(); err != nil {
			b.Error(err)
		}
	})
	record := [][]byte{make([]byte, size)}
	return &variant{name: name, commit: func(answered chan error) error {
		if err := l.Submit(record, func(_ LSN, err error) { answered <- err }); err != nil {
			return err
		}
		return <-answered
	}}
}

// What framing and handing over cost, without a disk.
func BenchmarkCommitInMemory(b *testing.B) {
	for _, submitters := range []int{1, 16} {
		b.Run(fmt.Sprintf("submitters=%d", submitters), func(b *testing.B) {
			l, _, _ := mustOpen(b, Options{FS: noDisk{vfs.NewMem()}, Dir: testDir}, 0)
			record := [][]byte{make([]byte, 128)}
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for s := range submitters {
				n := b.N/submitters + min(1, max(0, b.N%submitters-s))
				wg.Go(func() {
					answered := make(chan error, 1)
					done := func(_ LSN, err error) { answered <- err }
					for range n {
						if err := l.Submit(record, done); err != nil {
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
		})
	}
}

// noDisk keeps names and forgets contents.
type noDisk struct{ vfs.FS }

func (n noDisk) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := n.FS.Open(name, flag)
	return noDiskFile{f}, err
}

type noDiskFile struct{ vfs.File }

func (noDiskFile) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (noDiskFile) SyncData() error                        { return nil }

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
