package trace

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

const magic = "OGT1\n"

// growBytes bounds how far a claimed length is trusted before its bytes are there.
const growBytes = 1 << 16

// Step is what one step of the recorded program changed.
type Step struct {
	Number  int
	Label   string    // first line of what ran
	Objects []Record  // new and changed objects, in file order
	Vars    []Binding // variables that are new or bound to another value
	Deleted []string  // variables that are gone
	Dropped []uint64  // objects that are no longer reachable, ascending

	Live    int    // objects alive after the step
	Payload uint64 // payload bytes of all live objects
	Sum     uint32 // the recorded check sum of all live objects
}

// Record is one object with its complete content.
type Record struct {
	ID      uint64
	Kind    byte
	Changed bool // an object known before, changed in place
	Payload []byte
}

// Binding says which value a variable holds, in the recorded encoding.
type Binding struct {
	Name  string
	Value []byte
}

// known is what the Reader remembers of a live object to verify the next step.
type known struct {
	kind byte
	crc  uint32
	size uint64
}

// Reader reads the steps of one recording. It verifies that records come in
// order, that ids are used as the format says, and the count, payload bytes and
// check sum at the end of each step. It never allocates by a length that the
// data only claims. A Reader is used by one goroutine.
type Reader struct {
	Name string // name of the recorded program
	Meta string // JSON written by the recorder

	in    *bufio.Reader
	off   int64
	err   error // sticky
	steps int

	live    map[uint64]known
	payload uint64
	sum     uint32
	vars    map[string]bool
}

// Open starts reading a recording, plain or compressed with gzip.
func Open(r io.Reader) (*Reader, error) {
	in := bufio.NewReaderSize(r, growBytes)
	if head, _ := in.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("trace: %w", err)
		}
		in = bufio.NewReaderSize(z, growBytes)
	}
	t := &Reader{in: in, live: map[uint64]known{}, vars: map[string]bool{}}
	for i := range len(magic) {
		if t.byte() != magic[i] {
			return nil, errors.New("trace: not an OGT1 recording")
		}
	}
	t.Name = string(t.block(nil))
	t.Meta = string(t.block(nil))
	return t, t.err
}

// Step reads the next step; io.EOF after the last one. Any other error names
// the byte offset in the uncompressed recording, and repeats on every later call.
func (t *Reader) Step() (*Step, error) {
	if t.err != nil {
		return nil, t.err
	}
	switch tag := t.byte(); {
	case t.err != nil:
	case tag == 'S':
		return t.step()
	case tag == 'Z':
		if _, err := t.in.ReadByte(); err == nil {
			t.fail("bytes after the end")
		} else {
			t.err = err // io.EOF, or what gzip's own check says
		}
	default:
		t.fail("record %q where a step or the end belongs", tag)
	}
	return nil, t.err
}

// Order of records within a step.
const (
	phaseObjects = iota
	phaseVars
	phaseDeleted
	phaseDropped
)

func (t *Reader) step() (*Step, error) {
	s := &Step{}
	number := t.uvarint()
	if t.err == nil && number != uint64(t.steps+1) {
		t.fail("step %d follows step %d", number, t.steps)
	}
	s.Number = t.steps + 1
	s.Label = string(t.block(nil))
	var arena []byte
	var ends []int
	phase := phaseObjects
	for t.err == nil {
		tag := t.byte()
		next := phaseOf(tag)
		if t.err != nil {
			break
		}
		if next < phase || next < 0 {
			t.fail("record %q out of place", tag)
			break
		}
		phase = next
		switch tag {
		case 'O', 'U':
			rec := Record{ID: t.uvarint(), Kind: t.byte(), Changed: tag == 'U'}
			start := len(arena)
			arena = t.block(arena)
			ends = append(ends, len(arena))
			t.note(rec, arena[start:])
			s.Objects = append(s.Objects, rec)
		case 'V':
			name := string(t.block(nil))
			t.vars[name] = true
			s.Vars = append(s.Vars, Binding{name, t.value()})
		case 'D':
			name := string(t.block(nil))
			if t.err == nil && !t.vars[name] {
				t.fail("unknown variable %q deleted", name)
			}
			delete(t.vars, name)
			s.Deleted = append(s.Deleted, name)
		case 'X':
			t.dropped(s)
			phase++
		case 'E':
			t.end(s)
			if t.err != nil {
				return nil, t.err
			}
			start := 0
			for i, end := range ends {
				s.Objects[i].Payload = arena[start:end:end]
				start = end
			}
			t.steps++
			return s, nil
		}
	}
	return nil, t.err
}

func phaseOf(tag byte) int {
	switch tag {
	case 'O', 'U':
		return phaseObjects
	case 'V':
		return phaseVars
	case 'D':
		return phaseDeleted
	case 'X':
		return phaseDropped
	case 'E':
		return phaseDropped + 1
	}
	return -1
}

