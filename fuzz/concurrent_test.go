package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

// TestCrashOfConcurrentWriters runs lives of a store with three committers,
// tiny log segments, checkpoints in the background and idle promises; with a
// failing sync, a full disk or nothing on top; and a crash at a random
// operation. In every image each writer's counter is from the last
// acknowledged to the last begun, a number that was refused or once absent
// never comes back, and a read-only opening shows what a writable one shows.
func TestCrashOfConcurrentWriters(t *testing.T) {
	t.Parallel()
	lives := 12
	if *flagImages > 0 {
		lives = max(1, *flagImages/(concurrentCrashes*4*10))
	}
	images := 0
	for life := range lives {
		l := &concurrentLife{ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, uint64(life))), mem: vfs.NewMem()}
		for range 3 {
			l.counters = append(l.counters, &counter{refused: map[int]bool{}})
		}
		if err := l.run(); err != nil {
			t.Fatalf("life %d,%s: %v\n%s", life, l.steps, err, replay(t, ""))
		}
		images += l.images
	}
	t.Logf("CAMPAIGN name=concurrent seed=%d lives=%d images=%d lost=0 corrupt=0", *flagSeed, lives, images)
}

const concurrentCrashes = 7

// counter is one writer's variable, whose value only grows.
type counter struct {
	id           pod.ID
	acked, begun int
	refused      map[int]bool
}

type concurrentLife struct {
	ctx      context.Context
	rng      *rand.Rand
	mem      *vfs.MemFS
	counters []*counter
	steps    string
	images   int
}

func (l *concurrentLife) options(fs vfs.FS) mvcc.Options {
	var key [32]byte
	for i := range key {
		key[i] = byte(l.rng.Uint32())
	}
	return mvcc.Options{
		FS: fs, Path: "c.pod", PageSize: 4096, Rand: rand.NewChaCha8(key),
		SegmentBytes:    []int64{2048, 8192, 1 << 20}[l.rng.IntN(3)],
		IdlePromise:     []time.Duration{-1, 200 * time.Microsecond, time.Millisecond}[l.rng.IntN(3)],
		CheckpointBytes: []int64{-1, 1500, 6000}[l.rng.IntN(3)],
		MemoryBytes:     []int64{-1, 8 << 20}[l.rng.IntN(2)],
	}
}

func (l *concurrentLife) run() error {
	for range concurrentCrashes {
		fs, fault := l.plant()
		if err := l.work(fs, fault); err != nil {
			return err
		}
		for _, img := range []*vfs.MemFS{
			l.mem.Crash(vfs.CrashLoseAll, 0), l.mem.Crash(vfs.CrashNewestOnly, l.rng.Uint64()),
			l.mem.Crash(vfs.CrashMix, l.rng.Uint64()), l.mem.Crash(vfs.CrashKeepAll, 0),
		} {
			l.images++
			if err := l.image(img); err != nil {
				return err
			}
		}
		if l.rng.IntN(3) == 0 {
			l.mem = l.mem.Restart() // the process died, the machine did not
		} else {
			l.mem = l.mem.Crash(vfs.CrashKind(l.rng.IntN(4)), l.rng.Uint64())
		}
	}
	return nil
}

// plant decides what goes wrong in this round.
func (l *concurrentLife) plant() (vfs.FS, *vfs.FaultFS) {
	fault := vfs.NewFault(l.mem)
	switch l.rng.IntN(4) {
	case 0:
		n := 1 + l.rng.IntN(200)
		fault.FailOp(n, syscall.ENOSPC)
		l.steps += fmt.Sprint(" enospc@", n)
	case 1:
		n := 1 + l.rng.IntN(60)
		l.mem.FailSync(n)
		l.steps += fmt.Sprint(" failsync@", n)
	case 2:
		n := l.rng.Int64N(60_000)
		fault.Space(n)
		l.steps += fmt.Sprint(" space=", n)
	}
	at := 1 + l.rng.IntN(250)
	l.mem.CrashAt(l.mem.Ops() + at)
	l.steps += fmt.Sprint(" crash@", at)
	return fault, fault
}

// planted reports whether an error is one that plant caused.
func planted(err error) bool {
	return errors.Is(err, vfs.ErrCrashed) || errors.Is(err, syscall.EIO) || errors.Is(err, dberr.ErrDiskFull) || errors.Is(err, syscall.ENOSPC)
}

// work opens the store and lets every writer commit until the crash.
func (l *concurrentLife) work(fs vfs.FS, fault *vfs.FaultFS) error {
	s, err := mvcc.Open(l.ctx, l.options(fs))
	if err != nil {
		if planted(err) {
			return nil
		}
		return fmt.Errorf("open: %w", err)
	}
	if err := l.check(s, true); err != nil && !planted(err) {
		return fmt.Errorf("after open: %w", err)
	}
	var writers sync.WaitGroup
	for g, c := range l.counters {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), uint64(g)))
		writers.Go(func() { c.write(l.ctx, s, fmt.Sprint("g", g), rng, fault) })
	}
	writers.Wait()
	// Close or be killed; after the crash both leave the files as they are.
	_ = s.Close()
	return nil
}

