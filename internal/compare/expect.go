package compare

// ExpectedError returns the relative root mean square error that a dtype costs
// normally distributed numbers, and false for types of which it is not known.
// Trained matrices come near to it; one of few very large numbers costs more.
func ExpectedError(dtype string) (float64, bool) {
	e, ok := expectedErrors[dtype]
	return e, ok
}

// expectedErrors were measured on 2^20 normal numbers. Block types were quantised
// by the rules of ggml's reference quantisers without an importance matrix
// (ggml-quants.c: quantize_row_*_ref), which keep a scale for each block or
// search one that makes the weighted squared error small; floating-point types by
// rounding, in their normal range.
var expectedErrors = map[string]float64{
	"F16":     0.00021,
	"BF16":    0.0017,
	"F8_E4M3": 0.027,
	"F8_E5M2": 0.053,
	"MXFP4":   0.12,
	"Q8_0":    0.0054,
	"Q5_0":    0.043,
	"Q5_1":    0.038,
	"Q4_0":    0.086,
	"Q4_1":    0.078,
	"Q6_K":    0.018,
	"Q5_K":    0.036,
	"Q4_K":    0.072,
	"Q3_K":    0.15,
	"Q2_K":    0.30,
	"IQ4_NL":  0.075,
	"IQ4_XS":  0.076,
}
