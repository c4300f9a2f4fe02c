package main

import (
	"bufio"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/poddb/poddb/internal/trace"
)

// snapshots writes all variables into a new file per save and syncs it, which is
// what a Go program does that has no store.
type snapshots struct {
	dir, suffix string
	encode      func(w io.Writer, vars map[string]any) error
	decode      func(r io.Reader) (map[string]any, error)
	saves       int
}

func newGob(dir string, w workload) (system, error) {
	registerGob(w.types())
	return &snapshots{dir: dir, suffix: ".gob", encode: encodeGob, decode: decodeGob}, nil
}

func registerGob(types []trace.NamedType) {
	for _, t := range types {
		if _, value := t.Zero.(trace.BigInt); value {
			gob.RegisterName(t.Name, t.Zero)
			continue
		}
		gob.RegisterName(t.Name, reflect.New(reflect.TypeOf(t.Zero)).Interface())
	}
}

func encodeGob(w io.Writer, vars map[string]any) error { return gob.NewEncoder(w).Encode(vars) }

func decodeGob(r io.Reader) (vars map[string]any, err error) {
	err = gob.NewDecoder(r).Decode(&vars)
	return vars, err
}

// firstCborTag begins a range of tags that nobody has registered.
const firstCborTag = 60_000

func newCbor(dir string, w workload) (system, error) {
	tags := cbor.NewTagSet()
	required := cbor.TagOptions{EncTag: cbor.EncTagRequired, DecTag: cbor.DecTagRequired}
	for i, t := range w.types() {
		if err := tags.Add(required, reflect.TypeOf(t.Zero), firstCborTag+uint64(i)); err != nil {
			return nil, err
		}
	}
	em, err := cbor.EncOptions{}.EncModeWithTags(tags)
	if err != nil {
		return nil, err
	}
	dm, err := cbor.DecOptions{
		UTF8:             cbor.UTF8DecodeInvalid,
		IntDec:           cbor.IntDecConvertSignedOrBigInt,
		MaxNestedLevels:  65535,
		MaxArrayElements: 1<<31 - 1,
		MaxMapPairs:      1<<31 - 1,
	}.DecModeWithTags(tags)
	if err != nil {
		return nil, err
	}
	return &snapshots{dir: dir, suffix: ".cbor",
		encode: func(w io.Writer, vars map[string]any) error { return em.NewEncoder(w).Encode(vars) },
		decode: func(r io.Reader) (vars map[string]any, err error) {
			err = dm.NewDecoder(r).Decode(&vars)
			return vars, err
		},
	}, nil
}

func (s *snapshots) prepare(w workload) error {
	_, err := expanded(w.flat())
	return err
}

func (s *snapshots) path(version int) string {
	return filepath.Join(s.dir, fmt.Sprintf("%06d%s", version, s.suffix))
}

func (s *snapshots) save(_ context.Context, w workload, _ delta) error {
	f, err := os.Create(s.path(s.saves))
	if err != nil {
		return err
	}
	defer f.Close()
	buf := bufio.NewWriterSize(f, 1<<16)
	if err := s.encode(buf, w.flat()); err != nil {
		return err
	}
	if err := buf.Flush(); err != nil {
		return err
	}
	s.saves++
	return f.Sync()
}

func (s *snapshots) close() error                 { return nil }
func (s *snapshots) reopen(context.Context) error { return nil }
func (s *snapshots) finish() error                { return nil }

// load decodes the whole file, also for one variable.
func (s *snapshots) load(_ context.Context, version int, _ []string) (map[string]any, error) {
	f, err := os.Open(s.path(version))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return s.decode(bufio.NewReaderSize(f, 1<<16))
}
