package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/values"
)

// searched are the types whose blocks name entries of a grid, or signs, and where their
// scale is: ggml looks for entries by tables of neighbours, and this by trying. The scale of
// IQ1_M lies in the high halves of four bytes.
var searched = map[string][]int{
	"IQ1_S": {0, 1}, "IQ1_M": {49, 51, 53, 55}, "IQ2_XXS": {0, 1}, "IQ2_XS": {0, 1}, "IQ2_S": {0, 1}, "IQ3_XXS": {0, 1}, "IQ3_S": {0, 1}, "Q1_0": {0, 1},
}

// search finds a block that decodes to nearly x: a scale with which any codes have the
// magnitude of x, and then byte after byte the one that comes nearest.
func search(dtype string, x []float64) []byte {
	typ, _ := values.Lookup(dtype)
	rnd := rand.New(rand.NewPCG(5, 6))
	b := make([]byte, typ.BlockBytes)
	for i := range b {
		b[i] = byte(rnd.IntN(256))
	}
	got := make([]float64, len(x))
	square := func(x []float64) (sum float64) {
		for _, v := range x {
			sum += v * v
		}
		return sum
	}
	setScale := func(bits uint16) {
		at := searched[dtype]
		if len(at) == 2 {
			binary.LittleEndian.PutUint16(b[at[0]:], bits)
			return
		}
		for k, i := range at {
			b[i] = b[i]&15 | byte(bits>>(4*k)&15)<<4
		}
	}
	best, apart := uint16(0), math.Inf(1)
	for bits := uint16(0x0400); bits < 0x7c00; bits += 0x80 {
		setScale(bits)
		typ.Decode64(got, b)
		if d := math.Abs(math.Log(square(got) / square(x))); d < apart {
			best, apart = bits, d
		}
	}
	setScale(best)
	for range 2 {
		for i := range b {
			if slices.Contains(searched[dtype], i) {
				continue
			}
			best, least := b[i], math.Inf(1)
			for c := range 256 {
				b[i] = byte(c)
				typ.Decode64(got, b)
				sum := 0.0
				for k, v := range got {
					sum += (v - x[k]) * (v - x[k])
				}
				if sum < least {
					best, least = byte(c), sum
				}
			}
			b[i] = best
		}
	}
	return b
}

// ggmlTypes lists the block types that are decoded. Q8_K holds intermediate results, and
// is in no file.
func ggmlTypes() []string {
	var list []string
	for id := range gguf.TensorType(256) {
		elems, _, ok := id.Block()
		if _, known := values.Lookup(id.String()); ok && known && elems > 1 && id.String() != "Q8_K" {
			list = append(list, id.String())
		}
	}
	return append(list, "F16", "BF16")
}

// rowsOf quantises rows of 256 numbers.
func rowsOf(dtype string, patterns [][]float64) [][]byte {
	var out [][]byte
	for _, x := range patterns {
		if _, ok := searched[dtype]; !ok {
			out = append(out, quantise(dtype, x))
			continue
		}
		typ, _ := values.Lookup(dtype)
		var row []byte
		for part := range slices.Chunk(x, typ.BlockElems) {
			row = append(row, search(dtype, part)...)
		}
		out = append(out, row)
	}
	return out
}

