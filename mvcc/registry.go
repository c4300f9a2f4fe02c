package mvcc

import (
	"sync"
	"time"
)

// registry knows the open snapshots: retention must keep what they show.
type registry struct {
	mu   sync.Mutex
	open map[*Snapshot]struct{}
}

func (r *registry) add(sn *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.open == nil {
		r.open = map[*Snapshot]struct{}{}
	}
	r.open[sn] = struct{}{}
}

func (r *registry) remove(sn *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, sn)
}

// oldest returns the number of open snapshots, and version and age of the one
// that is open longest.
func (r *registry) oldest(now time.Time) (n int, v Version, age time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for sn := range r.open {
		if a := now.Sub(sn.opened); v == 0 && age == 0 || a > age {
			v, age = sn.version, a
		}
	}
	return len(r.open), v, age
}
