package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/poddb/poddb/db"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/mvcc"
)

const (
	bulkArrays = 16
	bulkBytes  = 1 << 30
	bulkRuns   = 3
)

// measureBulk saves 1 GiB of random float64 in 16 arrays and compares with
// writing as many bytes to a file, in turn, both synced.
func measureBulk(ctx context.Context, env barEnv, bars []bar) []bar {
	rng := rand.New(rand.NewPCG(4, 4))
	arrays := make([]*[]float64, bulkArrays)
	for i := range arrays {
		a := make([]float64, bulkBytes/8/bulkArrays)
		for k := range a {
			a[k] = rng.Float64()
		}
		arrays[i] = &a
	}
	var ratios, ours, disks []float64
	for range bulkRuns {
		dir, remove, err := engineDir(env)
		if err != nil {
			return broken(bars, err)
		}
		disk, err := diskRate(filepath.Join(dir, "plain"))
		if err == nil {
			var mine float64
			if mine, err = saveRate(ctx, filepath.Join(dir, "bulk.pod"), arrays); err == nil {
				disks, ours, ratios = append(disks, disk), append(ours, mine), append(ratios, mine/disk)
			}
		}
		remove()
		if err != nil {
			return broken(bars, err)
		}
	}
	bars[0].value = median(ratios)
	bars[0].note = fmt.Sprintf("%.0f MB/s durable, the disk %.0f MB/s", median(ours)/1e6, median(disks)/1e6)
	return bars
}

// diskRate writes a file of random bytes sequentially, syncs it and removes it.
func diskRate(path string) (float64, error) {
	f, err := vfs.OS().Open(path, vfs.ReadWrite|vfs.Create)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer f.Close()
	buf := noise(rand.New(rand.NewPCG(5, 5)), 4<<20)
	start := time.Now()
	for off := int64(0); off < bulkBytes; off += int64(len(buf)) {
		if _, err := f.WriteAt(buf, off); err != nil {
			return 0, err
		}
	}
	if err := f.SyncData(); err != nil {
		return 0, err
	}
	return bulkBytes / time.Since(start).Seconds(), nil
}

func saveRate(ctx context.Context, path string, arrays []*[]float64) (float64, error) {
	d, err := db.Open(ctx, path, nil)
	if err != nil {
		return 0, err
	}
	defer d.Close()
	ns, err := d.Namespace(ctx, "main")
	if err != nil {
		return 0, err
	}
	for i, a := range arrays {
		if err := ns.Set(ctx, fmt.Sprint("a", i), a); err != nil {
			return 0, err
		}
	}
	start := time.Now()
	if _, err := ns.Save(ctx); err != nil {
		return 0, err
	}
	return bulkBytes / time.Since(start).Seconds(), nil
}

const openRuns = 9

// measureOpen opens a database of 100 MB after a clean close, and the same with
// a log as a crash leaves it.
func measureOpen(ctx context.Context, env barEnv, bars []bar) []bar {
	dir, remove, err := engineDir(env)
	if err != nil {
		return broken(bars, err)
	}
	defer remove()
	crashed, logBytes, err := prepareOpen(ctx, dir)
	if err != nil {
		return broken(bars, err)
	}
	var clean, crash []float64
	for i := range openRuns {
		took, err := timeOpen(ctx, dir)
		if err != nil {
			return broken(bars, err)
		}
		clean = append(clean, took)
		copied := filepath.Join(dir, fmt.Sprint("crash", i))
		if err := copyTree(crashed, copied); err != nil {
			return broken(bars, err)
		}
		if took, err = timeOpen(ctx, copied); err != nil {
			return broken(bars, err)
		}
		crash = append(crash, took)
		os.RemoveAll(copied)
	}
	allowed := float64(logBytes) / 200e6
	bars[0].value = 1e3 * median(clean)
	bars[1].value = 1e3 * (median(crash) - allowed)
	bars[1].note = fmt.Sprintf("%.1f ms with %.1f MB of log, of which %.1f ms are the log at 200 MB/s", 1e3*median(crash), float64(logBytes)/1e6, 1e3*allowed)
	return bars
}

// prepareOpen makes the database, and a copy of its files as they are while 50
// MB of log are not in the page file yet.
func prepareOpen(ctx context.Context, dir string) (crashed string, logBytes int64, err error) {
	store, err := openEngine(ctx, dir, mvcc.Options{CheckpointBytes: -1, MemoryBytes: 1 << 30})
	if err != nil {
		return "", 0, err
	}
	s := &engineStore{Store: store}
	defer s.Close()
	rng := rand.New(rand.NewPCG(6, 6))
	if err := s.grow(ctx, rng, 100_000, 1000, 500); err != nil {
		return "", 0, err
	}
	if err := s.Checkpoint(ctx); err != nil {
		return "", 0, err
	}
	held := s.Stats().LogBytes // of before the checkpoint
	if err := s.grow(ctx, rng, 50_000, 1000, 500); err != nil {
		return "", 0, err
	}
	crashed = filepath.Join(dir, "crashed")
	if err := os.Mkdir(crashed, 0o777); err != nil {
		return "", 0, err
	}
	for _, name := range []string{"engine.pod", "engine.pod.wal"} {
		if err := copyTree(filepath.Join(dir, name), filepath.Join(crashed, name)); err != nil {
			return "", 0, err
		}
	}
	return crashed, s.Stats().LogBytes - held, s.Store.Close()
}

// timeOpen opens a database and closes it; only opening is timed.
func timeOpen(ctx context.Context, dir string) (float64, error) {
	start := time.Now()
	s, err := openEngine(ctx, dir, mvcc.Options{})
	if err != nil {
		return 0, err
	}
	took := time.Since(start).Seconds()
	return took, s.Close()
}

// copyTree copies a file, or a directory with what is in it.
func copyTree(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return copyFile(from, to)
	}
	if err := os.MkdirAll(to, 0o777); err != nil {
		return err
	}
	entries, err := os.ReadDir(from)
	for _, e := range entries {
		if err == nil {
			err = copyTree(filepath.Join(from, e.Name()), filepath.Join(to, e.Name()))
		}
	}
	return err
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}
