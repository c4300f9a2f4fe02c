package db

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/poddb/poddb/mvcc"
)

// updating is the key under which the context of an Update's function carries
// the database.
type updating struct{ d *DB }

// Pauses between the first attempts of an Update: a random part of a time that doubles
// each time.
const (
	firstPause = 100 * time.Microsecond

	defaultAttempts = 100
)

// An Update that has lost turnAfter times takes the branch's turn: from then on commits of others on
// that branch wait until it is done, but no longer than turnFactor times as long as its
// longest attempt took, within these bounds.
const (
	turnAfter  = 8
	turnFactor = 4
	turnLeast  = 100 * time.Millisecond
	turnMost   = 5 * time.Second
)

// Update runs fn in a transaction and commits it. After a conflict, and nothing
// else, it runs fn again in a new transaction on the newest version, after a
// short random pause; so fn may run several times, and should change nothing but
// what it gets from its transaction. The context given to fn marks it: another
// Update of the same database with it is ErrNested.
//
// One that reads much and runs long would lose for ever among many small ones. So after eight
// conflicts an Update waits for its turn: in the order of asking, one Update of a branch at a time has other commits
// on that branch wait, whoever makes them, until it has committed or failed, but at
// most four times as long as its longest attempt took, at least 100 ms and at most 5 s. That is also
// the longest that any commit waits for it. Within fn, commits with the context that fn was given do
// not wait; others would wait until the turn is over.
//
// An error of fn rolls back and is returned as it is. A panic of fn rolls back
// and goes on. fn must not end its transaction itself: ErrTxDone.
//
// Other errors: those of Begin and Commit; ErrRetriesExhausted, a ConflictError,
// after TxOptions.Attempts conflicts.
func (d *DB) Update(ctx context.Context, fn func(ctx context.Context, tx *Tx) error, opts ...TxOptions) (Version, error) {
	var o TxOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	o, err := o.check()
	if err != nil {
		return 0, err
	}
	if o.Base != 0 {
		return 0, fmt.Errorf("%w: Update starts from the newest version, not from TxOptions.Base %d", ErrInvalid, o.Base)
	}
	if ctx.Value(updating{d}) != nil {
		return 0, ErrNested
	}
	if o.Attempts == 0 {
		o.Attempts = defaultAttempts
	}
	u := &updater{d: d, o: o, fn: fn, inner: context.WithValue(ctx, updating{d}, true), pause: firstPause}
	defer u.endTurn()
	return u.run(ctx)
}

// updater is one Update under way.
type updater struct {
	d       *DB
	o       TxOptions
	fn      func(context.Context, *Tx) error
	inner   context.Context // for fn
	pause   time.Duration   // at most, before the next attempt
	longest time.Duration   // of the attempts
	turn    *mvcc.Turn      // nil until there is one
	stop    func() bool     // of what ends it in time
}

func (u *updater) run(ctx context.Context) (Version, error) {
	for attempt := 1; ; attempt++ {
		start := u.d.now()
		v, again, err := u.attempt(ctx, attempt == u.o.Attempts)
		if !again {
			return v, err
		}
		if attempt == u.o.Attempts {
			var c *ConflictError
			errors.As(err, &c)
			c.Attempts = attempt
			return 0, err
		}
		u.longest = max(u.longest, u.d.now().Sub(start))
		if attempt >= turnAfter {
			err = u.takeTurn(ctx)
		} else {
			err = u.d.sleep(ctx, time.Duration(u.d.store.Random()%uint64(u.pause)))
			u.pause *= 2
		}
		if stopped := ctx.Err(); err != nil && stopped != nil {
			return 0, fmt.Errorf("%w, after %d attempts that ended in a conflict", stopped, attempt)
		}
		if err != nil {
			return 0, u.d.named(err)
		}
	}
}

// takeTurn waits for the branch's turn, unless the Update has it still.
func (u *updater) takeTurn(ctx context.Context) error {
	if u.turn != nil && !u.turn.Over() {
		return nil
	}
	u.endTurn()
	turn, err := u.d.store.AwaitTurn(ctx, u.o.Branch)
	if err != nil {
		return err
	}
	u.turn = turn
	u.stop = u.d.after(turnLimit(u.longest), turn.End).Stop
	return nil
}

// turnLimit is how long a turn lasts at most after attempts that took that long.
func turnLimit(longest time.Duration) time.Duration {
	return max(turnLeast, turnFactor*min(longest, turnMost/turnFactor))
}

func (u *updater) endTurn() {
	if u.turn != nil {
		u.stop()
		u.turn.End()
		u.turn = nil
	}
}

// attempt is one run of an Update; again says that it ended in a conflict.
func (u *updater) attempt(ctx context.Context, last bool) (_ Version, again bool, _ error) {
	tx, err := u.d.begin(ctx, u.o)
	if err != nil {
		return 0, false, u.d.named(err)
	}
	inner := u.inner
	if u.turn != nil {
		ctx, inner = u.turn.In(ctx), u.turn.In(inner)
	}
	defer func() { // if fn fails or panics
		if tx.Rollback() != nil { // a goroutine that fn has left behind uses it
			tx.endWhenLost()
		}
	}()
	if err := u.fn(inner, tx); err != nil {
		return 0, false, err // also if it is a conflict, of something else
	}
	v, err := tx.commit(ctx, last)
	again = errors.Is(err, ErrConflict)
	if again {
		tx.tx.AwaitRival(ctx)
	}
	return v, again, err
}

// sleep waits, or returns the context's error.
func (d *DB) sleep(ctx context.Context, pause time.Duration) error {
	t := d.newTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ViewOptions says what View shows.
type ViewOptions struct {
	Branch  string  // "" means main
	Version Version // 0 means the newest of Branch
}

// View runs fn with a snapshot of the newest version of a branch, or of the given
// one, and closes it afterwards, also when fn panics. The error of fn is
// returned as it is. It blocks nobody, and nothing makes it fail because of
// others. It may be used within Update, whose changes it does not see.
func (d *DB) View(ctx context.Context, fn func(ctx context.Context, s *Snapshot) error, opts ...ViewOptions) error {
	var o ViewOptions
	if len(opts) > 0 {
		o = opts[len(opts)-1]
	}
	if o.Branch == "" {
		o.Branch = mainBranch
	}
	s := &Snapshot{d: d}
	var err error
	if o.Version != 0 {
		s.sn, err = d.store.At(ctx, o.Version)
	} else {
		s.sn, err = d.store.AtHead(ctx, o.Branch)
	}
	if err != nil {
		return d.named(err)
	}
	defer s.Close()
	return fn(ctx, s)
}
