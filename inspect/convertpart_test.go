package inspect_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Where one module of two becomes numbers, each document that says how weights are quantised has it in the list that its
// loaders read, wherever in the document that is, and check finds nothing; or a note says why not.
func TestPartlyKept(t *testing.T) {
	places := map[string]string{
		"at the top":        `{"model_type": "llama", "quantization_config": %s}`,
		"of the text":       `{"model_type": "llava", "text_config": {"model_type": "llama", "quantization_config": %s}}`,
		"of the thinker":    `{"model_type": "qwen3_omni_moe", "thinker_config": {"text_config": {"quantization_config": %s}}}`,
		"under another key": `{"model_type": "llama", "compression_config": %s}`,
		"in both":           `{"model_type": "llava", "quantization_config": %[1]s, "text_config": {"model_type": "llama", "quantization_config": %[1]s}}`,
	}
	for _, r := range quantReleases {
		for place, text := range places {
			if r.within != "" || r.document != "" && place != "at the top" {
				continue
			}
			t.Run(r.name+" "+place, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "m")
				lists := strings.Count(text, "%")
				config := fmt.Sprintf(text, r.config)
				if r.document != "" {
					writeFile(t, filepath.Join(dir, r.document), r.config)
					config = `{"model_type": "llama"}`
				}
				writeFile(t, filepath.Join(dir, "config.json"), config)
				weights(t, filepath.Join(dir, "model.safetensors"), r.text(nil))
				glob, err := template.ParseGlob("*layers.1.*")
				if err != nil {
					t.Fatal(err)
				}
				out := filepath.Join(t.TempDir(), "out")
				v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, dir)}, &inspect.ConvertOptions{
					DType: "BF16", Keep: []inspect.Keep{{Glob: glob}}, Write: assemble.Options{Output: out},
				})
				if err != nil {
					t.Fatal(err)
				}
				defer v.Close()
				if err := v.Run(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				// gpt-oss's experts are one module, whatever it has.
				module := "model.layers.0.mlp.experts.up_proj"
				if strings.Contains(r.tensors, "_blocks") {
					module = "model.layers.0.mlp.experts"
				}
				got := 0
				for _, d := range v.Documents {
					for _, e := range d.Edits {
						if strings.Contains(e.To, module) {
							got++
						}
					}
				}
				if got != lists || slices.ContainsFunc(v.Notes, func(note string) bool { return strings.Contains(note, "still quantised") }) {
					t.Errorf("%d lists have %s, want %d: %+v, %q", got, module, lists, v.Documents, v.Notes)
				}
				checked := check(t, &inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Select: []string{"WT32"}}}, out)
				for _, f := range checked.Findings {
					t.Errorf("%s: %s", f.Rule, f.Message)
				}
			})
		}
	}
}

