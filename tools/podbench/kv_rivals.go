package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	bolt "go.etcd.io/bbolt"
)

// Rivals are durable (every change is synced) and otherwise run with the options
// that serve them best here: large caches, no compression of what does not
// compress, no work that the workload does not need.

// noiseOf is the noise of an object as it is loaded.
func noiseOf(key, n int) []byte { return noise(rand.New(rand.NewPCG(77, uint64(key))), n) }

// bboltKV keeps objects in one bucket. "bbolt-batch" changes them by Batch, which
// gathers what several goroutines want in one transaction; "bbolt-batch16" does
// not wait for more once 16 want something.
type bboltKV struct {
	d    *bolt.DB
	size int
	do   func(func(*bolt.Tx) error) error
}

var kvBucket = []byte("kv")

func newBboltKV(s kvSpec) (kvStore, error) {
	d, err := bolt.Open(filepath.Join(s.Dir, "kv.bolt"), 0o600, &bolt.Options{
		NoFreelistSync: true, FreelistType: bolt.FreelistMapType, InitialMmapSize: 8 << 30,
	})
	if err != nil {
		return nil, err
	}
	k := &bboltKV{d: d, size: s.Size, do: d.Update}
	if strings.HasPrefix(s.System, "bbolt-batch") {
		k.do = d.Batch
	}
	if s.System == "bbolt-batch16" {
		d.MaxBatchSize, d.MaxBatchDelay = 16, time.Millisecond
	}
	return k, d.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(kvBucket)
		return err
	})
}

func (k *bboltKV) load(_ context.Context, n int) error {
	k.d.NoSync = true
	for from := 0; from < n; from += loadBatch {
		err := k.d.Update(func(tx *bolt.Tx) error {
			b := tx.Bucket(kvBucket)
			b.FillPercent = 0.9
			for i := from; i < min(n, from+loadBatch); i++ {
				if err := b.Put([]byte(kvName(i)), kvBody(nil, 0, noiseOf(i, k.size-8))); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	k.d.NoSync = false
	return k.d.Sync()
}

func (k *bboltKV) change(_ context.Context, key int, noise []byte) error {
	name := []byte(kvName(key))
	return k.do(func(tx *bolt.Tx) error {
		b := tx.Bucket(kvBucket)
		n, err := kvCounter(b.Get(name))
		if err != nil {
			return err
		}
		return b.Put(name, kvBody(nil, n+1, noise))
	})
}

func (k *bboltKV) get(_ context.Context, key int) (n uint64, err error) {
	err = k.d.View(func(tx *bolt.Tx) (err error) {
		n, err = kvCounter(tx.Bucket(kvBucket).Get([]byte(kvName(key))))
		return err
	})
	return n, err
}

func (k *bboltKV) close() error { return k.d.Close() }

// badgerKV is badger with SyncWrites.
type badgerKV struct {
	d    *badger.DB
	size int
}

func newBadgerKV(s kvSpec) (kvStore, error) {
	d, err := badger.Open(badger.DefaultOptions(filepath.Join(s.Dir, "badger")).
		WithSyncWrites(true).WithLogger(nil).WithMetricsEnabled(false).
		WithCompression(options.None).WithBlockCacheSize(s.Cache).WithValueThreshold(8 << 10))
	return &badgerKV{d, s.Size}, err
}

func (k *badgerKV) load(_ context.Context, n int) error {
	b := k.d.NewWriteBatch()
	defer b.Cancel()
	for i := range n {
		if err := b.Set([]byte(kvName(i)), kvBody(nil, 0, noiseOf(i, k.size-8))); err != nil {
			return err
		}
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return k.d.Flatten(2)
}

func (k *badgerKV) change(_ context.Context, key int, noise []byte) error {
	name := []byte(kvName(key))
	for {
		err := k.d.Update(func(tx *badger.Txn) error {
			it, err := tx.Get(name)
			if err != nil {
				return err
			}
			var n uint64
			if err := it.Value(func(b []byte) (err error) { n, err = kvCounter(b); return err }); err != nil {
				return err
			}
			return tx.Set(name, kvBody(nil, n+1, noise))
		})
		if !errors.Is(err, badger.ErrConflict) {
			return err
		}
	}
}

func (k *badgerKV) get(_ context.Context, key int) (n uint64, err error) {
	err = k.d.View(func(tx *badger.Txn) error {
		it, err := tx.Get([]byte(kvName(key)))
		if err != nil {
			return err
		}
		return it.Value(func(b []byte) (err error) { n, err = kvCounter(b); return err })
	})
	return n, err
}

func (k *badgerKV) close() error { return k.d.Close() }

// pebbleKV is pebble with synced batches. It has no transactions that would find
// a conflict; its reads before writes are unprotected.
type pebbleKV struct {
	d    *pebble.DB
	size int
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func newPebbleKV(s kvSpec) (kvStore, error) {
	cache := pebble.NewCache(s.Cache)
	defer cache.Unref()
	o := &pebble.Options{
		Cache: cache, MemTableSize: 64 << 20, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest,
		L0CompactionThreshold: 4, CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	for i := range o.Levels {
		o.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
		o.Levels[i].Compression = func() *block.CompressionProfile { return block.NoCompression }
	}
	d, err := pebble.Open(filepath.Join(s.Dir, "pebble"), o)
	return &pebbleKV{d, s.Size}, err
}

func (k *pebbleKV) load(ctx context.Context, n int) error {
	for from := 0; from < n; from += loadBatch {
		b := k.d.NewBatch()
		for i := from; i < min(n, from+loadBatch); i++ {
			if err := b.Set([]byte(kvName(i)), kvBody(nil, 0, noiseOf(i, k.size-8)), nil); err != nil {
				return err
			}
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			return err
		}
	}
	if err := k.d.Flush(); err != nil {
		return err
	}
	return k.d.Compact(ctx, []byte("u"), []byte("v"), true)
}

func (k *pebbleKV) change(ctx context.Context, key int, noise []byte) error {
	n, err := k.get(ctx, key)
	if err != nil {
		return err
	}
	return k.d.Set([]byte(kvName(key)), kvBody(nil, n+1, noise), pebble.Sync)
}

func (k *pebbleKV) get(_ context.Context, key int) (uint64, error) {
	b, c, err := k.d.Get([]byte(kvName(key)))
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return kvCounter(b)
}

func (k *pebbleKV) close() error { return k.d.Close() }

// logKV is the floor for changes: a bare log with one sync per group.
type logKV struct{ log *bareLog }

func newLogKV(s kvSpec) (kvStore, error) {
	log, err := newBareLog(filepath.Join(s.Dir, "bare.log"))
	return &logKV{log}, err
}

func (k *logKV) load(context.Context, int) error { return nil }

func (k *logKV) change(_ context.Context, _ int, noise []byte) error {
	return k.log.append(kvBody(nil, 0, noise))
}

func (k *logKV) get(context.Context, int) (uint64, error) {
	return 0, errors.New("a bare log reads nothing")
}

func (k *logKV) close() error { k.log.close(); return nil }
