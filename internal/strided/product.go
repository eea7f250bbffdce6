package strided

import "math/bits"

// Product returns the product of numbers, false when it passes 63 bits. A zero makes it 0,
// whatever the rest.
func Product(factors ...uint64) (uint64, bool) {
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
