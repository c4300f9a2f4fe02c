package main

import (
	"context"
	"fmt"
	"path/filepath"
	"reflect"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/trace"
)

// poddb is this project with its defaults.
type poddb struct {
	path     string
	options  *db.Options
	d        *db.DB
	ns       *db.Namespace
	versions []db.Version
}

func newPoddb(dir string, w workload) (system, error) { return openPoddb(dir, w, db.Options{}) }

func newPoddbPlain(dir string, w workload) (system, error) {
	return openPoddb(dir, w, db.Options{NoCompression: true})
}

func openPoddb(dir string, w workload, o db.Options) (system, error) {
	ctx := context.Background()
	o.Types = typeSet(w.types())
	s := &poddb{path: filepath.Join(dir, "app.pod"), options: &o}
	var err error
	if s.d, err = db.Open(ctx, s.path, s.options); err != nil {
		return nil, err
	}
	s.ns, err = s.d.Namespace(ctx, "main")
	return s, err
}

func typeSet(types []trace.NamedType) db.TypeSet {
	var set db.TypeSet
	for _, t := range types {
		set = set.With(db.TypeOf(reflect.TypeOf(t.Zero), t.Name))
	}
	return set
}

func (s *poddb) verified()              {}
func (s *poddb) prepare(workload) error { return nil }

func (s *poddb) save(ctx context.Context, w workload, d delta) error {
	vars := w.vars()
	for _, name := range d.set {
		if err := s.ns.Set(ctx, name, vars[name]); err != nil {
			return err
		}
	}
	for _, name := range d.deleted {
		if err := s.ns.Delete(ctx, name); err != nil {
			return err
		}
	}
	v, err := s.ns.Save(ctx)
	s.versions = append(s.versions, v)
	return err
}

func (s *poddb) close() error {
	s.ns = nil
	return s.d.Close()
}

func (s *poddb) reopen(ctx context.Context) (err error) {
	s.d, err = db.Open(ctx, s.path, s.options)
	return err
}

func (s *poddb) load(ctx context.Context, version int, names []string) (map[string]any, error) {
	snap, err := s.d.At(ctx, s.versions[version])
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	var vars map[string]any
	if names != nil {
		vars = make(map[string]any, len(names))
		for _, name := range names {
			vars[name] = nil
		}
	}
	err = snap.Load(ctx, &vars)
	return vars, err
}

// finish also verifies the whole file.
func (s *poddb) finish() error {
	report, err := s.d.Verify(context.Background(), db.VerifyOptions{Deep: true})
	if err == nil && len(report.Problems) > 0 {
		err = fmt.Errorf("verify: %d problems, the first: %s", len(report.Problems)+report.More, report.Problems[0])
	}
	if closed := s.d.Close(); err == nil {
		err = closed
	}
	return err
}
