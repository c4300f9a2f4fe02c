package podder

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// tAccount chooses its stored form: a number, and a friend by reference.
type tAccount struct {
	id     int
	friend *tAccount
	seen   map[string]*tAccount
	cache  string // made from id
	mu     sync.Mutex
}

func (a *tAccount) MarshalPod(w *ValueWriter) error {
	w.Int(int64(a.id))
	w.Value(a.friend)
	w.Value(a.seen)
	return nil
}

func (a *tAccount) UnmarshalPod(r *ValueReader) error {
	a.id = int(r.Int())
	a.friend, _ = r.Value().(*tAccount)
	a.seen, _ = r.Value().(map[string]*tAccount)
	a.cache = fmt.Sprint("account ", a.id)
	return nil
}

type tBank struct {
	A, B  *tAccount
	Value tAccount
	List  []tAccount
	Any   any
	Map   map[string]tAccount
}

func newBank() *tBank {
	a, b := &tAccount{id: 1, cache: "account 1"}, &tAccount{id: 2, cache: "account 2"}
	a.friend, b.friend = b, a
	a.seen = map[string]*tAccount{"self": a, "b": b}
	b.seen = a.seen
	return &tBank{A: a, B: b, Value: tAccount{id: 3, friend: a}, List: []tAccount{{id: 4}, {id: 5, friend: b}}, Any: a, Map: map[string]tAccount{"m": {id: 6, friend: a}}}
}

func TestMarshalPodKeepsSharingAndCycles(t *testing.T) {
	got := loaded(t, newBank())
	a, b := got.A, got.B
	if a.friend != b || b.friend != a || a.id != 1 || b.cache != "account 2" || got.Any != any(a) {
		t.Error("accounts are other ones")
	}
	if a.seen["self"] != a || a.seen["b"] != b || reflect.ValueOf(a.seen).UnsafePointer() != reflect.ValueOf(b.seen).UnsafePointer() {
		t.Error("the shared map is not shared")
	}
	if got.Value.friend != a || got.List[1].friend != b || got.List[0].cache != "account 4" {
		t.Error("values by value are wrong")
	}
	if got.Map["m"].friend != a || got.Map["m"].cache != "account 6" {
		t.Error("values in a map are wrong")
	}
}

func TestMarshalPodRunsAtEverySave(t *testing.T) {
	s := newFakeStore()
	g := mustGraph(t, s.config())
	bank := newBank()
	mustSave(t, g, s, "x", bank)
	bank.B.id = 20
	mustSave(t, g, s, "x", bank)
	mustStayQuiet(t, g, s, "x", bank)
	_, vs := reload(t, s, s.config(), "x", bank)
	if id := vs[0].Interface().(*tBank).A.friend.id; id != 20 {
		t.Errorf("%d, want 20", id)
	}
}

func TestARestoreUnmarshalsInPlaceAndLeavesLocksAlone(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	g := mustGraph(t, s.config())
	bank := newBank()
	mustSave(t, g, s, "x", bank)
	a := bank.A
	a.id, a.cache, a.friend = 99, "changed", nil
	a.mu.Lock()
	res, err := g.Restore(ctx, s, []string{"x"}, History{})
	if err != nil || len(res.Moved) > 0 {
		t.Fatal(err, res)
	}
	if bank.A != a || a.id != 1 || a.cache != "account 1" || a.friend != bank.B || a.mu.TryLock() {
		t.Errorf("restored %v", a.id)
	}
}

// tPlain has neither method of its own: those of what it embeds do not count.
type tPlain struct {
	tAccount
	Own int
}

func TestMethodsOfEmbeddedTypesAreNotTheTypesOwn(t *testing.T) {
	p := &tPlain{Own: 7}
	p.id = 8
	if got := loaded(t, p); got.Own != 7 || got.id != 8 || got.cache != "account 8" {
		t.Errorf("%d and %d, want 7 and 8", got.Own, got.id)
	}
}

type tHalf struct{ N int }

func (*tHalf) MarshalPod(*ValueWriter) error { return nil }

type tBad struct{ how string }

var errBad = errors.New("bad value")

func (b *tBad) MarshalPod(w *ValueWriter) error {
	switch b.how {
	case "panic":
		panic("ouch")
	case "error":
		return errBad
	case "func":
		w.Value(func() {})
	case "type":
		w.Value(tHidden{})
	}
	w.String(b.how)
	return nil
}

