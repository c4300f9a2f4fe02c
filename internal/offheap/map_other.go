//go:build !linux

package offheap

func mapMemory(int) ([]byte, bool) { return nil, false }

func unmapMemory([]byte) {}
