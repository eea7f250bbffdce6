package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
)

// Schemas are published open, since keys are added over time. Tests close them, so that
// nothing is printed that is not documented.

// readSchema reads the schema of a command as JSON.
func readSchema(command string, lines bool) (any, error) {
	text, ok := inspect.Schema(command, lines)
	if !ok {
		return nil, fmt.Errorf("there is no schema of %q, lines %v", command, lines)
	}
	return jsonschema.UnmarshalJSON(bytes.NewReader(text))
}

func compileSchema(doc any) (*jsonschema.Schema, error) {
	c := jsonschema.NewCompiler()
	c.AssertContent()
	id := doc.(map[string]any)["$id"].(string)
	if err := c.AddResource(id, doc); err != nil {
		return nil, err
	}
	return c.Compile(id)
}

// closeSchema forbids keys that an object's schema does not list.
func closeSchema(doc any) {
	switch v := doc.(type) {
	case map[string]any:
		_, listed := v["properties"].(map[string]any)
		if _, open := v["additionalProperties"]; listed && !open {
			v["additionalProperties"] = false
		}
		for _, e := range v {
			closeSchema(e)
		}
	case []any:
		for _, e := range v {
			closeSchema(e)
		}
	}
}

// closed has the schemas that output is held to, by command and whether it is lines.
var closed struct {
	sync.Mutex
	schemas map[string]*jsonschema.Schema
}

func closedSchema(command string, lines bool) (*jsonschema.Schema, error) {
	closed.Lock()
	defer closed.Unlock()
	name := inspect.SchemaName(command, lines)
	if s := closed.schemas[name]; s != nil {
		return s, nil
	}
	doc, err := readSchema(command, lines)
	if err != nil {
		return nil, err
	}
	closeSchema(doc)
	s, err := compileSchema(doc)
	if err == nil {
		if closed.schemas == nil {
			closed.schemas = make(map[string]*jsonschema.Schema)
		}
		closed.schemas[name] = s
	}
	return s, err
}

// answered returns the command that some arguments call, and the form that they choose.
func answered(args []string) (command, format string) {
	root := rootFor(newProgram(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }), args)
	cmd, rest, err := root.Find(args)
	if err != nil || cmd.ParseFlags(rest) != nil || cmd.Flags().Lookup("format") == nil {
		return "", ""
	}
	if help, _ := cmd.Flags().GetBool("help"); help {
		return "", ""
	}
	_, command, _ = strings.Cut(cmd.CommandPath(), " ")
	return command, cmd.Flags().Lookup("format").Value.String()
}

// documents returns the documents that a run printed, in JSON, and what they are of.
func documents(args []string, stdout []byte) (command string, lines bool, docs []any, err error) {
	command, format := answered(args)
	if format != "json" && format != "jsonl" || len(stdout) == 0 {
		return command, false, nil, nil
	}
	lines = format == "jsonl"
	parts := [][]byte{stdout}
	if lines {
		parts = slices.Collect(bytes.Lines(stdout))
	}
	for _, part := range parts {
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(part))
		if err != nil {
			return command, lines, nil, fmt.Errorf("%v: %w:\n%.300s", args, err, part)
		}
		docs = append(docs, doc)
	}
	return command, lines, docs, nil
}

// conforms holds what a run printed to its schema. Every run of a worker is.
func conforms(args []string, stdout []byte) error {
	command, lines, docs, err := documents(args, stdout)
	if err != nil || len(docs) == 0 || slices.Contains(foreign, command) {
		return err
	}
	s, err := closedSchema(command, lines)
	if err != nil {
		return err
	}
	for _, doc := range docs {
		if err := s.Validate(doc); err != nil {
			return fmt.Errorf("%v: %w\n(make generate writes the schemas from the types of package inspect)", args, err)
		}
	}
	return nil
}

// foreign are the commands whose JSON is not an answer: what map export writes is a map,
// or what another project reads.
var foreign = []string{"map export"}

