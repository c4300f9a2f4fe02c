package main

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/trace"
)

// demo runs the quick start, then replays a recorded run of a real program
// step by step, reads every version back, and compares each with the
// recording's own sums and the totals with a full gob snapshot per step.
func demo(ctx context.Context, e *env, _ []string) error {
	dir := e.dir
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "poddb-demo-"); err != nil {
			return err
		}
	} else if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	fmt.Fprintln(e.out, "Quick start")
	if err := quickStart(ctx, e, filepath.Join(dir, "quickstart.pod")); err != nil {
		return err
	}
	path := filepath.Join(dir, trace.SampleName+".pod")
	rep, err := replay(ctx, e, path)
	if err != nil {
		return err
	}
	checked, err := readBack(ctx, e, path, rep)
	if err != nil {
		return err
	}
	if rep.fileBytes, err = fileSize(path); err != nil {
		return err
	}
	picture := filepath.Join(dir, trace.SampleName+".svg")
	if err := os.WriteFile(picture, []byte(rep.chart().svg()), 0o666); err != nil {
		return err
	}
	return rep.print(e, checked, path, picture)
}

// stepReport is one row of the demo's table.
type stepReport struct {
	Version  db.Version    `json:"version"`
	Objects  int           `json:"objects"`
	Payload  int64         `json:"payload_bytes"`
	Stored   int64         `json:"stored_bytes"`
	Save     time.Duration `json:"save_ns"`
	GobBytes int64         `json:"gob_bytes"`
	Gob      time.Duration `json:"gob_ns"`
}

type replayReport struct {
	steps     []stepReport
	fileBytes int64
}

// traceTypes are the types of a rebuilt recording.
func traceTypes() db.TypeSet {
	var set db.TypeSet
	for _, t := range trace.Types() {
		set = set.With(db.TypeOf(reflect.TypeOf(t.Zero), t.Name))
	}
	return set
}

// replay saves the live objects of the recording after each of its steps.
func replay(ctx context.Context, e *env, path string) (*replayReport, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	rec, err := trace.Open(trace.Sample())
	if err != nil {
		return nil, err
	}
	d, err := db.Open(ctx, path, &db.Options{Types: traceTypes()})
	if err != nil {
		return nil, err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return nil, err
	}
	gobTypes()
	world, rep := trace.NewWorld(), &replayReport{}
	bar := e.progress("replay")
	for {
		step, err := rec.Step()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		row, err := oneStep(ctx, ns, world, step)
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", step.Number, err)
		}
		rep.steps = append(rep.steps, row)
		bar.set(len(rep.steps), demoSteps)
	}
	bar.clear()
	return rep, d.Close()
}

// demoSteps is the length of the shipped recording, for the progress bar.
const demoSteps = 32

func oneStep(ctx context.Context, ns *db.Namespace, world *trace.World, step *trace.Step) (stepReport, error) {
	row := stepReport{Objects: int(step.Live), Payload: int64(step.Payload)}
	if err := world.Apply(step); err != nil {
		return row, err
	}
	for _, b := range step.Vars {
		if err := ns.Set(ctx, b.Name, world.Vars[b.Name]); err != nil {
			return row, err
		}
	}
	for _, name := range step.Deleted {
		if err := ns.Delete(ctx, name); err != nil {
			return row, err
		}
	}
	start := time.Now()
	v, err := ns.Save(ctx, db.SaveOptions{Message: step.Label})
	if err != nil {
		return row, err
	}
	row.Save, row.Version, row.Stored = time.Since(start), v, ns.LastSave().Bytes
	start = time.Now()
	row.GobBytes, err = gobSnapshot(world.Vars)
	row.Gob = time.Since(start)
	return row, err
}

// gobTypes tells gob the types that stand behind interfaces.
func gobTypes() {
	for _, t := range trace.Types() {
		if _, value := t.Zero.(trace.BigInt); value {
			gob.RegisterName(t.Name, t.Zero)
		} else {
			gob.RegisterName(t.Name, reflect.New(reflect.TypeOf(t.Zero)).Interface())
		}
	}
}

// gobSnapshot encodes all variables, as a program without poddb would.
func gobSnapshot(vars map[string]any) (int64, error) {
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(vars); err != nil {
		return 0, fmt.Errorf("gob: %w", err)
	}
	return int64(b.Len()), nil
}

