package db

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// updating is the key under which the context of an Update's function carries
// the database.
type updating struct{ d *DB }

// Pauses between the attempts of an Update: a random part of a time that doubles
// each time, from the first up to the last.
const (
	firstPause = 100 * time.Microsecond
	lastPause  = 20 * time.Millisecond

	defaultAttempts = 100
)

// Update runs fn in a transaction and commits it. After a conflict, and nothing
// else, it runs fn again in a new transaction on the newest version, after a
// short random pause; so fn may run several times, and should change nothing but
// what it gets from its transaction. The context given to fn marks it: another
// Update of the same database with it is ErrNested.
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
	inner := context.WithValue(ctx, updating{d}, true)
	pause := firstPause
	for attempt := 1; ; attempt++ {
		v, again, err := d.attempt(ctx, inner, fn, o, attempt == o.Attempts)
		if !again {
			return v, err
		}
		if attempt == o.Attempts {
			var c *ConflictError
			errors.As(err, &c)
			c.Attempts = attempt
			return 0, err
		}
		if stopped := d.sleep(ctx, time.Duration(d.store.Random()%uint64(pause))); stopped != nil {
			return 0, fmt.Errorf("%w, after %d attempts that ended in a conflict", stopped, attempt)
		}
		pause = min(2*pause, lastPause)
	}
}

// attempt is one run of an Update; again says that it ended in a conflict.
func (d *DB) attempt(ctx, inner context.Context, fn func(context.Context, *Tx) error, o TxOptions, last bool) (_ Version, again bool, _ error) {
	tx, err := d.begin(ctx, o)
	if err != nil {
		return 0, false, d.named(err)
	}
	defer tx.Rollback() // if fn fails or panics
	if err := fn(inner, tx); err != nil {
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
		s.sn, err = d.openHead(ctx, o.Branch)
	}
	if err != nil {
		return d.named(err)
	}
	defer s.Close()
	return fn(ctx, s)
}
