package podder

import (
	"bytes"
	golist "container/list"
	"container/ring"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"math/rand"
	randv2 "math/rand/v2"
	"net/url"
	"os"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// stdTypes are types of the standard library that every process knows, and that
// are stored by their parts. Where some of the parts are private, fields says
// what this file was written against: a Go release that lays such a type out in
// another way refuses to store and to load it (ErrUnsupported, ErrTypeMismatch)
// until somebody has looked. An empty fields has nothing private to check.
//
// A type may be added; one that is here stays, since databases have it.
var stdTypes = [...]struct {
	typ    reflect.Type
	fields string
}{
	// A list is a ring of elements through its root, which lies in it; an element
	// names its list. As parts of a graph they keep all that.
	{reflect.TypeFor[golist.List](), "root list.Element; len int"},
	{reflect.TypeFor[golist.Element](), "next *list.Element; prev *list.Element; list *list.List; Value interface {}"},
	{reflect.TypeFor[ring.Ring](), "next *ring.Ring; prev *ring.Ring; Value interface {}"},

	{reflect.TypeFor[bytes.Buffer](), "buf []uint8; off int; lastRead bytes.readOp"},
	{reflect.TypeFor[bytes.Reader](), "s []uint8; i int64; prevRune int"},
	{reflect.TypeFor[strings.Builder](), "addr *strings.Builder; buf []uint8"},
	{reflect.TypeFor[strings.Reader](), "s string; i int64; prevRune int"},

	{reflect.TypeOf(errors.New("")).Elem(), "s string"},
	{reflect.TypeOf(errors.Join(errors.New(""))).Elem(), "errs []error"},
	{reflect.TypeOf(fmt.Errorf("%w", errors.ErrUnsupported)).Elem(), "msg string; err error"},
	{reflect.TypeOf(fmt.Errorf("%w%w", errors.ErrUnsupported, errors.ErrUnsupported)).Elem(), "msg string; errs []error"},
	{reflect.TypeOf(context.DeadlineExceeded), ""},
	{reflect.TypeFor[fs.PathError](), ""},
	{reflect.TypeFor[os.LinkError](), ""},
	{reflect.TypeFor[os.SyscallError](), ""},
	{reflect.TypeFor[strconv.NumError](), ""},

	{reflect.TypeFor[url.URL](), ""},
	{reflect.TypeFor[url.Userinfo](), "username string; password string; passwordSet bool"},
	{reflect.TypeFor[url.Error](), ""},
	{reflect.TypeFor[url.Values](), ""},

	{reflect.TypeFor[rand.Rand](), "src rand.Source; s64 rand.Source64; readVal int64; readPos int8"},
	{reflect.TypeOf(rand.NewSource(1)).Elem(), "tap int; feed int; vec [607]int64"},
	{reflect.TypeFor[randv2.Rand](), "src rand.Source"},
	{reflect.TypeFor[randv2.Zipf](), "r *rand.Rand; imax float64; v float64; q float64; s float64; oneminusQ float64; oneminusQinv float64; hxm float64; hx0minusHxm float64"},

	{reflect.TypeFor[json.Number](), ""},
	{reflect.TypeFor[json.RawMessage](), ""},
	{reflect.TypeFor[time.Duration](), ""},
	{reflect.TypeFor[time.Month](), ""},
	{reflect.TypeFor[time.Weekday](), ""},
	{reflect.TypeFor[fs.FileMode](), ""},
	{reflect.TypeFor[big.RoundingMode](), ""},
	{reflect.TypeFor[reflect.Kind](), ""},
}

// privateFields writes the fields of a struct, as stdTypes does.
func privateFields(t reflect.Type) string {
	var b strings.Builder
	for i := range t.NumField() {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(t.Field(i).Name + " " + t.Field(i).Type.String())
	}
	return b.String()
}

// otherLayout says why t, a type of stdTypes, cannot be stored by its parts in
// this release of Go, "" if it can.
func (r *Registry) otherLayout(t reflect.Type) string {
	want := r.layouts[t]
	if want == "" {
		return ""
	}
	if have := privateFields(t); have != want {
		return fmt.Sprintf("this release of Go has other private fields in %v (%s) than those that are stored (%s)", t, have, want)
	}
	return ""
}
