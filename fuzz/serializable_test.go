package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/fuzz/history"
	"github.com/poddb/poddb/internal/vfs"
)

// flagTxns is how many transactions TestSerializable runs.
var flagTxns = flag.Int("txns", 0, "transactions to run; 0 is the bounded default of the test")

// TestSerializable runs random transactions in eight goroutines over lists,
// registers, sets of names and linked lists that two variables share, closes,
// crashes and opens the database between and in the midst of them, and checks
// what each transaction saw: none of it may need another order than one after
// the other, in which who began after another had returned comes later.
func TestSerializable(t *testing.T) {
	t.Parallel()
	txns := 6000
	if *flagTxns > 0 {
		txns = *flagTxns
	}
	var sum txCounts
	for life := 0; sum.txns < txns; life++ {
		l := newTxLife(uint64(life), db.Serializable)
		if err := l.run(); err != nil {
			t.Fatalf("life %d: %v\n%s", life, err, replay(t, "-txns %d", txns))
		}
		for i, a := range history.Check(l.history) {
			t.Errorf("life %d: %v", life, a)
			if i == 4 {
				break
			}
		}
		if t.Failed() {
			t.Fatal(replay(t, "-txns %d", txns))
		}
		sum.add(l.txCounts)
	}
	if sum.committed < sum.txns/3 || sum.conflicts < sum.txns/100 || sum.restarts == 0 {
		t.Fatalf("%+v proves little", sum)
	}
	t.Logf("CAMPAIGN name=serializable seed=%d txns=%d committed=%d conflicts=%d unknown=%d restarts=%d anomalies=0",
		*flagSeed, sum.txns, sum.committed, sum.conflicts, sum.unknown, sum.restarts)
}

// The same transactions with snapshot isolation show write skew, and nothing that
// snapshot isolation forbids.
func TestSerializableFindsWriteSkew(t *testing.T) {
	t.Parallel()
	for life := range 40 {
		l := newTxLife(uint64(life), db.SnapshotIsolation)
		if err := l.run(); err != nil {
			t.Fatalf("life %d: %v", life, err)
		}
		found := history.Check(l.history)
		for _, a := range found {
			if a.Kind != "cycle" || a.RW < 2 {
				t.Fatalf("life %d: snapshot isolation allows no %v", life, a)
			}
		}
		if len(found) > 0 {
			t.Logf("after %d lives: %v", life+1, found[0])
			return
		}
	}
	t.Fatal("no write skew was found")
}

const (
	txWriters   = 8
	txKeys      = 3   // of each kind
	txRound     = 250 // transactions between two restarts
	txRounds    = 4
	setValueLen = 8
)

type txCounts struct{ txns, committed, conflicts, unknown, restarts int }

func (c *txCounts) add(o txCounts) {
	c.txns += o.txns
	c.committed += o.committed
	c.conflicts += o.conflicts
	c.unknown += o.unknown
	c.restarts += o.restarts
}

// txLife is one database and the history of its transactions.
type txLife struct {
	txCounts
	ctx     context.Context
	rng     *rand.Rand
	iso     db.Isolation
	mem     *vfs.MemFS
	d       *db.DB
	clock   atomic.Int64
	value   atomic.Int64
	left    atomic.Int64 // of the round
	mu      sync.Mutex
	history []history.Txn
	failure error

	dirty    bool     // a planted bug: transactions see registers that others have not committed
	inFlight sync.Map // what they see then, by name
}

// The objects of the variables.
type (
	listObject     struct{ V []int }
	registerObject struct {
		V    int
		Text string
	}
	chainHolder struct{ Head *chainHead }
	chainHead   struct{ First *chainLink }
	chainLink   struct {
		V    int
		Next *chainLink
	}
)

func newTxLife(life uint64, iso db.Isolation) *txLife {
	return &txLife{ctx: context.Background(), rng: rand.New(rand.NewPCG(*flagSeed, life)), iso: iso, mem: vfs.NewMem()}
}

func (l *txLife) open() (err error) {
	var key [32]byte
	for i := range key {
		key[i] = byte(l.rng.Uint32())
	}
	l.d, err = db.Open(l.ctx, "s.pod", &db.Options{
		FS: l.mem, PageSize: 4096, Rand: rand.NewChaCha8(key),
		CheckpointBytes: []int64{20 << 10, 200 << 10, -1}[l.rng.IntN(3)],
		PodTargetBytes:  []int{64, 1 << 10, 8 << 10}[l.rng.IntN(3)],
	})
	return err
}

