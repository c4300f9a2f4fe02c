package podder

import (
	"errors"
	"reflect"
	"regexp"
	"regexp/syntax"
	"strings"
)

// A regular expression is stored as its text and how it was compiled:
//
//	byte kind, text
//
// Kind 0 is Compile, 1 Compile and Longest, 2 CompilePOSIX, 3 a zero Regexp.
// Two private fields tell the kind: what is not there any more in some later
// release is an error, never a guess.
const (
	regexpPerl = iota
	regexpLongest
	regexpPOSIX
	regexpZero
)

func regexpCodec(*Registry) valueCodec {
	return typedCodec[regexp.Regexp]{"regexp.Regexp", 1, appendRegexp, getRegexp, false}.costing(compiledSize)
}

func appendRegexp(dst []byte, re *regexp.Regexp) ([]byte, error) {
	v := reflect.ValueOf(re).Elem()
	longest, program := v.FieldByName("longest"), v.FieldByName("prog")
	if !longest.IsValid() || longest.Kind() != reflect.Bool || !program.IsValid() || program.Type() != reflect.TypeFor[*syntax.Prog]() {
		return dst, errors.New("this release of Go has other private fields in regexp.Regexp than longest and prog")
	}
	kind := byte(regexpPerl)
	switch {
	case program.IsNil():
		kind = regexpZero
	case longest.Bool() && sameProgram((*syntax.Prog)(program.UnsafePointer()), re.String(), syntax.Perl):
		kind = regexpLongest
	case longest.Bool():
		kind = regexpPOSIX
	}
	return append(append(dst, kind), re.String()...), nil
}

// sameProgram reports whether text compiles to program.
func sameProgram(program *syntax.Prog, text string, flags syntax.Flags) bool {
	re, err := syntax.Parse(text, flags)
	if err != nil {
		return false
	}
	p, err := syntax.Compile(re.Simplify())
	return err == nil && p.String() == program.String()
}

func getRegexp(b []byte, v *regexp.Regexp) error {
	if len(b) == 0 || b[0] > regexpZero || b[0] == regexpZero && len(b) > 1 {
		return errors.New("damaged kind")
	}
	if b[0] == regexpZero {
		return nil
	}
	compile := regexp.Compile
	if b[0] == regexpPOSIX {
		compile = regexp.CompilePOSIX
	}
	re, err := compile(string(b[1:]))
	if err != nil {
		return err
	}
	if b[0] == regexpLongest {
		re.Longest()
	}
	*v = *re
	return nil
}

// compiledSize estimates the memory of a stored expression, which may be out of
// proportion to its text: x{1000} is a thousand instructions, \pL hundreds of
// ranges.
func compiledSize(b []byte) uint64 {
	const each = 128 // bytes of one instruction, with what matching keeps of it
	if len(b) == 0 {
		return 0
	}
	text := string(b[1:])
	if !strings.Contains(text, "{") && !strings.Contains(text, `\p`) && !strings.Contains(text, `\P`) {
		return each * uint64(len(b))
	}
	flags := syntax.Perl
	if b[0] == regexpPOSIX {
		flags = syntax.POSIX
	}
	re, err := syntax.Parse(text, flags)
	if err != nil {
		return 0 // decode says why
	}
	insts, runes := programSize(re)
	return each*insts + 4*runes
}

// programSize counts the instructions of a parsed expression, and the runes that
// they are compared with. The parser has bounded both.
func programSize(re *syntax.Regexp) (insts, runes uint64) {
	insts, runes = 1, uint64(len(re.Rune))
	if re.Op == syntax.OpLiteral {
		insts = max(insts, runes)
	}
	for _, sub := range re.Sub {
		i, r := programSize(sub)
		insts, runes = insts+i, runes+r
	}
	if re.Op == syntax.OpRepeat {
		insts *= uint64(max(re.Min, re.Max) + 1)
	}
	return insts, runes
}
