package mvcc

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/poddb/poddb/cache"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// Version is a commit's number over the whole database: 1, 2, 3 … in log
// order. 0 is the empty state before the first commit.
type Version = uint64

// MainBranch exists in every database.
const MainBranch = "main"

// Options configures a Store. FS and Path are needed, the rest has defaults.
type Options struct {
	FS       vfs.FS
	Path     string
	ReadOnly bool // write nothing; a log that is there is read, not moved into the file
	PageSize int  // used at creation; 0 = 8,192
	// MemoryBytes is what caches and commits that wait for a checkpoint may make
	// the process's memory grow by, the collector's slack included (budget.go).
	// 0 = 128 MiB, at least 8 MiB; negative = no caches, for tests.
	MemoryBytes  int64
	SegmentBytes int64 // of the log; 0 = its default
	// CheckpointBytes of log trigger a checkpoint in the background, and so does
	// half of what MemoryBytes allows for commits that wait for one. 0 = 64 MiB,
	// negative = neither does.
	CheckpointBytes int64
	Now             func() time.Time // nil = time.Now
	Rand            io.Reader        // nil = crypto/rand; read by Open only
	Logger          *slog.Logger     // nil = silent
	IdlePromise     time.Duration    // see package wal

	// Inspect opens a database for reading that another process may have open
	// for writing, as of the moment of opening.
	Inspect bool
	// MaxReaderAge bounds how long this writer keeps space for inspectors. 0 = 1 h.
	MaxReaderAge time.Duration
	// Durability says when Commit returns. Interval bounds the time between syncs
	// at DurabilityInterval; 0 = 1 s.
	Durability Durability
	Interval   time.Duration
	Events     Events
	SlowSync   time.Duration // syncs of the log from here on are told to Events; 0 = 1 s
	// UpkeepBytesPerSecond bounds how many stored bytes reclaim in the background looks at
	// in a second. 0 = no bound.
	UpkeepBytesPerSecond int64
	// NoCompression stores versions and blocks as they were encoded, and nothing as a delta.
	// What was stored otherwise is read all the same.
	NoCompression bool
	// TraceSnapshots records where each snapshot was opened, for Stats.
	TraceSnapshots bool

	// For tests: what replaces the shares of MemoryBytes, and the size from which on
	// a transaction is streamed; 0 = streamMin.
	shares      *budget
	streamFrom  int64
	maxLineage  int    // replaces the constant
	nearCommits uint64 // replaces the constant
}

// Durability says what a commit that returned survives.
type Durability int

const (
	// DurabilityFull: everything. A commit is visible and answered when it is synced.
	DurabilityFull Durability = iota
	// DurabilityInterval: the end of the process; of a power cut all but the
	// commits of the last Options.Interval. A commit is visible and answered when
	// it is written to the log.
	DurabilityInterval
	// DurabilityNone: the end of the process; of a power cut what the system or a
	// checkpoint happened to sync. What is lost are always the newest commits.
	DurabilityNone
)

// Kind says what made a commit.
type Kind uint8

// Kinds of commits. Log leaves out those that are hidden.
const (
	KindSave    Kind = iota // an ordinary commit
	KindCopy                // made by CreateBranch on top of many branches
	KindCollect             // took away what no variable reaches (collect.go)
	KindMerge               // of another branch, whose version is the second parent
)

// hidden reports whether commits of the kind are nobody's: not in Log, and not
// counted by retention.
func (k Kind) hidden() bool { return k == KindCopy || k == KindCollect }

// CommitInfo is what the committer says about a commit.
type CommitInfo struct {
	Message, Author string
	Kind            Kind
	// Merged is the version whose changes the commit takes over from another branch:
	// its second parent. With it there is a commit even if nothing changes. 0 is none.
	Merged Version
}

// Commit is one entry of the history.
type Commit struct {
	Version Version
	Line    uint32 // the line it was made on
	Branch  string // the branch that line belongs to
	// Parents are the version before it on the branch and, of a merge, the one that was
	// merged. A commit that stands for retired ones has all that were merged into those, too.
	Parents []Version
	Time    time.Time // max(parent's + 1 ns, the clock)
	Author  string
	Message string
	Kind    Kind
	Pods    int    // pod versions added
	Removed int    // pod versions that stopped being current
	Bytes   uint64 // stored bytes added
	Names   int    // set or deleted, with those of retired commits that it stands for
	// FirstNumber and LastNumber are the pod version numbers added; without any,
	// First is Last+1 and Last the highest number given out before.
	FirstNumber, LastNumber uint64
}

