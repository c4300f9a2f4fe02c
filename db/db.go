package db

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Version is a commit's number: 1, 2, 3 … over the whole database. 0 is the
// empty state before the first commit.
type Version = mvcc.Version

// Stats are figures about an open database.
type Stats = mvcc.Stats

// FileSpace is Stats.Space: where the bytes of the file are.
type FileSpace = mvcc.FileSpace

// VerifyOptions says how thorough Verify is.
type VerifyOptions = mvcc.VerifyOptions

// VerifyReport is what Verify found. An empty Problems means a sound database.
type VerifyReport = mvcc.VerifyReport

// DB is an open database. All methods are safe for concurrent use.
type DB struct {
	path   string
	store  *mvcc.Store
	conf   podder.Config
	index  bool         // of namespaces: not Options.NoIndex
	graphs *podder.Pool // for transactions
	tables sync.Pool    // of *txTables
	moved  movedCounts

	// Replaced by tests.
	newTimer func(time.Duration) *time.Timer
	after    func(time.Duration, func()) *time.Timer
	now      func() time.Time
}

// Open opens or creates the database file at path. nil options are safe
// defaults. It fails at once with a LockedError if another handle, in this
// process or another, has the file open; with ErrNotDatabase, ErrTooNew,
// ErrLogMissing or a CorruptError if the file is not what it should be; a file
// that is missing for ReadOnly matches fs.ErrNotExist.
func Open(ctx context.Context, path string, opts *Options) (*DB, error) {
	o, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	reg, err := o.Types.registry()
	if err != nil {
		return nil, err
	}
	if path == "" {
		return nil, fmt.Errorf("%w: Open needs the path of a file", ErrInvalid)
	}
	store, err := mvcc.Open(ctx, o.engine(path))
	if err != nil {
		return nil, nameFile(path, err)
	}
	return newDB(path, store, o.podding(reg, store.Secret())), nil
}

func newDB(path string, store *mvcc.Store, conf podder.Config) *DB {
	index := conf.Index
	conf.Index = false // a transaction's graph is saved once
	conf.Loads = new(podder.Loads)
	return &DB{path: path, store: store, conf: conf, index: index, graphs: podder.NewPool(conf), newTimer: time.NewTimer, after: time.AfterFunc, now: time.Now}
}

// OpenMemory opens a new, empty database on the same engine with nothing on
// disk. It is gone after Close.
func OpenMemory(ctx context.Context, opts *Options) (*DB, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.FS = vfs.NewMem()
	return Open(ctx, "memory.pod", &o)
}

// Close refuses new work, finishes commits that are already queued, moves the
// log into the file and closes it: afterwards the one file is the database.
// It does not wait for snapshots that were never closed. Values that were
// loaded stay valid. A second Close returns nil.
func (d *DB) Close() error { return d.named(d.store.Close()) }

// Checkpoint moves what the log holds into the page file. It happens by
// itself in the background and at Close; a call is never needed for safety.
func (d *DB) Checkpoint(ctx context.Context) error { return d.named(d.store.Checkpoint(ctx)) }

// Verify checks the whole file against itself: checksums, tree order, free
// space, the set of every version, every reference. Deep decodes every pod. It
// counts what Collect would take out of the heads, too.
// Damage is listed in the report; an error means that Verify could not run.
func (d *DB) Verify(ctx context.Context, o VerifyOptions) (VerifyReport, error) {
	if o.Trim == nil {
		o.Trim = freeSlots()
	}
	rep, err := d.store.Verify(ctx, o)
	return rep, d.named(err)
}

// Stats returns current figures; it is cheap.
func (d *DB) Stats() Stats {
	s := d.store.Stats()
	s.PodsSplit, s.PodsDivided, s.SlotsMoved, s.MovedBytes = d.moved.split.Load(), d.moved.divided.Load(), d.moved.slots.Load(), d.moved.bytes.Load()
	return s
}

// movedCounts add up what saves of namespaces moved from pod to pod.
type movedCounts struct{ split, divided, slots, bytes atomic.Uint64 }

func (c *movedCounts) add(s *SaveStats) {
	if s.SlotsMoved == 0 {
		return
	}
	c.split.Add(uint64(s.PodsSplit))
	c.divided.Add(uint64(s.PodsDivided))
	c.slots.Add(uint64(s.SlotsMoved))
	c.bytes.Add(uint64(s.MovedBytes))
}
