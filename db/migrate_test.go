package db_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/db"
)

type (
	userV1 struct {
		Name   string
		Friend *userV1
		City   *cityV1
	}
	// userWas is userV1 to the program of today.
	userWas struct {
		Name   string
		Friend *userV3
		City   *cityV1
	}
	userV2 struct {
		First, Last string
		Friend      *userV3
		Town        string
	}
	userV3 struct {
		Names  []string
		Friend *userV3
		Town   string
	}
	cityV1 struct{ Name string }
	people struct {
		Any    []any
		Users  map[string]*userV1
		Values map[string]userV1
		By     map[userKey1]int
		One    userV1
	}
	peopleNow struct {
		Any    []any
		Users  map[string]*userV3
		Values map[string]userV3
		By     map[userKey2]int
		One    userV3
	}
	userKey1 struct{ Text string }
	userKey2 struct{ N int }
)

var migrations = []db.TypeEntry{
	db.Type[userV3]("app.User"), db.Type[cityV1]("app.City"), db.Type[peopleNow]("app.People"), db.Type[userKey2]("app.Key"),
	db.Migrate("app.User", func(u *userWas) (userV2, error) {
		first, last, ok := strings.Cut(u.Name, " ")
		if !ok {
			return userV2{}, fmt.Errorf("no last name in %q: %w", u.Name, errNoName)
		}
		v := userV2{First: first, Last: last, Friend: u.Friend}
		if u.City != nil {
			v.Town = u.City.Name
		}
		return v, nil
	}),
	db.Migrate("app.User.v2", func(u *userV2) (userV3, error) {
		return userV3{Names: []string{u.First, u.Last}, Town: u.Town, Friend: u.Friend}, nil
	}),
	db.Migrate("", func(k *userKey1) (userKey2, error) { return userKey2{len(k.Text)}, nil }),
}

var errNoName = errors.New("no name")

// A chain of migrations runs for values behind pointers, in maps as elements and
// keys, and in interfaces; snapshots see the same; the save after it writes the
// new form.
func TestMigrationsMakeNewValuesOfOldOnes(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "m.pod")
	d := must(db.Open(ctx, path, &db.Options{Types: db.Types(db.Type[userV1]("app.User"), db.Type[cityV1]("app.City"), db.Type[people]("app.People"), db.Type[userKey1]("app.Key"))}))(t)
	ns := namespace(t, d)
	u := &userV1{Name: "Ada Lovelace", City: &cityV1{"London"}}
	u.Friend = &userV1{Name: "Charles Babbage", Friend: u}
	p := &people{Any: []any{u, userV1{Name: "Alan Turing"}}, Users: map[string]*userV1{"ada": u}, Values: map[string]userV1{"x": {Name: "X Y", City: u.City}, "z": {Name: "Z A"}},
		By: map[userKey1]int{{"a"}: 1, {"bb"}: 2}, One: userV1{Name: "Kurt Goedel"}}
	set(t, ns, "p", p)
	v1 := save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, &db.Options{Types: db.Types(migrations...)}))(t)
	defer d.Close()
	ada := &userV3{Names: []string{"Ada", "Lovelace"}, Town: "London"}
	ada.Friend = &userV3{Names: []string{"Charles", "Babbage"}, Friend: ada}
	want := &peopleNow{Any: []any{ada, userV3{Names: []string{"Alan", "Turing"}}}, Users: map[string]*userV3{"ada": ada},
		Values: map[string]userV3{"x": {Names: []string{"X", "Y"}, Town: "London"}, "z": {Names: []string{"Z", "A"}}},
		By:     map[userKey2]int{{1}: 1, {2}: 2}, One: userV3{Names: []string{"Kurt", "Goedel"}}}
	check := func(got *peopleNow) {
		t.Helper()
		if !reflect.DeepEqual(got, want) {
			t.Errorf("loaded %+v", got)
		}
		if got.Any[0] != any(got.Users["ada"]) || got.Users["ada"].Friend.Friend != got.Users["ada"] {
			t.Error("one user became two")
		}
	}
	ns = namespace(t, d)
	check(must(db.Get[*peopleNow](ctx, ns, "p"))(t))
	v2 := save(t, ns)
	if v3 := save(t, ns); v2 == v1 || v3 != v2 {
		t.Errorf("versions %d, %d, %d", v1, v2, v3)
	}
	for _, v := range []db.Version{v1, v2} {
		s := must(d.At(ctx, v))(t)
		defer s.Close()
		check(must(db.Get[*peopleNow](ctx, s, "p"))(t))
	}
}

func TestMigrationsThatFailSayWhere(t *testing.T) {
	ctx := context.Background()
	path := filepath.Join(t.TempDir(), "m.pod")
	d := must(db.Open(ctx, path, &db.Options{Types: db.Types(db.Type[userV1]("app.User"), db.Type[cityV1]("app.City"))}))(t)
	ns := namespace(t, d)
	set(t, ns, "p", &userV1{Name: "Nobody"})
	u := &userV1{Name: "A B"}
	set(t, ns, "in", &struct {
		U *userV1
		S *string
	}{u, &u.Name})
	save(t, ns)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, &db.Options{Types: db.Types(migrations...)}))(t)
	ns = namespace(t, d)
	_, err := db.Get[*userV3](ctx, ns, "p")
	if !errors.Is(err, errNoName) || !strings.Contains(err.Error(), "app.User") || !strings.Contains(err.Error(), "userV2") {
		t.Errorf("got %v", err)
	}
	_, err = db.Get[*struct {
		U *userV3
		S *string
	}](ctx, ns, "in")
	if !errors.Is(err, db.ErrTypeMismatch) || !strings.Contains(err.Error(), "migration") {
		t.Errorf("got %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d = must(db.Open(ctx, path, &db.Options{Types: db.Types(db.Type[cityV1]("app.City"), db.Migrate("app.User", func(u *userWas) (userV3, error) { panic("oh") }))}))(t)
	defer d.Close()
	ns = namespace(t, d)
	if _, err = db.Get[*userV3](ctx, ns, "p"); !errors.Is(err, db.ErrTypeMismatch) || !strings.Contains(err.Error(), "oh") {
		t.Errorf("got %v", err)
	}
}

func TestConflictingMigrationsAreRefusedAtOpen(t *testing.T) {
	there := db.Migrate("a", func(u *userWas) (userV2, error) { return userV2{}, nil })
	for _, e := range [][]db.TypeEntry{
		{there, there},
		{there, db.Migrate("b", func(u *userV2) (userWas, error) { return userWas{}, nil })},
		{db.Type[userV3]("a"), there},
		{db.Migrate("a", func(u *userWas) (userWas, error) { return *u, nil })},
		{db.Migrate("*a", func(u *userWas) (userV2, error) { return userV2{}, nil })},
	} {
		d, err := db.OpenMemory(context.Background(), &db.Options{Types: db.Types(e...)})
		if !errors.Is(err, db.ErrInvalid) {
			t.Errorf("got %v", err)
		}
		if err == nil {
			_ = d.Close()
		}
	}
}
