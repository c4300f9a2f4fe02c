package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
)

// flagTransfers is how many transfers TestBank makes.
var flagTransfers = flag.Int("transfers", 0, "transfers to make; 0 is the bounded default of the test")

// TestBank moves money between accounts in several goroutines, beside prunes,
// checkpoints, compaction and readers of every version, and cuts the power in
// the midst: in no snapshot of any version is there more or less money than was
// put in, no account owes, and no acknowledged transfer is missing.
func TestBank(t *testing.T) {
	t.Parallel()
	transfers := 1000
	if *flagTransfers > 0 {
		transfers = *flagTransfers
	}
	var sum bankCounts
	for life := 0; sum.transfers < transfers; life++ {
		b := newBank(uint64(life), honestTransfer)
		if err := b.run(); err != nil {
			t.Fatalf("life %d: %v\n%s", life, err, replay(t, "-transfers %d", transfers))
		}
		sum.add(b.counts())
	}
	if sum.snapshots == 0 || sum.pruned == 0 || sum.crashes == 0 || sum.conflicts == 0 {
		t.Fatalf("%+v proves little", sum)
	}
	t.Logf("CAMPAIGN name=bank seed=%d transfers=%d conflicts=%d snapshots=%d pruned=%d crashes=%d wrong=0",
		*flagSeed, sum.transfers, sum.conflicts, sum.snapshots, sum.pruned, sum.crashes)
}

// A bank that moves money in two transactions, or reads one account beside the
// transaction that changes it, is found out.
func TestBankFindsWrongTransfers(t *testing.T) {
	t.Parallel()
	for name, transfer := range map[string]transferFunc{"in two transactions": splitTransfer, "stale read": staleTransfer} {
		found := false
		for life := 0; life < 20 && !found; life++ {
			err := newBank(uint64(life), transfer).run()
			found = errors.Is(err, errWrongTotal)
			if err != nil && !found {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if !found {
			t.Errorf("transfers %s were not noticed", name)
		}
	}
}

var errWrongTotal = errors.New("the money does not add up")

const (
	bankTellers  = 4
	bankAccounts = 12
	bankStart    = 100 // in each account
	bankRound    = 120 // transfers between two restarts
	bankRounds   = 3
)

// The accounts live behind variables of their own, or several behind one, in a
// map and in a list.
type (
	account struct{ Balance int }
	vault   struct {
		ByName map[string]*account
		List   []*account
		Moved  int // transfers in which the vault took part
	}
)

type bankCounts struct{ transfers, conflicts, snapshots, pruned, crashes int }

func (c *bankCounts) add(o bankCounts) {
	c.transfers += o.transfers
	c.conflicts += o.conflicts
	c.snapshots += o.snapshots
	c.pruned += o.pruned
	c.crashes += o.crashes
}

type transferFunc func(b *bank, rng *rand.Rand, from, to, amount int) error

type bank struct {
	ctx      context.Context
	rng      *rand.Rand
	mem      *vfs.MemFS
	d        *db.DB
	transfer transferFunc
	left     atomic.Int64
	acked    atomic.Uint64 // newest version that a transfer was told

	transfers, conflicts, snapshots, pruned atomic.Int64
	crashes                                 int

	mu      sync.Mutex
	failure error
}

func newBank(life uint64, transfer transferFunc) *bank {
	return &bank{ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, 0xba<<32|life)), mem: vfs.NewMem(), transfer: transfer}
}

func (b *bank) counts() bankCounts {
	return bankCounts{int(b.transfers.Load()), int(b.conflicts.Load()), int(b.snapshots.Load()), int(b.pruned.Load()), b.crashes}
}

func (b *bank) open() (err error) {
	var key [32]byte
	for i := range key {
		key[i] = byte(b.rng.Uint32())
	}
	b.d, err = db.Open(b.ctx, "bank.pod", &db.Options{
		FS: b.mem, PageSize: 4096, Rand: rand.NewChaCha8(key),
		CheckpointBytes: []int64{8 << 10, 100 << 10, -1}[b.rng.IntN(3)],
		PodTargetBytes:  []int{64, 1 << 10}[b.rng.IntN(2)],
		Types:           db.Types(db.Type[account]("bank.account"), db.Type[vault]("bank.vault")),
	})
	return err
}

func (b *bank) run() error {
	if err := b.open(); err != nil {
		return err
	}
	if err := b.setUp(); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for range bankRounds {
		crash := b.rng.IntN(2) == 0
		if crash {
			b.mem.CrashAt(b.mem.Ops() + 1 + b.rng.IntN(3*bankRound))
		}
		if err := b.round(crash); err != nil {
			return err
		}
		if err := b.restart(crash); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
		if err := b.everyVersion(); err != nil {
			return err
		}
	}
	return b.d.Close()
}