// A faithful copy of a model in each of ggml's types is faithful, whatever the order, and
// one in which 2,000 bytes of a tensor are zero is changed in that tensor alone.
func TestVerdictOfEveryType(t *testing.T) {
	const width, heads, dim = 256, 2, 32
	rnd := rand.New(rand.NewPCG(7, 8))
	patterns := make([][]float64, 8)
	for i := range patterns {
		patterns[i] = make([]float64, width)
		for k := range patterns[i] {
			patterns[i][k] = float64(float32(0.02 * (1 + float64(i)) * rnd.NormFloat64()))
		}
	}
	type matrix struct {
		hf, gguf string
		rows     int
		heads    int // of a head's rows, which transformers has in another order
	}
	list := []matrix{
		{"model.embed_tokens", "token_embd", 8, 0},
		{"lm_head", "output", 8, 0},
		{"model.layers.0.self_attn.q_proj", "blk.0.attn_q", heads * dim, heads},
		{"model.layers.0.self_attn.k_proj", "blk.0.attn_k", dim, 1},
		{"model.layers.0.self_attn.v_proj", "blk.0.attn_v", dim, 0},
		{"model.layers.0.mlp.gate_proj", "blk.0.ffn_gate", 16, 0},
		{"model.layers.0.mlp.up_proj", "blk.0.ffn_up", 16, 0},
	}
	// What is not of rows of 256 is F32 in both.
	const rest = "tensor %s F32 [256]\ntensor %s F32 [256]\ntensor %s F32 [256]\ntensor %s F32 [256,64]\ntensor %s F32 [256,16]\n"
	var hf strings.Builder
	fmt.Fprintf(&hf, strings.ReplaceAll(rest, "\n", " values=0.5\n"), "model.norm.weight", "model.layers.0.input_layernorm.weight", "model.layers.0.post_attention_layernorm.weight", "model.layers.0.self_attn.o_proj.weight", "model.layers.0.mlp.down_proj.weight")
	for _, m := range list {
		var data []byte
		for row := range m.rows {
			for _, v := range patterns[row%len(patterns)] {
				data = binary.LittleEndian.AppendUint32(data, math.Float32bits(float32(v)))
			}
		}
		fmt.Fprintf(&hf, "tensor %s.weight F32 [%d,256] hex=%x\n", m.hf, m.rows, data)
	}
	original := open(t, fixture.File(t, "x.safetensors", hf.String()))
	types := ggmlTypes()
	for dtype := range maps.Keys(costs) {
		if typ, ok := values.Lookup(dtype); ok && typ.BlockElems > 1 && !slices.Contains(types, dtype) {
			t.Errorf("%s has a cost, and is not tried", dtype)
		}
	}
	for i, dtype := range types {
		if !sweep.Has(i, 3) {
			continue
		}
		t.Run(dtype, func(t *testing.T) {
			if _, ok := searched[dtype]; ok && testing.Short() {
				t.Skip("the search for the blocks of a type is long, and of one goroutine")
			}
			quantised := rowsOf(dtype, patterns)
			write := func(spoilt string) string {
				var b strings.Builder
				b.WriteString("format gguf\nkv general.architecture str llama\nkv llama.attention.head_count u32 2\nkv llama.attention.head_count_kv u32 1\nkv llama.embedding_length u32 64\n")
				fmt.Fprintf(&b, strings.ReplaceAll(rest, "\n", " values=0.5\n"), "output_norm.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "blk.0.attn_output.weight", "blk.0.ffn_down.weight")
				for _, m := range list {
					var data []byte
					for row := range m.rows {
						if m.heads > 0 { // convert_hf_to_gguf.py LlamaModel.permute: rows i and i+d/2 become neighbours
							d := m.rows / m.heads
							at := row % d
							row = row - at + at/2 + at%2*d/2
						}
						data = append(data, quantised[row%len(patterns)]...)
					}
					if m.gguf == spoilt {
						const zeros = 2000
						at := (len(data) - zeros) / 2
						clear(data[at : at+zeros])
					}
					fmt.Fprintf(&b, "tensor %s.weight %s [%d,256] hex=%x\n", m.gguf, dtype, m.rows, data)
				}
				return b.String()
			}
			for _, spoilt := range []string{"", "blk.0.attn_q"} {
				copied := open(t, fixture.File(t, "x.gguf", write(spoilt)))
				for _, turned := range []bool{false, true} {
					a, b := original, copied
					if turned {
						a, b = b, a
					}
					res, err := Compare(t.Context(), a, b, Options{WeightsOnly: true})
					if err != nil {
						t.Fatal(err)
					}
					var changed []string
					for i := range res.Rows {
						if r := &res.Rows[i]; r.Verdict.differs() {
							changed = append(changed, r.NameA+" "+r.NameB)
						}
					}
					switch {
					case spoilt == "" && (res.Verdict != Faithful || changed != nil):
						t.Errorf("a faithful copy is %q, turned %v: %v", res.Verdict, turned, changed)
					case spoilt != "" && (res.Verdict != Altered || len(changed) != 1 || !strings.Contains(changed[0], "attn_q") && !strings.Contains(changed[0], "q_proj")):
						t.Errorf("a copy with zeros in %s is %q, turned %v: %v", spoilt, res.Verdict, turned, changed)
					}
				}
			}
		})
	}
}

// What is found by trying comes near to what ggml's quantiser costs.
func TestSearch(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	for dtype := range searched {
		typ, _ := values.Lookup(dtype)
		x := make([]float64, typ.BlockElems)
		for i := range x {
			x[i] = float64(float32(0.02 * rnd.NormFloat64()))
		}
		d := measure(t, asF32(x), sectionOfBytes(dtype, bytes.Clone(search(dtype, x))))
		if want := costs[dtype].Normal; d.RelRMS > 2*want {
			t.Errorf("%s: %.3f, and ggml's costs %.3f", dtype, d.RelRMS, want)
		}
	}
}
