package wal

import "runtime"

// Committers that were answered together come back together, a little later.
// If the next sync began with the first of them all others would miss it, and
// each commit would wait for two syncs, half of the processors' time for
// nothing: the thread in a sync keeps its processor for a good part of it. So
// the log's goroutine waits for those who come back. It needs no timer for that:
//
//  1. Who answers a committer that will run says so (Await), and the committer
//     says when it does (Back). Between the two lies only the scheduler.
//  2. While somebody is awaited the log's goroutine sleeps, and leaves its
//     processor to them. The last one to say Back wakes it, and no Submit before
//     that: it could only go to sleep again.
//  3. Who has said Back has the processor until it waits for its next commit, or
//     for another committer to hand that over, or does something else. A few
//     yields let the last ones get there.
//
// So nobody is waited for who may not come, and a committer that is alone is
// not kept waiting.
const gatherRounds = 4

// Await says that one more goroutine was answered, or is about to be, and will
// call Back when it runs. It may be called by done.
func (l *Log) Await() { l.awaited.Add(1) }

// Back takes one Await back.
func (l *Log) Back() {
	if l.awaited.Add(-1) == 0 {
		l.regroup()
	}
}

// regroup has gather look again whether somebody is awaited.
func (l *Log) regroup() {
	select {
	case l.back <- struct{}{}:
	default:
	}
}

// gather lets those who were just answered queue up for the next sync.
func (l *Log) gather() {
	if l.o.Sync != Full {
		return
	}
	for l.awaited.Load() > 0 && !l.stopping() {
		<-l.back
	}
	for range gatherRounds {
		runtime.Gosched()
	}
}

// stopping reports whether nobody may be waited for.
func (l *Log) stopping() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing || l.poison != nil
}