type tHidden struct{ X int }

func (b *tBad) UnmarshalPod(r *ValueReader) error {
	switch b.how = r.String(); b.how {
	case "fails":
		return errBad
	case "panics":
		panic("ouch")
	case "less":
		r.Uint()
	case "more":
		r.data.off--
	}
	return nil
}

func TestMarshalersThatFailAreErrorsWithThePathAndWriteNothing(t *testing.T) {
	type holder struct{ Items []any }
	reg := NewRegistry()
	for _, x := range []any{tBad{}, tHalf{}} {
		if err := reg.Register(reflect.TypeOf(x), ""); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		value any
		path  string
		want  string
		is    error
	}{
		{&tBad{"panic"}, "x.Items[1]", "ouch", dberr.ErrUnsupported},
		{&tBad{"error"}, "x.Items[1]", "bad value", errBad},
		{tBad{"error"}, "x.Items[1]", "bad value", errBad},
		{&tBad{"func"}, "x.Items[1]{0}", "func", dberr.ErrUnsupported},
		{&tBad{"type"}, "x.Items[1]{0}", "db.Register[podder.tHidden]", dberr.ErrUnregistered},
		{&tHalf{}, "x.Items[1]", "lacks UnmarshalPod", dberr.ErrUnsupported},
	} {
		s := newFakeStore()
		cfg := s.config()
		cfg.Registry = reg
		g := mustGraph(t, cfg)
		_, err := g.Save(context.Background(), rootsOf("x", &holder{[]any{1, c.value}}), s.begin())
		var u *dberr.UnsupportedError
		if !errors.As(err, &u) || !errors.Is(err, c.is) || len(u.Problems) != 1 || u.Problems[0].Path != c.path || !strings.Contains(u.Problems[0].Reason, c.want) {
			t.Errorf("%+v: %v", c.value, err)
		}
		if len(s.pods) > 0 {
			t.Errorf("%+v: something was written", c.value)
		}
	}
}

func TestUnmarshalersThatFailAreErrorsThatNameTheVariable(t *testing.T) {
	for how, want := range map[string]string{"fails": "bad value", "panics": "ouch", "less": "ends early", "more": "were not read"} {
		s := newFakeStore()
		mustSave(t, mustGraph(t, s.config()), s, "x", &tBad{how})
		_, err := Decode(context.Background(), s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*tBad]()})
		if !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", how, err)
		}
	}
}

type tOutside struct{ n int } // as if of another package

func outsideCodec(version uint64) Codec {
	return Codec{
		Type: reflect.TypeFor[tOutside](), Name: "outside", Version: version,
		Store: func(w *ValueWriter, v any) error {
			w.Uint(uint64(v.(*tOutside).n))
			return nil
		},
		Load: func(r *ValueReader, v any) error {
			v.(*tOutside).n = int(r.Uint()) + int(version-r.Version())*1000
			return nil
		},
	}
}

func withCodec(t *testing.T, c Codec) *Registry {
	t.Helper()
	r := NewRegistry()
	if err := r.RegisterCodec(c); err != nil {
		t.Fatal(err)
	}
	return r
}

type tOfOnePointer struct{ n *int }

// Values that lie in an interface word itself have no address of their own when an
// atomic.Value holds them: what their codec handed over is found again all the same.
func TestCodecsOfValuesInAtomics(t *testing.T) {
	r := withCodec(t, Codec{
		Type: reflect.TypeFor[tOfOnePointer](), Name: "of one pointer", Version: 1,
		Store: func(w *ValueWriter, v any) error { w.Value(v.(*tOfOnePointer).n); return nil },
		Load:  func(r *ValueReader, v any) error { v.(*tOfOnePointer).n = r.Value().(*int); return nil },
	})
	type holder struct {
		V [50]atomic.Value
		N [50]*int
	}
	x := &holder{}
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = r
	g := mustGraph(t, cfg)
	for round := range 4 {
		for i := range x.V {
			n := i*10 + round
			x.N[i] = &n
			x.V[i].Store(tOfOnePointer{&n})
		}
		mustSave(t, g, s, "x", x)
		mustStayQuiet(t, g, s, "x", x)
		_, vs := reload(t, s, cfg, "x", x)
		y := vs[0].Interface().(*holder)
		for i := range y.V {
			if got := y.V[i].Load().(tOfOnePointer).n; got != y.N[i] || *got != *x.N[i] {
				t.Fatalf("round %d: value %d leads to %d, want %d", round, i, *got, *x.N[i])
			}
		}
	}
}

