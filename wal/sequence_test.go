package wal

import (
	"context"
	"encoding/binary"
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// forge writes a segment file behind the log's back: a group "real", then one
// that twist has changed, framed with fitting checksums.
func forge(t *testing.T, twist func(a *appender), commit func(sum *groupSum, payload []byte)) (Options, []Group, error) {
	t.Helper()
	o := testOptions(vfs.NewMem(), 1)
	if err := o.FS.MkdirAll(testDir); err != nil {
		t.Fatal(err)
	}
	info := segmentInfo{number: 1, first: FirstLSN, salt: 99, identity: testIdentity}
	f, err := o.FS.Open(info.path(testDir), vfs.ReadWrite|vfs.Create)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := writeFull(f, info.encode(), 0); err != nil {
		t.Fatal(err)
	}
	a := &appender{f: f, info: info, at: info.first, promise: info.first, bufOff: segmentHeader}
	if err := a.group([][]byte{[]byte("real")}, true); err != nil {
		t.Fatal(err)
	}
	twist(a)
	start, sum := a.at, groupSum{}
	sum.add([]byte("forged"))
	if err := a.record(dataRecord, []byte("forged")); err != nil {
		t.Fatal(err)
	}
	payload := append(sum.appendCommit(nil, start), make([]byte, padTo(a.info.offset(a.at), commitPayload)-commitPayload)...)
	commit(&sum, payload)
	if err := errors.Join(a.record(commitRecord, payload), a.flush()); err != nil {
		t.Fatal(err)
	}
	l, _, groups, err := openLog(o, 0)
	if err == nil {
		l.Close()
	}
	return o, groups, err
}

// A record counts only with the right position, salt and predecessor, whatever
// its own checksum says.
func TestRecordOutOfSequenceDoesNotCount(t *testing.T) {
	keep := func(*groupSum, []byte) {}
	for what, twist := range map[string]func(a *appender){
		"position":    func(a *appender) { a.at += 512 },
		"salt":        func(a *appender) { a.info.salt++ },
		"predecessor": func(a *appender) { a.prev++ },
	} {
		_, groups, err := forge(t, twist, keep)
		if err != nil || strs(groups) != "real;" {
			t.Errorf("wrong %s: %v, %s", what, err, strs(groups))
		}
	}
	if _, groups, err := forge(t, func(*appender) {}, keep); err != nil || strs(groups) != "real;forged;" {
		t.Errorf("nothing wrong: %v, %s", err, strs(groups))
	}
}

func TestHeaderMisfits(t *testing.T) {
	good := header{length: 16, lsn: 64, salt: 5, kind: dataRecord, promise: 8}
	if reason := good.misfit(64, 5, 56); reason != "" {
		t.Fatal(reason)
	}
	for what, change := range map[string]func(h *header){
		"position": func(h *header) { h.lsn = 72 },
		"salt":     func(h *header) { h.salt = 6 },
		"room":     func(h *header) { h.length = 17 },
		"length":   func(h *header) { h.length = 1<<32 - 1 },
		"no type":  func(h *header) { h.kind = 0 },
		"type":     func(h *header) { h.kind = 5 },
		"promise":  func(h *header) { h.promise = 72 },
	} {
		h := good
		change(&h)
		if h.misfit(64, 5, 56) == "" {
			t.Errorf("wrong %s fits", what)
		}
	}
}

func TestCommitRecordMustFitItsGroup(t *testing.T) {
	for at := range commitPayload {
		_, _, err := forge(t, func(*appender) {}, func(_ *groupSum, payload []byte) { payload[at]++ })
		if !errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("byte %d of the commit record: %v", at, err)
		}
	}
	// A promise of what was not written yet is no promise, and no record.
	_, groups, err := forge(t, func(a *appender) { a.promise = 1 << 40 }, func(*groupSum, []byte) {})
	if err != nil || strs(groups) != "real;" {
		t.Errorf("promise of the future: %v, %s", err, strs(groups))
	}
}

