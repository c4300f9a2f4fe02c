package podder

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/poddb/poddb/internal/pod"
)

// convertBasic says how numbers of one kind become those of another.
func convertBasic(from, to pod.TypeID) string {
	switch {
	case from == to:
		return ChangeSame
	case !convertible(from, basicKind(to)):
		return ChangeImpossible
	}
	// Bits of magnitude that each holds exactly, and whether it has a sign.
	bits := func(id pod.TypeID) (n int, signed, float bool) {
		switch id {
		case typeInt8:
			return 7, true, false
		case typeInt16:
			return 15, true, false
		case typeInt32:
			return 31, true, false
		case typeInt, typeInt64:
			return 63, true, false
		case typeUint8:
			return 8, false, false
		case typeUint16:
			return 16, false, false
		case typeUint32:
			return 32, false, false
		case typeUint, typeUint64, typeUintptr:
			return 64, false, false
		case typeFloat32, typeComplex64:
			return 24, true, true
		}
		return 53, true, true
	}
	a, aSigned, aFloat := bits(from)
	b, bSigned, bFloat := bits(to)
	if a <= b && (bSigned || !aSigned) && (bFloat || !aFloat) {
		return ChangeConverted
	}
	return ChangeChecked
}

// leastScore is the score from which a rename is worth telling.
const leastScore = 0.6

// unknownType describes a stored type that the program lacks, with the new type
// of the program that looks most like it.
func unknownType(s *StoredType, program []StoredType, stored map[string]bool) TypeChange {
	c := TypeChange{ID: s.ID, Stored: s.Name, Change: ChangeUnknown,
		Why: "the program has no type of that name: kept as it is behind interfaces, an error where the program asks for it"}
	for i := range program {
		t := &program[i]
		if !namedText(t.Name) || stored[t.Name] || t.Kind != s.Kind {
			continue
		}
		score := 0.3*alike(lastPart(s.Name), lastPart(t.Name)) + 0.7*alikeFields(s, t)
		if score >= leastScore && (c.Rename == nil || score > c.Rename.Score) {
			c.Rename = &Rename{To: t.Name, Score: round(score), Do: fmt.Sprintf("db.Alias(%q) on the entry of %s in Options.Types", s.Name, t.Name)}
		}
	}
	return c
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

// alikeFields is the share of fields that two types have in common, those with
// another type for half.
func alikeFields(a, b *StoredType) float64 {
	if a.Kind != "struct" {
		if a.Elem == b.Elem && a.Key == b.Key && a.Len == b.Len {
			return 1
		}
		return 0
	}
	if len(a.Fields)+len(b.Fields) == 0 {
		return 0.5
	}
	both := 0.0
	for _, f := range a.Fields {
		most := 0.0
		for _, g := range b.Fields {
			switch name := alike(f.Name, g.Name); {
			case f.Name == g.Name && f.Type == g.Type:
				most = 1
			case f.Name == g.Name:
				most = max(most, 0.5)
			case f.Type == g.Type && name > 0.7:
				most = max(most, 0.8*name)
			}
		}
		both += most
	}
	return both / max(1, float64(len(a.Fields)+len(b.Fields))-both)
}

// fieldRename finds the added field that a removed one most likely became. Types
// that probably were renamed count as the same. lone says that no other field of
// that type was removed: of types that no other field has, names say less.
func (p programNames) fieldRename(f *StoredField, now *StoredType, done map[string]bool, lone bool) *Rename {
	var found []Rename
	ofType := 0
	for i := range now.Fields {
		if g := &now.Fields[i]; !done[g.Name] && g.Kind == f.Kind && p.same(f.Type, g.Type) {
			ofType++
		}
	}
	for i := range now.Fields {
		g := &now.Fields[i]
		if done[g.Name] {
			continue
		}
		how, _ := p.convertText(f.Type, f.Kind, g.Type, g.Kind)
		score := 0.6 * alike(f.Name, g.Name)
		switch how {
		case ChangeSame:
			if score += 0.4; lone && ofType == 1 && namedText(elemText(f.Type)) {
				score = min(1, score+0.2)
			}
		case ChangeConverted:
			score += 0.3
		case ChangeChecked:
			score += 0.2
		default:
			continue
		}
		if score >= leastScore {
			found = append(found, Rename{To: g.Name, Score: round(score), Do: fmt.Sprintf("`pod:%q`", g.Name+",was="+f.Name)})
		}
	}
	if len(found) == 0 {
		return nil
	}
	best := slices.MaxFunc(found, func(a, b Rename) int { return cmp.Compare(a.Score, b.Score) })
	return &best
}

// elemText is the type to which pointers and slices lead.
func elemText(text string) string {
	for {
		rest, ok := strings.CutPrefix(strings.TrimPrefix(text, "*"), "[]")
		if rest == text && !ok {
			return text
		}
		text = rest
	}
}

func lastPart(name string) string { return name[strings.LastIndexAny(name, "./")+1:] }

// alike is 1 for equal names, whatever their case, and falls with the letters
// that must be changed to make one of the other (Levenshtein 1966).
func alike(a, b string) float64 {
	const most = 64
	x, y := []rune(strings.ToLower(a)), []rune(strings.ToLower(b))
	if len(x) > most || len(y) > most {
		x, y = x[:min(len(x), most)], y[:min(len(y), most)]
	}
	if len(x)+len(y) == 0 {
		return 1
	}
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		diagonal := row[0]
		row[0] = i + 1
		for j, s := range y {
			cost := diagonal
			if r != s {
				cost = min(diagonal, row[j], row[j+1]) + 1
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return 1 - float64(row[len(y)])/float64(max(len(x), len(y)))
}