func TestARegisteredCodecReadsItsOlderVersionsAndRefusesNewerOnes(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	cfg := s.config()
	x := map[tOutside]any{{1}: tOutside{2}, {3}: &tOutside{4}}
	cfg.Registry = withCodec(t, outsideCodec(1))
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	_, vs := reload(t, s, cfg, "x", x)
	if got := vs[0].Interface().(map[tOutside]any); got[tOutside{1}] != any(tOutside{2}) || got[tOutside{3}].(*tOutside).n != 4 {
		t.Errorf("%v", got)
	}
	cfg.Registry = withCodec(t, outsideCodec(2))
	vs, err := Decode(ctx, cfg, s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	if got := vs[0].Interface().(map[tOutside]any); got[tOutside{1001}] != any(tOutside{1002}) {
		t.Errorf("%v", got)
	}
	s2 := newFakeStore()
	cfg.Secret = s2.key
	mustSave(t, mustGraph(t, cfg), s2, "x", x)
	cfg.Registry = withCodec(t, outsideCodec(1))
	if _, err = Decode(ctx, cfg, s2, []string{"x"}, []reflect.Type{reflect.TypeOf(x)}); !errors.Is(err, dberr.ErrTypeMismatch) || !strings.Contains(err.Error(), "codec outside 2") {
		t.Errorf("newer version: %v", err)
	}
}

func TestCodecsThatCannotBeAreRefused(t *testing.T) {
	ok := outsideCodec(1)
	r := withCodec(t, ok)
	for what, change := range map[string]func(*Codec){
		"twice":     func(*Codec) {},
		"no name":   func(c *Codec) { c.Type, c.Name = reflect.TypeFor[tHidden](), "" },
		"no func":   func(c *Codec) { c.Type, c.Load = reflect.TypeFor[tHidden](), nil },
		"pointer":   func(c *Codec) { c.Type = reflect.TypeFor[*tHidden]() },
		"interface": func(c *Codec) { c.Type = reflect.TypeFor[fmt.Stringer]() },
		"built in":  func(c *Codec) { c.Type = reflect.TypeFor[sync.Map]() },
	} {
		c := ok
		change(&c)
		if err := r.RegisterCodec(c); !errors.Is(err, dberr.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestSyncMapsKeepEntriesAndSharing(t *testing.T) {
	type holder struct {
		M    sync.Map
		P    *sync.Map
		Node *wNode
	}
	h := &holder{P: &sync.Map{}, Node: &wNode{Name: "n"}}
	for i := range 200 {
		h.M.Store(i, fmt.Sprint(i))
		h.P.Store(&wNode{Name: fmt.Sprint(i)}, h.Node)
	}
	h.P.Store(h.Node, &h.M) // a pointer into the holder
	h.P.Store("self", h.P)
	got := loaded(t, h)
	n := 0
	got.P.Range(func(k, v any) bool {
		if k != any("self") && k != any(got.Node) && v != any(got.Node) {
			t.Errorf("element %v", v)
		}
		n++
		return true
	})
	if v, _ := got.P.Load("self"); n != 202 || v != any(got.P) {
		t.Errorf("%d entries", n)
	}
	if v, ok := got.P.Load(got.Node); !ok || v != any(&got.M) {
		t.Error("an entry lost its key or its element")
	}
	for i := range 200 {
		if v, _ := got.M.Load(i); v != fmt.Sprint(i) {
			t.Errorf("%d: %v", i, v)
		}
	}
}

type tHooked struct {
	N      int
	Next   *tHooked
	sum    int `pod:"-"`
	stores int `pod:"-"`
	fail   bool
}

func (h *tHooked) BeforeStore() error {
	h.stores++
	h.N++
	if h.fail {
		return errBad
	}
	return nil
}

func (h *tHooked) AfterLoad() error {
	h.sum = h.N
	if h.Next != nil {
		h.sum += h.Next.sum // met later, so ready
	}
	if h.N == 666 {
		return errBad
	}
	return nil
}

func TestBeforeStoreAndAfterLoadAreCalled(t *testing.T) {
	ctx := context.Background()
	type holder struct {
		H    tHooked
		P    *tHooked
		Any  any
		List []tHooked
		Map  map[string]tHooked
	}
	h := &holder{H: tHooked{N: 1}, P: &tHooked{N: 10, Next: &tHooked{N: 20}}, Any: tHooked{N: 5}, List: make([]tHooked, 300), Map: map[string]tHooked{"a": {N: 7}}}
	s := newFakeStore()
	g := mustGraph(t, s.config())
	mustSave(t, g, s, "x", h)
	if h.H.N != 2 || h.P.Next.N != 21 || h.List[299].N != 1 || h.H.stores != 1 {
		t.Errorf("BeforeStore: %+v", h.H)
	}
	vs, err := Decode(ctx, s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeOf(h)})
	if err != nil {
		t.Fatal(err)
	}
	got := vs[0].Interface().(*holder)
	if got.H.sum != 2 || got.P.sum != 32 || got.Any.(tHooked).sum != 5 || got.List[299].sum != 1 || got.Map["a"].sum == 0 {
		t.Errorf("AfterLoad: %+v %+v %+v", got.H, got.P, got.Map)
	}
	h.P.Next.N, h.P.sum = 0, -1
	if _, err := g.Restore(ctx, s, []string{"x"}, History{}); err != nil {
		t.Fatal(err)
	}
	if h.P.sum != 32 {
		t.Errorf("after a restore the sum is %d", h.P.sum)
	}
}

func TestHooksThatFailAreErrors(t *testing.T) {
	ctx := context.Background()
	type holder struct{ L []*tHooked }
	s := newFakeStore()
	g := mustGraph(t, s.config())
	_, err := g.Save(ctx, rootsOf("x", &holder{[]*tHooked{nil, {fail: true}}}), s.begin())
	var u *dberr.UnsupportedError
	if !errors.As(err, &u) || !errors.Is(err, errBad) || u.Problems[0].Path != "x.L[1]" {
		t.Errorf("BeforeStore: %v", err)
	}
	mustSave(t, g, s, "x", &tHooked{N: 665})
	if _, err = Decode(ctx, s.config(), s, []string{"x"}, []reflect.Type{reflect.TypeFor[*tHooked]()}); !errors.Is(err, errBad) || !errors.Is(err, dberr.ErrTypeMismatch) {
		t.Errorf("AfterLoad: %v", err)
	}
}

func TestCodecValuesShowAsJSONWithoutTheProgram(t *testing.T) {
	s := newFakeStore()
	bank := newBank()
	mustSave(t, mustGraph(t, s.config()), s, "x", bank)
	var b bytes.Buffer
	if err := WriteJSON(context.Background(), s, &b, "x", JSONOptions{}); err != nil {
		t.Fatal(err)
	}
	var v struct {
		A struct {
			Codec  string `json:"$codec"`
			Bytes  []byte `json:"$bytes"`
			Values []any  `json:"$values"`
		}
		List []any
	}
	if err := json.Unmarshal(b.Bytes(), &v); err != nil {
		t.Fatal(err, b.String())
	}
	if v.A.Codec != "MarshalPod" || len(v.A.Values) != 2 || !bytes.Equal(v.A.Bytes, []byte{2}) || len(v.List) != 2 {
		t.Errorf("%s", b.String())
	}
}

// What one process stores of such a type stays as it is in one that does not
// know the type, and is written back.
func TestCodecValuesOfUnknownTypesSurvive(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = withCodec(t, outsideCodec(1))
	if err := cfg.Registry.Register(reflect.TypeFor[tBank](), "bank"); err != nil {
		t.Fatal(err)
	}
	x := []any{tOutside{5}, newBank(), 1}
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	g := mustGraph(t, s.config())
	vs, err := g.Load(ctx, s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	y := vs[0].Interface().([]any)
	if _, ok := y[0].(*Opaque); !ok {
		t.Fatalf("%T, want *Opaque", y[0])
	}
	mustStayQuiet(t, g, s, "x", y)
	y[2] = 2
	mustSave(t, g, s, "x", y)
	vs, err = Decode(ctx, cfg, s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	z := vs[0].Interface().([]any)
	if z[0] != any(tOutside{5}) || z[1].(*tBank).A.friend.friend != z[1].(*tBank).A || z[2] != 2 {
		t.Errorf("%v", z)
	}
}

// tGrown had fields before it had methods.
type tGrown struct{ N, Double int }

func (g *tGrown) MarshalPod(w *ValueWriter) error {
	w.Int(int64(g.N))
	return nil
}

func (g *tGrown) UnmarshalPod(r *ValueReader) error {
	g.N = int(r.Int())
	g.Double = 2 * g.N
	return nil
}

type tGrownBefore struct{ N, Double int }

func TestATypeThatGetsMethodsReadsWhatItsFieldsWere(t *testing.T) {
	ctx := context.Background()
	s := newFakeStore()
	cfg := s.config()
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[tGrownBefore](), "grown"); err != nil {
		t.Fatal(err)
	}
	mustSave(t, mustGraph(t, cfg), s, "x", &tGrownBefore{3, 7})
	cfg.Registry = NewRegistry()
	if err := cfg.Registry.Register(reflect.TypeFor[tGrown](), "grown"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []tGrown{{3, 7}, {3, 6}} { // by its fields, then by its methods
		g := mustGraph(t, cfg)
		vs, err := g.Load(ctx, s, []string{"x"}, []reflect.Type{reflect.TypeFor[*tGrown]()})
		if err != nil {
			t.Fatal(err)
		}
		if got := vs[0].Interface().(*tGrown); *got != want {
			t.Errorf("%v, want %v", *got, want)
		}
		mustSave(t, g, s, "x", vs[0].Interface())
	}
}

// tTeam asks its members, who lie in a container that is filled in the midst of
// the team itself.
type tTeam struct {
	Members []tMember
	sum     int
	Lead    tMember
}

type tMember struct{ score, twice int }

func (m *tMember) MarshalPod(w *ValueWriter) error {
	w.Value(m.score) // handed over, so that loading needs two passes
	return nil
}

func (m *tMember) UnmarshalPod(r *ValueReader) error {
	m.score, _ = r.Value().(int)
	m.twice = 2 * m.score
	return nil
}

func (t *tTeam) MarshalPod(w *ValueWriter) error {
	w.Value(t.Members)
	w.Value(t.Lead)
	return nil
}

func (t *tTeam) UnmarshalPod(r *ValueReader) error {
	t.Members, _ = r.Value().([]tMember)
	t.Lead, _ = r.Value().(tMember)
	for _, m := range t.Members {
		t.sum += m.twice
	}
	return nil
}

// tGroup does the same with AfterLoad.
type tGroup struct {
	Hooked []tHooked
	Lead   tMember // has two passes
	sum    int     `pod:"-"`
	calls  int     `pod:"-"`
}

func (g *tGroup) AfterLoad() error {
	g.calls++
	for _, h := range g.Hooked {
		g.sum += h.sum
	}
	return nil
}

func TestContainersAreReadyBeforeWhatHoldsThem(t *testing.T) {
	s := newFakeStore()
	cfg := s.config()
	cfg.TargetBytes = 200 // so that some pods are fetched later
	x := &struct {
		Team  *tTeam
		Group *tGroup
		More  []*tGroup
	}{Team: &tTeam{Members: make([]tMember, 100)}, Group: &tGroup{Hooked: make([]tHooked, 100)}}
	for i := range 100 {
		x.Team.Members[i].score = i
		x.Group.Hooked[i].N = i - 1
		x.More = append(x.More, &tGroup{Hooked: make([]tHooked, i)})
	}
	mustSave(t, mustGraph(t, cfg), s, "x", x)
	v := reflect.ValueOf(x).Elem()
	vs, err := Decode(context.Background(), cfg, s, []string{"x"}, []reflect.Type{reflect.TypeOf(x)})
	if err != nil {
		t.Fatal(err)
	}
	reflect.ValueOf(x).Elem().Set(reflect.Zero(v.Type()))
	v.Set(vs[0].Elem())
	if x.Team.sum != 9900 || x.Group.sum != 4950 || x.Group.calls != 1 {
		t.Errorf("team %d, group %d in %d calls; want 9900, 4950, 1", x.Team.sum, x.Group.sum, x.Group.calls)
	}
	for i, g := range x.More {
		if g.sum != i || g.calls != 1 {
			t.Errorf("group %d has sum %d after %d calls", i, g.sum, g.calls)
		}
	}
}
