package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
)

const (
	pruneVersions = 400
	prunePods     = 4000
	pruneChanges  = 40 // in each version
	pruneSize     = 4 << 10
)

// measurePrune removes half of the versions of a history, lets compaction
// finish, and compares the file with the contents that are left.
func measurePrune(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	store, err := openEngine(ctx, dir, mvcc.Options{})
	if err != nil {
		return broken(bars, err)
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(7, 7))
	if err := s.grow(ctx, rng, prunePods, pruneSize, prunePods); err != nil {
		return broken(bars, err)
	}
	pick := func(int) pod.ID { return s.pods[rng.IntN(len(s.pods))] }
	if err := s.rewrite(ctx, rng, pruneVersions*pruneChanges, pruneSize, pruneChanges, pick); err != nil {
		return broken(bars, err)
	}
	if err := s.Checkpoint(ctx); err != nil {
		return broken(bars, err)
	}
	full := s.Stats().FileBytes
	if _, err := s.Prune(ctx, mvcc.PruneOptions{KeepLast: pruneVersions / 2}); err != nil {
		return broken(bars, err)
	}
	if _, err := s.Compact(ctx, nil); err != nil {
		return broken(bars, err)
	}
	// What is left: every pod once, and a pod version more for each change in
	// the versions kept. All of it is random bytes, so nothing compresses.
	live := int64(prunePods+(pruneVersions/2-1)*pruneChanges) * pruneSize
	if err := s.Store.Close(); err != nil {
		return broken(bars, err)
	}
	info, err := os.Stat(filepath.Join(dir, "engine.pod"))
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = float64(info.Size()) / float64(live)
	bars[0].note = fmt.Sprintf("%.1f MB before, %.1f MB after, %.1f MB of contents kept", float64(full)/1e6, float64(info.Size())/1e6, float64(live)/1e6)
	return bars
}

// Some bars need a process of their own: it writes JSON values on stdout, and
// goes on until its stdin ends.

// helperCommand runs the part of a bar that is another process.
func helperCommand(ctx context.Context, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("a helper needs a kind and a directory")
	}
	switch kind, dir := args[0], args[1]; kind {
	case "memory":
		return memoryHelper(ctx, dir)
	case "writer":
		return writerHelper(ctx, dir)
	case "rate":
		return rateHelper(dir)
	case "kv":
		return kvHelper(ctx, dir)
	case "state":
		return stateHelper(ctx)
	case "deep-deep", "deep-shallow":
		return deepHelper(dir, kind == "deep-deep")
	}
	return fmt.Errorf("no helper %q", args[0])
}

// helper is a running helper process.
type helper struct {
	cmd *exec.Cmd
	in  io.Closer
	out *json.Decoder
}

func startHelper(ctx context.Context, kind, dir string) (*helper, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "helper", kind, dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &helper{cmd, in, json.NewDecoder(bufio.NewReader(out))}, cmd.Start()
}

// stop tells the helper to end and waits for it.
func (h *helper) stop() error {
	h.in.Close()
	return h.cmd.Wait()
}

const (
	budgetBytes   = 256 << 20
	budgetPods    = 262_144 // of 8 KiB: 2 GiB
	budgetRewrite = 40_000
	budgetReads   = 300_000
)

// measureMemory writes and reads 2 GiB in small pieces under a budget of 256 MB
// in a process of its own, and takes that process's largest resident size.
func measureMemory(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	h, err := startHelper(ctx, "memory", dir)
	if err != nil {
		return broken(bars, err)
	}
	var peak int64
	err = h.out.Decode(&peak)
	if stopped := h.stop(); err == nil {
		err = stopped
	}
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = float64(peak) / 1e6
	return bars
}

