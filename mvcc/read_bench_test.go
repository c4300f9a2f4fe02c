package mvcc

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

// readStore has pods of about size bytes that shrink to a half.
func readStore(b *testing.B, pods, size int, memory int64) (*Snapshot, []pod.ID) {
	o := testOptions(vfs.OS())
	o.Path = b.TempDir() + "/a.pod"
	o.PageSize, o.Now, o.MemoryBytes = 0, nil, memory
	s := mustOpen(b, o)
	b.Cleanup(func() { s.Close() })
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []pod.ID
	for len(ids) < pods {
		tx := begin(b, s, MainBranch)
		for range min(1000, pods-len(ids)) {
			text := make([]byte, size)
			for i := range text {
				text[i] = "abcdefghijklmnop"[rng.IntN(16)]
			}
			id := tx.NewPod()
			ids = append(ids, id)
			if err := tx.Put(bg, box(id, string(text))); err != nil {
				b.Fatal(err)
			}
		}
		must(tx.Commit(bg, CommitInfo{}))(b)
	}
	if err := s.Checkpoint(bg); err != nil {
		b.Fatal(err)
	}
	sn := must(s.At(bg, must(s.Head(bg, MainBranch))(b)))(b)
	b.Cleanup(sn.Close)
	return sn, ids
}

// BenchmarkReadPods reads pods in order in calls of 256, or one at random.
// Nothing is found in the cache of pods.
func BenchmarkReadPods(b *testing.B) {
	for _, size := range []int{150, 800, 4000} {
		for _, memory := range []int64{64 << 20} {
			sn, ids := readStore(b, 20_000, size, memory)
			name := fmt.Sprintf("size=%d/memory=%d", size, memory)
			sn.s.pods.Close()
			b.Run(name+"/ordered", func(b *testing.B) {
				for i := 0; i < b.N; i += 256 {
					at := i % (len(ids) - 256)
					if _, err := sn.Pods(bg, ids[at:at+256]); err != nil {
						b.Fatal(err)
					}
				}
			})
			b.Run(name+"/random", func(b *testing.B) {
				rng := rand.New(rand.NewPCG(3, 4))
				for range b.N {
					i := rng.IntN(len(ids))
					if _, err := sn.Pods(bg, ids[i:i+1]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