// readBack opens the file again and compares every version with the
// recording: values, sharing and the recording's own check sums.
func readBack(ctx context.Context, e *env, path string, rep *replayReport) (int, error) {
	rec, err := trace.Open(trace.Sample())
	if err != nil {
		return 0, err
	}
	d, err := db.Open(ctx, path, &db.Options{Types: traceTypes()})
	if err != nil {
		return 0, err
	}
	defer d.Close()
	state := trace.NewRecording()
	bar := e.progress("read back")
	defer bar.clear()
	for i, row := range rep.steps {
		step, err := rec.Step()
		if err != nil {
			return i, err
		}
		if err := state.Apply(step); err != nil {
			return i, err
		}
		if err := checkVersion(ctx, d, row.Version, state); err != nil {
			return i, fmt.Errorf("version %d: %w", row.Version, err)
		}
		bar.set(i+1, len(rep.steps))
	}
	return len(rep.steps), d.Close()
}

func checkVersion(ctx context.Context, d *db.DB, v db.Version, state *trace.Recording) error {
	s, err := d.At(ctx, v)
	if err != nil {
		return err
	}
	defer s.Close()
	var vars map[string]any
	if err := s.Load(ctx, &vars); err != nil {
		return err
	}
	sum, err := trace.Sum(vars, state)
	if err != nil {
		return err
	}
	if sum != state.Sum {
		return fmt.Errorf("sum %08x, the recording says %08x", sum, state.Sum)
	}
	return nil
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// chart draws what both have stored so far after each step.
func (r *replayReport) chart() chart {
	c := chart{title: "Stored bytes so far: " + trace.SampleName, x: "step", y: "bytes, all versions kept"}
	ours := series{name: "poddb", color: "#1b6ac9"}
	theirs := series{name: "gob snapshot", color: "#c94f1b"}
	var a, b int64
	for _, s := range r.steps {
		a, b = a+s.Stored, b+s.GobBytes
		ours.values = append(ours.values, float64(a))
		theirs.values = append(theirs.values, float64(b))
	}
	c.lines = []series{theirs, ours}
	return c
}

// totals of all steps.
func (r *replayReport) totals() (t stepReport) {
	for _, s := range r.steps {
		t.Stored += s.Stored
		t.Save += s.Save
		t.GobBytes += s.GobBytes
		t.Gob += s.Gob
	}
	return t
}

func (r *replayReport) print(e *env, checked int, path, picture string) error {
	sum := r.totals()
	if e.json {
		return printJSON(e.out, map[string]any{"steps": r.steps, "versions_checked": checked, "file": path,
			"file_bytes": r.fileBytes, "gob_bytes": sum.GobBytes, "chart": picture})
	}
	fmt.Fprintf(e.out, "Replay of a recorded program (%s)\n", trace.SampleName)
	t := table{head: []string{"step", "objects", "payload", "stored", "save", "gob snapshot", "gob time"}}
	for i, s := range r.steps {
		t.add(fmt.Sprint(i+1), fmt.Sprint(s.Objects), bytesText(s.Payload), bytesText(s.Stored), durationText(s.Save), bytesText(s.GobBytes), durationText(s.Gob))
	}
	t.add("all", "", "", bytesText(sum.Stored), durationText(sum.Save), bytesText(sum.GobBytes), durationText(sum.Gob))
	t.print(e.out)
	saves := make([]time.Duration, len(r.steps))
	for i, s := range r.steps {
		saves[i] = s.Save
	}
	slices.Sort(saves)
	fmt.Fprintf(e.out, "\n%d of %d steps read back after reopening, each equal to the recording by its own sum\n", checked, len(r.steps))
	fmt.Fprintf(e.out, "database file %s (%.1fx less than %s of gob snapshots), median save %s, each save durable on disk, gob in memory\n",
		bytesText(r.fileBytes), float64(sum.GobBytes)/float64(max(1, r.fileBytes)), bytesText(sum.GobBytes), durationText(saves[len(saves)/2]))
	fmt.Fprintf(e.out, "database: %s\nchart:    %s\n", path, picture)
	return nil
}
