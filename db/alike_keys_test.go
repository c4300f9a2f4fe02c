package db_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"
	"weak"

	"github.com/poddb/poddb/db"
)

// Keys of a map that only something that is not stored tells apart would be one
// key after a load: the save says so, where, and nothing is written.
func TestKeysThatAreStoredAlikeAreRefused(t *testing.T) {
	type half struct {
		A    string
		note int `pod:"-"`
	}
	type led struct {
		P    *int
		skip bool `pod:"-"`
	}
	zone := func() *time.Location { return time.FixedZone("X", 60) }
	now := time.Now()
	one := new(int)
	type weakly struct{ In map[weak.Pointer[node]]int }
	type pair struct{ F, G any }
	nothing := &struct {
		n    int
		a, b struct{}
		m    int
	}{}
	many := func(alike bool) map[half]string {
		m := map[half]string{{"same", 1}: "a"}
		for i := range 3000 {
			m[half{fmt.Sprint("key number ", i), i}] = "some text that takes room"
		}
		if alike {
			m[half{"same", 2}] = "b"
		}
		return m
	}
	leading := func(alike bool) map[led]string {
		m := map[led]string{{one, true}: "a"}
		for range 3000 {
			m[led{new(int), true}] = "some text that takes room"
		}
		if alike {
			m[led{one, false}] = "b"
		}
		return m
	}
	bound := func(keys ...any) *sync.Map {
		m := new(sync.Map)
		for i, k := range keys {
			m.Store(k, i)
		}
		return m
	}
	for name, m := range map[string]any{
		"zones":           map[*time.Location]int{zone(): 1, zone(): 2},
		"times":           map[time.Time]int{now: 1, now.Round(0): 2},
		"times of zones":  map[time.Time]string{time.Unix(1, 0).In(zone()): "a", time.Unix(1, 0).In(zone()): "b"},
		"skipped fields":  map[half]int{{"a", 1}: 1, {"a", 2}: 2},
		"behind pointers": map[led]int{{one, true}: 1, {one, false}: 2},
		"in interfaces":   map[any]int{zone(): 1, zone(): 2, "a": 3},
		"without size":    map[*struct{}]int{(*struct{})(unsafe.Pointer(&nothing.n)): 1, (*struct{})(unsafe.Pointer(&nothing.m)): 2},
		"lost":            &weakly{map[weak.Pointer[node]]int{weak.Make(stays): 1, weak.Make(lost): 2}},
		"in chunks":       many(true),
		"pointers, many":  leading(true),
		"sync.Map":        bound(zone(), zone(), 1),
	} {
		d := must(db.OpenMemory(context.Background(), &db.Options{Types: db.Types(db.Type[half]("half"), db.Type[led]("led"), db.Type[pair]("pair"))}))(t)
		defer d.Close()
		ns := namespace(t, d)
		set(t, ns, "x", &struct{ In any }{m})
		if w, ok := m.(*weakly); ok {
			set(t, ns, "x", w)
		}
		_, err := ns.Save(context.Background())
		var u *db.UnsupportedError
		if !errors.As(err, &u) || len(u.Problems) == 0 || !strings.HasPrefix(u.Problems[0].Path, "x.In") || !strings.Contains(err.Error(), "not stored") || strings.Count(err.Error(), "x.In") != 1 {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, m := range map[string]any{
		"different":       map[half]int{{"a", 1}: 1, {"b", 2}: 2},
		"NaN":             map[float64]int{math.NaN(): 1, math.NaN(): 2},
		"NaN in a struct": map[pair]int{{math.NaN(), 1}: 1, {math.NaN(), 1}: 1},
		"many":            many(false),
		"many pointers":   leading(false),
		"sync.Map":        bound(math.NaN(), math.NaN(), one, new(int)),
	} {
		d := must(db.OpenMemory(context.Background(), &db.Options{Types: db.Types(db.Type[half]("half"), db.Type[led]("led"), db.Type[pair]("pair"))}))(t)
		defer d.Close()
		ns := namespace(t, d)
		set(t, ns, "x", &struct{ In any }{m})
		s := must(d.At(context.Background(), save(t, ns)))(t)
		got := must(db.Get[*struct{ In any }](context.Background(), s, "x"))(t)
		if v, w := reflect.ValueOf(m), reflect.ValueOf(got.In); v.Kind() == reflect.Map && v.Len() != w.Len() {
			t.Errorf("%s: %d of %d entries", name, w.Len(), v.Len())
		}
	}
	runtime.KeepAlive(lost)
}

var lost = &node{Name: "also only weak"}
