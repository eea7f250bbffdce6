package values

import (
	"math"
	"math/bits"
)

// wide finds the figures of 32-bit integers and 64-bit types number by number,
// with exact sums like every other kernel. Its bins have six bits of
// significand.
type wide struct {
	typ                *Type
	count              []uint64
	sums               moments
	stats              Stats // the counts; the rest is left alone
	minValue, maxValue float64
	print              Fingerprint
	buf                [1024]float64
}

// wideShift leaves the bits of a float64 that choose its bin.
const wideShift = 46

func (k *wide) add(src []byte) {
	if k.count == nil {
		k.count = make([]uint64, 1<<(64-wideShift))
		k.minValue, k.maxValue = math.Inf(1), math.Inf(-1)
	}
	for len(src) > 0 {
		n := k.typ.Decode64(k.buf[:], src)
		part := src[:n*k.typ.BlockBytes]
		src = src[len(part):]
		exact := addIntegers(&k.sums, k.typ, part)
		k.print = k.print.Add(fingerprintWide(k.typ, part))
		k.stats.Count += uint64(n)
		if exact {
			k.integers(k.buf[:n])
			continue
		}
		for _, v := range k.buf[:n] {
			switch {
			case v != v:
				k.stats.NaN++
				continue
			case v > math.MaxFloat64:
				k.stats.PosInf++
				continue
			case v < -math.MaxFloat64:
				k.stats.NegInf++
				continue
			case v == 0:
				k.stats.Zeros++
			case math.Abs(v) < 0x1p-1022:
				k.stats.Denormals++
			}
			k.minValue, k.maxValue = min(k.minValue, v), max(k.maxValue, v)
			k.count[math.Float64bits(v)>>wideShift]++
			k.sums.addFloat(v, 1)
		}
	}
}

// integers takes in all but the sums of numbers that are finite.
func (k *wide) integers(numbers []float64) {
	least, greatest := k.minValue, k.maxValue
	for _, v := range numbers {
		if v < least {
			least = v
		}
		if v > greatest {
			greatest = v
		}
		if v == 0 {
			k.stats.Zeros++
		}
		k.count[math.Float64bits(v)>>wideShift]++
	}
	k.minValue, k.maxValue = least, greatest
}

// addIntegers adds the numbers, at most 2^30, of a 32-bit or 64-bit integer
// type, exactly and faster than as float64s; it reports false for other types.
func addIntegers(sums *moments, t *Type, src []byte) bool {
	switch {
	case t.kind != kindInt:
		return false
	case t.BlockBytes == 4:
		var sum int64
		var squares [3]uint64
		signed := t.Name == "I32"
		for ; len(src) >= 4; src = src[4:] {
			u := le.Uint32(src)
			v := int64(u)
			if signed {
				v = int64(int32(u))
			}
			sum += v
			var carry uint64
			squares[0], carry = bits.Add64(squares[0], uint64(v)*uint64(v), 0)
			squares[1] += carry
		}
		sums.addSum(0, sum < 0, 0, uint64(max(sum, -sum)))
		sums.addSquares(0, squares)
		return true
	case t.BlockBytes == 8:
		for ; len(src) >= 8; src = src[8:] {
			v := le.Uint64(src)
			negative := t.Name == "I64" && v>>63 != 0
			if negative {
				v = -v
			}
			sums.add(negative, v, 0, 1)
		}
		return true
	}
	return false
}

// fingerprintWide is of the bit patterns of 32-bit and 64-bit types.
func fingerprintWide(t *Type, src []byte) (f Fingerprint) {
	seed := seedOf(t)
	for ; len(src) >= t.BlockBytes; src = src[t.BlockBytes:] {
		code := uint64(le.Uint32(src))
		if t.BlockBytes == 8 {
			code = le.Uint64(src)
		}
		f = f.Add(codeHash(seed, code))
	}
	return f
}

func (k *wide) merge(other kernel) {
	o := other.(*wide)
	if o.count == nil {
		return
	}
	k.add(nil)
	for i, n := range o.count {
		k.count[i] += n
	}
	k.sums.merge(&o.sums)
	k.stats.Count += o.stats.Count
	k.stats.NaN += o.stats.NaN
	k.stats.PosInf += o.stats.PosInf
	k.stats.NegInf += o.stats.NegInf
	k.stats.Zeros += o.stats.Zeros
	k.stats.Denormals += o.stats.Denormals
	k.minValue, k.maxValue = min(k.minValue, o.minValue), max(k.maxValue, o.maxValue)
	k.print = k.print.Add(o.print)
}

func (k *wide) reset() { *k = wide{typ: k.typ} }

func (k *wide) tally(s *Stats) (*moments, distribution) {
	s.Count, s.NaN, s.PosInf, s.NegInf = k.stats.Count, k.stats.NaN, k.stats.PosInf, k.stats.NegInf
	s.Zeros, s.Denormals, s.Fingerprint = k.stats.Zeros, k.stats.Denormals, k.print
	if s.Finite() > 0 {
		s.Min, s.Max = k.minValue, k.maxValue
	}
	d := distribution{known: true, error: 0x1p-7}
	if k.typ.kind == kindInt {
		d.error = 0x1p-6
	}
	for i := range k.count {
		// Ascending: the negative bins backwards, then the others.
		half := len(k.count) / 2
		bin := i - half
		if bin < 0 {
			bin = len(k.count) - 1 - i
		}
		if k.count[bin] == 0 {
			continue
		}
		v := 0.0
		if bin&(half-1) != 0 {
			v = math.Float64frombits(uint64(bin)<<wideShift | 1<<(wideShift-1))
		}
		if k.typ.kind == kindInt {
			v = math.Trunc(v)
		}
		d.levels = append(d.levels, level{v, k.count[bin]})
	}
	return &k.sums, d
}
