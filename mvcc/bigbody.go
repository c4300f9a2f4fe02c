package mvcc

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/s2"
	"github.com/zeebo/blake3"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/pod"
	"github.com/poddb/poddb/pager"
)

// Big bodies. A new pod with megabytes that do not compress (numbers, images)
// is bound by copying. Its body goes from the memory of the change straight into
// a block of its own, in pieces: while they are hashed here, the stream's
// goroutine sums and writes them. Whether an equal body is stored already is known
// only behind the last piece; if so the block gets no row, and its pages are
// free again when the extent's other places are adopted.

const (
	bigPiece   = 1 << 20
	sampleLen  = 4 << 10
	maxSamples = 16
)

// isBig says whether a change is to be put by putBig.
func (t *Tx) isBig(c *pod.Change) bool {
	n, big := 0, 0
	for i := range c.Slots {
		d := c.Slots[i].Data.Bytes
		if n += len(d); len(d) > len(c.Slots[big].Data.Bytes) {
			big = i
		}
	}
	return n >= max(streamMin, int(t.s.o.streamFrom)) && (t.s.o.NoCompression || !shrinks(c.Slots[big].Data.Bytes))
}

// shrinks guesses from samples whether bytes compress.
func shrinks(b []byte) bool {
	var packed []byte
	in, out := 0, 0
	step := max(len(b)/maxSamples, sampleLen)
	for at := 0; at+sampleLen <= len(b); at += step {
		packed = s2.Encode(packed[:cap(packed)], b[at:at+sampleLen])
		in, out = in+sampleLen, out+len(packed)
	}
	return out < in-in/packGain
}

// putBig puts a new pod whose body is big.
func (t *Tx) putBig(v *view, c *pod.Change) error {
	next, err := pod.Borrow(nil, c)
	if err != nil {
		return err
	}
	size := 0
	for i := range next.Slots {
		size += len(next.Slots[i].Bytes)
	}
	if size > maxForm {
		return tooLong(c.ID, size)
	}
	if t.stream == nil {
		if err := t.startStream(); err != nil {
			return err
		}
	}
	if err := t.spill(); err != nil { // so that what is shared stays in order
		return err
	}
	no, err := t.bigBody(v, next, size)
	if err != nil {
		return err
	}
	f := frame{form: pod.AppendWholeShared(nil, next, pod.RecordNo(no))}
	p := &put{id: c.ID, exports: exportedSlots(nil, next), env: t.envelope(f), size: f.size()}
	setIn(&t.uses, no, t.uses[no]+1)
	t.stats.Shared++
	t.note(p, nil, next, len(c.Slots))
	return t.spill()
}

// bigBody stores the body of a pod and returns its record number, or that of an
// equal one.
func (t *Tx) bigBody(v *view, next *pod.Pod, size int) (uint64, error) {
	no := t.s.next.record.Add(1) - 1
	long, at := newLongBlock(t.s.next.block.Add(2)-2, recordKey(kindShared, no), size)
	if err := t.stream.send(); err != nil {
		return 0, err
	}
	hash := blake3.New()
	for i := range next.Slots {
		for b := next.Slots[i].Bytes; len(b) > 0; {
			piece := append(t.stream.piece(), b[:min(len(b), bigPiece)]...)
			b = b[len(piece):]
			hash.Write(piece)
			if err := t.stream.sendBlock(&streamBlock{long: long, piece: piece, size: len(piece)}); err != nil {
				return 0, err
			}
		}
	}
	full := [32]byte(hash.Sum(nil))
	key := t.s.contentKey(full)
	same, found, err := t.equalBody(v, key, full, next)
	if err != nil {
		return 0, err
	}
	if found {
		long.dropped = true // the writer looks when it has seen the end
		no = same
	} else {
		n := &body{no, key, full, uint64(size) + 1, packedIn(long.number, at)}
		setIn(&t.bodies, key, n)
		t.shared = append(t.shared, n)
		t.spilledBodies++
		t.stats.Bytes += n.size
	}
	return no, t.stream.sendBlock(&streamBlock{long: long, last: true})
}

// equalBody looks for a body that is stored already, or by this transaction.
func (t *Tx) equalBody(v *view, key contentKey, full [32]byte, next *pod.Pod) (no uint64, found bool, err error) {
	if own, ok := t.bodies[key]; ok {
		return own.no, own.full == full, nil
	}
	row, ok, err := v.get(hashKey(kindContent, key))
	if err != nil || !ok {
		return 0, false, err
	}
	if len(row) != 8 {
		return 0, false, corrupt("content row of %d bytes", len(row))
	}
	no = be.Uint64(row)
	have, found, err := t.hold(key, no)
	if err != nil || !found {
		return 0, false, err
	}
	for i := range next.Slots {
		b := next.Slots[i].Bytes
		if len(b) > len(have) || string(have[:len(b)]) != string(b) {
			return 0, false, nil
		}
		have = have[len(b):]
	}
	return no, len(have) == 0, nil
}

// piece returns a buffer, one that the writer is done with if there is one.
func (w *stream) piece() []byte {
	select {
	case b := <-w.spare:
		return b[:0]
	default:
		return make([]byte, 0, bigPiece)
	}
}

// longBlock is a block of one member that is written in pieces.
type longBlock struct {
	number  uint64
	at      memberAt
	prefix  []byte // behind the header, up to the contents
	raw     int
	size    int // of the contents, without their first byte, the head of a frame
	rec     *pager.LongRecord
	dropped bool // not needed
}

// newLongBlock lays out a block that holds a frame of size bytes under key.
func newLongBlock(number uint64, key []byte, size int) (*longBlock, memberAt) {
	var keys keyCoder
	directory := binary.AppendUvarint(keys.append(binary.AppendUvarint(nil, 1), key), uint64(size)+1)
	l := &longBlock{number: number, size: size, raw: len(directory) + 1 + size}
	l.at = memberAt{key, uint64(len(directory)), uint64(size) + 1}
	l.prefix = binary.AppendUvarint([]byte{0}, number)
	l.prefix = binary.AppendUvarint(l.prefix, uint64(l.raw))
	l.prefix = append(l.prefix, directory...)
	l.prefix = appendFrameHead(l.prefix, frame{})
	return l, l.at
}

// writePiece is the writer's part.
func (w *stream) writePiece(b *streamBlock) (err error) {
	l := b.long
	if l.rec == nil {
		head := uint64(blockHeader + len(l.prefix))
		if l.rec, err = w.extent.BeginRecord(head, head+uint64(l.size)); err != nil {
			return err
		}
	}
	if b.piece != nil {
		err = l.rec.Write(b.piece)
		select {
		case w.spare <- b.piece:
		default:
		}
	}
	if err != nil || !b.last {
		return err
	}
	pl, err := l.rec.End(l.head())
	if err == nil && !l.dropped {
		w.rows = append(w.rows, keyValue{blockKey(l.number), newBlockRow(pl, l.raw, []memberAt{l.at}).append(nil)})
	}
	return err
}

// head is what stands before the pieces.
func (l *longBlock) head() []byte {
	table := crc32.MakeTable(crc32.Castagnoli)
	sum := binenc.CombineCRC(crc32.Checksum(l.prefix, table), l.rec.Sum(), uint64(l.size))
	b := append(make([]byte, 0, blockHeader+len(l.prefix)), blockMagic...)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.prefix)+l.size))
	b = binary.LittleEndian.AppendUint32(b, sum)
	return append(b, l.prefix...)
}
