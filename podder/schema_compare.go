package podder

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// How a stored type, or a field of one, becomes one of the program.
const (
	ChangeSame       = "same"
	ChangeAdded      = "added"      // the program has it, nothing is stored: zero
	ChangeRemoved    = "removed"    // stored, and not loaded
	ChangeRenamed    = "renamed"    // by tag or alias
	ChangeConverted  = "converted"  // every value fits
	ChangeChecked    = "checked"    // value by value; some may not fit
	ChangeMigrated   = "migrated"   // by a function of the program
	ChangeImpossible = "impossible" // ErrTypeMismatch at load
	ChangeUnknown    = "unknown"    // no type of that name: kept in interfaces, else ErrUnregistered
)

// TypeChange says what becomes of one stored layout.
type TypeChange struct {
	ID     uint32        `json:"id,omitempty"`
	Stored string        `json:"stored,omitempty"`
	Now    string        `json:"now,omitempty"`
	Change string        `json:"change"`
	Why    string        `json:"why,omitempty"`
	Fields []FieldChange `json:"fields,omitempty"` // those that are not the same
	Rename *Rename       `json:"rename,omitempty"` // of an unknown type
}

// FieldChange says what becomes of one field.
type FieldChange struct {
	Stored string  `json:"stored,omitempty"`
	Now    string  `json:"now,omitempty"`
	Change string  `json:"change"`
	Why    string  `json:"why,omitempty"`
	Rename *Rename `json:"rename,omitempty"` // of a removed field
}

// Rename is a guess: what has gone looks like something that is new.
type Rename struct {
	To    string  `json:"to"`
	Score float64 `json:"score"` // 0 to 1
	Do    string  `json:"do"`    // what makes it so
}

// CompareTypes says for every stored layout of a named type what a program that
// has the types of program makes of it, then which types are new in it.
func CompareTypes(stored, program []StoredType) []TypeChange {
	byName := programNames{}
	for i := range program {
		t := &program[i]
		for _, n := range append(append([]string{t.Name}, t.Aliases...), t.Migrates...) {
			if byName[n] == nil || n == t.Name {
				byName[n] = t
			}
		}
	}
	names := map[string]bool{}
	for i := range stored {
		names[stored[i].Name] = true
	}
	// Fields may have types that were renamed, so guesses about types come first.
	probably := programNames{}
	maps.Copy(probably, byName)
	unknown := map[int]TypeChange{}
	for i := range stored {
		s := &stored[i]
		if !reported(s) || byName[s.Name] != nil {
			continue
		}
		c := unknownType(s, program, names)
		if unknown[i] = c; c.Rename != nil {
			probably[s.Name] = byName[c.Rename.To]
		}
	}
	var list []TypeChange
	for i := range stored {
		s := &stored[i]
		if c, ok := unknown[i]; ok {
			list = append(list, c)
		} else if reported(s) {
			now := byName[s.Name]
			names[now.Name] = true
			list = append(list, byName.compareType(s, now, probably))
		}
	}
	for i := range program {
		if t := &program[i]; namedText(t.Name) && !names[t.Name] {
			list = append(list, TypeChange{Now: t.Name, Change: ChangeAdded})
		}
	}
	return list
}

// reported says whether a stored layout is one of a type with a name.
func reported(s *StoredType) bool { return namedText(s.Name) && !s.Entries && s.Value == "" }

// programNames has the types of a program by all names under which they may be
// stored.
type programNames map[string]*StoredType

// same reports whether a stored type text stands for the program's text: part
// by part, with its aliases.
func (p programNames) same(stored, now string) bool {
	if stored == now {
		return true
	}
	if t := p[stored]; t != nil {
		return t.Name == now
	}
	for _, prefix := range []string{"*", "[]"} {
		if a, ok := strings.CutPrefix(stored, prefix); ok {
			b, ok := strings.CutPrefix(now, prefix)
			return ok && p.same(a, b)
		}
	}
	if k, v, ok := splitMapText(stored); ok {
		nk, nv, ok := splitMapText(now)
		return ok && p.same(k, nk) && p.same(v, nv)
	}
	return false
}

// namedText reports whether a type text is a name of a program's type.
func namedText(s string) bool {
	_, predeclared := predeclaredByText(s)
	return !predeclared && checkName(s) == nil
}

func (p programNames) compareType(s, now *StoredType, probably programNames) TypeChange {
	c := TypeChange{ID: s.ID, Stored: s.Name, Now: now.Name, Change: ChangeSame}
	if s.Name != now.Name {
		c.Change = ChangeRenamed
	}
	if s.Module != "" && now.Module != "" && s.Module != now.Module {
		c.Change, c.Why = ChangeImpossible, "stored as of "+s.Module+", the program has "+now.Module
	} else if s.Kind == "struct" && now.Kind == "struct" {
		c.Fields = p.compareFields(s, now, probably)
	} else if how, why := p.compareKinds(s, now); how != ChangeSame {
		c.Change, c.Why = how, why
	}
	for _, f := range c.Fields {
		c.Change = worse(c.Change, f.Change)
	}
	if slices.Contains(now.Migrates, s.Name) && (c.Change != ChangeSame || s.Name != now.Name) {
		return TypeChange{ID: s.ID, Stored: s.Name, Now: now.Name, Change: ChangeMigrated}
	}
	if c.Change == ChangeImpossible && c.Why == "" {
		c.Why = fmt.Sprintf("a load fails, unless db.Migrate(%q, …) makes new values of old ones", s.Name)
	}
	return c
}

func worse(a, b string) string {
	order := []string{ChangeSame, ChangeRenamed, ChangeAdded, ChangeRemoved, ChangeConverted, ChangeChecked, ChangeImpossible}
	return order[max(slices.Index(order, a), slices.Index(order, b))]
}

