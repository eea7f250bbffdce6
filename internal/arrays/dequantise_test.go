package arrays

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
)

// A stored tensor of a module.
type storedTensor struct {
	name, dtype string
	shape       []uint64
	data        []byte
}

// dequantise is what comes of the one module that the tensors are, as a dtype of F32 and BF16.
func dequantise(t *testing.T, tensors []storedTensor, dtype string) (name string, a *Array, got []float32, err error) {
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
	for i := range m.Tensors {
		x := tensors[m.Index(&m.Tensors[i])]
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
	if name, a, err = new(Workspace).Dequantise(m, parts, dtype, nil); err != nil {
		return "", nil, nil, err
	}
	b := make([]byte, a.Size())
	if err := source.ReadFull(a.Data, b, 0); err != nil {
		return "", nil, nil, err
	}
	got = make([]float32, a.Elements())
	typ, _ := values.Lookup(dtype)
	typ.Decode(got, b)
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
		}, "F32")
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
	}, "F32")
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
	}, "F32")
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

// exactly is a number as math/big rounds it, once, to F32 or BF16.
func exactly(r *big.Rat, dtype string) float32 {
	bits := map[string]uint{"F32": 24, "BF16": 8}[dtype]
	v, _ := new(big.Float).SetPrec(bits).SetRat(r).Float32()
	return v
}

func rat(v float64) *big.Rat { return new(big.Rat).SetFloat64(v) }

