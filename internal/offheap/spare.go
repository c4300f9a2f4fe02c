package offheap

import (
	"slices"
	"sync"
	"time"
)

// Memory that was given back is kept for a while: who made tables of so many bytes
// is likely to make as many again, and pages that the system has to find and clear
// first cost more than all else that is done with them. Beyond some of it the system
// may take pages away meanwhile; telling it so costs a change of its tables, and
// another one when the pages are used again. It gets all of it when nothing was given
// back for a time.

// spares are maps that nobody uses. Their bytes are anything.
type spares struct {
	most int           // bounds what is kept
	warm int           // bounds what of it is not lent to the system
	idle time.Duration // how long it is kept
	// after is time.AfterFunc, or a test's own.
	after func(time.Duration, func()) *time.Timer

	mu    sync.Mutex
	maps  []spareMap
	bytes int
	kept  int // bytes that are not lent
	timer *time.Timer
}

// spareMap is a map that nobody uses.
type spareMap struct {
	mem  []byte
	lent bool // the system may take pages of it
}

// spare belongs to the process, as the memory of the heap does.
var spare = spares{most: 512 << 20, warm: 256 << 20, idle: 10 * time.Second, after: time.AfterFunc}

// take returns the smallest map of at least n bytes, nil if there is none that is
// not much larger. Of those of one size it is what was given back first, so that who
// asks for the same again gets the same in the same order: of the last one mostly only
// the beginning was ever used, and the system has given pages for no more.
func (s *spares) take(n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := -1
	for i, m := range s.maps {
		if len(m.mem) >= n && len(m.mem)/4 < n && (best < 0 || len(m.mem) < len(s.maps[best].mem)) {
			best = i
		}
	}
	if best < 0 {
		return nil
	}
	m := s.maps[best]
	s.maps = slices.Delete(s.maps, best, best+1)
	s.bytes -= len(m.mem)
	if !m.lent {
		s.kept -= len(m.mem)
	}
	return m.mem
}

// put keeps m, or gives it back to the system.
func (s *spares) put(m []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lend := s.kept+len(m) > s.warm
	if s.bytes+len(m) > s.most || lend && !lendMemory(m) {
		unmapMemory(m)
		return
	}
	s.maps = append(s.maps, spareMap{m, lend})
	s.bytes += len(m)
	if !lend {
		s.kept += len(m)
	}
	if s.timer == nil {
		s.timer = s.after(s.idle, s.drop)
	} else {
		s.timer.Reset(s.idle)
	}
}

// drop gives everything back to the system.
func (s *spares) drop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.maps {
		unmapMemory(m.mem)
	}
	s.maps, s.bytes, s.kept = nil, 0, 0
}
