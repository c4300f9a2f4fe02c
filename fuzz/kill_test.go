//go:build unix

package fuzz

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// The kill campaign, on real files.
//
// The test binary starts itself again. The child opens the database and commits
// in several goroutines, with small log segments and checkpoints in the
// background; each goroutine writes counter n into a variable of its own and
// reports "acked goroutine n" over a pipe when Commit returned. After a random
// time it is killed. The parent opens the same file, checks that each counter is
// from the last acknowledged to the last begun, that every older version shows
// numbers that grow, and that Verify finds nothing; then the next round.

const (
	envKillPath  = "PODDB_FUZZ_KILL"
	envKillSeed  = "PODDB_FUZZ_KILL_SEED"
	killWriters  = 4
	killDefault  = 10
	killLongest  = 200 * time.Millisecond
	killKeepLast = 200 // versions that the parent reads again each round
	killSameFile = 20  // rounds on one file: Verify reads all of it in each
)

// TestKilledChild is the child; by itself it has nothing to do.
func TestKilledChild(t *testing.T) {
	p := os.Getenv(envKillPath)
	if p == "" {
		return
	}
	seed, _ := strconv.ParseUint(os.Getenv(envKillSeed), 10, 64)
	if err := killedChild(context.Background(), p, rand.New(rand.NewPCG(seed, 21))); err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
}

func killOptions(p string, rng *rand.Rand) mvcc.Options {
	return mvcc.Options{
		FS: vfs.OS(), Path: p, PageSize: 4096, SegmentBytes: 64 << 10, MemoryBytes: 8 << 20,
		CheckpointBytes: []int64{20 << 10, 60 << 10, 300 << 10}[rng.IntN(3)],
		IdlePromise:     []time.Duration{-1, 2 * time.Millisecond}[rng.IntN(2)],
	}
}

// killedChild works until it is killed.
func killedChild(ctx context.Context, p string, rng *rand.Rand) error {
	s, err := mvcc.Open(ctx, killOptions(p, rng))
	if err != nil {
		return err
	}
	var out sync.Mutex
	var failed atomic.Pointer[error]
	var writers sync.WaitGroup
	for g := range killWriters {
		mine := rand.New(rand.NewPCG(rng.Uint64(), uint64(g)))
		writers.Go(func() {
			err := killWriter(ctx, s, g, mine, func(format string, args ...any) {
				out.Lock()
				defer out.Unlock()
				fmt.Printf(format+"\n", args...) // one write, unbuffered: the pipe has it when the child dies
			})
			failed.CompareAndSwap(nil, &err)
		})
	}
	writers.Wait()
	return *failed.Load()
}

func killName(g int) string { return fmt.Sprint("writer ", g) }

// killWriter counts up in its variable for ever.
func killWriter(ctx context.Context, s *mvcc.Store, g int, rng *rand.Rand, say func(string, ...any)) error {
	n, id, err := killCount(ctx, s, 0, g)
	if err != nil {
		return err
	}
	for {
		n++
		head, err := s.Head(ctx, mvcc.MainBranch)
		if err != nil {
			return err
		}
		tx, err := s.Begin(ctx, mvcc.MainBranch, head)
		if err != nil {
			return err
		}
		isNew := id == 0
		if isNew {
			id = tx.NewPod()
			if err := tx.SetName(ctx, killName(g), id); err != nil {
				return err
			}
		}
		if err := tx.Put(ctx, killChange(id, isNew, n, rng)); err != nil {
			return err
		}
		say("begun %d %d", g, n)
		if _, err := tx.Commit(ctx, mvcc.CommitInfo{}); err != nil {
			return err
		}
		say("acked %d %d", g, n)
		switch rng.IntN(80) {
		case 0, 1:
			err = s.Checkpoint(ctx)
		case 2:
			_, err = s.Prune(ctx, mvcc.PruneOptions{KeepLast: 20 + rng.IntN(60)})
		}
		if err != nil {
			return err
		}
	}
}

// killChange is number n and contents that follow from it; now and then more
// than the log takes.
func killChange(id pod.ID, isNew bool, n int, rng *rand.Rand) *pod.Change {
	size := rng.IntN(300)
	switch rng.IntN(200) {
	case 0:
		size = 1_500_000
	case 1, 2, 3, 4, 5, 6:
		size = 20_000
	}
	return &pod.Change{ID: id, New: isNew, Whole: true, Exports: []pod.Export{{}},
		Slots: []pod.SlotWrite{{Data: pod.Data{Kind: pod.SlotBox, Type: 17, Bytes: killText(n, size)}}}}
}

func killText(n, size int) []byte {
	text := fmt.Appendf(nil, "%d %d ", n, size)
	rng := rand.New(rand.NewPCG(uint64(n), uint64(size)))
	for range size {
		text = append(text, byte(rng.Uint32()))
	}
	return text
}

