package fuzz

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/fuzz/history"
	"github.com/poddb/poddb/internal/vfs"
)

// TestRegisters runs transactions that read and write several registers in
// eight goroutines, with a power cut in the midst, and has porcupine look for an
// order in which they could have happened one after the other, each between its
// call and its return. -txns makes it longer.
func TestRegisters(t *testing.T) {
	t.Parallel()
	txns := 3000
	if *flagTxns > 0 {
		txns = *flagTxns
	}
	done, unknown, lives := 0, 0, 0
	for ; done < txns; lives++ {
		l := newRegisterLife(uint64(lives), honestRegisters)
		if err := l.run(); err != nil {
			t.Fatalf("life %d: %v\n%s", lives, err, replay(t, "-txns %d", txns))
		}
		if got := l.check(); got != porcupine.Ok {
			t.Fatalf("life %d: the history is %s\n%s", lives, got, replay(t, "-txns %d", txns))
		}
		done += len(l.history)
		unknown += l.unknown
	}
	t.Logf("CAMPAIGN name=registers seed=%d txns=%d lives=%d unknown=%d anomalies=0", *flagSeed, done, lives, unknown)
}

// Wrong registers are found out: such that show what is not committed yet, that
// read the version before the newest, and that forget to validate reads.
func TestRegistersFindsBugs(t *testing.T) {
	t.Parallel()
	for _, bug := range []registerBug{dirtyRegisters, staleRegisters, skewRegisters} {
		found := false
		for life := 0; life < 30 && !found; life++ {
			l := newRegisterLife(uint64(life), bug)
			if err := l.run(); err != nil {
				t.Fatalf("%s: %v", bug, err)
			}
			found = l.check() == porcupine.Illegal
		}
		if !found {
			t.Errorf("%s were not found", bug)
		}
	}
}

// The list checker finds reads of what is not committed as well, when the
// transactions of TestSerializable look at each other's registers.
func TestSerializableFindsDirtyReads(t *testing.T) {
	t.Parallel()
	for life := range 40 {
		l := newTxLife(uint64(life), db.Serializable)
		l.dirty = true
		if err := l.run(); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		for _, a := range history.Check(l.history) {
			if a.Kind == "dirty read" {
				t.Logf("after %d lives: %v", life+1, a)
				return
			}
		}
	}
	t.Fatal("no dirty read was found")
}

// registerBug is how a life is wrong.
type registerBug string

const (
	honestRegisters registerBug = ""
	dirtyRegisters  registerBug = "dirty reads"
	staleRegisters  registerBug = "stale reads"
	skewRegisters   registerBug = "snapshot isolation instead of serializable"
)

const (
	registers       = 3
	registerClients = 8
	registerTxns    = 300 // of a life
)

// registerOp is a step of a transaction.
type registerOp struct {
	key   int
	write bool
	value int // written
}

// registerSeen is what a transaction saw: one value for each read.
type registerSeen struct {
	values  []int
	unknown bool // whether it was committed
}

// registerModel is all registers at once. A transaction of unknown outcome
// either happened, and then saw what was there, or changes nothing.
var registerModel = porcupine.Model{
	Init: func() any { return [registers]int{} },
	Step: func(state, input, output any) (bool, any) {
		s, out := state.([registers]int), output.(registerSeen)
		seen := out.values
		for _, op := range input.([]registerOp) {
			switch {
			case op.write:
				s[op.key] = op.value
			case len(seen) > 0 && seen[0] == s[op.key]:
				seen = seen[1:]
			default:
				return out.unknown, state
			}
		}
		return true, s
	},
}

type register struct{ V int }

type registerLife struct {
	ctx   context.Context
	rng   *rand.Rand
	bug   registerBug
	mem   *vfs.MemFS
	d     *db.DB
	clock atomic.Int64
	value atomic.Int64
	left  atomic.Int64
	dirty sync.Map // key to value written by who has not committed

	mu      sync.Mutex
	history []porcupine.Operation
	unknown int
	failure error
}

func newRegisterLife(life uint64, bug registerBug) *registerLife {
	return &registerLife{ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, 0x7e6<<32|life)), bug: bug, mem: vfs.NewMem()}
}

func (l *registerLife) check() porcupine.CheckResult {
	return porcupine.CheckOperationsTimeout(registerModel, l.history, time.Minute)
}

