package values

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// What is cheap to find out is not more than what is allowed: half a step is within reach
// of every number, whatever the codes and scales.
func TestHalvesAreWithinReach(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	for name, typ := range types() {
		if typ.kind != kindBlock {
			continue
		}
		r := newReacher(typ)
		src := make([]byte, 256/typ.BlockElems*typ.BlockBytes)
		for range 200 {
			for i := range src {
				src[i] = byte(rnd.IntN(256))
			}
			nums, below, above, halves := make([]float64, 256), make([]float64, 256), make([]float64, 256), make([]float64, 16)
			typ.Decode64(nums, src)
			if !r.halves(halves, src) {
				continue
			}
			r.reach(below, above, nums, src)
			for i, v := range nums {
				if least := halves[i/16] + math.Abs(v)*0x1p-11; !(least <= min(below[i], above[i])) && least-least == 0 {
					t.Fatalf("%s: number %d is %g, half a step %g, reach %g", name, i, v, halves[i/16], min(below[i], above[i]))
				}
			}
		}
	}
}

// A number next to a code is within reach, and the next code is not, but at the ends of the
// range.
func TestReachOfSteps(t *testing.T) {
	typ := mustLookup(t, "Q8_0")
	src := make([]byte, 34)
	src[1] = 0x3c // a scale of 1
	for i := range 32 {
		src[2+i] = byte(int8(i - 16))
	}
	nums, below, above := make([]float64, 32), make([]float64, 32), make([]float64, 32)
	typ.Decode64(nums, src)
	newReacher(typ).reach(below, above, nums, src)
	for i, v := range below {
		if v != above[i] || v < 0.5 || v > 0.52 {
			t.Errorf("%g reaches %g", nums[i], v)
		}
	}
	for _, dtype := range []struct {
		name string
		v    float64
		want float64
	}{{"F16", 1, 0x1p-11}, {"BF16", 1.5, 0x1p-8}, {"F32", 2, 0x1p-23}, {"F8_E4M3", 0x1p-9, 0x1p-10}, {"F16", math.Inf(1), 0}, {"I32", 7, 0}} {
		below, above := []float64{0}, []float64{0}
		newReacher(mustLookup(t, dtype.name)).reach(below, above, []float64{dtype.v}, nil)
		if below[0] != dtype.want || above[0] != dtype.want {
			t.Errorf("%s: %g reaches %g below and %g above, want %g", dtype.name, dtype.v, below[0], above[0], dtype.want)
		}
	}
}

// The codes at the ends of the range stand for numbers beyond it, each on its own side.
func TestReachAtTheEnds(t *testing.T) {
	for _, tt := range []struct {
		dtype string
		scale []byte
		codes byte // of two numbers: the least and the greatest code
		signs [2]float64
	}{
		{"Q4_0", []byte{0, 0x3c}, 0xf0, [2]float64{-1, 1}},
		{"Q4_0", []byte{0, 0xbc}, 0xf0, [2]float64{1, -1}}, // a scale of -1
		{"IQ4_NL", []byte{0, 0x3c}, 0xf0, [2]float64{-1, 1}},
		{"MXFP4", []byte{127}, 0x7f, [2]float64{-1, 1}},
	} {
		typ := mustLookup(t, tt.dtype)
		src := slices.Concat(tt.scale, slices.Repeat([]byte{tt.codes}, 16))
		nums, below, above := make([]float64, 32), make([]float64, 32), make([]float64, 32)
		typ.Decode64(nums, src)
		newReacher(typ).reach(below, above, nums, src)
		for k, i := range []int{0, 16} {
			if nums[i]*tt.signs[k] <= 0 || (above[i]-below[i])*tt.signs[k] <= 0 {
				t.Errorf("%s: %g reaches %g below and %g above", tt.dtype, nums[i], below[i], above[i])
			}
		}
	}
}
