package mvcc

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/internal/vfs"
	"github.com/poddb/poddb/pager"
)

// damagedModel makes a small closed database with everything in it.
func damagedModel(t *testing.T) (*vfs.MemFS, *model) {
	fs := newFS(t)
	s := mustOpen(t, testOptions(fs))
	m := newModel()
	rng := rand.New(rand.NewPCG(8, 8))
	for i := range 25 {
		if i == 12 {
			if err := s.CreateBranch(bg, "b", 5); err != nil {
				t.Fatal(err)
			}
			m.heads["b"], m.base["b"] = 5, 5
		}
		branch := pick(rng, slices.Sorted(maps.Keys(m.heads)))
		x := m.begin(t, s, rng, branch, m.heads[branch])
		if i == 3 {
			must(x.tx.Type(bg, []byte("a type")))(t)
		}
		x.fill(t)
		x.commit(t)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return fs, m
}

func TestFlippedBitIsNeverWrongData(t *testing.T) {
	fs, m := damagedModel(t)
	info, err := fs.Stat("dir/a.pod")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	refused, reported, harmless := 0, 0, 0
	n := 400
	if testing.Short() {
		n = 80
	}
	for range n {
		off, bit := rng.Int64N(info.Size), byte(1)<<rng.IntN(8)
		image := fs.Crash(vfs.CrashKeepAll, 1)
		f := must(image.Open("dir/a.pod", vfs.ReadWrite))(t)
		b := make([]byte, 1)
		if _, err := f.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		b[0] ^= bit
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		f.Close()
		s, err := Open(bg, testOptions(image))
		if err != nil {
			if !errors.Is(err, dberr.ErrCorrupt) && !errors.Is(err, dberr.ErrNotDatabase) && !errors.Is(err, dberr.ErrTooNew) {
				t.Fatalf("bit %d of byte %d: Open: %v", bit, off, err)
			}
			refused++
			continue
		}
		rep := must(s.Verify(bg, VerifyOptions{Deep: true}))(t)
		if len(rep.Problems) > 0 {
			reported++
			readDamaged(t, s, m)
		} else {
			harmless++
			m.checkAll(t, s)
		}
		s.Close()
	}
	t.Logf("%d refused at open, %d reported by Verify, %d harmless", refused, reported, harmless)
	if refused+reported == 0 {
		t.Fatal("no flip did anything")
	}
}

// readDamaged reads everything: each answer is right or ErrCorrupt.
func readDamaged(t *testing.T, s *Store, m *model) {
	for v, want := range m.versions {
		sn, err := s.At(bg, Version(v))
		if err != nil {
			if !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatalf("At(%d): %v", v, err)
			}
			continue
		}
		for id, p := range want.pods {
			got, err := sn.Pods(bg, []pod.ID{id})
			if err == nil && !samePod(got[0], p) || err != nil && !errors.Is(err, dberr.ErrCorrupt) {
				t.Fatalf("version %d, pod %d: wrong data, %v", v, id, err)
			}
		}
		sn.Close()
	}
}

// Each row that lies, under good checksums, is found by Verify.
func TestVerifyFindsRowsThatLie(t *testing.T) {
	fs, m := damagedModel(t)
	rows := map[string][]byte{}
	s := mustOpen(t, testOptions(fs))
	v := s.pin()
	if err := v.walk(nil, func(k, val []byte) error { rows[string(k)] = slices.Clone(val); return nil }); err != nil {
		t.Fatal(err)
	}
	v.pv.Close()
	s.Close()
	first := func(kind byte) string {
		for _, k := range sortedKeys(rows) {
			if k[0] == kind {
				return k
			}
		}
		t.Fatalf("no row of kind %c", kind)
		return ""
	}
	type edit struct {
		key string
		val []byte // nil deletes
	}
	someVersion := first(kindVersion)
	id, line, number, _ := splitVersionKey([]byte(someVersion))
	tests := map[string]edit{
		"a missing pod version":  {someVersion, nil},
		"a stray pod version":    {string(versionKey(nil, id, line, number+100000)), rows[someVersion]},
		"a missing commit":       {string(commitKey(7)), nil},
		"a missing name":         {first(kindName), nil},
		"a name without pod":     {first(kindName), rootValue(1 << 40)},
		"wrong users":            {first(kindUsers), []byte{99}},
		"a missing shared body":  {first(kindShared), nil},
		"a missing content row":  {first(kindContent), recordKey(0, 1<<30)[1:]},
		"a missing type":         {first(kindType), nil},
		"a missing type hash":    {first(kindTypeHash), nil},
		"block numbers again":    {string(singleKey(singleBlocks)), binary.AppendUvarint(nil, 2)},
		"no block numbers":       {string(singleKey(singleBlocks)), nil},
		"counters that are back": {string(singleKey(singleCounters)), counters{version: 3, number: 5, pod: 4, typ: 64, record: 2, line: 3}.append(nil)},
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			image := fs.Crash(vfs.CrashKeepAll, 1)
			p := must(pager.Open(bg, pager.Options{FS: image, Path: "dir/a.pod"}))(t)
			b := must(p.Begin())(t)
			var err error
			if e.val == nil {
				err = b.Delete([]byte(e.key))
			} else {
				err = b.Put([]byte(e.key), e.val)
			}
			if err == nil {
				err = b.Commit(bg, p.State().LogPos, true)
			}
			if err != nil {
				t.Fatal(err)
			}
			p.Close(false)
			s, err := Open(bg, testOptions(image))
			if err != nil {
				t.Logf("Open: %v", err)
				return
			}
			defer s.Close()
			rep := must(s.Verify(bg, VerifyOptions{Deep: true}))(t)
			if len(rep.Problems) == 0 {
				t.Fatal("Verify found nothing")
			}
			t.Logf("%s", strings.Join(rep.Problems[:1], "; "))
		})
	}
	_ = m
}

