package checkpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// The counts are worked out by hand: a linear layer of 256 inputs and 128
// outputs is 32,768 parameters however it is packed, and beside it stand an
// embedding of 10x256 and a scalar.
func TestParameters(t *testing.T) {
	const (
		plain  = "tensor embed.weight F16 [10,256]\ntensor temperature F32 []\n"
		linear = 256 * 128
		rest   = 10*256 + 1
	)
	for _, tt := range []struct {
		name, config, text string
		want               uint64
		note               string
	}{
		{"plain", `{}`, plain + "tensor l.weight F16 [128,256]", linear + rest, ""},
		{"no config", ``, plain + "tensor l.weight F16 [128,256]", linear + rest, ""},
		{"zero dimension", `{}`, plain + "tensor l.weight F16 [0,256]", rest, ""},
		{
			"gptq 4-bit", `{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128}}`,
			plain + "tensor l.qweight I32 [32,128]\ntensor l.qzeros I32 [2,16]\ntensor l.scales F16 [2,128]\ntensor l.g_idx I32 [256]",
			linear + rest, "gptq: 1 packed, 3 tensors of scales and the like left out",
		},
		{
			"gptq 3-bit", `{"quantization_config":{"quant_method":"gptq","bits":3}}`,
			plain + "tensor l.qweight I32 [24,128]\ntensor l.qzeros I32 [2,12]\ntensor l.scales F16 [2,128]",
			linear + rest, "gptq: 1 packed, 2 tensors of scales and the like left out",
		},
		{
			"gptq 8-bit without config", ``,
			plain + "tensor l.qweight I32 [64,128]\ntensor l.qzeros I32 [2,32]\ntensor l.scales F16 [2,128]",
			linear + rest, "gptq or awq: 1 packed, 2 tensors of scales and the like left out",
		},
		{
			"awq", `{"quantization_config":{"quant_method":"awq","w_bit":4}}`,
			plain + "tensor l.qweight I32 [256,16]\ntensor l.qzeros I32 [2,16]\ntensor l.scales F16 [2,128]",
			linear + rest, "awq: 1 packed, 2 tensors of scales and the like left out",
		},
		{
			"bitsandbytes nf4", `{"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}}`,
			plain + "tensor l.weight U8 [16384,1]\ntensor l.weight.absmax U8 [512]\ntensor l.weight.quant_map F32 [16]\n" +
				"tensor l.weight.nested_absmax F32 [2]\ntensor l.weight.nested_quant_map F32 [256]\ntensor l.weight.quant_state.bitsandbytes__nf4 U8 [82]",
			linear + rest, "bitsandbytes: 1 packed, 5 tensors of scales and the like left out",
		},
		{
			"bitsandbytes without config", ``,
			plain + "tensor l.weight U8 [16384,1]\ntensor l.weight.absmax F32 [512]\ntensor l.weight.quant_map F32 [16]\ntensor l.weight.quant_state.bitsandbytes__nf4 U8 [82]",
			linear + rest, "bitsandbytes: 1 packed, 3 tensors of scales and the like left out",
		},
		{
			"bitsandbytes 8-bit", `{"quantization_config":{"quant_method":"bitsandbytes","load_in_8bit":true}}`,
			plain + "tensor l.weight I8 [128,256]\ntensor l.SCB F32 [128]\ntensor l.weight_format U8 []",
			linear + rest, "bitsandbytes: 2 tensors of scales and the like left out",
		},
		{
			"bitsandbytes 8-bit, no config", `{}`,
			plain + "tensor l.weight I8 [128,256]\ntensor l.SCB F32 [128]\ntensor l.weight_format U8 []",
			linear + rest, "bitsandbytes: 2 tensors of scales and the like left out",
		},
		{
			"compressed-tensors", `{"quantization_config":{"quant_method":"compressed-tensors","format":"pack-quantized",
				"config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4}},
				"group_1":{"targets":["re:.*down"],"weights":{"num_bits":8}},"group_2":{"targets":["m.exact"],"weights":{"num_bits":2}}}}}`,
			plain + "tensor m.up.weight_packed I32 [128,32]\ntensor m.up.weight_scale BF16 [128,2]\ntensor m.up.weight_shape I64 [2]\n" +
				"tensor m.down.weight_packed I32 [128,64]\ntensor m.down.weight_scale BF16 [128,2]\n" +
				"tensor m.exact.weight_packed I32 [128,16]\ntensor m.exact.weight_g_idx I32 [256]",
			3*linear + rest, "compressed-tensors: 3 packed, 4 tensors of scales and the like left out",
		},
		{
			"compressed-tensors nvfp4", `{"quantization_config":{"quant_method":"compressed-tensors","config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4}}}}}`,
			plain + "tensor l.weight_packed U8 [128,128]\ntensor l.weight_scale F8_E4M3 [128,16]\ntensor l.weight_global_scale F32 [1]\ntensor l.input_global_scale F32 [1]",
			linear + rest, "compressed-tensors: 1 packed, 3 tensors of scales and the like left out",
		},
		{
			"modelopt nvfp4", `{"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4"}}`,
			plain + "tensor l.weight U8 [128,128]\ntensor l.weight_scale F8_E4M3 [128,16]\ntensor l.weight_scale_2 F32 []\ntensor l.input_scale F32 []",
			linear + rest, "modelopt: 1 packed, 3 tensors of scales and the like left out",
		},
		{
			"mxfp4", `{"quantization_config":{"quant_method":"mxfp4"}}`,
			plain + "tensor e.gate_up_proj_blocks U8 [4,16,16,16]\ntensor e.gate_up_proj_scales U8 [4,16,16]\ntensor e.gate_up_proj_bias BF16 [4,16]",
			4*16*16*32 + 4*16 + rest, "mxfp4: 1 packed, 1 tensor of scales and the like left out",
		},
		{
			"mxfp4, first release", `{}`,
			plain + "tensor e.mlp1_weight.blocks U8 [4,16,16,16]\ntensor e.mlp1_weight.scales U8 [4,16,16]\ntensor e.mlp1_bias BF16 [4,16]",
			4*16*16*32 + 4*16 + rest, "mxfp4: 1 packed, 1 tensor of scales and the like left out",
		},
		{
			"E8M0", `{}`, plain + "tensor l.weight F8_E4M3 [128,256]\ntensor l.weight_s F8_E8M0 [128,8]",
			linear + rest, "mx: 1 tensor of scales and the like left out",
		},
		{
			"fp8 blocks", `{"quantization_config":{"quant_method":"fp8","fmt":"e4m3"}}`,
			plain + "tensor l.weight F8_E4M3 [128,256]\ntensor l.weight_scale_inv F32 [1,2]",
			linear + rest, "fp8: 1 tensor of scales and the like left out",
		},
		{
			"fp8 without config", ``,
			plain + "tensor l.weight F8_E4M3 [128,256]\ntensor l.weight_scale F32 [1]\ntensor l.input_scale F32 [1]",
			linear + rest, "scaled: 2 tensors of scales and the like left out",
		},
		{
			"fp8 with fp4 experts", `{"expert_dtype":"fp4","quantization_config":{"quant_method":"fp8"}}`,
			plain + "tensor l.experts.0.w1.weight I8 [128,128]\ntensor l.experts.0.w1.scale F8_E8M0 [128,8]\ntensor l.weight F8_E4M3 [128,256]",
			2*linear + rest, "fp8: 1 packed, 1 tensor of scales and the like left out",
		},
		{
			"mlx", `{"quantization":{"group_size":64,"bits":4}}`,
			plain + "tensor l.weight U32 [128,32]\ntensor l.scales F16 [128,4]\ntensor l.biases F16 [128,4]\n" +
				"tensor wide.weight U32 [128,64]\ntensor wide.scales F16 [128,4]\ntensor wide.biases F16 [128,4]",
			2*linear + rest, "mlx: 2 packed, 4 tensors of scales and the like left out",
		},
		{
			"a learned scale is a parameter", `{}`,
			plain + "tensor l.weight_scale F32 [5]\ntensor r.scales F32 [3]",
			8 + rest, "",
		},
		{"sub-byte", `{}`, plain + "tensor l.weight F4 [128,256]", linear + rest, ""},
		{
			"nested config", `{"text_config":{"quantization_config":{"quant_method":"gptq","bits":8}}}`,
			plain + "tensor l.qweight I32 [64,128]\ntensor l.scales F16 [2,128]",
			linear + rest, "gptq: 1 packed, 1 tensor of scales and the like left out",
		},
		{
			"hostile width", `{"quantization_config":{"quant_method":"gptq","bits":0}}`,
			plain + "tensor l.qweight I32 [32,128]",
			linear + rest, "gptq: 1 packed",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := fixture.File(t, "model.safetensors", tt.text)
			if tt.config != "" {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), "config.json"), []byte(tt.config), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			r, err := checkpoint.Open(t.Context(), path, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if len(r.Faults) > 0 {
				t.Fatal(r.Faults)
			}
			got, note := r.Checkpoints[0].Parameters(r.Config)
			if got != tt.want || note != tt.note {
				t.Errorf("got %d %q, want %d %q", got, note, tt.want, tt.note)
			}
		})
	}
}

