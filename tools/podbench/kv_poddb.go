package main

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/poddb/poddb/db"
)

// The objects of poddb are Go values behind one variable each.
type (
	object128 struct {
		N    uint64
		Body [120]byte
	}
	object4k struct {
		N    uint64
		Body [4088]byte
	}
	objectAny struct {
		N    uint64
		Body []byte
	}
)

func (o *object128) parts() (*uint64, []byte) { return &o.N, o.Body[:] }
func (o *object4k) parts() (*uint64, []byte)  { return &o.N, o.Body[:] }
func (o *objectAny) parts() (*uint64, []byte) { return &o.N, o.Body }

// kvObject is a pointer to an object.
type kvObject interface{ parts() (*uint64, []byte) }

// poddbKV is the package db that users import, with its default options but for
// the size of its caches: durable, serializable, every version kept.
type poddbKV[P kvObject] struct {
	d    *db.DB
	make func() P
}

func newPoddbKV(ctx context.Context, s kvSpec) (kvStore, error) {
	d, err := db.Open(ctx, filepath.Join(s.Dir, "kv.pod"), &db.Options{MemoryBytes: s.Cache})
	if err != nil {
		return nil, err
	}
	switch s.Size {
	case 128:
		return &poddbKV[*object128]{d, func() *object128 { return new(object128) }}, nil
	case 4096:
		return &poddbKV[*object4k]{d, func() *object4k { return new(object4k) }}, nil
	}
	return &poddbKV[*objectAny]{d, func() *objectAny { return &objectAny{Body: make([]byte, s.Size-8)} }}, nil
}

// loadBatch is how many objects a store loads in one transaction.
const loadBatch = 10_000

func (k *poddbKV[P]) load(ctx context.Context, n int) error {
	for from := 0; from < n; from += loadBatch {
		_, err := k.d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
			for i := from; i < min(n, from+loadBatch); i++ {
				o := k.make()
				_, body := o.parts()
				copy(body, noiseOf(i, len(body)))
				if err := tx.Put(ctx, kvName(i), o); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return k.d.Checkpoint(ctx)
}

func (k *poddbKV[P]) change(ctx context.Context, key int, noise []byte) error {
	name := kvName(key)
	_, err := k.d.Update(ctx, func(ctx context.Context, tx *db.Tx) error {
		o, err := db.Get[P](ctx, tx, name)
		if err != nil {
			return err
		}
		n, body := o.parts()
		*n++
		copy(body, noise)
		return nil
	}, db.TxOptions{Attempts: 1 << 20})
	return err
}

func (k *poddbKV[P]) get(ctx context.Context, key int) (n uint64, err error) {
	err = k.d.View(ctx, func(ctx context.Context, s *db.Snapshot) error {
		o, err := db.Get[P](ctx, s, kvName(key))
		if err == nil {
			p, _ := o.parts()
			n = *p
		}
		return err
	})
	return n, err
}

func (k *poddbKV[P]) prune(ctx context.Context) error {
	_, err := k.d.Prune(ctx, db.PruneOptions{Policy: db.KeepLast(100)})
	return err
}

func (k *poddbKV[P]) checkpoints() uint64 { return uint64(k.d.Stats().Checkpoints) }

func (k *poddbKV[P]) close() error {
	if err := k.d.Close(); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
