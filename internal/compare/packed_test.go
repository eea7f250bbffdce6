package compare

import "testing"

// Packed weights are numbers where the other side has them, and what they are stored in
// otherwise: where it is packed in the same way, has another shape, or other names.
func TestPackedWeights(t *testing.T) {
	const (
		// Two E2M1 in a byte, the low bits first, for 16 of which there is a scale of E4M3, and
		// one that they are divided by: 1 and 2, doubled, by 4 (compressed_tensors, nvfp4).
		packed = "tensor a.weight_packed U8 [1,8] hex=42\ntensor a.weight_scale F8_E4M3 [1,1] hex=40\ntensor a.weight_global_scale F32 [1] values=4\n"
		plain  = "tensor a.weight BF16 [1,16] values=0.5,1\n"
		other  = "tensor a.weight BF16 [1,16] values=0.5,2\n"
		long   = "tensor a.weight BF16 [1,32] values=0.5,1\n"
		called = "tensor b.weight BF16 [1,16] values=0.5,1\n"
	)
	for _, tt := range []struct {
		b    string
		want Verdict
		rows int
	}{{plain, SameValues, 1}, {other, Altered, 1}, {packed, Identical, 3}, {long, Other, 4}, {called, Other, 4}} {
		for _, sides := range [][2]string{{packed, tt.b}, {tt.b, packed}} {
			if r := compareTexts(t, sides[0], sides[1], Options{}); r.Verdict != tt.want || len(r.Rows) != tt.rows {
				t.Errorf("%s against %s: %s, %d rows, want %s, %d", sides[0], sides[1], r.Verdict, len(r.Rows), tt.want, tt.rows)
			}
		}
	}
}