// Lists are lengthened where they are, what single modules are is taken out, and where no list can say it, a note does.
func TestPartlyKeptDocuments(t *testing.T) {
	fp8 := "tensor a.0.up.weight F8_E4M3 [128,128] hex=38\ntensor a.0.up.weight_scale F32 [] values=2\ntensor a.1.up.weight F8_E4M3 [128,128] hex=38\ntensor a.1.up.weight_scale F32 [] values=2\n"
	experts := "tensor e.up_blocks U8 [2,64,2,16]\ntensor e.up_scales U8 [2,64,2] hex=7f\ntensor e.down_blocks U8 [2,64,2,16]\ntensor e.down_scales U8 [2,64,2] hex=7f\n"
	tests := []struct {
		name, document, text, tensors, keep string
		want                                string // of the document, without white space
		note                                string
	}{
		{
			"the other list of vLLM", "config.json", `{"quantization_config": {"quant_method": "fp8", "ignored_layers": ["lm_head"]}}`, fp8, "a.1.*",
			`{"quantization_config":{"quant_method":"fp8","ignored_layers":["lm_head","a.0.up"]}}`, "",
		},
		{
			"both lists", "config.json", `{"quantization_config": {"quant_method": "fp8", "ignored_layers": [], "modules_to_not_convert": ["a.0.up"]}}`, fp8, "a.1.*",
			`{"quantization_config":{"quant_method":"fp8","ignored_layers":["a.0.up"],"modules_to_not_convert":["a.0.up"]}}`, "",
		},
		{
			"no list", "config.json", `{"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": null}}`, fp8, "a.1.*",
			`{"quantization_config":{"quant_method":"fp8","modules_to_not_convert":["a.0.up"]}}`, "",
		},
		{
			"something else", "config.json", `{"quantization_config": {"quant_method": "fp8", "modules_to_not_convert": "x"}}`, fp8, "a.1.*",
			"", "config.json: /quantization_config: modules_to_not_convert is no list, and stays; loaders may take these for quantised: a.0.up",
		},
		{
			"no list that is known", "config.json", `{"quantization_config": {}}`, fp8, "a.1.*",
			"", "config.json: /quantization_config stays, as some weights are still quantised, and has no list of those that are not that is known here; loaders may take these for quantised: a.0.up",
		},
		{
			"the first releases of compressed-tensors", "config.json", `{"compression_config": {"ignore": ["lm_head"]}}`, fp8, "a.1.*",
			`{"compression_config":{"ignore":["lm_head","a.0.up"]}}`, "",
		},
		{
			"a mixture of ModelOpt", "hf_quant_config.json", `{"quantization": {"quant_algo": "MIXED_PRECISION", "exclude_modules": null, "quantized_layers": {"a.0.up": {"quant_algo": "FP8"}, "a.1.up": {"quant_algo": "FP8"}}}}`, fp8, "a.1.*",
			`{"quantization":{"quant_algo":"MIXED_PRECISION","exclude_modules":["a.0.up"],"quantized_layers":{"a.1.up":{"quant_algo":"FP8"}}}}`, "",
		},
		{
			"Mistral's", "params.json", `{"dim": 8, "quantization": {"qformat_weight": "fp8_e4m3"}}`, strings.ReplaceAll(fp8, "weight_scale", "qscale_weight"), "a.1.*",
			"", "params.json: /quantization stays, as some weights are still quantised, and has no list of those that are not that is known here; loaders may take these for quantised: a.0.up",
		},
		{
			"Mistral's, all of it", "params.json", `{"dim": 8, "quantization": {"qformat_weight": "fp8_e4m3"}}`, strings.ReplaceAll(fp8, "weight_scale", "qscale_weight"), "",
			`{"dim":8}`, "",
		},
		{
			"one that says nothing of this", "quantize_config.json", `{"bits": 4}`, fp8, "a.1.*",
			"", "quantize_config.json stays, as some weights are still quantised, and has no list of those that are not that is known here; loaders may take these for quantised: a.0.up",
		},
		{
			"experts of which some stay", "config.json", `{"quantization_config": {"quant_method": "mxfp4"}}`, experts, "e.up_blocks",
			"", "config.json: /quantization_config stays, as some weights are still quantised; its lists are of whole modules, and these now have quantised weights and others: e; let --keep choose all weights of a module or none",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "m")
			if tt.document != "config.json" {
				config := `{"model_type": "llama"}`
				if tt.document == "quantize_config.json" {
					config = `{"quantization_config": {"quant_method": "fp8"}}`
				}
				writeFile(t, filepath.Join(dir, "config.json"), config)
			}
			writeFile(t, filepath.Join(dir, tt.document), tt.text)
			weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\n"+tt.tensors)
			opts := &inspect.ConvertOptions{DType: "BF16", Write: assemble.Options{Output: filepath.Join(t.TempDir(), "out")}}
			if tt.keep != "" {
				glob, err := template.ParseGlob(tt.keep)
				if err != nil {
					t.Fatal(err)
				}
				opts.Keep = []inspect.Keep{{Glob: glob}}
			}
			v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, dir)}, opts)
			if err != nil {
				t.Fatal(err)
			}
			defer v.Close()
			if err := v.Run(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(filepath.Join(opts.Write.Output, tt.document))
			if err != nil {
				t.Fatal(err)
			}
			want := tt.want
			if want == "" {
				want = strings.Join(strings.Fields(tt.text), "")
			}
			if got := strings.Join(strings.Fields(string(b)), ""); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if tt.note != "" && !slices.Contains(v.Notes, tt.note) {
				t.Errorf("%q, want %q", v.Notes, tt.note)
			}
			if tt.note == "" && len(v.Notes) > 0 {
				t.Errorf("%q", v.Notes)
			}
		})
	}
}

