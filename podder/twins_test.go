package podder

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

func oneTwin() any {
	type twin struct{ A int }
	return &twin{}
}

func otherTwin() any {
	type twin struct{ B string }
	return &twin{}
}

// Of two local types of one name no program could write down which it means, so the
// advice is to register them where they are declared, under names of their own. Doing
// that helps.
func TestAdviceForLocalTypesOfOneNameCanBeFollowed(t *testing.T) {
	a, b := reflect.TypeOf(oneTwin()).Elem(), reflect.TypeOf(otherTwin()).Elem()
	save := func(reg *Registry, x ...any) error {
		s := newFakeStore()
		cfg := s.config()
		cfg.Registry = reg
		saved, err := mustGraph(t, cfg).Save(t.Context(), rootsOf("x", &x), s.begin())
		if err == nil {
			saved.Abort()
		}
		return err
	}
	advice := func(err error, n int, want string) {
		t.Helper()
		var u *dberr.UnsupportedError
		if !errors.As(err, &u) || !u.Unregistered || len(u.Problems) != n {
			t.Fatalf("error %v", err)
		}
		for _, p := range u.Problems {
			if !strings.Contains(p.Reason, want) || strings.Contains(want, "own") == strings.Contains(p.Reason, "call db.Register") {
				t.Errorf("%s: %s", p.Path, p.Reason)
			}
		}
	}
	const own = "register it where it is declared, before Open, with db.Register[T](name) under a name of its own"
	reg := NewRegistry()
	advice(save(reg, oneTwin(), otherTwin()), 2, own)
	advice(save(reg, oneTwin()), 1, `call db.Register[podder.twin]("`+reg.typeText(a)+`") before Open`)
	text := reg.typeText(a)
	if err := reg.Register(a, text); err != nil {
		t.Fatal(err)
	}
	advice(save(reg, oneTwin(), otherTwin()), 1, own)
	err := reg.Register(b, text)
	if !errors.Is(err, dberr.ErrInvalid) || !strings.Contains(err.Error(), "belongs to another type that is called so, too") || !strings.Contains(err.Error(), "give this one a name of its own") {
		t.Errorf("error %v", err)
	}
	if err := reg.Register(b, "other"); err != nil {
		t.Fatal(err)
	}
	if err := save(reg, oneTwin(), otherTwin()); err != nil {
		t.Error(err)
	}
	// What names tell apart is told as before.
	if err := reg.Register(reflect.TypeFor[wNode](), "other"); err == nil || !strings.Contains(err.Error(), "belongs to podder.twin:") {
		t.Errorf("error %v", err)
	}
}
