package pod

import (
	"encoding/binary"
	"fmt"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// The stored form of a pod version.
//
// A version is a head byte, its own part and a body. The own part is what makes
// the pod this pod: the reference table, the exported slots with the references
// each reaches, and the slot directory (kind, type, length and runs of every
// slot). The body is the bytes of all slots in slot order and nothing else, so
// it holds no id and equal subgraphs have equal bodies.
//
//	whole   head own body
//	shared  head record own            the body is record's
//	patch   head flags [own changes] slot changes   against the base version
//	delta   head flags [own changes] s2 block       body, with the base's as dictionary
//
// Every part is varints and raw bytes; docs/format.md has each one.
//
// Invariants:
//
//  1. Reading bounds memory by what is really there: a version of n bytes never
//     makes more than about 1 KiB times n, plus what its base and its shared
//     body hold. (A byte can stand for 16 free slots of 56 bytes, or 64 runs.)
//     Equal lengths are counted against the body before slots are made; empty
//     slots are listed one by one.
//  2. What Merge returns has passed Validate, so nobody who takes a pod from a
//     Source checks it again.
//  3. The writer's choices depend on base and next alone: equal calls give
//     equal bytes.
//
// A version that says something of generations has those right behind the head byte. One
// that stands alone or has a shared body may have its references and exports in runs (runs.go).
const (
	formatVersion    = 1
	generationFormat = 2 // with generations
	givenFormat      = 3 // slots given out have the version's own generation, and that is all
	movedFormat      = 4 // with generations of which some have a home
	// 5 to 8 are these with runs (runsFormats)
)

// Head byte: format version in the high half, body kind in the low half.
const (
	bodyWhole  BodyKind = 0
	bodyShared BodyKind = 1
	bodyPatch  BodyKind = 2
	bodyDelta  BodyKind = 3
	bodyKinds           = 4
)

// Bounds of the format, far beyond what is made, that keep sums from overflowing.
const (
	maxSlots = 1 << 28
	maxBody  = 1 << 44
)

// RecordNo is the number of a body record that pod versions share. mvcc gives
// the numbers out; they are never reused.
type RecordNo uint64

// BodyKind says how a version keeps its body.
type BodyKind uint8

func (k BodyKind) String() string {
	switch k {
	case bodyWhole:
		return "whole"
	case bodyShared:
		return "shared"
	case bodyPatch:
		return "patch"
	case bodyDelta:
		return "delta"
	}
	return fmt.Sprintf("body kind %d", uint8(k))
}

// Version is a decoded pod version that waits for what it rests on. It refers
// to the bytes it was decoded from, which must not change.
type Version struct {
	kind     BodyKind
	record   RecordNo
	refs     refsPart
	exps     exportsPart
	gens     []generationRun
	gives    bool       // slots that it gives out have own
	own      Generation // SetGeneration
	dir      directory  // whole, shared; delta if dirWhole
	dirWhole bool
	slots    slotsPart // patch, delta
	body     []byte    // whole: the slots' bytes; delta: an s2 block
}

// Kind returns how the version keeps its body.
func (v *Version) Kind() BodyKind { return v.kind }

// NeedsBase reports whether Merge needs the version before this one.
func (v *Version) NeedsBase() bool { return v.kind == bodyPatch || v.kind == bodyDelta }

// SetGeneration says which generation the version's change had (Change.Gen): before Merge, if
// NeedsBase.
func (v *Version) SetGeneration(own Generation) { v.own = own }

// SharedBody returns the record that holds the version's body, if one does.
func (v *Version) SharedBody() (RecordNo, bool) { return v.record, v.kind == bodyShared }

// AppendWhole appends the version that is p and needs nothing else. p must be
// valid.
func AppendWhole(dst []byte, p *Pod) []byte {
	return appendBody(AppendWholeHead(dst, p), p)
}

// StandsAlone reports whether a stored form has its own body: neither a base nor
// a record is needed to read it. Damaged ones may say anything.
func StandsAlone(form []byte) bool { return len(form) > 0 && BodyKind(form[0]&15) == bodyWhole }

// AppendWholeHead appends the part of AppendWhole before the body. The bytes of
// all slots, in slot order, are the rest: big ones need not be copied together.
func AppendWholeHead(dst []byte, p *Pod) []byte {
	head := len(dst)
	return appendOwn(appendHead(dst, bodyWhole, p.Generations), head, p)
}

// appendHead appends the head byte of a version with generations, and these if there are any.
func appendHead(dst []byte, kind BodyKind, list []SlotGeneration) []byte {
	if len(list) == 0 {
		return append(dst, formatVersion<<4|byte(kind))
	}
	format := byte(generationFormat)
	if anyMoved(list) {
		format = movedFormat
	}
	return appendGenerations(append(dst, format<<4|byte(kind)), list)
}

// AppendWholeHeadOf is AppendWholeHead of a pod whose slots were added to w.
func AppendWholeHeadOf(dst []byte, refs []Ref, exports []Export, w *DirectoryWriter) []byte {
	head := len(dst)
	dst = append(dst, formatVersion<<4|byte(bodyWhole))
	return w.appendTo(appendTables(dst, head, refs, exports))
}

// AppendWholeShared appends the version that is p with its body, as Body
// returns it, in record r.
func AppendWholeShared(dst []byte, p *Pod, r RecordNo) []byte {
	head := len(dst)
	dst = appendHead(dst, bodyShared, p.Generations)
	dst = binary.AppendUvarint(dst, uint64(r))
	return appendOwn(dst, head, p)
}

func appendOwn(dst []byte, head int, p *Pod) []byte {
	return appendDirectory(appendTables(dst, head, p.Refs, p.Exports), p.Slots)
}

func appendBody(dst []byte, p *Pod) []byte {
	// Slots of a new pod were mostly written one behind the other: they are copied
	// as one.
	var row []byte
	for i := range p.Slots {
		b := p.Slots[i].Bytes
		if n := len(row); n > 0 && len(b) > 0 && len(b) <= cap(row)-n && &row[:n+1][n] == &b[0] {
			row = row[:n+len(b)]
			continue
		}
		dst = append(dst, row...)
		row = b
	}
	return append(dst, row...)
}

// Body returns the bytes of all slots in slot order: what is hashed and shared.
func (p *Pod) Body() []byte { return p.bodyFor(0) }

// BodyLen is the length of Body.
func (p *Pod) BodyLen() int {
	n := 0
	for i := range p.Slots {
		n += len(p.Slots[i].Bytes)
	}
	return n
}

// DecodeVersion reads one stored version. Errors match dberr.ErrCorrupt, or
// dberr.ErrTooNew. Neither it nor Merge copies the body: pods merged from a
// whole version refer to b.
func DecodeVersion(b []byte) (*Version, error) {
	r := binenc.NewReader(b)
	head := r.Byte()
	v := &Version{kind: BodyKind(head & 15)}
	format, runs, err := splitFormat(head)
	switch {
	case r.Err() != nil:
	case err != nil:
		return nil, err
	case format < formatVersion || v.kind >= bodyKinds || format == givenFormat && !v.NeedsBase() || runs && v.NeedsBase():
		r.Fail("pod version starts with %#02x", head)
	default:
		v.gives = format != formatVersion && v.NeedsBase()
		if format == generationFormat || format == movedFormat {
			v.gens = readGenerations(nil, r, format, v.NeedsBase())
		}
	}
	switch {
	case r.Err() != nil:
	case v.NeedsBase():
		v.readChanges(r)
	default:
		v.readWhole(r, runs)
	}
	if err := r.End(); err != nil {
		return nil, fmt.Errorf("pod version: %w", err)
	}
	return v, nil
}

// splitFormat returns the format that a head byte says, without runs, and whether it has them.
func splitFormat(head byte) (format byte, runs bool, err error) {
	format = head >> 4
	if format > movedFormat+runsFormats {
		return 0, false, fmt.Errorf("%w: pod version of format %d, this program knows %d", dberr.ErrTooNew, format, movedFormat+runsFormats)
	}
	if format > movedFormat {
		return format - runsFormats, true, nil
	}
	return format, false, nil
}

func (v *Version) readWhole(r *binenc.Reader, runs bool) {
	if v.kind == bodyShared {
		v.record = RecordNo(r.Uvarint())
	}
	v.refs, v.exps = refsPart{whole: true}, exportsPart{whole: true}
	if runs {
		v.refs.refs = readRefRuns(r, nil)
		v.exps.exports = readExportRuns(r, nil, readEdges, func(n uint32) []uint32 { return []uint32{n} })
	} else {
		v.refs.refs, v.exps.exports = readRefs(r), readExports(r)
	}
	v.dir = readDirectory(r)
	if v.kind == bodyShared || r.Err() != nil {
		return
	}
	if v.dir.bytes != uint64(r.Len()) {
		r.Fail("slots of %d bytes, body of %d", v.dir.bytes, r.Len())
		return
	}
	v.body = r.Bytes(uint64(r.Len()))
}
