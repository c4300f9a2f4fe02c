package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/trace"
)

const traceSuffix = ".ogt.gz"

// replay is a recorded run of a real program, rebuilt object by object.
type replay struct {
	dir, program string
	limit        int // steps, 0 = all
	file         io.Closer
	reader       *trace.Reader
	world        *trace.World
	last         trace.Step
}

func newReplay(dir, program string, limit int) (*replay, error) {
	w := &replay{dir: dir, program: program, limit: limit, world: trace.NewWorld()}
	var err error
	w.reader, w.file, err = openTrace(dir, program)
	return w, err
}

// openTrace opens the recording of a program: a file of the directory, or the
// one that comes with package trace.
func openTrace(dir, program string) (*trace.Reader, io.Closer, error) {
	f, err := os.Open(filepath.Join(tracesDir(dir), program+traceSuffix))
	if errors.Is(err, os.ErrNotExist) && program == trace.SampleName {
		r, err := trace.Open(trace.Sample())
		return r, io.NopCloser(nil), err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("no recording %q: %w; say where with -traces DIR", program, err)
	}
	r, err := trace.Open(f)
	return r, f, err
}

// tracesDir finds a directory given from here or from the root of the
// repository, because go -C changes where "here" is.
func tracesDir(dir string) string {
	if _, err := os.Stat(dir); err != nil && !filepath.IsAbs(dir) {
		if fromRoot := filepath.Join("..", "..", dir); isDir(fromRoot) {
			return fromRoot
		}
	}
	return dir
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// recordedPrograms lists the recordings of a directory.
func recordedPrograms(dir string) ([]string, error) {
	paths, err := filepath.Glob(filepath.Join(tracesDir(dir), "*"+traceSuffix))
	var names []string
	for _, p := range paths {
		names = append(names, strings.TrimSuffix(filepath.Base(p), traceSuffix))
	}
	slices.Sort(names)
	return names, err
}

func (w *replay) next() (delta, error) {
	if w.limit > 0 && w.last.Number == w.limit {
		return delta{}, io.EOF
	}
	s, err := w.reader.Step()
	if err != nil {
		w.file.Close()
		return delta{}, err
	}
	if err := w.world.Apply(s); err != nil {
		return delta{}, err
	}
	d := delta{deleted: s.Deleted}
	for _, v := range s.Vars {
		d.set = append(d.set, v.Name)
	}
	w.last = trace.Step{Number: s.Number, Live: s.Live, Payload: s.Payload}
	return d, nil
}

func (w *replay) vars() map[string]any     { return w.world.Vars }
func (w *replay) flat() map[string]any     { return w.world.Vars }
func (w *replay) types() []trace.NamedType { return trace.Types() }
func (w *replay) size() (int64, int64)     { return int64(w.last.Live), int64(w.last.Payload) }

func (w *replay) checker() (checker, error) {
	r, f, err := openTrace(w.dir, w.program)
	return &sumChecker{reader: r, file: f, rec: trace.NewRecording()}, err
}

// sumChecker judges loaded variables by the recording's own sums.
type sumChecker struct {
	reader *trace.Reader
	file   io.Closer
	rec    *trace.Recording
}

func (c *sumChecker) advance() error {
	s, err := c.reader.Step()
	if err != nil {
		c.file.Close()
		return err
	}
	return c.rec.Apply(s)
}

func (c *sumChecker) check(vars map[string]any) error {
	sum, err := trace.Sum(vars, c.rec)
	if err == nil && sum != c.rec.Sum {
		err = fmt.Errorf("sum is %08x, recorded %08x", sum, c.rec.Sum)
	}
	return err
}
