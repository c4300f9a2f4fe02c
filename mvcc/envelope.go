package mvcc

import (
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/pager"
)

// An envelope is the value of a row that may be large. It is either the bytes
// themselves or the place where a checkpoint put them:
//
//	0                                         tombstone: not there from here on
//	1 | uvarint offset, length | u32 CRC-32C  placed
//	2 | bytes                                 inline
//
// In the log and the overlay everything is inline. A checkpoint places what is
// longer than inlineMax, unless all of that is less than half a page
// (checkpoint.go): readers take any length of either form.
const (
	envTombstone = 0
	envPlaced    = 1
	envInline    = 2

	inlineMax = 96
)

// hasEnvelope reports whether rows of a kind carry one.
func hasEnvelope(kind byte) bool {
	switch kind {
	case kindVersion, kindCommit, kindShared, kindType, kindAggregate:
		return true
	}
	return false
}

func inline(b []byte) []byte {
	return append(append(make([]byte, 0, 1+len(b)), envInline), b...)
}

func placed(pl pager.Place) []byte {
	b := binary.AppendUvarint([]byte{envPlaced}, pl.Off)
	b = binary.AppendUvarint(b, uint64(pl.Len))
	return binary.LittleEndian.AppendUint32(b, pl.CRC)
}

// envelope is a decoded one. data is set if it is inline.
type envelope struct {
	how   byte
	data  []byte
	place pager.Place
}

func decodeEnvelope(b []byte) (envelope, error) {
	r := binenc.NewReader(b)
	e := envelope{how: r.Byte()}
	switch e.how {
	case envTombstone:
	case envPlaced:
		e.place = pager.Place{Off: r.Uvarint(), Len: r.Uvarint32(), CRC: r.U32()}
	case envInline:
		e.data = r.Bytes(uint64(r.Len()))
	default:
		r.Fail("envelope %d is unknown", e.how)
	}
	return e, r.End()
}

// size returns the number of bytes that the envelope stands for.
func (e envelope) size() uint64 {
	if e.how == envPlaced {
		return uint64(e.place.Len)
	}
	return uint64(len(e.data))
}

func corrupt(format string, args ...any) error { return dberr.Corrupt("", -1, format, args...) }
