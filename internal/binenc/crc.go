package binenc

import "hash/crc32"

// CombineCRC returns the CRC-32C of two byte strings one after the other, given
// the CRC of each and the length of the second, in O(log n) steps.
//
// A CRC is a polynomial remainder over GF(2): appending n bytes multiplies the
// first one's by x^(8n). The multiplication by squares is that of Mark Adler's
// crc32_combine in zlib.
func CombineCRC(first, second uint32, n uint64) uint32 {
	power := uint32(1 << 31)  // x^0; bit 31 is the lowest power
	square := uint32(1 << 23) // x^8
	for ; n > 0; n >>= 1 {
		if n&1 != 0 {
			power = multiplyCRC(square, power)
		}
		square = multiplyCRC(square, square)
	}
	return multiplyCRC(power, first) ^ second
}

// multiplyCRC multiplies two polynomials modulo that of CRC-32C.
func multiplyCRC(a, b uint32) uint32 {
	var product uint32
	for bit := uint32(1 << 31); bit != 0; bit >>= 1 {
		if a&bit != 0 {
			product ^= b
		}
		odd := b & 1
		b >>= 1
		if odd != 0 {
			b ^= crc32.Castagnoli
		}
	}
	return product
}
