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
	budget     budget
	pager      *pager.Pager
	pods       *cache.Cache[*merged]
	blocks     *cache.Cache[[]byte] // raw bytes by number
	recent     recentBlocks
	rooms      sync.Pool // of *blockRoom
	passed     passed
	secret     [32]byte
	lost       *lostRows // by a salvage; nil = nothing
	logID      uint64    // marks log groups of this database
	salts      *salts
	contentKey func(hash [32]byte) contentKey

	// gate is held for reading during each operation, so that Close waits for
	// those under way before it closes the page file.
	gate    sync.RWMutex
	closed  atomic.Bool
	closing atomic.Bool
	open    registry

	layers    atomic.Pointer[layers]
	lines     atomic.Pointer[lines]
	tags      atomic.Pointer[map[string]Version]
	published atomic.Pointer[published]
	types     catalogue
	// names is changed with applying held, but for giving up one that is being made, with
	// indexing. manyNames: there are too many for an index.
	names     atomic.Pointer[nameIndex]
	indexing  sync.Mutex
	manyNames atomic.Bool
	// next are the ids, record and block numbers to give out next; order does not
	// matter for them, so transactions take them without the token.
	next struct{ pod, typ, record, block atomic.Uint64 }

	seq      sequencer
	log      atomic.Pointer[wal.Log] // nil until the first commit needs it
	foundLog int64                   // bytes of a log that is only read
	unclean  bool                    // MarkUnclean was done; the token is held
	poisoned atomic.Pointer[error]

	bell  bell // rings when commits became visible, branches deleted, the store poisoned
	turns turns
	// branching holds one element while no branch is being created.
	branching chan struct{}
	newTimer  func(time.Duration) *time.Timer
	// collecting holds one element while no collect runs. collections are those that
	// stopped half way, by line; whoever holds the element has them.
	collecting  chan struct{}
	collections map[uint32]*collection
	// upkeep holds one element while neither retire nor reclaim runs.
	upkeep chan struct{}
	upkept atomic.Uint64 // odd while an upkeep group is being applied
	folds  atomic.Uint64 // the same, of groups that retire
	pins   pins
	// reclaimable: the queue of reclaim may have rows.
	reclaimable  atomic.Bool
	merges       merges
	rates        rateCache
	retireWeight uint64
	queueChunk   int
	windowRows   int
	stepSize     int           // entries that a step of reclaim takes; the upkeep token is held
	computed     time.Duration // by retention since it last let others run; likewise

	applying sync.Mutex // the overlay's writer, and freezing it
	applied  uint64     // log position behind the last applied group

	check      checkpoints
	background sync.WaitGroup
	life       context.Context // until Close
	stop       context.CancelFunc

	commits, conflicts atomic.Uint64
	backups, scans     atomic.Int32
	syncs              latencies // of the log
	sums               atomic.Pointer[blockSums]

	named   []namedPlace // by what Open replayed
	flushed atomic.Bool  // extents wait for the sync before the log's next one
}

// Secret returns the 32 random bytes made when the database was created.
func (s *Store) Secret() [32]byte { return s.secret }

// DatabaseID returns the identity of the database, given at creation.
func (s *Store) DatabaseID() [16]byte { return s.pager.State().DatabaseID }

// Head returns the newest version of a branch: 0 if nothing was committed.
func (s *Store) Head(ctx context.Context, branch string) (Version, error) {
	l, err := s.lineNow(ctx, branch)
	if err != nil {
		return 0, err
	}
	return l.head.Load().version, nil
}

// lineNow returns the line that a branch has now.
func (s *Store) lineNow(ctx context.Context, branch string) (*line, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.closed.Load() {
		return nil, dberr.ErrClosed
	}
	l := s.lines.Load().byName[branch]
	if l == nil {
		return nil, fmt.Errorf("%w: branch %q", dberr.ErrNotFound, branch)
	}
	return l, nil
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
	switch {
	case errors.Is(err, dberr.ErrCommitUnknown):
		cause = fmt.Errorf("%w: %w", dberr.ErrPoisoned, firstCause{err})
	case !errors.Is(err, dberr.ErrPoisoned):
		cause = fmt.Errorf("%w: %w", dberr.ErrPoisoned, err)
	}
	if s.poisoned.CompareAndSwap(nil, &cause) {
		s.o.Logger.Error("database refuses writes until reopened", slog.Any("cause", err))
		if fn := s.o.Events.Poison; fn != nil {
			go fn(cause)
		}
		s.check.step() // whoever waits for room need not
		s.bell.ring()
		if log := s.log.Load(); log != nil {
			log.Poison(cause) // Close would write its end
		}
	}
	if errors.Is(err, dberr.ErrCommitUnknown) {
		return err
	}
	return cause
}

// firstCause is why a commit's outcome is unknown, for the errors of later
// commits: they match what it matches, except that they are known to be absent.
type firstCause struct{ error }

func (c firstCause) Is(target error) bool {
	return target != dberr.ErrCommitUnknown && errors.Is(c.error, target)
}

func (c firstCause) As(target any) bool { return errors.As(c.error, target) }

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
	s.blocks.Close()
	s.recent.drop()
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
	s.release()
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
	// The page file has everything, so the log goes, with or without an end: a full
	// disk may have no room for one.
	if err := log.Close(); err != nil && (errors.Is(err, dberr.ErrPoisoned) || !errors.Is(err, dberr.ErrDiskFull)) {
		return err
	}
	if err := s.pager.Present(); err != nil {
		return fmt.Errorf("the log %s stays: %w", s.logDir(), err)
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

// logSuffix is what the name of the log's directory has behind the file's.
const logSuffix = ".wal"

func (s *Store) logDir() string { return s.o.Path + logSuffix }

// Random returns a number that need not be secret, from the source that
// Options.Rand began.
func (s *Store) Random() uint64 { return s.salts.next() }
