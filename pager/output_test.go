package pager

import (
	"context"
	"errors"
	"syscall"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/vfs"
)

// mebibytes commits a batch with that many records of a MiB.
func mebibytes(t *testing.T, n int, spare func() bool) *earlyLog {
	t.Helper()
	p, log := openEarly(t)
	b, err := p.Begin()
	must(t, err)
	b.Spare(spare)
	for range n {
		_, err := b.Record(make([]byte, 1<<20))
		must(t, err)
	}
	must(t, b.Commit(context.Background(), 1, false))
	return log
}

func TestABatchThatSparesOthersIsWrittenInShortPieces(t *testing.T) {
	log := mebibytes(t, 8, func() bool { return true })
	if starts, most := log.starts.Load(), log.most.Load(); starts < 7<<20/pieceBytes || most > pieceBytes {
		t.Errorf("%d pieces, at most %d bytes under way", starts, most)
	}
	log = mebibytes(t, 8, func() bool { return false })
	if starts := log.starts.Load(); starts > 16 {
		t.Errorf("%d steps with nobody to spare", starts)
	}
}

// A failed early write may be all that the system says of a failed write.
func TestABatchWhoseEarlyWriteFailsPoisons(t *testing.T) {
	fault := vfs.NewFault(newFS(t))
	p := mustOpen(t, testOptions(fault, 4096))
	defer p.Close(false)
	b, err := p.Begin()
	must(t, err)
	b.Spare(func() bool { return true })
	must(t, b.Put([]byte("key"), []byte("value")))
	fault.FailKind(vfs.OpSync, syscall.EIO, false)
	err = b.Commit(context.Background(), 1, false)
	if !errors.Is(err, dberr.ErrPoisoned) || !errors.Is(err, syscall.EIO) {
		t.Errorf("a batch whose early write failed: %v", err)
	}
	if _, err := p.Begin(); !errors.Is(err, dberr.ErrPoisoned) {
		t.Errorf("a batch after it: %v", err)
	}
}
