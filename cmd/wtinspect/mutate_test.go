package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/jsondoc"
)

// A recipe is bytes that choose: each choice is the next byte, and 0 when
// there are no more. A fuzzer that changes one changes one choice.
type recipe []byte

func (r *recipe) byte() byte {
	if len(*r) == 0 {
		return 0
	}
	b := (*r)[0]
	*r = (*r)[1:]
	return b
}

// below chooses a number below n.
func (r *recipe) below(n int) int {
	if n <= 1 {
		return 0
	}
	c := int(r.byte())
	if n > 256 {
		c = c<<8 | int(r.byte())
	}
	return c % n
}

func pick[T any](r *recipe, list []T) T { return list[r.below(len(list))] }

// files are what stands below a directory, by slashed paths.
type files map[string]stored

// A stored is a file, or a link to a path.
type stored struct {
	data []byte
	link string // of a symbolic link
	hard string // of a hard link, below the root of the tree
	dir  bool   // an empty directory
}

func (t files) paths() []string {
	var list []string
	for p := range t {
		list = append(list, p)
	}
	slices.Sort(list)
	return list
}

// write makes the files of a tree below dir. Names that the file system does
// not have are left out, and so is what stands in the way of another.
func (t files) write(tb testing.TB, dir string) {
	tb.Helper()
	paths := t.paths()
	slices.SortStableFunc(paths, func(a, b string) int { return len(t[a].hard) - len(t[b].hard) }) // links after files
	for _, p := range paths {
		n, path := t[p], filepath.Join(dir, filepath.FromSlash(p))
		if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
			continue
		}
		switch {
		case n.link != "":
			_ = os.Symlink(n.link, path)
		case n.hard != "":
			_ = os.Link(filepath.Join(dir, filepath.FromSlash(n.hard)), path)
		case n.dir:
			_ = os.Mkdir(path, 0o755)
		default:
			_ = os.WriteFile(path, n.data, 0o644)
		}
	}
}