func TestVerifyCanBeCancelledAndReportsProgress(t *testing.T) {
	fs, _ := damagedModel(t)
	s := mustOpen(t, testOptions(fs))
	defer s.Close()
	calls, last := 0, uint64(0)
	rep, err := s.Verify(bg, VerifyOptions{Progress: func(done, total uint64) {
		calls++
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	}})
	if err != nil || calls < 2 || last != rep.PodVersions {
		t.Fatalf("%d calls, last %d of %d, %v", calls, last, rep.PodVersions, err)
	}
	ctx, cancel := context.WithCancel(bg)
	cancel()
	if _, err := s.Verify(ctx, VerifyOptions{}); !errors.Is(err, context.Canceled) {
		t.Fatalf("cancelled: %v", err)
	}
}

// Past both kinds of aggregates, and with the window rebuilt in the middle.
func TestSetsOfALongLine(t *testing.T) {
	o := testOptions(newFS(t))
	s := mustOpen(t, o)
	var ids []pod.ID
	want := []uint64{0}
	total := 4096 + 130
	if testing.Short() {
		total = 300
	}
	live := uint64(0)
	for i := range total {
		if i == 100 || i == 4090 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = mustOpen(t, o)
		}
		tx := begin(t, s, MainBranch)
		c := box(0, fmt.Sprint(i))
		if i%3 == 0 {
			c.ID = tx.NewPod()
			ids = append(ids, c.ID)
			live++
		} else {
			c = boxAgain(ids[i*7%len(ids)], fmt.Sprint(i))
		}
		if err := tx.Put(bg, c); err != nil {
			t.Fatal(err)
		}
		must(tx.Commit(bg, CommitInfo{}))(t)
		want = append(want, live)
	}
	for _, v := range []Version{1, 63, 64, 65, 128, 200, 4095, 4096, 4097, 4160, Version(total)} {
		if v > Version(total) {
			continue
		}
		sn := must(s.At(bg, v))(t)
		set := must(sn.PodVersions(bg))(t)
		if set.Len() != want[v] {
			t.Fatalf("version %d has %d pod versions, expected %d", v, set.Len(), want[v])
		}
		for _, id := range ids[:want[v]] {
			if n := must(sn.Number(bg, id))(t); !set.Contains(n) {
				t.Fatalf("version %d: number %d of pod %d is not in the set", v, n, id)
			}
		}
		sn.Close()
	}
	verifyClean(t, s)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// Losing either meta page, with a log of many segments, loses nothing.
func TestEitherMetaAndTheLogMakeTheDatabase(t *testing.T) {
	fs := newFS(t)
	o := testOptions(fs)
	o.SegmentBytes = 8 << 10
	s := mustOpen(t, o)
	defer s.Close()
	text := make([]byte, 3000)
	if _, err := seeded(6).Read(text); err != nil {
		t.Fatal(err)
	}
	var id pod.ID
	for i := range 40 {
		var err error
		text[0] = byte(i)
		if id, _, err = commitBox(t, s, MainBranch, "x", id, string(text)); err != nil {
			t.Fatal(err)
		}
		if i%9 == 8 {
			if err := s.Checkpoint(bg); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := s.log.Load().Stats().Segments; n > 12 {
		t.Fatalf("%d segments are held: the log is not released", n)
	}
	for slot := range int64(2) {
		image := fs.Crash(vfs.CrashLoseAll, 1)
		f := must(image.Open("dir/a.pod", vfs.ReadWrite))(t)
		if _, err := f.WriteAt(make([]byte, 64), slot*4096); err != nil {
			t.Fatal(err)
		}
		f.Close()
		o := o
		o.FS = image
		s := mustOpen(t, o)
		if s.pager.State().Damage == "" {
			t.Fatalf("slot %d is not where the test thinks", slot)
		}
		for v := Version(1); v <= 40; v++ {
			if got := read(t, s, v, id); got[0] != byte(v-1) {
				t.Fatalf("slot %d lost: version %d reads %d", slot, v, got[0])
			}
		}
		verifyClean(t, s)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