// Every scheme by its published formula: in rationals, so that the one rounding is that of
// the result.
func TestDequantiseFormulas(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	fp4 := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6}
	nibble := func(b []byte, i int) byte { return b[i/2] >> (4 * (i % 2)) & 15 }
	scales := func(n int) ([]byte, []float64) { // E4M3
		b := codes(rng, n)
		v := make([]float64, n)
		for i := range b {
			b[i] = b[i]&0x3f | 0x20
			v[i] = e4m3(b[i])
		}
		return b, v
	}
	f32 := func(n int) ([]byte, []float64) {
		r := randoms(rng, n)
		v := make([]float64, n)
		for i := range r {
			v[i] = float64(r[i])
		}
		return f32s(r), v
	}
	words := func(n int) ([]byte, func(i, bits int) int) {
		b := make([]byte, 4*n)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b, func(i, bits int) int {
			// compressed_tensors' unpack_from_int32: shift, mask, less half of the range.
			each := 32 / bits
			w := binary.LittleEndian.Uint32(b[i/each*4:])
			return int(w>>(i%each*bits))&(1<<bits-1) - 1<<(bits-1)
		}
	}
	const rows, cols = 24, 96
	packed := codes(rng, rows*cols/2)
	eight := codes(rng, rows*cols)
	bs, block := scales(rows * cols / 16)
	gs, global := f32(1)
	rs, row := f32(rows)
	ws, group := f32(rows * 3)
	exponents := make([]byte, rows*cols/32)
	for i := range exponents {
		exponents[i] = byte(110 + rng.IntN(30))
	}
	zeros := codes(rng, rows)
	i4, int4 := words(rows * cols / 8)
	i8, int8s := words(rows * cols / 4)
	zp, zero4 := words(rows / 8 * 3) // packed down the rows: element (r, g) is in word (r/8, g)
	zeroAt := func(r, g int) int { return zero4((r/8*3+g)*8+r%8, 4) }
	odd, padded := words(rows * 13) // 99 columns of 4 bits
	size := func(cols byte) []byte {
		return []byte{rows, 0, 0, 0, 0, 0, 0, 0, cols, 0, 0, 0, 0, 0, 0, 0}
	}
	mul := func(v ...float64) *big.Rat {
		r := rat(1)
		for _, x := range v {
			r.Mul(r, rat(x))
		}
		return r
	}
	tests := []struct {
		name    string
		tensors []storedTensor
		shape   []int64
		at      func(r, c int) *big.Rat
	}{
		// compressed_tensors: dequantize divides the scales by global_scale.
		{"compressed-tensors nvfp4", []storedTensor{
			{"m.weight_packed", "U8", []uint64{rows, cols / 2}, packed},
			{"m.weight_scale", "F8_E4M3", []uint64{rows, cols / 16}, bs},
			{"m.weight_global_scale", "F32", []uint64{1}, gs},
			{"m.input_global_scale", "F32", []uint64{1}, gs},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			v := mul(fp4[nibble(packed, r*cols+c)], block[r*cols/16+c/16])
			return v.Quo(v, rat(global[0]))
		}},
		// ModelOpt: dequantize multiplies with both.
		{"modelopt nvfp4", []storedTensor{
			{"m.weight", "U8", []uint64{rows, cols / 2}, packed},
			{"m.weight_scale", "F8_E4M3", []uint64{rows, cols / 16}, bs},
			{"m.weight_scale_2", "F32", []uint64{}, gs},
			{"m.input_scale", "F32", []uint64{}, gs},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(fp4[nibble(packed, r*cols+c)], block[r*cols/16+c/16], global[0])
		}},
		{"mxfp8", []storedTensor{
			{"m.weight", "F8_E4M3", []uint64{rows, cols}, eight},
			{"m.weight_scale", "U8", []uint64{rows, cols / 32}, exponents},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(e4m3(eight[r*cols+c]), math.Ldexp(1, int(exponents[r*3+c/32])-127))
		}},
		{"int8 rows with zero points", []storedTensor{
			{"m.weight", "I8", []uint64{rows, cols}, eight},
			{"m.weight_scale", "F32", []uint64{rows, 1}, rs},
			{"m.weight_zero_point", "I8", []uint64{rows, 1}, zeros},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(float64(int(int8(eight[r*cols+c]))-int(int8(zeros[r]))), row[r])
		}},
		{"int4 packed", []storedTensor{
			{"m.weight_packed", "I32", []uint64{rows, cols / 8}, i4},
			{"m.weight_scale", "F32", []uint64{rows, 3}, ws},
			{"m.weight_shape", "I64", []uint64{2}, size(cols)},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(float64(int4(r*cols+c, 4)), group[r*3+c/32])
		}},
		{"int8 packed", []storedTensor{
			{"m.weight_packed", "I32", []uint64{rows, cols / 4}, i8},
			{"m.weight_scale", "F32", []uint64{rows, 1}, rs},
			{"m.weight_shape", "I64", []uint64{2}, size(cols)},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(float64(int8s(r*cols+c, 8)), row[r])
		}},
		{"int4 packed with zero points", []storedTensor{
			{"m.weight_packed", "I32", []uint64{rows, cols / 8}, i4},
			{"m.weight_scale", "F32", []uint64{rows, 3}, ws},
			{"m.weight_shape", "I64", []uint64{2}, size(cols)},
			{"m.weight_zero_point", "I32", []uint64{rows / 8, 3}, zp},
		}, []int64{rows, cols}, func(r, c int) *big.Rat {
			return mul(float64(int4(r*cols+c, 4)-zeroAt(r, c/32)), group[r*3+c/32])
		}},
		// The last word of each row has three numbers, and five that are none.
		{"int4 packed with gaps", []storedTensor{
			{"m.weight_packed", "I32", []uint64{rows, 13}, odd},
			{"m.weight_scale", "F32", []uint64{rows, 3}, ws},
			{"m.weight_shape", "I64", []uint64{2}, size(99)},
		}, []int64{rows, 99}, func(r, c int) *big.Rat {
			return mul(float64(padded(r*13*8+c, 4)), group[r*3+c/33])
		}},
		{"experts with a scale each", []storedTensor{
			{"m.weight", "F8_E4M3", []uint64{2, rows / 2, cols}, eight},
			{"m.weight_scale", "F32", []uint64{2}, rs[:8]},
		}, []int64{2, rows / 2, cols}, func(r, c int) *big.Rat {
			return mul(e4m3(eight[r*cols+c]), row[r/(rows/2)])
		}},
	}
	for _, tt := range tests {
		for _, dtype := range []string{"F32", "BF16"} {
			name, a, got, err := dequantise(t, tt.tensors, dtype)
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if name != "m.weight" || !slices.Equal(a.Shape, tt.shape) {
				t.Errorf("%s: %s %v, want %v", tt.name, name, a.Shape, tt.shape)
				continue
			}
			n := int(tt.shape[len(tt.shape)-1])
			for i, v := range got {
				if want := exactly(tt.at(i/n, i%n), dtype); v != want {
					t.Errorf("%s: element %d is %v of %s, want %v", tt.name, i, v, dtype, want)
					break
				}
			}
			// Read in pieces, it is the same.
			b := make([]byte, a.Size())
			if err := source.ReadFull(a.Data, b, 0); err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(b); i += 7 {
				part := make([]byte, min(7, len(b)-i))
				if err := source.ReadFull(a.Data, part, int64(i)); err != nil || !bytes.Equal(part, b[i:i+len(part)]) {
					t.Errorf("%s: bytes %d to %d differ, %v", tt.name, i, i+7, err)
					break
				}
			}
		}
	}
}

