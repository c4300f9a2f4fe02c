package mvcc

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// An envelope is the value of a row that may be large. It is either the bytes
// themselves or where in a block they lie:
//
//	0                                  tombstone: not there from here on
//	1 | uvarint block, offset, length  packed: in the raw bytes of a block
//	2 | bytes                          inline
//	3                                  lost: a salvage could not read them
//
// In the log and the overlay everything is inline, but for what a big commit
// wrote into its extent. A checkpoint packs what is longer than inlineMax,
// unless all of that is less than half a page (checkpoint.go): readers take
// any length of either form.
const (
	envTombstone = 0
	envPacked    = 1
	envInline    = 2
	envLost      = 3

	inlineMax = 96
)

// hasEnvelope reports whether rows of a kind carry one.
func hasEnvelope(kind byte) bool {
	switch kind {
	case kindVersion, kindCommit, kindShared, kindType, kindAggregate, kindGone, kindQueue, kindLost:
		return true
	}
	return false
}

func inline(b []byte) []byte {
	return append(append(make([]byte, 0, 1+len(b)), envInline), b...)
}

func packedIn(block uint64, m memberAt) []byte {
	b := binary.AppendUvarint([]byte{envPacked}, block)
	b = binary.AppendUvarint(b, m.off)
	return binary.AppendUvarint(b, m.length)
}

// envelope is a decoded one. data is set if it is inline.
type envelope struct {
	how                byte
	data               []byte
	block, off, length uint64
}

func decodeEnvelope(b []byte) (envelope, error) {
	r := binenc.NewReader(b)
	e := envelope{how: r.Byte()}
	switch e.how {
	case envTombstone, envLost:
	case envPacked:
		e.block, e.off, e.length = r.Uvarint(), r.Uvarint(), r.Uvarint()
	case envInline:
		e.data = r.Bytes(uint64(r.Len()))
	default:
		r.Fail("envelope %d is unknown", e.how)
	}
	return e, r.End()
}

func corrupt(format string, args ...any) error { return dberr.Corrupt("", -1, format, args...) }
