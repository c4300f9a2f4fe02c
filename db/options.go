package db

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// Options configures a database. The zero value, and nil, are safe defaults.
type Options struct {
	// Types that may stand behind interfaces.
	Types TypeSet
	// OnUnsupported says what Save does with funcs, channels and unsafe pointers
	// that are not nil; the zero value refuses them.
	OnUnsupported OnUnsupported
	// ReadOnly opens a database that nobody has open and writes nothing. One
	// that was not closed cleanly shows what recovery would leave.
	ReadOnly bool
	// PageSize in bytes, a power of two from 4,096 to 65,536, used when the
	// file is created. 0 means 8,192.
	PageSize int
	// MemoryBytes bounds the memory that the database keeps for itself: caches of
	// the index and of pods, and what was committed and is not in the page file
	// yet. 0 means 128 MiB; less than 8 MiB counts as that.
	MemoryBytes int64
	// CheckpointBytes is the size of the log at which a checkpoint runs in the
	// background. 0 means 64 MiB; negative means never by itself.
	CheckpointBytes int64
	// PodTargetBytes is the encoded size to which pods are filled: small ones
	// make saves of scattered changes write less, large ones loads read faster.
	// A larger single object is a pod of its own. 0 means 8 KiB.
	PodTargetBytes int
	// NoCompression stores what was encoded as it is: no s2, and of a changed pod what changed in
	// it, never a delta. It is for measurements, and for data that does not shrink.
	// What a database holds is read whatever it was written with.
	NoCompression bool
	// Strategy says where what is new is cut into pods; nil is Learned, which keeps
	// together what the history of the database does not say changes apart. It moves nothing
	// that is stored, and what one strategy wrote reads alike with another.
	Strategy Strategy
	// Repod has saves of namespaces that look only at what differs move objects, arrays and maps
	// of pods that they write anyway to other pods: with Learned where the history of the pod
	// says that this stores less, and where a pod has grown to more than twice PodTargetBytes.
	// What moves is written once more (SaveStats.MovedBytes says how much) and leaves a
	// forwarder of some 20 bytes; Diff, Checkout and Merge take it for the object that it was.
	// It never moves what other pods refer to, merges no pods, and does nothing with NoIndex or
	// in transactions. It is off because it is new. What it moved stays readable without it.
	Repod bool
	// NoIndex has every save of a namespace look at everything that its variables reach.
	// Else, from the third on, saves compare what is in memory with fingerprints of what it
	// was when it was stored, and look only at what differs. What those cannot see is
	// memory that the language calls immutable (the bytes of a string, a value in an
	// interface) and that unsafe code writes: VerifyEvery finds it. Fingerprints take 16
	// bytes of memory for each object, array and map and 8 for each string and each value in
	// an interface, and keep up to an eighth more objects alive than the variables reach,
	// until a save that walks, a load or Trim.
	NoIndex bool
	// IndexBytes bounds the memory for fingerprints of one namespace; one that needs
	// more does without, and its saves walk (SaveStats.IndexBytes is 0 then). 0 is no bound.
	IndexBytes int64
	// VerifyEvery has every n-th save of a namespace that looked only at what it took
	// to have changed followed by one that looks at everything, and fail with
	// ErrUnsound if that finds more. Nothing is committed then. 0 means never; tests
	// of programs that use unsafe may want 1.
	VerifyEvery int
	// Hints tells saves that look only at what differs which memory cannot have changed: they
	// do not read it. A hint that is wrong is a change that is not stored; VerifyEvery finds it.
	// Maps are compared whatever is said. nil knows nothing, which is always right.
	Hints HintSource
	// Durability says what a commit that returned survives; the zero value is
	// DurabilityFull: everything. Interval bounds the time between syncs at
	// DurabilityInterval; 0 means a second.
	Durability Durability
	Interval   time.Duration
	// MaxReaderAge bounds how long this handle, as the writer of the file, keeps
	// space for those that Inspect it. 0 means an hour.
	MaxReaderAge time.Duration
	// UpkeepBytesPerSecond bounds what reclaim in the background (see Prune) may read
	// in a second, in stored bytes of the pod versions that it looks at. 0 is no bound.
	UpkeepBytesPerSecond int64
	// TraceSnapshots records where each snapshot is opened, so that Stats names
	// the oldest one's owner. It costs some microseconds for each.
	TraceSnapshots bool
	// Events are called when something happens; see there.
	Events Events
	// SlowSync is how long a sync of the log takes to count as slow
	// (Events.SlowSync). 0 means a second.
	SlowSync time.Duration
	// Logger receives what an operator may want to know, and what a save or load
	// met that is no error, such as objects of a package that no Value registers;
	// nil is silent.
	Logger *slog.Logger

	// FS replaces the operating system's files in the project's own tests.
	FS vfs.FS
	// Now replaces the clock.
	Now func() time.Time
	// Rand replaces the source of ids, salts and secrets.
	Rand io.Reader

	inspect bool // see Inspect
}

