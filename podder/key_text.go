package podder

import (
	"math"
	"math/cmplx"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// maxKeyText bounds the text of a key in a path.
const maxKeyText = 64

// keyText writes a key of a map for people, about as Go would.
func keyText(v reflect.Value) string {
	s, _ := describeKey(v)
	return s
}

// entryText is keyText of entry n of a map with several, with its number if other
// keys may have the same text.
func entryText(v reflect.Value, n, entries int) string {
	s, exact := describeKey(v)
	if !exact && entries > 1 {
		s += " #" + strconv.Itoa(n+1)
	}
	return s
}

// describeKey also reports whether no other key of the map has the text. Methods of
// the program are not called.
func describeKey(v reflect.Value) (text string, exact bool) {
	k := keyWriter{exact: true}
	k.value(v, 0, v.Kind() == reflect.Struct || v.Kind() == reflect.Array)
	return k.text(string(k.buf)), k.exact
}

type keyWriter struct {
	buf   []byte
	exact bool
}

// text shortens s.
func (k *keyWriter) text(s string) string {
	if len(s) <= maxKeyText {
		return s
	}
	k.exact = false
	s = strings.ToValidUTF8(s[:maxKeyText-4], "") // ends with a whole rune
	if s[0] == '"' {
		return s + `…"`
	}
	return s + "…"
}

// value appends v, with its type if that is to be told.
func (k *keyWriter) value(v reflect.Value, depth int, typed bool) {
	if len(k.buf) > maxKeyText {
		return
	}
	t := v.Type()
	if depth > pathTail {
		k.vague("…")
		return
	}
	switch kind := t.Kind(); kind {
	case reflect.Struct, reflect.Array:
		if t == timeType && v.CanInterface() {
			k.put(v.Interface().(time.Time).Format(time.RFC3339Nano))
			return
		}
		if typed {
			k.put(k.text(t.String()))
		}
		k.put("{")
		k.parts(v, depth)
		k.put("}")
	case reflect.Interface:
		if v.IsNil() {
			k.put("nil")
			return
		}
		k.value(v.Elem(), depth+1, true)
	case reflect.Pointer, reflect.Chan, reflect.UnsafePointer:
		switch {
		case v.IsNil() && typed: // others of the type have numbers
			k.put(k.text(t.String()))
			return
		case v.IsNil():
			k.put("nil")
			return
		}
		k.vague(k.text(t.String()))
	default:
		if kind != reflect.String && (kind < reflect.Bool || kind > reflect.Complex128) { // no key, but a codec may hand it over
			k.vague(k.text(t.String()))
			return
		}
		if plain := t.PkgPath() == "" && (kind == reflect.String || kind == reflect.Int || kind == reflect.Bool); !typed || plain {
			k.basic(v)
			return
		}
		k.put(k.text(t.String()) + "(")
		k.basic(v)
		k.put(")")
	}
}

// parts appends the fields of a struct or the elements of an array.
func (k *keyWriter) parts(v reflect.Value, depth int) {
	n, fields := v.Len, v.Kind() == reflect.Struct
	if fields {
		n = v.NumField
	}
	apart := ""
	for i := 0; i < n() && len(k.buf) <= maxKeyText; i++ {
		if !fields {
			k.put(apart)
			k.value(v.Index(i), depth+1, false)
			apart = " "
			continue
		}
		f := v.Type().Field(i)
		if skipField(f) {
			k.exact = k.exact && f.Name == "_"
			continue
		}
		k.put(apart + f.Name + ":")
		k.value(v.Field(i), depth+1, false)
		apart = " "
	}
}

func (k *keyWriter) basic(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		s := v.String()
		if len(s) > maxKeyText {
			s, k.exact = s[:maxKeyText], false
		}
		k.put(k.text(strconv.Quote(s)))
	case reflect.Bool:
		k.put(strconv.FormatBool(v.Bool()))
	case reflect.Float32, reflect.Float64:
		k.exact = k.exact && !math.IsNaN(v.Float())
		k.put(strconv.FormatFloat(v.Float(), 'g', -1, v.Type().Bits()))
	case reflect.Complex64, reflect.Complex128:
		k.exact = k.exact && !cmplx.IsNaN(v.Complex())
		k.put(strconv.FormatComplex(v.Complex(), 'g', -1, v.Type().Bits()))
	default:
		if v.CanInt() {
			k.put(strconv.FormatInt(v.Int(), 10))
		} else {
			k.put(strconv.FormatUint(v.Uint(), 10))
		}
	}
}

func (k *keyWriter) put(s string) { k.buf = append(k.buf, s...) }

// vague appends what others may have, too.
func (k *keyWriter) vague(s string) {
	k.put(s)
	k.exact = false
}
