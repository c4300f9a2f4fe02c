package mvcc

import "time"

// Events are callbacks that tell a program what the store does. Each may be
// nil. They are called without any lock of the store held, so they may call the
// store, Close excepted; several may run at the same time. Commit, Checkpoint,
// Prune and Collect are called by the goroutine that did the work, which goes on when
// they return: they should be quick. SlowSync and Poison have a goroutine of
// their own.
type Events struct {
	// Commit: a commit succeeded. Those of concurrent committers come in any order.
	Commit func(CommitEvent)
	// Checkpoint: a checkpoint that had something to write ended.
	Checkpoint func(CheckpointEvent)
	// Prune: Prune retired versions or gave space back, wholly or until it failed.
	Prune func(PruneReport)
	// Collect: Collect took something away, wholly or until it ended early.
	Collect func(CollectReport)
	// SlowSync: a sync of the log took at least Options.SlowSync.
	SlowSync func(took time.Duration)
	// Poison: from now on the store refuses writes. It comes once.
	Poison func(cause error)
}

// CommitEvent describes a commit that succeeded.
type CommitEvent struct {
	Version Version
	Branch  string
	Pods    int    // pod versions added
	Bytes   uint64 // of them and of new shared bodies
	// Waited is how long it was held back because too much waits for a
	// checkpoint; Took is the whole call.
	Waited, Took time.Duration
}

// CheckpointEvent describes a checkpoint that ended.
type CheckpointEvent struct {
	Err   error // why it failed; nothing is lost, it will be tried again
	Took  time.Duration
	Rows  int64 // of the index
	Bytes int64 // of keys and values
}

const defaultSlowSync = time.Second

// synced is told by the log how long a sync took.
func (s *Store) synced(took time.Duration) {
	s.syncs.add(took)
	if fn := s.o.Events.SlowSync; fn != nil && took >= s.o.SlowSync {
		go fn(took)
	}
}