func TestParametersOverflow(t *testing.T) {
	path := fixture.File(t, "model.safetensors",
		"tensor a F32 [9223372036854775808,4] bytes=0 begin=0 end=0\ntensor b F32 [9223372036854775808] bytes=0 begin=0 end=0\ntensor c F32 [9223372036854775808] bytes=0 begin=0 end=0\n")
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, note := r.Checkpoints[0].Parameters(nil)
	if n != 0 || note != "more than 64 bits can count" {
		t.Errorf("got %d %q", n, note)
	}
}

func TestQuantization(t *testing.T) {
	for _, tt := range []struct {
		config, want, architecture string
	}{
		{`{}`, "", ""},
		{`{"architectures":["LlamaForCausalLM"],"model_type":"llama"}`, "", "LlamaForCausalLM"},
		{`{"model_type":"llama"}`, "", "llama"},
		{`{"quantization_config":{"quant_method":"gptq","bits":4,"group_size":128}}`, "gptq 4-bit, groups of 128", ""},
		{`{"quantization":{"bits":8,"group_size":32}}`, "mlx 8-bit, groups of 32", ""},
		{`{"quantization_config":{"quant_method":"modelopt","quant_algo":"NVFP4"}}`, "modelopt NVFP4", ""},
		{`{"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}}`, "bitsandbytes 4-bit", ""},
		{`{"quantization_config":7,"architectures":{}}`, "", ""},
	} {
		cfg, err := checkpoint.ParseConfig("config.json", []byte(tt.config))
		if err != nil {
			t.Fatal(err)
		}
		c := &checkpoint.Checkpoint{Format: checkpoint.Safetensors}
		if got := c.Quantization(cfg); got != tt.want {
			t.Errorf("%s: quantization %q, want %q", tt.config, got, tt.want)
		}
		if got := c.Architecture(cfg); got != tt.architecture {
			t.Errorf("%s: architecture %q, want %q", tt.config, got, tt.architecture)
		}
	}
	path := fixture.File(t, "m.gguf", "format gguf\nkv general.architecture str qwen3\nkv general.file_type u32 15\ntensor a F32 [2,3]")
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := r.Checkpoints[0]
	if got := c.Quantization(nil); got != "Q4_K_M" {
		t.Errorf("quantization %q", got)
	}
	if got := c.Architecture(nil); got != "qwen3" {
		t.Errorf("architecture %q", got)
	}
	if n, note := c.Parameters(nil); n != 6 || note != "" {
		t.Errorf("parameters %d %q", n, note)
	}
}