// readTree returns what stands below dir. Of a hard link it returns the data.
func readTree(tb testing.TB, dir string) files {
	tb.Helper()
	t := files{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		n := stored{dir: d.IsDir()}
		switch {
		case d.Type()&fs.ModeSymlink != 0:
			n.link, err = os.Readlink(path)
		case !d.IsDir():
			n.data, err = os.ReadFile(path)
		}
		t[filepath.ToSlash(rel)] = n
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// differences says what is not the same, leaving out what skip reports.
func (t files) differences(now files, skip func(path string) bool) []string {
	var list []string
	for _, p := range t.paths() {
		was := t[p]
		is, ok := now[p]
		switch {
		case skip(p):
		case !ok:
			list = append(list, p+" is gone")
		case was.dir != is.dir || was.link != is.link || !bytes.Equal(was.data, is.data):
			list = append(list, p+" changed")
		}
	}
	for _, p := range now.paths() {
		if _, ok := t[p]; !ok && !skip(p) {
			list = append(list, p+" is new")
		}
	}
	return list
}

// A base is a release to mutate.
type base struct {
	name string
	// ref is the path of the release below the directory that files are in.
	ref   string
	files files
}

const llamaConfig = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "vocab_size": 16, "tie_word_embeddings": false, "torch_dtype": "bfloat16", "eos_token_id": 2`

const llamaLayers = `
tensor model.layers.{0..1}.input_layernorm.weight BF16 [8]
tensor model.layers.{0..1}.post_attention_layernorm.weight BF16 [8]
tensor model.layers.{0..1}.self_attn.q_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.self_attn.k_proj.weight BF16 [4,8]
tensor model.layers.{0..1}.self_attn.v_proj.weight BF16 [4,8]
tensor model.layers.{0..1}.self_attn.o_proj.weight BF16 [8,8]
tensor model.layers.{0..1}.mlp.gate_proj.weight BF16 [12,8]
tensor model.layers.{0..1}.mlp.up_proj.weight BF16 [12,8]
tensor model.layers.{0..1}.mlp.down_proj.weight BF16 [8,12]
`

const llamaGGUF = `
tensor token_embd.weight F16 [16,32]
tensor blk.{0..1}.attn_norm.weight F32 [32]
tensor blk.{0..1}.attn_q.weight Q8_0 [32,32]
tensor blk.{0..1}.attn_k.weight Q4_0 [16,32]
tensor blk.{0..1}.attn_v.weight F16 [16,32]
tensor blk.{0..1}.attn_output.weight F16 [32,32]
tensor blk.{0..1}.ffn_norm.weight F32 [32]
tensor blk.{0..1}.ffn_gate.weight F16 [32,32]
tensor blk.{0..1}.ffn_up.weight F16 [32,32]
tensor blk.{0..1}.ffn_down.weight F16 [32,32]
tensor output_norm.weight F32 [32]
`

const keysGGUF = `format gguf
kv general.architecture str llama
kv general.name str a
kv general.alignment u32 32
kv general.file_type u32 1
kv llama.block_count u32 2
kv llama.context_length u32 32
kv llama.embedding_length u32 32
kv llama.feed_forward_length u32 32
kv llama.attention.head_count u32 2
kv llama.attention.head_count_kv u32 1
kv llama.rope.freq_base f32 10000
kv llama.vocab_size u32 16
kv tokenizer.ggml.model str llama
kv tokenizer.ggml.tokens [str] a b c d e f g h i j k l m n o p
kv tokenizer.ggml.scores [f32] 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
kv tokenizer.ggml.token_type [i32] 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1
kv tokenizer.ggml.eos_token_id u32 2
`

// bases makes the releases that are mutated.
func bases(tb testing.TB) []base {
	tb.Helper()
	sharded := func(text string) files {
		dir := tb.TempDir()
		if err := fixture.Sharded(dir, text); err != nil {
			tb.Fatal(err)
		}
		return readTree(tb, dir)
	}
	text := func(s string) stored { return stored{data: []byte(s)} }
	with := func(t files, more files) files {
		for p, n := range more {
			t[p] = n
		}
		return t
	}
	file := func(s string) stored { return stored{data: fixture.Bytes(tb, s)} }
	tokenizer := text(`{"version": "1.0", "added_tokens": [{"id": 2, "content": "</s>"}], "model": {"type": "BPE", "vocab": {"a": 0, "b": 15}, "merges": []}}`)

	llama := sharded("meta format pt\nfile model-00001-of-00002.safetensors\ntensor model.embed_tokens.weight BF16 [16,8]" + llamaLayers +
		"file model-00002-of-00002.safetensors\ntensor model.norm.weight BF16 [8]\ntensor lm_head.weight BF16 [16,8]")
	with(llama, files{
		"config.json": text(llamaConfig + "}"), "tokenizer.json": tokenizer,
		"tokenizer_config.json":  text(`{"chat_template": "{{ messages }}", "eos_token": "</s>"}`),
		"generation_config.json": text(`{"eos_token_id": [2, 3]}`),
		"README.md":              text("---\nlicense: mit\ntags: [a]\n---\n# a\n"),
	})
	wrapped := sharded("file model-00001-of-00002.safetensors\ntensor _orig_mod.model.embed_tokens.weight F32 [16,8] values=1,2\n" +
		strings.ReplaceAll(strings.ReplaceAll(llamaLayers, "model.", "_orig_mod.model."), "input_layernorm", "ln1") +
		"tensor _orig_mod.model.layers.{0..1}.self_attn.rotary_emb.inv_freq F32 [2]\n" +
		"file model-00002-of-00002.safetensors\ntensor _orig_mod.model.norm.weight BF16 [8]\ntensor _orig_mod.lm_head.weight F32 [16,8] values=1,2\nweight model.gone model-00002-of-00002.safetensors")
	with(wrapped, files{"config.json": text(strings.Replace(llamaConfig, "false", "true", 1) + "}"), "model.safetensors": file("tensor model.norm.weight BF16 [8]")})

	parts := files{}
	for i, tensors := range []string{llamaGGUF, "tensor output.weight F16 [16,32]\n"} {
		split := fmt.Sprintf("kv split.no u16 %d\nkv split.count u16 2\nkv split.tensors.count i32 21\n", i)
		keys := "format gguf\nkv general.architecture str llama\n"
		if i == 0 {
			keys = keysGGUF
		}
		parts[fmt.Sprintf("m-%05d-of-00002.gguf", i+1)] = file(keys + split + tensors)
	}

	var gptq strings.Builder
	for _, m := range []string{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"} {
		for _, leaf := range []string{"qweight I32 [4,32]", "qzeros I32 [2,4]", "scales F16 [2,32]", "g_idx I32 [32] values=0,1"} {
			fmt.Fprintf(&gptq, "tensor model.layers.{0..1}.%s.%s\n", m, leaf)
		}
	}
	quantised := files{
		"model.safetensors": file("meta format pt\ntensor model.embed_tokens.weight F16 [16,32]\ntensor model.layers.{0..1}.input_layernorm.weight F16 [32]\n" + gptq.String()),
		"config.json":       text(llamaConfig + `, "quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": true, "sym": true, "modules_to_not_convert": ["lm_head"]}}`),
	}
	fp8 := files{
		"model.safetensors": file("meta format pt\ntensor model.layers.{0..1}.self_attn.q_proj.weight F8_E4M3 [8,8]\ntensor model.layers.{0..1}.self_attn.q_proj.weight_scale_inv F32 [2,2] values=1\n" +
			"tensor model.layers.{0..1}.mlp.experts.{0..3}.gate_proj.weight F8_E4M3 [8,8]\ntensor model.layers.{0..1}.mlp.experts.{0..3}.gate_proj.weight_scale_inv F32 [2,2] values=1\ntensor model.layers.1.mlp.gate.weight BF16 [4,8]"),
		"config.json": text(`{"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "n_routed_experts": 4, "first_k_dense_replace": 0, "moe_layer_freq": 1, "num_nextn_predict_layers": 1, "kv_lora_rank": 4, "qk_rope_head_dim": 2, "quantization_config": {"quant_method": "fp8", "weight_block_size": [4, 4]}}`),
	}
	lora := files{
		"adapter_model.safetensors": file("meta format pt\ntensor base_model.model.model.layers.{0..1}.self_attn.q_proj.lora_A.weight F32 [2,8]\ntensor base_model.model.model.layers.{0..1}.self_attn.q_proj.lora_B.weight F32 [8,2]\ntensor base_model.model.model.layers.0.self_attn.v_proj.lora_A.default.weight F32 [2,8]"),
		"adapter_config.json":       text(`{"peft_type": "LORA", "base_model_name_or_path": "org/model", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "modules_to_save": null, "rank_pattern": {"q_proj": 2}, "layers_to_transform": [0, 1]}`),
	}
	pipeline := files{
		"model_index.json":                         text(`{"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"], "text_encoder": ["transformers", "CLIPTextModel"], "safety_checker": [null, null]}`),
		"unet/diffusion_pytorch_model.safetensors": file("meta format pt\ntensor down_blocks.{0..1}.resnets.0.conv1.weight F16 [4,4,3,3]\ntensor down_blocks.{0..1}.resnets.0.conv1.bias F16 [4]"),
		"unet/config.json":                         text(`{"_class_name": "UNet2DConditionModel", "block_out_channels": [4, 4]}`),
		"text_encoder/model.safetensors":           file("meta format pt\ntensor text_model.encoder.layers.{0..1}.self_attn.q_proj.weight F16 [4,4]\ntensor text_model.embeddings.position_ids I64 [1,4]"),
		"text_encoder/config.json":                 text(`{"model_type": "clip_text_model", "num_hidden_layers": 2, "hidden_size": 4}`),
	}
	const cache = "models--org--name/"
	hub := files{
		cache + "refs/main":    text("rev"),
		cache + "blobs/config": text(llamaConfig + "}"), cache + "snapshots/rev/config.json": {link: "../../blobs/config"},
		cache + "blobs/index": llama["model.safetensors.index.json"], cache + "snapshots/rev/model.safetensors.index.json": {link: "../../blobs/index"},
		cache + "blobs/one": llama["model-00001-of-00002.safetensors"], cache + "snapshots/rev/model-00001-of-00002.safetensors": {link: "../../blobs/one"},
		cache + "blobs/two": llama["model-00002-of-00002.safetensors"], cache + "snapshots/rev/model-00002-of-00002.safetensors": {link: "../../blobs/two"},
	}
	odd := files{
		"model.safetensors":        file("tensor scalar F32 []\ntensor empty F32 [0,8]\ntensor many U8 [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2]\ntensor half F4 [2,4]\ntensor bool BOOL [3] values=1\ntensor c64 C64 [2]\ntensor \"a.{{0..9999}.b\\u001b\" F64 [2]"),
		"model.fp16.safetensors":   file("tensor scalar F16 []"),
		"consolidated.safetensors": file("tensor layers.{0..1}.attention.wq.weight BF16 [8,8]\ntensor layers.{0..1}.attention.wk.weight BF16 [4,8]\ntensor tok_embeddings.weight BF16 [16,8]"),
		"params.json":              text(`{"dim": 8, "n_layers": 2, "n_heads": 2, "n_kv_heads": 1}`),
		"odd.gguf":                 file("format gguf\norder big\nkv general.architecture str mamba\nkv a.b [u8] 1 2\ntensor x IQ2_XXS [2,256]\ntensor y F32 []"),
	}
	pickles := files{"pytorch_model.bin.index.json": text(`{"metadata": {"total_size": 8}, "weight_map": {"h.0.attn.c_attn.weight": "pytorch_model-00001-of-00001.bin", "h.0.attn.bias": "pytorch_model-00001-of-00001.bin"}}`), "pytorch_model-00001-of-00001.bin": text("PK\x03\x04")}

	megatron := files{
		"model.safetensors": file("tensor output_layer.weight F32 [16,8]\ntensor embedding.word_embeddings.weight F32 [16,8]\ntensor decoder.layers.{0..1}.self_attention.linear_qkv.layer_norm_weight F32 [8]\ntensor decoder.layers.{0..1}.mlp.linear_fc2.weight F32 [8,12]\n" +
			"tensor decoder.layers.{0..1}.mlp.linear_fc1.weight F32 [24,8]\ntensor decoder.layers.{0..1}.mlp.linear_fc1.layer_norm_weight F32 [8]\ntensor decoder.layers.{0..1}.self_attention.linear_proj.weight F32 [8,8]\ntensor decoder.layers.{0..1}.self_attention.linear_qkv.weight F32 [16,8]\ntensor decoder.final_layernorm.weight F32 [8]"),
		"config.json": text(llamaConfig + "}"),
	}
	mixtral := files{
		"model.safetensors": file("meta format pt\ntensor model.embed_tokens.weight BF16 [16,8]\ntensor model.layers.{0..1}.input_layernorm.weight BF16 [8]\ntensor model.layers.{0..1}.post_attention_layernorm.weight BF16 [8]\n" +
			"tensor model.layers.0.self_attn.q_proj.weight BF16 [8,8]\ntensor model.layers.0.self_attn.k_proj.weight BF16 [4,8]\ntensor model.layers.0.self_attn.v_proj.weight BF16 [4,8]\ntensor model.layers.0.self_attn.o_proj.weight BF16 [8,8]\n" +
			"tensor model.layers.1.self_attn.q_proj.weight BF16 [8,8]\ntensor model.layers.1.self_attn.k_proj.weight BF16 [4,8]\ntensor model.layers.1.self_attn.v_proj.weight BF16 [4,8]\ntensor model.layers.1.self_attn.o_proj.weight BF16 [8,8]\n" +
			"tensor model.layers.{0..1}.block_sparse_moe.gate.weight BF16 [2,8]\n" +
			"tensor model.layers.0.block_sparse_moe.experts.{0..1}.w1.weight BF16 [12,8]\ntensor model.layers.0.block_sparse_moe.experts.{0..1}.w2.weight BF16 [8,12]\ntensor model.layers.0.block_sparse_moe.experts.{0..1}.w3.weight BF16 [12,8]\n" +
			"tensor model.layers.1.block_sparse_moe.experts.{0..1}.w1.weight BF16 [12,8]\ntensor model.layers.1.block_sparse_moe.experts.{0..1}.w2.weight BF16 [8,12]\ntensor model.layers.1.block_sparse_moe.experts.{0..1}.w3.weight BF16 [12,8]\n" +
			"tensor model.norm.weight BF16 [8]\ntensor lm_head.weight BF16 [16,8]"),
		"config.json": text(`{"architectures": ["MixtralForCausalLM"], "model_type": "mixtral", "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "num_local_experts": 2, "vocab_size": 16}`),
	}
	gpt2 := files{
		"model.safetensors": file("tensor wte.weight F32 [16,8]\ntensor wpe.weight F32 [32,8]\ntensor h.{0..1}.ln_1.weight F32 [8]\ntensor h.{0..1}.ln_1.bias F32 [8]\ntensor h.{0..1}.attn.c_attn.weight F32 [8,24]\ntensor h.{0..1}.attn.c_attn.bias F32 [24]\ntensor h.{0..1}.attn.bias F32 [1,1,4,4]\ntensor h.{0..1}.attn.c_proj.weight F32 [8,8]\ntensor h.{0..1}.attn.c_proj.bias F32 [8]\n" +
			"tensor h.{0..1}.ln_2.weight F32 [8]\ntensor h.{0..1}.ln_2.bias F32 [8]\ntensor h.{0..1}.mlp.c_fc.weight F32 [8,32]\ntensor h.{0..1}.mlp.c_fc.bias F32 [32]\ntensor h.{0..1}.mlp.c_proj.weight F32 [32,8]\ntensor h.{0..1}.mlp.c_proj.bias F32 [8]\ntensor ln_f.weight F32 [8]\ntensor ln_f.bias F32 [8]"),
		"config.json": text(`{"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 8, "n_layer": 2, "n_head": 2, "vocab_size": 16, "n_positions": 32}`),
	}
	return []base{
		{"llama", "", llama},
		{"wrapped", "", wrapped},
		{"gguf", "", files{"m.gguf": file(keysGGUF + llamaGGUF)}},
		{"split", "", parts},
		{"gptq", "", quantised},
		{"fp8", "", fp8},
		{"lora", "", lora},
		{"pipeline", "", pipeline},
		{"hub", cache + "snapshots/rev", hub},
		{"odd", "", odd},
		{"pickles", "", pickles},
		{"megatron", "", megatron},
		{"mixtral", "", mixtral},
		{"gpt2", "", gpt2},
	}
}

