package compare

import (
	"math"

	"github.com/wtinspect/wtinspect/internal/values"
)

// A cost is what a type costs the numbers that are rounded to it, and how much of that
// is still faithful.
type cost struct {
	// Normal is the relative root mean square error of normally distributed numbers, 0
	// where it is not known. Trained matrices come near to it; one of few very large
	// numbers costs more.
	Normal float64
	// Beyond is the share of numbers that may be farther from their originals than
	// rounding explains: an importance matrix may have a scale fit a few numbers at the
	// cost of the others. Apart is how far one block may be, as [values.Difference] has it.
	Beyond, Apart float64
	// Most is the greatest relative error of types that round numbers in groups; 0 of
	// those that round one by one, where the error may be what it likes.
	Most float64
}

// costs are measured with ggml's quantisers (ggml-quants.c: quantize_row_*_ref, and with
// importance matrices of log-normal weights, one of which had one weight in 64 a
// thousand times larger) on 2^18 numbers each: normal, Laplace's, Student's of 3 degrees
// of freedom, uniform, with and without an offset, with outliers, and the matrices of a
// trained model. Without an importance matrix no number was beyond what rounding
// explains; with it at most a share of 0.0107 in Q4_0, 0.0038 in Q5_0, 0.0026 in Q3_K,
// 0.0023 in Q4_1, 0.0017 in Q5_1 and 0.0009 in the others, and a block apart by 0.35 at
// most, by 0.38 in IQ4_NL. Types rounded in groups cost normal numbers what Normal says
// and Student's 0.63 in IQ1_S, 0.51 in IQ2_XXS, 0.43 in IQ2_XS, 0.28 in IQ3_XXS, 0.22 in
// IQ3_S and 0.76 in Q1_0, and a block up to 1.1. Floating-point types are rounded in
// their normal range.
var costs = map[string]cost{
	"F16":     {Normal: 0.00021},
	"BF16":    {Normal: 0.0017},
	"F8_E4M3": {Normal: 0.027},
	"F8_E5M2": {Normal: 0.053},
	"Q8_0":    {Normal: 0.0053},
	"Q5_0":    {Normal: 0.043, Beyond: 0.01, Apart: 0.5},
	"Q5_1":    {Normal: 0.038, Beyond: 0.005, Apart: 0.5},
	"Q4_0":    {Normal: 0.086, Beyond: 0.04, Apart: 0.5},
	"Q4_1":    {Normal: 0.078, Beyond: 0.005, Apart: 0.5},
	"Q6_K":    {Normal: 0.018, Beyond: 0.002, Apart: 0.5},
	"Q5_K":    {Normal: 0.036, Beyond: 0.002, Apart: 0.5},
	"Q4_K":    {Normal: 0.072, Beyond: 0.002, Apart: 0.5},
	"Q3_K":    {Normal: 0.15, Beyond: 0.005, Apart: 0.5},
	"Q2_K":    {Normal: 0.30, Beyond: 0.002, Apart: 0.5},
	"IQ4_NL":  {Normal: 0.076, Beyond: 0.002, Apart: 0.5},
	"IQ4_XS":  {Normal: 0.077, Beyond: 0.002, Apart: 0.5},
	"MXFP4":   {Normal: 0.11},
	"NVFP4":   {Normal: 0.10},
	"TQ1_0":   {Normal: 0.81},
	"TQ2_0":   {Normal: 0.81},
	"Q2_0":    {Normal: 0.72},
	"IQ3_S":   {Normal: 0.17, Most: 0.35, Apart: 1.2},
	"IQ3_XXS": {Normal: 0.21, Most: 0.4, Apart: 1.2},
	"IQ2_S":   {Normal: 0.26, Most: 0.5, Apart: 1.2},
	"IQ2_XS":  {Normal: 0.32, Most: 0.6, Apart: 1.2},
	"IQ2_XXS": {Normal: 0.36, Most: 0.65, Apart: 1.2},
	"IQ1_M":   {Normal: 0.48, Most: 0.75, Apart: 1.2},
	"IQ1_S":   {Normal: 0.52, Most: 0.8, Apart: 1.2},
	"Q1_0":    {Normal: 0.60, Most: 0.85, Apart: 1.2},
}

// longest is how much longer a matrix may become that is rounded in groups. The scale
// that fits best makes it shorter, as every projection is; twice that scale makes it 1.6
// times as long in the types that cost the most.
const longest = 1.4

// Within reports whether the difference of tensors of two types is what rounding to
// both costs.
func Within(d *values.Difference, a, b string) bool {
	x, y := costs[a], costs[b]
	switch {
	case d.NaN > 0 || math.IsInf(d.MaxAbs, 0):
		return false
	case y.Most > 0 && x.Most == 0 && d.Length > longest, x.Most > 0 && y.Most == 0 && d.Length < 1/longest:
		return false
	case x.Most+y.Most > 0 && d.Apart > x.Most+y.Most+x.Normal+y.Normal:
		return false
	}
	return float64(d.Beyond) <= (x.Beyond+y.Beyond)*float64(d.Count) && d.BlockApart <= max(x.Apart, y.Apart)
}