// note enters an object into the running count, payload bytes and check sum.
func (t *Reader) note(rec Record, payload []byte) {
	if t.err != nil {
		return
	}
	old, ok := t.live[rec.ID]
	switch {
	case ok != rec.Changed && ok:
		t.fail("object %d is not new", rec.ID)
		return
	case ok != rec.Changed:
		t.fail("object %d is not known", rec.ID)
		return
	case ok && old.kind != rec.Kind:
		t.fail("object %d changes its kind from %q to %q", rec.ID, old.kind, rec.Kind)
		return
	}
	crc := objectCRC(rec.ID, rec.Kind, payload)
	t.payload += uint64(len(payload)) - old.size
	t.sum += crc - old.crc
	t.live[rec.ID] = known{rec.Kind, crc, uint64(len(payload))}
}

// dropped reads the ids that are no longer reachable.
func (t *Reader) dropped(s *Step) {
	n := t.uvarint()
	for last := uint64(0); n > 0 && t.err == nil; n-- {
		id := t.uvarint()
		old, ok := t.live[id]
		if t.err == nil && (!ok || len(s.Dropped) > 0 && id <= last) {
			t.fail("object %d cannot be dropped here", id)
			return
		}
		last = id
		t.payload -= old.size
		t.sum -= old.crc
		delete(t.live, id)
		s.Dropped = append(s.Dropped, id)
	}
}

// end reads the end of a step and compares it with what was read.
func (t *Reader) end(s *Step) {
	live, payload := t.uvarint(), t.uvarint()
	var b [4]byte
	for i := range b {
		b[i] = t.byte()
	}
	sum := binary.LittleEndian.Uint32(b[:])
	switch {
	case t.err != nil:
	case live != uint64(len(t.live)):
		t.fail("step %d has %d objects, recorded %d", s.Number, len(t.live), live)
	case payload != t.payload:
		t.fail("step %d has %d payload bytes, recorded %d", s.Number, t.payload, payload)
	case sum != t.sum:
		t.fail("step %d has sum %08x, recorded %08x", s.Number, t.sum, sum)
	}
	s.Live, s.Payload, s.Sum = len(t.live), t.payload, t.sum
}

// objectCRC is the share of one object in the check sum of a step.
func objectCRC(id uint64, kind byte, payload []byte) uint32 {
	var head [binary.MaxVarintLen64 + 1]byte
	n := binary.PutUvarint(head[:], id)
	head[n] = kind
	return crc32.Update(crc32.ChecksumIEEE(head[:n+1]), crc32.IEEETable, payload)
}

func (t *Reader) fail(format string, args ...any) {
	if t.err == nil {
		t.err = fmt.Errorf("trace: at byte %d: %s", t.off, fmt.Sprintf(format, args...))
	}
}

// cut turns an end in the middle of a record into an error.
func (t *Reader) cut(err error) {
	if t.err != nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	t.err = fmt.Errorf("trace: at byte %d: %w", t.off, err)
}

func (t *Reader) byte() byte {
	if t.err != nil {
		return 0
	}
	c, err := t.in.ReadByte()
	if err != nil {
		t.cut(err)
		return 0
	}
	t.off++
	return c
}

// ReadByte makes a Reader a source for binary.ReadUvarint.
func (t *uvarintSource) ReadByte() (byte, error) {
	c := (*Reader)(t).byte()
	return c, t.err
}

type uvarintSource Reader

func (t *Reader) uvarint() uint64 {
	v, err := binary.ReadUvarint((*uvarintSource)(t))
	if err != nil {
		if t.err == nil {
			t.fail("number is longer than 64 bits")
		}
		return 0
	}
	return v
}

// block appends a length and that many bytes to dst, without the length.
func (t *Reader) block(dst []byte) []byte {
	n := t.uvarint()
	for n > 0 && t.err == nil {
		part := int(min(n, growBytes))
		start := len(dst)
		dst = append(dst, make([]byte, part)...)
		m, err := io.ReadFull(t.in, dst[start:])
		t.off += int64(m)
		if err != nil {
			t.cut(err)
			return dst[:start]
		}
		n -= uint64(part)
	}
	return dst
}

// value reads one value and returns its recorded bytes.
func (t *Reader) value() []byte {
	tag := t.byte()
	out := []byte{tag}
	switch tag {
	case 'N', 'T', 'F':
	case 'i', 'r':
		out = binary.AppendUvarint(out, t.uvarint())
	case 'I', 's':
		b := t.block(nil)
		out = append(binary.AppendUvarint(out, uint64(len(b))), b...)
	case 'f':
		for range 8 {
			out = append(out, t.byte())
		}
	default:
		t.fail("unknown value %q", tag)
	}
	return out
}
