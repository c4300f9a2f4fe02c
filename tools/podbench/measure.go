package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// loadSamples bounds how many versions are loaded for the load times.
const loadSamples = 5

// measureRun runs one workload on one system in this process.
func measureRun(ctx context.Context, spec runSpec) (r row) {
	r = row{Workload: spec.Workload, System: spec.System}
	w, p, err := findWorkload(spec.Workload, spec.Params, spec.Traces)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	r.Params = p.String()
	s, err := findSystem(spec.System, spec.Dir, w)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	names, err := measureSaves(ctx, &r, w, s, spec.Dir)
	if err == nil {
		err = measureLoads(ctx, &r, w, s, names)
	}
	if err != nil {
		r.Error = err.Error()
	}
	return r
}

// measureSaves runs the workload to its end and returns the names of the
// variables at each save.
func measureSaves(ctx context.Context, r *row, w workload, s system, dir string) (names [][]string, err error) {
	var wall, cpu []float64
	for {
		d, err := w.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		if err := s.prepare(w); err != nil {
			return nil, fmt.Errorf("save %d: %w", len(wall)+1, err)
		}
		m := startMeter()
		if err := s.save(ctx, w, d); err != nil {
			return nil, fmt.Errorf("save %d: %w", len(wall)+1, err)
		}
		used := m.stop()
		wall, cpu = append(wall, used.wall.Seconds()), append(cpu, used.cpu.Seconds())
		r.AllocBytes += used.allocated
		r.WriteBytes += used.written
		names = append(names, slices.Sorted(maps.Keys(w.vars())))
	}
	m := startMeter()
	if err := s.close(); err != nil {
		return nil, fmt.Errorf("close: %w", err)
	}
	r.WriteBytes += m.stop().written
	r.Saves = int64(len(wall))
	r.Objects, r.PayloadBytes = w.size()
	r.SaveTotal, r.SaveCPUTotal = sum(wall), sum(cpu)
	r.SaveMedian, r.SaveP99, r.SaveMax = median(wall), percentile(wall, 99), percentile(wall, 100)
	r.SaveCPUMedian, r.BlockedTotal = median(cpu), r.SaveTotal
	if r.PeakRSS, err = peakRSS(); err != nil {
		return nil, err
	}
	r.StorageBytes, err = storageBytes(dir)
	return names, err
}

// measureLoads reopens the store and loads versions from the first to the last.
// A system that promises to keep everything has every version checked.
func measureLoads(ctx context.Context, r *row, w workload, s system, names [][]string) (err error) {
	if err := s.reopen(ctx); err != nil {
		return fmt.Errorf("reopen: %w", err)
	}
	var check checker
	if _, ok := s.(verified); ok {
		if check, err = w.checker(); err != nil {
			return err
		}
	}
	var full, partial []float64
	for v := range names {
		sampled := v == len(names)-1 || v*loadSamples/len(names) != (v-1)*loadSamples/len(names) || v == 0
		if check == nil && !sampled {
			continue
		}
		start := time.Now()
		vars, err := s.load(ctx, v, nil)
		if errors.Is(err, errNoLoad) {
			break
		}
		if err != nil {
			return fmt.Errorf("load version %d: %w", v+1, err)
		}
		full = append(full, time.Since(start).Seconds())
		if check != nil {
			if err := checkVersion(check, vars); err != nil {
				return fmt.Errorf("version %d read back wrong: %w", v+1, err)
			}
		}
		if !sampled {
			continue
		}
		for _, at := range []int{1, 2, 3} {
			if len(names[v]) == 0 {
				continue
			}
			name := names[v][len(names[v])*at/4]
			start := time.Now()
			if _, err := s.load(ctx, v, []string{name}); err != nil {
				return fmt.Errorf("load %q of version %d: %w", name, v+1, err)
			}
			partial = append(partial, time.Since(start).Seconds())
		}
	}
	r.LoadFullMedian, r.LoadPartialMedian = median(full), median(partial)
	return s.finish()
}

func checkVersion(check checker, vars map[string]any) error {
	if err := check.advance(); err != nil {
		return err
	}
	return check.check(vars)
}

// usage is what the process used between two moments.
type usage struct {
	wall, cpu          time.Duration
	allocated, written int64
}

// meter measures a span. The clocks are read last at its start and first at its
// end, so that the other readings are outside.
type meter struct {
	before usage
	start  time.Time
}

func startMeter() meter {
	m := meter{before: usage{allocated: allocatedBytes(), written: writtenBytes()}}
	m.before.cpu = cpuTime()
	m.start = time.Now()
	return m
}

func (m meter) stop() usage {
	wall, cpu := time.Since(m.start), cpuTime()
	return usage{
		wall: wall, cpu: cpu - m.before.cpu,
		allocated: allocatedBytes() - m.before.allocated,
		written:   writtenBytes() - m.before.written,
	}
}

func allocatedBytes() int64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return int64(sample[0].Value.Uint64())
}

func cpuTime() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// peakRSS is the largest resident size of this process, in bytes. Linux keeps what
// getrusage says across fork and exec, so that a child would report its parent's
// peak as its own: the figure in its status is of its own memory only.
func peakRSS() (int64, error) {
	if text, err := os.ReadFile("/proc/self/status"); err == nil {
		if n, ok := highWater(string(text)); ok {
			return n, nil
		}
	}
	var ru syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru)
	return ru.Maxrss << 10, err
}

// highWater reads the peak out of a process's status, in bytes.
func highWater(status string) (int64, bool) {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
			return n << 10, err == nil
		}
	}
	return 0, false
}

// writtenBytes is how much the process gave to write calls, 0 where the kernel
// does not say.
func writtenBytes() int64 {
	text, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "wchar: "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n
		}
	}
	return 0
}

// storageBytes is the length of all files of a directory.
func storageBytes(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}
