package vfs

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"
)

func TestRenameIsAtomicInEveryImage(t *testing.T) {
	for _, target := range []string{"b", "sub/b"} {
		mem := NewMem()
		must(t, mem.MkdirAll("sub"))
		put(t, mem, "a", "new")
		put(t, mem, target, "old")
		must(t, mem.SyncDir("sub"))
		must(t, mem.SyncDir(""))
		must(t, mem.Rename("a", target))
		seen := map[bool]int{}
		images(t, mem, func(image *MemFS, what string) {
			_, err := image.Stat("a")
			renamed := err != nil
			want := "old"
			if renamed {
				want = "new"
			}
			if got := contents(t, image, target); got != want {
				t.Fatalf("%s: renamed %v, target holds %q", what, renamed, got)
			}
			seen[renamed]++
		})
		if seen[true] == 0 || seen[false] == 0 {
			t.Fatalf("images: %v", seen)
		}
	}
}

func TestRemoveNeedsItsDirectorySynced(t *testing.T) {
	mem := NewMem()
	put(t, mem, "file", "back")
	must(t, mem.SyncDir(""))
	must(t, mem.Remove("file"))
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "file"); got != "back" {
		t.Fatalf("%q", got)
	}
	must(t, mem.SyncDir(""))
	images(t, mem, func(image *MemFS, what string) {
		if _, err := image.Stat("file"); err == nil {
			t.Fatalf("%s: a removed file came back", what)
		}
	})
}

func TestFailedDirectorySyncIsNotHealedByTheNext(t *testing.T) {
	mem := NewMem()
	put(t, mem, "tmp", "x")
	must(t, mem.SyncDir(""))
	must(t, mem.Rename("tmp", "name"))
	mem.FailSync(1)
	mustBe(t, mem.SyncDir(""), syscall.EIO)
	must(t, mem.SyncDir(""))
	gone := func() bool {
		_, err := mem.Crash(CrashLoseAll, 0).Stat("name")
		return err != nil
	}
	if _, err := mem.Stat("name"); err != nil || !gone() {
		t.Fatalf("visible: %v, durable: %v", err, !gone())
	}
	must(t, mem.Rename("name", "tmp"))
	must(t, mem.Rename("tmp", "name"))
	must(t, mem.SyncDir(""))
	if gone() {
		t.Fatal("renamed again and still not durable")
	}
}

func TestDirectoryTreeIsLostWithItsTop(t *testing.T) {
	mem := NewMem()
	must(t, mem.MkdirAll("top/mid"))
	put(t, mem, "top/mid/file", "x")
	must(t, mem.SyncDir("top/mid"))
	must(t, mem.SyncDir("top"))
	if names, _ := mem.Crash(CrashLoseAll, 0).List(""); len(names) != 0 {
		t.Fatalf("%q", names)
	}
	must(t, mem.SyncDir(""))
	if got := contents(t, mem.Crash(CrashLoseAll, 0), "top/mid/file"); got != "x" {
		t.Fatalf("%q", got)
	}
}

// dirModel keeps for each name what it may hold after a crash, oldest first.
type dirModel struct {
	states map[string][]string // contents, "" for no file
	dirty  map[string]bool
}

func (d *dirModel) set(name, holds string) {
	d.states[name] = append(d.states[name], holds)
	d.dirty[name] = true
}

func (d *dirModel) now(name string) string { return d.states[name][len(d.states[name])-1] }

func TestEveryDirectoryImageIsLegal(t *testing.T) {
	names := []string{"a", "b", "c", "d"}
	eachSeed(t, 60, func(t *testing.T, seed uint64) {
		rng := rand.New(rand.NewPCG(seed, 2))
		mem := NewMem()
		model := &dirModel{map[string][]string{}, map[string]bool{}}
		for _, name := range names {
			model.states[name] = []string{""}
		}
		for op := range 60 {
			name, other := names[rng.IntN(4)], names[rng.IntN(4)]
			switch rng.IntN(6) {
			case 0, 1:
				if model.now(name) == "" {
					holds := fmt.Sprintf("file %d", op)
					put(t, mem, name, holds)
					model.set(name, holds)
				}
			case 2:
				if model.now(name) != "" {
					must(t, mem.Remove(name))
					model.set(name, "")
				}
			case 3:
				if holds := model.now(name); holds != "" && name != other {
					must(t, mem.Rename(name, other))
					model.set(name, "")
					model.set(other, holds)
				}
			case 4:
				must(t, mem.SyncDir(""))
				for name := range model.dirty {
					model.states[name] = []string{model.now(name)}
				}
				clear(model.dirty)
			case 5:
				if rng.IntN(2) == 0 {
					mem.FailSync(1)
					mustBe(t, mem.SyncDir(""), syscall.EIO)
					clear(model.dirty)
				} else {
					mem = mem.Restart()
				}
			}
			for kind := CrashLoseAll; kind <= CrashMix; kind++ {
				checkNames(t, mem.Crash(kind, rng.Uint64()), model, names, fmt.Sprintf("op %d, %v", op, kind))
			}
		}
	})
}

func checkNames(t *testing.T, image *MemFS, model *dirModel, names []string, what string) {
	t.Helper()
	seen := map[string]bool{}
	for _, name := range names {
		holds := ""
		if _, err := image.Stat(name); err == nil {
			holds = contents(t, image, name)
			if seen[holds] {
				t.Fatalf("%s: %q has two names", what, holds)
			}
			seen[holds] = true
		}
		if !slices.Contains(model.states[name], holds) {
			t.Fatalf("%s: %s holds %q, legal are %q", what, name, holds, model.states[name])
		}
	}
}
