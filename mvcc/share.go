package mvcc

import (
	"bytes"

	"github.com/zeebo/blake3"
)

// Content sharing. A whole body of shareMin bytes or more is a record of its
// own, found by a prefix of its BLAKE3. A hit is compared byte for byte before
// it is used, so a collision costs a copy and nothing else.
//
// 1. A record is named by a number that is never reused; only the commit that
// creates it carries its bytes. 2. Two commits that miss at the same time make
// two records of equal bytes: one is found from then on, both stay right.
// 3. The number of users is derived data: Verify counts again.
const shareMin = 1 << 10

type contentKey [16]byte

func blake(b []byte) contentKey {
	h := blake3.Sum256(b)
	return contentKey(h[:16])
}

// body is a shared body that a transaction creates.
type body struct {
	no  uint64
	key contentKey
	env []byte
}

// share returns the number of a record that holds b, making one if there is
// none; false if b is not to be shared.
func (t *Tx) share(v *view, b []byte) (uint64, bool, error) {
	if len(b) < shareMin {
		return 0, false, nil
	}
	key := t.s.contentKey(b)
	if own, ok := t.bodies[key]; ok {
		f, err := decodeFrame(own.env[1:])
		if err != nil {
			return 0, false, err
		}
		return t.use(own.no, bytes.Equal(f.form, b))
	}
	row, ok, err := v.get(hashKey(kindContent, key))
	if err != nil {
		return 0, false, err
	}
	if ok {
		if len(row) != 8 {
			return 0, false, corrupt("content row of %d bytes", len(row))
		}
		no := be.Uint64(row)
		have, ok, err := v.sharedBody(no)
		if err != nil {
			return 0, false, err
		}
		if !ok {
			return 0, false, corrupt("shared body %d is missing", no)
		}
		return t.use(no, bytes.Equal(have, b))
	}
	n := body{t.s.next.record.Add(1) - 1, key, appendFrame([]byte{envInline}, frame{form: b})}
	t.bodies[key] = n
	t.shared = append(t.shared, n)
	t.stats.Bytes += uint64(len(n.env) - 1)
	return t.use(n.no, true)
}

func (t *Tx) use(no uint64, same bool) (uint64, bool, error) {
	if same {
		t.uses[no]++
	}
	return no, same, nil
}
