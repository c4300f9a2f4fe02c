package vfs

import "syscall"

// Space of a MemFS. A file takes whole blocks of chunkSize bytes: those that
// were written or preallocated and not cut off since, as on a real disk; a hole
// takes none. A file without a name takes space until its last handle is closed.
// Directories and names take none.

// space is what one file takes. MemFS.mu guards it.
type space struct {
	blocks  []bool // taken, by index
	taken   int64  // of them, in bytes
	names   int    // directory entries as visible
	handles int
}

// SetCapacity makes this a disk of so many bytes, those in use included; 0 or
// less means no limit. A write that does not fit writes the part that does and
// fails with ErrDiskFull; a preallocation that does not fit does nothing. What
// is cut off or removed gives its space back. Images made by Crash and Restart
// have no limit.
func (m *MemFS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = max(0, bytes)
}

// Used returns how many bytes of space all files take.
func (m *MemFS) Used() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.used
}

// claim takes space for [off, end) and returns how much of it is there: end, or
// the start of the first block without space.
func (m *MemFS) claim(node *inode, off, end int64) int64 {
	for at := off; at < end; at = (at/chunkSize + 1) * chunkSize {
		i := int(at / chunkSize)
		if i < len(node.blocks) && node.blocks[i] {
			continue
		}
		if m.capacity > 0 && m.used+chunkSize > m.capacity {
			return at
		}
		for len(node.blocks) <= i {
			node.blocks = append(node.blocks, false)
		}
		node.blocks[i] = true
		node.taken += chunkSize
		m.used += chunkSize
	}
	return end
}

// claimAll is claim, but takes nothing if not all of it is there.
func (m *MemFS) claimAll(node *inode, off, end int64) bool {
	missing := int64(0)
	for at := off; at < end; at = (at/chunkSize + 1) * chunkSize {
		if i := int(at / chunkSize); i >= len(node.blocks) || !node.blocks[i] {
			missing += chunkSize
		}
	}
	if m.capacity > 0 && missing > 0 && m.used+missing > m.capacity {
		return false
	}
	m.claim(node, off, end)
	return true
}

// release gives back the blocks at and behind size.
func (m *MemFS) release(node *inode, size int64) {
	keep := int((size + chunkSize - 1) / chunkSize)
	for i := keep; i < len(node.blocks); i++ {
		if node.blocks[i] {
			node.taken -= chunkSize
			m.used -= chunkSize
		}
	}
	node.blocks = node.blocks[:min(keep, len(node.blocks))]
}

// forget gives back all space of a file that neither a name nor a handle leads to.
func (m *MemFS) forget(node *inode) {
	if node.names == 0 && node.handles == 0 {
		m.release(node, 0)
	}
}

// measure finds out what the files of a new image take: all below their sizes.
func (m *MemFS) measure(dir *inode) {
	for _, node := range dir.entries {
		if node.dir {
			m.measure(node)
			continue
		}
		node.names++
		m.claim(node, 0, node.cur.size)
	}
}

// full is the error of a file that got no space.
func (f *memFile) full(op string) error { return diskFull(op, f.name, syscall.ENOSPC) }