// setUp opens the accounts: a third are variables, the others lie in the vault.
func (b *bank) setUp() error {
	_, err := b.d.Update(b.ctx, func(ctx context.Context, tx *db.Tx) error {
		v := &vault{ByName: map[string]*account{}}
		for i := range bankAccounts {
			a := &account{bankStart}
			var err error
			switch i % 3 {
			case 0:
				err = tx.Put(ctx, accountName(i), a)
			case 1:
				v.ByName[accountName(i)] = a
			default:
				v.List = append(v.List, a)
			}
			if err != nil {
				return err
			}
		}
		return tx.Put(ctx, "vault", v)
	})
	return err
}

func accountName(i int) string { return fmt.Sprintf("account/%02d", i) }

// find returns an account.
func findAccount(ctx context.Context, r db.Reader, i int) (*account, error) {
	if i%3 == 0 {
		return db.Get[*account](ctx, r, accountName(i))
	}
	v, err := db.Get[*vault](ctx, r, "vault")
	if err != nil {
		return nil, err
	}
	v.Moved++
	if i%3 == 1 {
		return v.ByName[accountName(i)], nil
	}
	return v.List[i/3], nil
}

// round makes transfers beside everything else, until there are enough or the
// power is cut.
func (b *bank) round(crash bool) error {
	b.left.Store(bankRound)
	var tellers, others sync.WaitGroup
	over := make(chan struct{})
	for range bankTellers {
		rng := rand.New(rand.NewPCG(b.rng.Uint64(), 0))
		tellers.Go(func() {
			for b.left.Add(-1) >= 0 {
				from, to := rng.IntN(bankAccounts), rng.IntN(bankAccounts)
				if b.note(b.transfer(b, rng, from, to, 1+rng.IntN(bankStart/2)), crash) {
					return
				}
				b.transfers.Add(1)
			}
		})
	}
	for _, work := range []func(*rand.Rand) error{b.inspect, b.inspect, b.prune, b.tidy} {
		rng := rand.New(rand.NewPCG(b.rng.Uint64(), 1))
		others.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				if b.note(work(rng), crash) {
					return
				}
			}
		})
	}
	tellers.Wait()
	close(over)
	others.Wait()
	return b.failure
}

