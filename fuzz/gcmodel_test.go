package fuzz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// TestGCModel commits in several goroutines, opens and closes snapshots, prunes,
// checkpoints and compacts, all at once. A snapshot shows to its end what its
// version was, whatever was pruned beside it: nothing is freed too early. At the
// end, when only the newest version is kept, what is stored is what that version
// needs, number by number and byte by byte: nothing is left behind. Run it with
// -race as well.
func TestGCModel(t *testing.T) {
	t.Parallel()
	lives := 6
	if *flagRounds > 0 {
		lives = *flagRounds
	}
	reads, pruned := int64(0), int64(0)
	for life := range lives {
		g := newGCLife(uint64(life))
		if err := g.run(); err != nil {
			t.Fatalf("life %d: %v\n%s", life, err, replay(t, "-rounds %d", lives))
		}
		reads += g.reads.Load()
		pruned += g.pruned.Load()
	}
	if reads < 100 || pruned < 100 {
		t.Fatalf("%d reads of snapshots and %d pruned versions prove little", reads, pruned)
	}
	t.Logf("CAMPAIGN name=gcmodel seed=%d lives=%d reads=%d pruned=%d early=0 left=0", *flagSeed, lives, reads, pruned)
}

const (
	gcPods    = 24
	gcWriters = 3
	gcCommits = 120 // of each writer in a life
)

// gcLife is a store whose every version is known: a version is what its commit
// wrote over the version before.
type gcLife struct {
	ctx   context.Context
	rng   *rand.Rand
	mem   *vfs.MemFS
	s     *mvcc.Store
	pods  []pod.ID
	reads atomic.Int64

	pruned atomic.Int64

	mu     sync.Mutex
	states map[mvcc.Version]map[pod.ID][]byte
}

func newGCLife(life uint64) *gcLife {
	return &gcLife{
		ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, 0x6c<<32|life)), mem: vfs.NewMem(),
		states: map[mvcc.Version]map[pod.ID][]byte{},
	}
}

func (g *gcLife) open() (err error) {
	var key [32]byte
	for i := range key {
		key[i] = byte(g.rng.Uint32())
	}
	g.s, err = mvcc.Open(g.ctx, mvcc.Options{
		FS: g.mem, Path: "g.pod", PageSize: 4096, Rand: rand.NewChaCha8(key),
		CheckpointBytes: []int64{4 << 10, 64 << 10, -1}[g.rng.IntN(3)], MemoryBytes: []int64{-1, 8 << 20}[g.rng.IntN(2)],
	})
	return err
}

func (g *gcLife) run() error {
	if err := g.open(); err != nil {
		return err
	}
	if err := g.setUp(); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	if err := g.work(); err != nil {
		return errors.Join(err, g.s.Close())
	}
	if err := g.nothingLeft(); err != nil {
		return errors.Join(err, g.s.Close())
	}
	return g.s.Close()
}

