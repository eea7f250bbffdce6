package rewrite

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
	"github.com/wtinspect/wtinspect/rename"
)

// yi is the founding story's release in small: LLaMA's architecture with two
// norms of every layer under other names.
const yi = `
meta format pt
file model-00001-of-00002.safetensors
tensor model.embed_tokens.weight BF16 [64,32]
tensor model.layers.{0..2}.ln1.weight BF16 [32]
tensor model.layers.{0..2}.ln2.weight BF16 [32]
tensor model.layers.{0..2}.self_attn.q_proj.weight BF16 [32,32]
file model-00002-of-00002.safetensors
tensor model.layers.{3..5}.ln1.weight BF16 [32]
tensor model.layers.{3..5}.ln2.weight BF16 [32]
tensor model.layers.{3..5}.self_attn.q_proj.weight BF16 [32,32]
tensor model.norm.weight BF16 [32]
`

const yiToLlama = `
rename:
  model.layers.{layer}.ln1.weight: model.layers.{layer}.input_layernorm.weight
  model.layers.{layer}.ln2.weight: model.layers.{layer}.post_attention_layernorm.weight
`

const llamaGGUF = `
format gguf
kv general.architecture str llama
kv general.name str small
kv tokenizer.ggml.tokens [str] a b c
tensor token_embd.weight F32 [64,32]
tensor blk.{0..5}.ln1.weight F32 [32]
tensor blk.{0..5}.attn_q.weight Q4_0 [32,32]
tensor output_norm.weight F32 [32]
`

const ggufMap = `
rename:
  blk.{layer}.ln1.weight: blk.{layer}.attn_norm_of_the_llama_kind.weight
`

