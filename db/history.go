package db

import (
	"context"
	"iter"
	"time"

	"github.com/poddb/poddb/mvcc"
)

// Commit is one entry of the history: who committed what, when, on which branch,
// and how many pods and bytes that added.
type Commit = mvcc.Commit

// Head returns the newest version of a branch, 0 before its first commit. A new
// branch's is the version that it was created at. An unknown branch is ErrNotFound.
func (d *DB) Head(ctx context.Context, branch string) (Version, error) {
	v, err := d.store.Head(ctx, branch)
	return v, d.named(err)
}

// LogOptions selects the history that Log walks. The zero value is all of main.
type LogOptions struct {
	Branch string // "" means main
	// From and To bound the versions, both included; 0 is no bound.
	From, To Version
	Limit    int  // yield at most so many commits; 0 is no limit
	Reverse  bool // oldest first; then the versions are all looked up before
}

// Log yields the commits of a branch that retention has kept, newest first: its
// own and those of what it was created from. At most one error is yielded, and it ends
// the sequence. Commits made meanwhile are not seen.
func (d *DB) Log(ctx context.Context, o LogOptions) iter.Seq2[Commit, error] {
	r := mvcc.LogRange{From: o.From, To: o.To, Limit: o.Limit, Reverse: o.Reverse}
	return func(yield func(Commit, error) bool) {
		for c, err := range d.store.LogOf(ctx, branchOrMain(o.Branch), r) {
			if !yield(c, d.named(err)) {
				return
			}
		}
	}
}

// CommitOf describes one version. One that retention removed is ErrVersionGone.
func (d *DB) CommitOf(ctx context.Context, v Version) (Commit, error) {
	c, err := d.store.Commit(ctx, v)
	return c, d.named(err)
}

// AtTime opens a branch as it was at a time: its newest version that was not
// committed after t. If there is none it is ErrNotFound. Where retention has removed
// versions, the newest one before t that is left is opened.
//
// The time of a commit is what the clock said, but always later than the commit
// before it, on whichever branch: while a clock has been put back, commits are a nanosecond
// apart until it has caught up, and AtTime finds all of them at the time it was put back.
func (d *DB) AtTime(ctx context.Context, branch string, t time.Time) (*Snapshot, error) {
	sn, err := d.store.AtTime(ctx, branchOrMain(branch), t)
	if err != nil {
		return nil, d.named(err)
	}
	return &Snapshot{d: d, sn: sn}, nil
}

func branchOrMain(name string) string {
	if name == "" {
		return mainBranch
	}
	return name
}

const mainBranch = "main"
