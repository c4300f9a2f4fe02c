package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/poddb/poddb/db"
)

const editSaves = 21

// measureEdit changes one element of one of 100 lists of 1,000 strings and saves,
// several times, beside gob snapshots of everything in the same process. Both are
// on disk when they return.
func measureEdit(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, err := os.MkdirTemp(env.scratch, "podbench-*")
	if err != nil {
		return broken(bars, err)
	}
	defer os.RemoveAll(dir)
	w, err := newRmtree(params{"tc": 2, "tv": 100, "tl": 1000, "tml": 0, "tme": 0, "seed": 1})
	if err != nil {
		return broken(bars, err)
	}
	d, err := db.Open(ctx, filepath.Join(dir, "edit.pod"), &db.Options{Types: typeSet(w.types())})
	if err != nil {
		return broken(bars, err)
	}
	gob, err := newGob(dir, w)
	if err == nil {
		bars, err = editSavesAgainstGob(ctx, d, w, gob, bars)
	}
	if closed := d.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return broken(bars, err)
	}
	return bars
}

func editSavesAgainstGob(ctx context.Context, d *db.DB, w workload, gob system, bars []bar) ([]bar, error) {
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return bars, err
	}
	if _, err := w.next(); err != nil {
		return bars, err
	}
	for name, value := range w.vars() {
		if err := ns.Set(ctx, name, value); err != nil {
			return bars, err
		}
	}
	if _, err := ns.Save(ctx); err != nil {
		return bars, err
	}
	var pods, written int64
	var poddbCPU, gobCPU, memoryCPU []float64
	for i := range editSaves {
		items := w.vars()[fmt.Sprintf("l_%d", i*37%100)].(*Strings).Items
		items[i*631%len(items)] = randomString(random(params{"seed": int64(i)}))
		before := cpuTime()
		if _, err := ns.Save(ctx); err != nil {
			return bars, err
		}
		poddbCPU = append(poddbCPU, (cpuTime() - before).Seconds())
		last := ns.LastSave()
		pods, written = max(pods, int64(last.PodsWritten)), max(written, last.Bytes)
		if last.PodsWritten == 0 {
			return bars, fmt.Errorf("save %d did not see the change", i)
		}
		before = cpuTime()
		if err := gob.save(ctx, w, delta{}); err != nil {
			return bars, err
		}
		gobCPU = append(gobCPU, (cpuTime() - before).Seconds())
		var buf bytes.Buffer
		before = cpuTime()
		if err := encodeGob(&buf, w.vars()); err != nil {
			return bars, err
		}
		memoryCPU = append(memoryCPU, (cpuTime() - before).Seconds())
	}
	bars[0].value, bars[1].value = float64(pods), float64(written)
	bars[2].value = median(poddbCPU) / median(memoryCPU)
	bars[2].note = fmt.Sprintf("%.3fx of gob into a synced file; poddb's save is durable in both", median(poddbCPU)/median(gobCPU))
	return bars, nil
}
