package vfs

import (
	"fmt"
	"io/fs"
	"path"
	"sort"
	"strings"
	"sync"
	"syscall"
)

// MemFS is a file system in memory that knows what a power cut may take away.
// Besides being an FS it counts operations, can stop at one (CrashAt), fail or
// fake a sync, and build the images that a crash now could leave (Crash).
//
// Paths are separated by '/'; "", "." and "/" name the root, which exists.
// pending.go states what is durable when, crash.go which images are legal.
type MemFS struct {
	mu       sync.RWMutex
	root     *inode
	dirOps   []*dirOp
	ops      int
	crashAt  int
	failSync countdown
	dropSync countdown
	lost     bool
	capacity int64 // bytes, 0 = no limit
	used     int64
}

// countdown marks the n-th event from now; negative: every one; 0: none.
type countdown int

func (c *countdown) hit() bool {
	if *c > 0 {
		*c--
		return *c == 0
	}
	return *c < 0
}

// NewMem returns an empty MemFS.
func NewMem() *MemFS { return &MemFS{root: newDir()} }

// Ops returns how many operations that change something or make it durable have
// been asked for: write, truncate, preallocate, create (of files and
// directories), rename, remove, sync, sync of a directory.
func (m *MemFS) Ops() int {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.ops
}

// CrashAt makes operation number n (the first is 1), and everything after it
// including reads, fail with ErrCrashed and change nothing. 0 means never.
// Handles can still be closed.
func (m *MemFS) CrashAt(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.crashAt = n
}

// Crashed reports whether the operation given to CrashAt has been reached.
func (m *MemFS) Crashed() bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.crashed()
}

// FailSync makes the n-th sync from now (of a file or a directory) fail with
// EIO; negative: every sync; 0: none. What it should have made durable stays
// visible and does not become durable by any later sync, only by being written
// (created, renamed) again and synced.
func (m *MemFS) FailSync(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failSync = countdown(n)
}

// DropSync makes the n-th sync from now return nil and do nothing; negative:
// every sync; 0: none. It plants the bug of a forgotten sync.
func (m *MemFS) DropSync(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dropSync = countdown(n)
}

// Lost reports, on an image made by Crash, whether unsynced data were really
// lost in it: whether anything reads differently than at the crash.
func (m *MemFS) Lost() bool { return m.lost }

func (m *MemFS) crashed() bool { return m.crashAt > 0 && m.ops >= m.crashAt }

// begin counts a mutating operation.
func (m *MemFS) begin(op, name string) error {
	m.ops++
	return m.alive(op, name)
}

func (m *MemFS) alive(op, name string) error {
	if m.crashed() {
		return &fs.PathError{Op: op, Path: name, Err: ErrCrashed}
	}
	return nil
}

// locate walks to the directory of name. base is "" for the root itself.
func (m *MemFS) locate(name string) (dir *inode, base string, err error) {
	parts := strings.Split(path.Clean("/" + name)[1:], "/")
	dir = m.root
	for _, part := range parts[:len(parts)-1] {
		next := dir.entries[part]
		switch {
		case next == nil:
			return nil, "", fs.ErrNotExist
		case !next.dir:
			return nil, "", syscall.ENOTDIR
		}
		dir = next
	}
	return dir, parts[len(parts)-1], nil
}

// lookup returns the inode of name, nil if there is none.
func (m *MemFS) lookup(op, name string) (dir *inode, base string, node *inode, err error) {
	if err := m.alive(op, name); err != nil {
		return nil, "", nil, err
	}
	dir, base, err = m.locate(name)
	if err != nil {
		return nil, "", nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	if base == "" {
		return dir, "", m.root, nil
	}
	return dir, base, dir.entries[base], nil
}

// Open implements FS.
func (m *MemFS) Open(name string, flag Flag) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, node, err := m.lookup("open", name)
	fail := func(err error) (File, error) { return nil, &fs.PathError{Op: "open", Path: name, Err: err} }
	switch {
	case err != nil:
		return nil, err
	case node != nil && flag&(Create|Exclusive) == Create|Exclusive:
		return fail(fs.ErrExist)
	case node != nil && node.dir:
		return fail(syscall.EISDIR)
	case node == nil && flag&Create == 0:
		return fail(fs.ErrNotExist)
	case node == nil:
		if err := m.begin("create", name); err != nil {
			return nil, err
		}
		node = newFile()
		m.change(&dirOp{seq: m.ops, places: []entry{{dir, base}}, nodes: []*inode{node}})
	}
	node.handles++
	return &memFile{fs: m, node: node, name: name, writable: flag&ReadWrite != 0}, nil
}

