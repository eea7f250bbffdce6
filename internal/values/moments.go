package values

import (
	"math"
	"math/big"
	"math/bits"
)

// moments are the exact sum and sum of squares of finite numbers: integers for
// every power of two that a float64 can have as its lowest bit. Integer sums
// are associative, which is what makes figures independent of how a tensor was
// split among workers.
type moments struct {
	cells [2046]cell // cells[i] counts units of 2^(i-1074), squared 2^(2(i-1074))
}

// bias64 turns the exponent of a number's lowest bit into its cell.
const bias64 = 1074

// cell holds two's complement integers, lowest word first. With m a number's
// significand, |m| < 2^64, the sums hold for more than 2^60 numbers.
type cell struct {
	sum     [2]uint64
	squares [3]uint64
}

// add adds n times the number ±mag·2^exp.
func (m *moments) add(negative bool, mag uint64, exp int, n uint64) {
	hi, lo := bits.Mul64(mag, n)
	m.addSum(exp, negative, hi, lo)
	hi, lo = bits.Mul64(mag, mag)
	h1, l1 := bits.Mul64(lo, n)
	h2, l2 := bits.Mul64(hi, n)
	mid, carry := bits.Add64(h1, l2, 0)
	m.addSquares(exp, [3]uint64{l1, mid, h2 + carry})
}

// addSum adds the 128-bit number ±hi:lo in units of 2^exp to the sum.
func (m *moments) addSum(exp int, negative bool, hi, lo uint64) {
	c := &m.cells[exp+bias64].sum
	var carry uint64
	if negative {
		c[0], carry = bits.Sub64(c[0], lo, 0)
		c[1], _ = bits.Sub64(c[1], hi, carry)
		return
	}
	c[0], carry = bits.Add64(c[0], lo, 0)
	c[1], _ = bits.Add64(c[1], hi, carry)
}

// addSquares adds a two's complement number in units of 2^(2·exp) to the sum
// of squares.
func (m *moments) addSquares(exp int, s [3]uint64) {
	c := &m.cells[exp+bias64].squares
	var carry uint64
	c[0], carry = bits.Add64(c[0], s[0], 0)
	c[1], carry = bits.Add64(c[1], s[1], carry)
	c[2], _ = bits.Add64(c[2], s[2], carry)
}

// addFloat adds n times a finite number.
func (m *moments) addFloat(v float64, n uint64) {
	mag, exp := split(v)
	m.add(math.Signbit(v), mag, exp, n)
}

// addSums adds a sum and a sum of squares, both finite.
func (m *moments) addSums(sum, squares float64) {
	mag, exp := split(sum)
	m.addSum(exp, math.Signbit(sum), 0, mag)
	mag, exp = split(squares)
	mag <<= uint(exp & 1)
	m.addSquares(exp>>1, [3]uint64{mag})
}

// split returns the magnitude of a finite number as mag·2^exp.
func split(v float64) (mag uint64, exp int) {
	u := math.Float64bits(v)
	mag, exp = u&(1<<52-1), int(u>>52&0x7ff)
	if exp == 0 {
		return mag, -bias64
	}
	return mag | 1<<52, exp - 1 - bias64
}

func (m *moments) merge(o *moments) {
	for i := range o.cells {
		c := &o.cells[i]
		if *c == (cell{}) {
			continue
		}
		m.addSum(i-bias64, false, c.sum[1], c.sum[0])
		m.addSquares(i-bias64, c.squares)
	}
}

// figures returns mean, standard deviation (of the population) and Euclidean
// norm of the n numbers, each correct to the last bits of a float64.
func (m *moments) figures(n uint64) (mean, std, norm float64) {
	if n == 0 {
		return math.NaN(), math.NaN(), 0
	}
	base := 0
	for base < len(m.cells)-1 && m.cells[base] == (cell{}) {
		base++
	}
	var sum, squares, t big.Int
	for i := len(m.cells) - 1; i >= base; i-- {
		sum.Lsh(&sum, 1)
		squares.Lsh(&squares, 2)
		if m.cells[i] != (cell{}) {
			sum.Add(&sum, twosComplement(&t, m.cells[i].sum[:]))
			squares.Add(&squares, twosComplement(&t, m.cells[i].squares[:]))
		}
	}
	exp := base - bias64
	count := new(big.Int).SetUint64(n)
	mean = ratio(new(big.Float).SetInt(&sum), new(big.Float).SetInt(count), exp)
	norm, _ = root(&squares, 2*exp).Float64()
	// Variance · n² = n · Σx² - (Σx)².
	squares.Mul(&squares, count)
	squares.Sub(&squares, sum.Mul(&sum, &sum))
	if squares.Sign() < 0 {
		squares.SetInt64(0) // sums that were rounded, of equal numbers
	}
	std = ratio(root(&squares, 2*exp), new(big.Float).SetInt(count), 0)
	return mean, std, norm
}

// ratio returns num/den · 2^exp as the nearest float64.
func ratio(num, den *big.Float, exp int) float64 {
	q := new(big.Float).SetPrec(rootPrecision).Quo(num, den)
	v, _ := q.SetMantExp(q, exp).Float64()
	return v
}

// root returns √(v · 2^exp).
func root(v *big.Int, exp int) *big.Float {
	f := new(big.Float).SetPrec(rootPrecision).SetInt(v)
	return f.Sqrt(f.SetMantExp(f, exp))
}

// rootPrecision leaves roots and quotients of exact integers with far more bits
// than a float64 has.
const rootPrecision = 128

// twosComplement sets z to the signed number in words, lowest first.
func twosComplement(z *big.Int, words []uint64) *big.Int {
	var w big.Int
	z.SetUint64(0)
	for i := len(words) - 1; i >= 0; i-- {
		z.Lsh(z, 64)
		z.Or(z, w.SetUint64(words[i]))
	}
	if words[len(words)-1]>>63 != 0 {
		w.SetUint64(1)
		z.Sub(z, w.Lsh(&w, uint(64*len(words))))
	}
	return z
}

// product returns a·b as a two's complement number.
func product(a, b uint64) [3]uint64 {
	hi, lo := bits.Mul64(a, b)
	return [3]uint64{lo, hi}
}

func sum3(a, b, c [3]uint64) [3]uint64 {
	for _, x := range [][3]uint64{b, c} {
		var carry uint64
		a[0], carry = bits.Add64(a[0], x[0], 0)
		a[1], carry = bits.Add64(a[1], x[1], carry)
		a[2], _ = bits.Add64(a[2], x[2], carry)
	}
	return a
}
