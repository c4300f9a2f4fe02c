package mvcc

import (
	"fmt"

	"github.com/klauspost/compress/huff0"
	"github.com/klauspost/compress/s2"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// unpacking is memory for what a block is on its way to its raw bytes. The zero value is ready to use; one
// goroutine at a time uses it.
type unpacking struct {
	steps [3][]byte // in the order of unpackSteps
	tree  *huff0.Scratch
}

// unpackSteps are the flags of a block in the order in which what they say is undone, which is from the highest down.
var unpackSteps = [3]byte{blockCoded, blockTwice, blockCompressed}

const knownBlockFlags = blockCompressed | blockTwice | blockCoded

// unpackBlock reads what lies behind a block's header, and is as it was written: somebody has compared a checksum.
// The raw bytes are a part of rest, or with keep in memory that nothing else is in, without in the room.
func unpackBlock(rest []byte, room *unpacking, keep bool) (number uint64, raw []byte, err error) {
	r := binenc.NewReader(rest)
	flags := r.Byte()
	number = r.Uvarint()
	if r.Err() == nil && flags&^knownBlockFlags != 0 {
		return 0, nil, fmt.Errorf("%w: block %d has flags %#x, this program knows %#x", dberr.ErrTooNew, number, flags, knownBlockFlags)
	}
	n := r.Uvarint()
	b := r.Bytes(uint64(r.Len()))
	if flags&blockTwice != 0 && flags&blockCompressed == 0 {
		r.Fail("block %d has flags %#x", number, flags)
	}
	if n > maxBlockRaw {
		r.Fail("block of %d raw bytes", n)
	}
	if err := r.End(); err != nil {
		return 0, nil, err
	}
	for i, flag := range unpackSteps {
		if flags&flag == 0 {
			continue
		}
		last := flags&(flag-1) == 0
		var into []byte
		if !last || !keep {
			into = room.steps[i]
		}
		if flag == blockCoded {
			b, err = room.decode(into, b, n)
		} else {
			b, err = unsqueeze(into, b, n)
		}
		if err != nil {
			return 0, nil, fmt.Errorf("block %d: %w", number, err)
		}
		if (!last || !keep) && cap(b) <= 2*coldBytes {
			room.steps[i] = b
		}
	}
	if uint64(len(b)) != n {
		return 0, nil, corrupt("block %d of %d raw bytes, expected %d", number, len(b), n)
	}
	return number, b, nil
}

// unsqueeze decodes an s2 block of at most limit bytes, into the memory of dst if it fits there.
func unsqueeze(dst, b []byte, limit uint64) ([]byte, error) {
	n, err := s2.DecodedLen(b)
	if err != nil || uint64(n) > limit {
		return nil, corrupt("compressed from %d bytes of %d at most", n, limit)
	}
	raw, err := s2.Decode(dst[:cap(dst)], b)
	if err != nil {
		return nil, corrupt("%v", err)
	}
	return raw, nil
}
