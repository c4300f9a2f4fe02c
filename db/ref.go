package db

import (
	"context"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/podder"
)

// Ref is a pointer to a T that does not pull in what it leads to: reading an object
// with a Ref reads nothing behind it until Get is called, and what is behind it is
// stored apart, so that changing it neither reads nor writes nor collides with what
// is around the Ref. It may be used wherever a pointer may: in structs, slices, map
// elements, interfaces, cycles. The zero value is nil.
//
//	type Customer struct {
//		Name   string
//		Orders db.Ref[[]*Order]
//	}
//
// A Ref is a value. Copies of one that was read share what they lead to: once one of
// them was loaded all are. Refs are not compared with ==; compare what Get returns.
//
// Identity is kept within a transaction, a namespace, and what one call of Get or
// Load reads from a Snapshot: all Refs and plain pointers to one object give the same
// *T. Get reads the version that its transaction, snapshot or namespace has. What was
// changed in an object that a Ref led to is found at Commit or Save as any change is.
//
// A Ref that was not loaded may be copied, moved and stored within the transaction or
// namespace that it was read in; nothing is loaded for that. Stored elsewhere (an
// object of a Snapshot that is Put into a transaction) its object is loaded then, and
// copied as all others are; if that fails, so does Commit, with the path. Checkout
// loads what the Refs of a namespace lead to, since all of it may have to be written.
//
// Get, Loaded and IsNil may be called by many goroutines at once, also on Refs of one
// Snapshot that lead to one object. Set is a write, like an assignment: nobody may
// use that variable meanwhile. In a transaction, which is used by one goroutine at a
// time, Get of a Ref that is not loaded is ErrTxBusy while another call runs. Get
// waits for a Save of its namespace, no longer than its context lasts; in methods that Save
// calls (BeforeStore, MarshalPod) it is ErrNested, and it is refused in those that a load calls.
type Ref[T any] struct {
	ref podder.Ref[T]
}

// NewRef returns a Ref to p, nil if p is nil.
func NewRef[T any](p *T) Ref[T] { return Ref[T]{podder.NewRef(p)} }

// Get returns the object, and loads it if this is the first use. A nil Ref gives nil.
//
// Errors, if it has to be loaded: ErrTxDone (its transaction is over), ErrTxBusy,
// ErrClosed (its snapshot or database is closed), ErrDetached (the object with
// the Ref has left its namespace by a Checkout, or was dropped and a Collect has taken
// away what the Ref led to), ErrTypeMismatch, ErrUnregistered,
// ErrCorrupt, ErrTooLarge, the context's. After an error it may be tried again.
func (r Ref[T]) Get(ctx context.Context) (*T, error) { return r.ref.Get(ctx) }

// Loaded returns the object if it is in memory, and whether it is; nil and true of a
// nil Ref. It never reads.
func (r Ref[T]) Loaded() (*T, bool) { return r.ref.Loaded() }

// IsNil reports whether the Ref leads nowhere. It never reads.
func (r Ref[T]) IsNil() bool { return r.ref.IsNil() }

// Set has the Ref lead to p. Copies of the Ref go on leading where they did.
func (r *Ref[T]) Set(p *T) { r.ref = podder.NewRef(p) }

// keepRefs has Refs of the namespace load from what is its base when they are used.
func (ns *Namespace) keepRefs() {
	ns.graph.KeepRefs(func(ctx context.Context, fn func(pod.Source) error) error {
		if err := ns.lockToRun(ctx); err != nil {
			return err
		}
		defer ns.unlock()
		if err := ctx.Err(); err != nil {
			return err
		}
		return ns.d.named(fn(ns.base.sn))
	})
}

// keepRefs has Refs of the transaction load from its base.
func (tx *Tx) keepRefs() {
	tx.graph.KeepRefs(func(ctx context.Context, fn func(pod.Source) error) error {
		if err := tx.enter(); err != nil {
			return err
		}
		defer tx.leave()
		if err := ctx.Err(); err != nil {
			return err
		}
		return tx.d.named(fn(tx.sn))
	})
}
