package convert

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// modelNames gives names by templates in which {0..3} stands for each number.
func modelNames(text string) []convention.Named {
	var out []convention.Named
	for _, t := range strings.Fields(text) {
		names := []string{t}
		for i := 0; i < len(names); {
			open := strings.IndexByte(names[i], '{')
			if open < 0 {
				i++
				continue
			}
			shut := strings.IndexByte(names[i], '}')
			var many []string
			last := int(names[i][shut-1] - '0')
			for n := range last + 1 {
				many = append(many, names[i][:open]+string(rune('0'+n))+names[i][shut+1:])
			}
			names = slices.Replace(names, i, i+1, many...)
		}
		for _, n := range names {
			out = append(out, convention.Named{Name: n})
		}
	}
	return out
}

const llamaNames = `model.embed_tokens.weight model.layers.{0..2}.self_attn.q_proj.weight model.layers.{0..2}.self_attn.k_proj.weight
	model.layers.{0..2}.self_attn.v_proj.weight model.layers.{0..2}.self_attn.o_proj.weight model.layers.{0..2}.mlp.gate_proj.weight
	model.layers.{0..2}.mlp.up_proj.weight model.layers.{0..2}.mlp.down_proj.weight model.layers.{0..2}.input_layernorm.weight
	model.layers.{0..2}.post_attention_layernorm.weight model.layers.{0..2}.self_attn.rotary_emb.inv_freq model.norm.weight lm_head.weight`

// The maps of some conversions, as people read them.
func TestConversionMaps(t *testing.T) {
	mixtral := strings.NewReplacer(
		"model.layers.{0..2}.mlp.gate_proj.weight", "model.layers.{0..2}.block_sparse_moe.gate.weight model.layers.{0..2}.block_sparse_moe.experts.{0..3}.w1.weight",
		"model.layers.{0..2}.mlp.up_proj.weight", "model.layers.{0..2}.block_sparse_moe.experts.{0..3}.w3.weight",
		"model.layers.{0..2}.mlp.down_proj.weight", "model.layers.{0..2}.block_sparse_moe.experts.{0..3}.w2.weight",
	).Replace(llamaNames)
	tests := []struct{ name, from, to, names string }{
		{"llama-hf to meta", "llama-hf", "llama-meta", llamaNames},
		{"llama-hf to megatron", "llama-hf", "llama-megatron", llamaNames},
		{"mixtral to gguf", "mixtral-hf", "gguf", mixtral},
	}
	var got strings.Builder
	for _, tt := range tests {
		from := mustLookup(t, tt.from)
		model := modelOf(map[string]int64{"num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 16, "hidden_size": 128, "num_local_experts": 4})
		model.Type = from.Families[0]
		to, err := Target(tt.to, from, model)
		if err != nil {
			t.Fatal(err)
		}
		c, err := Between(from, to, slices.Values(modelNames(tt.names)), model)
		if err != nil {
			t.Fatal(err)
		}
		m, err := c.Map()
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("# " + tt.name + "\n")
		if err := rename.Write(&got, m); err != nil {
			t.Fatal(err)
		}
		got.WriteByte('\n')
	}
	const file = "../testdata/maps.golden"
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(file, []byte(got.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Every derivation can be written as a map.
func TestDerivationMaps(t *testing.T) {
	tried := 0
	for _, from := range convention.All() {
		for _, to := range convention.All() {
			if from == to || from.Frame || to.Frame || testing.Short() && tried > 150 {
				continue
			}
			d, err := Derive(from, to)
			if err != nil {
				continue
			}
			tried++
			if _, err := d.Map(); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
	if tried < 100 {
		t.Errorf("only %d derivations", tried)
	}
}

// For every two conventions the map between them gives the names that a conversion gives,
// whichever spelling of its tensors a checkpoint has, but for those of which the map says that
// only a checkpoint shows what they become.
func TestDerivedMapsConvert(t *testing.T) {
	pairs := 0
	for from, to := range namePairs(t) {
		d, err := Derive(from, to)
		if err != nil || d.By() == ByRefused {
			continue
		}
		if pairs++; !sweep.Has(pairs, 7) {
			continue
		}
		m, err := d.Map()
		if err != nil {
			t.Errorf("%s..%s: %v", from.Name, to.Name, err)
			continue
		}
		open := make(map[string]bool)
		for _, r := range d.Refused() {
			for _, p := range r.From {
				open[template.Words.Of(strings.ReplaceAll(rename.Unnamed(p), "{}", "0"))] = true
			}
		}
		model := exampleModel(from, to)
		var last []convention.Named
		for spelling := range 3 {
			named := allNames(from, spelling)
			if slices.EqualFunc(named, last, func(a, b convention.Named) bool { return a.Name == b.Name }) {
				break
			}
			last = named
			cv, err := Between(from, to, slices.Values(named), model)
			if err != nil {
				t.Errorf("%s..%s: %v", from.Name, to.Name, err)
				continue
			}
			whole, err := cv.Map()
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, n := range named {
				names = append(names, n.Name)
			}
			got := rename.NewPlan(m, names, rename.Limits{Number: model.Number}).Rows
			// Of a layer with a tensor that is dropped for the reason that a note has, all is.
			gone := make(map[string]bool)
			for _, r := range got {
				if r.Action == rename.Drop && slices.ContainsFunc(d.Notes, func(n string) bool { return strings.HasSuffix(n, "what is dropped here: "+r.Reason+".") }) {
					gone[layerOf(r.From)+r.Reason] = true
				}
			}
			for i, want := range rename.NewPlan(whole, names, rename.Limits{Number: model.Number}).Rows {
				if got[i].To == want.To || open[template.Words.Of(want.From)] || want.Action == rename.Drop && gone[layerOf(want.From)+want.Reason] {
					continue
				}
				t.Errorf("%s..%s: %s: the map says %q, a conversion %q", from.Name, to.Name, want.From, got[i].To, want.To)
			}
		}
	}
	if pairs < 700 {
		t.Errorf("only %d pairs", pairs)
	}
}

// layerOf is a name up to its first number.
func layerOf(name string) string {
	text, runs := template.Runs.Split(name)
	return text[0] + strings.Join(runs[:min(1, len(runs))], "")
}

func BenchmarkDeriveAll(b *testing.B) {
	for b.Loop() {
		for _, from := range convention.All() {
			for _, to := range convention.All() {
				if from != to {
					_, _ = Derive(from, to)
				}
			}
		}
	}
}
