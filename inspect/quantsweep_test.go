package inspect_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/inspect"
)

// A quantRelease is a model of two layers, quantised by a scheme whose numbers are worked out, as the library
// writes it.
type quantRelease struct {
	name     string
	document string // "" for config.json
	config   string // of quantization_config; the whole of another document
	tensors  string // of one module, behind its name
	within   string // the member of config.json that has quantization_config, "" for the whole
}

func group(weights string) string {
	return `{"quant_method": "compressed-tensors", "quantization_status": "compressed", "config_groups": {"group_0": {"targets": ["Linear"], "weights": ` + weights + `}}, "ignore": ["lm_head"], "format": "FORMAT"}`
}

func formatted(format, weights string) string {
	return strings.Replace(group(weights), "FORMAT", format, 1)
}

var quantReleases = []quantRelease{
	{"fp8 block", "", `{"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}`, `
.weight F8_E4M3 [256,512]
.weight_scale_inv F32 [2,4]`, ""},
	{"ct fp8 tensor", "", formatted("float-quantized", `{"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": true, "dynamic": false, "group_size": null}`), `
.weight F8_E4M3 [256,512]
.weight_scale BF16 [1]`, ""},
	{"ct fp8 channel", "", formatted("float-quantized", `{"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": true, "dynamic": false, "group_size": null}`), `
.weight F8_E4M3 [256,512]
.weight_scale BF16 [256,1]`, ""},
	{"ct fp8 block", "", formatted("float-quantized", `{"num_bits": 8, "type": "float", "strategy": "block", "symmetric": true, "dynamic": false, "block_structure": [128, 128]}`), `
.weight F8_E4M3 [256,512]
.weight_scale BF16 [2,4]`, ""},
	{"ct fp8 group", "", formatted("float-quantized", `{"num_bits": 8, "type": "float", "strategy": "group", "symmetric": true, "dynamic": false, "group_size": 64}`), `
.weight F8_E4M3 [256,512]
.weight_scale BF16 [256,8]`, ""},
	{"ct int8 tensor", "", formatted("int-quantized", `{"num_bits": 8, "type": "int", "strategy": "tensor", "symmetric": true, "dynamic": false, "group_size": null}`), `
.weight I8 [256,512]
.weight_scale BF16 [1]`, ""},
	{"ct int8 channel", "", formatted("int-quantized", `{"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": true, "dynamic": false, "group_size": null}`), `
.weight I8 [256,512]
.weight_scale BF16 [256,1]`, ""},
	{"ct int8 channel asymmetric", "", formatted("int-quantized", `{"num_bits": 8, "type": "int", "strategy": "channel", "symmetric": false, "dynamic": false, "group_size": null}`), `
.weight I8 [256,512]
.weight_scale BF16 [256,1]
.weight_zero_point I8 [256,1]`, ""},
	{"ct int8 group", "", formatted("int-quantized", `{"num_bits": 8, "type": "int", "strategy": "group", "symmetric": true, "dynamic": false, "group_size": 128}`), `
.weight I8 [256,512]
.weight_scale BF16 [256,4]`, ""},
	{"ct int8 group asymmetric", "", formatted("int-quantized", `{"num_bits": 8, "type": "int", "strategy": "group", "symmetric": false, "dynamic": false, "group_size": 128}`), `
.weight I8 [256,512]
.weight_scale BF16 [256,4]
.weight_zero_point I8 [256,4]`, ""},
	{"ct packed group", "", formatted("pack-quantized", `{"num_bits": 4, "type": "int", "strategy": "group", "symmetric": true, "dynamic": false, "group_size": 128, "actorder": "static"}`), `
.weight_packed I32 [256,64]
.weight_scale BF16 [256,4]
.weight_shape I64 [2] values=256,512`, ""},
	{"ct packed group asymmetric", "", formatted("pack-quantized", `{"num_bits": 4, "type": "int", "strategy": "group", "symmetric": false, "dynamic": false, "group_size": 128}`), `
.weight_packed I32 [256,64]
.weight_scale BF16 [256,4]
.weight_zero_point I32 [32,4]
.weight_shape I64 [2] values=256,512`, ""},
	{"ct packed channel", "", formatted("pack-quantized", `{"num_bits": 4, "type": "int", "strategy": "channel", "symmetric": true, "dynamic": false, "group_size": null}`), `
.weight_packed I32 [256,64]
.weight_scale BF16 [256,1]
.weight_shape I64 [2] values=256,512`, ""},
	{"ct packed 8 bits", "", formatted("pack-quantized", `{"num_bits": 8, "type": "int", "strategy": "group", "symmetric": true, "dynamic": false, "group_size": 128}`), `
.weight_packed I32 [256,128]
.weight_scale BF16 [256,4]
.weight_shape I64 [2] values=256,512`, ""},
	{"ct nvfp4", "", formatted("nvfp4-pack-quantized", `{"num_bits": 4, "type": "float", "strategy": "tensor_group", "symmetric": true, "dynamic": false, "group_size": 16}`), `
.weight_packed U8 [256,256]
.weight_scale F8_E4M3 [256,32]
.weight_global_scale F32 [1]`, ""},
	{"ct mxfp4", "", formatted("mxfp4-pack-quantized", `{"num_bits": 4, "type": "float", "strategy": "group", "symmetric": true, "dynamic": false, "group_size": 32, "scale_dtype": "torch.uint8"}`), `
.weight_packed U8 [256,256]
.weight_scale U8 [256,16] hex=7f`, ""},
	{"gpt-oss mxfp4", "", `{"quant_method": "mxfp4", "modules_to_not_convert": ["model.layers.*.self_attn", "lm_head"]}`, `
_blocks U8 [4,64,8,16]
_scales U8 [4,64,8] hex=7f`, ""},
	{"modelopt fp8", "hf_quant_config.json", `{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": null, "exclude_modules": ["lm_head"]}}`, `
.weight F8_E4M3 [256,512]
.weight_scale F32 []
.input_scale F32 []`, ""},
	{"modelopt nvfp4", "hf_quant_config.json", `{"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": null, "group_size": 16, "exclude_modules": ["lm_head"]}}`, `
.weight U8 [256,256]
.weight_scale F8_E4M3 [256,32]
.weight_scale_2 F32 []
.input_scale F32 []`, ""},
	{"modelopt in config.json", "", `{"quant_method": "modelopt", "quant_algo": "NVFP4", "producer": {"name": "modelopt"}, "ignore": ["lm_head"], "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 4, "type": "float", "group_size": 16, "dynamic": false}, "input_activations": {"num_bits": 4, "type": "float", "group_size": 16, "dynamic": false}}}}`, `
.weight U8 [256,256]
.weight_scale F8_E4M3 [256,32]
.weight_scale_2 F32 []
.input_scale F32 []`, ""},
	{"quark fp8", "", `{"quant_method": "quark", "export": {"pack_method": "reorder"}, "exclude": ["lm_head"], "global_quant_config": {"weight": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": false, "symmetric": null, "group_size": null}, "input_tensors": {"dtype": "fp8_e4m3", "qscheme": "per_tensor", "is_dynamic": true}}}`, `
.weight F8_E4M3 [256,512]
.weight_scale F32 []`, ""},
	{"quark mxfp4", "", `{"quant_method": "quark", "export": {"pack_method": "reorder"}, "exclude": ["lm_head"], "global_quant_config": {"weight": {"dtype": "fp4", "qscheme": "per_group", "is_dynamic": false, "group_size": 32, "scale_format": "e8m0"}}}`, `
.weight U8 [256,256]
.weight_scale U8 [256,16] hex=7f`, ""},
	{"quark int8", "", `{"quant_method": "quark", "exclude": ["lm_head"], "global_quant_config": {"weight": {"dtype": "int8", "qscheme": "per_channel", "is_dynamic": false, "symmetric": true, "group_size": null}}}`, `
.weight I8 [256,512]
.weight_scale F32 [256]`, ""},
	{"fbgemm", "", `{"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0, "modules_to_not_convert": ["lm_head"]}`, `
.weight F8_E4M3 [256,512]
.weight_scale F32 [256,1]
.input_scale_ub F32 []`, ""},
	{"fp8 block of the text", "", `{"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [64, 64]}`, `
.weight F8_E4M3 [256,512]
.weight_scale_inv F32 [4,8]`, "text_config"},
	{"ct packed group of the text", "", formatted("pack-quantized", `{"num_bits": 4, "type": "int", "strategy": "group", "symmetric": false, "dynamic": false, "group_size": 128}`), `
.weight_packed I32 [256,64]
.weight_scale BF16 [256,4]
.weight_zero_point I32 [32,4]
.weight_shape I64 [2] values=256,512`, "llm_config"},
}

