package podder

import (
	"encoding"
	"encoding/base64"
	"fmt"
	"math/big"
	"reflect"
	"strconv"
	"time"
)

// Values with codecs as tools show them: those of the standard library as their
// text if they have one, others as what was handed over.

// codecText returns what a codec of the standard library stored as text.
func (v *viewer) codecText(codec string, b []byte) (text string, ok bool) {
	if codec == (typeCodec{}).name() {
		return string(b), true
	}
	if v.codecs == nil {
		v.codecs = NewRegistry()
	}
	for _, c := range codecTable {
		k := v.codecs.codec(c.typ).(valueCodec)
		if k.name() != codec {
			continue
		}
		p := reflect.New(c.typ)
		if k.decode(b, p.UnsafePointer()) != nil {
			return "", false
		}
		return valueText(p)
	}
	return "", false
}

// valueText writes the value to which p points.
func valueText(p reflect.Value) (string, bool) {
	switch x := p.Interface().(type) {
	case *time.Time:
		return x.Format(time.RFC3339Nano), true
	case *big.Float:
		if e := x.MantExp(nil); e < -maxShown || e > maxShown || x.Prec() > maxShown {
			return x.Text('p', 0), true // in linear time, and short
		}
		return x.Text('g', -1), true
	case *big.Int:
		return bigText(x), true
	case *big.Rat:
		if x.IsInt() {
			return bigText(x.Num()), true
		}
		return bigText(x.Num()) + "/" + bigText(x.Denom()), true
	case encoding.TextMarshaler:
		b, err := x.MarshalText()
		return string(b), err == nil
	}
	switch x := p.Elem().Interface().(type) {
	case *time.Location:
		if x == nil {
			return "", false
		}
		return x.String(), true
	case interface{ Value() string }: // a unique.Handle
		if p.Elem().IsZero() {
			return "", false
		}
		return x.Value(), true
	}
	return "", false
}

// maxShown bounds, in bits, what is shown of numbers in decimal, which takes time
// that grows faster than they do.
const maxShown = 1 << 16

func bigText(x *big.Int) string {
	if x.BitLen() > maxShown {
		return fmt.Sprintf("%#x", x)
	}
	return x.String()
}

// codecValue writes what a codec of the standard library stored.
func (j *jsonWriter) codecValue(w *view) error {
	b := w.c.bytes(w.c.uvarint())
	if w.c.bad {
		return j.corrupt(w.at, "%s ends early", w.n.text)
	}
	if text, ok := j.codecText(w.n.codec, b); ok {
		j.text(text)
		return nil
	}
	j.codecBytes(w.n, b)
	j.raw("}")
	return nil
}

func (j *jsonWriter) codecBytes(n *node, b []byte) {
	j.raw(`{"$codec":`)
	j.text(n.codec)
	j.raw(`,"$bytes":`)
	j.text(base64.StdEncoding.EncodeToString(b))
}

// handedValue writes what a codec of the program handed over.
func (j *jsonWriter) handedValue(w *view, path string, depth int) error {
	n := w.n
	defer func() { w.n = n }()
	b := w.c.bytes(w.c.uvarint())
	if w.c.bad {
		return j.corrupt(w.at, "%s ends early", n.text)
	}
	j.codecBytes(n, b)
	w.n = predeclaredNode(typeAny)
	count := w.c.uvarint()
	for i := uint64(0); i < count && !w.c.bad; i++ {
		j.listItem(i, `,"$values":[`)
		if err := j.value(w, path+"{"+strconv.FormatUint(i, 10)+"}", depth+1); err != nil {
			return err
		}
	}
	j.listEnd(count)
	count = w.c.uvarint()
	for i := uint64(0); i < count && !w.c.bad; i++ {
		j.listItem(i, `,"$entries":[`)
		at := fmt.Sprintf("%s{%d", path, i)
		j.raw("[")
		if err := j.value(w, at+" key}", depth+1); err != nil {
			return err
		}
		j.raw(",")
		if err := j.value(w, at+"}", depth+1); err != nil {
			return err
		}
		j.raw("]")
	}
	j.listEnd(count)
	if w.c.bad {
		return j.corrupt(w.at, "%s ends early", n.text)
	}
	j.raw("}")
	return nil
}

func (j *jsonWriter) listItem(i uint64, open string) {
	if i == 0 {
		j.raw(open)
	} else {
		j.raw(",")
	}
}

func (j *jsonWriter) listEnd(count uint64) {
	if count > 0 {
		j.raw("]")
	}
}

// skipHanded moves w past such a value.
func (v *viewer) skipHanded(w *view, n *node) error {
	w.c.bytes(w.c.uvarint())
	box := predeclaredNode(typeAny)
	for each := uint64(1); each <= 2; each++ {
		count := w.c.uvarint()
		if count > uint64(w.c.left()) {
			return v.corrupt(w.at, "%s of %d values in %d bytes", n.text, count, w.c.left())
		}
		for range count * each {
			if err := v.skip(w, box, false); err != nil {
				return err
			}
		}
	}
	if w.c.bad {
		return v.corrupt(w.at, "%s ends early", n.text)
	}
	return nil
}
