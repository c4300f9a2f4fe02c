package podder

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/poddb/poddb/internal/dberr"
)

// A tag that cannot be meant as it stands is refused, at registration, at save and at
// load: read otherwise, what is stored would be lost in silence.
func TestTagsThatMeanNothingAreRefused(t *testing.T) {
	type unknown struct {
		New int `pod:",unknownopt"`
	}
	type colon struct {
		New int `pod:"x,was:old"`
	}
	type typo struct {
		List []*int `pod:",fulcap"`
	}
	type empty struct {
		New int `pod:"x,"`
	}
	type nameless struct {
		New int `pod:"x,was="`
	}
	type spaced struct {
		New int `pod:" x,was=y"`
	}
	type full struct {
		New [2]int `pod:",fullcap"`
	}
	type twice struct {
		A int `pod:",was=Z"`
		B int `pod:",was=Z"`
	}
	type same struct {
		A int `pod:"c"`
		B int `pod:"c"`
	}
	type skipped struct {
		A int `pod:"-,omitempty"`
	}
	for _, c := range []struct {
		value any
		says  []string
	}{
		{unknown{}, []string{"podder.unknown", "field New", `"unknownopt"`, "was=OldName and fullcap"}},
		{colon{}, []string{"podder.colon", "field New", `"was:old"`, "was=OldName and fullcap"}},
		{typo{}, []string{"podder.typo", "field List", `"fulcap"`, "was=OldName and fullcap"}},
		{empty{}, []string{"podder.empty", "field New", `option ""`}},
		{nameless{}, []string{"podder.nameless", "field New", `option "was="`}},
		{spaced{}, []string{"podder.spaced", "field New", `write "x"`}},
		{full{}, []string{"podder.full", "field New", "for slices"}},
		{twice{}, []string{"podder.twice", "field B", "was=Z", "field A"}},
		{same{}, []string{"podder.same", `stored as "c"`}},
		{skipped{}, []string{"podder.skipped", "field A", `"omitempty"`}},
	} {
		typ := reflect.TypeOf(c.value)
		_, save := describe(NewRegistry(), typ)
		n, err := parseDescriptor([]byte{descriptorVersion, byte(nodeStruct), 8, 's', 't', 'r', 'u', 'c', 't', '{', '}', 0})
		if err != nil {
			t.Fatal(err)
		}
		_, load := (&compiler{reg: NewRegistry()}).compile(n, typ, "v")
		for when, err := range map[string]error{
			"register": NewRegistry().Register(typ, "T"), "save": save, "load": load,
		} {
			if !errors.Is(err, dberr.ErrInvalid) {
				t.Errorf("%s of %v: %v", when, typ, err)
				continue
			}
			for _, says := range c.says {
				if !strings.Contains(err.Error(), says) {
					t.Errorf("%s of %v does not say %s: %v", when, typ, says, err)
				}
			}
		}
	}
}

// Spaces around options mean nothing.
func TestSpacesBesideOptionsOfATag(t *testing.T) {
	type spaced struct {
		New  int    `pod:"New, was=Old , was= Older"`
		List []*int `pod:", fullcap"`
	}
	typ := reflect.TypeFor[spaced]()
	if got := formerNames(typ.Field(0)); !reflect.DeepEqual(got, []string{"Old", "Older"}) {
		t.Errorf("was %q", got)
	}
	if !fullCapacity(typ.Field(1)) {
		t.Error("fullcap with a space is not read")
	}
	if err := checkTags(typ); err != nil {
		t.Error(err)
	}
}
