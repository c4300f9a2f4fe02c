package mvcc

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/vfs"
)

// Durable commits of 128 bytes beside a bare log file with one fdatasync for all
// that wait, in turns of a few dozen commits, because what a sync costs changes
// from second to second: go test ./mvcc -run - -bench Durable -benchtime 300x
func BenchmarkDurableCommits(b *testing.B) {
	for _, committers := range []int{1, 16} {
		b.Run(fmt.Sprintf("committers=%d", committers), func(b *testing.B) {
			s, ids := benchStore(b, 64*committers)
			bare := bareLog(b)
			text := randomText(1, 128)
			ours := func(who, i int) error {
				head, err := s.Head(bg, MainBranch)
				if err != nil {
					return err
				}
				tx, err := s.Begin(bg, MainBranch, head)
				if err != nil {
					return err
				}
				if err := tx.Put(bg, boxAgain(ids[who*64+i%64], fmt.Sprintf("%08d", i)+text[8:])); err != nil {
					return err
				}
				_, err = tx.Commit(bg, CommitInfo{})
				return err
			}
			var ratios, took []float64
			var n int
			before := s.log.Load().Stats()
			for range b.N {
				floor := turn(b, committers, &n, func(int, int) error { return bare([]byte(text)) })
				mine := turn(b, committers, &n, ours)
				ratios, took = append(ratios, floor/mine), append(took, mine)
			}
			after := s.log.Load().Stats()
			slices.Sort(ratios)
			slices.Sort(took)
			b.ReportMetric(ratios[len(ratios)/2], "x-of-bare-log")
			b.ReportMetric(took[len(took)/2], "µs/commit")
			b.ReportMetric(float64(after.Groups-before.Groups)/float64(after.Batches-before.Batches), "commits/sync")
		})
	}
}

// turn runs some commits and returns how long one took, in microseconds.
func turn(b *testing.B, committers int, n *int, commit func(who, i int) error) float64 {
	const each = 8
	start := time.Now()
	var wg sync.WaitGroup
	for who := range committers {
		wg.Go(func() {
			for i := range each {
				if err := commit(who, *n+i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	*n += each
	return float64(time.Since(start).Microseconds()) / float64(each*committers)
}

// bareLog returns what appends a record to a file and returns when it is synced,
// together with all that wait.
func bareLog(b *testing.B) func([]byte) error {
	f, err := vfs.OS().Open(b.TempDir()+"/bare", vfs.ReadWrite|vfs.Create)
	if err != nil {
		b.Fatal(err)
	}
	type request struct {
		record []byte
		done   chan error
	}
	requests := make(chan request, 64)
	var writer sync.WaitGroup
	writer.Go(func() {
		off, ahead := int64(0), int64(0)
		for r := range requests {
			buf, waiting := slices.Clone(r.record), []chan error{r.done}
			for n := len(requests); n > 0; n-- {
				r := <-requests
				buf, waiting = append(buf, r.record...), append(waiting, r.done)
			}
			_, err := f.WriteAt(buf, off)
			if off += int64(len(buf)); err == nil && off > ahead {
				_, err = f.WriteAt(make([]byte, 256<<10), off)
				ahead = off + 256<<10
			}
			if err == nil {
				err = f.SyncData()
			}
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
	return func(record []byte) error {
		r := request{record, make(chan error, 1)}
		requests <- r
		return <-r.done
	}
}
