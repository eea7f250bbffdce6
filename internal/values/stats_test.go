package values

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// brute finds every figure the slow way: all numbers decoded, sorted, and added
// up with bits enough to be exact.
func brute(t *Type, src []byte) Stats {
	s := Stats{Min: math.NaN(), Max: math.NaN(), Mean: math.NaN(), Std: math.NaN()}
	for i := range s.Quantiles {
		s.Quantiles[i] = math.NaN()
	}
	numbers := make([]float64, len(src)/t.BlockBytes*t.numbers())
	t.Decode64(numbers, src)
	precision := uint(700)
	if t.Name == "F64" {
		precision = 4400
	}
	float := func(v float64) *big.Float { return new(big.Float).SetPrec(precision).SetFloat64(v) }
	sum, squares := float(0), float(0)
	var finite []float64
	distinct := map[float64]bool{}
	subnormal := map[string]float64{
		"F32": 0x1p-126, "C64": 0x1p-126, "BF16": 0x1p-126, "F16": 0x1p-14, "F64": 0x1p-1022,
		"F8_E4M3": 0x1p-6, "F8_E5M2": 0x1p-14, "F8_E4M3FNUZ": 0x1p-7, "F8_E5M2FNUZ": 0x1p-15,
		"F4": 1, "F6_E2M3": 1, "F6_E3M2": 0x1p-2,
	}[t.Name]
	for _, v := range numbers {
		s.Count++
		switch {
		case math.IsNaN(v):
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
		case math.Abs(v) < subnormal:
			s.Denormals++
		}
		finite = append(finite, v)
		distinct[v] = true
		sum.Add(sum, float(v))
		squares.Add(squares, float(0).Mul(float(v), float(v)))
	}
	n := len(finite)
	s.Distinct = int64(len(distinct))
	if n == 0 {
		return s
	}
	slices.Sort(finite)
	s.Min, s.Max = finite[0], finite[n-1]
	s.AbsMax = max(math.Abs(s.Min), math.Abs(s.Max))
	mean := float(0).Quo(sum, float(float64(n)))
	s.Mean, _ = mean.Float64()
	variance := float(0).Quo(squares, float(float64(n)))
	variance.Sub(variance, float(0).Mul(mean, mean))
	if variance.Sign() < 0 {
		variance = float(0)
	}
	s.Std, _ = float(0).Sqrt(variance).Float64()
	s.L2, _ = float(0).Sqrt(squares).Float64()
	for i, p := range Percents() {
		r := int(math.Ceil(float64(p) * float64(n) / 100))
		s.Quantiles[i] = finite[max(r, 1)-1]
	}
	return s
}

func near(got, want, tolerance float64) bool {
	return got == want || got != got && want != want || math.Abs(got-want) <= tolerance
}

