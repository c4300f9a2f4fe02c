package mvcc

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/pager"
)

// Stats returns current figures; it is cheap.
func (s *Store) Stats() Stats {
	c := s.published.Load().counters
	gone := s.open.gone.Load().Len()
	la := s.layers.Load()
	pg := s.pager.Stats()
	pageSize := int64(s.pager.State().PageSize)
	st := Stats{
		Versions: c.version - min(gone, c.version), PodVersions: c.number - min(c.freed, c.number), Pods: c.pod - 1, SharedBodies: c.record - 1,
		LiveBytes: c.bytes - min(c.gone, c.bytes), HistoryBytes: min(c.gone, c.bytes),
		IndexBytes: int64(pg.TreePages) * pageSize, FreeBytes: int64(pg.FreePages) * pageSize,
		FileBytes: int64(pg.FileBytes), Space: s.fileSpace(pg, pageSize), OverlayBytes: la.bytes(),
		PodCache: s.pods.Stats(), PageCacheHits: pg.CacheHits, PageCacheMiss: pg.CacheMisses,
		Commits: s.commits.Load(), Conflicts: s.conflicts.Load(),
		Checkpoints: s.check.count.Load(), CheckpointsFailed: s.check.failed.Load(),
		LastCheckpoint: time.Duration(s.check.last.Load()), LongestCheckpoint: time.Duration(s.check.longest.Load()),
		LongestPause: time.Duration(s.check.pause.Load()), LogSyncs: s.syncs.histogram(),
		MemoryBudget: s.budget.memoryBytes, Durability: s.o.Durability,
		Backups: int(s.backups.Load()), Scans: int(s.scans.Load()), Inspectors: pg.Readers,
	}
	st.LogBytes = s.logBytes()
	st.OpenSnapshots, st.OldestSnapshot, st.OldestAge, st.OldestOwner = s.open.oldest(s.o.Now())
	return st
}

// fileSpace makes the classes of pages add up to the file.
func (s *Store) fileSpace(pg pager.Stats, pageSize int64) FileSpace {
	sums := s.sums.Load()
	f := FileSpace{
		Metas: int64(pg.MetaPages) * pageSize, Index: int64(pg.TreePages) * pageSize, Blocks: int64(pg.RecordPages) * pageSize,
		Extents: int64(pg.ExtentPages) * pageSize, Held: int64(pg.HeldPages) * pageSize,
		BlockCount: sums.blocks, Stored: sums.stored, Dead: sums.dead, Directory: sums.directory,
	}
	f.Free = int64(pg.FileBytes) - f.Metas - f.Index - f.Blocks - f.Extents - f.Held
	return f
}

// logBytes is how much log there is.
func (s *Store) logBytes() int64 {
	if log := s.log.Load(); log != nil {
		return log.Bytes()
	}
	return s.foundLog
}

// Histogram counts durations in classes that double: Buckets[i] are those from
// 2^i microseconds up to the next class, the first with what is shorter, the
// last with what is longer.
type Histogram struct {
	Count    uint64
	Sum, Max time.Duration
	Buckets  [latencyClasses]uint64
}

const latencyClasses = 26 // the last one begins at half a minute

// Quantile returns a duration that the part q of all, from 0 to 1, did not
// exceed: the end of its class, or Max if that is less. 0 if nothing was counted.
func (h Histogram) Quantile(q float64) time.Duration {
	rank := uint64(q * float64(h.Count))
	for i, n := range h.Buckets {
		if rank < n {
			return min(h.Max, time.Microsecond<<(i+1))
		}
		rank -= n
	}
	return h.Max
}

// Mean returns the mean; 0 if nothing was counted.
func (h Histogram) Mean() time.Duration {
	if h.Count == 0 {
		return 0
	}
	return h.Sum / time.Duration(h.Count)
}

// latencies is a Histogram that is being counted.
type latencies struct {
	sum, most atomic.Int64
	buckets   [latencyClasses]atomic.Uint64
}

func (l *latencies) add(d time.Duration) {
	d = max(d, 0)
	class := min(max(bits.Len64(uint64(d/time.Microsecond))-1, 0), latencyClasses-1)
	l.sum.Add(int64(d))
	raise(&l.most, d)
	l.buckets[class].Add(1)
}

func (l *latencies) histogram() Histogram {
	h := Histogram{Sum: time.Duration(l.sum.Load()), Max: time.Duration(l.most.Load())}
	for i := range l.buckets {
		h.Buckets[i] = l.buckets[i].Load()
		h.Count += h.Buckets[i]
	}
	return h
}

// raise keeps the highest duration.
func raise(most *atomic.Int64, d time.Duration) {
	for {
		old := most.Load()
		if old >= int64(d) || most.CompareAndSwap(old, int64(d)) {
			return
		}
	}
}