// A segment of another log, or of another past of this one, is no continuation.
func TestSegmentMustContinueTheOneBefore(t *testing.T) {
	fs, _, _ := sampleLog(t)
	names, _ := fs.List(testDir)
	for what, at := range map[string]int{"salt": 40, "checksum of the last record": 48, "first position": 24} {
		for _, name := range names[1:] {
			notContinued(t, fs.Crash(vfs.CrashKeepAll, 0), path.Join(testDir, name), what, at)
		}
	}
}

// A log counts only beside the database that it was written for, whichever of
// its segments is the other one's, and reading it changes nothing.
func TestLogOfAnotherDatabaseIsRefused(t *testing.T) {
	fs, _, _ := sampleLog(t)
	names, _ := fs.List(testDir)
	ops := fs.Ops()
	o := testOptions(fs, 1)
	o.Identity[15]++
	refuses := func(o Options, name string) {
		t.Helper()
		_, replayErr := Replay(context.Background(), o, 0, func(Group) error { return errors.New("replayed") })
		_, _, groups, openErr := openLog(o, 0)
		for _, err := range []error{replayErr, openErr} {
			var corrupt *dberr.CorruptError
			if !errors.As(err, &corrupt) || corrupt.File != path.Join(testDir, name) || !strings.Contains(err.Error(), "log of another database") || len(groups) > 0 {
				t.Errorf("%s: %v, %d groups", name, err, len(groups))
			}
		}
	}
	refuses(o, names[0])
	if fs.Ops() != ops {
		t.Errorf("%d operations on the foreign log", fs.Ops()-ops)
	}
	for _, name := range names {
		image := fs.Crash(vfs.CrashKeepAll, 0)
		n, _ := parseSegmentName(name)
		s, err := openScanner(testOptions(image, 1), n)
		if err != nil {
			t.Fatal(err)
		}
		s.close()
		s.info.identity = o.Identity
		f, err := image.Open(s.name, vfs.ReadWrite)
		if err == nil {
			err = writeFull(f, s.info.encode(), 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
		refuses(testOptions(image, 1), name)
	}
}

// notContinued changes one field of a segment header, with a fitting checksum.
func notContinued(t *testing.T, fs vfs.FS, name, what string, at int) {
	t.Helper()
	f, err := fs.Open(name, vfs.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, segmentHeader)
	if err := readFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	b[at] += 8
	binary.LittleEndian.PutUint32(b[12:], segmentCRC(b))
	if err := writeFull(f, b, 0); err != nil {
		t.Fatal(err)
	}
	f.Close()
	if _, _, _, err := openLog(testOptions(fs, 1), 0); !errors.Is(err, dberr.ErrCorrupt) {
		t.Errorf("%s with another %s: %v", name, what, err)
	}
}

// The seal that recovery writes names the new segment, so that losing it is seen.
func TestLosingTheSegmentThatRecoveryMadeIsFound(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, text("promised"))
	ack(t, l, text("last"))
	l.w.closeFilesForCrash(t, l)
	l, r, _ := mustOpen(t, testOptions(fs, 2), 0)
	if r.Rewritten != 1 {
		t.Fatalf("%+v", r)
	}
	l.w.closeFilesForCrash(t, l)
	if err := fs.Remove(path.Join(testDir, segmentName(2))); err != nil {
		t.Fatal(err)
	}
	var c *dberr.CorruptError
	if _, _, _, err := openLog(testOptions(fs, 3), 0); !errors.As(err, &c) || c.File != path.Join(testDir, segmentName(2)) {
		t.Errorf("%v", err)
	}
}

func TestReadErrorInsideALargeRecordCutsNothing(t *testing.T) {
	fs := vfs.NewMem()
	l, _, _ := mustOpen(t, testOptions(fs, 1), 0)
	ack(t, l, entry{records: [][]byte{make([]byte, 3*windowBytes)}})
	l.w.closeFilesForCrash(t, l)
	for n := 1; n <= 3; n++ {
		if _, _, _, err := openLog(testOptions(&eioFS{FS: fs, failAt: n}, 2), 0); err == nil || errors.Is(err, dberr.ErrCorrupt) {
			t.Errorf("read %d failed: %v", n, err)
		}
	}
}