// checkStats compares the figures of an accumulator with brute force.
func checkStats(t *testing.T, typ *Type, got, want Stats) {
	t.Helper()
	type counts struct{ Count, NaN, PosInf, NegInf, Zeros, Denormals uint64 }
	g := counts{got.Count, got.NaN, got.PosInf, got.NegInf, got.Zeros, got.Denormals}
	w := counts{want.Count, want.NaN, want.PosInf, want.NegInf, want.Zeros, want.Denormals}
	if g != w {
		t.Errorf("%s: counts %+v, want %+v", typ.Name, g, w)
	}
	if !near(got.Min, want.Min, 0) || !near(got.Max, want.Max, 0) || got.AbsMax != want.AbsMax {
		t.Errorf("%s: min %v, max %v, absmax %v, want %v, %v, %v", typ.Name, got.Min, got.Max, got.AbsMax, want.Min, want.Max, want.AbsMax)
	}
	tolerance := 1e-14
	switch {
	case slices.Contains([]string{"Q4_1", "Q5_1", "Q2_K", "Q4_K", "Q5_K"}, typ.Name):
		tolerance = 0x1p-22
	case typ.kind == kindBlock:
		tolerance = 0x1p-44
	}
	scale := want.AbsMax * tolerance
	if !near(got.Mean, want.Mean, scale) || !near(got.Std, want.Std, scale) || !near(got.L2, want.L2, want.L2*tolerance) {
		t.Errorf("%s: mean %v, std %v, L2 %v, want %v, %v, %v", typ.Name, got.Mean, got.Std, got.L2, want.Mean, want.Std, want.L2)
	}
	if got.Distinct >= 0 && got.Distinct != want.Distinct {
		t.Errorf("%s: %d distinct, want %d", typ.Name, got.Distinct, want.Distinct)
	}
	least := typ.float.smallestNormal()
	for i, q := range got.Quantiles {
		if math.IsNaN(q) && direct(typ, StatsOptions{}) {
			continue
		}
		if bound := got.QuantileError * max(math.Abs(want.Quantiles[i]), least); got.QuantileError > 0 {
			if !near(q, want.Quantiles[i], bound*1.0001) {
				t.Errorf("%s: %d%% = %v, want %v within %v", typ.Name, Percents()[i], q, want.Quantiles[i], bound)
			}
		} else if !near(q, want.Quantiles[i], 0) {
			t.Errorf("%s: %d%% = %v, want %v", typ.Name, Percents()[i], q, want.Quantiles[i])
		}
	}
	var binned uint64
	for _, n := range got.Histogram {
		binned += n
	}
	if got.Histogram != nil && binned != got.Finite() {
		t.Errorf("%s: histogram of %d numbers, want %d", typ.Name, binned, got.Finite())
	}
}

// corpora are blocks of a type that are hard in one way each.
func corpora(typ *Type) map[string][]byte {
	n := 9000 / typ.BlockBytes * typ.BlockBytes
	r := rand.New(rand.NewPCG(9, 9))
	m := map[string][]byte{
		"empty":  nil,
		"one":    random(1, typ.BlockBytes),
		"few":    random(2, 10*typ.BlockBytes),
		"random": random(3, n),
		"zeros":  make([]byte, n),
		"ones":   benchConstant(0xff, n),
		"plain":  benchBlocks(typ, n),
	}
	sparse := make([]byte, n)
	for i := range sparse {
		if r.IntN(10) == 0 {
			sparse[i] = byte(r.Uint32())
		}
	}
	m["sparse"] = sparse
	one := random(4, typ.BlockBytes)
	for len(m["constant"]) < n {
		m["constant"] = append(m["constant"], one...)
	}
	for _, sign := range []byte{0, 0x80} {
		b := benchBlocks(typ, n)
		for i := typ.BlockBytes - 1; i < len(b); i += typ.BlockBytes {
			b[i] = b[i]&0x7f | sign
		}
		m[fmt.Sprintf("sign %x", sign)] = b
	}
	return m
}

func benchConstant(v byte, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = v
	}
	return b
}

func TestStatsAgainstBruteForce(t *testing.T) {
	if testing.Short() {
		t.Skip("exact sums of many numbers")
	}
	for _, name := range typeNames() {
		typ := mustLookup(t, name)
		for corpus, src := range corpora(typ) {
			t.Run(name+"/"+corpus, func(t *testing.T) {
				want := brute(typ, src)
				for _, opt := range []*StatsOptions{nil, {BlockQuantiles: true, Bins: 16}} {
					a := NewAccumulator(typ, opt)
					a.Add(src)
					checkStats(t, typ, a.Stats(), want)
					// The counters themselves, however few the blocks.
					a = NewAccumulator(typ, opt)
					a.grow()
					a.Add(src)
					checkStats(t, typ, a.Stats(), want)
				}
			})
		}
	}
}

