package mvcc

import (
	"context"
	cryptorand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/poddb/poddb/cache"
	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
	"github.com/poddb/poddb/wal"
)

// Opening.
//
//  1. The page file is opened, or created empty.
//  2. An empty one gets its secret, the line and branch main, and counters, in
//     one batch that leaves it clean. A crash before that leaves an empty file,
//     and the next Open does it again: nobody has used a secret yet.
//  3. Not clean without a log is ErrLogMissing. With a log, what lies behind the
//     page file's position is replayed by the function that live commits use.
//     A clean file with groups behind its position is refused.
//  4. A clean file without a log gets one with the first commit: first the
//     log is durable, then the file is marked unclean, then the commit is
//     submitted. So unclean always has a log.

const defaultCheckpointBytes = 64 << 20

func (o Options) withDefaults() (Options, error) {
	if o.FS == nil || o.Path == "" {
		return o, fmt.Errorf("%w: FS and Path are required", dberr.ErrInvalid)
	}
	if o.CheckpointBytes == 0 {
		o.CheckpointBytes = defaultCheckpointBytes
	}
	if o.Durability < DurabilityFull || o.Durability > DurabilityNone || o.Interval < 0 {
		return o, fmt.Errorf("%w: durability %d, interval %v", dberr.ErrInvalid, o.Durability, o.Interval)
	}
	if o.Interval == 0 {
		o.Interval = defaultInterval
	}
	if o.streamFrom == 0 {
		o.streamFrom = streamMin
	}
	if o.maxLineage == 0 {
		o.maxLineage = maxLineage
	}
	if o.nearCommits == 0 {
		o.nearCommits = nearCommits
	}
	if o.SlowSync == 0 {
		o.SlowSync = defaultSlowSync
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rand == nil {
		o.Rand = cryptorand.Reader
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// salts gives out the numbers that need not be secret, only never the same
// twice: salts of log segments and the id of a new database. The random source
// is read once, where its failure can be returned.
type salts struct {
	mu sync.Mutex
	r  *rand.ChaCha8
}

func newSalts(source io.Reader) (*salts, error) {
	var seed [32]byte
	if _, err := io.ReadFull(source, seed[:]); err != nil {
		return nil, fmt.Errorf("random source: %w", err)
	}
	return &salts{r: rand.NewChaCha8(seed)}, nil
}

func (s *salts) next() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r.Uint64()
}

// Open opens a database, or creates it unless ReadOnly or Inspect.
func Open(ctx context.Context, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	if o.Path, err = vfs.Resolve(o.FS, o.Path); err != nil {
		return nil, err
	}
	if o.Inspect {
		return openBeside(ctx, o)
	}
	return open(ctx, o)
}

func open(ctx context.Context, o Options) (*Store, error) {
	salts, err := newSalts(o.Rand)
	if err != nil {
		return nil, err
	}
	bytes := divide(o.MemoryBytes)
	if o.shares != nil {
		bytes = *o.shares
	}
	pg, err := pager.Open(ctx, pager.Options{
		FS: o.FS, Path: o.Path, PageSize: o.PageSize, CacheBytes: max(bytes.pageBytes, 1), BatchBytes: bytes.batchBytes,
		ReadOnly: o.ReadOnly, Inspect: o.Inspect, MaxReaderAge: o.MaxReaderAge, Rand: salts.next, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	s := &Store{o: o, budget: bytes, pager: pg, salts: salts, contentKey: prefix, retireWeight: retireWeight, queueChunk: queueChunk, windowRows: windowRows, newTimer: time.NewTimer}
	s.life, s.stop = context.WithCancel(context.Background())
	id := pg.State().DatabaseID
	s.logID = binary.LittleEndian.Uint64(id[:8])
	s.seq.token = make(chan struct{}, 1)
	s.seq.token <- struct{}{}
	s.seq.windows = map[uint32]*window{}
	s.seq.pending = newPending()
	s.collecting = make(chan struct{}, 1)
	s.collecting <- struct{}{}
	s.upkeep = make(chan struct{}, 1)
	s.upkeep <- struct{}{}
	s.bell.init()
	s.branching = make(chan struct{}, 1)
	s.branching <- struct{}{}
	s.open.gone.Store(&Set{})
	s.check.token = make(chan struct{}, 1)
	s.check.token <- struct{}{}
	s.check.wake = make(chan struct{}, 1)
	s.check.reclaim = make(chan struct{}, 1)
	s.layers.Store(&layers{active: newOverlay()})
	attended := o.Inspect && pg.Attended()
	if err := s.start(ctx, attended); err != nil {
		err = s.outrun(err, attended)
		if log := s.log.Load(); log != nil {
			err = dberr.Join(err, log.Close())
		}
		s.stop()
		s.pods.Close()
		s.blocks.Close()
		s.recent.drop()
		return nil, dberr.Join(err, pg.Close(false))
	}
	return s, nil
}

func (s *Store) start(ctx context.Context, attended bool) error {
	var err error
	if s.pods, err = cache.New[*merged](s.budget.podBytes); err != nil {
		return err
	}
	s.passed.begin(s.budget.blockBytes)
	s.recent.budget = min(s.budget.blockBytes/8, mostRecent*coldBytes)
	if s.blocks, err = cache.New[[]byte](s.budget.blockBytes - s.recent.budget); err != nil {
		return err
	}
	if err := s.load(ctx); err != nil {
		return err
	}
	if err := s.recover(ctx, attended); err != nil {
		return err
	}
	if err := s.startNumbers(); err != nil {
		return err
	}
	if err := s.loadGone(); err != nil {
		return err
	}
	if !s.o.ReadOnly {
		s.background.Add(1)
		go s.checkpointer(s.life)
	}
	if s.checkpointDue() {
		s.wakeCheckpointer()
	}
	return nil
}

// errUnfinished says that a database is empty: its creation died, or goes on.
var errUnfinished = corrupt("the database is empty and was never finished")

// load reads what the page file knows about the whole database.
func (s *Store) load(ctx context.Context) error {
	st := s.pager.State()
	if st.Entries == 0 {
		if s.o.ReadOnly || !st.Clean {
			return fmt.Errorf("%s: %w", s.o.Path, errUnfinished)
		}
		if err := s.create(ctx, st.LogPos); err != nil {
			return fmt.Errorf("creating %s: %w", s.o.Path, err)
		}
	}
	v := s.pin()
	defer v.pv.Close()
	secret, ok, err := v.get(singleKey(singleSecret))
	if err != nil {
		return err
	}
	if !ok || len(secret) != len(s.secret) {
		return corrupt("%s has no secret", s.o.Path)
	}
	copy(s.secret[:], secret)
	b, _, err := v.get(singleKey(singleCounters))
	if err != nil {
		return err
	}
	c, err := decodeCounters(b)
	if err != nil {
		return err
	}
	if s.lost, err = v.loadLost(); err != nil {
		return err
	}
	sums, _, err := foundSums(v.pv)
	if err != nil {
		return err
	}
	s.sums.Store(&sums)
	s.published.Store(&published{c, c.version})
	s.layers.Store(&layers{active: s.nextOverlay()}) // what the log has is put there
	s.applied = st.LogPos
	s.check.done.Store(st.LogPos)
	if err := s.loadTags(v); err != nil {
		return err
	}
	return s.loadLines(v)
}

// create is step 2.
func (s *Store) create(ctx context.Context, logPos uint64) error {
	var secret [32]byte
	if _, err := io.ReadFull(s.o.Rand, secret[:]); err != nil {
		return fmt.Errorf("random source: %w", err)
	}
	b, err := s.pager.Begin()
	if err != nil {
		return err
	}
	defer b.Abort()
	first := counters{pod: 1, typ: uint64(pod.FirstCatalogType), record: 1, line: mainLine + 1, block: 1}
	for _, p := range []keyValue{
		{branchKey(MainBranch), branchValue(mainLine, 0)},
		{singleKey(singleCounters), first.append(nil)},
		{singleKey(singleSecret), secret[:]},
		{lineKey(mainLine), lineValue(&line{id: mainLine, branch: MainBranch})},
	} {
		if err := b.Put(p.key, p.val); err != nil {
			return err
		}
	}
	return b.Commit(ctx, logPos, true)
}

// loadLines reads the table of lines and their heads.
func (s *Store) loadLines(v *view) error {
	t := &lines{byID: map[uint32]*line{}, byName: map[string]*line{}}
	err := v.walk([]byte{kindLine}, func(key, val []byte) error {
		if len(key) != 5 {
			return corrupt("line key %x", key)
		}
		if isRemoved(val) {
			return nil
		}
		l, err := decodeLine(be.Uint32(key[1:]), val)
		if err != nil {
			return err
		}
		h, err := v.loadHead(l)
		if err != nil {
			return err
		}
		l.head.Store(&h)
		t.add(l)
		return nil
	})
	if err != nil {
		return err
	}
	if t.byName[MainBranch] == nil {
		return corrupt("branch %s is missing", MainBranch)
	}
	s.lines.Store(t)
	return nil
}

func (v *view) loadHead(l *line) (head, error) {
	b, ok, err := v.get(l.branchKey())
	if err != nil {
		return head{}, err
	}
	if !ok {
		return head{}, corrupt("branch %q of line %d is missing", l.branch, l.id)
	}
	id, version, err := decodeBranch(b)
	if err != nil {
		return head{}, err
	}
	if id != l.id {
		return head{}, corrupt("branch %q is on line %d, expected %d", l.branch, id, l.id)
	}
	if version == l.forkVersion() {
		return l.fresh(), nil
	}
	row, err := v.row(version)
	if err != nil {
		return head{}, err
	}
	if row.line != l.id {
		return head{}, corrupt("head %d of branch %q is on line %d, expected %d", version, l.branch, row.line, l.id)
	}
	return head{version, row.last, row.pos + 1}, nil
}

// fresh is the head of a line without commits.
func (l *line) fresh() head {
	if len(l.lineage) == 0 {
		return head{}
	}
	return head{l.lineage[0].version, l.lineage[0].number, 0}
}

// recover is step 3.
func (s *Store) recover(ctx context.Context, attended bool) error {
	st := s.pager.State()
	exists, err := wal.Exists(s.o.FS, s.logDir())
	if err != nil {
		return err
	}
	if s.o.ReadOnly {
		if s.foundLog, err = wal.Size(s.o.FS, s.logDir()); err != nil {
			return err
		}
	}
	switch {
	case !exists && st.Clean:
		return nil
	case !exists:
		return fmt.Errorf("%w: %s", dberr.ErrLogMissing, s.logDir())
	case st.Clean:
		return s.leftLog(ctx)
	case s.o.Inspect:
		return s.replayBeside(ctx, attended)
	case s.o.ReadOnly:
		_, err := wal.Replay(ctx, s.logOptions(), wal.LSN(st.LogPos), s.replay)
		return err
	}
	if err := s.startLog(ctx, s.replay); err != nil {
		return err
	}
	// Now, while no checkpoint can run: the first commit need not wait for one.
	return s.markUnclean(ctx)
}

// leftLog deals with a log beside a clean file. A Close that was cut off leaves
// one with nothing behind the file's position; it is removed, and the next
// commit makes a new one. Anything else was written after the file: the file is
// an older copy, put in the place of a newer one.
func (s *Store) leftLog(ctx context.Context) error {
	stale, err := wal.Stale(ctx, s.logOptions(), wal.LSN(s.pager.State().LogPos))
	switch {
	case err != nil:
		return err
	case !stale:
		return dberr.Corrupt(s.logDir(), -1, "the log belongs to a later session than the file %s, which was closed cleanly before", s.o.Path)
	case s.o.ReadOnly:
		return nil
	}
	if err := wal.Remove(s.o.FS, s.logDir()); err != nil {
		return fmt.Errorf("removing the log %s: %w", s.logDir(), err)
	}
	return nil
}

func (s *Store) logOptions() wal.Options {
	return wal.Options{
		FS: s.o.FS, Dir: s.logDir(), SegmentBytes: s.o.SegmentBytes,
		IdlePromise: s.o.IdlePromise, Rand: s.salts.next, Identity: s.DatabaseID(),
		Sync: s.o.Durability.level(), Interval: s.o.Interval, OnSync: s.synced,
		BeforeSync: s.syncExtents, Resync: s.resyncExtents, Owner: s.pager.Present,
	}
}

func (s *Store) startLog(ctx context.Context, replay func(wal.Group) error) error {
	log, rec, err := wal.Open(ctx, s.logOptions(), wal.LSN(s.pager.State().LogPos), replay)
	if err != nil {
		return err
	}
	s.log.Store(log)
	if rec.Groups > 0 || rec.Cut {
		s.o.Logger.Info("log recovered", slog.Int("groups", rec.Groups), slog.Int("rewritten", rec.Rewritten), slog.Bool("cut", rec.Cut))
	}
	return nil
}

// openLog is step 4; the sequencer's token is held.
func (s *Store) openLog(ctx context.Context) error {
	if s.unclean {
		return nil
	}
	if s.log.Load() == nil {
		none := func(g wal.Group) error {
			return corrupt("log group at %d in a database that was closed cleanly", g.End)
		}
		if err := s.startLog(ctx, none); err != nil {
			return err
		}
	}
	select { // no checkpoint may run meanwhile
	case <-s.check.token:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { s.check.token <- struct{}{} }()
	return s.markUnclean(ctx)
}

// markUnclean notes in the file that it needs its log, which is durable.
func (s *Store) markUnclean(ctx context.Context) error {
	if err := s.pager.MarkUnclean(ctx); err != nil {
		if errors.Is(err, dberr.ErrPoisoned) {
			return s.poison(err)
		}
		return err
	}
	s.unclean = true
	return nil
}

// startNumbers sets what the sequencer and the allocators count.
func (s *Store) startNumbers() error {
	c := s.published.Load().counters
	s.next.pod.Store(c.pod)
	s.next.typ.Store(c.typ)
	s.next.record.Store(c.record)
	s.next.block.Store(c.block)
	s.rewind()
	v := s.pin()
	defer v.pv.Close()
	for _, l := range s.lines.Load().byID {
		if h := l.head.Load(); h.version != 0 {
			row, err := v.row(h.version)
			if err != nil {
				return err
			}
			s.seq.lastTime = max(s.seq.lastTime, row.time)
		}
	}
	return nil
}
