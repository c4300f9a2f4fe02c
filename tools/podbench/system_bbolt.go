package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"maps"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// bbolt keeps one gob value per variable and version in a key-value store. A
// variable is encoded at every save and written where its bytes changed; the key
// is name, zero byte, version, and an empty value means deleted.
type bbolt struct {
	path  string
	d     *bolt.DB
	seed  maphash.Seed
	sums  map[string]uint64
	saves int
}

var bboltBucket = []byte("variables")

func newBbolt(dir string, w workload) (system, error) {
	registerGob(w.types())
	s := &bbolt{path: filepath.Join(dir, "app.bolt"), seed: maphash.MakeSeed(), sums: map[string]uint64{}}
	if err := s.reopen(context.Background()); err != nil {
		return nil, err
	}
	return s, s.d.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucketIfNotExists(bboltBucket)
		return err
	})
}

func (s *bbolt) prepare(w workload) error {
	_, err := expanded(w.flat())
	return err
}

func bboltKey(name string, version int) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(name), 0), uint64(version))
}

func (s *bbolt) save(_ context.Context, w workload, d delta) error {
	vars := w.flat()
	err := s.d.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bboltBucket)
		for _, name := range d.deleted {
			delete(s.sums, name)
			if err := b.Put(bboltKey(name, s.saves), nil); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(vars)) {
			var buf bytes.Buffer
			if err := encodeGob(&buf, map[string]any{name: vars[name]}); err != nil {
				return err
			}
			sum := maphash.Bytes(s.seed, buf.Bytes())
			if old, ok := s.sums[name]; ok && old == sum {
				continue
			}
			s.sums[name] = sum
			if err := b.Put(bboltKey(name, s.saves), buf.Bytes()); err != nil {
				return err
			}
		}
		return nil
	})
	s.saves++
	return err
}

func (s *bbolt) close() error { return s.d.Close() }

func (s *bbolt) reopen(context.Context) (err error) {
	s.d, err = bolt.Open(s.path, 0o600, nil)
	return err
}

func (s *bbolt) finish() error { return s.d.Close() }

func (s *bbolt) load(_ context.Context, version int, names []string) (map[string]any, error) {
	vars := map[string]any{}
	err := s.d.View(func(tx *bolt.Tx) error {
		b := tx.Bucket(bboltBucket)
		if names == nil {
			names = bboltNames(b)
		}
		for _, name := range names {
			value := newest(b.Cursor(), name, version)
			if len(value) == 0 {
				continue
			}
			one, err := decodeGob(bytes.NewReader(value))
			if err != nil {
				return fmt.Errorf("variable %q: %w", name, err)
			}
			vars[name] = one[name]
		}
		return nil
	})
	return vars, err
}

// bboltNames lists the variables of all versions.
func bboltNames(b *bolt.Bucket) []string {
	var names []string
	c := b.Cursor()
	for k, _ := c.First(); k != nil; {
		name := string(k[:len(k)-9])
		names = append(names, name)
		k, _ = c.Seek(append([]byte(name), 1))
	}
	return names
}

// newest returns the value of a variable at a version, nil if there was none.
func newest(c *bolt.Cursor, name string, version int) []byte {
	k, v := c.Seek(bboltKey(name, version))
	if !bytes.Equal(k, bboltKey(name, version)) {
		if k == nil {
			k, v = c.Last()
		} else {
			k, v = c.Prev()
		}
	}
	if len(k) == len(name)+9 && string(k[:len(name)]) == name && k[len(name)] == 0 {
		return v
	}
	return nil
}
