package mvcc

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
	"github.com/poddb/poddb/internal/pod"
)

// Keys of the index. The first byte tells the kind; numbers are big-endian, so
// that bytes.Compare orders them, and descending ones are stored inverted, so
// that one seek to "≤ n" lands on the newest state not after n.
//
//	v  pod 8, line 4, ^number 8           pod version      envelope of a version record
//	n  name, line 4, ^version 8           name             uvarint root pod, 0 = deleted
//	c  version 8                          commit           envelope of a commit row
//	c  version 8, chunk 4                 its pod ids      envelope, idChunk ids each
//	r  record 8                           shared body      envelope of a body
//	u  record 8                           its users        uvarint, absent = 1
//	h  BLAKE3 of a body, 16               content          record 8
//	t  type 4                             type             envelope of a descriptor
//	d  BLAKE3 of a descriptor, 16         known type       type 4
//	l  line 4                             line             name of its branch and lineage
//	b  branch name                        branch           line 4, head version 8
//	b  0, line 4                          the same of a line whose branch was deleted
//	a  line 4, level 1, position 8        aggregate        envelope of two sets
//	k  name                               one of a kind    counters, secret, block counter
//	x  block 8                            block            place, how much is live
//	g  version / 65,536, 8                gone             envelope of the set of retired versions
//	q  version 8, chunk 4                 to reclaim       envelope of a part of the queue (garbage.go)
//	m  tag                                tag              version 8
//	o                                     lost             envelope of what a salvage could not find out (lost.go)
//
// A name in a key is escaped: 00 becomes 00 FF, and 00 00 ends it; so names
// order as bytes, and no name's keys are a prefix of another's.
const (
	kindVersion   = 'v'
	kindName      = 'n'
	kindCommit    = 'c'
	kindShared    = 'r'
	kindUsers     = 'u'
	kindContent   = 'h'
	kindType      = 't'
	kindTypeHash  = 'd'
	kindLine      = 'l'
	kindBranch    = 'b'
	kindAggregate = 'a'
	kindSingle    = 'k'
	kindBlock     = 'x'
	kindGone      = 'g'
	kindQueue     = 'q'
	kindTag       = 'm'
	kindLost      = 'o'
)

// Lengths and limits.
const (
	versionKeyLen = 1 + 8 + 4 + 8
	commitKeyLen  = 1 + 8
	nameTailLen   = 4 + 8
	shortBranch   = 16 // of most branches
	maxNameLen    = 1024
	maxKeyLen     = 1300
)

var be = binary.BigEndian

// podLineKey is the prefix of a pod's versions on one line.
func podLineKey(dst []byte, id pod.ID, line uint32) []byte {
	dst = append(dst, kindVersion)
	dst = be.AppendUint64(dst, uint64(id))
	return be.AppendUint32(dst, line)
}

func versionKey(dst []byte, id pod.ID, line uint32, number uint64) []byte {
	return be.AppendUint64(podLineKey(dst, id, line), ^number)
}

func isVersion(k []byte) bool { return k[0] == kindVersion && len(k) == versionKeyLen }

// splitVersionKey is the inverse of versionKey.
func splitVersionKey(k []byte) (id pod.ID, line uint32, number uint64, ok bool) {
	if len(k) != versionKeyLen || k[0] != kindVersion {
		return 0, 0, 0, false
	}
	return pod.ID(be.Uint64(k[1:])), be.Uint32(k[9:]), ^be.Uint64(k[13:]), true
}

// escapedName appends a name without its end, which is also the prefix of all
// names that begin with it.
func escapedName(dst []byte, name string) []byte {
	for i := range len(name) {
		dst = append(dst, name[i])
		if name[i] == 0 {
			dst = append(dst, 0xff)
		}
	}
	return dst
}

// nameKey is the key of a name up to and with its end.
func nameKey(name string) []byte {
	k := append(make([]byte, 0, 1+len(name)+2), kindName)
	return append(escapedName(k, name), 0, 0)
}

func nameLineKey(nk []byte, line uint32) []byte {
	return be.AppendUint32(append(make([]byte, 0, len(nk)+nameTailLen), nk...), line)
}

func nameVersionKey(nk []byte, line uint32, v Version) []byte {
	return be.AppendUint64(nameLineKey(nk, line), ^v)
}

// splitNameKey is the inverse of nameVersionKey(nameKey(name), line, v). nk is
// the part of k that nameKey made.
func splitNameKey(k []byte) (name string, nk []byte, line uint32, v Version, err error) {
	end := len(k) - nameTailLen
	if end < 0 {
		return "", nil, 0, 0, dberr.Corrupt("", -1, "name key %x", k)
	}
	if name, err = splitName(k[:end]); err != nil {
		return "", nil, 0, 0, err
	}
	return name, k[:end], be.Uint32(k[end:]), ^be.Uint64(k[end+4:]), nil
}

// splitName is the inverse of nameKey.
func splitName(nk []byte) (string, error) {
	end := len(nk) - 2
	if end < 1 || nk[0] != kindName || nk[end] != 0 || nk[end+1] != 0 {
		return "", dberr.Corrupt("", -1, "name key %x", nk)
	}
	esc := nk[1:end]
	out := make([]byte, 0, len(esc))
	for i := 0; i < len(esc); i++ {
		out = append(out, esc[i])
		if esc[i] == 0 {
			if i++; i == len(esc) || esc[i] != 0xff {
				return "", dberr.Corrupt("", -1, "name key %x", nk)
			}
		}
	}
	return string(out), nil
}

// CheckName returns the error of setting a variable of that name, nil if it can
// be set.
func CheckName(name string) error { return checkName("variable", name) }

func checkName(what, name string) error {
	if name == "" {
		return fmt.Errorf("%w: empty %s name", dberr.ErrInvalid, what)
	}
	if len(name) > maxNameLen || len(name)+strings.Count(name, "\x00")+3+nameTailLen > maxKeyLen {
		return fmt.Errorf("%w: %s name of %d bytes; at most %d, with each zero byte counted twice",
			dberr.ErrTooLarge, what, len(name), maxNameLen)
	}
	return nil
}

func commitKey(v Version) []byte {
	return appendCommitKey(make([]byte, 0, commitKeyLen), v)
}

func appendCommitKey(dst []byte, v Version) []byte {
	return be.AppendUint64(append(dst, kindCommit), v)
}

func chunkKey(v Version, chunk int) []byte {
	return be.AppendUint32(commitKey(v), uint32(chunk))
}

func recordKey(kind byte, no uint64) []byte { return be.AppendUint64([]byte{kind}, no) }

func hashKey(kind byte, h [16]byte) []byte { return append([]byte{kind}, h[:]...) }

func typeKey(id pod.TypeID) []byte { return be.AppendUint32([]byte{kindType}, uint32(id)) }

func lineKey(line uint32) []byte { return be.AppendUint32([]byte{kindLine}, line) }

func branchKey(name string) []byte { return appendBranchKey(nil, name) }

func appendBranchKey(dst []byte, name string) []byte {
	return append(append(dst, kindBranch), name...)
}

func aggregateKey(line uint32, level byte, pos uint64) []byte {
	k := be.AppendUint32([]byte{kindAggregate}, line)
	return be.AppendUint64(append(k, level), pos)
}

func singleKey(name string) []byte { return append([]byte{kindSingle}, name...) }

var countersKey = singleKey(singleCounters)

// Names of what exists once.
const (
	singleCounters = "counters"
	singleSecret   = "secret"
	singleSums     = "sums"   // of all blocks (blocksums.go)
	singleBlocks   = "blocks" // uvarint: the next number that a checkpoint gives to a block
)