// What mutations put in the place of numbers, values, names and files.
var (
	extremes = []uint64{0, 1, 2, 7, 0xff, 0x7fff, 0xffff, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 32, 1 << 40, 1<<53 + 1, 1<<62 + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1}

	oddValues = []string{
		"null", "true", "false", "0", "1", "-1", "-0", "1.5", "-1e300", "1e300", "1e999", "2", "3", "7", "64", "127", "255",
		"1000000000", "2147483647", "2147483648", "4294967296", "4611686018427387904", "9007199254740993", "9223372036854775807", "9223372036854775808", "-9223372036854775808",
		"18446744073709551615", "18446744073709551616", "NaN", "Infinity",
		`""`, `"32"`, `"a"`, `"."`, `".."`, `"../victim/secret"`, `"/etc/hostname"`, `"model-00001-of-00002.safetensors"`, `"./model-00001-of-00002.safetensors"`, `"model-00003-of-00002.safetensors"`, `"model.safetensors"`,
		`"\u001b[31m\n\u202e"`, `"\u0000"`, `"\ud800"`, `"BF16"`, `"F4"`, `"Q4_K"`, `"gptq"`, `"awq"`, `"fp8"`, `"bitsandbytes"`, `"compressed-tensors"`, `"llama"`, `"gpt2"`, `"mixtral"`,
		"[]", "{}", "[[]]", "[0]", "[-1]", "[1]", "[0,0]", "[8,0]", "[1,1,1,1,1,1,1,1,1]", "[4294967296,4294967296]", "[18446744073709551615]", "[9223372036854775808,2]", `[{}]`, `{"a": []}`, `{"": ""}`, `{"a": {"a": {"a": null}}}`, `[null]`, `["q_proj", 1, null]`,
		strings.Repeat("[", 300) + strings.Repeat("]", 300), `"` + strings.Repeat("x", 70000) + `"`, "", "{", "]",
	}

	oddNames = []string{
		"", ".", "..", "a", "__metadata__", "{", "}}", "{layer}", "a..b", ".a.", "model.layers.0.weight", "model.layers.99999999999999999999.weight", "model.layers.-1.weight",
		"model.layers.007.weight", "model.layers.2147483648.self_attn.q_proj.weight", "model.layers.9223372036854775807.self_attn.q_proj.weight", "model.layers.18446744073709551615.mlp.up_proj.weight",
		"model.layers.1.mlp.experts.4294967295.up_proj.weight", "model.layers.2.self_attn.q_proj.weight", "lm_head.weight", "model.norm.weight", "model.embed_tokens.weight", "token_embd.weight", "blk.1.attn_q.weight",
		"weight", "bias", ".weight", "_orig_mod.", "_orig_mod", "module.module.a", "a\nb", "a\x1b[31mb", "a\u202eb", "a/b", "../../a", "wte.weight", "h.0.attn.c_attn.weight", "h.0.attn.c_attn.bias",
		"model.layers.0.self_attn.W_pack.weight", "model.layers.0.self_attn.qkv_proj.weight", "model.layers.0.mlp.gate_up_proj.weight", "model.layers.0.block_sparse_moe.experts.0.w1.weight",
		"gamma", "a.gamma", "a.beta", "a.lora_A.weight", "a.lora_B.default.weight", "a.qweight", "a.scales", "a.g_idx", "a.weight_scale_inv", "a.weight.absmax", "a.rotary_emb.inv_freq",
		strings.Repeat("x", 300), strings.Repeat("a.", 300) + "b", strings.Repeat("0.", 50) + "w",
		"data_offsets", "shape", "dtype", "weight_map", "metadata", "total_size", "total_parameters",
		"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "hidden_size", "vocab_size", "num_local_experts", "n_routed_experts", "num_nextn_predict_layers", "first_k_dense_replace",
		"text_config", "llm_config", "model_type", "architectures", "tie_word_embeddings", "quantization_config", "weight_block_size", "modules_to_not_convert", "config_groups", "group_size", "bits", "layer_types",
	}

	oddFiles = []string{
		"model.safetensors", "model-00001-of-00001.safetensors", "model-00001-of-00003.safetensors", "model-00000-of-00002.safetensors", "model-00003-of-00002.safetensors", "model-99999-of-99999.safetensors",
		"model-00001-of-00002.gguf", "model-00001-of-99999.gguf", "a.gguf", "a.GGUF", "Model.SafeTensors", ".safetensors", ".gguf", "-00001-of-00002.safetensors", "00001-of-00002.safetensors", "model.safetensors.index.json", "other.safetensors.index.json",
		".safetensors.index.json", "pytorch_model.bin.index.json", "pytorch_model.bin", "config.json", "params.json", "adapter_config.json", "adapter_model.safetensors", "model_index.json", "tokenizer.json", "generation_config.json",
		"preprocessor_config.json", "hf_quant_config.json", "quantize_config.json", "wtinspect.lock.json", ".wtinspect.yaml", ".wtinspect-journal", ".wtinspect-0.tmp", ".wtinspect-aside/model.safetensors", "._model.safetensors", "model.safetensors.part",
		"a\nb.safetensors", "a\x1b[31mb.safetensors", "a\xff.safetensors", "sub/model.safetensors", "README.md", "mmproj.gguf", "consolidated.00.pth", "consolidated.safetensors", ".gitattributes",
	}

	oddTargets = []string{"../victim/secret", "../victim", "nothing", ".", "..", "model.safetensors", "model-00001-of-00002.safetensors", "config.json", "/dev/null"}

	oddTexts = []string{
		"", "{}", "[]", "null", "{", "\x00", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "<html>", "PK\x03\x04", "GGUF", "FUGG\x00\x00\x00\x03",
		"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00", "GGUF\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"\x02\x00\x00\x00\x00\x00\x00\x00{}", "\xff\xff\xff\xff\xff\xff\xff\x7f{", "\x08\x00\x00\x00\x00\x00\x00\x00{}\x00\x00\x00\x00\x00\x00", `{"weight_map": {}}`, `{"weight_map": null}`, `{"metadata": null}`, `{"weight_map": {"a": "gone.safetensors"}}`, `{"weight_map": {"a": "."}}`,
		"version: 1\nprofile: vllm\nselect: [WT]\n", "version: 1\nignore:\n- {rule: WT, reason: x}\n", "a: &a [*a]", "version: 1\nseverity: {WT101: [a]}\n", "rename: {a: b, '{x...}': '{x}.y'}\n", "rename: {'{x...}': a}\n",
		"version: 1\nrules:\n- from: '{p...}.weight'\n  split: {axis: 99, parts: [0, 18446744073709551615]}\n  to: ['{p}.a', '{p}.b']\n", "version: 1\nrules:\n- from: ['{p...}.q_proj.weight', '{p}.k_proj.weight']\n  join: {axis: 0}\n  to: '{p}.qk.weight'\n",
		"sha256  " + strings.Repeat("0", 64) + "  m.gguf:a\n", "xxh64 " + strings.Repeat("f", 16) + "\n", strings.Repeat("\n", 1000),
		"---\nlicense: [\n---\n", "---\n", "wtinspect\x00\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
	}
)

// mutations are the kinds of them: each changes one thing about a file, or makes
// one beside it.
var mutations = []func(r *recipe, t files, p string){
	0: func(r *recipe, t files, p string) { // the end is gone
		n := t[p]
		n.data = n.data[:len(n.data)*int(r.byte())/256]
		t[p] = n
	},
	1: func(_ *recipe, t files, p string) { delete(t, p) },
	2: func(r *recipe, t files, p string) { t[sibling(p, pick(r, oddFiles))] = t[p] },
	3: func(r *recipe, t files, p string) { // the same under another name
		n := t[p]
		delete(t, p)
		t[sibling(p, pick(r, oddFiles))] = n
	},
	4: func(r *recipe, t files, p string) { // bytes put in
		n := t[p]
		at := r.below(len(n.data) + 1)
		n.data = slices.Insert(slices.Clone(n.data), at, []byte(pick(r, oddTexts))...)
		t[p] = n
	},
	5: func(r *recipe, t files, p string) { // bytes taken out
		n := t[p]
		from := r.below(len(n.data) + 1)
		n.data = slices.Delete(slices.Clone(n.data), from, min(len(n.data), from+1+r.below(64)))
		t[p] = n
	},
	6: func(r *recipe, t files, p string) { // a number anywhere
		n := t[p]
		n.data = overwrite(r, n.data, r.below(len(n.data)+1))
		t[p] = n
	},
	7: func(r *recipe, t files, p string) { // a number behind a word, as in GGUF
		n := t[p]
		if ends := word.FindAllIndex(n.data, -1); len(ends) > 0 {
			n.data = overwrite(r, n.data, ends[r.below(len(ends))][1]+r.below(24))
		}
		t[p] = n
	},
	8: func(r *recipe, t files, p string) { // a byte
		n := t[p]
		if len(n.data) > 0 {
			n.data = slices.Clone(n.data)
			n.data[r.below(len(n.data))] = r.byte()
		}
		t[p] = n
	},
	9: inJSON(func(r *recipe, _ *jsondoc.Doc, n jsondoc.Node) (int, int, string) { // a value
		start, end := n.Span()
		return start, end, pick(r, oddValues)
	}),
	10: inJSON(func(r *recipe, _ *jsondoc.Doc, n jsondoc.Node) (int, int, string) { // a name
		start, end, ok := n.KeySpan()
		if !ok {
			return 0, 0, ""
		}
		return start, end, quoted(pick(r, oddNames))
	}),
	11: inJSON(func(r *recipe, doc *jsondoc.Doc, n jsondoc.Node) (int, int, string) { // a value is gone
		if text, err := doc.Apply(jsondoc.Remove(n)); err == nil {
			return 0, len(doc.Bytes()), string(text)
		}
		return 0, 0, ""
	}),
	12: inJSON(func(r *recipe, _ *jsondoc.Doc, n jsondoc.Node) (int, int, string) { // one more
		start, _ := n.Span()
		value := pick(r, oddValues)
		if n.Kind() == jsondoc.Object {
			value = quoted(pick(r, oddNames)) + ":" + value
		}
		if n.Len() > 0 {
			value += ","
		}
		return start + 1, start + 1, value
	}),
	13: func(r *recipe, t files, p string) { // another file's bytes
		t[p] = t[pick(r, t.paths())]
	},
	14: func(r *recipe, t files, p string) { t[p] = stored{data: []byte(pick(r, oddTexts))} },
	15: func(r *recipe, t files, p string) { t[p] = stored{link: pick(r, oddTargets)} },
	16: func(_ *recipe, t files, p string) { t[p] = stored{hard: "victim/secret"} },
	17: func(_ *recipe, t files, p string) { t[p] = stored{dir: true} },
	18: func(r *recipe, t files, p string) { // a new file
		t[sibling(p, pick(r, oddFiles))] = stored{data: []byte(pick(r, oddTexts))}
	},
	19: inJSON(func(r *recipe, doc *jsondoc.Doc, n jsondoc.Node) (int, int, string) { // another value of the document
		start, end := n.Span()
		return start, end, string(pick(r, slices.Collect(doc.All())).Raw())
	}),
	20: func(r *recipe, t files, p string) { // a directory that is a link
		dir := sibling(p, "sub")
		t[dir] = stored{link: pick(r, oddTargets)}
	},
}

var word = regexp.MustCompile(`[A-Za-z_][A-Za-z0-9_.]{4,}`)

// sibling is the path of a file in the directory of another.
func sibling(p, name string) string { return p[:strings.LastIndexByte(p, '/')+1] + name }

// overwrite writes an extreme number over data.
func overwrite(r *recipe, data []byte, at int) []byte {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], pick(r, extremes))
	data = slices.Clone(data)
	if at < len(data) {
		copy(data[at:], b[:pick(r, []int{8, 4, 2, 1})])
	}
	return data
}