func (l *registerLife) open() (err error) {
	var key [32]byte
	for i := range key {
		key[i] = byte(l.rng.Uint32())
	}
	l.d, err = db.Open(l.ctx, "r.pod", &db.Options{
		FS: l.mem, PageSize: 4096, Rand: rand.NewChaCha8(key), CheckpointBytes: []int64{8 << 10, -1}[l.rng.IntN(2)],
	})
	return err
}

func registerName(key int) string { return fmt.Sprint("r", key) }

func (l *registerLife) run() error {
	if err := l.open(); err != nil {
		return err
	}
	_, err := l.d.Update(l.ctx, func(ctx context.Context, tx *db.Tx) error {
		for k := range registers {
			if err := tx.Put(ctx, registerName(k), &register{}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, crash := range []bool{true, false} {
		if crash {
			l.mem.CrashAt(l.mem.Ops() + 1 + l.rng.IntN(registerTxns))
		}
		if err := l.round(crash); err != nil {
			return err
		}
		was := l.d
		l.mem = l.mem.Crash(vfs.CrashKind(l.rng.IntN(4)), l.rng.Uint64())
		_ = was.Close()
		if err := l.open(); err != nil {
			return err
		}
	}
	return l.d.Close()
}

func (l *registerLife) round(crash bool) error {
	l.left.Store(registerTxns / 2)
	var clients sync.WaitGroup
	for c := range registerClients {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), uint64(c)))
		clients.Go(func() {
			for l.left.Add(-1) >= 0 {
				err := l.transaction(c, rng)
				if err == nil {
					continue
				}
				l.mu.Lock()
				expected := crash && (planted(err) || errors.Is(err, db.ErrPoisoned) || errors.Is(err, db.ErrCommitUnknown))
				if !expected && l.failure == nil {
					l.failure = err
				}
				l.mu.Unlock()
				return
			}
		})
	}
	clients.Wait()
	return l.failure
}

// transaction runs a random one and notes it, unless it certainly did nothing.
func (l *registerLife) transaction(client int, rng *rand.Rand) error {
	var ops []registerOp
	for range 1 + rng.IntN(3) {
		op := registerOp{key: rng.IntN(registers), write: rng.IntN(2) == 0}
		if op.write {
			op.value = int(l.value.Add(1))
		}
		ops = append(ops, op)
	}
	var seen []int
	call := l.clock.Add(1)
	o := db.TxOptions{}
	if l.bug == skewRegisters {
		o.Isolation = db.SnapshotIsolation
	}
	_, err := l.d.Update(l.ctx, func(ctx context.Context, tx *db.Tx) (err error) {
		seen = seen[:0]
		for _, op := range ops {
			if seen, err = l.step(ctx, tx, op, seen); err != nil {
				return err
			}
		}
		return nil
	}, o)
	for _, op := range ops {
		if op.write && l.bug == dirtyRegisters {
			l.dirty.CompareAndDelete(op.key, op.value)
		}
	}
	done := porcupine.Operation{ClientId: client, Input: ops, Call: call, Output: registerSeen{values: slices.Clone(seen)}, Return: l.clock.Add(1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
	case errors.Is(err, db.ErrCommitUnknown):
		done.Output, done.Return = registerSeen{done.Output.(registerSeen).values, true}, math.MaxInt64
		l.unknown++
	default:
		return err
	}
	l.history = append(l.history, done)
	return err
}

// step is one operation, which some bugs do wrongly.
func (l *registerLife) step(ctx context.Context, tx *db.Tx, op registerOp, seen []int) ([]int, error) {
	name := registerName(op.key)
	if op.write {
		r, err := db.Get[*register](ctx, tx, name)
		if err != nil {
			return seen, err
		}
		r.V = op.value
		if l.bug == dirtyRegisters {
			l.dirty.Store(op.key, op.value)
			time.Sleep(20 * time.Microsecond)
		}
		return seen, nil
	}
	if l.bug == staleRegisters && tx.Base() > 2 {
		s, err := l.d.At(ctx, tx.Base()-1)
		if err != nil {
			return seen, err
		}
		defer s.Close()
		r, err := db.Get[*register](ctx, s, name)
		if err != nil {
			return seen, err
		}
		return append(seen, r.V), nil
	}
	r, err := db.Read[*register](ctx, tx, name)
	if err != nil {
		return seen, err
	}
	if v, ok := l.dirty.Load(op.key); ok {
		return append(seen, v.(int)), nil
	}
	return append(seen, r.V), nil
}
