package mvcc

import (
	"bytes"
	"encoding/binary"

	"github.com/poddb/poddb/internal/binenc"
	"github.com/poddb/poddb/internal/pod"
)

type pid = pod.ID

// found is a pod version that resolve found.
type found struct {
	pod    pid
	line   uint32
	number uint64
	env    []byte
}

// resolve finds the version of a pod that a lineage sees: on each line, the
// newest one not after the lineage's number there; the first line that has one
// decides. One seek per line. Of a pod that was collected it returns the
// tombstone, and false.
func (v *view) resolve(lineage []fork, id pid) (found, bool, error) {
	var buf [versionKeyLen]byte
	for _, f := range lineage {
		k := versionKey(buf[:0], id, f.line, f.number)
		key, env, ok, err := v.seekIn(k, versionKeyLen-8)
		if err != nil {
			return found{}, false, err
		}
		if !ok {
			if v.s.lost.hidesPod(k, 0) {
				return found{}, false, errLost
			}
			continue
		}
		_, _, number, ok := splitVersionKey(key)
		if !ok || len(env) == 0 {
			return found{}, false, corrupt("version row %x", key)
		}
		if v.s.lost.hidesPod(k, number) {
			return found{}, false, errLost
		}
		return found{id, f.line, number, env}, env[0] != envTombstone, nil
	}
	return found{}, false, nil
}

// resolveName finds the root of a name the same way; 0 if there is none. nk is
// the name's nameKey. Names count by commits, not by pod versions: a commit
// may change a name and no pod.
func (v *view) resolveName(lineage []fork, nk []byte) (pid, error) {
	for _, f := range lineage {
		k := nameVersionKey(nk, f.line, f.version)
		key, val, ok, err := v.seekIn(k, len(k)-8)
		if err != nil {
			return 0, err
		}
		low := Version(0)
		if ok {
			low = ^be.Uint64(key[len(key)-8:])
		}
		if v.s.lost.hidesName(k, low) {
			return 0, errLost
		}
		if ok {
			return decodeRoot(val)
		}
	}
	return 0, nil
}

func rootValue(root pid) []byte { return binary.AppendUvarint(nil, uint64(root)) }

func decodeRoot(b []byte) (pid, error) {
	r := binenc.NewReader(b)
	root := pid(r.Uvarint())
	if r.End() != nil {
		return 0, corrupt("name row %x", b)
	}
	return root, nil
}

// names returns up to most names from the key from on that begin with prefix
// and exist in the lineage, and the key to go on from, nil at the end. One
// seek finds the next name, whatever its number of versions.
func (v *view) names(lineage []fork, prefix, from []byte, most int) (names []string, next []byte, err error) {
	for len(names) < most {
		c := v.seek(from)
		key, _, ok := c.at()
		if !ok || !bytes.HasPrefix(key, prefix) {
			return names, nil, c.err()
		}
		name, nk, _, _, err := splitNameKey(key)
		if err != nil {
			return nil, nil, err
		}
		nk = bytes.Clone(nk)
		root, err := v.resolveName(lineage, nk)
		if err != nil && !isLost(err) {
			return nil, nil, err
		}
		if root != 0 || isLost(err) { // whoever asks for its root will hear of it
			names = append(names, name)
		}
		from = behindName(nk)
	}
	return names, from, nil
}

// behindName makes a nameKey a key behind every row of the name, before what may
// follow.
func behindName(nk []byte) []byte {
	nk[len(nk)-1] = 1
	return nk
}

// namesBack is names the other way: names whose rows are before a key, the last
// first.
func (v *view) namesBack(lineage []fork, prefix, before []byte, most int) (names []string, next []byte, err error) {
	for len(names) < most {
		key, err := v.lastBefore(before)
		if err != nil {
			return nil, nil, err
		}
		if !bytes.HasPrefix(key, prefix) {
			return names, nil, nil
		}
		name, nk, _, _, err := splitNameKey(key)
		if err != nil {
			return nil, nil, err
		}
		nk = bytes.Clone(nk)
		root, err := v.resolveName(lineage, nk)
		if err != nil && !isLost(err) {
			return nil, nil, err
		}
		if root != 0 || isLost(err) {
			names = append(names, name)
		}
		before = nk
	}
	return names, before, nil
}

// lastBefore returns the last key < bound in any layer, deleted or not; nil if
// there is none.
func (v *view) lastBefore(bound []byte) ([]byte, error) {
	c := v.pv.SeekBefore(bound)
	if err := c.Err(); err != nil {
		return nil, err
	}
	key := c.Key()
	for _, o := range [2]*overlay{v.la.active, v.la.frozen} {
		if o == nil {
			continue
		}
		if n := o.before(bound); n != nil && bytes.Compare(n.key, key) > 0 {
			key = n.key
		}
	}
	return key, nil
}
