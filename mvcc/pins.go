package mvcc

import "sync"

// pins are the shared bodies that live transactions found by content. Reclaim
// must not delete one between the moment when a transaction found it and the
// moment when the transaction's commit is applied, or given up.
//
//  1. A transaction holds a body first and looks for it again then, in a new
//     view. Reclaim dooms a body before it builds the group that deletes it, and
//     ends the doom after the group is applied. So a body that was held is still
//     there when it is looked for, or was gone from that new view already.
//  2. A body that is held is not doomed; what would delete it stays queued.
type pins struct {
	mu     sync.Mutex
	held   map[uint64]int
	doomed map[uint64]bool
}

// hold keeps a body from being deleted; false if it is about to be.
func (p *pins) hold(no uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.doomed[no] {
		return false
	}
	if p.held == nil {
		p.held = map[uint64]int{}
	}
	p.held[no]++
	return true
}

// release gives up one hold of each body.
func (p *pins) release(held map[uint64]bool) {
	if len(held) == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for no := range held {
		if p.held[no]--; p.held[no] == 0 {
			delete(p.held, no)
		}
	}
}

// doom announces that a body is deleted; false if it is held.
func (p *pins) doom(no uint64) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[no] > 0 {
		return false
	}
	if p.doomed == nil {
		p.doomed = map[uint64]bool{}
	}
	p.doomed[no] = true
	return true
}

// done ends every doom: what was doomed is gone, or stays after all.
func (p *pins) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.doomed)
}