// inJSON replaces a part of the JSON that a file is, or has for a header when it
// is a safetensors file. The result need not be JSON.
func inJSON(edit func(r *recipe, doc *jsondoc.Doc, n jsondoc.Node) (start, end int, text string)) func(*recipe, files, string) {
	return func(r *recipe, t files, p string) {
		const lengthSize = 8
		n := t[p]
		text, rest, header := n.data, []byte(nil), false
		if len(text) > lengthSize {
			if size := binary.LittleEndian.Uint64(text); size <= uint64(len(text)-lengthSize) {
				text, rest, header = text[lengthSize:lengthSize+size], text[lengthSize+size:], true
			}
		}
		doc, err := jsondoc.Parse(p, text)
		if err != nil {
			return
		}
		start, end, with := edit(r, doc, pick(r, slices.Collect(doc.All())))
		text = slices.Concat(text[:start], []byte(with), text[end:])
		if header {
			text = slices.Concat(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text, rest)
		}
		n.data = text
		t[p] = n
	}
}

// quoted is a JSON string, of whatever bytes.
func quoted(s string) string {
	b := []byte{'"'}
	for _, c := range []byte(s) {
		if c < ' ' || c == '"' || c == '\\' {
			b = fmt.Appendf(b, "\\u%04x", c)
		} else {
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}
