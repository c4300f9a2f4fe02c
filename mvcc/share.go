package mvcc

import (
	"bytes"

	"github.com/zeebo/blake3"
)

// Content sharing. A whole body of shareMin bytes or more is a record of its
// own, found by a prefix of its BLAKE3. A hit is compared before it is used, byte
// for byte, or by the whole hash with a body of the same transaction. So a
// collision of prefixes costs a copy and nothing else.
//
// 1. A record is named by a number that is never reused; only the commit that
// creates it carries its bytes. 2. Two commits that miss at the same time make
// two records of equal bytes: one is found from then on, both stay right.
// 3. The number of users is derived data: Verify counts again.
const shareMin = 1 << 10

type contentKey [16]byte

func blake(b []byte) contentKey { return prefix(blake3.Sum256(b)) }

func prefix(hash [32]byte) contentKey { return contentKey(hash[:16]) }

// contentKeyOf is the key of a body's content row.
func (s *Store) contentKeyOf(b []byte) contentKey { return s.contentKey(blake3.Sum256(b)) }

// body is a shared body that a transaction creates.
type body struct {
	no   uint64
	key  contentKey
	full [32]byte // BLAKE3, to compare with while the bytes are on their way to a block
	size uint64   // of its record (frame.size)
	env  []byte
}

// share returns the number of a record that holds b, making one if there is
// none; false if b is not to be shared.
func (t *Tx) share(v *view, b []byte) (uint64, bool, error) {
	if len(b) < shareMin {
		return 0, false, nil
	}
	full := blake3.Sum256(b)
	key := t.s.contentKey(full)
	if own, ok := t.bodies[key]; ok {
		return t.use(own.no, own.full == full)
	}
	row, ok, err := v.get(hashKey(kindContent, key))
	if err != nil {
		return 0, false, err
	}
	if ok {
		if len(row) != 8 {
			return 0, false, corrupt("content row of %d bytes", len(row))
		}
		have, found, err := t.hold(key, be.Uint64(row))
		if err != nil {
			return 0, false, err
		}
		if found {
			return t.use(be.Uint64(row), bytes.Equal(have, b))
		}
	}
	f := frame{form: b}
	n := &body{t.s.next.record.Add(1) - 1, key, full, f.size(), t.envelope(f)}
	t.inline += int64(len(n.env))
	setIn(&t.bodies, key, n)
	t.shared = append(t.shared, n)
	t.stats.Bytes += uint64(len(n.env) - 1)
	return t.use(n.no, true)
}

// hold keeps a body that was found by its content until the transaction is over,
// and returns it; false if reclaim deletes it (pins.go).
func (t *Tx) hold(key contentKey, no uint64) ([]byte, bool, error) {
	if !t.held[no] {
		if !t.s.pins.hold(no) {
			return nil, false, nil
		}
		setIn(&t.held, no, true)
	}
	v, err := t.s.view() // it was found before it was held
	if err != nil {
		return nil, false, err
	}
	defer v.close()
	row, ok, err := v.get(hashKey(kindContent, key))
	if err != nil || !ok || len(row) != 8 || be.Uint64(row) != no {
		return nil, false, err
	}
	b, ok, err := v.sharedBody(no)
	if err == nil && !ok {
		err = corrupt("shared body %d is missing", no)
	}
	return b, ok, err
}

func (t *Tx) use(no uint64, same bool) (uint64, bool, error) {
	if same {
		setIn(&t.uses, no, t.uses[no]+1)
	}
	return no, same, nil
}
