package podder

import (
	"errors"
	"math/big"
	"reflect"
	"testing"
	"time"
)

// codecBox holds values that are stored by codecs in containers beyond 64 KiB,
// which are chunked.
type codecBox struct {
	Bigs    []*big.Int
	Values  []big.Int
	Times   []time.Time
	Errs    []error
	Members []tMember
	ByName  map[int]*big.Int
	ByTime  map[time.Time]int
	Whens   map[int]time.Time
	Fails   map[int]error
	Scores  map[int]tMember
}

func newCodecBox(n int) *codecBox {
	x := &codecBox{ByName: map[int]*big.Int{}, ByTime: map[time.Time]int{}, Whens: map[int]time.Time{}, Fails: map[int]error{}, Scores: map[int]tMember{}}
	start := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	for i := range n {
		b := new(big.Int).Lsh(big.NewInt(int64(i)+1), uint(i%150))
		when := start.Add(time.Duration(i) * 1234567891)
		err := errors.New("failure " + b.String())
		x.Bigs = append(x.Bigs, b)
		x.Values = append(x.Values, *new(big.Int).Neg(b))
		x.Times = append(x.Times, when)
		x.Errs = append(x.Errs, err)
		x.Members = append(x.Members, tMember{i, 2 * i})
		x.ByName[i], x.ByTime[when], x.Whens[i], x.Fails[i], x.Scores[i] = b, i, when, err, tMember{i, 2 * i}
	}
	return x
}

// same reports the first container of two boxes that differs, in values or in
// which elements of slice and map are one object.
func (x *codecBox) same(y *codecBox) string {
	for i := range x.Bigs {
		switch {
		case len(y.Bigs) != len(x.Bigs) || x.Bigs[i].Cmp(y.Bigs[i]) != 0:
			return "Bigs"
		case len(y.Values) != len(x.Values) || x.Values[i].Cmp(&y.Values[i]) != 0:
			return "Values"
		case len(y.Times) != len(x.Times) || x.Times[i] != y.Times[i]:
			return "Times"
		case len(y.Errs) != len(x.Errs) || reflect.TypeOf(y.Errs[i]) != reflect.TypeOf(x.Errs[i]) || x.Errs[i].Error() != y.Errs[i].Error():
			return "Errs"
		case y.ByName[i] != y.Bigs[i]:
			return "ByName: a number of its own"
		case y.Fails[i] != y.Errs[i]:
			return "Fails: an error of its own"
		}
	}
	for name, equal := range map[string]bool{
		"Members": reflect.DeepEqual(x.Members, y.Members),
		"ByName":  len(x.ByName) == len(y.ByName),
		"ByTime":  reflect.DeepEqual(x.ByTime, y.ByTime),
		"Whens":   reflect.DeepEqual(x.Whens, y.Whens),
		"Fails":   len(x.Fails) == len(y.Fails),
		"Scores":  reflect.DeepEqual(x.Scores, y.Scores),
	} {
		if !equal {
			return name
		}
	}
	return ""
}

// Values with codecs, elements of containers in chunks, come back with what they
// share, a load leaves nothing to write, and one that changes costs a small part.
func TestCodecValuesInChunkedContainers(t *testing.T) {
	const n = 20_000
	changes := map[string]func(*codecBox){
		"a shared number": func(x *codecBox) { x.Bigs[n/2].Add(x.Bigs[n/2], big.NewInt(5)) },
		"a number":        func(x *codecBox) { x.Values[n/2].SetInt64(-7) },
		"a time":          func(x *codecBox) { x.Times[n/2] = x.Times[n/2].Add(1) },
		"an error":        func(x *codecBox) { x.Errs[n/2] = errors.New("another"); x.Fails[n/2] = x.Errs[n/2] },
		"a marshaler":     func(x *codecBox) { x.Members[n/2] = tMember{-1, -2} },
		"a time key":      func(x *codecBox) { x.ByTime[time.Unix(9, 9).UTC()] = 9 },
		"a time in a map": func(x *codecBox) { x.Whens[n/2] = time.Unix(8, 8).UTC() },
		"one in a map":    func(x *codecBox) { x.Scores[n/2] = tMember{-3, -6} },
	}
	s := newFakeStore()
	cfg := s.config()
	g, x := mustGraph(t, cfg), newCodecBox(n)
	whole := mustSave(t, g, s, "x", x).bytes
	mustStayQuiet(t, g, s, "x", x)
	for name, change := range changes {
		change(x)
		tx := mustSave(t, g, s, "x", x)
		t.Logf("%s: %d of %d bytes in %d pods", name, tx.bytes, whole, len(tx.changes))
		if tx.bytes == 0 || tx.bytes > whole/100 { // less than any container
			t.Errorf("%s: a save handed over %d bytes of %d", name, tx.bytes, whole)
		}
	}
	mustStayQuiet(t, g, s, "x", x)
	_, vs := reload(t, s, cfg, "x", x)
	if wrong := x.same(vs[0].Interface().(*codecBox)); wrong != "" {
		t.Errorf("loaded other %s", wrong)
	}
}
