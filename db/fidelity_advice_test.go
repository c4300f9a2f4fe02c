package db_test

import (
	"context"
	"crypto/x509"
	"errors"
	"hash"
	"hash/crc32"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/poddb/poddb/db"
)

// Types of the program that are made from those of others, whose private fields they have.
type (
	madeInt   big.Int
	madeMap   sync.Map
	madeAddr  netip.Addr
	madeCount atomic.Int64
	madeTimer time.Timer
	madeLock  sync.Mutex
	madeRW    sync.RWMutex
	madeOnce  sync.Once
	ownLocks  struct {
		L  madeLock
		RW madeRW
		O  madeOnce
		W  *madeLock
		N  int
	}
)

// following is what a program does that follows a piece of advice: it stores the same
// value with an entry, or another one.
type following struct {
	with  bool
	entry db.TypeEntry
	value any
	get   func(context.Context, db.Reader) (any, error)
	same  func(any) bool // as before; nil: that it loads is enough
}

// advice are the parts of a refusal by which a piece of it is known.
var advice = []string{"itself, or embed it", "db.Codec[", "db.UseBinary()", "db.Register[", "db.AllowPackage(", "copy what matters", "skip the field"}

// noCodec is an entry that stores nothing of a T.
func noCodec[T any]() db.TypeEntry {
	return db.Codec("nothing", 1, func(*db.ValueWriter, *T) error { return nil }, func(*db.ValueReader, *T) error { return nil })
}

// What an error advises is done, and helps; what would not help is not advised. The last two
// pieces need no proof: a type of the program's own, and no value at all.
func TestEveryPieceOfAdviceAboutPrivateFieldsHelps(t *testing.T) {
	seven := big.NewInt(7)
	isSeven := func(v any) bool { return (*big.Int)(v.(*madeInt)).Cmp(big.NewInt(7)) == 0 }
	var count atomic.Int64
	count.Store(8)
	oid := must(x509.ParseOID("1.2.3"))(t)
	isOID := func(v any) bool { return v.(*x509.OID).Equal(oid) }
	type embedsInt struct{ big.Int }
	type embedsMap struct{ sync.Map }
	type embedsAddr struct{ netip.Addr }
	type embedsCount struct{ atomic.Int64 }
	four := netip.MustParseAddr("1.2.3.4")
	m := new(embedsMap)
	m.Store("k", 5)
	n := new(embedsCount)
	n.Store(6)
	for _, c := range []struct {
		name    string
		value   any
		get     func(context.Context, db.Reader) (any, error)
		part    string // of the error
		follows map[string]following
	}{
		{"made from big.Int", (*madeInt)(seven), getting[*madeInt]("x"), "use big.Int itself", map[string]following{
			"itself, or embed it": {value: &embedsInt{*seven}, get: getting[*embedsInt]("x"), same: func(v any) bool { return v.(*embedsInt).Cmp(seven) == 0 }},
			"db.Codec[": {with: true, entry: db.Codec("int", 1, func(w *db.ValueWriter, v *madeInt) error { w.Bytes((*big.Int)(v).Bytes()); return nil },
				func(r *db.ValueReader, v *madeInt) error { (*big.Int)(v).SetBytes(r.Bytes()); return nil }), same: isSeven},
			"db.Register[": {with: true, entry: db.Type[madeInt]("amount"), same: isSeven},
		}},
		{"made from sync.Map", new(madeMap), getting[*madeMap]("x"), "use sync.Map itself", map[string]following{
			"itself, or embed it": {value: m, get: getting[*embedsMap]("x"), same: func(v any) bool { x, _ := v.(*embedsMap).Load("k"); return x == 5 }},
			"db.Codec[":           {with: true, entry: noCodec[madeMap]()},
		}},
		{"made from netip.Addr", (*madeAddr)(&four), getting[*madeAddr]("x"), "use netip.Addr itself", map[string]following{
			"itself, or embed it": {value: &embedsAddr{four}, get: getting[*embedsAddr]("x"), same: func(v any) bool { return v.(*embedsAddr).Addr == four }},
			"db.Codec[":           {with: true, entry: noCodec[madeAddr]()},
		}},
		{"made from atomic.Int64", (*madeCount)(&count), getting[*madeCount]("x"), "use the type of package sync/atomic itself", map[string]following{
			"itself, or embed it": {value: n, get: getting[*embedsCount]("x"), same: func(v any) bool { return v.(*embedsCount).Load() == 6 }},
			"db.Codec[":           {with: true, entry: noCodec[madeCount]()},
			"db.Register[":        {with: true, entry: db.Type[madeCount]("count"), same: func(v any) bool { return (*atomic.Int64)(v.(*madeCount)).Load() == 8 }},
		}},
		{"made from time.Timer", (*madeTimer)(time.NewTimer(time.Hour)), getting[*madeTimer]("x"), "package time", map[string]following{
			"db.Codec[": {with: true, entry: noCodec[madeTimer]()},
		}},
		{"a type of others with methods", &oid, getting[*x509.OID]("x"), "package crypto/x509", map[string]following{
			"db.Codec[":        {with: true, entry: noCodec[x509.OID]()},
			"db.UseBinary()":   {with: true, entry: db.Type[x509.OID]("oid", db.UseBinary()), same: isOID},
			"db.Register[":     {with: true, entry: db.Type[x509.OID]("oid"), same: isOID},
			"db.AllowPackage(": {with: true, entry: db.AllowPackage("crypto/x509"), same: isOID},
		}},
		{"a type of others with private types in it", tabwriter.NewWriter(nil, 0, 0, 0, 0, 0), getting[*tabwriter.Writer]("x"), "package text/tabwriter", map[string]following{
			"db.Codec[":        {with: true, entry: noCodec[tabwriter.Writer]()},
			"db.AllowPackage(": {with: true, entry: db.AllowPackage("text/tabwriter")},
		}},
		{"a private type of others behind an interface", &struct{ H hash.Hash32 }{crc32.NewIEEE()}, nil, "crc32.digest is private to package hash/crc32", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := saveAlone(t, nil, c.value)
			if !errors.Is(err, db.ErrUnsupported) || !strings.Contains(err.Error(), c.part) {
				t.Fatalf("got %v, want a refusal with %q", err, c.part)
			}
			for _, a := range advice {
				f, follows := c.follows[a]
				if follows = follows || slices.Contains(advice[5:], a); strings.Contains(err.Error(), a) != follows {
					t.Errorf("%q in the error: %v, want %v: %v", a, !follows, follows, err)
				}
				if f.value == nil {
					f.value, f.get = c.value, c.get
				}
				if follows && !slices.Contains(advice[5:], a) {
					saveAloneAs(t, a, f)
				}
			}
		})
	}
}

