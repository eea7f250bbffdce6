package values

import "math"

// What rounding to a type may cost is judged number by number where it can be. A
// quantiser chooses the scales of a block as it likes; what it then writes is, of the
// numbers that the block can hold, the one next to what is rounded. So a faithful copy is
// within half a step of its original, whatever the distribution of the weights and
// whether or not an importance matrix chose the scales. Only the codes at the ends of a
// block's range stand for numbers beyond it, each on its own side: the least for smaller
// numbers, the greatest for larger ones. A scale that is too large puts numbers between
// the codes and not beyond them.
//
// The codebooks of IQ1 to IQ3 are of groups, and Q1_0 keeps signs: there a number may be
// far from its original, and a block is judged as a whole, by [Difference.BlockApart].

// steps says where the codes of a block type are, and how far apart the numbers are that
// they stand for. Source: ggml-common.h for the structures, quantize_row_* of
// ggml-quants.c for what quantisers do with them.
type steps struct {
	from, to int // the bytes of a block that hold codes and nothing else
	// count is how many steps there are from the number whose code has no bit set to
	// that whose code has all set; 0 of a codebook.
	count float64
	// gaps are the greatest distances of a codebook's numbers from their neighbours, by
	// their magnitudes or by the numbers, and last the number that has all bits set.
	gaps map[int]float64
	last float64
	// open says that codes at the ends of the range stand for what is beyond it, too.
	open bool
	// scales is how many steps the scales of a block's parts have; 0 where the block has
	// one scale. A scale that is rounded down brings the ends of its part nearer.
	scales float64
	// refit is the part of a number that a scale may move it by after the code was chosen,
	// as quantisers with an importance matrix do (make_qx_quants, make_qkx3_quants).
	refit float64
	// least is what is lost where a scale is too small for its type.
	least float64
}

// groupsLeast is what scales too small for their type cost the types that are judged by
// blocks: half the least F16 at the greatest number and scale of IQ3_XXS.
const groupsLeast = 62 * 15.5 / 2 * halfLeast

// halfLeast is half the least F16: scales below it are 0.
const halfLeast = 0x1p-25

var (
	fp4Gaps = map[int]float64{0: 1, 1: 1, 2: 1, 3: 1, 4: 2, 6: 2, 8: 4, 12: 4}
	nlGaps  = func() map[int]float64 {
		gaps := make(map[int]float64)
		for i, v := range kvaluesNL {
			gap := 0.0
			for _, k := range []int{i - 1, i + 1} {
				if k >= 0 && k < len(kvaluesNL) {
					gap = max(gap, math.Abs(float64(kvaluesNL[k]-v)))
				}
			}
			gaps[int(v)] = gap
		}
		return gaps
	}()
)

// refitted is how far ggml's quantisers of simple blocks move a scale for an importance
// matrix.
const refitted = 0.1