// note keeps the first error that is not one of a planted crash, and reports
// whether to stop.
func (b *bank) note(err error, crash bool) bool {
	if err == nil {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	expected := crash && (planted(err) || errors.Is(err, db.ErrPoisoned) || errors.Is(err, db.ErrCommitUnknown))
	if !expected && b.failure == nil {
		b.failure = err
	}
	return true
}

// acknowledged raises the version that must be there after a crash.
func (b *bank) acknowledged(v db.Version) {
	for old := b.acked.Load(); uint64(v) > old && !b.acked.CompareAndSwap(old, uint64(v)); old = b.acked.Load() {
	}
}

// honestTransfer moves money in one transaction, half of the time with reads of
// other accounts beside it.
func honestTransfer(b *bank, rng *rand.Rand, from, to, amount int) error {
	attempts := 0
	v, err := b.d.Update(b.ctx, func(ctx context.Context, tx *db.Tx) error {
		attempts++
		a, err := findAccount(ctx, tx, from)
		if err != nil {
			return err
		}
		c, err := findAccount(ctx, tx, to)
		if err != nil {
			return err
		}
		if rng.IntN(2) == 0 {
			if _, err := db.Read[*account](ctx, tx, accountName(3*rng.IntN(bankAccounts/3))); err != nil {
				return err
			}
		}
		if a.Balance >= amount {
			a.Balance -= amount
			c.Balance += amount
		}
		return nil
	})
	b.conflicts.Add(int64(attempts - 1))
	if err == nil {
		b.acknowledged(v)
	}
	return err
}

// splitTransfer is a bug: between its two transactions money is nowhere.
func splitTransfer(b *bank, _ *rand.Rand, from, to, amount int) error {
	for i, delta := range map[int]int{from: -amount, to: amount} {
		if from == to {
			delta = 0
		}
		v, err := b.d.Update(b.ctx, func(ctx context.Context, tx *db.Tx) error {
			a, err := findAccount(ctx, tx, i)
			if err == nil {
				a.Balance += delta
			}
			return err
		})
		if err != nil {
			return err
		}
		b.acknowledged(v)
	}
	return nil
}

// staleTransfer is a bug: what it writes rests on a read outside of its
// transaction.
func staleTransfer(b *bank, _ *rand.Rand, from, to, amount int) error {
	if from == to {
		return nil
	}
	var had, has int
	err := b.d.View(b.ctx, func(ctx context.Context, s *db.Snapshot) error {
		a, err := findAccount(ctx, s, from)
		if err != nil {
			return err
		}
		c, err := findAccount(ctx, s, to)
		if err == nil {
			had, has = a.Balance, c.Balance
		}
		return err
	})
	if err != nil || had < amount {
		return err
	}
	time.Sleep(50 * time.Microsecond)
	v, err := b.d.Update(b.ctx, func(ctx context.Context, tx *db.Tx) error {
		a, err := findAccount(ctx, tx, from)
		if err != nil {
			return err
		}
		c, err := findAccount(ctx, tx, to)
		if err == nil {
			a.Balance, c.Balance = had-amount, has+amount
		}
		return err
	})
	if err == nil {
		b.acknowledged(v)
	}
	return err
}

// inspect adds up what a snapshot of some version shows.
func (b *bank) inspect(rng *rand.Rand) error {
	time.Sleep(50 * time.Microsecond)
	head, err := b.d.Head(b.ctx, "main")
	if err != nil {
		return err
	}
	v := head - db.Version(rng.Uint64N(min(uint64(head), 20)))
	if rng.IntN(2) == 0 {
		v = head
	}
	s, err := b.d.At(b.ctx, v)
	if errors.Is(err, db.ErrVersionGone) {
		return nil
	} else if err != nil {
		return err
	}
	defer s.Close()
	for range 1 + rng.IntN(3) { // a snapshot never changes
		if err := b.addUp(s); err != nil {
			return err
		}
	}
	return nil
}

// addUp checks the total of a snapshot.
func (b *bank) addUp(s *db.Snapshot) error {
	all := map[string]any{}
	for i := 0; i < bankAccounts; i += 3 {
		all[accountName(i)] = nil
	}
	all["vault"] = nil
	if err := s.Load(b.ctx, &all); err != nil {
		return fmt.Errorf("version %d: %w", s.Version(), err)
	}
	total, n := 0, 0
	var text strings.Builder
	count := func(a *account) {
		total, n = total+a.Balance, n+1
		fmt.Fprint(&text, " ", a.Balance)
	}
	for _, v := range all {
		switch v := v.(type) {
		case *account:
			count(v)
		case *vault:
			for _, a := range v.ByName {
				count(a)
			}
			for _, a := range v.List {
				count(a)
			}
		}
	}
	b.snapshots.Add(1)
	if total != bankAccounts*bankStart || n != bankAccounts {
		return fmt.Errorf("version %d: %w: %d in %d accounts:%s", s.Version(), errWrongTotal, total, n, text.String())
	}
	return nil
}

func (b *bank) prune(rng *rand.Rand) error {
	rep, err := b.d.Prune(b.ctx, db.PruneOptions{Policy: db.KeepLast(1 + rng.IntN(30))})
	b.pruned.Add(int64(rep.Versions))
	time.Sleep(time.Millisecond)
	return err
}

// tidy moves the log into the file, or compacts it.
func (b *bank) tidy(rng *rand.Rand) error {
	time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
	if rng.IntN(2) == 0 {
		return b.d.Checkpoint(b.ctx)
	}
	_, err := b.d.Compact(b.ctx)
	return err
}

// restart opens the bank again; what was acknowledged is there.
func (b *bank) restart(crash bool) error {
	was := b.d
	if crash || b.rng.IntN(2) == 0 {
		b.crashes++
		b.mem = b.mem.Crash(vfs.CrashKind(b.rng.IntN(4)), b.rng.Uint64())
		_ = was.Close()
	} else if err := was.Close(); err != nil {
		return err
	}
	if err := b.open(); err != nil {
		return err
	}
	head, err := b.d.Head(b.ctx, "main")
	if err == nil && uint64(head) < b.acked.Load() {
		err = fmt.Errorf("the newest version is %d, and %d was acknowledged", head, b.acked.Load())
	}
	return err
}

// everyVersion adds up all that are kept.
func (b *bank) everyVersion() error {
	for c, err := range b.d.Log(b.ctx, db.LogOptions{}) {
		if err != nil {
			return err
		}
		if c.Version == 0 {
			continue
		}
		s, err := b.d.At(b.ctx, c.Version)
		if err != nil {
			return fmt.Errorf("version %d of the log: %w", c.Version, err)
		}
		err = b.addUp(s)
		s.Close()
		if err != nil {
			return err
		}
	}
	rep, err := b.d.Verify(b.ctx, db.VerifyOptions{Deep: true})
	if err == nil && len(rep.Problems) > 0 {
		err = fmt.Errorf("verify: %s", rep.Problems[0])
	}
	return err
}
