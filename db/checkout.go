package db

import (
	"context"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// CheckoutOptions refines Checkout.
type CheckoutOptions struct {
	// Force gives up changes that were never saved.
	Force bool
}

// Checkout brings the live variables back to an earlier version, in place:
// objects that lived then, all the time since, and live now keep their
// addresses, so the pointers that the program holds see the old state. All
// others get new memory: what they were since, or what is no part of the old
// state, is left as it is. Mutexes and fields tagged `pod:"-"` are left alone.
// Everything is fetched and decoded before the first object is touched, so an
// error means that nothing changed.
//
// All variables of that version come to life, loaded before or not. A variable
// that had another type then gets that type back. Types are found among those
// that this namespace has ever saved or loaded and the registered ones.
//
// Afterwards Base is the head of the branch: what differs from it is unsaved,
// and the next Save commits it on top. Variables that did not exist then are
// deleted by that Save. Changes that were never saved are ErrUnsaved unless
// forced. Moved lists variables whose value could not keep its address.
//
// Errors: ErrUnsaved, ErrNotFound (no such version), ErrUnregistered (the
// program does not know the type of something stored: load the variable or
// register the type before), ErrTypeMismatch (a type of the program does not
// fit what is stored under its name), ErrCorrupt, ErrTooLarge.
func (ns *Namespace) Checkout(ctx context.Context, v Version, opts ...CheckoutOptions) (err error) {
	defer func() { err = ns.d.named(err) }()
	force := len(opts) > 0 && opts[len(opts)-1].Force
	if err := ns.lockToRun(ctx); err != nil {
		return err
	}
	defer ns.unlock()
	if !force {
		if err := ns.unsaved(ctx); err != nil {
			return err
		}
	}
	then, err := ns.d.store.At(ctx, v)
	if err != nil {
		return err
	}
	defer then.Close()
	head, err := ns.d.store.AtHead(ctx, ns.branch)
	if err != nil {
		return err
	}
	if err := ns.restore(ctx, then, head); err != nil {
		head.Close()
		return err
	}
	return nil
}

// restore makes the live objects, which are those of the base but for unsaved
// changes, what they are in then, to be saved on top of head, the new base.
func (ns *Namespace) restore(ctx context.Context, then, head *mvcc.Snapshot) error {
	stored, err := namesAt(ctx, head)
	if err != nil {
		return err
	}
	names, roots, rebound, err := bindings(ctx, then, head)
	if err != nil {
		return err
	}
	restored, err := ns.graph.Restore(ctx, then, names, podder.History{
		Head:      headStates(ctx, then, head),
		LiveFreed: freedSince(ctx, then, ns.base.sn),
		HeadFreed: freedSince(ctx, then, head),
	})
	if err != nil {
		return err
	}
	for n := range ns.live {
		if _, ok := roots[n]; !ok {
			delete(ns.live, n)
			ns.graph.Forget(n)
		}
	}
	for n, root := range roots {
		ns.live[n] = variable{value: restored.Values[n], root: root}
	}
	clear(ns.deleted)
	for n := range stored {
		if _, ok := roots[n]; !ok {
			ns.deleted[n] = struct{}{}
		}
	}
	ns.stored, ns.moved, ns.rebound = stored, restored.Moved, rebound
	ns.base.move(head)
	ns.base.followed.Pass(head.Version())
	return nil
}

// bindings lists the variables of then with their root pods, and those of them
// that head binds to another pod or not at all.
func bindings(ctx context.Context, then, head *mvcc.Snapshot) (names []string, roots, rebound map[string]pod.ID, err error) {
	roots, rebound = map[string]pod.ID{}, map[string]pod.ID{}
	for n, err := range then.Names(ctx, "") {
		if err != nil {
			return nil, nil, nil, err
		}
		root, err := then.Root(ctx, n)
		if err != nil {
			return nil, nil, nil, err
		}
		names, roots[n] = append(names, n), root
		now, err := head.Root(ctx, n)
		if known, err := found(err); err != nil {
			return nil, nil, nil, err
		} else if !known || now != root {
			rebound[n] = root
		}
	}
	return names, roots, rebound, nil
}

// headStates gives pods as head has them, nil where that is what then has.
func headStates(ctx context.Context, then, head *mvcc.Snapshot) func([]pod.ID) ([]*pod.Pod, error) {
	return func(ids []pod.ID) ([]*pod.Pod, error) {
		states := make([]*pod.Pod, len(ids))
		var differ []pod.ID
		var at []int
		for i, id := range ids {
			a, err := then.Number(ctx, id)
			if err != nil {
				return nil, err
			}
			b, err := head.Number(ctx, id)
			there, err := found(err)
			if err != nil {
				return nil, err
			}
			if !there {
				states[i] = podder.CollectedPod()
			} else if a != b {
				differ, at = append(differ, id), append(at, i)
			}
		}
		now, err := head.Pods(ctx, differ)
		if err != nil {
			return nil, err
		}
		for k, i := range at {
			states[i] = now[k]
		}
		return states, nil
	}
}

// freedSince tells which slots were out of use between two versions.
func freedSince(ctx context.Context, then, now *mvcc.Snapshot) podder.FreedSlots {
	return func(id pod.ID) (func(pod.Slot) bool, error) { return then.Freed(ctx, id, now) }
}

// Moved lists the variables whose value could not keep its address in the
// newest Checkout or Undo: pointers that the program held to it are detached. What is
// written through them is not stored, and no error says so: get those variables again.
func (ns *Namespace) Moved() (names []string) {
	ns.look(func() { names = slices.Clone(ns.moved) })
	return names
}

// unsaved is ErrUnsaved if a Save now would write something.
func (ns *Namespace) unsaved(ctx context.Context) error {
	if n := len(ns.deleted) + len(ns.rebound); n > 0 {
		return fmt.Errorf("%w: %d variables deleted or brought back since version %d", ErrUnsaved, n, ns.base.version())
	}
	tx, err := ns.d.store.Begin(ctx, ns.branch, ns.base.version())
	if err != nil {
		return err
	}
	defer tx.Rollback()
	probe := dirtyProbe{Tx: tx}
	saved, err := ns.graph.Save(ctx, ns.roots(), &probe)
	if err != nil {
		return err
	}
	saved.Abort()
	if probe.pods > 0 || probe.names > 0 {
		return fmt.Errorf("%w: %d pods and %d names differ from version %d", ErrUnsaved, probe.pods, probe.names, ns.base.version())
	}
	return nil
}

// dirtyProbe is a sink that counts what a save would write and keeps nothing.
// Ids come from the transaction, so that bytes are what they would be.
type dirtyProbe struct {
	*mvcc.Tx
	pods, names int
}

func (p *dirtyProbe) Put(context.Context, *pod.Change) error {
	p.pods++
	return nil
}

func (p *dirtyProbe) SetName(context.Context, string, pod.ID) error {
	p.names++
	return nil
}