// Remove implements FS.
func (m *MemFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, node, err := m.lookup("remove", name)
	fail := func(err error) error { return &fs.PathError{Op: "remove", Path: name, Err: err} }
	switch {
	case err != nil:
		return err
	case node == nil:
		return fail(fs.ErrNotExist)
	case base == "":
		return fail(syscall.EINVAL)
	case node.dir && len(node.entries) > 0:
		return fail(syscall.ENOTEMPTY)
	}
	if err := m.begin("remove", name); err != nil {
		return err
	}
	m.change(&dirOp{seq: m.ops, places: []entry{{dir, base}}, nodes: []*inode{nil}})
	return nil
}

// Rename implements FS. Moving to another directory is atomic too; syncing
// either directory makes it durable.
func (m *MemFS) Rename(oldname, newname string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	oldDir, oldBase, node, err := m.lookup("rename", oldname)
	if err != nil {
		return err
	}
	newDir, newBase, target, err := m.lookup("rename", newname)
	if err != nil {
		return err
	}
	fail := func(err error) error { return &fs.PathError{Op: "rename", Path: oldname + " to " + newname, Err: err} }
	switch {
	case node == nil:
		return fail(fs.ErrNotExist)
	case oldBase == "" || newBase == "" || within(newname, oldname):
		return fail(syscall.EINVAL)
	case target == nil:
	case target.dir && !node.dir:
		return fail(syscall.EISDIR)
	case !target.dir && node.dir:
		return fail(syscall.ENOTDIR)
	case target != node && len(target.entries) > 0:
		return fail(syscall.ENOTEMPTY)
	}
	if err := m.begin("rename", oldname); err != nil {
		return err
	}
	if node == target {
		return nil
	}
	m.change(&dirOp{seq: m.ops, places: []entry{{oldDir, oldBase}, {newDir, newBase}}, nodes: []*inode{nil, node}})
	return nil
}

// within reports whether name lies below dir.
func within(name, dir string) bool {
	return strings.HasPrefix(path.Clean("/"+name), path.Clean("/"+dir)+"/")
}

// MkdirAll implements FS. Each directory made counts as one operation.
func (m *MemFS) MkdirAll(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.alive("mkdir", name); err != nil {
		return err
	}
	dir := m.root
	for _, part := range strings.Split(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		next := dir.entries[part]
		if next == nil {
			if err := m.begin("mkdir", name); err != nil {
				return err
			}
			next = newDir()
			m.change(&dirOp{seq: m.ops, places: []entry{{dir, part}}, nodes: []*inode{next}})
		}
		if !next.dir {
			return &fs.PathError{Op: "mkdir", Path: name, Err: syscall.ENOTDIR}
		}
		dir = next
	}
	return nil
}

// directory returns the inode of an existing directory.
func (m *MemFS) directory(op, name string) (*inode, error) {
	_, _, node, err := m.lookup(op, name)
	switch {
	case err != nil:
		return nil, err
	case node == nil:
		return nil, &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	case !node.dir:
		return nil, &fs.PathError{Op: op, Path: name, Err: syscall.ENOTDIR}
	}
	return node, nil
}

// List implements FS.
func (m *MemFS) List(name string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	dir, err := m.directory("list", name)
	if err != nil {
		return nil, err
	}
	return sortedNames(dir.entries), nil
}

func sortedNames(entries map[string]*inode) []string {
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

// Stat implements FS.
func (m *MemFS) Stat(name string) (Info, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, _, node, err := m.lookup("stat", name)
	switch {
	case err != nil:
		return Info{}, err
	case node == nil:
		return Info{}, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	case node.dir:
		return Info{IsDir: true}, nil
	}
	return Info{Size: node.cur.size}, nil
}

// SyncDir implements FS.
func (m *MemFS) SyncDir(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, err := m.directory("sync", name)
	if err != nil {
		return err
	}
	return m.sync(name, func() { m.syncEntries(dir) }, func() { m.failEntries(dir) })
}

// sync is one sync of a file or directory with its planted faults.
func (m *MemFS) sync(name string, done, failed func()) error {
	if err := m.begin("sync", name); err != nil {
		return err
	}
	fail, drop := m.failSync.hit(), m.dropSync.hit()
	switch {
	case fail:
		failed()
		return &fs.PathError{Op: "sync", Path: name, Err: syscall.EIO}
	case !drop:
		done()
	}
	return nil
}

// failDir lets a FaultFS above have its failed sync of a directory mean what
// a failed sync means here.
func (m *MemFS) failDir(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if dir, err := m.directory("sync", name); err == nil {
		m.failEntries(dir)
	}
}

// String names the file system in test output.
func (m *MemFS) String() string { return fmt.Sprintf("MemFS(%d ops)", m.Ops()) }