var blockSteps = map[string]steps{
	"Q8_0": {from: 2, to: 34, count: 1, least: 127 * halfLeast},
	"Q8_K": {from: 4, to: 260, count: 1},
	"Q4_0": {from: 2, to: 18, count: 15, open: true, refit: refitted, least: 8 * halfLeast},
	"Q4_1": {from: 4, to: 20, count: 15, open: true, refit: refitted, least: 16 * halfLeast},
	"Q5_0": {from: 2, to: 22, count: 31, open: true, refit: refitted, least: 16 * halfLeast},
	"Q5_1": {from: 4, to: 24, count: 31, open: true, refit: refitted, least: 32 * halfLeast},
	"Q2_K": {from: 16, to: 80, count: 3, open: true, scales: 15, least: 4 * 15 * halfLeast},
	"Q3_K": {from: 0, to: 96, count: 7, open: true, scales: 31, least: 4 * 31 * halfLeast},
	"Q4_K": {from: 16, to: 144, count: 15, open: true, scales: 63, least: 16 * 63 * halfLeast},
	"Q5_K": {from: 16, to: 176, count: 31, open: true, scales: 63, least: 32 * 63 * halfLeast},
	"Q6_K": {from: 0, to: 192, count: 63, open: true, scales: 127, least: 32 * 127 * halfLeast},
	// Their scale is the greatest magnitude, and nothing is beyond it.
	"Q2_0":   {from: 2, to: 18, count: 3, least: halfLeast},
	"TQ1_0":  {from: 0, to: 52, count: 2, least: halfLeast},
	"TQ2_0":  {from: 0, to: 64, count: 3, least: halfLeast},
	"IQ4_NL": {from: 2, to: 18, gaps: nlGaps, last: 113, open: true, least: 127 * halfLeast},
	"IQ4_XS": {from: 8, to: 136, gaps: nlGaps, last: 113, open: true, scales: 31, least: 127 * 31 * halfLeast},
	"MXFP4":  {from: 1, to: 17, gaps: fp4Gaps, last: -12, open: true, least: 0x1p-124},
	// Scales below half of the least UE4M3, 2^-9, are 0.
	"NVFP4": {from: 4, to: 36, gaps: fp4Gaps, last: -12, open: true, least: 6 * 0x1p-10},
}

// reacher says how far numbers of a type may be from those they were rounded from.
type reacher struct {
	typ    *Type
	steps  *steps
	codes  []byte
	lo, hi []float64
	float  bool
	half   float64  // of float: half a step, in units of the exponent
	lowest uint64   // of float: the exponent of what is subnormal, as float64 has it
	scaled *reacher // of elements without their scales
}

func newReacher(t *Type) *reacher {
	r := &reacher{typ: t}
	if s, ok := blockSteps[t.Name]; ok {
		r.steps = &s
	}
	if t.scaled != nil {
		r.scaled = newReacher(t.scaled)
	}
	if t.kind == kindFloat && t.float.special != exponent {
		r.float, r.half = true, math.Ldexp(0.5, -t.float.mant)
		r.lowest = uint64(max(1-t.float.bias+1023, 1)) << 52
	}
	return r
}

// reach adds to below and above how far the number that each was rounded from may be on
// either side of it. nums are the numbers that src decodes to.
func (r *reacher) reach(below, above, nums []float64, src []byte) {
	switch {
	case r.scaled != nil:
		size := r.typ.BlockBytes
		for i := range nums {
			var bare, half, same [1]float64
			one := src[i*size : (i+1)*size]
			r.scaled.typ.Decode64(bare[:], one[ScaledBytes:])
			if half[0] = 0.5; r.scaled.typ.kind != kindInt {
				half[0] = 0
				r.scaled.reach(half[:], same[:], bare[:], nil)
			}
			// Quantisers divide in F32, and may round the scale afterwards.
			apart := half[0]*math.Abs(scaleOf(one)) + math.Abs(nums[i])*0x1p-11
			below[i] += apart
			above[i] += apart
		}
	case r.float:
		const exponent = 0x7ff << 52
		for i, v := range nums {
			if e := max(math.Float64bits(v)&exponent, r.lowest); e != exponent {
				half := math.Float64frombits(e) * r.half
				below[i] += half
				above[i] += half
			}
		}
	case r.steps != nil:
		r.blocks(below, above, nums, src)
	case r.typ.kind == kindBlock:
		for i := range nums {
			below[i] += groupsLeast
			above[i] += groupsLeast
		}
	}
}

