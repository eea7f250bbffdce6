package pytorch

import "math/bits"

// product returns the product of numbers, false when it passes 63 bits. A zero makes it 0,
// whatever the rest.
func product(factors ...uint64) (uint64, bool) {
	n := uint64(1)
	ok := true
	for _, f := range factors {
		if f == 0 {
			return 0, true
		}
		hi, lo := bits.Mul64(n, f)
		ok = ok && hi == 0 && lo < 1<<63
		n = lo
	}
	return n, ok
}

// packed returns the bytes that n elements of some bits take, the last byte filled up.
func packed(n, bits uint64) (uint64, bool) {
	if bits%8 == 0 {
		return product(n, bits/8)
	}
	total, ok := product(n, bits)
	return total/8 + min(total%8, 1), ok
}
