package mvcc

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"sync"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// catalogue remembers the types that were asked for since Open, so that a
// descriptor has one id even while the commit that brings it is not durable:
// every transaction that uses it before that writes the same rows.
type catalogue struct {
	mu    sync.Mutex
	known map[contentKey]*knownType
	// durable finds those of known whose rows are durable by their descriptors: each transaction
	// asks for its types, and hashing takes longer than all else.
	durable map[string]pod.TypeID
}

type knownType struct {
	id         pod.TypeID
	descriptor []byte
	durable    bool
}

// id returns the id of a descriptor and whether its rows are durable.
func (c *catalogue) id(s *Store, descriptor []byte) (pod.TypeID, bool, error) {
	c.mu.Lock()
	id, ok := c.durable[string(descriptor)]
	c.mu.Unlock()
	if ok {
		return id, true, nil
	}
	key := blake(descriptor)
	c.mu.Lock()
	defer c.mu.Unlock()
	k := c.known[key]
	if k == nil {
		id, stored, err := s.storedType(key)
		if err != nil {
			return 0, false, err
		}
		k = &knownType{id, stored, stored != nil}
		if !k.durable {
			n := s.next.typ.Add(1) - 1
			if n > math.MaxUint32 {
				return 0, false, fmt.Errorf("%w: no type id left", dberr.ErrTooLarge)
			}
			k.id, k.descriptor = pod.TypeID(n), bytes.Clone(descriptor)
		}
		if c.known == nil {
			c.known = map[contentKey]*knownType{}
		}
		c.known[key] = k
	}
	if !bytes.Equal(k.descriptor, descriptor) {
		return 0, false, corrupt("type %d has another descriptor of the same hash", k.id)
	}
	if k.durable {
		setIn(&c.durable, string(descriptor), k.id)
	}
	return k.id, k.durable, nil
}

// storedType looks a descriptor up by its hash.
func (s *Store) storedType(key contentKey) (pod.TypeID, []byte, error) {
	v, err := s.view()
	if err != nil {
		return 0, nil, err
	}
	defer v.close()
	b, ok, err := v.get(hashKey(kindTypeHash, key))
	if err != nil || !ok {
		return 0, nil, err
	}
	if len(b) != 4 {
		return 0, nil, corrupt("type hash row of %d bytes", len(b))
	}
	id := pod.TypeID(be.Uint32(b))
	d, err := v.descriptor(id)
	return id, d, err
}

// settled notes that the rows of types are durable.
func (c *catalogue) settled(types map[pod.TypeID][]byte) {
	if len(types) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range types {
		if k := c.known[blake(d)]; k != nil {
			k.durable = true
		}
	}
}

// Types calls fn with every type of the catalogue from an id on, in order of
// ids. The descriptor is valid during the call.
func (s *Store) Types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	v, err := s.view()
	if err != nil {
		return err
	}
	defer v.close()
	return v.types(ctx, from, fn)
}

func (v *view) types(ctx context.Context, from pod.TypeID, fn func(pod.TypeID, []byte) error) error {
	c := v.seek(typeKey(from))
	for n := 0; ; n++ {
		key, env, ok := c.at()
		if !ok || key[0] != kindType {
			return c.err()
		}
		if n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if len(key) != 5 {
			return corrupt("type key %x", key)
		}
		id := pod.TypeID(be.Uint32(key[1:]))
		d, err := v.open(env)
		if err != nil {
			return fmt.Errorf("type %d: %w", id, err)
		}
		if err := fn(id, d); err != nil {
			return err
		}
		c.next()
	}
}