func (l *txLife) run() error {
	if err := l.open(); err != nil {
		return err
	}
	if err := l.setUp(); err != nil {
		return fmt.Errorf("set up: %w", err)
	}
	for range txRounds {
		crash := l.rng.IntN(3) == 0 // in the midst of the round
		if crash {
			l.mem.CrashAt(l.mem.Ops() + 1 + l.rng.IntN(2*txRound))
		}
		if err := l.round(crash); err != nil {
			return err
		}
		if err := l.restart(crash); err != nil {
			return fmt.Errorf("restart: %w", err)
		}
	}
	return l.finish()
}

// setUp puts the variables; the sets are empty.
func (l *txLife) setUp() error {
	_, err := l.d.Update(l.ctx, func(ctx context.Context, tx *db.Tx) error {
		for k := range txKeys {
			shared := &chainHead{}
			for name, v := range map[string]any{
				"l/": &listObject{}, "r/": &registerObject{Text: strings.Repeat("x", l.rng.IntN(200))},
				"c/a/": &chainHolder{shared}, "c/b/": &chainHolder{shared},
			} {
				if err := tx.Put(ctx, name+strconv.Itoa(k), v); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return err
}

// round runs transactions until there are enough, or until the crash.
func (l *txLife) round(crash bool) error {
	l.left.Store(txRound)
	var writers sync.WaitGroup
	for range txWriters {
		rng := rand.New(rand.NewPCG(l.rng.Uint64(), 0))
		writers.Go(func() {
			for l.left.Add(-1) >= 0 {
				if err := l.transaction(rng, nil); err != nil {
					if !crash || !planted(err) && !errors.Is(err, db.ErrPoisoned) && !errors.Is(err, db.ErrCommitUnknown) {
						l.fail(err)
					}
					return
				}
			}
		})
	}
	writers.Wait()
	return l.failure
}

func (l *txLife) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = err
	}
}

// restart opens the database again: after Close, or after a power cut.
func (l *txLife) restart(crashed bool) error {
	l.restarts++
	switch {
	case crashed || l.rng.IntN(2) == 0:
		_ = l.d.Close()
		if crashed {
			l.mem = l.mem.Crash(vfs.CrashKind(l.rng.IntN(4)), l.rng.Uint64())
		}
	default:
		was := l.d
		l.mem = l.mem.Crash(vfs.CrashKind(l.rng.IntN(4)), l.rng.Uint64()) // of what was acknowledged nothing is lost
		_ = was.Close()
	}
	return l.open()
}

// finish reads everything in one last transaction and checks the file.
func (l *txLife) finish() error {
	var all []func(t *recordedTx) error
	for k := range txKeys {
		key := strconv.Itoa(k)
		for _, op := range []func(*recordedTx, string) error{(*recordedTx).readList, (*recordedTx).lookRegister, (*recordedTx).members, (*recordedTx).readChain} {
			all = append(all, func(t *recordedTx) error { return op(t, key) })
		}
	}
	if err := l.transaction(l.rng, all); err != nil {
		return err
	}
	rep, err := l.d.Verify(l.ctx, db.VerifyOptions{Deep: true})
	if err == nil && len(rep.Problems) > 0 {
		err = fmt.Errorf("verify: %s", rep.Problems[0])
	}
	if err != nil {
		return err
	}
	return l.d.Close()
}

// recordedTx is a transaction whose operations are noted.
type recordedTx struct {
	*db.Tx
	ctx context.Context
	l   *txLife
	rng *rand.Rand
	ops []history.Op
}

func (t *recordedTx) note(kind history.Kind, key string, value int, seen []int) {
	t.ops = append(t.ops, history.Op{Kind: kind, Key: key, Value: value, Seen: seen})
}

// transaction runs one, with the given operations or with random ones, and notes
// what became of it.
func (l *txLife) transaction(rng *rand.Rand, ops []func(*recordedTx) error) error {
	h := history.Txn{Outcome: history.Aborted, Begin: l.clock.Add(1)}
	tx, err := l.d.Begin(l.ctx, db.TxOptions{Isolation: l.iso})
	if err != nil {
		return err
	}
	t := &recordedTx{Tx: tx, ctx: l.ctx, l: l, rng: rng}
	defer tx.Rollback()
	given := ops != nil
	if !given {
		for range 1 + rng.IntN(4) {
			ops = append(ops, (*recordedTx).random)
		}
	}
	for _, op := range ops {
		if err = op(t); err != nil {
			break
		}
	}
	conflict := false
	switch {
	case err != nil:
	case !given && rng.IntN(20) == 0:
		err = tx.Rollback()
	default:
		_, err = tx.Commit(l.ctx)
		switch {
		case err == nil:
			h.Outcome = history.Committed
		case errors.Is(err, db.ErrConflict):
			conflict, err = true, nil
		default:
			h.Outcome = history.Unknown
		}
	}
	h.Ops = t.ops
	if h.Outcome != history.Unknown {
		h.End = l.clock.Add(1)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.history = append(l.history, h)
	l.txns++
	switch {
	case conflict:
		l.conflicts++
	case h.Outcome == history.Committed:
		l.committed++
	case h.Outcome == history.Unknown:
		l.unknown++
	}
	return err
}

func (t *recordedTx) random() error {
	ops := []func(*recordedTx, string) error{
		(*recordedTx).append, (*recordedTx).readList, (*recordedTx).replace, (*recordedTx).lookRegister,
		(*recordedTx).appendChain, (*recordedTx).readChain, (*recordedTx).readList, (*recordedTx).lookRegister,
	}
	if t.rng.IntN(4) == 0 { // sets cost most to check
		ops = []func(*recordedTx, string) error{(*recordedTx).add, (*recordedTx).members}
	}
	return ops[t.rng.IntN(len(ops))](t, strconv.Itoa(t.rng.IntN(txKeys)))
}

func (t *recordedTx) append(key string) error {
	o, err := db.Get[*listObject](t.ctx, t, "l/"+key)
	if err != nil {
		return err
	}
	v := int(t.l.value.Add(1))
	o.V = append(o.V, v)
	t.note(history.Append, "l/"+key, v, nil)
	return nil
}

func (t *recordedTx) readList(key string) error {
	o, err := db.Read[*listObject](t.ctx, t.Tx, "l/"+key)
	if err != nil {
		return err
	}
	t.note(history.Read, "l/"+key, 0, slices.Clone(o.V))
	return nil
}

func seenValue(v int) []int {
	if v == 0 {
		return nil
	}
	return []int{v}
}

// replace overwrites a register in place, or binds its variable anew.
func (t *recordedTx) replace(key string) error {
	name := "r/" + key
	o, err := db.Get[*registerObject](t.ctx, t, name)
	if err != nil {
		return err
	}
	was, v := o.V, int(t.l.value.Add(1))
	if t.rng.IntN(4) == 0 {
		err = t.Put(t.ctx, name, &registerObject{V: v, Text: o.Text})
	} else {
		o.V = v
	}
	if t.l.dirty {
		t.l.inFlight.Store(name, v)
	}
	t.note(history.Replace, name, v, seenValue(was))
	return err
}

func (t *recordedTx) lookRegister(key string) error {
	o, err := db.Read[*registerObject](t.ctx, t.Tx, "r/"+key)
	if err != nil {
		return err
	}
	v := o.V
	if other, ok := t.l.inFlight.Load("r/" + key); ok && len(t.ops) == 0 {
		v = other.(int)
	}
	t.note(history.Look, "r/"+key, 0, seenValue(v))
	return nil
}

func (t *recordedTx) add(key string) error {
	v := int(t.l.value.Add(1))
	t.note(history.Add, "s/"+key, v, nil)
	return t.Put(t.ctx, fmt.Sprintf("s/%s/%0*d", key, setValueLen, v), v)
}

// members walks the names of a set, in one of the two directions.
func (t *recordedTx) members(key string) error {
	prefix := "s/" + key + "/"
	seq := t.Names(t.ctx, prefix)
	if t.rng.IntN(2) == 0 {
		seq = t.NamesBackward(t.ctx, prefix)
	}
	var seen []int
	for name, err := range seq {
		if err != nil {
			return err
		}
		v, err := strconv.Atoi(name[len(prefix):])
		if err != nil {
			return err
		}
		seen = append(seen, v)
	}
	t.note(history.Members, "s/"+key, 0, seen)
	return nil
}

// chain returns the shared head of a linked list, through one of its two variables.
func (t *recordedTx) chain(key string, write bool) (*chainHead, error) {
	name := []string{"c/a/", "c/b/"}[t.rng.IntN(2)] + key
	var h *chainHolder
	var err error
	if write {
		h, err = db.Get[*chainHolder](t.ctx, t, name)
	} else {
		h, err = db.Read[*chainHolder](t.ctx, t.Tx, name)
	}
	if err != nil {
		return nil, err
	}
	return h.Head, nil
}

func (t *recordedTx) appendChain(key string) error {
	h, err := t.chain(key, true)
	if err != nil {
		return err
	}
	v := int(t.l.value.Add(1))
	at := &h.First
	for *at != nil {
		at = &(*at).Next
	}
	*at = &chainLink{V: v}
	t.note(history.Append, "c/"+key, v, nil)
	return nil
}

func (t *recordedTx) readChain(key string) error {
	h, err := t.chain(key, false)
	if err != nil {
		return err
	}
	var seen []int
	for at := h.First; at != nil; at = at.Next {
		seen = append(seen, at.V)
	}
	t.note(history.Read, "c/"+key, 0, seen)
	return nil
}
