package arrays

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
)

// A stored tensor of a module.
type storedTensor struct {
	name, dtype string
	shape       []uint64
	data        []byte
}

// dequantise is what comes of the one module that the tensors are.
func dequantise(t *testing.T, tensors []storedTensor) (name string, a *Array, got []float32, err error) {
	t.Helper()
	s := quant.NewSurvey(0)
	for _, x := range tensors {
		s.Add(x.name, x.dtype, x.shape)
	}
	r := s.Report(nil)
	if len(r.Modules) != 1 || r.Modules[0].Scheme == nil {
		t.Fatalf("%v is no module: %+v", tensors, r)
	}
	m := r.Modules[0]
	var parts []*Array
	for _, p := range m.Tensors {
		x := tensors[p.Index]
		elem, ok := ElementOf(x.dtype)
		if !ok {
			t.Fatal(x.dtype)
		}
		part, err := New(x.shape, elem, bytes.NewReader(x.data))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	if name, a, err = new(Workspace).Dequantise(m, parts, "F32", nil); err != nil {
		return "", nil, nil, err
	}
	b := make([]byte, a.Size())
	if err := source.ReadFull(a.Data, b, 0); err != nil {
		t.Fatal(err)
	}
	for ; len(b) > 0; b = b[4:] {
		got = append(got, math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return name, a, got, nil
}

// codes are bytes without the codes of NaN.
func codes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(rng.Uint32()); b[i]&0x7f == 0x7f {
			b[i] = 0
		}
	}
	return b
}

func f32s(v []float32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(x))
	}
	return b
}

func randoms(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = rng.Float32()
	}
	return v
}

// e4m3 is the number of a code, by the definition of OCP OFP8.
func e4m3(code byte) float64 {
	e, m := int(code>>3&15), float64(code&7)
	v := math.Ldexp(8+m, e-7-3)
	if e == 0 {
		v = math.Ldexp(m, -6-3)
	}
	return math.Copysign(v, float64(1-2*int(code>>7)))
}

// FP8 with a scale for the tensor, for each row, and for blocks of 128 by 128 the last of
// which are cut: weight_dequant of DeepSeek-V3's inference/kernel.py.
func TestDequantiseFP8(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	const rows, cols = 200, 150
	weight := codes(rng, rows*cols)
	for _, tt := range []struct {
		leaf  string
		shape []uint64
		at    func(r, c int) int
	}{
		{"weight_scale", []uint64{}, func(r, c int) int { return 0 }},
		{"weight_scale", []uint64{rows, 1}, func(r, c int) int { return r }},
		{"weight_scale", []uint64{rows}, func(r, c int) int { return r }},
		{"weight_scale_inv", []uint64{2, 2}, func(r, c int) int { return r/128*2 + c/128 }},
	} {
		n := 1
		for _, d := range tt.shape {
			n *= int(d)
		}
		scales := randoms(rng, n)
		name, a, got, err := dequantise(t, []storedTensor{
			{"m.weight", "F8_E4M3", []uint64{rows, cols}, weight},
			{"m." + tt.leaf, "F32", tt.shape, f32s(scales)},
		})
		if err != nil {
			t.Errorf("%s %v: %v", tt.leaf, tt.shape, err)
			continue
		}
		if name != "m.weight" || len(got) != rows*cols || a.Shape[0] != rows || a.Shape[1] != cols {
			t.Fatalf("%s %v", name, a.Shape)
		}
		for i, v := range got {
			if want := float32(e4m3(weight[i]) * float64(scales[tt.at(i/cols, i%cols)])); v != want {
				t.Fatalf("%s %v: element %d is %v, want %v", tt.leaf, tt.shape, i, v, want)
			}
		}
	}
}

// gpt-oss: transformers' integrations/mxfp4.py, convert_moe_packed_tensors: each byte is
// two elements, low bits first, 16 bytes have an exponent, and the last two axes change
// places.
func TestDequantiseMXFP4(t *testing.T) {
	table := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, math.Copysign(0, -1), -0.5, -1, -1.5, -2, -3, -4, -6}
	rng := rand.New(rand.NewPCG(2, 2))
	const experts, rows, groups = 2, 6, 3
	blocks, scales := codes(rng, experts*rows*groups*16), make([]byte, experts*rows*groups)
	for i := range scales {
		scales[i] = byte(120 + rng.IntN(16))
	}
	number := func(e, r, c int) float32 {
		b := blocks[((e*rows+r)*groups+c/32)*16+c%32/2]
		return float32(math.Ldexp(table[b>>(4*(c%2))&15], int(scales[(e*rows+r)*groups+c/32])-127))
	}
	name, a, got, err := dequantise(t, []storedTensor{
		{"m.down_proj_blocks", "U8", []uint64{experts, rows, groups, 16}, blocks},
		{"m.down_proj_scales", "U8", []uint64{experts, rows, groups}, scales},
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []int64{experts, groups * 32, rows}; name != "m.down_proj" || len(a.Shape) != 3 || a.Shape[1] != want[1] || a.Shape[2] != want[2] {
		t.Fatalf("%s %v, want %v", name, a.Shape, want)
	}
	for i, v := range got {
		e, c, r := i/(groups*32*rows), i/rows%(groups*32), i%rows
		if want := number(e, r, c); math.Float32bits(v) != math.Float32bits(want) {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
	}
	// compressed-tensors keeps the rows.
	name, a, got, err = dequantise(t, []storedTensor{
		{"m.weight_packed", "U8", []uint64{experts * rows, groups * 16}, blocks},
		{"m.weight_scale", "U8", []uint64{experts * rows, groups}, scales},
	})
	if err != nil || name != "m.weight" || a.Shape[1] != groups*32 {
		t.Fatalf("%s %v %v", name, a, err)
	}
	for i, v := range got {
		r, c := i/(groups*32), i%(groups*32)
		if want := number(r/rows, r%rows, c); math.Float32bits(v) != math.Float32bits(want) {
			t.Fatalf("element %d is %v, want %v", i, v, want)
		}
	}
}

// What is not an element times a scale is refused, with what it is.
func TestDequantiseRefused(t *testing.T) {
	_, _, _, err := dequantise(t, []storedTensor{
		{"m.qweight", "I32", []uint64{16, 256}, make([]byte, 4*16*256)},
		{"m.qzeros", "I32", []uint64{4, 32}, make([]byte, 4*4*32)},
		{"m.scales", "F16", []uint64{4, 256}, make([]byte, 2*4*256)},
		{"m.g_idx", "I32", []uint64{128}, make([]byte, 4*128)},
	})
	if err == nil || !strings.Contains(err.Error(), "gptq") {
		t.Error(err)
	}
}
