package pager

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// The lock file <path>.lock begins with text, one "name=value" a line: pid and
// since (RFC 3339), information for the second opener. The lock does not rest
// on it, and it may be stale. Behind it are the reader slots (slot.go). A file
// of that name with other contents is somebody else's: then there is none.

func lockName(path string) string { return path + ".lock" }

func lockText(o Options) []byte {
	b := make([]byte, lockTextBytes)
	copy(b, fmt.Sprintf("pid=%d\nsince=%s\n", os.Getpid(), o.now().UTC().Format(time.RFC3339)))
	return b
}

// isLockFile reports whether the file may be written over: it is new, or it
// reads as one of ours, or it is what a crash makes of one. Nothing in it is ever
// synced: that is zeros, or anything at all in a file as long as ours (its first
// write may have made it one sector long).
func isLockFile(file vfs.File) bool {
	for range 2 { // once may be the middle of a write
		if readsAsLockFile(file) {
			return true
		}
	}
	return false
}

func readsAsLockFile(file vfs.File) bool {
	b := make([]byte, lockFileBytes+1)
	n, err := file.ReadAt(b, 0)
	if err != io.EOF || n == len(b) { // longer than ours, or not readable
		return false
	}
	if b = b[:n]; allZero(b) || n == lockFileBytes || n == slotsAt {
		return true
	}
	if n > boardAt {
		if n < slotsAt {
			return false
		}
		if _, ok := decodeBoard(b[boardAt:slotsAt]); !ok && !allZero(b[boardAt:slotsAt]) {
			return false
		}
	}
	text := b[:min(n, lockTextBytes)]
	rest, ours := strings.CutPrefix(string(text), "pid=")
	return allZero(text) || ours && strings.Contains(rest, "\nsince=")
}

// lockedBy is the error of the second opener.
func lockedBy(o Options) error {
	locked := &dberr.LockedError{File: o.Path}
	file, err := o.FS.Open(lockName(o.Path), 0)
	if err != nil {
		return locked
	}
	defer file.Close()
	b := make([]byte, lockTextBytes)
	n, _ := file.ReadAt(b, 0)
	for line := range strings.Lines(string(b[:n])) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "pid":
			if pid, err := strconv.Atoi(value); err == nil && pid > 0 {
				locked.PID = pid
			}
		case "since":
			if t, err := time.Parse(time.RFC3339, value); err == nil {
				locked.Since = t
			}
		}
	}
	return locked
}