// killCount reads a writer's counter at a version, 0 being the head, and checks
// the contents that belong to it.
func killCount(ctx context.Context, s *mvcc.Store, v mvcc.Version, g int) (int, pod.ID, error) {
	if v == 0 {
		head, err := s.Head(ctx, mvcc.MainBranch)
		if err != nil || head == 0 {
			return 0, 0, err
		}
		v = head
	}
	sn, err := s.At(ctx, v)
	if err != nil {
		return 0, 0, err
	}
	defer sn.Close()
	root, err := sn.Root(ctx, killName(g))
	if errors.Is(err, dberr.ErrNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	pods, err := sn.Pods(ctx, []pod.ID{root})
	if err != nil {
		return 0, 0, err
	}
	var n, size int
	got := pods[0].Slots[0].Bytes
	if _, err := fmt.Sscanf(string(got[:min(len(got), 40)]), "%d %d ", &n, &size); err != nil || string(got) != string(killText(n, size)) {
		return 0, 0, wrong("version %d: contents of writer %d are not those of any number", v, g)
	}
	return n, root, nil
}

// killed is the campaign: the numbers that the children reported.
type killed struct {
	ctx          context.Context
	path         string
	rng          *rand.Rand
	acked, begun [killWriters]int
	acks         int
	last         mvcc.Version // head at the last opening
}

// round runs one child and checks what it left.
func (k *killed) round() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	c := exec.Command(self, "-test.run=^TestKilledChild$", "-test.v=false")
	c.Env = append(os.Environ(), envKillPath+"="+k.path, fmt.Sprint(envKillSeed, "=", k.rng.Uint64()))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		return err
	}
	if err := c.Start(); err != nil {
		return err
	}
	// Half of the time counts from the first acknowledgement on: some die while
	// they open, some at work.
	after := time.Duration(k.rng.Int64N(int64(killLongest)))
	var timer *time.Timer
	kill := func() { _ = c.Process.Kill() }
	if k.rng.IntN(4) == 0 {
		timer = time.AfterFunc(after, kill)
	}
	late := time.AfterFunc(2*time.Minute, kill)
	defer late.Stop()
	lines := bufio.NewScanner(out)
	var said error
	for lines.Scan() {
		var what string
		var g, n int
		if _, err := fmt.Sscanf(lines.Text(), "%s %d %d", &what, &g, &n); err != nil || g >= killWriters {
			if strings.HasPrefix(lines.Text(), "error") {
				said = errors.New(lines.Text())
			}
			continue // a line cut by the kill
		}
		if timer == nil {
			timer = time.AfterFunc(after, kill)
		}
		k.heard(what, g, n)
	}
	_ = c.Wait()
	if said != nil {
		return fmt.Errorf("the child: %w", said)
	}
	return k.check()
}

func (k *killed) heard(what string, g, n int) {
	switch what {
	case "begun":
		k.begun[g] = n
	case "acked":
		k.acked[g] = n
		k.acks++
	}
}

// check opens what a killed child left.
func (k *killed) check() error {
	s, err := mvcc.Open(k.ctx, killOptions(k.path, k.rng))
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer s.Close()
	head, err := s.Head(k.ctx, mvcc.MainBranch)
	if err != nil {
		return err
	}
	if head < k.last {
		return wrong("version %d is shown, %d was before", head, k.last)
	}
	from := k.last + 1
	if head > killKeepLast && from > head-killKeepLast {
		from = head - killKeepLast
	}
	for g := range killWriters {
		was, step := 0, math.MaxInt // how much a counter may grow from one version to the next
		for v := max(1, from); v <= head; v++ {
			n, _, err := killCount(k.ctx, s, v, g)
			if errors.Is(err, dberr.ErrVersionGone) && v < head {
				step = math.MaxInt // between this one and the next, who knows
				continue
			}
			if err != nil {
				return fmt.Errorf("version %d: %w", v, err)
			}
			if n < was || n-was > step {
				return wrong("version %d: writer %d is at %d, before it was at %d", v, g, n, was)
			}
			was, step = n, 1
		}
		n, _, err := killCount(k.ctx, s, 0, g)
		if err != nil {
			return err
		}
		if n < k.acked[g] || n > k.begun[g] {
			return wrong("writer %d is at %d, acknowledged %d, begun %d", g, n, k.acked[g], k.begun[g])
		}
		k.acked[g], k.begun[g] = n, n
	}
	k.last = head
	return verify(k.ctx, s)
}

// TestKill kills a process at work again and again. After each time everything
// that it had acknowledged is there.
func TestKill(t *testing.T) {
	t.Parallel()
	rounds := killDefault
	if *flagRounds > 0 {
		rounds = *flagRounds
	}
	rng := rand.New(rand.NewPCG(*flagSeed, 20))
	var k *killed
	acks, lost, corrupt := 0, 0, 0
	for i := 0; i < rounds && !t.Failed(); i++ {
		if i%killSameFile == 0 {
			k = &killed{ctx: context.Background(), rng: rng, path: filepath.Join(t.TempDir(), "k.pod")}
		}
		before := k.acks
		err := k.round()
		acks += k.acks - before
		if err == nil {
			continue
		}
		if errors.Is(err, dberr.ErrCorrupt) {
			corrupt++
		} else {
			lost++
		}
		t.Errorf("round %d: %v\n%s", i, err, replay(t, "-rounds %d", rounds))
	}
	t.Logf("CAMPAIGN name=kill seed=%d rounds=%d acked=%d lost=%d corrupt=%d", *flagSeed, rounds, acks, lost, corrupt)
	if acks < rounds && !t.Failed() {
		t.Errorf("only %d commits in %d rounds: the campaign proves nothing", acks, rounds)
	}
}
