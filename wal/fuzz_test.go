package wal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// What reading a log may allocate: a fixed part for windows and handles, and a
// multiple of its size, whatever lengths and counts its bytes claim.
const (
	fuzzAllocation        = 4 << 20
	fuzzAllocationPerByte = 64
)

// typed reports whether an error is one that bytes may cause.
func typed(err error) bool {
	return errors.Is(err, dberr.ErrCorrupt) || errors.Is(err, dberr.ErrLogMissing) || errors.Is(err, dberr.ErrTooNew)
}

// FuzzRecover opens one or two segments of arbitrary bytes. mend makes checksums,
// positions and chain fit first, so that the structure behind them is reached.
// Its seeds are the committed corpus.
func FuzzRecover(f *testing.F) {
	f.Fuzz(func(t *testing.T, first, second []byte, fix bool) {
		if fix {
			first, second = mend(first, second)
		}
		fs := vfs.NewMem()
		for i, b := range [][]byte{first, second} {
			if len(b) > 0 {
				writeSegment(t, fs, uint64(i+1), b)
			}
		}
		live := boundedReplay(t, fs, len(first)+len(second))
		l, r, groups, err := openLog(testOptions(fs, 1), 0)
		if err != nil {
			if !typed(err) {
				t.Fatal(err)
			}
			return
		}
		if !strings.HasPrefix(strs(groups), strs(live)) {
			t.Fatalf("read live %q, recovered %q", strs(live), strs(groups))
		}
		ack(t, l, text("after"))
		l.Close()
		l, r2, again := mustOpen(t, testOptions(fs, 2), 0)
		l.Close()
		if strs(again) != strs(groups)+"after;" || r2.Groups != r.Groups+1 {
			t.Fatalf("%q, then %q", strs(groups), strs(again))
		}
	})
}

func writeSegment(t testing.TB, fs vfs.FS, number uint64, b []byte) {
	t.Helper()
	if err := fs.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	file, err := fs.Open(segmentInfo{number: number}.path(testDir), vfs.ReadWrite|vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := writeFull(file, b, 0); err != nil {
		t.Fatal(err)
	}
}

// boundedReplay reads a log in both ways that write nothing, and checks what
// they allocate. It returns what the live reader saw.
func boundedReplay(t *testing.T, fs vfs.FS, size int) (live []Group) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := Replay(context.Background(), testOptions(fs, 1), 0, func(Group) error { return nil })
	_, liveErr := ReplayLive(context.Background(), testOptions(fs, 1), 0, func(g Group) error {
		live = append(live, g)
		return nil
	})
	runtime.ReadMemStats(&after)
	for _, err := range []error{err, liveErr} {
		if err != nil && !typed(err) {
			t.Fatal(err)
		}
	}
	if took, most := after.TotalAlloc-before.TotalAlloc, uint64(fuzzAllocation+fuzzAllocationPerByte*size); took > most {
		t.Fatalf("reading %d bytes of log allocated %d, at most %d is fine", size, took, most)
	}
	return live
}

// FuzzRecord decodes one record at any place. What is accepted is in bounds and
// is the same record when it is framed again.
func FuzzRecord(f *testing.F) {
	for _, kind := range []recordType{dataRecord, commitRecord, promiseRecord, endRecord} {
		b, _ := appendRecord(nil, header{length: 21, lsn: 64, salt: 7, prev: 9, kind: kind, promise: 8}, make([]byte, 21))
		f.Add(b, uint64(64))
		f.Add(b[:30], uint64(64))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint64) {
		if len(b) < recordHeader {
			return
		}
		h, crc := decodeHeader(b)
		if h.misfit(LSN(at), h.salt, int64(len(b))) != "" {
			return
		}
		size := recordSize(int(h.length))
		if size > int64(len(b)) || h.promise > h.lsn || h.lsn != LSN(at) {
			t.Fatalf("%+v fits into %d bytes at %d", h, len(b), at)
		}
		again, sum := appendRecord(nil, h, b[recordHeader:][:h.length])
		same, stored := decodeHeader(again)
		if same != h || stored != sum || int64(len(again)) != size {
			t.Fatalf("%+v became %+v", h, same)
		}
		// The checksum covers everything behind it, padding too.
		valid := crc32.Checksum(b[4:size], castagnoli()) == crc
		if valid && sum == crc && !bytes.Equal(again, b[:size]) {
			t.Fatalf("two records with checksum %08x", crc)
		}
	})
}

