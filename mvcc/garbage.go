package mvcc

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/dberr"
)

// The queue of reclaim is rows of the index, written by retire and taken off by
// the groups that do what they say:
//
//	q  version 8, chunk 4   uvarint line | uvarint n | n × (varint pod − previous one,
//	                        varint number − previous one, uvarint next number)
//	q  0 8, 0 4             names: byte 1 if to begin again at the end | key of the
//	                        name row looked at last, nothing at the beginning
//
// The version is the newest that the group retired: it is retired once, so no
// key comes twice. Entries are ordered by pod, and newest first.
type garbage struct {
	pod    pid
	number uint64
	// next is a later version of the pod on the line: the first that is known to
	// the rows that were folded; 0 if there is none. Garbage of other groups may lie
	// between.
	next uint64
}

// queueChunk is the number of entries in one row, which is also one step.
const queueChunk = 256

func queueKey(version Version, chunk int) []byte {
	return be.AppendUint32(recordKey(kindQueue, version), uint32(chunk))
}

var namesTask = queueKey(0, 0)

// queue writes the garbage of a group that retired versions up to version, and
// sees that names are looked through if any may be dead.
func (f *folding) queue(version Version) error {
	slices.SortFunc(f.garbage, func(a, b garbage) int {
		return cmp.Or(cmp.Compare(a.pod, b.pod), cmp.Compare(b.number, a.number))
	})
	n := f.s.queueChunk
	for i := 0; i*n < len(f.garbage); i++ {
		part := f.garbage[i*n : min((i+1)*n, len(f.garbage))]
		f.puts = append(f.puts, keyValue{queueKey(version, i), inline(appendGarbage(nil, f.l.id, part))})
	}
	if !f.names {
		return nil
	}
	again, at, ok, err := f.v.namesTask()
	if errors.Is(err, dberr.ErrCorrupt) {
		return nil // reclaim says so, and leaves names alone
	}
	if err != nil {
		return err
	}
	again = again || ok && len(at) > 0
	f.puts = append(f.puts, keyValue{namesTask, inline(appendNamesTask(again, at))})
	return nil
}

func appendGarbage(dst []byte, line uint32, list []garbage) []byte {
	dst = binary.AppendUvarint(dst, uint64(line))
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	var prev garbage
	for _, g := range list {
		dst = binary.AppendVarint(dst, int64(g.pod-prev.pod))
		dst = binary.AppendVarint(dst, int64(g.number-prev.number))
		dst = binary.AppendUvarint(dst, g.next)
		prev = g
	}
	return dst
}

func decodeGarbage(b []byte) (line uint32, list []garbage, err error) {
	r := binenc.NewReader(b)
	line = r.Uvarint32()
	n := r.Count(3)
	var prev garbage
	for i := 0; i < n && r.Err() == nil; i++ {
		g := garbage{prev.pod + pid(r.Varint()), prev.number + uint64(r.Varint()), r.Uvarint()}
		if r.Err() == nil && (g.pod == 0 || g.number == 0 || g.next != 0 && g.next <= g.number) {
			r.Fail("number %d of pod %d, replaced by %d", g.number, g.pod, g.next)
		}
		list = append(list, g)
		prev = g
	}
	if n == 0 && r.Err() == nil {
		r.Fail("no entries")
	}
	return line, list, r.End()
}

func appendNamesTask(again bool, at []byte) []byte {
	b := []byte{0}
	if again {
		b[0] = 1
	}
	return append(b, at...)
}

// namesTask returns how far names were looked through.
func (v *view) namesTask() (again bool, at []byte, ok bool, err error) {
	b, ok, err := v.fetch(namesTask)
	if err != nil || !ok {
		return false, nil, false, err
	}
	if len(b) == 0 || b[0] > 1 {
		return false, nil, false, corrupt("task of names %x", b)
	}
	return b[0] == 1, bytes.Clone(b[1:]), true, nil
}

// queued returns the first row of the queue at or after from, without the task
// of names. If that row cannot be read it returns its key with the error.
func (v *view) queued(from []byte) (key []byte, line uint32, list []garbage, err error) {
	c := v.seek(from)
	k, env, ok := c.at()
	if !ok || k[0] != kindQueue {
		return nil, 0, nil, c.err()
	}
	key = bytes.Clone(k)
	b, err := v.open(env)
	if err == nil {
		line, list, err = decodeGarbage(b)
	}
	if err != nil {
		return key, 0, nil, fmt.Errorf("row %x of the queue of reclaim: %w", key, err)
	}
	return key, line, list, nil
}