func (r *reacher) blocks(below, above, nums []float64, src []byte) {
	s, t := r.steps, r.typ
	if r.lo == nil {
		r.lo, r.hi = make([]float64, compareNumbers), make([]float64, compareNumbers)
	}
	lo, hi := r.lo[:len(nums)], r.hi[:len(nums)]
	src = src[:len(nums)/t.BlockElems*t.BlockBytes]
	for _, end := range []struct {
		out []float64
		bit byte
	}{{lo, 0}, {hi, 0xff}} {
		r.codes = append(r.codes[:0], src...)
		for at := 0; at < len(src); at += t.BlockBytes {
			codes := r.codes[at+s.from : at+s.to]
			for i := range codes {
				codes[i] = end.bit
			}
		}
		t.Decode64(end.out, r.codes)
	}
	for at := 0; at < len(nums); at += t.BlockElems {
		end := at + t.BlockElems
		r.block(below[at:end], above[at:end], nums[at:end], lo[at:end], hi[at:end])
	}
}

// block is reach of one block. lo and hi are its numbers if no bit of the codes were
// set, and all.
func (r *reacher) block(below, above, nums, lo, hi []float64) {
	s := r.steps
	ends := 0.0 // what the rounding of a part's scales may cost at its ends
	if s.scales > 0 {
		for i := 0; i < len(lo); i += 16 {
			ends = max(ends, math.Abs(lo[i]), math.Abs(hi[i]), math.Abs(hi[i]-lo[i]))
		}
		ends /= s.scales
	}
	for i, v := range nums {
		step := 0.0
		atEnd := s.open && (v == lo[i] || v == hi[i])
		if s.gaps == nil {
			step = math.Abs(hi[i]-lo[i]) / s.count
		} else if d := hi[i] / s.last; d != 0 {
			k := int(math.Round(v / d))
			gap, ok := s.gaps[k]
			if !ok {
				gap = s.gaps[-k]
			}
			step = gap * math.Abs(d)
			atEnd = v == hi[i] || v == lo[i] && lo[i] != 0 || v == -hi[i] && lo[i] == 0
		}
		// Scales are rounded to F16 after the codes were chosen.
		most := step*0.501 + (math.Abs(v)+math.Abs(lo[i]))*0x1p-11 + math.Abs(v)*s.refit + s.least
		below[i] += most
		above[i] += most
		if !atEnd {
			continue
		}
		middle := (lo[i] + hi[i]) / 2
		if s.gaps != nil && lo[i] == 0 {
			middle = 0 // of codes with a sign
		}
		if v <= middle {
			below[i] += step + ends
		}
		if v >= middle {
			above[i] += step + ends
		}
	}
}

// A judge tells what rounding explains from what it does not.
type judge struct {
	a, b  *reacher
	each  bool // both types hold numbers one by one
	block int  // the numbers that are judged as a whole
	// aBelow, … are the reaches of the numbers of either side.
	aBelow, aAbove, bBelow, bAbove []float64
	halves                         []float64 // by sixteen numbers
}

// newJudge returns nil where nothing was rounded.
func newJudge(p *Pair) *judge {
	if !p.typed() || p.A.Type == p.B.Type {
		return nil
	}
	j := &judge{a: newReacher(p.A.Type), b: newReacher(p.B.Type), halves: make([]float64, compareNumbers/16)}
	for _, side := range []*[]float64{&j.aBelow, &j.aAbove, &j.bBelow, &j.bAbove} {
		*side = make([]float64, compareNumbers)
	}
	j.each = (p.A.Type.kind != kindBlock || j.a.steps != nil) && (p.B.Type.kind != kindBlock || j.b.steps != nil)
	if j.block = max(p.A.Type.BlockElems, p.B.Type.BlockElems); p.A.Type.kind != kindBlock && p.B.Type.kind != kindBlock {
		j.block = 256
	}
	return j
}

// add looks at numbers that differ. a and b are what they were decoded from. Most are
// within half a step, which is cheap to find out; the others are looked at in full.
func (j *judge) add(d *differ, x, y []float64, a, b []byte, at uint64) {
	if d.bRoundsA || d.aRoundsB {
		return // each is the other, rounded
	}
	halves := j.halves[:(len(x)+15)/16]
	clear(halves)
	cheap := j.a.halves(halves, a) && j.b.halves(halves, b)
	for from := 0; from < len(x); from += j.block {
		to := min(from+j.block, len(x))
		if !cheap || !within(x[from:to], y[from:to], halves[from/16:]) {
			j.look(d, x[from:to], y[from:to], j.a.bytes(a, from, to), j.b.bytes(b, from, to), at+uint64(from))
		}
	}
}

