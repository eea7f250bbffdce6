package values

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/x448/float16"
)

var update = flag.Bool("update", false, "rewrite testdata from the optional test data")

func typeNames() []string {
	return slices.Sorted(maps.Keys(types()))
}

func mustLookup(t testing.TB, name string) *Type {
	t.Helper()
	typ, ok := Lookup(name)
	if !ok {
		t.Fatalf("Lookup(%q): unknown", name)
	}
	return typ
}

// same compares as bits, with every NaN equal to every other.
func same(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

func random(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func checkDecode(t *testing.T, typ *Type, src []byte) {
	t.Helper()
	want := oracleDecode(typ, src)
	got := make([]float32, len(want))
	if n := typ.Decode(got, src); n != len(want) {
		t.Fatalf("%s: Decode wrote %d numbers, want %d", typ.Name, n, len(want))
	}
	got64 := make([]float64, len(want))
	if n := typ.Decode64(got64, src); n != len(want) {
		t.Fatalf("%s: Decode64 wrote %d numbers, want %d", typ.Name, n, len(want))
	}
	for i := range want {
		if !same(got[i], want[i]) || !same(float32(got64[i]), want[i]) {
			block := i / typ.numbers() * typ.BlockBytes
			t.Fatalf("%s: element %d: Decode %v, Decode64 %v, want %v (block %x)",
				typ.Name, i, got[i], got64[i], want[i], src[block:block+typ.BlockBytes])
		}
	}
}

func TestDecodeRandomBlocks(t *testing.T) {
	for _, name := range typeNames() {
		typ := mustLookup(t, name)
		checkDecode(t, typ, random(1, 300*typ.BlockBytes))
		checkDecode(t, typ, nil)
		checkDecode(t, typ, bytes.Repeat([]byte{0xff}, typ.BlockBytes))
		checkDecode(t, typ, make([]byte, 3*typ.BlockBytes))
	}
}

// Every code of every type of at most 16 bits.
func TestDecodeEveryCode(t *testing.T) {
	src := make([]byte, 2<<16)
	for i := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*i:], uint16(i))
	}
	for _, name := range []string{"BOOL", "U8", "I8", "U16", "I16", "F16", "BF16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "F4"} {
		checkDecode(t, mustLookup(t, name), src)
	}
	for h := range 1 << 16 {
		if got, want := math.Float32bits(float16to32(uint16(h))), math.Float32bits(float16.Frombits(uint16(h)).Float32()); got != want {
			// The library sets the quiet bit of a NaN; the decoder keeps the payload.
			if got|1<<22 != want {
				t.Fatalf("float16to32(%#04x) = %#x, want %#x", h, got, want)
			}
		}
	}
}

// What the specifications state about each small format.
func TestFormatLandmarks(t *testing.T) {
	for _, c := range []struct {
		name string
		code byte
		want float32
	}{
		{"F8_E4M3", 0x7e, 448},
		{"F8_E4M3", 0x01, 0x1p-9},
		{"F8_E4M3", 0x80, float32(math.Copysign(0, -1))},
		{"F8_E4M3", 0xff, float32(math.NaN())},
		{"F8_E5M2", 0x7b, 57344},
		{"F8_E5M2", 0x7c, float32(math.Inf(1))},
		{"F8_E5M2", 0xfd, float32(math.NaN())},
		{"F8_E4M3FNUZ", 0x7f, 240},
		{"F8_E4M3FNUZ", 0x80, float32(math.NaN())},
		{"F8_E5M2FNUZ", 0x7f, 57344},
		{"F8_E5M2FNUZ", 0xff, -57344},
		{"F8_E8M0", 0, 0x1p-127},
		{"F8_E8M0", 127, 1},
		{"F8_E8M0", 254, 0x1p127},
		{"F4", 0x07, 6},
		{"F4", 0x09, -0.5},
		{"F6_E2M3", 0x1f, 7.5},
		{"F6_E3M2", 0x1f, 28},
	} {
		typ := mustLookup(t, c.name)
		src := make([]byte, typ.BlockBytes)
		src[0] = c.code
		dst := make([]float32, typ.numbers())
		typ.Decode(dst, src)
		if !same(dst[0], c.want) {
			t.Errorf("%s %#02x = %v, want %v", c.name, c.code, dst[0], c.want)
		}
		if typ.float.special != ieee && typ.float.special != exponent {
			if got := typ.float.value(1<<(typ.float.exp+typ.float.mant) - 1); typ.float.special != onesNaN && float64(got) != typ.float.max() {
				t.Errorf("%s: max() = %v, the largest code is %v", c.name, typ.float.max(), got)
			}
		}
	}
	if got := formatE4M3.max(); got != 448 {
		t.Errorf("E4M3: max() = %v", got)
	}
	if got := formatF16.max(); got != 65504 {
		t.Errorf("F16: max() = %v", got)
	}
}