func parseMap(t testing.TB, text string) *rename.Map {
	t.Helper()
	m, err := rename.Parse("map.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func openOne(t testing.TB, ref string) *checkpoint.Checkpoint {
	t.Helper()
	r, err := checkpoint.Open(context.Background(), ref, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	if len(r.Checkpoints) != 1 {
		t.Fatalf("%s: %d checkpoints", ref, len(r.Checkpoints))
	}
	return r.Checkpoints[0]
}

func planFor(t testing.TB, c *checkpoint.Checkpoint, m *rename.Map) *rename.Plan {
	t.Helper()
	names := make([]string, c.Len())
	for i, tensor := range c.All() {
		names[i] = tensor.Name
	}
	limits := rename.Safetensors()
	if c.Format == checkpoint.GGUF {
		limits = rename.GGUF()
	}
	return rename.NewPlan(m, names, limits)
}

// tensorsOf returns every tensor as a line, with its data.
func tensorsOf(t testing.TB, ref string) []string {
	t.Helper()
	c := openOne(t, ref)
	var out []string
	for i, tensor := range c.All() {
		r, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, r.Size())
		if _, err := r.ReadAt(data, 0); err != nil && len(data) > 0 {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %v %x", tensor.Name, tensor.DType, tensor.Shape, data))
	}
	for _, f := range c.Validate(t.Context()) {
		if f.Severity == checkpoint.Error {
			t.Errorf("%s: %v", ref, f)
		}
	}
	return out
}

func write(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// release builds a release of one of the kinds.
func release(t testing.TB, dir, kind string) (ref string, m *rename.Map) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	single := strings.ReplaceAll(strings.ReplaceAll(yi, "file model-00001-of-00002.safetensors\n", ""), "file model-00002-of-00002.safetensors\n", "")
	switch kind {
	case "sharded":
		must(fixture.Sharded(dir, yi))
		write(t, dir, map[string]string{"config.json": "{\n  \"model_type\": \"Yi\"\n}\n", "README.md": "# Yi\n"})
		return dir, parseMap(t, yiToLlama)
	case "no-index":
		must(fixture.Sharded(dir, yi+"index none\n"))
		return dir, parseMap(t, yiToLlama)
	case "single":
		must(fixture.Write(filepath.Join(dir, "model.safetensors"), single))
		return filepath.Join(dir, "model.safetensors"), parseMap(t, yiToLlama)
	case "gguf":
		must(fixture.Write(filepath.Join(dir, "model.gguf"), llamaGGUF))
		return filepath.Join(dir, "model.gguf"), parseMap(t, ggufMap)
	case "gguf-split":
		must(fixture.Write(filepath.Join(dir, "m-00001-of-00002.gguf"), llamaGGUF+"kv split.no u16 0\nkv split.count u16 2\nkv split.tensors.count i32 20\n"))
		must(fixture.Write(filepath.Join(dir, "m-00002-of-00002.gguf"), "format gguf\nkv split.no u16 1\nkv split.count u16 2\nkv split.tensors.count i32 20\ntensor blk.{6..8}.ln1.weight F32 [32]\ntensor blk.{6..8}.attn_q.weight Q4_0 [32,32]\n"))
		return filepath.Join(dir, "m-00001-of-00002.gguf"), parseMap(t, ggufMap)
	}
	t.Fatal(kind)
	return "", nil
}

var kinds5 = []string{"sharded", "no-index", "single", "gguf", "gguf-split"}

func runJob(t testing.TB, fsys txn.System, ref string, m *rename.Map, opts *Options) (*Job, *Report) {
	t.Helper()
	c := openOne(t, ref)
	plan := planFor(t, c, m)
	if err := plan.Err(); err != nil {
		t.Fatal(err)
	}
	j, err := prepare(context.Background(), fsys, c, plan, nil, opts)
	if err != nil {
		t.Fatal(err)
	}
	r, err := j.Run(context.Background(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return j, r
}

func renamed(lines []string) []string {
	out := slices.Clone(lines)
	for i, l := range out {
		if strings.HasPrefix(l, "blk.") {
			out[i] = strings.Replace(l, ".ln1.", ".attn_norm_of_the_llama_kind.", 1)
			continue
		}
		out[i] = strings.NewReplacer(".ln1.", ".input_layernorm.", ".ln2.", ".post_attention_layernorm.").Replace(l)
	}
	return out
}

// TestRename renames releases of every kind in every way, and back again.
func TestRename(t *testing.T) {
	for _, kind := range kinds5 {
		for _, way := range []string{"in place", "in place, no insert", "output", "headroom"} {
			t.Run(kind+"/"+way, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "m")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				ref, m := release(t, dir, kind)
				before, files := tensorsOf(t, ref), fixture.Snapshot(t, dir)
				c := openOne(t, ref)
				plan := planFor(t, c, m)
				fsys := faulttest.Limited{Insert: way != "in place, no insert"}
				opts := &Options{}
				after := ref
				if way == "output" || way == "headroom" {
					opts.Output = filepath.Join(filepath.Dir(dir), "out")
					after = opts.Output
					switch kind {
					case "single", "gguf":
						opts.Output += filepath.Ext(ref)
						after = opts.Output
					case "gguf-split":
						after = filepath.Join(after, filepath.Base(ref))
					}
				}
				if way == "headroom" {
					opts.Headroom = 10_000
				}
				j, report := runJob(t, fsys, ref, m, opts)
				if diff := cmp.Diff(renamed(before), tensorsOf(t, after)); diff != "" {
					t.Fatalf("tensors (-want +got):\n%s", diff)
				}
				for i, f := range report.Files {
					if f.Proof.Method == "none" {
						t.Errorf("%s: nothing was verified", f.Name)
					}
					ft := faulttest.Probe(fsys, dir)
					want := Copy
					switch {
					case opts.Output == "" && ft.Insert:
						want = Insert
					case ft.Clone:
						want = Reflink
					}
					if f.Step != want {
						t.Errorf("%s: step %q, want %q", f.Name, f.Step, want)
					}
					if room := j.Files[i].NewDataOffset - j.edits[i].least; way == "headroom" && room < 10_000 {
						t.Errorf("%s: headroom %d", f.Name, room)
					}
					if j.Files[i].Filler && way == "output" {
						t.Errorf("%s: a fresh copy has a filler", f.Name)
					}
				}
				if opts.Output != "" && !maps.Equal(files, fixture.Snapshot(t, dir)) {
					t.Error("the source changed")
				}
				for name := range fixture.Snapshot(t, filepath.Dir(dir)) {
					if strings.Contains(name, ".wtinspect") {
						t.Errorf("%s was left behind", name)
					}
				}
				// Back again: whatever the step was, the headers that have grown now fit.
				_, report = runJob(t, txn.OS{}, after, plan.Inverse(), nil)
				if diff := cmp.Diff(before, tensorsOf(t, after)); diff != "" {
					t.Fatalf("tensors after the inverse (-want +got):\n%s", diff)
				}
				for _, f := range report.Files {
					if f.Step != Pad && c.Format == checkpoint.Safetensors {
						t.Errorf("%s: step %q for a header that shrinks", f.Name, f.Step)
					}
				}
				if kind == "sharded" && way == "in place" && fixture.Snapshot(t, dir)["model.safetensors.index.json"] != files["model.safetensors.index.json"] {
					t.Error("the index is not what it was")
				}
			})
		}
	}
}

func TestDocumentsFollow(t *testing.T) {
	moves := movesOf([]rename.Row{
		{From: "model.layers.0.ln1.weight", To: "model.layers.0.input_layernorm.weight", Action: rename.Move},
		{From: "model.layers.1.ln1.weight", To: "model.layers.1.input_layernorm.weight", Action: rename.Move},
		{From: "model.layers.0.attn.q.weight", To: "model.layers.0.attn.q.weight"},
		{From: "vision.blocks.0.attn.q.weight", To: "visual.tower.blocks.0.attn.q.weight", Action: rename.Move},
		{From: "vision.blocks.0.mlp.weight", To: "visual.tower.blocks.0.mlp.weight", Action: rename.Move},
		{From: "lm_head.weight", To: "lm_head.weight"},
		{From: "a.mix.weight", To: "a.blend.weight", Action: rename.Move},
		{From: "b.mix.weight", To: "b.mix.weight"},
		{From: "gone.weight", Action: rename.Drop},
	})
	tests := []struct{ file, in, out, left string }{
		{"config.json", `{"quantization_config": {"ignore": ["lm_head", "model.layers.0.ln1"]}}`, `{"quantization_config": {"ignore": ["lm_head", "model.layers.0.input_layernorm"]}}`, ""},
		{"config.json", `{"quantization_config":{"modules_to_not_convert":[ "ln1" , "q"]}, "note":"ln1"}`, `{"quantization_config":{"modules_to_not_convert":[ "input_layernorm" , "q"]}, "note":"ln1"}`, ""},
		{"config.json", `{"text_config":{"quantization_config":{"block_name_to_quantize":"vision.blocks"}}}`, `{"text_config":{"quantization_config":{"block_name_to_quantize":"visual.tower.blocks"}}}`, ""},
		{"config.json", `{"quantization_config":{"extra_config":{"vision.blocks.0.mlp":{"bits":16}}}}`, `{"quantization_config":{"extra_config":{"visual.tower.blocks.0.mlp":{"bits":16}}}}`, ""},
		{"config.json", `{"quantization_config":{"ignore":["re:.*ln1.*"]}}`, "", `config.json:1:35: "re:.*ln1.*" is a pattern that matches "model.layers.0.ln1.weight", which becomes "model.layers.0.input_layernorm.weight"; check whether it has to change`},
		{"config.json", `{"quantization_config":{"ignore":["re:.*q_proj.*"]}}`, "", ""},
		{"config.json", `{"quantization_config":{"ignore":["*ln1"]}}`, "", `config.json:1:35: "*ln1" is a pattern that may match renamed tensors; check whether it has to change`},
		{"config.json", `{"quantization_config":{"ignore":["mix"]}}`, "", `config.json:1:35: "mix" would become "blend" for some tensors and "mix" for others`},
		{"config.json", `{"quantization_config":{"ignore":["vision"]}}`, `{"quantization_config":{"ignore":["visual.tower"]}}`, ""},
		{"config.json", `{"quantization_config":{"ignore":["gone"]},"modules_to_not_convert":["ln1"]}`, "", ""},
		{"config.json", `{"quantization_config":{"modules_in_block_to_quantize":[["attn.q"],["ln1"]]}}`, `{"quantization_config":{"modules_in_block_to_quantize":[["attn.q"],["input_layernorm"]]}}`, ""},
		{"adapter_config.json", `{"target_modules": ["ln1"], "modules_to_save": null, "layers_pattern": "layers"}`, `{"target_modules": ["input_layernorm"], "modules_to_save": null, "layers_pattern": "layers"}`, ""},
		{"adapter_config.json", `{"target_modules": "model\\..*ln1"}`, "", `adapter_config.json:1:20: "model\\..*ln1" is a pattern that matches "model.layers.0.ln1.weight", which becomes "model.layers.0.input_layernorm.weight"; check whether it has to change`},
		{"adapter_config.json", `{"rank_pattern":{"ln1":8}}`, `{"rank_pattern":{"input_layernorm":8}}`, ""},
	}
	for _, tt := range tests {
		out, _, left, err := editDocument(tt.file, []byte(tt.in), func() []move { return moves })
		if err != nil {
			t.Errorf("%s: %v", tt.in, err)
			continue
		}
		if string(out) != tt.out {
			t.Errorf("%s\n  became %s\n  want   %s", tt.in, out, tt.out)
		}
		got := ""
		for _, u := range left {
			got += u.String()
		}
		if got != tt.left {
			t.Errorf("%s\n  left %s\n  want %s", tt.in, got, tt.left)
		}
	}
}

func TestReleaseDocuments(t *testing.T) {
	dir := t.TempDir()
	ref, m := release(t, dir, "sharded")
	config := "{\r\n\t\"quantization_config\" : { \"modules_to_not_convert\":[\"ln1\",\"model.layers.0.self_attn\", \"re:ln2\"] } }\n"
	write(t, dir, map[string]string{"config.json": config})
	c := openOne(t, ref)
	plan := planFor(t, c, m)
	j, err := Prepare(context.Background(), c, plan, &Options{Strict: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(j.Refusals) != 1 || !strings.Contains(j.Refusals[0].Reason, `"re:ln2"`) || j.Refusals[0].Forcible {
		t.Errorf("strict: refusals %v", j.Refusals)
	}
	if _, err := j.Run(context.Background(), nil); err == nil {
		t.Error("a refused job ran")
	}
	_, report := runJob(t, txn.OS{}, ref, m, nil)
	if want := []string{"model.safetensors.index.json", "config.json"}; !slices.Equal(report.Documents, want) {
		t.Errorf("documents %q, want %q", report.Documents, want)
	}
	got := fixture.Snapshot(t, dir)
	if want := strings.Replace(config, `"ln1"`, `"input_layernorm"`, 1); got["config.json"] != want {
		t.Errorf("config.json is %q, want %q", got["config.json"], want)
	}
	if index := got["model.safetensors.index.json"]; strings.Contains(index, "ln1") || !strings.Contains(index, `"model.layers.5.input_layernorm.weight"`) {
		t.Errorf("index: %s", index)
	}
}

func TestDrop(t *testing.T) {
	for _, kind := range kinds5 {
		for _, output := range []bool{false, true} {
			t.Run(fmt.Sprint(kind, "/output=", output), func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "m")
				if err := os.Mkdir(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				ref, _ := release(t, dir, kind)
				m := parseMap(t, "version: 1\nrules:\n  - {from: \"{a...}.ln1.weight\", drop: not needed}\n  - {from: output_norm.weight, to: norm.weight}\n  - {from: model.norm.weight, to: norm.weight}\n")
				var want []string
				for _, l := range tensorsOf(t, ref) {
					l = strings.NewReplacer("output_norm", "norm", "model.norm", "norm").Replace(l)
					if !strings.Contains(l, ".ln1.") {
						want = append(want, l)
					}
				}
				opts, after := &Options{}, ref
				if output {
					opts.Output = filepath.Join(filepath.Dir(dir), "out")
					after = opts.Output
					if kind == "single" || kind == "gguf" {
						opts.Output += filepath.Ext(ref)
						after = opts.Output
					} else if kind == "gguf-split" {
						after = filepath.Join(after, filepath.Base(ref))
					}
				}
				_, report := runJob(t, txn.OS{}, ref, m, opts)
				if diff := cmp.Diff(want, tensorsOf(t, after)); diff != "" {
					t.Errorf("tensors (-want +got):\n%s", diff)
				}
				for _, f := range report.Files {
					if f.Step != Copy || f.Proof.Method != "digests" {
						t.Errorf("%s: %q, proof %+v", f.Name, f.Step, f.Proof)
					}
				}
			})
		}
	}
}

// TestNothingToDo sets what is set: no file is touched.
func TestNothingToDo(t *testing.T) {
	for kind, edit := range map[string]Metadata{
		"sharded": {Key: "format", Value: "pt"}, "gguf": {Key: "general.name", Value: "small"}, "gguf-split": {Key: "none", Unset: true},
	} {
		dir := t.TempDir()
		ref, _ := release(t, dir, kind)
		before, err := os.Stat(ref)
		must(t, err)
		j, err := PrepareMetadata(context.Background(), openOne(t, ref), []Metadata{edit}, nil)
		must(t, err)
		r, err := j.Run(context.Background(), nil)
		must(t, err)
		for _, f := range r.Files {
			if f.Step != Unchanged {
				t.Errorf("%s: %s: step %q", kind, f.Name, f.Step)
			}
		}
		if after, err := os.Stat(ref); err != nil || !after.ModTime().Equal(before.ModTime()) {
			t.Errorf("%s: touched (%v)", kind, err)
		}
	}
}

func TestMetadata(t *testing.T) {
	tests := []struct {
		name, text string
		edits      []Metadata
		want, err  string
	}{
		{"add", "tensor a F32 [1]", []Metadata{{Key: "format", Value: "pt"}}, "format=pt", ""},
		{"set", "meta a 1\nmeta b \"x\\\"y\"\ntensor t F32 [1]", []Metadata{{Key: "b", Value: "new\n\"é"}, {Key: "c", Value: ""}}, "a=1 b=new\n\"é c=", ""},
		{"unset", "meta a 1\nmeta b 2\nmeta c 3\ntensor t F32 [1]", []Metadata{{Key: "b", Unset: true}, {Key: "none", Unset: true}}, "a=1 c=3", ""},
		{"last wins", "meta a 1\ntensor t F32 [1]", []Metadata{{Key: "n", Value: "1"}, {Key: "n", Value: "2"}}, "a=1 n=2", ""},
		{"null", "header `{\"__metadata__\":null,\"t\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}`", []Metadata{{Key: "a", Value: "1"}}, "a=1", ""},
		{"no tensors", "header {}", []Metadata{{Key: "a", Value: "1"}}, "a=1", ""},
		{"typed", "tensor t F32 [1]", []Metadata{{Key: "a", Value: "1", Type: "u32"}}, "", `key "a": safetensors metadata are strings; it cannot be set as u32`},
		{"bytes", "tensor t F32 [1]", []Metadata{{Key: "a", Value: "\xff"}}, "", `the value "\xff" is not valid UTF-8, which the format requires`},
		{"gguf", llamaGGUF, []Metadata{{Key: "general.name", Value: "big"}, {Key: "n", Value: "7", Type: "u32"}, {Key: "tokenizer.ggml.tokens", Unset: true}}, "general.architecture=llama general.name=big n=7", ""},
		{"gguf type", "format gguf\nkv n u8 1\ntensor t F32 [1]", []Metadata{{Key: "n", Value: "300"}}, "", `key "n": "300" is not a value of type u8: value out of range`},
		{"gguf fixed", llamaGGUF, []Metadata{{Key: "general.alignment", Value: "64"}}, "", `key "general.alignment" cannot be edited: it says where the tensors' data is`},
		{"gguf array", llamaGGUF, []Metadata{{Key: "tokenizer.ggml.tokens", Value: "64"}}, "", `key "tokenizer.ggml.tokens": an array cannot be set from the command line; write another type or unset it`},
		{"gguf no such type", llamaGGUF, []Metadata{{Key: "n", Value: "1", Type: "int"}}, "", `key "n": there is no type "int"; there are u8, i8, u16, i16, u32, i32, u64, i64, f32, f64, bool and str`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ref := filepath.Join(t.TempDir(), "m.safetensors")
			if strings.Contains(tt.text, "format gguf") {
				ref = filepath.Join(filepath.Dir(ref), "m.gguf")
			}
			if err := fixture.Write(ref, tt.text); err != nil {
				t.Fatal(err)
			}
			before := tensorsOf(t, ref)
			j, err := PrepareMetadata(context.Background(), openOne(t, ref), tt.edits, nil)
			if err == nil {
				_, err = j.Run(context.Background(), nil)
			}
			if tt.err != "" {
				if err == nil || !strings.HasSuffix(err.Error(), tt.err) {
					t.Fatalf("error %v, want %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, kv := range openOne(t, ref).Metadata() {
				text := kv.Text
				if kv.Value != nil {
					var ok bool
					if text, ok = kv.Value.Text(); !ok {
						n, _ := kv.Value.Uint()
						text = fmt.Sprint(n)
					}
				}
				if kv.Key != "wt.padding" {
					got = append(got, kv.Key+"="+text)
				}
			}
			if s := strings.Join(got, " "); s != tt.want {
				t.Errorf("metadata %q, want %q", s, tt.want)
			}
			if diff := cmp.Diff(before, tensorsOf(t, ref)); diff != "" {
				t.Errorf("tensors (-want +got):\n%s", diff)
			}
		})
	}
}

// fickle is a file system that promises more than it keeps for some files, as
// encrypted ones.
var fickle = faulttest.System{
	Dir:  func(d txn.Dir) txn.Dir { return fickleDir{d} },
	File: func(f txn.File, _ int) (txn.File, error) { return fickleFile{f}, nil },
}

type fickleDir struct{ txn.Dir }

func (fickleDir) Probe() txn.Features {
	return txn.Features{Block: 4096, Insert: true, Clone: true, Free: -1}
}

type fickleFile struct{ txn.File }

func (f fickleFile) Extents() ([]txn.Extent, error) {
	return []txn.Extent{{Start: 0, End: 1 << 20}}, nil
}

func (f fickleFile) Insert(int64, int64) error { return errors.ErrUnsupported }

func (f fickleFile) Clone(txn.File, int64, int64, int64) error { return errors.ErrUnsupported }

// TestStepGivesWay falls down the ladder while the job runs.
func TestStepGivesWay(t *testing.T) {
	for _, output := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "m")
		must(t, os.Mkdir(dir, 0o755))
		ref, m := release(t, dir, "sharded")
		before := tensorsOf(t, ref)
		opts, after := &Options{}, ref
		if output {
			opts.Output = filepath.Join(filepath.Dir(dir), "out")
			after = opts.Output
		}
		j, report := runJob(t, fickle, ref, m, opts)
		for i, f := range report.Files {
			if f.Step != Copy || j.Files[i].Step != Copy {
				t.Errorf("%s: %q, want %q", f.Name, f.Step, Copy)
			}
		}
		if diff := cmp.Diff(renamed(before), tensorsOf(t, after)); diff != "" {
			t.Errorf("tensors (-want +got):\n%s", diff)
		}
	}
}