// What has no formula is refused with the reason, and so is what does not fit.
func TestDequantiseRefused(t *testing.T) {
	bytes := func(n int) []byte { return make([]byte, n) }
	for _, tt := range []struct {
		tensors []storedTensor
		want    string
	}{
		{[]storedTensor{
			{"m.qweight", "I32", []uint64{16, 256}, bytes(4 * 16 * 256)},
			{"m.qzeros", "I32", []uint64{4, 32}, bytes(4 * 4 * 32)},
			{"m.scales", "F16", []uint64{4, 256}, bytes(2 * 4 * 256)},
			{"m.g_idx", "I32", []uint64{128}, bytes(4 * 128)},
		}, "weights of this scheme are not dequantised here, but by dequantize_model of GPTQModel"},
		{[]storedTensor{
			{"m.weight", "U8", []uint64{32, 16}, bytes(512)},
			{"m.weight_scale", "F8_E4M3", []uint64{32, 2}, bytes(64)},
			{"m.weight_scale_2", "F32", []uint64{}, bytes(4)},
			{"m.pre_quant_scale", "F32", []uint64{32}, bytes(128)},
		}, "m.pre_quant_scale is beside it: what goes into the layer is multiplied with it"},
		{[]storedTensor{
			{"m.weight_packed", "I32", []uint64{2, 32, 2}, bytes(512)},
			{"m.weight_scale", "F32", []uint64{2, 32, 1}, bytes(256)},
			{"m.weight_shape", "I64", []uint64{2}, bytes(16)},
		}, "how many bits its numbers have is not known without weight_shape, and I32 of the shape [2 32 2] is no matrix that has one"},
		{[]storedTensor{
			{"m.weight_packed", "I32", []uint64{32, 2}, bytes(256)},
			{"m.weight_scale", "F32", []uint64{32, 1}, bytes(128)},
			{"m.weight_shape", "I64", []uint64{2}, bytes(16)},
		}, "weight_shape says 0 by 0, and the words have 32 rows"},
		{[]storedTensor{
			{"m.weight_packed", "I32", []uint64{32, 2}, bytes(256)},
			{"m.weight_scale", "F32", []uint64{32, 1}, bytes(128)},
			{"m.weight_shape", "I64", []uint64{2}, le64(32, 1<<40)},
		}, "2 words are not what rows of 1099511627776 numbers of 8, 4, 2 or 1 bits take"},
		{[]storedTensor{
			{"m.weight_packed", "I32", []uint64{32, 1}, bytes(128)},
			{"m.weight_scale", "F32", []uint64{32, 1}, bytes(128)},
			{"m.weight_shape", "I64", []uint64{2}, le64(32, 4)},
		}, "1 words for each row of 4 numbers may be of 8 bits or 4"},
		{[]storedTensor{
			{"m.weight", "F8_E4M3", []uint64{200, 150}, bytes(200 * 150)},
			{"m.scale_weight", "F32", []uint64{3, 7}, bytes(84)},
		}, "F32 of the shape [3 7] fit no weight of the shape [200 150]"},
		// Its scales are not all in the file.
		{[]storedTensor{
			{"m.weight", "F8_E4M3", []uint64{200, 150}, bytes(200 * 150)},
			{"m.weight_scale", "F32", []uint64{200, 1}, bytes(4)},
		}, "the file ends at byte 4: unexpected EOF"},
	} {
		if _, _, _, err := dequantise(t, tt.tensors, "F32"); err == nil || err.Error() != tt.want {
			t.Errorf("%v, want %s", err, tt.want)
		}
	}
}

// Scales of 0 and NaN, and exponents of 255, give what multiplying with them does.
func TestDequantiseOddScales(t *testing.T) {
	nan := math.Float32frombits(0x7fc00000)
	_, _, got, err := dequantise(t, []storedTensor{
		{"m.weight", "F8_E4M3", []uint64{3, 2}, []byte{0x38, 0xb8, 0x38, 0, 0x7e, 0x7f}}, // 1 -1, 1 0, 448 NaN
		{"m.weight_scale", "F32", []uint64{3, 1}, f32s([]float32{0, nan, math.MaxFloat32})},
	}, "F32")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []float32{0, float32(math.Copysign(0, -1)), nan, nan, float32(math.Inf(1)), nan} {
		if v := got[i]; math.Float32bits(v) != math.Float32bits(want) && (v == v || want == want) {
			t.Errorf("element %d is %v, want %v", i, v, want)
		}
	}
	blocks := bytes.Repeat([]byte{0x70}, 16) // 0 and 6
	_, _, got, err = dequantise(t, []storedTensor{
		{"m.weight_packed", "U8", []uint64{1, 16}, blocks}, {"m.weight_scale", "U8", []uint64{1, 1}, []byte{255}},
	}, "F32")
	if err != nil || got[0] == got[0] || got[1] == got[1] {
		t.Error(got, err)
	}
}