// OnUnsupported says what becomes of values that mean something to one process
// only: funcs, channels and unsafe pointers.
type OnUnsupported int

const (
	// RefuseUnsupported: a Save that meets one fails with an UnsupportedError that
	// names all of them.
	RefuseUnsupported OnUnsupported = iota
	// ZeroUnsupported: they are stored as nil, and Logger is told how many there
	// were, and where, whenever that number changes. Memory is left alone, but a
	// Checkout brings back nil. In keys of maps they are still refused.
	ZeroUnsupported
)

// Durability says what a commit that returned survives. At every level a crash
// loses only the newest commits, never one before another that stays.
type Durability = mvcc.Durability

// Levels of durability.
const (
	// DurabilityFull: a commit is visible, and Save returns, when it is synced.
	DurabilityFull = mvcc.DurabilityFull
	// DurabilityInterval: a commit is visible when it is written to the log. It
	// survives the end of the process at once, and a power cut once it is as old
	// as Options.Interval.
	DurabilityInterval = mvcc.DurabilityInterval
	// DurabilityNone: as DurabilityInterval without a bound: only checkpoints
	// and the system sync.
	DurabilityNone = mvcc.DurabilityNone
)

// Events are callbacks for programs that watch a database.
type Events = mvcc.Events

const defaultPodTarget = 8 << 10

// withDefaults validates o and fills what is zero.
func (o *Options) withDefaults() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if p := r.PageSize; p != 0 && (p < 4096 || p > 65536 || p&(p-1) != 0) {
		return r, fmt.Errorf("%w: Options.PageSize %d is not a power of two from 4096 to 65536", ErrInvalid, p)
	}
	if r.MemoryBytes < 0 {
		return r, fmt.Errorf("%w: Options.MemoryBytes is negative", ErrInvalid)
	}
	if r.UpkeepBytesPerSecond < 0 {
		return r, fmt.Errorf("%w: Options.UpkeepBytesPerSecond is negative", ErrInvalid)
	}
	if r.Interval < 0 || r.MaxReaderAge < 0 || r.SlowSync < 0 {
		return r, fmt.Errorf("%w: a negative duration in Options: Interval %v, MaxReaderAge %v, SlowSync %v", ErrInvalid, r.Interval, r.MaxReaderAge, r.SlowSync)
	}
	if r.IndexBytes < 0 {
		return r, fmt.Errorf("%w: Options.IndexBytes is negative", ErrInvalid)
	}
	if r.VerifyEvery < 0 {
		return r, fmt.Errorf("%w: Options.VerifyEvery is negative", ErrInvalid)
	}
	if r.OnUnsupported != RefuseUnsupported && r.OnUnsupported != ZeroUnsupported {
		return r, fmt.Errorf("%w: Options.OnUnsupported %d is neither RefuseUnsupported nor ZeroUnsupported", ErrInvalid, r.OnUnsupported)
	}
	if r.PodTargetBytes == 0 {
		r.PodTargetBytes = defaultPodTarget
	}
	if r.PodTargetBytes < 64 || r.PodTargetBytes > 1<<30 {
		return r, fmt.Errorf("%w: Options.PodTargetBytes %d is not from 64 to 2^30", ErrInvalid, r.PodTargetBytes)
	}
	if r.FS == nil {
		r.FS = vfs.OS()
	}
	return r, nil
}

func (o Options) engine(path string) mvcc.Options {
	return mvcc.Options{
		FS: o.FS, Path: path, ReadOnly: o.ReadOnly, PageSize: o.PageSize,
		MemoryBytes: o.MemoryBytes, CheckpointBytes: o.CheckpointBytes, Now: o.Now, Rand: o.Rand, Logger: o.Logger,
		Durability: o.Durability, Interval: o.Interval, MaxReaderAge: o.MaxReaderAge,
		UpkeepBytesPerSecond: o.UpkeepBytesPerSecond,
		TraceSnapshots:       o.TraceSnapshots, Events: o.Events, SlowSync: o.SlowSync, Inspect: o.inspect,
		NoCompression: o.NoCompression,
	}
}

// warn returns where warnings of loads and saves go, nil for nowhere.
func (o Options) warn() func(context.Context, string) {
	if o.Logger == nil {
		return nil
	}
	return func(ctx context.Context, what string) { o.Logger.WarnContext(ctx, "poddb: objects", "what", what) }
}

func (o Options) podding(reg *podder.Registry, secret [32]byte) podder.Config {
	return podder.Config{
		Registry: reg, Secret: secret,
		TargetBytes:     o.PodTargetBytes,
		Strategy:        o.Strategy,
		Repod:           o.Repod,
		ZeroUnsupported: o.OnUnsupported == ZeroUnsupported,
		Warn:            o.warn(),
		Index:           !o.NoIndex,
		IndexBytes:      o.IndexBytes,
		VerifyEvery:     o.VerifyEvery,
		Hints:           o.Hints,
	}
}
