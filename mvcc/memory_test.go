package mvcc

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
)

var memoryFlag = flag.Int64("mvcc.memory", 16, "budget in MiB of the test of the memory budget; its database is eight times as large")

var memoryAlone = flag.Bool("mvcc.memory.alone", false, "this process runs nothing but the test of the memory budget")

// A database several times the budget is written and read in small pieces; what
// is alive after a collection stays below half of the budget, and the process
// grows by little more than all of it.
func TestMemoryStaysWithinItsBudgetUnderLoad(t *testing.T) {
	if !*memoryAlone { // other tests have left their own memory behind
		child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", fmt.Sprint("-mvcc.memory=", *memoryFlag), "-mvcc.memory.alone")
		out, err := child.CombinedOutput()
		if t.Logf("%s", out); err != nil {
			t.Fatal(err)
		}
		return
	}
	const pieces, size = 64, 4 << 10 // of a commit, of a pod
	budget := *memoryFlag << 20
	o := testOptions(vfs.OS())
	o.Path = t.TempDir() + "/a.pod"
	o.MemoryBytes, o.CheckpointBytes, o.PageSize, o.Durability = budget, 0, 0, DurabilityNone
	s := mustOpen(t, o)
	defer s.Close()
	runtime.GC()
	before, grown := liveHeap(), resident(t)
	rng := rand.New(rand.NewPCG(1, 2))
	var ids []pod.ID
	most, largest := int64(0), int64(0)
	for written, i := int64(0), 0; written < 8*budget; i++ {
		tx := begin(t, s, MainBranch)
		for range pieces {
			text := randomText(rng.Uint64(), size)
			c := box(0, text)
			if len(ids) > 0 && rng.IntN(4) == 0 {
				c = boxAgain(ids[rng.IntN(len(ids))], text)
			} else {
				c.ID = tx.NewPod()
			}
			if tx.find(c.ID) != nil {
				continue
			}
			if err := tx.Put(bg, c); err != nil {
				t.Fatal(err)
			}
			if c.New {
				ids = append(ids, c.ID)
			}
			written += size
		}
		v := must(tx.Commit(bg, CommitInfo{}))(t)
		sn := must(s.At(bg, v))(t)
		for range pieces / 4 {
			must(sn.Pods(bg, []pod.ID{ids[rng.IntN(len(ids))]}))(t)
		}
		sn.Close()
		if i%100 == 99 {
			largest = max(largest, resident(t)-grown)
			release := quiet(s) // what a checkpoint drops while the collector runs would count as alive
			runtime.GC()
			most = max(most, liveHeap()-before)
			release()
		}
	}
	st := s.Stats()
	t.Logf("budget %d MiB, file %d MiB: at most %d MiB alive, %d MiB resident more than at the start; %d checkpoints, longest pause %v",
		budget>>20, st.FileBytes>>20, most>>20, largest>>20, st.Checkpoints, st.LongestPause)
	if most > budget*6/10 {
		t.Errorf("%d bytes alive of a budget of %d", most, budget)
	}
	if !underRace && largest > budget*3/2+16<<20 { // a small part is the runtime's, whatever the budget
		t.Errorf("the process grew by %d bytes, with a budget of %d", largest, budget)
	}
}

func liveHeap() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// resident returns the bytes that the process has in memory, 0 where the system
// does not say.
func resident(t *testing.T) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kb, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		t.Fatal(fmt.Errorf("resident memory: %w", err))
	}
	return kb << 10
}