func memoryHelper(ctx context.Context, dir string) error {
	store, err := openEngine(ctx, dir, mvcc.Options{MemoryBytes: budgetBytes})
	if err != nil {
		return err
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(8, 8))
	if err := s.grow(ctx, rng, budgetPods, 8<<10, 32); err != nil {
		return err
	}
	pick := func(int) pod.ID { return s.pods[rng.IntN(len(s.pods))] }
	if err := s.rewrite(ctx, rng, budgetRewrite, 8<<10, 16, pick); err != nil {
		return err
	}
	head, err := s.Head(ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	sn, err := s.At(ctx, head)
	if err != nil {
		return err
	}
	for range budgetReads {
		if _, err := sn.Pods(ctx, []pod.ID{pick(0)}); err != nil {
			return err
		}
	}
	sn.Close()
	peak, err := peakRSS()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(peak)
}

const (
	exportPods    = 131_072 // of 8 KiB: 1 GiB
	exportChanges = 32      // in each commit
	exportFirst   = 64      // pods of each of the first commits
)

// exportBody is what a pod holds since the commit with this number.
func exportBody(index int, commit uint64) []byte {
	b := noise(rand.New(rand.NewPCG(uint64(index), commit)), 8<<10)
	binary.LittleEndian.PutUint64(b, uint64(index))
	binary.LittleEndian.PutUint64(b[8:], commit)
	return b
}

// exportChosen are the pods that a commit writes, in the order of the commits.
func exportChosen(commit uint64) []int {
	const first = exportPods / exportFirst
	if commit <= first {
		all := make([]int, exportFirst)
		for i := range all {
			all[i] = int(commit-1)*exportFirst + i
		}
		return all
	}
	rng := rand.New(rand.NewPCG(9, commit))
	chosen := map[int]bool{}
	var list []int
	for len(list) < exportChanges {
		if i := rng.IntN(exportPods); !chosen[i] {
			chosen[i] = true
			list = append(list, i)
		}
	}
	return list
}

// writerHelper fills a database, says so, and goes on changing it, with a
// checkpoint every second, until stdin ends. Then it says how many.
func writerHelper(ctx context.Context, dir string) error {
	store, err := openEngine(ctx, dir, mvcc.Options{})
	if err != nil {
		return err
	}
	s := &engineStore{Store: store, pods: make([]pod.ID, exportPods)}
	defer s.Close()
	var commits uint64
	write := func() error {
		commits++
		return s.commit(ctx, func(tx *mvcc.Tx) error {
			for _, i := range exportChosen(commits) {
				isNew := s.pods[i] == 0
				if isNew {
					s.pods[i] = tx.NewPod()
				}
				if err := tx.Put(ctx, change(s.pods[i], isNew, exportBody(i, commits))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for commits < exportPods/exportFirst {
		if err := write(); err != nil {
			return err
		}
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(s.pods); err != nil {
		return err
	}
	stop := make(chan struct{})
	go func() {
		io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	before := s.Stats().Checkpoints
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return out.Encode(s.Stats().Checkpoints - before)
		case <-tick.C:
			if err := s.Checkpoint(ctx); err != nil {
				return err
			}
		default:
			if err := write(); err != nil {
				return err
			}
		}
	}
}

// measureExport reads 1 GiB beside a process that writes and checkpoints every
// second, and counts what is not as it was at the version shown.
func measureExport(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	h, err := startHelper(ctx, "writer", dir)
	if err != nil {
		return broken(bars, err)
	}
	var ids []pod.ID
	err = h.out.Decode(&ids)
	var wrong, version uint64
	start := time.Now()
	if err == nil {
		time.Sleep(3 * time.Second)
		start = time.Now()
		wrong, version, err = exportAll(ctx, dir, ids)
	}
	took := time.Since(start)
	h.in.Close()
	var checkpoints uint64
	if decoded := h.out.Decode(&checkpoints); err == nil {
		err = decoded
	}
	if stopped := h.stop(); err == nil && stopped != nil && !strings.Contains(stopped.Error(), "file already closed") {
		err = stopped
	}
	if err == nil && checkpoints < 3 {
		err = fmt.Errorf("the writer made only %d checkpoints", checkpoints)
	}
	if err != nil {
		return broken(bars, err)
	}
	bars[0].value = float64(wrong)
	bars[0].note = fmt.Sprintf("%d pods of version %d in %.1f s while the writer made %d checkpoints", len(ids), version, took.Seconds(), checkpoints)
	return bars
}

func exportAll(ctx context.Context, dir string, ids []pod.ID) (wrong, version uint64, err error) {
	s, err := openEngine(ctx, dir, mvcc.Options{Inspect: true})
	if err != nil {
		return 0, 0, err
	}
	defer s.Close()
	if version, err = s.Head(ctx, mvcc.MainBranch); err != nil {
		return 0, 0, err
	}
	last := make([]uint64, len(ids))
	for commit := uint64(1); commit <= version; commit++ {
		for _, i := range exportChosen(commit) {
			last[i] = commit
		}
	}
	sn, err := s.At(ctx, version)
	if err != nil {
		return 0, 0, err
	}
	defer sn.Close()
	for i := range ids {
		pods, err := sn.Pods(ctx, ids[i:i+1])
		if err != nil {
			return wrong, version, err
		}
		if string(pods[0].Slots[0].Bytes) != string(exportBody(i, last[i])) {
			wrong++
		}
	}
	return wrong, version, nil
}