// Llama-3-8B has 8,030,261,248 parameters and gpt-oss-20b 20,914,757,184,
// however they are packed.
func TestParametersOfRealShapes(t *testing.T) {
	const llama, gptOSS = 8_030_261_248, 20_914_757_184
	for _, tt := range []struct {
		list, config string
		want         uint64
	}{
		{"meta-llama__Meta-Llama-3-8B__hf-llama", `{}`, llama},
		{"meta-llama__Meta-Llama-3-8B__gptq", `{"quantization_config":{"quant_method":"gptq","bits":4}}`, llama},
		{"meta-llama__Meta-Llama-3-8B__gptq", `{}`, llama},
		{"meta-llama__Meta-Llama-3-8B__awq-gemm", `{"quantization_config":{"quant_method":"awq","bits":4}}`, llama},
		{"meta-llama__Meta-Llama-3-8B__bnb-nf4", `{"quantization_config":{"quant_method":"bitsandbytes","load_in_4bit":true}}`, llama},
		{"meta-llama__Meta-Llama-3-8B__compressed-tensors-w4a16", `{"quantization_config":{"quant_method":"compressed-tensors","config_groups":{"group_0":{"targets":["Linear"],"weights":{"num_bits":4}}}}}`, llama},
		{"openai__gpt-oss-20b__hf-gpt-oss-mxfp4", `{"quantization_config":{"quant_method":"mxfp4"}}`, gptOSS},
	} {
		t.Run(tt.list, func(t *testing.T) {
			data, err := os.ReadFile(testdata.Path(t, "names/"+tt.list+".reconstructed.tsv"))
			if err != nil {
				t.Fatal(err)
			}
			text := "data sparse\n"
			for line := range strings.Lines(string(data)) {
				name, rest, _ := strings.Cut(strings.TrimSpace(line), "\t")
				shape := strings.TrimSpace(rest)
				if shape == "?" {
					shape = "82" // a packed quant_state
				}
				text += fmt.Sprintf("tensor %s %s [%s]\n", name, dtypeOfPart(name, shape), strings.ReplaceAll(shape, "x", ","))
			}
			r, err := checkpoint.Open(t.Context(), fixture.File(t, "model.safetensors", text), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cfg, err := checkpoint.ParseConfig("config.json", []byte(tt.config))
			if err != nil {
				t.Fatal(err)
			}
			if got, note := r.Checkpoints[0].Parameters(cfg); got != tt.want {
				t.Errorf("%d parameters (%s), want %d", got, note, tt.want)
			}
		})
	}
}

// dtypeOfPart is the type that a list of names does not give.
func dtypeOfPart(name, shape string) string {
	switch last := name[strings.LastIndexByte(name, '.')+1:]; {
	case last == "qweight", last == "qzeros", last == "g_idx", last == "weight_packed":
		return "I32"
	case last == "weight_shape":
		return "I64"
	case last == "absmax", strings.Contains(name, "bitsandbytes__"), strings.HasSuffix(shape, "x1"),
		strings.HasSuffix(name, "_blocks"), strings.HasSuffix(name, "_scales"):
		return "U8"
	}
	return "BF16"
}
