package vfs

import (
	"os"
	"sync"
)

// processLocks is state of the process, as the kernel's lock table is state of
// the machine, hence the package variable. It is needed because some file
// systems (NFS) give a lock to the process and not to the handle: there a second
// open in the same process would be let in.
var processLocks lockTable

// lockTable knows the locked files of one process by device and inode, so that
// it sees through symbolic and hard links. Few files are locked at a time.
type lockTable struct {
	mu   sync.Mutex
	held map[*osFile]os.FileInfo
}

// take enters f, or reports false if the same file is held by another handle.
func (t *lockTable) take(f *osFile, info os.FileInfo) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, other := range t.held {
		if os.SameFile(info, other) {
			return false
		}
	}
	if t.held == nil {
		t.held = make(map[*osFile]os.FileInfo)
	}
	t.held[f] = info
	return true
}

func (t *lockTable) drop(f *osFile) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.held, f)
}
