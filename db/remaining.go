package db

import (
	"context"
	"maps"
	"slices"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/mvcc"
	"github.com/poddb/poddb/podder"
)

// storedSink is a transaction as the sink of a save that asks for the variables which
// it leaves alone.
type storedSink struct {
	*mvcc.Tx
	remaining func(context.Context) (pod.Source, []string, error)
}

var _ interface {
	pod.RatedSink
	pod.BatchSink
	podder.Catalogue
	podder.StoredSink
} = storedSink{}

func (s storedSink) Stored(ctx context.Context) (pod.Source, []string, error) {
	return s.remaining(ctx)
}

// remaining returns the base and its variables that were not deleted here.
func (ns *Namespace) remaining(context.Context) (pod.Source, []string, error) {
	var names []string
	for n := range ns.stored {
		if _, gone := ns.deleted[n]; !gone {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return ns.base.sn, names, nil
}

// remaining returns the base and its variables that were not deleted here.
func (tx *Tx) remaining(ctx context.Context) (pod.Source, []string, error) {
	names, err := namesAt(ctx, tx.sn)
	if err != nil {
		return nil, nil, err
	}
	for n := range tx.deleted {
		delete(names, n)
	}
	return tx.sn, slices.Sorted(maps.Keys(names)), nil
}