// The figures of the numbers 0 … 99 and what is not a number, by hand.
func TestStatsByHand(t *testing.T) {
	typ := mustLookup(t, "F32")
	var src []byte
	put := func(v float64) { src = binary.LittleEndian.AppendUint32(src, math.Float32bits(float32(v))) }
	for i := range 100 {
		put(float64(i))
	}
	put(math.NaN())
	put(math.Inf(1))
	put(math.Inf(-1))
	put(math.Inf(-1))
	a := NewAccumulator(typ, &StatsOptions{Bins: 4})
	a.Add(src)
	s := a.Stats()
	want := Stats{
		Count: 104, NaN: 1, PosInf: 1, NegInf: 2, Zeros: 1,
		Min: 0, Max: 99, Mean: 49.5, Std: math.Sqrt(833.25), AbsMax: 99, L2: math.Sqrt(328350),
		Distinct: 100, Quantiles: [7]float64{0, 4, 24, 49, 74, 94, 98},
		Histogram: []uint64{25, 25, 25, 25}, Fingerprint: s.Fingerprint,
	}
	if fmt.Sprint(s) != fmt.Sprint(want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
}

func TestMinusZeroIsZero(t *testing.T) {
	for _, name := range []string{"F32", "BF16", "F16", "F64"} {
		typ := mustLookup(t, name)
		src := make([]byte, 2*smallBytes)
		for i := typ.BlockBytes - 1; i < len(src); i += 2 * typ.BlockBytes {
			src[i] = 0x80
		}
		for _, b := range [][]byte{src, src[:8]} {
			a := NewAccumulator(typ, nil)
			a.Add(b)
			if s := a.Stats(); math.Signbit(s.Min) || math.Signbit(s.Max) || s.Distinct > 1 {
				t.Errorf("%s: min %v, max %v, %d distinct", name, s.Min, s.Max, s.Distinct)
			}
		}
	}
}

// However the blocks are cut, ordered and merged, the figures are the same.
func TestMergeInvariance(t *testing.T) {
	names := typeNames()
	rapid.Check(t, func(t *rapid.T) {
		typ, _ := Lookup(rapid.SampledFrom(names).Draw(t, "type"))
		opt := StatsOptions{BlockQuantiles: rapid.Bool().Draw(t, "quantiles"), Bins: rapid.IntRange(0, 5).Draw(t, "bins")}
		blocks := rapid.IntRange(0, 2*smallBytes/typ.BlockBytes+2).Draw(t, "blocks")
		src := random(rapid.Uint64().Draw(t, "seed"), blocks*typ.BlockBytes)
		whole := NewAccumulator(typ, &opt)
		whole.Add(src)

		workers := make([]*Accumulator, rapid.IntRange(1, 4).Draw(t, "workers"))
		for i := range workers {
			workers[i] = NewAccumulator(typ, &opt)
		}
		var parts [][]byte
		for rest := src; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)/typ.BlockBytes).Draw(t, "part") * typ.BlockBytes
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		parts = rapid.Permutation(parts).Draw(t, "order")
		for _, p := range parts {
			workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")].Add(p)
		}
		total := NewAccumulator(typ, &opt)
		total.Add(random(1, 3*smallBytes))
		total.Reset()
		for _, w := range workers {
			total.Merge(w)
		}
		if got, want := fmt.Sprintf("%+v", total.Stats()), fmt.Sprintf("%+v", whole.Stats()); got != want {
			t.Fatalf("%s: merged %s\nwhole %s", typ.Name, got, want)
		}
	})
}

func TestFingerprint(t *testing.T) {
	for _, name := range typeNames() {
		typ := mustLookup(t, name)
		opt := &StatsOptions{BlockQuantiles: true}
		of := func(src ...[]byte) Fingerprint {
			a := NewAccumulator(typ, opt)
			for _, s := range src {
				a.Add(s)
			}
			return a.Stats().Fingerprint
		}
		q, k := random(1, 3*typ.BlockBytes), random(2, 300*typ.BlockBytes)
		if of(q, k) != of(k, q) || of(q, k) != of(q).Add(of(k)) {
			t.Errorf("%s: the fingerprint of two parts is not the sum of theirs", name)
		}
		changed := slices.Clone(k)
		changed[typ.BlockBytes+1%typ.BlockBytes] ^= 1
		if name != "BOOL" && of(k) == of(changed) {
			t.Errorf("%s: a changed code keeps the fingerprint", name)
		}
		if of(k).IsZero() || !of().IsZero() {
			t.Errorf("%s: zero fingerprint of something, or none of nothing", name)
		}
	}
}

