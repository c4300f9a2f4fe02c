package mvcc

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// registry knows the open snapshots, and the versions that are gone. Both are
// changed under one lock: a snapshot that is registered before a version is
// retired keeps it, and none is registered after (retire.go, invariant 2).
type registry struct {
	mu   sync.Mutex
	open []*Snapshot // each knows its place
	// followers are those who have to know what collects took away.
	followers map[*Follower]struct{}
	// gone are the retired versions, and those that are being retired. The set is
	// swapped, never changed, and may be read without the lock.
	gone atomic.Pointer[Set]
}

// maxIdleOpen bounds the list that stays when no snapshot is open.
const maxIdleOpen = 1024

// add registers a snapshot; false if its version is gone.
func (r *registry) add(sn *Snapshot) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gone.Load().Contains(sn.version) {
		return false
	}
	r.open = append(r.open, sn)
	sn.place = len(r.open)
	return true
}

func (r *registry) remove(sn *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sn.place == 0 {
		return
	}
	last := len(r.open) - 1
	moved := r.open[last]
	r.open[sn.place-1], moved.place = moved, sn.place
	r.open[last], sn.place = nil, 0
	if r.open = r.open[:last]; last == 0 && cap(r.open) > maxIdleOpen {
		r.open = nil
	}
}

// retire takes away what choose returns, which is told the versions with open
// snapshots, and up to which one all followers of a line know.
func (r *registry) retire(line uint32, choose func(open map[Version]bool, followed Version) *Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	after := r.gone.Load().Clone()
	after.union(choose(r.versions(), r.following(line)))
	r.gone.Store(after)
}

// restore undoes retire.
func (r *registry) restore(before *Set) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gone.Store(before)
}

// kept returns what retire tells.
func (r *registry) kept(line uint32) (open map[Version]bool, followed Version) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.versions(), r.following(line)
}

func (r *registry) versions() map[Version]bool {
	open := make(map[Version]bool, len(r.open))
	for _, sn := range r.open {
		open[sn.version] = true
	}
	return open
}

// oldest describes the open snapshots: how many, and of the one that is open
// longest the version, the age, and where it was opened if that is known.
func (r *registry) oldest(now time.Time) (n int, v Version, age time.Duration, owner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first *Snapshot
	for _, sn := range r.open {
		if first == nil || sn.opened.Before(first.opened) || sn.opened.Equal(first.opened) && sn.version < first.version {
			first = sn
		}
	}
	if first == nil {
		return 0, 0, 0, ""
	}
	return len(r.open), first.version, max(0, now.Sub(first.opened)), first.owner.String()
}

// owner is the stack of the call that opened a snapshot.
type owner []uintptr

const ownerDepth = 16

// traceOwner returns the stack above At and what it calls.
func traceOwner() owner {
	pcs := make([]uintptr, ownerDepth)
	return pcs[:runtime.Callers(4, pcs)]
}

// String is one line per call, innermost first.
func (o owner) String() string {
	if len(o) == 0 {
		return ""
	}
	var b strings.Builder
	for frames := runtime.CallersFrames(o); ; {
		f, more := frames.Next()
		fmt.Fprintf(&b, "%s at %s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return b.String()
		}
	}
}
