package mvcc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/cache"
	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// Store is an open database. All methods are safe for concurrent use.
type Store struct {
	o          Options
	pager      *pager.Pager
	pods       *cache.Cache[*merged]
	secret     [32]byte
	logID      uint64 // marks log groups of this database
	salts      *salts
	contentKey func([]byte) contentKey

	// gate is held for reading during each operation, so that Close waits for
	// those under way before it closes the page file.
	gate    sync.RWMutex
	closed  atomic.Bool
	closing atomic.Bool
	open    registry

	layers    atomic.Pointer[layers]
	lines     atomic.Pointer[lines]
	published atomic.Pointer[published]
	types     catalogue
	// next are the ids and record numbers to give out next; order does not
	// matter for them, so transactions take them without the token.
	next struct{ pod, typ, record atomic.Uint64 }

	seq      sequencer
	log      atomic.Pointer[wal.Log] // nil until the first commit needs it
	unclean  bool                    // MarkUnclean was done; the token is held
	poisoned atomic.Pointer[error]

	applying sync.Mutex // the overlay's writer, and freezing it
	applied  uint64     // log position behind the last applied group

	check      checkpoints
	background sync.WaitGroup
	life       context.Context // until Close
	stop       context.CancelFunc

	commits, conflicts atomic.Uint64
}

// Secret returns the 32 random bytes made when the database was created.
func (s *Store) Secret() [32]byte { return s.secret }

// DatabaseID returns the identity of the database, given at creation.
func (s *Store) DatabaseID() [16]byte { return s.pager.State().DatabaseID }

// Head returns the newest version of a branch: 0 if nothing was committed.
func (s *Store) Head(ctx context.Context, branch string) (Version, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if s.closed.Load() {
		return 0, dberr.ErrClosed
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return 0, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	return l.head.Load().version, nil
}

// writable says why nothing can be written.
func (s *Store) writable() error {
	if s.closing.Load() || s.closed.Load() {
		return dberr.ErrClosed
	}
	if s.o.ReadOnly {
		return dberr.ErrReadOnly
	}
	return s.writeError()
}

func (s *Store) writeError() error {
	if p := s.poisoned.Load(); p != nil {
		return *p
	}
	return nil
}

// poison ends all writing. It returns what the caller reports: err itself,
// which matches ErrPoisoned or ErrCommitUnknown.
func (s *Store) poison(err error) error {
	cause := err
	if !errors.Is(cause, dberr.ErrPoisoned) {
		cause = fmt.Errorf("%w: %w", dberr.ErrPoisoned, err)
	}
	if s.poisoned.CompareAndSwap(nil, &cause) {
		s.o.Logger.Error("database refuses writes until reopened", slog.Any("cause", err))
	}
	if errors.Is(err, dberr.ErrCommitUnknown) {
		return err
	}
	return cause
}

// Close refuses new work, finishes commits that are queued, moves the log into
// the file and removes it. It does not wait for snapshots that were never
// closed; what they do afterwards is ErrClosed. If the database is poisoned
// nothing is written, the log stays, and Close says why. A second Close
// returns nil.
func (s *Store) Close() error {
	if s.closing.Swap(true) {
		return nil
	}
	s.stop()
	s.background.Wait()
	err := s.finish()
	s.closed.Store(true)
	s.gate.Lock()
	defer s.gate.Unlock()
	s.pods.Close()
	return dberr.Join(err, s.pager.Close(err == nil && !s.o.ReadOnly))
}

// finish settles the log before the files are closed.
func (s *Store) finish() error {
	if s.o.ReadOnly {
		return nil
	}
	ctx := context.Background()
	if err := s.seq.acquire(ctx); err != nil {
		return err
	}
	for _, q := range s.seq.queue {
		<-q.finished
	}
	s.seq.reap()
	s.seq.release()
	log := s.log.Load()
	if log == nil {
		return nil
	}
	err := s.writeError()
	if err == nil {
		err = s.checkpoint(ctx, true)
	}
	if err != nil {
		return dberr.Join(err, s.closeLog(log))
	}
	if err := log.Close(); err != nil {
		return err
	}
	if err := wal.Remove(s.o.FS, s.logDir()); err != nil {
		return fmt.Errorf("removing the log %s: %w", s.logDir(), err)
	}
	return nil
}

// closeLog closes a log that stays. That it is poisoned is known already.
func (s *Store) closeLog(log *wal.Log) error {
	if err := log.Close(); err != nil && !errors.Is(err, dberr.ErrPoisoned) {
		return err
	}
	return nil
}

func (s *Store) logDir() string { return s.o.Path + ".wal" }

// Stats returns current figures; it is cheap.
func (s *Store) Stats() Stats {
	c := s.published.Load().counters
	la := s.layers.Load()
	pg := s.pager.Stats()
	pageSize := int64(s.pager.State().PageSize)
	st := Stats{
		Versions: c.version, PodVersions: c.number, Pods: c.pod - 1, SharedBodies: c.record - 1,
		LiveBytes: c.bytes - min(c.gone, c.bytes), HistoryBytes: min(c.gone, c.bytes),
		IndexBytes: int64(pg.TreePages) * pageSize, FreeBytes: int64(pg.FreePages) * pageSize,
		FileBytes: int64(pg.FileBytes), OverlayBytes: la.bytes(),
		PodCache: s.pods.Stats(), PageCacheHits: pg.CacheHits, PageCacheMiss: pg.CacheMisses,
		Commits: s.commits.Load(), Conflicts: s.conflicts.Load(),
		Checkpoints: s.check.count.Load(), CheckpointsFailed: s.check.failed.Load(),
		LastCheckpoint: time.Duration(s.check.last.Load()),
	}
	if log := s.log.Load(); log != nil {
		st.LogBytes = log.Bytes()
	}
	st.OpenSnapshots, st.OldestSnapshot, st.OldestAge = s.open.oldest(s.o.Now())
	return st
}
