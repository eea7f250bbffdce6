package inspect_test

import (
	"io"
	"math"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
)

// What is counted as not coming back is what is not there after the way back, whether the numbers were counted before
// they were written or while they were.
func TestCountsWhatDoesNotComeBack(t *testing.T) {
	const n = 3000
	tests := []struct {
		name, dtype, there, back, fill string
		lost                           bool
	}{
		{"decay in F32", "F32", "negative-exp: {round: true}", "log-negative: {round: true}", "normal=1", true},
		{"decay of few bits", "F32", "negative-exp: {round: true}", "log-negative: {round: true}", "values=0.5,1,0.25,-2", false},
		{"decay in BF16", "BF16", "negative-exp: {round: true}", "log-negative: {round: true}", "normal=1", true},
		{"what is no -exp(x)", "F32", "log-negative: {round: true}", "negative-exp: {round: true}", "values=-0.3,-1.7,-250.1,-1e-30", true},
		{"an offset in BF16", "BF16", "offset: {add: 1, round: true}", "offset: {add: -1, round: true}", "normal=2", true},
		{"an offset in F16", "F16", "offset: {add: 1, round: true}", "offset: {add: -1, round: true}", "hex=003c0038191400b4", true},
		{"a factor", "BF16", "scale: {by: 0.3, round: true}", "scale: {by: 3.3333333, round: true}", "normal=3", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			path := func(name string) string { return filepath.Join(dir, name+".safetensors") }
			weights(t, path("a"), "tensor a "+tt.dtype+" [300,10] "+tt.fill+"\ntensor plain F32 [4]\n")
			convert := func(from, to, op string, count bool, verify rewrite.Verify) *inspect.Conversion {
				t.Helper()
				m, err := rename.Parse("map.yaml", []byte("rules: [{from: a, "+op+", to: a}]"))
				if err != nil {
					t.Fatal(err)
				}
				v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, path(from))}, &inspect.ConvertOptions{
					Names: inspect.RenameOptions{Map: m}, Write: assemble.Options{Output: path(to), Verify: verify},
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { v.Close() })
				if count {
					if err := v.Count(t.Context(), nil); err != nil {
						t.Fatal(err)
					}
					return v
				}
				if o := v.Operations(); len(o) != 1 || o[0].Lost != nil || o[0].Elements != n || o[0].Tensors != 1 {
					t.Errorf("before anything is read: %+v", o)
				}
				if err := v.Run(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				return v
			}
			there := convert("a", "b", tt.there, false, rewrite.VerifyFull)
			convert("b", "c", tt.back, false, rewrite.VerifyDefault)
			was, is := numbersIn(t, open(t, path("a"))), numbersIn(t, open(t, path("c")))
			lost, by := uint64(0), 0.0
			for i := range was {
				if was[i] != is[i] {
					lost++
					by = max(by, math.Abs(was[i]-is[i]))
				}
			}
			if len(was) != n || (lost > 0) != tt.lost {
				t.Fatalf("%d numbers, of which %d differ", len(was), lost)
			}
			for _, v := range []*inspect.Conversion{there, convert("a", "b2", tt.there, true, rewrite.VerifyDefault)} {
				if o := v.Operations(); len(o) != 1 || o[0].Lost == nil || o[0].Lost.Numbers != lost || *o[0].Lost.By != by {
					t.Errorf("%+v %+v, want %d by %v", o, o[0].Lost, lost, by)
				}
			}
		})
	}
}

// numbersIn are the numbers of the first tensor, of 300 x 10.
func numbersIn(t *testing.T, c *checkpoint.Checkpoint) []float64 {
	t.Helper()
	data, err := c.Data(0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(data)
	if err != nil {
		t.Fatal(err)
	}
	typ, _ := values.Lookup(c.At(0).DType)
	out := make([]float64, len(b)/typ.BlockBytes)
	typ.Decode64(out, b)
	return out
}
