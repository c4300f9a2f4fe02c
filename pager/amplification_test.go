package pager

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

// podKey is like the key of a pod version: kind, pod, line and number descending,
// 21 bytes.
func podKey(dst []byte, pod, number uint64) []byte {
	dst = binary.BigEndian.AppendUint64(append(dst[:0], 'p'), pod)
	dst = binary.BigEndian.AppendUint32(dst, 1)
	return binary.BigEndian.AppendUint64(dst, ^number)
}

// BenchmarkTreeBytesPerChange reports what a checkpoint writes into tree pages and
// the map of the free space for each changed pod, in a tree of a million pods of
// which each has versions, values of 12 bytes (packed) or 110 (inline).
func BenchmarkTreeBytesPerChange(b *testing.B) {
	for _, value := range []int{12, 110} {
		for _, changes := range []int{10_000, 100_000} {
			for _, replace := range []bool{true, false} {
				name := fmt.Sprintf("value=%d/changes=%d/replace=%v", value, changes, replace)
				b.Run(name, func(b *testing.B) { treeBytesPerChange(b, value, changes, replace) })
			}
		}
	}
}

func treeBytesPerChange(b *testing.B, value, changes int, replace bool) {
	const pods = 1_000_000
	p, err := Open(context.Background(), Options{FS: vfs.OS(), Path: b.TempDir() + "/bench.pod", CacheBytes: 256 << 20, BatchBytes: 512 << 20})
	must(b, err)
	defer p.Close(false)
	newest := make([]uint64, pods)
	k, v := make([]byte, 0, 32), make([]byte, value)
	batch := func(all []uint64) {
		t, err := p.Begin()
		must(b, err)
		for _, pod := range all {
			if replace && newest[pod] != 0 {
				must(b, t.Delete(podKey(k, pod, newest[pod])))
			}
			newest[pod]++
			must(b, t.Put(podKey(k, pod, newest[pod]), v))
		}
		must(b, t.Commit(context.Background(), 9, false))
	}
	all := make([]uint64, pods)
	for i := range all {
		all[i] = uint64(i)
	}
	batch(all)
	r := rand.New(rand.NewPCG(1, 1))
	one := func() {
		some := make([]uint64, changes)
		for i := range some {
			some[i] = r.Uint64N(pods)
		}
		slices.Sort(some)
		batch(some)
	}
	for range 1_000_000 / changes { // as old as each pod changed once
		one()
	}
	before := p.written.Load()
	for b.Loop() {
		one()
	}
	rep, err := p.Check(context.Background(), nil)
	must(b, err)
	b.ReportMetric(float64(p.written.Load()-before)/float64(b.N*changes), "bytes/change")
	b.ReportMetric(float64(rep.TreeBytes)/float64(rep.TreePages*uint64(p.pageSize)), "fill")
	b.ReportMetric(float64(rep.TreePages*uint64(p.pageSize))/float64(rep.Entries), "bytes/entry")
}
