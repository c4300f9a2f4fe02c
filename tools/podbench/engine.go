package main

import (
	"context"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// The bars of set engine work on package mvcc, below the podder: what they
// measure is the storage engine alone.

// engineDir returns a directory for the stores of one bar, and what removes it.
func engineDir(env barEnv) (dir string, remove func(), err error) {
	dir, err = os.MkdirTemp(env.scratch, "podbench-*")
	return dir, func() { os.RemoveAll(dir) }, err
}

func openEngine(ctx context.Context, dir string, o mvcc.Options) (*mvcc.Store, error) {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	o.Path = filepath.Join(dir, "engine.pod")
	return mvcc.Open(ctx, o)
}

// engineStore is an open store and the pods that a bar made in it.
type engineStore struct {
	*mvcc.Store
	pods []pod.ID
	turn atomic.Uint64 // so that no two turns write the same
}

// change is a pod with one slot that holds body.
func change(id pod.ID, isNew bool, body []byte) *pod.Change {
	return &pod.Change{
		ID: id, New: isNew, Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}},
		Slots: []pod.SlotWrite{{Slot: 0, Data: pod.Data{Kind: pod.SlotBox, Bytes: body}}},
	}
}

// commit runs one transaction on main.
func (s *engineStore) commit(ctx context.Context, fn func(*mvcc.Tx) error) error {
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	tx, err := s.Begin(ctx, mvcc.MainBranch, head)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := fn(tx); err != nil {
		return err
	}
	_, err = tx.Commit(ctx, mvcc.CommitInfo{})
	return err
}

// grow adds n pods of size random bytes, perCommit in each commit.
func (s *engineStore) grow(ctx context.Context, rng *rand.Rand, n, size, perCommit int) error {
	for done := 0; done < n; done += perCommit {
		err := s.commit(ctx, func(tx *mvcc.Tx) error {
			for range min(perCommit, n-done) {
				id := tx.NewPod()
				if err := tx.Put(ctx, change(id, true, noise(rng, size))); err != nil {
					return err
				}
				s.pods = append(s.pods, id)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rewrite gives the pods chosen by pick new contents, perCommit in each commit.
func (s *engineStore) rewrite(ctx context.Context, rng *rand.Rand, n, size, perCommit int, pick func(i int) pod.ID) error {
	for done := 0; done < n; done += perCommit {
		err := s.commit(ctx, func(tx *mvcc.Tx) error {
			seen := map[pod.ID]bool{}
			for i := range min(perCommit, n-done) {
				id := pick(done + i)
				if seen[id] {
					continue
				}
				seen[id] = true
				if err := tx.Put(ctx, change(id, false, noise(rng, size))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, (n+7)/8*8)
	for i := 0; i < len(b); i += 8 {
		x := rng.Uint64()
		for k := range 8 {
			b[i+k] = byte(x >> (8 * k))
		}
	}
	return b[:n]
}

// countingFS counts the bytes written through it.
type countingFS struct {
	vfs.FS
	written atomic.Int64
}

func (c *countingFS) Open(name string, flag vfs.Flag) (vfs.File, error) {
	f, err := c.FS.Open(name, flag)
	if err != nil {
		return nil, err
	}
	return countingFile{f, c}, nil
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f countingFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.fs.written.Add(int64(n))
	return n, err
}