// Every command that answers in JSON has a schema, and no other has one.
func TestSchemaOfEveryCommand(t *testing.T) {
	t.Parallel()
	want := map[bool][]string{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		f := cmd.Flags().Lookup("format")
		if f == nil {
			return
		}
		_, name, _ := strings.Cut(cmd.CommandPath(), " ")
		if slices.Contains(foreign, name) {
			return
		}
		for form, lines := range map[string]bool{"json": false, "jsonl": true} {
			if f.Value.Set(form) == nil {
				want[lines] = append(want[lines], name)
			}
		}
	}
	visit(newRoot(newProgram(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" })))
	for lines, names := range want {
		slices.Sort(names)
		if got := slices.Sorted(slices.Values(inspect.SchemaCommands(lines))); !slices.Equal(got, names) {
			t.Errorf("lines %v: there are schemas of %v; these commands answer so: %v", lines, got, names)
		}
		for _, name := range names {
			doc, err := readSchema(name, lines)
			if err != nil {
				t.Error(err)
				continue
			}
			if _, err := compileSchema(doc); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if id := doc.(map[string]any)["$id"].(string); !strings.HasSuffix(id, "/inspect/schema/v1/"+inspect.SchemaName(name, lines)) {
				t.Errorf("%s: $id %s", name, id)
			}
		}
	}
}

// schemaCorpus are runs that have between them everything that answers can have.
func schemaCorpus(t *testing.T) (dir string, runs [][]string) {
	t.Helper()
	dir = t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := writeFixture(filepath.Join(dir, name), text); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	write("odd", `meta format pt
file model-00001-of-00004.safetensors
meta format pt
tensor model.layers.{0..1}.w F32 [2,3]
file model-00002-of-00004.safetensors
meta other x
tensor y UNKNOWN [4] bytes=4
file model-00003-of-00004.safetensors missing
tensor z F32 [1]
file model-00004-of-00004.safetensors
tensor last F16 [2]
`)
	file("odd/model-00004-of-00004.safetensors", "x")
	write("a.safetensors", "meta who me\ntensor a F32 [4] values=1,2,3,4\ntensor b F32 [2] values=nan,inf\ntensor gone F32 [1]\ntensor r F32 [2] values=1.001,2")
	write("b.safetensors", "meta who you\ntensor a F32 [4] values=1,2,3,5\ntensor b F32 [2] values=nan,inf\ntensor new F32 [2] values=1.001,2\ntensor r BF16 [2] values=1,2")
	write("m.gguf", `format gguf
kv general.architecture str llama
kv "odd\xff" [str] "v\xff" w
kv text str "v\xff"
kv general.many [u8] {0..40}
kv general.pi f32 nan
tensor "x\xff<&>" F32 [4]
tensor blk.0.attn_q.weight Q4_0 [2,32]
`)
	for i, name := range []string{"g1.gguf", "g2.gguf"} {
		write(name, fmt.Sprintf("format gguf\nkv general.architecture str llama\nkv \"k\\xff\" str \"v\\xff\"\ntensor \"n%d\\xff\" F32 [4] values=1,2,3,4\ntensor \"same\\xff\" F32 [2] values=%d,2\ntensor \"l.0\\xff\" F32 [2]\ntensor \"l.1\\xff\" F32 [2]\n", i, i))
	}
	write("last.ckpt", "format torch\nunder state_dict\ntensor a F32 [2]\ntensor b F32 [2] of=a\nunder\nitem epoch 3\n")
	write("big.gguf", "format gguf\nkv general.architecture str llama\ntensor token_embd.weight F32 [64,4]\n")
	const layers = `tensor LAYERS{0..2}.self_attn.q_proj.weight BF16 [16,16]
tensor LAYERS{0..2}.self_attn.k_proj.weight BF16 [16,16]
tensor LAYERS{0..2}.self_attn.v_proj.weight BF16 [16,16]
tensor LAYERS{0..2}.self_attn.o_proj.weight BF16 [16,16]
tensor LAYERS{0..2}.mlp.gate_proj.weight BF16 [32,16]
tensor LAYERS{0..2}.mlp.up_proj.weight BF16 [32,16]
tensor LAYERS{0..2}.mlp.down_proj.weight BF16 [16,32]
`
	llama := func(prefix, one, two, more string) string {
		return strings.ReplaceAll(layers+fmt.Sprintf("tensor LAYERS{0..2}.%s.weight BF16 [16]\ntensor LAYERS{0..2}.%s.weight BF16 [16]\n", one, two), "LAYERS", prefix+"layers.") +
			fmt.Sprintf("tensor %sembed_tokens.weight BF16 [64,16]\ntensor %snorm.weight BF16 [16]\n%s", prefix, prefix, more)
	}
	// Gate and up are exchanged, in all layers or in one, as their weights show.
	mlp := func(layers, gate, up string) string {
		return fmt.Sprintf("tensor model.layers.%s.mlp.%s.weight F32 [160,64] normal=g\ntensor model.layers.%[1]s.mlp.%[3]s.weight F32 [160,64] normal=u\n", layers, gate, up)
	}
	for name, mlp := range map[string]string{
		"model.safetensors":     mlp("{0..2}", "gate_proj", "up_proj"),
		"exchanged.safetensors": mlp("{0..2}", "up_proj", "gate_proj"),
		"strayed.safetensors":   mlp("{0..1}", "gate_proj", "up_proj") + mlp("2", "up_proj", "gate_proj"),
	} {
		write(name, `tensor model.embed_tokens.weight F32 [96,64] normal=e
tensor model.layers.{0..2}.input_layernorm.weight F32 [64] normal=n1
tensor model.layers.{0..2}.post_attention_layernorm.weight F32 [64] normal=n2
tensor model.layers.{0..2}.self_attn.q_proj.weight F32 [64,64] normal=q
tensor model.layers.{0..2}.self_attn.k_proj.weight F32 [32,64] normal=k
tensor model.layers.{0..2}.self_attn.v_proj.weight F32 [32,64] normal=v
tensor model.layers.{0..2}.self_attn.o_proj.weight F32 [64,64] normal=o
`+mlp+`tensor model.layers.{0..2}.mlp.down_proj.weight F32 [64,160] normal=d
tensor model.norm.weight F32 [64] normal=n
tensor lm_head.weight F32 [96,64] normal=h
`)
	}
	// Two layers have changed places.
	for name, layers := range map[string][2]int{"deep.safetensors": {0, 1}, "moved.safetensors": {1, 0}} {
		var text strings.Builder
		text.WriteString("tensor v1.tok.weight F32 [96,64] normal=e\n")
		for i, l := range layers {
			fmt.Fprintf(&text, "tensor v1.layers.%d.q_proj.weight F32 [64,64] normal=q%d\ntensor v1.layers.%[1]d.k_proj.weight F32 [32,64] normal=k%[2]d\n", i, l)
		}
		write(name, text.String())
	}
	const hf1, hf2 = "input_layernorm", "post_attention_layernorm"
	write("yi", "file model-00001-of-00002.safetensors\n"+llama("model.", "ln1", "ln2", "file model-00002-of-00002.safetensors\ntensor lm_head.weight BF16 [64,16]\n"))
	write("bare.safetensors", llama("", hf1, hf2, "tensor layers.3.mlp.up_proj.weight BF16 [32,16]\n"))
	write("strange.safetensors", llama("model.", hf1, hf2, "tensor lm_head.weight BF16 [64,16]\ntensor model.layers.{0..2}.strange.weight F32 [1]\n"))
	write("packed.safetensors", llama("model.", hf1, hf2, "tensor lm_head.qweight I32 [2,64]\ntensor lm_head.qzeros I32 [1,8]\ntensor lm_head.scales F16 [1,64]\ntensor lm_head.g_idx I32 [16]\n"))
	write("seeing.safetensors", llama("language_model.model.", hf1, hf2, `tensor language_model.lm_head.weight BF16 [64,16]
tensor vision_tower.vision_model.embeddings.class_embedding BF16 [8]
tensor vision_tower.vision_model.embeddings.patch_embedding.weight BF16 [8,3,2,2]
tensor vision_tower.vision_model.embeddings.position_embedding.weight BF16 [5,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.q_proj.weight BF16 [8,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.q_proj.bias BF16 [8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.k_proj.weight BF16 [8,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.v_proj.weight BF16 [8,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.self_attn.out_proj.weight BF16 [8,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm1.weight BF16 [8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.layer_norm2.weight BF16 [8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc1.weight BF16 [16,8]
tensor vision_tower.vision_model.encoder.layers.{0..1}.mlp.fc2.weight BF16 [8,16]
tensor vision_tower.vision_model.pre_layrnorm.weight BF16 [8]
tensor vision_tower.vision_model.post_layernorm.weight BF16 [8]
tensor multi_modal_projector.linear_1.weight BF16 [16,8]
tensor multi_modal_projector.linear_2.weight BF16 [16,16]
`))
	write("adapter/adapter_model.safetensors", "tensor base_model.model.model.layers.{0..2}.self_attn.q_proj.lora_A.weight F32 [4,16]\ntensor base_model.model.model.layers.{0..2}.self_attn.q_proj.lora_B.weight F32 [16,4]\n")
	file("adapter/adapter_config.json", `{"base_model_name_or_path":"01-ai/Yi-6B","peft_type":"LORA","r":4,"lora_alpha":16}`)
	write("biased.safetensors", "tensor a.weight F32 [2]\ntensor a.bias F32 [2]\n")
	file("biased.yaml", "version: 1\nrename:\n  a.weight: b.weight\n")
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o777); err != nil {
		t.Fatal(err)
	}
	write("nested/model.safetensors", "tensor a F32 [2]\n")
	write("nested/old/pytorch_model.bin", "format torch\ntensor a F32 [2]\n")
	file("empty/model.safetensors.index.json", `{"metadata":{"total_size":0},"weight_map":{}}`)
	file("yi/config.json", `{"model_type":"Yi","architectures":["YiForCausalLM"],"num_attention_heads":4,"num_key_value_heads":4,"hidden_size":16,"num_hidden_layers":3,"torch_dtype":"bfloat16","quantization_config":{"modules_to_not_convert":["model.layers.0.ln1"]}}`)
	write("lora.safetensors", "meta ss_network_module networks.lora\ntensor lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight F16 [4,320]\ntensor lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_up.weight F16 [320,4]\ntensor lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.alpha F32 [] values=4\n")
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for _, name := range []string{"refs", "snapshots/" + commit} {
		if err := os.MkdirAll(filepath.Join(dir, "cache/models--org--name", filepath.FromSlash(name)), 0o777); err != nil {
			t.Fatal(err)
		}
	}
	file("cache/models--org--name/refs/main", commit)
	write("cache/models--org--name/snapshots/"+commit+"/model.safetensors", "tensor a F32 [2]")
	write("wrapped.safetensors", "tensor module.layers.{0..1}.w F32 [2]\ntensor module.x F32 [1]\n")
	write("fp8/model.safetensors", "tensor a.weight F8_E4M3 [4,4]\ntensor a.weight_scale F32 [] values=0.5\n")
	file("fp8/config.json", `{"torch_dtype":"float8_e4m3fn","quantization_config":{"quant_method":"fp8"}}`)
	file("fp8/hf_quant_config.json", "{}")
	file("drop.yaml", "version: 1\nrules:\n  - from: model.layers.{i}.ln1.weight\n    drop: not needed\n  - from: model.layers.{i}.ln2.weight\n    to: model.layers.{i}.norm.weight\n  - from: model.layers.{j}.ln2.weight\n    to: model.layers.{j}.late.weight\n  - from: nothing\n    to: at.all\n")
	file("collide.yaml", "version: 1\nrename:\n  model.layers.0.ln1.weight: model.norm.weight\n")
	write("decay.safetensors", "tensor a F32 [4] values=0.3,1.7,2.9,3.1\n")
	write("infinite.safetensors", "tensor a F32 [4] values=200\n")
	file("decay.yaml", "rules: [{from: a, negative-exp: {round: true}, to: b}]\n")
	file("weight.yaml", "version: 1\nrename:\n  model.layers.{i}.self_attn.q_proj.weight: q.{i}.weight\n  \"{x...}\": \"{x...}\"\n")
	file("byte.yaml", "version: 1\nrules:\n  - from: \"n{x...}\"\n    to: \"new{x}\"\n")
	runs = [][]string{
		{"ls", "odd", "a.safetensors", "m.gguf", "nothing"},
		{"ls", "--dims", "ggml", "m.gguf"},
		{"info", "odd", "a.safetensors", "m.gguf", "yi"},
		{"info", "packed.safetensors"},
		{"ls", "last.ckpt"},
		{"info", "last.ckpt"},
		{"meta", "show", "last.ckpt"},
		{"identify", "yi", "m.gguf", "lora.safetensors", "wrapped.safetensors"},
		{"identify", "bare.safetensors", "packed.safetensors", "seeing.safetensors", "adapter"},
		{"identify", "--why", "model.layers.0.ln1.weight", "yi"},
		{"meta", "show", "odd"},
		{"meta", "show", "m.gguf"},
		{"meta", "show", "m.gguf", "general.many"},
		{"meta", "set", "m.gguf", "new=1", "general.pi:f32=2"},
		{"meta", "unset", "a.safetensors", "who"},
		{"meta", "unset", "-o", "edited.safetensors", "a.safetensors", "who"},
		{"meta", "set", "-o", "edited.gguf", "big.gguf", "new=1"},
		{"stats", "odd", "a.safetensors", "m.gguf", "last.ckpt"},
		{"stats", "--sample", "50%", "--histogram", "--quantiles", "a.safetensors"},
		{"stats", "--by-layer", "yi", "wrapped.safetensors"},
		{"cat", "m.gguf", "*", "--slice", "0"},
		{"hash", "--algorithm", "all", "odd", "a.safetensors"},
		{"hash", "--content-id", "a.safetensors"},
		{"hash", "--files", "odd", "hf://org/name"},
		{"hash", "--check", "manifest", "b.safetensors"},
		{"diff", "-v", "a.safetensors", "b.safetensors"},
		{"diff", "--headers", "a.safetensors", "b.safetensors"},
		{"diff", "--weights-only", "yi", "renamed"},
		{"diff", "odd", "yi"},
		{"diff", "-v", "g1.gguf", "g2.gguf"},
		{"report", "--values", "yi", "renamed"},
		{"report", "odd"},
		{"report", "nested"},
		{"report", "m.gguf"},
		{"report", "bare.safetensors"},
		{"report", "packed.safetensors"},
		{"report", "seeing.safetensors"},
		{"report", "--base", "yi", "adapter"},
		{"report", "--values", "g1.gguf", "g2.gguf"},
		{"report", "--values", "a.safetensors", "b.safetensors"},
		{"hash", "g1.gguf"},
		{"stats", "g1.gguf"},
		{"stats", "--by-layer", "g1.gguf"},
		{"rename", "--map", "byte.yaml", "g1.gguf"},
		{"meta", "unset", "g1.gguf", "k\xff"},
		{"rename", "--map", "yi-to-llama", "yi"},
		{"rename", "--map", "drop.yaml", "yi"},
		{"rename", "--map", "collide.yaml", "yi"},
		{"rename", "--map", "weight.yaml", "yi"},
		{"rename", "--map", "biased.yaml", "biased.safetensors"},
		{"rename", "--from", "llama-hf", "--to", "gguf", "--config", "yi/config.json", "strange.safetensors"},
		{"rename", "--to", "llama-meta", "yi"},
		{"rename", "--to", "gguf", "--keep-unknown", "yi"},
		{"rename", "--map", "yi-to-llama", "-o", "out", "--verify", "full", "yi"},
		{"rename", "--map", "yi-to-llama", "-o", "renamed", "--force", "yi"},
		{"rename", "--recover", "yi"},
		{"convert", "--map", "drop.yaml", "--dtype", "f32", "--count", "yi"},
		{"convert", "--dtype", "bf16", "-n", "-o", "plain", "fp8"},
		{"convert", "--map", "decay.yaml", "--count", "decay.safetensors"},
		{"convert", "--map", "decay.yaml", "decay.safetensors"},
		{"convert", "--map", "decay.yaml", "--count", "infinite.safetensors"},
		{"convert", "--map", "collide.yaml", "yi"},
		{"convert", "--max-shard-size", "1KB", "-o", "resharded", "yi"},
		{"convert", "--dtype", "bf16", "-o", "renamed", "--force", "--dry-run", "yi"},
		{"convert", "--keep-names", "--container", "safetensors", "-o", "other", "g1.gguf"},
		{"map", "list", "llama"},
		// Between them these have everything that a layout can say.
		{"map", "show", "gemma2-hf"},
		{"map", "show", "chameleon-gguf"},
		{"map", "show", "clip-openai"},
		{"map", "show", "deepseek_v4-deepseek"},
		{"map", "show", "auraflow-diffusers"},
		{"map", "show", "baichuan-hf"},
		{"map", "show", "glm4-gguf"},
		{"map", "show", "gpt_oss-hf"},
		{"map", "show", "mllama-gguf"},
		{"map", "show", "plamo-gguf"},
		{"map", "show", "vae-ldm"},
		{"map", "show", "--for", "yi", "qwen3_5_moe-hf"},
		{"map", "lint", "drop.yaml", "weight.yaml"},
		{"map", "infer", "exchanged.safetensors", "model.safetensors"},
		{"map", "infer", "strayed.safetensors", "model.safetensors"},
		{"map", "infer", "moved.safetensors", "deep.safetensors"},
		{"map", "infer", "yi", "--to", "llama-hf"},
		{"map", "infer", "hf://org/name", "biased.safetensors"},
		{"map", "infer", "biased.safetensors", "hf://org/name"},
		{"map", "test", "collide.yaml", "biased.yaml", "yi", "odd", "biased.safetensors", "m.gguf", "nothing"},
		{"check", "yi", "odd", "m.gguf", "nested"},
		{"check", "--base", "yi", "adapter"},
		{"rules"},
		{"scan", "--values", "yi", "odd", "m.gguf", "a.safetensors", "nothing", "hf://org/name"},
		{"lock", "--digests", "yi"},
		{"fix", "yi"},
		{"fix", "empty"},
		{"fix", "--select", "WT4", "wrapped.safetensors"},
		{"version"},
		{"ls", "hf://org/name"},
		{"info", "hf://org/name"},
		{"identify", "hf://org/name"},
		{"meta", "show", "hf://org/name"},
		{"stats", "hf://org/name"},
		{"cat", "hf://org/name", "*"},
		{"hash", "hf://org/name"},
		{"check", "hf://org/name"},
		{"diff", "--headers", "hf://org/name", "a.safetensors"},
		{"report", "--values", "hf://org/name", "a.safetensors"},
	}
	code, out, errs := runIn(t, dir, "hash", "--algorithm", "all", "a.safetensors")
	if code != 0 {
		t.Fatal(errs)
	}
	file("manifest", out)
	if code, _, errs := runIn(t, dir, "rename", "--map", "yi-to-llama", "-o", "renamed", "yi"); code != 0 {
		t.Fatal(errs)
	}
	return dir, runs
}

// rare are members of such structs that take a killed run, a whole real model, or another
// command than the one that has them too.
var rare = []string{"/rewrite/leftovers", "/write/leftovers", "/unknown/blocks", "/unknown/needs", "/changes/scale", "/parts/kind", "/identities/why"}

// What the schemas describe is printed: they have no key that no run of the corpus has.
func TestSchemasAreExact(t *testing.T) {
	if testing.Short() {
		t.Skip("every kind of answer, one after another: make test runs it")
	}
	t.Parallel()
	dir, runs := schemaCorpus(t)
	seen := make(map[string]map[string]bool) // by schema, the paths of keys
	for _, args := range runs {
		for _, form := range []string{"json", "jsonl"} {
			args := append(slices.Clone(args), "-f", form)
			if (args[0] == "fix" || args[0] == "cat" || args[0] == "report" || len(args) > 1 && args[1] == "infer") && form == "jsonl" {
				continue
			}
			if args[0] == "scan" && form == "json" {
				continue
			}
			a, err := ask(task{Dir: dir, Args: args, Env: map[string]string{"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": filepath.Join(dir, "cache")}})
			if err != nil {
				t.Error(err)
				continue
			}
			command, lines, docs, err := documents(args, a.Stdout)
			if err != nil || len(docs) == 0 && form == "json" {
				t.Errorf("%v: code %d, %d documents, %v\n%s", args, a.Code, len(docs), err, a.Stderr)
				continue
			}
			name := inspect.SchemaName(command, lines)
			if seen[name] == nil {
				seen[name] = make(map[string]bool)
			}
			for _, doc := range docs {
				keysOf(doc, "", seen[name])
			}
			if len(docs) > 0 {
				holdsTo(t, command, lines, docs[0])
			}
		}
	}
	for _, lines := range []bool{false, true} {
		for _, command := range inspect.SchemaCommands(lines) {
			doc, err := readSchema(command, lines)
			if err != nil {
				t.Fatal(err)
			}
			name := inspect.SchemaName(command, lines)
			all := make(map[string]bool)
			describedKeys(doc, "", all)
			for _, key := range slices.Sorted(maps.Keys(all)) {
				// Further down are structs that are marshalled as they are, and the bytes of what
				// is not UTF-8 may be beside any text.
				if !seen[name][key] && strings.Count(key, "/") < 3 && !strings.HasSuffix(key, "_base64") && !slices.Contains(rare, key) {
					t.Errorf("%s: no run has %s", name, key)
				}
			}
		}
	}
}

func keysOf(doc any, path string, out map[string]bool) {
	switch v := doc.(type) {
	case map[string]any:
		for key, e := range v {
			out[path+"/"+key] = true
			keysOf(e, path+"/"+key, out)
		}
	case []any:
		for _, e := range v {
			keysOf(e, path, out)
		}
	}
}

// describedKeys adds the paths of the keys that a schema lists.
func describedKeys(doc any, path string, out map[string]bool) {
	s, ok := doc.(map[string]any)
	if !ok {
		return
	}
	forms, _ := s["anyOf"].([]any)
	for _, f := range forms {
		describedKeys(f, path, out)
	}
	describedKeys(s["items"], path, out)
	members, _ := s["properties"].(map[string]any)
	for key, m := range members {
		out[path+"/"+key] = true
		describedKeys(m, path+"/"+key, out)
	}
}

// holdsTo checks that the schema that is published refuses what a document becomes when it
// lacks a required key, or a value has another type.
func holdsTo(t *testing.T, command string, lines bool, doc any) {
	t.Helper()
	published, err := readSchema(command, lines)
	if err != nil {
		t.Fatal(err)
	}
	s, err := compileSchema(published)
	if err != nil {
		t.Fatal(err)
	}
	valid := func() bool { return s.Validate(doc) == nil }
	of := published.(map[string]any)
	if forms, ok := of["anyOf"].([]any); ok {
		// Another form must not do for the one that the document has.
		i := slices.IndexFunc(forms, func(f any) bool {
			members, required := f.(map[string]any)["properties"].(map[string]any), f.(map[string]any)["required"].([]any)
			for key := range doc.(map[string]any) {
				if members[key] == nil {
					return false
				}
			}
			return !slices.ContainsFunc(required, func(key any) bool { _, has := doc.(map[string]any)[key.(string)]; return !has })
		})
		if i < 0 {
			t.Fatalf("%s: no form has the keys of the document", command)
		}
		of = forms[i].(map[string]any)
		if s, err = compileSchema(map[string]any{"$id": "urn:form", "allOf": []any{of}}); err != nil {
			t.Fatal(err)
		}
	}
	object := doc.(map[string]any)
	object["unheard_of"] = true
	strict, err := closedSchema(command, lines)
	if err != nil {
		t.Fatal(err)
	}
	if strict.Validate(doc) == nil {
		t.Errorf("%s: what is printed may have a key that is not documented", command)
	}
	if !valid() {
		t.Errorf("%s: a key that is added later is refused", command)
	}
	delete(object, "unheard_of")
	shorten(doc) // what is changed is in the first of a list, and every change checks all of it
	mutate(t, command, of, doc, valid)
	if !valid() {
		t.Errorf("%s: the document is not what it was", command)
	}
}

// shorten leaves one element of each list in a value.
func shorten(value any) any {
	switch v := value.(type) {
	case map[string]any:
		for key, e := range v {
			v[key] = shorten(e)
		}
	case []any:
		if len(v) > 0 {
			return []any{shorten(v[0])}
		}
	}
	return value
}

// mutate changes each member of a value that has a schema, and puts it back.
func mutate(t *testing.T, path string, of map[string]any, value any, valid func() bool) {
	t.Helper()
	if list, ok := value.([]any); ok && len(list) > 0 && of["items"] != nil {
		mutate(t, path, of["items"].(map[string]any), list[0], valid)
	}
	members, _ := of["properties"].(map[string]any)
	required, _ := of["required"].([]any)
	object, _ := value.(map[string]any)
	for key, schema := range members {
		old, has := object[key]
		if !has {
			continue
		}
		path, schema := path+"/"+key, schema.(map[string]any)
		if slices.Contains(required, any(key)) {
			if delete(object, key); valid() {
				t.Errorf("accepted without %s", path)
			}
		}
		accepted := 0
		for _, other := range []any{map[string]any{}, []any{}, "?", json.Number("7.5"), true} {
			if object[key] = other; valid() {
				accepted++
			}
		}
		if len(schema) > 1 && schema["type"] != nil && accepted > 1 || schema["const"] != nil && accepted > 0 {
			t.Errorf("%s may be of %d types", path, accepted)
		}
		object[key] = old
		mutate(t, path, schema, old, valid)
	}
}

// What check and fix say of the releases of every rule is as the schemas have it.
func TestSchemasOfRules(t *testing.T) {
	t.Parallel()
	rules, err := inspect.Rules()
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rules {
		if !sweep.Has(i, 3) {
			continue
		}
		a, err := txtar.ParseFile(filepath.Join("..", "..", "internal", "check", "testdata", "rules", r.ID+".txtar"))
		if err != nil {
			t.Fatal(err)
		}
		files := make(map[string]string)
		for _, f := range a.Files {
			if name, ok := strings.CutPrefix(f.Name, "bad/"); ok {
				files[name] = string(f.Data)
			}
		}
		dir := filepath.Join(t.TempDir(), r.ID)
		fixture.Release(t, dir, files)
		runs := [][]string{{"check", "--values", "-f", "json"}}
		if r.Fix != nil {
			runs = append(runs, []string{"fix", "-f", "json", "--select", r.ID})
		}
		for _, args := range runs {
			if _, err := ask(task{Dir: dir, Args: args}); err != nil {
				t.Errorf("%s: %v", r.ID, err)
			}
		}
	}
}
