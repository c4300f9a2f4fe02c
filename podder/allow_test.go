package podder

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand"
	"reflect"
	"strings"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/poddb/poddb/internal/dberr"
)

type foreigners struct {
	H *blake3.Hasher
	Z *rand.Zipf
}

func newForeigners() *foreigners {
	h := blake3.New()
	_, _ = h.WriteString("abc")
	return &foreigners{h, rand.NewZipf(rand.New(rand.NewSource(1)), 2, 3, 100)}
}

func allowing(t *testing.T, paths ...string) *Registry {
	t.Helper()
	r := NewRegistry()
	for _, p := range paths {
		if err := r.AllowPackage(p); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func TestForeignPrivateLayoutsAreRefusedWithTheWaysOut(t *testing.T) {
	s := newFakeStore()
	_, err := mustGraph(t, s.config()).Save(context.Background(), rootsOf("x", newForeigners()), s.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || len(u.Problems) != 2 || u.Problems[0].Path != "x.H" || u.Problems[0].Type != "blake3.Hasher" {
		t.Fatalf("%v", err)
	}
	for i, ways := range [][]string{
		{"db.Codec[blake3.Hasher]", `db.AllowPackage("github.com/zeebo/blake3")`, "pod:\"-\""},
		{"db.Codec[rand.Zipf]", `db.Register[rand.Zipf]("math/rand.Zipf")`, `db.AllowPackage("math/rand")`, "pod:\"-\""},
	} {
		for _, way := range ways {
			if !strings.Contains(u.Problems[i].Reason, way) {
				t.Errorf("%q does not say %s", u.Problems[i].Reason, way)
			}
		}
	}
	if strings.Contains(u.Problems[0].Reason, "db.Register") { // it has private types in it, for which that is no word
		t.Errorf("%q", u.Problems[0].Reason)
	}
	if len(s.pods) > 0 {
		t.Error("something was written")
	}
}

func TestAllowedPackagesAreStoredByTheirParts(t *testing.T) {
	cfg := Config{Registry: allowing(t, "github.com/zeebo/blake3", "math/rand")}
	x := newForeigners()
	got := loadedWith(t, cfg, x)
	_, _ = x.H.WriteString("def")
	_, _ = got.H.WriteString("def")
	if !bytes.Equal(x.H.Sum(nil), got.H.Sum(nil)) {
		t.Error("the hash goes on in another way")
	}
	for range 100 {
		if a, b := x.Z.Uint64(), got.Z.Uint64(); a != b {
			t.Fatalf("random number %d, want %d", b, a)
		}
	}
}

// What was stored by private fields is read by the same version of the package
// only, and the error shows both.
func TestAnotherVersionOfAnAllowedPackageIsRefused(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = allowing(t, "github.com/zeebo/blake3", "math/rand")
	x := newForeigners()
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	want := []reflect.Type{reflect.TypeOf(x)}
	load := func(cfg Config) error {
		_, err := Decode(ctx, cfg, s, []string{"x"}, want)
		return err
	}
	for d, id := range maps.Clone(s.types) {
		n, err := parseDescriptor([]byte(d))
		if err != nil {
			t.Fatal(err)
		}
		if n.text != "github.com/zeebo/blake3.Hasher" {
			continue
		}
		if n.foreign == nil || !strings.HasPrefix(n.foreign.module, "github.com/zeebo/blake3 ") || string(appendNode([]byte{descriptorVersion}, n)) != d {
			t.Fatalf("descriptor %q of %v", d, n.foreign)
		}
		for _, change := range []func(f *foreignLayout){
			func(f *foreignLayout) { f.module = "github.com/zeebo/blake3 v0.9.9" },
			func(f *foreignLayout) { f.hash++ },
		} {
			other := *n.foreign
			changed := *n
			changed.foreign = &other
			change(&other)
			delete(s.types, d)
			bad := string(appendNode([]byte{descriptorVersion}, &changed))
			s.types[bad] = id
			err := load(cfg)
			if !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), other.String()) || !strings.Contains(err.Error(), n.foreign.String()) {
				t.Errorf("%v", err)
			}
			delete(s.types, bad)
		}
		s.types[d] = id
	}
	if err := load(cfg); err != nil {
		t.Error(err)
	}
	cfg.Registry = allowing(t, "math/rand")
	if err := load(cfg); !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), `db.AllowPackage("github.com/zeebo/blake3")`) {
		t.Errorf("not allowed any more: %v", err)
	}
}