// write commits the next numbers of a counter.
func (c *counter) write(ctx context.Context, s *mvcc.Store, name string, rng *rand.Rand, fault *vfs.FaultFS) {
	for failed := 0; failed < 4 && c.begun < c.acked+40; {
		head, err := s.Head(ctx, "main")
		if err != nil {
			return
		}
		tx, err := s.Begin(ctx, "main", head)
		if err != nil {
			return
		}
		id, isNew := c.id, c.id == 0
		if isNew {
			id = tx.NewPod()
			if tx.SetName(ctx, name, id) != nil {
				return
			}
		}
		c.begun++
		n := c.begun
		text := fmt.Sprint(n, " ", strings.Repeat("noise ", rng.IntN(400)))
		change := &pod.Change{ID: id, New: isNew, Whole: true, Exports: []pod.Export{{}},
			Slots: []pod.SlotWrite{{Data: pod.Data{Kind: pod.SlotBox, Type: 17, Bytes: []byte(text)}}}}
		if err = tx.Put(ctx, change); err == nil {
			_, err = tx.Commit(ctx, mvcc.CommitInfo{})
		}
		tx.Rollback()
		switch {
		case err == nil:
			c.acked, c.id = n, id
			if n%29 == 0 {
				return
			}
		case errors.Is(err, dberr.ErrCommitUnknown), errors.Is(err, vfs.ErrCrashed):
			return // the outcome is open
		default:
			c.refused[n] = true
			failed++
			if rng.IntN(2) == 0 {
				fault.Heal()
			}
		}
		if rng.IntN(9) == 0 {
			_ = s.Checkpoint(ctx) // a failed one changes nothing
		}
	}
}

// image opens an image for writing and for reading only, and once more after
// losing everything unsynced.
func (l *concurrentLife) image(img *vfs.MemFS) error {
	readOnly := l.options(img.Crash(vfs.CrashKeepAll, 0))
	readOnly.ReadOnly = true
	s, err := mvcc.Open(l.ctx, l.options(img))
	if err != nil {
		return fmt.Errorf("image: %w", err)
	}
	defer s.Close()
	if err := l.check(s, false); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	head, err := s.Head(l.ctx, "main")
	if err != nil {
		return err
	}
	for what, o := range map[string]mvcc.Options{"read-only": readOnly, "after another power cut": l.options(img.Crash(vfs.CrashLoseAll, 0))} {
		other, err := mvcc.Open(l.ctx, o)
		if err != nil {
			if o.ReadOnly && head == 0 {
				continue // a file whose creation was cut off cannot be read only
			}
			return fmt.Errorf("%s: %w", what, err)
		}
		got, err := other.Head(l.ctx, "main")
		_ = other.Close()
		if err != nil || got != head {
			return fmt.Errorf("%s: head %d (%v), but %d was shown", what, got, err, head)
		}
	}
	return nil
}

// check compares the counters with what the writers know. adopt takes what is
// there as the state from now on: what is absent must stay absent.
func (l *concurrentLife) check(s *mvcc.Store, adopt bool) error {
	for g, c := range l.counters {
		n, id, err := c.read(l.ctx, s, fmt.Sprint("g", g))
		if err != nil {
			return err
		}
		if n < c.acked || n > c.begun || c.refused[n] {
			return fmt.Errorf("writer %d is at %d: acknowledged %d, begun %d, refused %v", g, n, c.acked, c.begun, c.refused[n])
		}
		if adopt {
			c.acked, c.id = n, id
			for k := n + 1; k <= c.begun; k++ {
				c.refused[k] = true
			}
		}
	}
	rep, err := s.Verify(l.ctx, mvcc.VerifyOptions{Deep: true})
	if err != nil {
		return err
	}
	if len(rep.Problems) > 0 {
		return fmt.Errorf("verify: %v", rep.Problems)
	}
	return nil
}

func (c *counter) read(ctx context.Context, s *mvcc.Store, name string) (int, pod.ID, error) {
	head, err := s.Head(ctx, "main")
	if err != nil {
		return 0, 0, err
	}
	sn, err := s.At(ctx, head)
	if err != nil {
		return 0, 0, err
	}
	defer sn.Close()
	root, err := sn.Root(ctx, name)
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
	number, _, _ := strings.Cut(string(pods[0].Slots[0].Bytes), " ")
	n, err := strconv.Atoi(number)
	return n, root, err
}
