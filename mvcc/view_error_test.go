package mvcc

import (
	"errors"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// A page that cannot be read ends a walk over all layers, also where a layer
// above has a row to go on with: that row may be an older state than one in the
// page, and rows before it would be missing in silence.
func TestUnreadablePageHidesNothingBehindAnOverlay(t *testing.T) {
	fs, names := manyNames(t)
	zero(t, fs, leafOf(t, fs, nameKey(names[1500])), 4096)
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	_, v, err := commitBox(t, s, MainBranch, "zz", 0, "behind all others")
	if err != nil {
		t.Fatal(err)
	}
	sn := must(s.At(bg, v))(t)
	defer sn.Close()
	found := 0
	for _, err := range sn.Names(bg, "") {
		if err != nil {
			if !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		found++
	}
	t.Fatalf("%d of %d names, and no error", found, len(names)+1)
}

// Nor is an older state, which retention stored anew, taken for the newest one.
func TestUnreadablePageIsNoOlderState(t *testing.T) {
	fs, _ := manyNames(t)
	newest := versionKey(nil, 1500, mainLine, 1500)
	zero(t, fs, leafOf(t, fs, newest), 4096)
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	s.applying.Lock()
	s.layers.Load().active.replace(versionKey(nil, 1500, mainLine, 1000), []byte{envInline, 0})
	s.applying.Unlock()
	v := must(s.view())(t)
	defer v.close()
	_, _, ok, err := v.seekIn(versionKey(nil, 1500, mainLine, 1<<64-1), versionKeyLen-8)
	if !errors.Is(err, dberr.ErrCorrupt) {
		t.Fatalf("found %v, error %v", ok, err)
	}
}

// manyNames makes a closed database of one commit with 3,000 pods and names.
func manyNames(t *testing.T) (*vfs.MemFS, []string) {
	t.Helper()
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	var names []string
	tx := begin(t, s, MainBranch)
	for i := range 3000 {
		names = append(names, string([]byte{'a' + byte(i/676), 'a' + byte(i/26%26), 'a' + byte(i%26)}))
		id := tx.NewPod()
		if err := errors.Join(tx.Put(bg, box(id, "text")), tx.SetName(bg, names[i], id)); err != nil {
			t.Fatal(err)
		}
	}
	must(tx.Commit(bg, CommitInfo{}))(t)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, names
}

// leafOf returns the offset of the leaf of a closed database that has a key.
func leafOf(t *testing.T, fs *vfs.MemFS, key []byte) int64 {
	t.Helper()
	for _, off := range treePages(t, fs)[0] {
		image := fs.Crash(vfs.CrashKeepAll, 1)
		zero(t, image, off, 4096)
		p, err := pager.Open(bg, pager.Options{FS: image, Path: "dir/a.pod", ReadOnly: true})
		if err != nil {
			continue
		}
		v := p.View()
		c := v.Seek(key)
		bad := c.Err() != nil
		v.Close()
		p.Close(false)
		if bad {
			return off
		}
	}
	t.Fatal("no leaf has the key")
	return 0
}
