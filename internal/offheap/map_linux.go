package offheap

import "golang.org/x/sys/unix"

func mapMemory(n int) ([]byte, bool) {
	m, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, false
	}
	// A refusal costs time only.
	_ = unix.Madvise(m, unix.MADV_HUGEPAGE)
	return m, true
}

// lendMemory says that the system may take pages of m away when it is short of
// them; they hold zeros then.
func lendMemory(m []byte) bool { return unix.Madvise(m, unix.MADV_FREE) == nil }

func unmapMemory(m []byte) {
	if err := unix.Munmap(m); err != nil {
		panic("offheap: unmap: " + err.Error())
	}
}