// others are strings that a field may have instead.
var others = map[string]string{
	"compressed-tensors": "gptq", "fp8": "awq", "mxfp4": "gptq", "modelopt": "fp8", "quark": "awq", "fbgemm_fp8": "gptq",
	"static": "group", "tensor": "channel", "channel": "group", "group": "channel", "block": "tensor", "tensor_group": "group",
	"int": "float", "float": "int", "float-quantized": "pack-quantized", "int-quantized": "float-quantized", "pack-quantized": "int-quantized",
	"nvfp4-pack-quantized": "pack-quantized", "mxfp4-pack-quantized": "nvfp4-pack-quantized", "FP8": "NVFP4", "NVFP4": "FP8", "per_tensor": "per_channel",
	"per_channel": "per_tensor", "per_group": "per_channel", "fp8_e4m3": "int8", "int8": "fp8_e4m3", "fp4": "int4", "e4m3": "e5m2",
}

// changes yields a document with each of its fields taken out or changed.
func changes(t *testing.T, text string, yield func(what, text string)) {
	var doc any
	if err := json.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatal(err)
	}
	print := func(what string) {
		b, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		yield(what, string(b))
	}
	var walk func(at string, in any)
	walk = func(at string, in any) {
		switch in := in.(type) {
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(in)) {
				v, path := in[k], at+"/"+k
				delete(in, k)
				print("without " + path)
				var alternatives []any
				switch x := v.(type) {
				case bool:
					alternatives = []any{!x}
				case float64:
					alternatives = []any{2 * x, x / 2}
				case string:
					if o := others[x]; o != "" {
						alternatives = []any{o}
					}
				}
				for _, o := range alternatives {
					in[k] = o
					print(fmt.Sprintf("%s: %v", path, o))
				}
				in[k] = v
				walk(path, v)
			}
		case []any:
			for i, v := range in {
				if n, ok := v.(float64); ok {
					for _, o := range []float64{2 * n, n / 2} {
						in[i] = o
						print(fmt.Sprintf("%s[%d]: %v", at, i, o))
					}
					in[i] = n
				} else {
					walk(fmt.Sprintf("%s[%d]", at, i), v)
				}
			}
		}
	}
	walk("", doc)
}

