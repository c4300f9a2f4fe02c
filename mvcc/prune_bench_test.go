package mvcc

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

var benchVersions = flag.Int("prune.versions", 20_000, "versions that BenchmarkPrune makes")

// BenchmarkPrune prunes 90 % of -prune.versions versions of one to four pods each, on disk, while
// one committer goes on: pod versions reclaimed a second, and how long a commit
// took at most, with and without.
func BenchmarkPrune(b *testing.B) {
	for range b.N {
		benchmarkPrune(b, *benchVersions)
	}
}

func benchmarkPrune(b *testing.B, versions int) {
	b.StopTimer()
	s, err := Open(bg, Options{FS: vfs.OS(), Path: filepath.Join(b.TempDir(), "a.pod"), Durability: DurabilityNone})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	const pods = 5000
	tx := begin(b, s, MainBranch)
	ids := make([]pod.ID, pods)
	for i := range ids {
		ids[i] = tx.NewPod()
		if err := tx.Put(bg, box(ids[i], fmt.Sprintf("%0200d", i))); err != nil {
			b.Fatal(err)
		}
		if err := tx.SetName(bg, fmt.Sprintf("n%05d", i), ids[i]); err != nil {
			b.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(b)
	one := func() {
		tx := begin(b, s, MainBranch)
		seen := map[pod.ID]bool{}
		for range 1 + rng.IntN(4) {
			id := ids[rng.IntN(pods)]
			if !seen[id] {
				seen[id] = true
				if err := tx.Put(bg, boxAgain(id, fmt.Sprintf("%0200d", rng.Uint64()))); err != nil {
					b.Fatal(err)
				}
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(b)
	}
	for range versions {
		one()
	}
	if err := s.Checkpoint(context.Background()); err != nil {
		b.Fatal(err)
	}
	measure := func(until func()) (most time.Duration, n int) {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				start := time.Now()
				one()
				most, n = max(most, time.Since(start)), n+1
				time.Sleep(200 * time.Microsecond)
			}
		})
		until()
		close(stop)
		wg.Wait()
		return most, n
	}
	quiet, _ := measure(func() { time.Sleep(time.Second) })
	b.StartTimer()
	var rep PruneReport
	start := time.Now()
	busy, n := measure(func() { rep = must(s.Prune(bg, PruneOptions{KeepLast: versions / 10}))(b) })
	took := time.Since(start)
	b.StopTimer()
	b.ReportMetric(float64(rep.PodVersions)/took.Seconds(), "podversions/s")
	b.ReportMetric(float64(busy)/1e6, "maxcommit-ms")
	b.ReportMetric(float64(quiet)/1e6, "quiet-ms")
	b.ReportMetric(float64(n), "commits")
	b.Logf("%+v in %v, syncs %v", rep, took, s.Stats().LogSyncs.Max)
}