// The room that a result needs is that of all its files.
func TestNeedHasDocuments(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	tokenizer := strings.Repeat("x", 12345)
	writeFile(t, filepath.Join(dir, "tokenizer.json"), tokenizer)
	writeFile(t, filepath.Join(dir, "config.json"), `{"torch_dtype": "float32"}`)
	weights(t, filepath.Join(dir, "model.safetensors"), "meta format pt\ntensor a F32 [4,4]\n")
	out := filepath.Join(t.TempDir(), "out")
	v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, dir)}, &inspect.ConvertOptions{DType: "BF16", Write: assemble.Options{Output: out}})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.Run(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	written := int64(0)
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		written += fi.Size()
	}
	if v.Job.Need != written || len(entries) != 3 {
		t.Errorf("%d bytes are needed, and %d were written in %d files", v.Job.Need, written, len(entries))
	}
}

// Of a weight that several sources have in several forms, the result has all tensors of the one that counts, and none of
// the others.
func TestFormsOfOneWeight(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name, "model.safetensors") }
	forms := map[string]string{
		"packed": "l.0.up.weight_packed I32 [8,32]\nl.0.up.weight_scale F32 [8,2]\nl.0.up.weight_shape I64 [2] values=8,256",
		"plain":  "l.0.up.weight BF16 [8,256]",
		"fp8":    "l.0.up.weight F8_E4M3 [8,256]\nl.0.up.weight_scale F32 [8,1]",
		"gptq":   "l.0.up.qweight I32 [32,8]\nl.0.up.qzeros I32 [2,1]\nl.0.up.scales F16 [2,8]",
		"mlx":    "l.0.up.weight U32 [8,32]\nl.0.up.scales BF16 [8,4]\nl.0.up.biases BF16 [8,4]",
	}
	names := slices.Sorted(maps.Keys(forms))
	for _, name := range names {
		weights(t, path(name), "tensor "+strings.ReplaceAll(forms[name], "\n", "\ntensor ")+"\ntensor of."+name+" F32 [2]\n")
	}
	pairs := 0
	for _, a := range names {
		for _, b := range names {
			for _, c := range append(names, "") {
				list := []string{a, b, c}
				if c == "" {
					list = list[:2]
				}
				if a == b || c == a || c == b {
					continue
				}
				pairs++
				for prefer, counts := range map[checkpoint.Prefer]string{checkpoint.PreferFirst: list[0], checkpoint.PreferLast: list[len(list)-1]} {
					var sources []*checkpoint.Checkpoint
					var want []string
					for _, name := range list {
						sources = append(sources, open(t, path(name)))
						want = append(want, "of."+name+" F32 [2]")
					}
					for _, line := range strings.Split(forms[counts], "\n") {
						line, _, _ = strings.Cut(line, " values")
						want = append(want, line)
					}
					v, err := inspect.Convert(t.Context(), sources, &inspect.ConvertOptions{Prefer: prefer})
					if err != nil {
						t.Fatal(err)
					}
					var got []string
					for tensor := range v.All() {
						got = append(got, fmt.Sprintf("%s %s %s", tensor.Name, tensor.DType, strings.ReplaceAll(fmt.Sprint(tensor.Shape), " ", ",")))
					}
					slices.Sort(got)
					slices.Sort(want)
					if !slices.Equal(got, want) {
						t.Errorf("%q, of which %s counts, give\n%q, want\n%q", list, counts, got, want)
					}
					if err := v.Close(); err != nil {
						t.Error(err)
					}
				}
			}
		}
	}
	if pairs < 80 {
		t.Errorf("%d lists", pairs)
	}
}