// saysNothing are the fields that the numbers do not depend on: what activations are, and which programs wrote it.
// Symmetric weights that have zero points all the same are less by those.
var saysNothing = []string{"input_activations", "input_tensors", "activation", "producer", "dynamic", "is_dynamic", "kv_cache", "symmetric: true", "ignore", "exclude", "modules_to_not_convert", "quantization_status", "export", "pack_method", "scale_format", "scale_dtype"}

// Where convert refuses to work numbers out, check has a finding, and where check finds that the documents or the
// companions of quantised weights are wrong, convert refuses: for every scheme, each tensor and each field of the
// configuration is taken out or changed in turn. What is not refused has the numbers of the unchanged release, and
// those are what the formula says.
func TestConvertAndCheckAgree(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	rules := []string{"WT311", "WT321", "WT322", "WT501", "WT502", "WT503", "WT504", "WT505"}
	for _, r := range quantReleases {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			var numbers map[string]string
			try := func(what, config, tensors string) {
				dir := filepath.Join(t.TempDir(), "m")
				inner := ""
				if r.document == "" {
					inner = `, "quantization_config": ` + config
					if r.within != "" {
						inner = fmt.Sprintf(`, %q: {"quantization_config": %s}`, r.within, config)
					}
				} else {
					writeFile(t, filepath.Join(dir, r.document), config)
				}
				writeFile(t, filepath.Join(dir, "config.json"), `{"model_type": "llama", "torch_dtype": "bfloat16"`+inner+`}`)
				weights(t, filepath.Join(dir, "model.safetensors"), tensors)
				checked := check(t, &inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Select: rules}}, dir)
				c := open(t, dir)
				out := filepath.Join(t.TempDir(), "out.safetensors")
				v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{DType: "F32", Write: assemble.Options{Output: out}})
				if err == nil {
					defer v.Close()
				}
				// How many columns a row of words has is a number that weight_shape holds, which convert alone reads.
				byShape := err != nil && strings.Contains(err.Error(), "columns in 64 words are of 4")
				if refused := err != nil; refused != (byShape || len(checked.Findings) > 0) {
					t.Errorf("%s: convert says %v, and check %+v", what, err, checked.Findings)
				}
				if err != nil || tensors != r.text(nil) {
					return
				}
				if err := v.Run(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				got := contents(t, open(t, out))
				if numbers == nil {
					numbers = got
					if want := r.formula(t, c); !maps.Equal(got, want) {
						for _, name := range slices.Sorted(maps.Keys(want)) {
							t.Errorf("%s is %.200s, want %.200s", name, got[name], want[name])
						}
					}
				}
				if !maps.Equal(got, numbers) {
					t.Errorf("%s: other numbers", what)
				}
			}
			try("as it is", r.config, r.text(nil))
			changes(t, r.config, func(what, text string) {
				if !slices.ContainsFunc(saysNothing, func(s string) bool { return strings.Contains(what, s) }) {
					try(what, text, r.text(nil))
				}
			})
			for i, line := range r.lines() {
				leaf, _, _ := strings.Cut(line, " ")
				if !strings.Contains(leaf, "input_scale") {
					less := slices.Delete(r.lines(), i, i+1)
					try("one without "+leaf, r.config, r.text(less))
					try("all without "+leaf, r.config, strings.ReplaceAll(r.text(less), "tensor model.layers.1.", "tensor model.layers.2.")+"tensor x.weight BF16 [4,4]\n")
				}
				f := strings.Fields(line)
				dims := strings.FieldsFunc(strings.Trim(f[2], "[]"), func(c rune) bool { return c == ',' })
				for d := range dims {
					n, err := strconv.Atoi(dims[d])
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range []int{2 * n, n / 2, 1} {
						// So it is with words that are too few for the columns.
						if m == n || m == 0 || leaf == ".weight_packed" && strings.Contains(line, "I32") && d == 1 {
							continue
						}
						other := slices.Clone(dims)
						other[d] = strconv.Itoa(m)
						changed := slices.Clone(f)
						changed[2] = "[" + strings.Join(other, ",") + "]"
						more := r.lines()
						more[i] = strings.Join(changed, " ")
						try("one "+leaf+" of "+changed[2], r.config, r.text(more))
					}
				}
			}
		})
	}
}

