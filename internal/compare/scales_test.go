package compare

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// FP8 and INT8 weights with their scales are faithful to what they were rounded from, whatever
// part of the weight a scale is of, and with another scale they are not. The numbers are divided
// by amax / 448 and rounded to the nearest of E4M3's: DeepSeek-V3 inference/kernel.py
// act_quant, vLLM scaled_fp8_quant; or by amax / 127 and rounded to integers: compressed_tensors
// quantization/utils/helpers.py calculate_qparams. Sides of blocks other than 128 are in config.json.
func TestScaledWeights(t *testing.T) {
	const rows, cols = 150, 200 // of blocks of 128, the last are ragged
	var numbers []float64
	for c := range 0x7f { // 0x7f is NaN
		numbers = append(numbers, e4m3(c))
	}
	nearest := func(v float64) byte {
		sign := byte(0)
		if v < 0 {
			v, sign = -v, 0x80
		}
		c, _ := slices.BinarySearch(numbers, v)
		if c == len(numbers) || c > 0 && v-numbers[c-1] <= numbers[c]-v {
			c--
		}
		return byte(c) | sign
	}
	rnd := rand.New(rand.NewPCG(9, 10))
	x := make([]float64, rows*cols)
	for i := range x {
		// Rows and columns differ by more than E4M3 spans, so that the wrong scale shows.
		x[i] = float64(math.Float32frombits(math.Float32bits(float32(rnd.NormFloat64()*math.Ldexp(0.01, i/cols/40)*float64(1+i%cols/128))) &^ 0xffff))
	}
	for _, tt := range []struct {
		leaf, input, shape string // input is the scale of the activations beside it
		high, wide         int
		dtype, config      string
	}{
		{"weight_scale", "input_scale", "[]", rows, cols, "F8_E4M3", ""},
		{"scale_weight", "scale_input", "[1]", rows, cols, "F8_E4M3", ""},
		{"qscale_weight", "qscale_act", "[]", rows, cols, "F8_E4M3", ""},
		{"weight_scale", "input_scale", "[150]", 1, cols, "F8_E4M3", ""},
		{"weight_scale", "input_scale", "[150,1]", 1, cols, "F8_E4M3", ""},
		{"weight_scale_inv", "input_scale", "[2,2]", 128, 128, "F8_E4M3", ""},
		{"weight_scale_inv", "input_scale", "[3,2]", 64, 128, "F8_E4M3", `{"quantization_config": {"quant_method": "fp8", "weight_block_size": [64, 128]}}`},
		{"weight_scale", "input_scale", "[]", rows, cols, "I8", ""},
		{"weight_scale", "input_scale", "[150,1]", 1, cols, "I8", ""},
	} {
		greatest := 448.0
		if tt.dtype == "I8" {
			greatest = 127
		}
		across := (cols + tt.wide - 1) / tt.wide
		scales := make([]float64, (rows+tt.high-1)/tt.high*across)
		block := func(i int) int { return i/cols/tt.high*across + i%cols/tt.wide }
		for i, v := range x {
			scales[block(i)] = max(scales[block(i)], float64(float32(math.Abs(v)/greatest)))
		}
		var codes, whole, given, twice []byte
		for i, v := range x {
			if tt.dtype == "I8" {
				codes = append(codes, byte(int8(math.RoundToEven(v/scales[block(i)]))))
			} else {
				codes = append(codes, nearest(v/scales[block(i)]))
			}
			whole = binary.LittleEndian.AppendUint16(whole, uint16(math.Float32bits(float32(v))>>16))
		}
		for k, s := range scales {
			given = binary.LittleEndian.AppendUint32(given, math.Float32bits(float32(s)))
			if k == len(scales)-1 {
				s *= 2
			}
			twice = binary.LittleEndian.AppendUint32(twice, math.Float32bits(float32(s)))
		}
		file := func(scales []byte) string {
			path := fixture.File(t, "f8.safetensors", fmt.Sprintf("tensor m.weight %s [%d,%d] hex=%x\ntensor m.%s F32 %s hex=%x\ntensor m.%s F32 [1] values=1\n", tt.dtype, rows, cols, codes, tt.leaf, tt.shape, scales, tt.input))
			if tt.config != "" {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), "config.json"), []byte(tt.config), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			return path
		}
		original := open(t, fixture.File(t, "bf16.safetensors", fmt.Sprintf("tensor m.weight BF16 [%d,%d] hex=%x\n", rows, cols, whole)))
		// Whatever the names are paired by.
		prefixed := open(t, fixture.File(t, "bf16.safetensors", fmt.Sprintf("tensor model.m.weight BF16 [%d,%d] hex=%x\n", rows, cols, whole)))
		if r, err := Compare(t.Context(), open(t, file(given)), prefixed, Options{WeightsOnly: true}); err != nil || len(r.Notes) > 0 || r.Rows[0].By != ByPrefix || !Within(r.Rows[0].Difference, tt.dtype, "BF16") {
			t.Errorf("%s %s below a prefix: %+v, %v", tt.leaf, tt.shape, r, err)
		}
		for _, copied := range []struct {
			scales []byte
			want   Verdict
		}{{given, Faithful}, {twice, Altered}} {
			a, b := open(t, file(copied.scales)), original
			for range 2 {
				r, err := Compare(t.Context(), a, b, Options{WeightsOnly: true})
				if err != nil {
					t.Fatal(err)
				}
				if r.Verdict != copied.want || len(r.Notes) > 0 {
					t.Errorf("%s %s: %q, want %q: %+v, %q", tt.leaf, tt.shape, r.Verdict, copied.want, r.Rows[0].Difference, r.Notes)
				}
				a, b = b, a
			}
		}
	}
}