// compareFields pairs fields as a load does: by name, then by former names.
func (p programNames) compareFields(s, now *StoredType, probably programNames) []FieldChange {
	var list []FieldChange
	pairs := map[string]*StoredField{} // by stored name
	done := map[string]bool{}
	take := func(f *StoredField, old string) {
		stored := slices.ContainsFunc(s.Fields, func(x StoredField) bool { return x.Name == old })
		if stored && pairs[old] == nil && !done[f.Name] {
			pairs[old], done[f.Name] = f, true
		}
	}
	for i := range now.Fields {
		take(&now.Fields[i], now.Fields[i].Name)
	}
	for i := range now.Fields {
		for _, old := range now.Fields[i].Was {
			take(&now.Fields[i], old)
		}
	}
	lone := func(f *StoredField) bool {
		return !slices.ContainsFunc(s.Fields, func(x StoredField) bool { return x.Name != f.Name && x.Type == f.Type && pairs[x.Name] == nil })
	}
	for i := range s.Fields {
		f := &s.Fields[i]
		to := pairs[f.Name]
		if to == nil {
			list = append(list, FieldChange{Stored: f.Name, Change: ChangeRemoved, Why: f.Type, Rename: probably.fieldRename(f, now, done, lone(f))})
			continue
		}
		how, why := p.convertText(f.Type, f.Kind, to.Type, to.Kind)
		if how == ChangeSame && f.Name != to.Name {
			how = ChangeRenamed
		}
		if how != ChangeSame {
			list = append(list, FieldChange{Stored: f.Name, Now: to.Name, Change: how, Why: why})
		}
	}
	for i := range now.Fields {
		if f := &now.Fields[i]; !done[f.Name] {
			list = append(list, FieldChange{Now: f.Name, Change: ChangeAdded, Why: f.Type})
		}
	}
	return list
}

// compareKinds compares two types of one name that are not both structs.
func (p programNames) compareKinds(s, now *StoredType) (change, why string) {
	if s.Kind == now.Kind && s.Kind != "struct" && (!p.same(s.Elem, now.Elem) || !p.same(s.Key, now.Key) || s.Len != now.Len || s.Codec != now.Codec) {
		why = "stored as " + shapeText(s) + ", the program has " + shapeText(now)
		if s.Kind == "codec" {
			if olderCodec(s.Codec, now.Codec) {
				return ChangeConverted, why
			}
			return ChangeImpossible, why
		}
		return ChangeChecked, why
	}
	if s.Kind == now.Kind {
		return ChangeSame, ""
	}
	return p.convertText(s.Kind, s.Kind, now.Kind, now.Kind)
}

// olderCodec reports whether from, a codec with its version, is an older version
// of to.
func olderCodec(from, to string) bool {
	i, j := strings.LastIndexByte(from, ' '), strings.LastIndexByte(to, ' ')
	if i < 0 || j < 0 || from[:i] != to[:j] {
		return false
	}
	a, aerr := strconv.ParseUint(from[i+1:], 10, 64)
	b, berr := strconv.ParseUint(to[j+1:], 10, 64)
	return aerr == nil && berr == nil && a < b
}

func shapeText(t *StoredType) string {
	switch t.Kind {
	case "codec":
		return t.Codec
	case "map":
		return "map[" + t.Key + "]" + t.Elem
	case "array", "slice":
		return t.Kind + " of " + t.Elem
	}
	return t.Kind
}

// convertText says how a value of one type text and kind becomes one of another,
// as far as texts tell.
func (p programNames) convertText(from, fromKind, to, toKind string) (change, why string) {
	if fromKind == toKind && p.same(from, to) {
		return ChangeSame, ""
	}
	why = from + " to " + to
	if from == to {
		why = fromKind + " to " + toKind
	}
	a, aok := predeclaredByText(fromKind)
	b, bok := predeclaredByText(toKind)
	switch {
	case fromKind == "func or chan" && toKind != fromKind:
		return ChangeConverted, why
	case aok && bok:
		return convertBasic(basicID(a.Kind()), basicID(b.Kind())), why
	case fromKind == "interface" && toKind == "interface":
		return ChangeChecked, why
	case toKind == "interface", fromKind == "interface":
		return ChangeChecked, why
	case toKind == "ptr" && fromKind != "ptr" && strings.HasPrefix(to, "weak.Pointer["):
		return ChangeImpossible, why
	case fromKind != toKind && (strings.HasPrefix(to, "sync/atomic.Pointer[") || strings.HasPrefix(from, "sync/atomic.Pointer[")):
		return ChangeChecked, why // registered names are not in these texts
	case toKind == "ptr" && fromKind != "ptr":
		return atLeastConverted(p.convertText(from, fromKind, pointeeText(to), fromKind)), why
	case fromKind == "ptr" && toKind != "ptr":
		return atLeastConverted(p.convertText(pointeeText(from), toKind, to, toKind)), why
	case fromKind != toKind:
		return ChangeImpossible, why
	case fromKind == "struct":
		if strings.HasPrefix(from, "struct{") || strings.HasPrefix(to, "struct{") {
			return ChangeChecked, why
		}
		return ChangeUnknown, why + ": an alias or a migration is needed unless the program registers one"
	case olderCodec(fromKind, toKind):
		return ChangeConverted, why
	case strings.HasPrefix(fromKind, "codec"):
		return ChangeImpossible, why
	}
	return ChangeChecked, why
}

// pointeeText returns the text of the type to which a pointer or Ref leads.
func pointeeText(text string) string { return strings.TrimPrefix(pointerText(text), "*") }

func atLeastConverted(change, _ string) string {
	if change == ChangeSame {
		return ChangeConverted
	}
	return change
}