func TestDecode64IsExact(t *testing.T) {
	src := random(7, 8*1000)
	for _, name := range []string{"I64", "U64", "F64", "I32", "U32"} {
		typ := mustLookup(t, name)
		dst := make([]float64, len(src)/typ.BlockBytes)
		typ.Decode64(dst, src)
		for i, got := range dst {
			var want float64
			switch b := src[i*typ.BlockBytes:]; name {
			case "I64":
				want, _ = new(big.Float).SetInt64(int64(le.Uint64(b))).Float64()
			case "U64":
				want, _ = new(big.Float).SetUint64(le.Uint64(b)).Float64()
			case "F64":
				want = math.Float64frombits(le.Uint64(b))
			case "I32":
				want = float64(int32(le.Uint32(b)))
			case "U32":
				want = float64(le.Uint32(b))
			}
			if got != want && (got == got || want == want) {
				t.Fatalf("%s: element %d = %v, want %v", name, i, got, want)
			}
		}
	}
}

func TestDecodeTakesWholeBlocks(t *testing.T) {
	typ := mustLookup(t, "Q4_0")
	for _, c := range []struct{ dst, src, want int }{
		{0, 0, 0}, {32, 17, 0}, {31, 18, 0}, {32, 18, 32}, {64, 35, 32}, {63, 36, 32}, {100, 90, 96},
	} {
		if got := typ.Decode(make([]float32, c.dst), make([]byte, c.src)); got != c.want {
			t.Errorf("Decode(%d numbers, %d bytes) = %d, want %d", c.dst, c.src, got, c.want)
		}
	}
}

func TestTypeBytes(t *testing.T) {
	for _, c := range []struct {
		name     string
		elements uint64
		bytes    uint64
		ok       bool
	}{
		{"BF16", 0, 0, true},
		{"BF16", 3, 6, true},
		{"F4", 6, 3, true},
		{"F4", 7, 0, false},
		{"F6_E2M3", 8, 6, true},
		{"Q6_K", 512, 420, true},
		{"Q6_K", 255, 0, false},
		{"C64", 2, 16, true},
		{"F64", math.MaxUint64, 0, false},
		{"F64", 1 << 60, 1 << 63, true},
		{"F64", 1 << 61, 0, false},
	} {
		got, ok := mustLookup(t, c.name).Bytes(c.elements)
		if ok != c.ok || ok && got != c.bytes {
			t.Errorf("%s: Bytes(%d) = %d, %v, want %d, %v", c.name, c.elements, got, ok, c.bytes, c.ok)
		}
	}
	for _, name := range []string{"", "Q8_1", "bf16", "ggml_type_139", "FP8"} {
		if _, ok := Lookup(name); ok {
			t.Errorf("Lookup(%q) knows it", name)
		}
	}
}

// Swap against a description of the blocks in the order of what ggml reads:
// a number is the width of a field, xN repeats it.
func TestSwap(t *testing.T) {
	for name, layout := range map[string]string{
		"U8": "1", "BF16": "2", "F32": "4", "I64": "8", "C64": "4x2", "F4": "1", "F6_E3M2": "1x3",
		"Q4_0": "2 1x16", "Q5_0": "2 4 1x16", "Q5_1": "2 2 4 1x16", "Q8_0": "2 1x32", "Q8_K": "4 1x256 2x16",
		"Q2_K": "1x16 1x64 2 2", "Q4_K": "2 2 1x12 1x128", "Q6_K": "1x128 1x64 1x16 2",
		"IQ2_XXS": "2 2x32", "IQ2_XS": "2 2x32 1x8", "IQ1_S": "2 1x32 2x8", "IQ4_XS": "2 2 1x4 1x128", "IQ3_XXS": "2 1x64 4x8", "IQ1_M": "1x32 1x16 2x4",
		"MXFP4": "1 1x16", "TQ1_0": "1x48 1x4 2",
	} {
		typ := mustLookup(t, name)
		src := random(3, 2*typ.BlockBytes)
		var want []byte
		for range 2 {
			for f := range strings.FieldsSeq(layout) {
				size, n := 0, 1
				if _, err := fmt.Sscanf(f, "%dx%d", &size, &n); err != nil && size == 0 {
					t.Fatal(err)
				}
				for range n {
					field := bytes.Clone(src[len(want) : len(want)+size])
					slices.Reverse(field)
					want = append(want, field...)
				}
			}
		}
		got := bytes.Clone(src)
		typ.Swap(got)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: Swap = %x, want %x", name, got, want)
		}
	}
}

