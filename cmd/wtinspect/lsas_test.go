package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// conversions change how many tensors there are, their shapes, or the order of
// their rows.
var conversions = []struct {
	name, to, config, tensors string
	want                      map[string]string // shapes of some
}{
	{
		name: "split", to: "gguf",
		config: `{"model_type": "baichuan", "num_attention_heads": 4, "hidden_size": 16}`,
		tensors: `tensor lm_head.weight F32 [8,16]
tensor model.embed_tokens.weight F32 [8,16]
tensor model.layers.{0..1}.input_layernorm.weight F32 [16]
tensor model.layers.{0..1}.mlp.down_proj.weight F32 [16,24]
tensor model.layers.{0..1}.mlp.gate_proj.weight F32 [24,16]
tensor model.layers.{0..1}.mlp.up_proj.weight F32 [24,16]
tensor model.layers.{0..1}.post_attention_layernorm.weight F32 [16]
tensor model.layers.{0..1}.self_attn.W_pack.weight F32 [48,16]
tensor model.layers.{0..1}.self_attn.o_proj.weight F32 [16,16]
tensor model.norm.weight F32 [16]
`,
		want: map[string]string{"blk.0.attn_q.weight": "[16,16]", "blk.1.attn_v.weight": "[16,16]"},
	},
	{
		name: "stack", to: "gguf",
		config: `{"model_type": "mixtral", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16, "num_local_experts": 3}`,
		tensors: `tensor lm_head.weight F32 [8,16]
tensor model.embed_tokens.weight F32 [8,16]
tensor model.layers.{0..1}.block_sparse_moe.experts.{0..2}.w1.weight F32 [24,16]
tensor model.layers.{0..1}.block_sparse_moe.experts.{0..2}.w2.weight F32 [16,24]
tensor model.layers.{0..1}.block_sparse_moe.experts.{0..2}.w3.weight F32 [24,16]
tensor model.layers.{0..1}.block_sparse_moe.gate.weight F32 [3,16]
tensor model.layers.{0..1}.input_layernorm.weight F32 [16]
tensor model.layers.{0..1}.post_attention_layernorm.weight F32 [16]
tensor model.layers.{0..1}.self_attn.k_proj.weight F32 [8,16]
tensor model.layers.{0..1}.self_attn.o_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.q_proj.weight F32 [16,16]
tensor model.layers.{0..1}.self_attn.v_proj.weight F32 [8,16]
tensor model.norm.weight F32 [16]
`,
		want: map[string]string{"blk.1.ffn_down_exps.weight": "[3,16,24]"},
	},
	{
		name: "permute", to: "gguf",
		config:  `{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}`,
		tensors: smallLlama,
		want:    map[string]string{"blk.0.attn_q.weight": "[16,16]"},
	},
	{
		name: "join", to: "megatron",
		config:  `{"model_type": "llama", "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_size": 16}`,
		tensors: smallLlama,
		want:    map[string]string{"decoder.layers.0.mlp.linear_fc1.weight": "[48,16]"},
	},
}

// jsonListing is what ls -f json prints, as far as the test looks at it.
type jsonListing struct {
	Checkpoints []struct {
		Totals struct {
			Tensors, Unknown int
			Elements, Bytes  uint64
			DTypes           map[string]struct {
				Tensors int
				Bytes   uint64
			}
		}
	}
	Tensors []struct {
		Name, DType     string
		Shape           []uint64
		Elements, Bytes uint64
	}
}

func (l *jsonListing) rows() []string {
	var rows []string
	for _, t := range l.Tensors {
		shape, _ := json.Marshal(t.Shape)
		rows = append(rows, strings.Join([]string{t.Name, t.DType, string(shape), strconv.FormatUint(t.Bytes, 10)}, " "))
	}
	slices.Sort(rows)
	return rows
}

func listJSON(t *testing.T, args ...string) *jsonListing {
	t.Helper()
	return parseListing(t, output0(t, append([]string{"ls", "-f", "json"}, args...)...))
}

func parseListing(t *testing.T, data []byte) *jsonListing {
	t.Helper()
	l := new(jsonListing)
	if err := json.Unmarshal(data, l); err != nil {
		t.Fatal(err)
	}
	return l
}

