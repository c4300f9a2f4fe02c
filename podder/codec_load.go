package podder

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/poddb/poddb/internal/dberr"
)

// hand decodes a value with a codec of the program to memory at `at`. If it has
// values that were handed over, the slot is decoded twice, as for migrations: once
// to place what they lead to, and again, when everything else is filled, to run
// the codec.
func (l *loader) hand(p *loadPod, c *cursor, m *decodeMove, at unsafe.Pointer) {
	l.sawHook = true
	r := ValueReader{version: m.node.version}
	if b := c.bytes(c.uvarint()); !c.bad {
		r.data = cursor{buf: b}
	}
	l.scratch++
	r.values = l.handedValues(p, c, 1)
	both := l.handedValues(p, c, 2)
	l.scratch--
	if c.bad || l.err != nil || l.missing {
		return
	}
	for i := 0; i < len(both); i += 2 {
		r.keys, r.elems = append(r.keys, both[i]), append(r.elems, both[i+1])
	}
	if len(r.values)+len(r.keys) > 0 && !l.migrating {
		l.sawMigration = true
		return
	}
	h := m.sub.hand
	v := reflect.NewAt(h.Type, at)
	v.Elem().SetZero()
	if err := h.load(&r, v.Interface()); err != nil {
		l.fail(fmt.Errorf("pod %d slot %d: %s: %s, stored by version %d: %w: %w", l.at.pod.id, l.at.slot, m.path, h.what(), r.version, err, dberr.ErrTypeMismatch))
	}
}

// load runs the program's function. A panic in it is an error, and so is what it
// leaves unread.
func (c *handCodec) load(r *ValueReader, v any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = panicked(r)
		}
	}()
	if err := c.Load(r, v); err != nil {
		return err
	}
	return r.done()
}

// handedValues decodes values with their count, each of n interfaces.
func (l *loader) handedValues(p *loadPod, c *cursor, n uint64) []any {
	count := c.uvarint()
	if c.bad || l.err != nil || count == 0 {
		return nil
	}
	if count > uint64(c.left())/n { // each has a byte
		c.fail()
		return nil
	}
	if l.tooDeep() {
		return nil
	}
	l.depth++
	var values []any // grows with what was read: those in a value have the same bytes left
	m := decodeMove{typ: anyType}
	for range count * n {
		if !l.charge(1, uint64(anyType.Size()), 1) {
			break
		}
		values = append(values, nil)
		if l.iface(p, c, &m, unsafe.Pointer(&values[len(values)-1])); c.bad || l.err != nil {
			break
		}
	}
	l.depth--
	return values
}

// passHanded reads over such a value.
func (l *loader) passHanded(p *loadPod, c *cursor) {
	c.bytes(c.uvarint())
	for n := uint64(1); n <= 2; n++ {
		for count := c.uvarint() * n; count > 0 && !c.bad && l.err == nil; count-- {
			l.passInterface(p, c)
		}
	}
}