// lines are the tensors of a module.
func (r *quantRelease) lines() []string {
	return strings.Split(strings.TrimSpace(r.tensors), "\n")
}

// text is the tensors of the release, the first module of which may have others.
func (r *quantRelease) text(first []string) string {
	if first == nil {
		first = r.lines()
	}
	var b strings.Builder
	b.WriteString("meta format pt\ntensor model.norm.weight BF16 [64] values=1\n")
	for i, lines := range [][]string{first, r.lines()} {
		for _, line := range lines {
			fmt.Fprintf(&b, "tensor model.layers.%d.mlp.experts.up_proj%s%s\n", i, line, fillOf(line))
		}
	}
	return b.String()
}

// fillOf is what a tensor is filled with: codes without NaN, and numbers that differ.
func fillOf(line string) string {
	leaf, rest, _ := strings.Cut(line, " ")
	dtype, _, _ := strings.Cut(rest, " ")
	switch {
	case strings.Contains(rest, "="):
		return ""
	case dtype == "BF16" || dtype == "F32":
		return " values=0.5,1.5,2,0.75,3,0.625,5"
	case strings.Contains(leaf, "scale"):
		return " hex=38404a3033"
	}
	return " hex=3840ca30b3011278f5e60d2c91"
}

// formula is what the numbers of a release are, by the formulas of the libraries, each worked out by itself.
func (r *quantRelease) formula(t *testing.T, c *checkpoint.Checkpoint) map[string]string {
	t.Helper()
	type stored struct {
		dtype string
		shape []uint64
		data  []byte
	}
	modules := make(map[string]map[string]stored)
	want := make(map[string]string)
	for i, tensor := range c.All() {
		data, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(data)
		if err != nil {
			t.Fatal(err)
		}
		at := strings.Index(tensor.Name, "up_proj") + len("up_proj")
		if at < len("up_proj") {
			one := make([]byte, 0, 256)
			for range 64 {
				one = binary.LittleEndian.AppendUint32(one, math.Float32bits(1))
			}
			want[tensor.Name] = fmt.Sprint("F32", tensor.Shape, one)
			continue
		}
		if modules[tensor.Name[:at]] == nil {
			modules[tensor.Name[:at]] = make(map[string]stored)
		}
		modules[tensor.Name[:at]][tensor.Name[at:]] = stored{tensor.DType, tensor.Shape, b}
	}
	number := func(s stored, i int) float64 {
		switch s.dtype {
		case "F32":
			return float64(math.Float32frombits(binary.LittleEndian.Uint32(s.data[4*i:])))
		case "BF16":
			return float64(math.Float32frombits(uint32(binary.LittleEndian.Uint16(s.data[2*i:])) << 16))
		case "F8_E4M3":
			code := s.data[i]
			e, m := int(code>>3&15), float64(code&7)
			v := math.Ldexp(8+m, e-10)
			if e == 0 {
				v = math.Ldexp(m, -9)
			}
			return math.Copysign(v, float64(1-2*int(code>>7)))
		case "I8":
			return float64(int8(s.data[i]))
		case "U8":
			return math.Ldexp(1, int(s.data[i])-127)
		}
		t.Fatal(s.dtype)
		return 0
	}
	fp4 := []float64{0, 0.5, 1, 1.5, 2, 3, 4, 6, -0, -0.5, -1, -1.5, -2, -3, -4, -6}
	for module, m := range modules {
		name, rows, cols := module+".weight", 256, 512
		element := func(row, col int) float64 { return number(m[".weight"], row*cols+col) }
		zero := func(row, group int) float64 { return 0 }
		shape := []uint64{256, 512}
		scales := []string{".weight_scale"}
		packed, isPacked := m[".weight_packed"]
		if w, ok := m[".weight"]; ok && w.dtype == "U8" {
			packed, isPacked = w, true
		}
		switch {
		case m["_blocks"].data != nil: // 4 experts of 64 rows of 256, which become 4 of 256 rows of 64
			var out []byte
			for e := range 4 {
				for col := range 256 {
					for row := range 64 {
						at := (e*64+row)*128 + col/2
						code := m["_blocks"].data[at] >> (4 * (col % 2)) & 15
						v := fp4[code] * number(m["_scales"], (e*64+row)*8+col/32)
						if code == 8 {
							v = math.Copysign(0, -1)
						}
						out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
					}
				}
			}
			want[module] = fmt.Sprint("F32", []uint64{4, 256, 64}, out)
			continue
		case isPacked && packed.dtype == "U8":
			element = func(row, col int) float64 {
				code := packed.data[row*cols/2+col/2] >> (4 * (col % 2)) & 15
				if code == 8 {
					return math.Copysign(0, -1)
				}
				return fp4[code]
			}
		case isPacked:
			bits := int(packed.shape[1]) * 32 / cols
			element = func(row, col int) float64 {
				bit := (row*cols + col) * bits
				return float64(binary.LittleEndian.Uint32(packed.data[bit/32*4:])>>(bit%32)&(1<<bits-1)) - float64(int(1)<<(bits-1))
			}
		}
		if z, ok := m[".weight_zero_point"]; ok {
			across := int(z.shape[1])
			zero = func(row, group int) float64 {
				if z.dtype == "I8" {
					return number(z, row*across+group)
				}
				return float64(binary.LittleEndian.Uint32(z.data[(row/8*across+group)*4:])>>(row%8*4)&15) - 8
			}
		}
		if _, ok := m[".weight_scale_inv"]; ok {
			scales = []string{".weight_scale_inv"}
		}
		down, across := 1, 1
		switch s := m[scales[0]]; len(s.shape) {
		case 1:
			down = int(s.shape[0])
		case 2:
			down, across = int(s.shape[0]), int(s.shape[1])
		}
		var out []byte
		for row := range rows {
			for col := range cols {
				group := col * across / cols
				v := (element(row, col) - zero(row, group)) * number(m[scales[0]], row*down/rows*across+group)
				if s, ok := m[".weight_scale_2"]; ok {
					v *= number(s, 0)
				}
				if s, ok := m[".weight_global_scale"]; ok {
					v /= number(s, 0)
				}
				out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
			}
		}
		want[name] = fmt.Sprint("F32", shape, out)
	}
	return want
}
