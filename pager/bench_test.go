package pager

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/poddb/poddb/internal/vfs"
)

func benchFile(b *testing.B, keys int) *Pager {
	b.Helper()
	p, err := Open(context.Background(), Options{FS: vfs.OS(), Path: b.TempDir() + "/bench.pod", CacheBytes: 256 << 20})
	must(b, err)
	b.Cleanup(func() { p.Close(false) })
	load(b, p, keys)
	return p
}

func benchKey(dst []byte, i uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst[:0], 'v'), i)
}

func load(b *testing.B, p *Pager, keys int) {
	t, err := p.Begin()
	must(b, err)
	k, v := make([]byte, 0, 16), make([]byte, 24)
	for i := range keys {
		k = benchKey(k, uint64(i))
		binary.LittleEndian.PutUint64(v, uint64(i))
		must(b, t.Put(k, v))
	}
	must(b, t.Commit(context.Background(), 9, false))
}

func BenchmarkGetHit(b *testing.B) {
	const keys = 1_000_000
	p := benchFile(b, keys)
	r := rand.New(rand.NewPCG(1, 1))
	k := make([]byte, 0, 16)
	v := p.View()
	for i := range uint64(keys / 100) { // warm
		_, _, _ = v.Get(benchKey(k, i*100))
	}
	v.Close()
	b.ReportAllocs()
	for b.Loop() {
		v := p.View()
		k = benchKey(k, r.Uint64N(keys))
		if _, ok, err := v.Get(k); !ok || err != nil {
			b.Fatal(ok, err)
		}
		v.Close()
	}
}

func BenchmarkCursorNext(b *testing.B) {
	p := benchFile(b, 1_000_000)
	v := p.View()
	defer v.Close()
	c := v.Seek(nil)
	b.ReportAllocs()
	for b.Loop() {
		if c.Next(); !c.Valid() {
			c.Seek(nil)
		}
	}
}

func BenchmarkBulkLoadMillion(b *testing.B) {
	for b.Loop() {
		p := benchFile(b, 1_000_000)
		b.ReportMetric(float64(p.Stats().FileBytes)/1e6, "bytes/key")
	}
}

func BenchmarkCheckpoint10kRandomUpdates(b *testing.B) {
	p := benchFile(b, 1_000_000)
	r := rand.New(rand.NewPCG(1, 1))
	keys := make([]uint64, 10_000)
	k, v := make([]byte, 0, 16), make([]byte, 24)
	written := uint64(0)
	for b.Loop() {
		for i := range keys {
			keys[i] = r.Uint64N(1_000_000)
		}
		slices.Sort(keys)
		t, err := p.Begin()
		must(b, err)
		for _, x := range keys {
			binary.LittleEndian.PutUint64(v, r.Uint64())
			must(b, t.Put(benchKey(k, x), v))
		}
		must(b, t.Commit(context.Background(), 9, false))
		written += t.freed.count() * uint64(p.pageSize)
	}
	b.ReportMetric(float64(written)/float64(b.N)/10_000, "bytes/change")
}

// unmapped hides that a file system can map files.
type unmapped struct{ vfs.FS }

// BenchmarkReadOnly reads what the system has in memory and the page cache has
// not, through a map and by reading.
func BenchmarkReadOnly(b *testing.B) {
	const keys, records = 1_000_000, 20_000
	path := b.TempDir() + "/bench.pod"
	p, err := Open(context.Background(), Options{FS: vfs.OS(), Path: path})
	must(b, err)
	load(b, p, keys)
	t, err := p.Begin()
	must(b, err)
	places := make([]Place, records)
	for i := range places {
		places[i], err = t.Record(make([]byte, 8000))
		must(b, err)
	}
	must(b, t.Commit(context.Background(), 10, true))
	must(b, p.Close(true))
	for _, how := range []struct {
		name string
		fs   vfs.FS
	}{{"mapped", vfs.OS()}, {"read", unmapped{vfs.OS()}}} {
		p, err := Open(context.Background(), Options{FS: how.fs, Path: path, ReadOnly: true, CacheBytes: 1})
		must(b, err)
		_, err = p.Check(context.Background(), nil) // the system has it in memory
		must(b, err)
		v := p.View()
		r := rand.New(rand.NewPCG(1, 1))
		k := make([]byte, 0, 16)
		b.Run("get/"+how.name, func(b *testing.B) {
			for b.Loop() {
				k = benchKey(k, r.Uint64N(keys))
				if _, ok, err := v.Get(k); !ok || err != nil {
					b.Fatal(ok, err)
				}
			}
		})
		b.Run("record/"+how.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := v.ReadRecord(places[r.IntN(records)]); err != nil {
					b.Fatal(err)
				}
			}
		})
		v.Close()
		must(b, p.Close(false))
	}
}
