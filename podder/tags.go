package podder

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/poddb/poddb/internal/dberr"
)

// A tag is `pod:"name,option,option"`. The name may be empty: the field's own. "-" stores
// nothing of the field. Spaces around options mean nothing.

// tagOptions lists the options of a field's tag.
func tagOptions(f reflect.StructField) []string {
	_, rest, more := strings.Cut(f.Tag.Get("pod"), ",")
	if !more {
		return nil
	}
	options := strings.Split(rest, ",")
	for i, o := range options {
		options[i] = strings.TrimSpace(o)
	}
	return options
}

// formerName returns the name that the option was= gives.
func formerName(option string) (name string, ok bool) {
	name, ok = strings.CutPrefix(option, "was=")
	return strings.TrimSpace(name), ok
}

// checkTags refuses the fields of struct type t of which a tag cannot be meant as it
// stands, since a field read by another tag than its author meant loses what is
// stored: ErrInvalid.
func checkTags(t reflect.Type) error {
	names, former := map[string]bool{}, map[string]string{}
	refuse := func(f reflect.StructField, format string, args ...any) error {
		return fmt.Errorf("type %v, field %s: its tag `pod:%q` %s: %w", t, f.Name, f.Tag.Get("pod"), fmt.Sprintf(format, args...), dberr.ErrInvalid)
	}
	if isSync(t) {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		if name := storedName(f); name != strings.TrimSpace(name) {
			return refuse(f, "has a space beside the name; write %q", strings.TrimSpace(name))
		}
		for _, o := range tagOptions(f) {
			old, was := formerName(o)
			switch {
			case o == "fullcap" && f.Type.Kind() != reflect.Slice:
				return refuse(f, "has the option fullcap, which is for slices, not for a %v", f.Type)
			case o == "fullcap":
			case !was || old == "":
				return refuse(f, "has the option %q, which there is none of; there are was=OldName and fullcap, after a comma each", o)
			case skipField(f):
			case former[old] != "":
				return refuse(f, "says was=%s, as does that of field %s; what is stored as %s can go to one of them only", old, former[old], old)
			default:
				former[old] = f.Name
			}
		}
		if skipField(f) {
			continue
		}
		if name := storedName(f); names[name] {
			return fmt.Errorf("type %v: two fields are stored as %q; give one another name with its tag `pod:\"name\"`: %w", t, name, dberr.ErrInvalid)
		} else {
			names[name] = true
		}
	}
	return nil
}