// mend gives bytes the checksums, positions, salts and chain of real segments.
func mend(first, second []byte) (a, b []byte) {
	info := segmentInfo{number: 1, first: FirstLSN, salt: 7, identity: testIdentity}
	a, at, prev := mendSegment(first, info)
	if len(a) < segmentHeader {
		return a, second
	}
	b, _, _ = mendSegment(second, segmentInfo{number: 2, first: at, salt: 8, prevSalt: 7, prevCRC: prev, identity: testIdentity})
	return a, b
}

func mendSegment(from []byte, info segmentInfo) (b []byte, at LSN, prev uint32) {
	b = append([]byte(nil), from...)
	at, prev = info.first, info.prevCRC
	if len(b) < segmentHeader {
		return b, at, prev
	}
	copy(b, info.encode())
	for {
		off := info.offset(at)
		room := int64(len(b)) - off
		if room < recordHeader {
			return b, at, prev
		}
		h, _ := decodeHeader(b[off:])
		h.lsn, h.salt, h.prev = at, info.salt, prev
		if int64(h.length) > room-recordHeader {
			h.length %= uint32(room - recordHeader + 1)
		}
		size := recordSize(int(h.length))
		if size > room {
			return b, at, prev
		}
		record, crc := appendRecord(nil, h, b[off+recordHeader:][:h.length])
		copy(b[off:], record)
		if h.kind == endRecord { // the next segment begins here
			return b, at, prev
		}
		at, prev = at+LSN(size), crc
	}
}

type fuzzSeed struct {
	name          string
	first, second []byte
	fix           bool
}

// fuzzSeeds are segments of real logs, whole and hurt in the ways that matter.
func fuzzSeeds(t testing.TB) []fuzzSeed {
	fs := vfs.NewMem()
	o := testOptions(fs, 5)
	o.SegmentBytes = 2048
	l, _, _ := mustOpen(t, o, 0)
	ack(t, l, text("a", "bb"), text("c"))
	ack(t, l, text(strings.Repeat("d", 700)))
	ack(t, l, text(strings.Repeat("e", 600), ""))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	segment := func(n uint64) []byte {
		file, err := fs.Open(segmentInfo{number: n}.path(testDir), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		size, _ := file.Size()
		b := make([]byte, size)
		if err := readFull(file, b, 0); err != nil {
			t.Fatal(err)
		}
		return b
	}
	first, second := segment(1), segment(2)
	changed := func(b []byte, off int, to ...byte) []byte {
		b = append([]byte(nil), b...)
		copy(b[off:], to)
		return b
	}
	return []fuzzSeed{
		{"whole", first, second, false},
		{"mended", first, second, true},
		{"one", first, nil, false},
		{"cut", first[:1024], nil, true},
		{"header", first[:100], second, false},
		{"missing", nil, second, false},
		{"huge-length", changed(first, segmentHeader+4, 0xff, 0xff, 0xff, 0x03), nil, false},
		{"count", changed(first, segmentHeader+3*48+recordHeader, 0xff, 0xff, 0xff, 0xff), nil, true},
		{"type", changed(first, segmentHeader+28, 9), second, true},
		{"promise", changed(first, segmentHeader+32, 0xff, 0xff), nil, true},
		{"torn", changed(first, segmentHeader+100, 0xaa), second, false},
		{"position", changed(second, 24, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), nil, false},
	}
}

// The committed corpus is what fuzzSeeds make today: a change of the format
// would leave it reading as noise. WAL_WRITE_CORPUS=1 writes it.
func TestCorpusIsOfThisFormat(t *testing.T) {
	dir := filepath.Join("testdata", "fuzz", "FuzzRecover")
	for _, s := range fuzzSeeds(t) {
		want := fmt.Sprintf("go test fuzz v1\n[]byte(%q)\n[]byte(%q)\nbool(%v)\n", s.first, s.second, s.fix)
		name := filepath.Join(dir, s.name)
		if os.Getenv("WAL_WRITE_CORPUS") != "" {
			if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s is not what the log writes today: %v", name, err)
		}
	}
}
