package mvcc

import (
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

func benchStore(b *testing.B, pods int) (*Store, []pod.ID) {
	o := testOptions(vfs.OS())
	o.Path = b.TempDir() + "/a.pod"
	o.PageSize, o.Now, o.MemoryBytes = 0, nil, 512<<20
	s := mustOpen(b, o)
	b.Cleanup(func() { s.Close() })
	tx := begin(b, s, MainBranch)
	var ids []pod.ID
	for i := range pods {
		id := tx.NewPod()
		ids = append(ids, id)
		if err := tx.Put(bg, box(id, fmt.Sprint("pod number ", i))); err != nil {
			b.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(b)
	if err := s.Checkpoint(bg); err != nil {
		b.Fatal(err)
	}
	return s, ids
}

func BenchmarkCommitOfOneSmallPod(b *testing.B) {
	s, ids := benchStore(b, 1000)
	b.ResetTimer()
	for i := range b.N {
		if _, _, err := commitBox(b, s, MainBranch, "", ids[i%len(ids)], fmt.Sprint("state ", i)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResolve(b *testing.B) {
	s, ids := benchStore(b, 100_000)
	v := s.pin()
	defer v.pv.Close()
	sn := must(s.At(bg, 1))(b)
	b.ResetTimer()
	for i := range b.N {
		if _, ok, err := v.resolve(sn.lineage, ids[i*7919%len(ids)]); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkPutPods puts new pods of 8 KiB that do not compress.
func BenchmarkPutPods(b *testing.B) {
	s, _ := benchStore(b, 1)
	body := make([]byte, 8192)
	if _, err := seeded(1).Read(body); err != nil {
		b.Fatal(err)
	}
	tx := begin(b, s, MainBranch)
	defer tx.Rollback()
	b.SetBytes(int64(len(body)))
	b.ResetTimer()
	for i := range b.N {
		be.PutUint64(body, uint64(i))
		if err := tx.Put(bg, box(tx.NewPod(), string(body))); err != nil {
			b.Fatal(err)
		}
	}
}