// output0 runs a command that succeeds.
func output0(t *testing.T, args ...string) []byte {
	t.Helper()
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, strings.NewReader(""), &out, &errs); code != exitOK {
		t.Fatalf("%v: exit %d, %s", args, code, &errs)
	}
	return out.Bytes()
}

// What ls --as shows, in every form, is what rename --to writes.
func TestLsAs(t *testing.T) {
	t.Parallel()
	for _, tt := range conversions {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			model := filepath.Join(dir, "m")
			if err := fixture.Write(filepath.Join(model, "model.safetensors"), tt.tensors); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(model, "config.json"), []byte(tt.config), 0o666); err != nil {
				t.Fatal(err)
			}
			out := filepath.Join(dir, "out")
			output0(t, "rename", "--to", tt.to, "-o", out, model)
			want := listJSON(t, out)

			got := listJSON(t, "--as", tt.to, model)
			if d := cmp.Diff(want.rows(), got.rows()); d != "" {
				t.Errorf("rename writes, and ls --as shows:\n%s", d)
			}
			if d := cmp.Diff(want.Checkpoints[0].Totals, got.Checkpoints[0].Totals); d != "" {
				t.Errorf("totals:\n%s", d)
			}
			var elements, size uint64
			shapes := map[string]string{}
			for _, row := range got.Tensors {
				elements, size = elements+row.Elements, size+row.Bytes
				shape, _ := json.Marshal(row.Shape)
				shapes[row.Name] = string(shape)
			}
			if total := got.Checkpoints[0].Totals; total.Tensors != len(got.Tensors) || total.Elements != elements || total.Bytes != size {
				t.Errorf("totals %+v, and rows of %d tensors, %d elements, %d bytes", total, len(got.Tensors), elements, size)
			}
			for name, shape := range tt.want {
				if shapes[name] != shape {
					t.Errorf("%s is %q, want %s", name, shapes[name], shape)
				}
			}

			records, err := csv.NewReader(bytes.NewReader(output0(t, "ls", "-f", "csv", "--as", tt.to, model))).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			var lines []string
			for _, r := range records[1:] {
				lines = append(lines, strings.Join([]string{r[1], r[2], r[3], r[5]}, " "))
			}
			slices.Sort(lines)
			if d := cmp.Diff(got.rows(), lines); d != "" {
				t.Errorf("JSON and CSV:\n%s", d)
			}

			lines = nil
			for line := range strings.Lines(string(output0(t, "ls", "--as", tt.to, model))) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
			slices.Sort(lines)
			if d := cmp.Diff(got.rows(), lines); d != "" {
				t.Errorf("JSON and table:\n%s", d)
			}

			// The tree is that of the written files, but for the order.
			tree := func(args ...string) []string {
				var lines []string
				for line := range strings.Lines(string(output0(t, append([]string{"ls", "--tree", "--sort", "name"}, args...)...))) {
					lines = append(lines, line)
				}
				return lines
			}
			if d := cmp.Diff(tree(out), tree("--as", tt.to, model)); d != "" {
				t.Errorf("the trees of what rename writes and of ls --as:\n%s", d)
			}
		})
	}
}

const smallLlama = `tensor lm_head.weight F32 [8,16]
tensor model.embed_tokens.weight F32 [8,16]
tensor model.layers.0.input_layernorm.weight F32 [16]
tensor model.layers.0.mlp.down_proj.weight F32 [16,24]
tensor model.layers.0.mlp.gate_proj.weight F32 [24,16]
tensor model.layers.0.mlp.up_proj.weight F32 [24,16]
tensor model.layers.0.post_attention_layernorm.weight F32 [16]
tensor model.layers.0.self_attn.k_proj.weight F32 [8,16]
tensor model.layers.0.self_attn.o_proj.weight F32 [16,16]
tensor model.layers.0.self_attn.q_proj.weight F32 [16,16]
tensor model.layers.0.self_attn.v_proj.weight F32 [8,16]
tensor model.norm.weight F32 [16]
`
