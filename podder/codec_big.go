package podder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/big"
)

// Numbers of math/big are stored as what they are worth, not as their words,
// whose size differs between machines: the capacity of their memory is not kept,
// nor what Bits shares with them.

var errBig = errors.New("damaged number")

// bigInt: nothing for 0, else byte sign (0 or 1) and the big-endian magnitude.
func bigInt(*Registry) valueCodec {
	return typedCodec[big.Int]{"big.Int", 1, func(dst []byte, v *big.Int) ([]byte, error) {
		return appendInt(dst, v), nil
	}, getInt, true}
}

func appendInt(dst []byte, v *big.Int) []byte {
	switch v.Sign() {
	case 0:
		return dst
	case 1:
		dst = append(dst, 0)
	default:
		dst = append(dst, 1)
	}
	return append(dst, v.Bytes()...)
}

func getInt(b []byte, v *big.Int) error {
	if len(b) == 0 {
		return nil
	}
	if b[0] > 1 || len(b) == 1 || b[1] == 0 {
		return errBig
	}
	if v.SetBytes(b[1:]); b[0] == 1 {
		v.Neg(v)
	}
	return nil
}

// bigRat: uv length of the numerator, numerator, denominator, both as a big.Int.
func bigRat(*Registry) valueCodec {
	return typedCodec[big.Rat]{"big.Rat", 1, func(dst []byte, v *big.Rat) ([]byte, error) {
		num := appendInt(nil, v.Num())
		dst = append(binary.AppendUvarint(dst, uint64(len(num))), num...)
		return appendInt(dst, v.Denom()), nil
	}, getRat, true}
}

func getRat(b []byte, v *big.Rat) error {
	c := cursor{buf: b}
	num := c.bytes(c.uvarint())
	var x, y big.Int
	if c.bad || getInt(num, &x) != nil || getInt(b[c.off:], &y) != nil || y.Sign() <= 0 {
		return errBig
	}
	if v.SetFrac(&x, &y); v.Num().Cmp(&x) != 0 || v.Denom().Cmp(&y) != 0 {
		return errBig // not in lowest terms
	}
	return nil
}

// bigFloat: the form of encoding/gob, with precision, rounding mode and accuracy.
func bigFloat(*Registry) valueCodec {
	return typedCodec[big.Float]{"big.Float", 1, func(dst []byte, v *big.Float) ([]byte, error) {
		b, err := v.GobEncode()
		return append(dst, b...), err
	}, getFloat, true}
}

func getFloat(b []byte, v *big.Float) error {
	if err := v.GobDecode(b); err != nil {
		return err
	}
	if len(b) < 2 || b[1]>>1&3 > 2 || v.Mode() > big.ToPositiveInf || v.Acc() > big.Above {
		return errBig
	}
	if again, err := v.GobEncode(); err != nil || !bytes.Equal(again, b) {
		return errBig
	}
	return nil
}