// Blocks are of the size that the configuration says: of 64 rows, the last block of 100
// has 36, and not 50.
func TestDequantiseBlocks(t *testing.T) {
	for _, tt := range []struct {
		side uint64
		want bool
	}{{64, true}, {128, false}} {
		s := quant.NewSurvey(0)
		s.Add("m.weight", "F8_E4M3", []uint64{100, 100})
		s.Add("m.weight_scale_inv", "F32", []uint64{2, 2})
		m := s.Report(&quant.Options{Rows: tt.side, Columns: tt.side}).Modules[0]
		if (m.Scheme != nil) != tt.want {
			t.Fatalf("blocks of %d: %+v", tt.side, m)
		}
		if !tt.want {
			continue
		}
		one := bytes.Repeat([]byte{0x38}, 100*100)
		_, a, err := new(Workspace).Dequantise(m, []*Array{
			{[]int64{100, 100}, Element{"F8_E4M3", 1, 1, false}, bytes.NewReader(one)},
			{[]int64{2, 2}, Element{"F32", 1, 4, false}, bytes.NewReader(f32s([]float32{1, 2, 4, 8}))},
		}, "F32", nil)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, a.Size())
		if err := source.ReadFull(a.Data, b, 0); err != nil {
			t.Fatal(err)
		}
		for i := range 100 * 100 {
			want := float32(int(1) << (i/100/64*2 + i%100/64))
			if got := math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])); got != want {
				t.Fatalf("element %d,%d is %v, want %v", i/100, i%100, got, want)
			}
		}
	}
}

// A weight as large as shapes allow takes no more memory than a small one.
func TestDequantiseLarge(t *testing.T) {
	sparse := func(elem Element, shape ...int64) *Array { return &Array{shape, elem, zeros{}} }
	s := quant.NewSurvey(0)
	s.Add("m.weight", "F8_E4M3", []uint64{2, 1 << 39})
	s.Add("m.weight_scale", "U8", []uint64{2, 1 << 34})
	m := s.Report(nil).Modules[0]
	parts := []*Array{sparse(Element{"F8_E4M3", 1, 1, false}, 2, 1<<39), sparse(Element{"U8", 1, 1, false}, 2, 1<<34)}
	_, a, err := new(Workspace).Dequantise(m, parts, "BF16", nil)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1<<20)
	read := func() {
		if err := source.ReadFull(a.Data, b, a.Size()-int64(len(b))-3); err != nil {
			t.Fatal(err)
		}
	}
	read()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 4 {
		read()
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("reading 4 MiB allocates %d bytes", got)
	}
}

// A group has as many columns as the configuration says, and the last of a row may be cut: of 200 columns in
// groups of 128 the second scale is that of 72, and not of 100. Other numbers of scales are refused.
func TestDequantiseGroups(t *testing.T) {
	for _, tt := range []struct {
		group uint64
		err   string
	}{{128, ""}, {64, "config.json says group_size 64, which is 4 scales for 200 columns, and there are 2"}, {256, "which is 1 scale for 200 columns, and there are 2"}} {
		s := quant.NewSurvey(0)
		s.Add("m.weight", "I8", []uint64{2, 200})
		s.Add("m.weight_scale", "F32", []uint64{2, 2})
		m := s.Report(&quant.Options{Group: tt.group}).Modules[0]
		_, a, err := new(Workspace).Dequantise(m, []*Array{
			{[]int64{2, 200}, Element{"I8", 1, 1, false}, bytes.NewReader(bytes.Repeat([]byte{3}, 400))},
			{[]int64{2, 2}, Element{"F32", 1, 4, false}, bytes.NewReader(f32s([]float32{1, 2, 4, 8}))},
		}, "F32", nil)
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("groups of %d: %v", tt.group, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, a.Size())
		if err := source.ReadFull(a.Data, b, 0); err != nil {
			t.Fatal(err)
		}
		for i := range 400 {
			want := 3 * float32(int(1)<<(i/200*2+i%200/128))
			if got := math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:])); got != want {
				t.Fatalf("element %d,%d is %v, want %v", i/200, i%200, got, want)
			}
		}
	}
}