// within reports whether numbers differ by no more than half a step, of which there is
// one for every sixteen, and the rounding of a scale to F16.
func within(x, y, halves []float64) bool {
	for i := 0; i < len(x); i += 16 {
		half := halves[i/16]
		n := min(16, len(x)-i)
		u, v := x[i:i+n], y[i:i+n]
		for k := range u {
			if !(math.Abs(u[k]-v[k]) <= half+math.Abs(v[k])*0x1p-11) {
				return false
			}
		}
	}
	return true
}

func (r *reacher) bytes(src []byte, from, to int) []byte {
	t := r.typ
	return src[from/t.BlockElems*t.BlockBytes : to/t.BlockElems*t.BlockBytes]
}

// halves adds half the step of every sixteen numbers to dst, nothing where every number
// has its own, and reports whether that is worth the while.
func (r *reacher) halves(dst []float64, src []byte) bool {
	t := r.typ
	if t.kind != kindBlock {
		return true
	}
	if r.steps == nil || r.steps.gaps != nil {
		return false
	}
	every := t.BlockElems / 16
	for k := 0; k < len(dst); k += every {
		block := src[k/every*t.BlockBytes:][:t.BlockBytes]
		d, out := 0.0, dst[k:k+every]
		switch t.Name {
		case "Q2_K":
			d = float64(half(block[80:]))
			for i := range out {
				out[i] += math.Abs(d) / 2 * float64(block[i]&15)
			}
		case "Q4_K", "Q5_K":
			d = float64(half(block))
			scales, _ := scales6((*[12]byte)(block[4:]))
			for i := range out {
				out[i] += math.Abs(d) / 2 * float64(scales[i/2])
			}
		case "Q6_K":
			d = float64(half(block[208:]))
			for i := range out {
				out[i] += math.Abs(d*float64(int8(block[192+i]))) / 2
			}
		case "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1":
			d = float64(half(block))
			for i := range out {
				out[i] += math.Abs(d) / 2
			}
		default:
			return false
		}
	}
	return true
}

// look is add for numbers of which some are not within half a step.
func (j *judge) look(d *differ, x, y []float64, a, b []byte, at uint64) {
	for _, side := range [][]float64{j.aBelow, j.aAbove, j.bBelow, j.bAbove} {
		clear(side[:len(x)])
	}
	j.a.reach(j.aBelow, j.aAbove, x, a)
	j.b.reach(j.bBelow, j.bAbove, y, b)
	over := 0.0
	for i := range x {
		e, reach := x[i]-y[i], j.aBelow[i]+j.bAbove[i]
		if e < 0 {
			e, reach = -e, j.aAbove[i]+j.bBelow[i]
		}
		if e <= reach || x[i] == y[i] || e != e {
			continue
		}
		over += (e - reach) * (e - reach)
		if !j.each {
			continue
		}
		if d.beyond == 0 {
			d.beyondAt = at + uint64(i)
		}
		d.beyond++
	}
	if over > 0 {
		d.blockApart = max(d.blockApart, apart(over, x, y))
	}
}

// apart is the root of a sum of squares, beside the norm of the larger of two blocks;
// infinite where one is all zeros.
func apart(squares float64, x, y []float64) float64 {
	var a, b float64
	for i, v := range x {
		a += v * v
		b += y[i] * y[i]
	}
	if (a == 0) != (b == 0) {
		return math.Inf(1)
	}
	if r := math.Sqrt(squares / max(a, b)); r == r {
		return r
	}
	return math.Inf(1)
}
