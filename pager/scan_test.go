package pager

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// scanFile makes a file of two generations and returns its rows.
func scanFile(t *testing.T, pageSize int) (*vfs.MemFS, map[string]string) {
	t.Helper()
	fs := vfs.NewMem()
	p, err := Open(context.Background(), Options{FS: fs, Path: "a", PageSize: pageSize})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for round := range 2 {
		b, err := p.Begin()
		if err != nil {
			t.Fatal(err)
		}
		for i := round * 100; i < 3000; i++ {
			k, v := fmt.Sprintf("key%06d", i), fmt.Sprintf("round %d of %d", round, i)
			rows[k] = v
			if err := b.Put([]byte(k), []byte(v)); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(context.Background(), 8, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(true); err != nil {
		t.Fatal(err)
	}
	return fs, rows
}

func overwrite(t *testing.T, fs *vfs.MemFS, off int64, b []byte) {
	t.Helper()
	f, err := fs.Open("a", vfs.ReadWrite)
	if err == nil {
		_, err = f.WriteAt(b, off)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}

// scanned is all that a scan gives: rows by the walk, gaps, and for the rest the
// row of the newest leaf that has it.
func scanned(t *testing.T, s *Scan) (walked, orphans map[string]string, gaps []ScanGap) {
	t.Helper()
	walked, orphans = map[string]string{}, map[string]string{}
	if len(s.Roots()) > 0 {
		err := s.Walk(context.Background(), s.Roots()[0], func(l *ScanLeaf) error {
			for i := range l.Len() {
				k, v := l.Row(i)
				walked[string(k)] = string(v)
			}
			return nil
		}, func(g ScanGap) { gaps = append(gaps, g) })
		if err != nil {
			t.Fatal(err)
		}
	}
	newest := map[string]uint64{}
	err := s.Leaves(context.Background(), func(l *ScanLeaf) error {
		for i := range l.Len() {
			k, v := l.Row(i)
			if l.Generation > newest[string(k)] {
				newest[string(k)], orphans[string(k)] = l.Generation, string(v)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return walked, orphans, gaps
}

// Whatever inner pages are lost, walk and leaves together give all rows, and each
// row that the walk misses lies in a gap.
func TestScanFindsEveryRowWithoutInnerPages(t *testing.T) {
	for _, pageSize := range []int{4096, 8192, 65536} {
		fs, rows := scanFile(t, pageSize)
		s := openScan(t, fs)
		r := s.Roots()[0]
		walked, _, gaps := scanned(t, s)
		s.Close()
		if len(gaps) != 0 || len(walked) != len(rows) {
			t.Fatalf("an undamaged file has %d gaps and %d of %d rows", len(gaps), len(walked), len(rows))
		}
		overwrite(t, fs, int64(r.root.page)*int64(pageSize)+100, []byte("damage"))
		for _, metas := range []int{0, 1, 2} { // metas lost too
			if metas > 0 {
				overwrite(t, fs, int64(metas-1)*4096, make([]byte, 512))
			}
			s := openScan(t, fs)
			if s.PageSize() != pageSize && (r.level > 0 || metas == 0) {
				t.Fatalf("page size %d, expected %d", s.PageSize(), pageSize)
			}
			walked, orphans, gaps := scanned(t, s)
			for k, v := range rows {
				if walked[k] != v && orphans[k] != v && r.level > 0 {
					t.Fatalf("%d metas lost: row %s is neither %q nor %q", metas, k, walked[k], orphans[k])
				}
				if _, ok := walked[k]; !ok && metas < 2 && !inGap(gaps, k) {
					t.Fatalf("%d metas lost: row %s is in no gap", metas, k)
				}
			}
			s.Close()
		}
	}
}

func inGap(gaps []ScanGap, k string) bool {
	for _, g := range gaps {
		if bytes.Compare([]byte(k), g.Lower) >= 0 && (g.Upper == nil || bytes.Compare([]byte(k), g.Upper) < 0) {
			return true
		}
	}
	return false
}

func openScan(t *testing.T, fs vfs.FS) *Scan {
	t.Helper()
	s, err := OpenScan(context.Background(), fs, "a")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A leaf that is lost costs its rows, and nothing beside it.
func TestScanLosesOneLeaf(t *testing.T) {
	fs, rows := scanFile(t, 4096)
	s := openScan(t, fs)
	var page uint64
	var keys []string
	n := 0
	err := s.Walk(context.Background(), s.Roots()[0], func(l *ScanLeaf) error {
		if n++; n == 7 {
			page = l.Page
			for i := range l.Len() {
				k, _ := l.Row(i)
				keys = append(keys, string(k))
			}
		}
		return nil
	}, func(ScanGap) {})
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	overwrite(t, fs, int64(page)*4096, make([]byte, 4096))
	s = openScan(t, fs)
	defer s.Close()
	walked, _, gaps := scanned(t, s)
	if len(gaps) != 1 || len(walked)+len(keys) != len(rows) || gaps[0].Page != page {
		t.Fatalf("%d gaps, %d + %d of %d rows", len(gaps), len(walked), len(keys), len(rows))
	}
	for _, k := range keys {
		if !inGap(gaps, k) {
			t.Fatalf("%s is not in the gap", k)
		}
	}
}

func TestScanFindsPatternsAcrossChunks(t *testing.T) {
	fs, _ := scanFile(t, 4096)
	want := []int64{1 << 20, 3<<20 - 3, 3<<20 + 5, 4<<20 - 8}
	overwrite(t, fs, 4<<20-1, []byte{0})
	for _, off := range want {
		overwrite(t, fs, off, []byte("\x01pattern"))
	}
	s := openScan(t, fs)
	defer s.Close()
	var got []int64
	err := s.Find(context.Background(), []byte("\x01pattern"), func(off int64) (int64, error) {
		got = append(got, off)
		return off + 8, nil
	})
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("found at %v, %v; expected %v", got, err, want)
	}
}

func TestScanGoesAroundWhatCannotBeRead(t *testing.T) {
	mem, rows := scanFile(t, 4096)
	fs := vfs.NewFault(mem)
	s, err := OpenScan(context.Background(), fs, "a")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for n := range 2 { // once more when it is tried in smaller pieces
		fs.FailOp(fs.Ops()+5+n, errors.New("bad sector"))
	}
	walked, orphans, gaps := scanned(t, s)
	if s.Unreadable() != 4096 || len(gaps) != 1 || len(walked) >= len(rows) {
		t.Fatalf("%d bytes unreadable, %d gaps, %d rows", s.Unreadable(), len(gaps), len(walked))
	}
	if len(walked)+len(orphans) < len(rows) { // read again it is a leaf that the walk did not reach
		t.Fatalf("%d rows and %d on other leaves of %d", len(walked), len(orphans), len(rows))
	}
}

func TestScanIsRefusedWhileTheFileIsOpen(t *testing.T) {
	fs, _ := scanFile(t, 4096)
	p, err := Open(context.Background(), Options{FS: fs, Path: "a"})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(false)
	if _, err := OpenScan(context.Background(), fs, "a"); !errors.Is(err, dberr.ErrLocked) {
		t.Fatalf("OpenScan: %v", err)
	}
}