// Sums near the ends of their ranges: many numbers with all bits set.
func TestMomentsHold(t *testing.T) {
	for _, c := range []struct {
		mag uint64
		exp int
		n   uint64
	}{
		{math.MaxUint64, 0, 1 << 40}, {1<<53 - 1, 971, 1 << 50}, {1, -1074, 1 << 60}, {1<<24 - 1, 104, 1 << 60},
	} {
		var m moments
		m.add(false, c.mag, c.exp, c.n)
		m.add(true, c.mag, c.exp, c.n)
		mean, std, norm := m.figures(2 * c.n)
		want := math.Ldexp(float64(c.mag), c.exp)
		if mean != 0 || !near(std, want, want*1e-15) {
			t.Errorf("%+v: mean %v, std %v, want 0, %v", c, mean, std, want)
		}
		if wantNorm := want * math.Sqrt(2*float64(c.n)); !near(norm, wantNorm, wantNorm*1e-15) {
			t.Errorf("%+v: norm %v, want %v", c, norm, wantNorm)
		}
	}
}

// Sums of a block are rounded: of equal numbers, the squares may be less than
// the square of the sum says.
func TestRoundedSquares(t *testing.T) {
	var m moments
	m.addSums(3, math.Nextafter(3, 0))
	if mean, std, _ := m.figures(3); mean != 1 || std != 0 {
		t.Errorf("mean %v, std %v, want 1, 0", mean, std)
	}
}

// Counters that overflow 32 bits, and sums that overflow their bins, were they
// not emptied in time.
func TestFlush(t *testing.T) {
	c := newCounter(mustLookup(t, "BF16"))
	chunk := make([]byte, 1<<20)
	c.narrow[0], c.since = math.MaxUint32-1, math.MaxUint32-1
	c.add(chunk)
	var s Stats
	c.tally(&s)
	if want := uint64(math.MaxUint32) - 1 + 1<<19; s.Zeros != want {
		t.Errorf("counter: %d zeros, want %d", s.Zeros, want)
	}
	if testing.Short() {
		t.Skip("the rest takes a second")
	}
	f := &floatBins{typ: mustLookup(t, "F32")}
	for i := 0; i < len(chunk); i += 4 {
		le.PutUint32(chunk[i:], 0x3f80ffff)
	}
	const rounds = 1 << 7
	for range rounds {
		f.add(chunk)
	}
	s = Stats{}
	sums, _ := f.tally(&s)
	mean, std, _ := sums.figures(rounds << 18)
	if v := float64(math.Float32frombits(0x3f80ffff)); mean != v || std != 0 || s.Count != rounds<<18 {
		t.Errorf("bins: mean %v, std %v, count %d, want %v, 0, %d", mean, std, s.Count, v, rounds<<18)
	}
}

func FuzzStats(f *testing.F) {
	names := typeNames()
	for i := range names {
		f.Add(uint8(i), random(uint64(i), 300))
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		typ := mustLookup(t, names[int(which)%len(names)])
		src = src[:min(len(src), 4096)/typ.BlockBytes*typ.BlockBytes]
		a := NewAccumulator(typ, nil)
		a.grow()
		a.Add(src)
		checkStats(t, typ, a.Stats(), brute(typ, src))
	})
}

// naiveStats is what one writes first: decode, then compare and add.
type naiveStats struct {
	min, max, sum, squares  float64
	nan, posInf, neg, zeros int
}

func (s *naiveStats) add(values []float32) {
	for _, f := range values {
		v := float64(f)
		if v-v != 0 {
			switch {
			case v != v:
				s.nan++
			case v > 0:
				s.posInf++
			default:
				s.neg++
			}
			continue
		}
		if v == 0 {
			s.zeros++
		}
		if v < s.min {
			s.min = v
		}
		if v > s.max {
			s.max = v
		}
		s.sum += v
		s.squares += v * v
	}
}
