package values

import (
	"fmt"
	"math/bits"
)

// A Fingerprint is a number of 128 bits that depends on the multiset of a
// tensor's bit patterns and on its type, not on their order: a tensor keeps its
// fingerprint when it is transposed, reshaped, or its heads are permuted. The
// fingerprint of a tensor is the sum of those of its parts, so that a fused
// tensor is told from those of what it was fused from. It proves nothing
// against somebody who wants two to collide.
type Fingerprint struct{ Hi, Lo uint64 }

// IsZero reports that there is none, or that it is of a tensor of no elements.
func (f Fingerprint) IsZero() bool { return f == Fingerprint{} }

// String is 32 hexadecimal digits.
func (f Fingerprint) String() string { return fmt.Sprintf("%016x%016x", f.Hi, f.Lo) }

// Add returns the fingerprint of two tensors put together.
func (f Fingerprint) Add(g Fingerprint) Fingerprint {
	lo, carry := bits.Add64(f.Lo, g.Lo, 0)
	hi, _ := bits.Add64(f.Hi, g.Hi, carry)
	return Fingerprint{hi, lo}
}

// plus adds n times g.
func (f Fingerprint) plus(g Fingerprint, n uint64) Fingerprint {
	hi, lo := bits.Mul64(g.Lo, n)
	return f.Add(Fingerprint{hi + g.Hi*n, lo})
}

// seedOf hashes a type's name by FNV-1a.
func seedOf(t *Type) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range []byte(t.Name) {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// codeHash spreads a code over 128 bits.
func codeHash(seed, code uint64) Fingerprint {
	lo := mix(seed + code*0x9e3779b97f4a7c15)
	return Fingerprint{mix(lo + 0xbf58476d1ce4e5b9), lo}
}

// mix is the finaliser of SplitMix64, a bijection.
func mix(z uint64) uint64 {
	z += 0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// binHash is the fingerprint of n float32 numbers with the same upper 16 bits,
// of whose lower halves it knows the sum and the sum of squares.
func binHash(seed uint64, bin int, n, lo, squares uint64) Fingerprint {
	b := uint64(bin) << 2
	return Fingerprint{}.plus(codeHash(seed, b), n).plus(codeHash(seed, b|1), lo).plus(codeHash(seed, b|2), squares)
}
