package podder

import "testing"

// side is an interface with a name of its own, under which elements are stored.
type side interface{ sides() int }

func (i innerOld) sides() int { return int(i.N) }

// Where an interface with a name was, a struct may be, however it is reached: a
// reference says the name only, the catalogue that it is an interface's.
func TestElementsOfNamedInterfacesBecomeStructs(t *testing.T) {
	type old struct {
		A []side
		B map[string]side
		C *side
		D **side
		E [][]side
		F *[2]side
		G map[string][]side
		H []*side
		I map[side]int
		J [1][]side
		K struct{ L []side }
		M []side
		N []side
		O []side
	}
	type now struct {
		A []innerNow
		B map[string]innerNow
		C *innerNow
		D **innerNow
		E [][]innerNow
		F *[2]innerNow
		G map[string][]innerNow
		H []*innerNow
		I map[innerNow]int
		J [1][]innerNow
		K struct{ L []innerNow }
		M []*innerNow
		N []innerNow
		O [2]innerNow `pod:"-"`
	}
	var c, d side = innerOld{5, "c"}, innerOld{6, "d"}
	dp := &d
	x := &old{
		A: []side{innerOld{1, "a"}, nil, &innerOld{2, "b"}},
		B: map[string]side{"k": innerOld{3, "k"}, "l": &innerOld{4, "l"}},
		C: &c, D: &dp,
		E: [][]side{{innerOld{7, "e"}}, nil},
		F: &[2]side{innerOld{8, "f"}, nil},
		G: map[string][]side{"g": {innerOld{9, "g"}}},
		H: []*side{&c, nil},
		I: map[side]int{innerOld{10, "i"}: 1},
		J: [1][]side{{innerOld{11, "j"}}},
		M: []side{innerOld{13, "m"}, &innerOld{14, "m"}},
		N: nil,
		O: []side{innerOld{15, "o"}},
	}
	x.K.L = []side{innerOld{12, "l"}}
	dn := &innerNow{"d", 6}
	want := now{
		A: []innerNow{{"a", 1}, {}, {"b", 2}},
		B: map[string]innerNow{"k": {"k", 3}, "l": {"l", 4}},
		C: &innerNow{"c", 5}, D: &dn,
		E: [][]innerNow{{{"e", 7}}, nil},
		F: &[2]innerNow{{"f", 8}, {}},
		G: map[string][]innerNow{"g": {{"g", 9}}},
		H: []*innerNow{{"c", 5}, nil},
		I: map[innerNow]int{{"i", 10}: 1},
		J: [1][]innerNow{{{"j", 11}}},
		M: []*innerNow{{"m", 13}, {"m", 14}},
	}
	want.K.L = []innerNow{{"l", 12}}
	got, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}}, "x", x)
	equalTo(t, got, err, want)
	if got.C != got.H[0] {
		t.Error("one value is two now")
	}
}

// What such an interface holds decides: a value that is no such struct is an error.
func TestElementsOfNamedInterfacesThatAreSomethingElse(t *testing.T) {
	type old struct{ A []side }
	type now struct{ A []innerNow }
	_, err := evolved[now](t, []pair{{"t", old{}, now{}}, {"inner", innerOld{}, innerNow{}}, {"many", many(0), many(0)}}, "x", &old{[]side{many(3)}})
	mismatchAt(t, err, "side", "many", "inner", `"x"`)
}

type many int

func (m many) sides() int { return int(m) }

// The name of another struct stays an error that says where, also if there is no value
// yet; one under which nothing was ever stored is none.
func TestElementsOfOtherStructsAreRefusedByTheCatalogue(t *testing.T) {
	type other struct{ N int }
	type old struct {
		A []innerOld
		B []other
	}
	type nowA struct{ A []innerNow }
	type nowB struct{ B []innerNow }
	full := &old{A: []innerOld{{1, "a"}}}
	s := newFakeStore()
	pairs := []pair{{"t", old{}, nil}, {"before", innerOld{}, nil}, {"other", other{}, nil}}
	mustSave(t, mustGraph(t, configOf(t, s, pairs, false)), s, "full", full, "empty", &old{})
	for _, name := range []string{"full", "empty"} {
		_, err := evolvedIn[nowA](t, s, []pair{{"t", nil, nowA{}}, {"inner", nil, innerNow{}}}, name)
		mismatchAt(t, err, "t.A", "[]before", "[]inner", `db.Alias("before")`, name)
	}
	got, err := evolvedIn[nowB](t, s, []pair{{"t", nil, nowB{}}, {"inner", nil, innerNow{}}}, "full")
	equalTo(t, got, err, nowB{})
}