// gcBody is what a pod holds: some bodies are equal, and then shared.
func gcBody(rng *rand.Rand) []byte {
	if rng.IntN(4) == 0 {
		return bytes.Repeat([]byte{byte(rng.IntN(3))}, 1500) // long enough to be shared
	}
	b := make([]byte, 1+rng.IntN(900))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func (g *gcLife) commit(base mvcc.Version, write map[pod.ID][]byte, isNew bool) error {
	tx, err := g.s.Begin(g.ctx, mvcc.MainBranch, base)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	g.mu.Lock()
	was := g.states[base]
	g.mu.Unlock()
	for id, body := range write {
		if bytes.Equal(was[id], body) { // no change: it neither writes nor collides
			delete(write, id)
			continue
		}
		c := &pod.Change{
			ID: id, New: isNew, Exports: []pod.Export{{Slot: 0, Edges: pod.EdgeSet{All: true}}},
			Slots: []pod.SlotWrite{{Slot: 0, Data: pod.Data{Kind: pod.SlotBox, Bytes: body}}},
		}
		if err := tx.Put(g.ctx, c); err != nil {
			return err
		}
	}
	// The version is noted before anybody can prune it or begin on it: what it
	// says is only known when it returns, so the lock is held as long.
	g.mu.Lock()
	defer g.mu.Unlock()
	v, err := tx.Commit(g.ctx, mvcc.CommitInfo{})
	if err != nil || v == base {
		return err
	}
	state := maps.Clone(g.states[v-1])
	if state == nil {
		if v > 1 {
			return fmt.Errorf("version %d follows one that nobody committed", v)
		}
		state = map[pod.ID][]byte{}
	}
	maps.Copy(state, write)
	g.states[v] = state
	return nil
}

func (g *gcLife) setUp() error {
	tx, err := g.s.Begin(g.ctx, mvcc.MainBranch, 0)
	if err != nil {
		return err
	}
	first := map[pod.ID][]byte{}
	for range gcPods {
		id := tx.NewPod()
		g.pods = append(g.pods, id)
		first[id] = gcBody(g.rng)
	}
	tx.Rollback()
	return g.commit(0, first, true)
}

// work runs everything at once until the writers have ended.
func (g *gcLife) work() error {
	var writers, others sync.WaitGroup
	over := make(chan struct{})
	errs := make(chan error, 100)
	for range gcWriters {
		rng := rand.New(rand.NewPCG(g.rng.Uint64(), 0))
		writers.Go(func() {
			for range gcCommits {
				if err := g.write(rng); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	for _, work := range []func(*rand.Rand) error{g.watch, g.watch, g.prune, g.tidy} {
		rng := rand.New(rand.NewPCG(g.rng.Uint64(), 1))
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if err := work(rng); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	writers.Wait()
	close(over)
	others.Wait()
	close(errs)
	return <-errs
}

func (g *gcLife) write(rng *rand.Rand) error {
	for {
		head, err := g.s.Head(g.ctx, mvcc.MainBranch)
		if err != nil {
			return err
		}
		write := map[pod.ID][]byte{}
		for range 1 + rng.IntN(4) {
			write[g.pods[rng.IntN(gcPods)]] = gcBody(rng)
		}
		err = g.commit(head, write, false)
		if errors.Is(err, dberr.ErrConflict) || errors.Is(err, dberr.ErrVersionGone) {
			continue
		}
		return err
	}
}

// watch opens a version, reads it again and again while others go on, and closes it.
func (g *gcLife) watch(rng *rand.Rand) error {
	head, err := g.s.Head(g.ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	sn, err := g.s.At(g.ctx, head-mvcc.Version(rng.Uint64N(min(uint64(head), 8))))
	if errors.Is(err, dberr.ErrVersionGone) {
		return nil
	} else if err != nil {
		return err
	}
	defer sn.Close()
	for range 1 + rng.IntN(20) {
		if err := g.compare(sn, g.pods[rng.IntN(gcPods):]); err != nil {
			return err
		}
	}
	return g.compare(sn, g.pods)
}

func (g *gcLife) compare(sn *mvcc.Snapshot, ids []pod.ID) error {
	g.mu.Lock()
	want := g.states[sn.Version()]
	g.mu.Unlock()
	if want == nil {
		return fmt.Errorf("version %d is there, and nobody committed it", sn.Version())
	}
	pods, err := sn.Pods(g.ctx, ids)
	if err != nil {
		return fmt.Errorf("version %d: %w", sn.Version(), err)
	}
	for i, p := range pods {
		if p == nil || len(p.Slots) != 1 || !bytes.Equal(p.Slots[0].Bytes, want[ids[i]]) {
			return fmt.Errorf("version %d shows another body of pod %d%s", sn.Version(), ids[i], g.whose(ids[i], p))
		}
	}
	g.reads.Add(1)
	return nil
}

// whose says which versions have the body that was shown.
func (g *gcLife) whose(id pod.ID, p *pod.Pod) string {
	if p == nil || len(p.Slots) != 1 {
		return ": none"
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var first, last mvcc.Version
	for v, state := range g.states {
		if bytes.Equal(state[id], p.Slots[0].Bytes) {
			if first == 0 || v < first {
				first = v
			}
			last = max(last, v)
		}
	}
	return fmt.Sprintf(", which versions from %d to %d have", first, last)
}

func (g *gcLife) prune(rng *rand.Rand) error {
	rep, err := g.s.Prune(g.ctx, mvcc.PruneOptions{KeepLast: 1 + rng.IntN(6)})
	g.pruned.Add(int64(rep.Versions))
	return err
}

func (g *gcLife) tidy(rng *rand.Rand) error {
	if rng.IntN(3) > 0 {
		return g.s.Checkpoint(g.ctx)
	}
	_, err := g.s.Compact(g.ctx, nil)
	return err
}

// nothingLeft prunes all but the newest version and compares what is stored with
// what that needs.
func (g *gcLife) nothingLeft() error {
	if g.rng.IntN(2) == 0 { // also what an earlier process queued
		if err := g.s.Close(); err != nil {
			return err
		}
		if err := g.open(); err != nil {
			return err
		}
	}
	rep, err := g.s.Prune(g.ctx, mvcc.PruneOptions{KeepLast: 1})
	if err != nil {
		return err
	}
	if rep.Pending > 0 {
		return fmt.Errorf("%d pod versions are still needed, and no transaction runs", rep.Pending)
	}
	if _, err := g.s.Compact(g.ctx, nil); err != nil {
		return err
	}
	head, err := g.s.Head(g.ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	sn, err := g.s.At(g.ctx, head)
	if err != nil {
		return err
	}
	defer sn.Close()
	if err := g.compare(sn, g.pods); err != nil {
		return err
	}
	return g.exact(head)
}

// exact compares figures of the store, and of its index, with the model.
func (g *gcLife) exact(head mvcc.Version) error {
	st := g.s.Stats()
	if st.PodVersions != gcPods || st.HistoryBytes != 0 {
		return fmt.Errorf("%d pod versions and %d bytes of history are counted, for %d pods at one version", st.PodVersions, st.HistoryBytes, gcPods)
	}
	var needed, distinct int64
	bodies := map[string]bool{}
	for _, b := range g.states[head] {
		needed += int64(len(b))
		if !bodies[string(b)] {
			bodies[string(b)] = true
			distinct += int64(len(b))
		}
	}
	if st.LiveBytes > uint64(needed)+gcPods*80 {
		return fmt.Errorf("%d live bytes are counted, for %d", st.LiveBytes, needed)
	}
	// The file holds every distinct body once, beside rows, pages begun and metas.
	if used := st.FileBytes - st.Space.Free; used > distinct+100*gcPods+12*4096 {
		return fmt.Errorf("%d bytes of the file are in use after Compact, for %d of contents: %+v", used, distinct, st.Space)
	}
	vr, err := g.s.Verify(g.ctx, mvcc.VerifyOptions{Deep: true})
	if err == nil && len(vr.Problems) > 0 {
		err = fmt.Errorf("verify: %s", vr.Problems[0])
	}
	if err == nil && vr.PodVersions != gcPods {
		err = fmt.Errorf("%d pod versions are in the index, for %d pods at one version", vr.PodVersions, gcPods)
	}
	return err
}