// golden are blocks with the values that ggml's own C code gives them.
type golden struct {
	typ  *Type
	data []byte
	sum  [32]byte // of the values as little-endian float32
}

func (g golden) check(t *testing.T, want []byte) {
	t.Helper()
	dst := make([]float32, len(g.data)/g.typ.BlockBytes*g.typ.numbers())
	n := g.typ.Decode(dst, g.data)
	got := make([]byte, 0, 4*n)
	for i, v := range dst[:n] {
		u := math.Float32bits(v)
		got = binary.LittleEndian.AppendUint32(got, u)
		if want != nil && u != le.Uint32(want[4*i:]) {
			t.Fatalf("%s: element %d = %v, want %v", g.typ.Name, i, v, math.Float32frombits(le.Uint32(want[4*i:])))
		}
	}
	if sha256.Sum256(got) != g.sum {
		t.Errorf("%s: the values of %x differ from ggml's", g.typ.Name, g.data)
	}
}

const goldenFile = "testdata/golden.txt"

func TestGolden(t *testing.T) {
	raw, err := os.ReadFile(goldenFile)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(raw)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		var name, data, sum string
		if _, err := fmt.Sscan(line, &name, &data, &sum); err != nil {
			t.Fatal(err)
		}
		g := golden{typ: mustLookup(t, name)}
		g.data, _ = hex.DecodeString(data)
		digest, _ := hex.DecodeString(sum)
		copy(g.sum[:], digest)
		g.check(t, nil)
		n++
	}
	if n != 28 {
		t.Errorf("%d golden types, want 28", n)
	}
}

func TestGoldenAll(t *testing.T) {
	f, err := os.Open(testdata.Path(t, "dequant/golden.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var out bytes.Buffer
	fmt.Fprintln(&out, "# type, one block, sha256 of its values as ggml dequantises them (float32, little-endian)")
	for dec := json.NewDecoder(bufio.NewReader(f)); dec.More(); {
		var row struct {
			Type, Data, F32le string
			N, Block_bytes    int
		}
		if err := dec.Decode(&row); err != nil {
			t.Fatal(err)
		}
		typ := mustLookup(t, strings.ToUpper(row.Type))
		data, _ := hex.DecodeString(row.Data)
		want, _ := hex.DecodeString(row.F32le)
		if typ.BlockBytes != row.Block_bytes || len(want) != 4*row.N || len(data)/typ.BlockBytes*typ.numbers() != row.N {
			t.Fatalf("%s: sizes disagree with the data", row.Type)
		}
		golden{typ, data, sha256.Sum256(want)}.check(t, want)
		fmt.Fprintf(&out, "%s %x %x\n", typ.Name, data[:typ.BlockBytes], sha256.Sum256(want[:4*typ.numbers()]))
	}
	if *update {
		if err := os.WriteFile(goldenFile, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// The packed grids against ggml's tables, when they are there.
func TestGrids(t *testing.T) {
	dir := testdata.Path(t, "iq_grids")
	for _, c := range []struct {
		file     string
		table    []uint16
		width    int
		alphabet string
	}{
		{"iq2xxs_grid.bin", grids().iq2xxs[:], 2, alphabet2},
		{"iq2xs_grid.bin", grids().iq2xs[:], 2, alphabet2},
		{"iq2s_grid.bin", grids().iq2s[:], 2, alphabet2},
		{"iq1s_grid.bin", grids().iq1[:], 2, alphabet1},
		{"iq3xxs_grid.bin", grids().iq3xxs[:], 3, alphabet3},
		{"iq3s_grid.bin", grids().iq3s[:], 3, alphabet3s},
	} {
		want, err := os.ReadFile(dir + "/" + c.file)
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		values := 8
		if c.width == 3 {
			values = 4
		}
		for i := range c.table {
			for j := range values {
				got = append(got, byte(int8(gridByte(c.table, c.width, c.alphabet, uint32(i), j))))
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s differs", c.file)
		}
	}
	want, err := os.ReadFile(dir + "/ksigns_iq2xs.bin")
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		if got := evenSigns(uint32(i)); got != uint32(w) {
			t.Errorf("evenSigns(%d) = %#x, want %#x", i, got, w)
		}
	}
}

func FuzzDecode(f *testing.F) {
	names := typeNames()
	for i := range names {
		f.Add(uint8(i), random(uint64(i), 300))
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		checkDecode(t, mustLookup(t, names[int(which)%len(names)]), src)
	})
}