// TxStats counts what a transaction wrote so far.
type TxStats struct {
	PodsNew, PodsChanged int
	PodsUnchanged        int    // put, but equal to their base
	Slots                int    // slots that changed
	Patches, Shared      int    // versions stored as a patch; with a shared body
	Bytes                uint64 // stored bytes of versions and new shared bodies
	Names                int    // names set or deleted
}

// Stats are figures about an open store.
type Stats struct {
	Versions     uint64 // commits in the database that are not retired
	PodVersions  uint64 // stored ones; those of retired versions until they are reclaimed
	Pods         uint64 // pod ids given out
	SharedBodies uint64 // record numbers given out
	// LiveBytes are stored bytes of pod versions that are current, HistoryBytes of
	// those that are not. With branches they are approximate: a version counts as
	// history once for each line on which it was replaced.
	LiveBytes, HistoryBytes uint64
	IndexBytes              int64 // pages of the index
	FreeBytes               int64 // free space in the file
	FileBytes               int64
	Space                   FileSpace // where these are
	LogBytes                int64     // of a store that is only read: as found by Open
	OverlayBytes            int64     // committed, not yet checkpointed, in memory
	PodCache                cache.Stats
	PageCacheHits           uint64
	PageCacheMiss           uint64

	Commits           uint64 // since Open
	Conflicts         uint64 // since Open
	Checkpoints       uint64 // since Open
	CheckpointsFailed uint64
	LastCheckpoint    time.Duration
	LongestCheckpoint time.Duration
	LongestPause      time.Duration // that a commit was held up by checkpoints
	LogSyncs          Histogram     // how long syncs of the log took
	MemoryBudget      int64         // what Options.MemoryBytes came to
	Durability        Durability

	// Since Open, of saves of namespaces, and counted by package db (db.SaveStats): pods that were split
	// and divided, objects that moved from pod to pod, and the bytes written for it.
	PodsSplit, PodsDivided, SlotsMoved, MovedBytes uint64

	Backups    int // running: each keeps the pages of the state that it copies
	Scans      int // Verify, SpaceReport and dry runs of Prune that run: likewise
	Inspectors int // of other processes, for whom the last checkpoint kept pages

	OpenSnapshots  int
	OldestSnapshot Version // of the open ones, the one open longest
	OldestAge      time.Duration
	OldestOwner    string // the stack that opened it, with Options.TraceSnapshots
}

// FileSpace says where the bytes of the page file are. What other classes than
// these have (kinds of rows, live contents and history as stored) is not kept:
// a version that is replaced changes its class, and a checkpoint would have to
// read the row before of every pod that it writes. SpaceReport counts them.
type FileSpace struct {
	// These six add up to Stats.FileBytes.
	Metas   int64 // the two meta slots
	Index   int64 // pages of the index
	Blocks  int64 // pages of blocks and of the map of free pages
	Extents int64 // pages of big commits that are under way, or wait for a checkpoint
	Held    int64 // pages that only older states need: of the other meta, of readers
	Free    int64 // all others, those grown ahead among them

	// Of the pages of blocks, as of the last checkpoint. What is in Blocks and not
	// in Stored lies unused between blocks, or is the map of free pages. Zero in a
	// file that no checkpoint has changed since an older program wrote it.
	BlockCount int64
	Stored     int64 // the blocks
	Dead       int64 // of them, contents that nothing refers to any more
	Directory  int64 // of them, what they need beside their contents
}

// VerifyOptions says how thorough Verify is.
type VerifyOptions struct {
	// Deep reads every version from storage again, bypassing the cache, and
	// compares every shared body with its content key.
	Deep bool
	// Trim is CollectOptions.Trim: with it unreachable first slots are counted too.
	Trim func(ctx context.Context, at *Snapshot, id pod.ID, p *pod.Pod, exports []pod.Slot) ([]pod.Slot, error)
	// Progress, if set, is called now and then from the goroutine of Verify. It
	// must not call the store: Verify holds it open, and Close waits for Verify.
	Progress func(done, total uint64)
}

// VerifyReport is what Verify found. No Problems means a sound database.
type VerifyReport struct {
	Versions, PodVersions, Pods, References uint64
	SharedBodies, Names, Types, Tags        uint64
	Pages                                   uint64
	// Unreachable are pods in the heads of branches that no variable of these reaches,
	// and UnreachableSlots exported slots that none does, those of these pods among
	// them: what Collect would take away. Where something was lost they are not counted.
	Unreachable, UnreachableSlots uint64
	// Lost are pod versions and types whose contents were lost before a salvage, or
	// rest on such. LostPods names at most MaxProblems of them.
	Lost     int
	LostPods []string
	// Problems are at most MaxProblems sentences, each naming the place.
	Problems []string
	// More is the number of problems beyond those listed.
	More int
}

// MaxProblems bounds VerifyReport.Problems.
const MaxProblems = 100