// saveAlone saves a variable in a database of its own.
func saveAlone(t *testing.T, o *db.Options, v any) error {
	t.Helper()
	d := must(db.OpenMemory(t.Context(), o))(t)
	defer d.Close()
	ns := namespace(t, d)
	if err := ns.Set(t.Context(), "x", v); err != nil {
		return err
	}
	_, err := ns.Save(t.Context())
	return err
}

// saveAloneAs does what a piece of advice says, and loads what was stored.
func saveAloneAs(t *testing.T, a string, f following) {
	t.Helper()
	ctx := t.Context()
	o := &db.Options{}
	if f.with {
		o.Types = db.Types(f.entry)
	}
	d := must(db.OpenMemory(ctx, o))(t)
	defer d.Close()
	ns := namespace(t, d)
	set(t, ns, "x", f.value)
	v, err := ns.Save(ctx)
	if err != nil {
		t.Errorf("%s: followed, and still %v", a, err)
		return
	}
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	got := must(f.get(ctx, s))(t)
	if f.same != nil && !f.same(got) {
		t.Errorf("%s: loaded %v", a, got)
	}
}

// Locks that the program has named itself are locks.
func TestLocksUnderOtherNamesAreNeverRead(t *testing.T) {
	ctx := t.Context()
	d := must(db.OpenMemory(ctx, &db.Options{VerifyEvery: 1}))(t)
	defer d.Close()
	ns := namespace(t, d)
	g := &ownLocks{W: new(madeLock), N: 1}
	(*sync.Mutex)(&g.L).Lock()
	(*sync.RWMutex)(&g.RW).RLock()
	(*sync.Once)(&g.O).Do(func() {})
	(*sync.Mutex)(g.W).Lock()
	set(t, ns, "g", g)
	v := save(t, ns)
	(*sync.RWMutex)(&g.RW).RLock()
	if again := save(t, ns); again != v {
		t.Errorf("a lock was taken, and the save wrote version %d", again)
	}
	g.N = 2
	save(t, ns)
	if err := ns.Checkout(ctx, v); err != nil {
		t.Fatal(err)
	}
	if (*sync.Mutex)(&g.L).TryLock() || (*sync.RWMutex)(&g.RW).TryLock() || (*sync.Mutex)(g.W).TryLock() || g.N != 1 {
		t.Error("Checkout has written locks")
	}
	(*sync.Once)(&g.O).Do(func() { t.Error("Checkout has written a Once") })
	s := must(d.At(ctx, v))(t)
	defer s.Close()
	c := must(db.Get[*ownLocks](ctx, s, "g"))(t)
	ran := false
	(*sync.Once)(&c.O).Do(func() { ran = true })
	if !(*sync.Mutex)(&c.L).TryLock() || !(*sync.RWMutex)(&c.RW).TryLock() || !(*sync.Mutex)(c.W).TryLock() || !ran || c.N != 1 {
		t.Error("a loaded lock is held")
	}
}
