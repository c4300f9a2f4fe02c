package vfs

import "runtime"

// Yield lets others have the processor: goroutines, and threads of the system.
// Linux ends a sync with work in threads of its own, one for each processor. A
// goroutine that computes for milliseconds keeps such a thread from its
// processor, and with it everybody who waits for that sync, though no other
// goroutine is ready to run. So who works beside commits calls this every few
// dozen microseconds.
func Yield() {
	runtime.Gosched()
	yieldThread()
}
