package values

import (
	"math"
	"slices"
)

// small finds the figures of a few blocks by decoding and sorting them.
type small struct {
	typ *Type
	opt StatsOptions
	raw []byte
}

func (k *small) tally(s *Stats) (*moments, distribution) {
	sums := new(moments)
	dst := make([]float64, len(k.raw)/k.typ.BlockBytes*k.typ.numbers())
	k.typ.Decode64(dst, k.raw)
	s.Count, s.Fingerprint = uint64(len(dst)), k.fingerprint()
	var sorted []float64
	smallest := k.typ.float.smallestNormal()
	for _, v := range dst {
		switch {
		case v != v:
			s.NaN++
			continue
		case math.IsInf(v, 1):
			s.PosInf++
			continue
		case math.IsInf(v, -1):
			s.NegInf++
			continue
		case v == 0:
			s.Zeros++
		case k.typ.kind == kindFloat && math.Abs(v) < smallest:
			s.Denormals++
		}
		sorted = append(sorted, v)
	}
	if !addIntegers(sums, k.typ, k.raw) {
		for _, v := range sorted {
			sums.addFloat(v, 1)
		}
	}
	slices.Sort(sorted)
	if n := len(sorted); n > 0 {
		s.Min, s.Max = sorted[0], sorted[n-1]
	}
	d := distribution{known: !direct(k.typ, k.opt)}
	for _, v := range sorted {
		d.levels = append(d.levels, level{v, 1})
	}
	return sums, d
}

func (k *small) fingerprint() (f Fingerprint) {
	switch {
	case direct(k.typ, k.opt):
	case countable(k.typ):
		seed := seedOf(k.typ)
		eachCode(k.typ, k.raw, func(code uint16) { f = f.plus(codeHash(seed, uint64(code)), 1) })
	case k.typ.kind == kindBlock:
		dst := make([]float32, len(k.raw)/k.typ.BlockBytes*k.typ.numbers())
		k.typ.Decode(dst, k.raw)
		f = fingerprintFloats(k.typ, dst)
	case k.typ.Name == "F32" || k.typ.Name == "C64":
		dst := make([]float32, len(k.raw)/4)
		decodeF32(dst, k.raw)
		f = fingerprintFloats(k.typ, dst)
	default:
		f = fingerprintWide(k.typ, k.raw)
	}
	return f
}

// fingerprintFloats is what floatBins finds.
func fingerprintFloats(t *Type, src []float32) (f Fingerprint) {
	seed := seedOf(t)
	for _, v := range src {
		u := math.Float32bits(v)
		lo := uint64(u & 0xffff)
		f = f.Add(binHash(seed, int(u>>16), 1, lo, lo*lo))
	}
	return f
}
