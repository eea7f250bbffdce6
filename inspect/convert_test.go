package inspect_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/assemble"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/x448/float16"
)

// convertTo makes a checkpoint in another convention.
func convertTo(t *testing.T, c *checkpoint.Checkpoint, out string, names inspect.RenameOptions, like *checkpoint.Checkpoint) error {
	t.Helper()
	names.Unknown = inspect.DropUnknown
	v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{
		Names: names, Like: like, Write: assemble.Options{Output: out, Verify: rewrite.VerifyNone},
	})
	if err != nil {
		return err
	}
	defer v.Close()
	return v.Run(t.Context(), nil)
}

// What is converted to a convention is identified as that one, whatever the names are
// below, or the conversion is refused; and rename makes the same tensors.
func TestConvertedIsIdentified(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	wrappers := []string{"", "module.", "_orig_mod.", "base_model.model.", "model."}
	n, done, refused := 0, 0, 0
	offered(t, func(from, to *convention.Convention) {
		for _, wrapper := range wrappers {
			if n++; !sweep.Has(n, 53) {
				continue
			}
			dir := t.TempDir()
			c := sampleOf(t, dir, from, to)
			if wrapper != "" {
				wrapped := filepath.Join(dir, "wrapped"+filepath.Ext(c.Path))
				r, err := inspect.Rename(t.Context(), c, &inspect.RenameOptions{Edit: rename.Edit{Steps: []rename.Step{{Kind: rename.AddPrefix, Text: wrapper}}}, AllowLayoutMismatch: true, Rewrite: rewrite.Options{Output: wrapped}})
				if err == nil {
					err = r.Run(t.Context(), nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				c = open(t, wrapped)
			}
			what := fmt.Sprintf("%s to %s below %q", from.Name, to.Name, wrapper)
			made := bothWays(t, what, c, dir, inspect.RenameOptions{From: from.Name, To: to.Name})
			if made == nil {
				if refused++; wrapper == "" {
					t.Errorf("%s is offered, and refused", what)
				}
				continue
			}
			done++
			for _, written := range append(made, inContainer(t, what, c, dir, from, to)...) {
				if got, err := inspect.Identify(t.Context(), written, nil); err != nil || !got.IsOf(to.Name) {
					t.Errorf("%s: %s is identified as %q, %v: %v", what, filepath.Base(written.Path), got.Convention, got.Evidence, err)
				}
			}
		}
	})
	t.Logf("%d conversions, %d refused", done, refused)
	if done < sweep.Count(60, 3000) {
		t.Errorf("only %d conversions were tried", done)
	}
}

// bothWays makes a checkpoint in another convention by Convert and by Rename, which have
// to agree; nil where both refuse.
func bothWays(t *testing.T, what string, c *checkpoint.Checkpoint, dir string, names inspect.RenameOptions) []*checkpoint.Checkpoint {
	t.Helper()
	converted, renamed := filepath.Join(dir, "converted.safetensors"), filepath.Join(dir, "renamed.safetensors")
	err := convertTo(t, c, converted, names, nil)
	names.Unknown, names.Rewrite = inspect.DropUnknown, rewrite.Options{Output: renamed, Verify: rewrite.VerifyNone}
	r, otherwise := inspect.Rename(t.Context(), c, &names)
	if otherwise == nil {
		otherwise = r.Run(t.Context(), nil)
		r.Close()
	}
	_, refused := errors.AsType[*convert.RefusalError](err)
	switch {
	case fmt.Sprint(err) != fmt.Sprint(otherwise) && !refused:
		t.Errorf("%s: convert says %v, and rename %v", what, err, otherwise)
	case err == nil:
		made := []*checkpoint.Checkpoint{open(t, converted), open(t, renamed)}
		if a, b := contents(t, made[0]), contents(t, made[1]); !maps.Equal(a, b) {
			t.Errorf("%s: convert and rename make different tensors", what)
		}
		return made
	case !refused:
		t.Errorf("%s: %v", what, err)
	}
	return nil
}

// contents are the tensors of a checkpoint by their names.
func contents(t *testing.T, c *checkpoint.Checkpoint) map[string]string {
	t.Helper()
	out := make(map[string]string, c.Len())
	for i, tensor := range c.All() {
		data, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		bytes, err := io.ReadAll(data)
		if err != nil {
			t.Fatal(err)
		}
		out[tensor.Name] = fmt.Sprint(tensor.DType, tensor.Shape, bytes)
	}
	return out
}

// inContainer makes a GGUF file of a conversion to its names, with the key/values of
// another one.
func inContainer(t *testing.T, what string, c *checkpoint.Checkpoint, dir string, from, to *convention.Convention) []*checkpoint.Checkpoint {
	t.Helper()
	architecture, isGGUF := strings.CutSuffix(to.Name, "-gguf")
	if !isGGUF || from.HasDialect("gguf") {
		return nil
	}
	like, out := filepath.Join(dir, "like.gguf"), filepath.Join(dir, "converted.gguf")
	text := ggufOf(architecture, c)
	if err := fixture.Write(like, text+"tensor rope_freqs.weight F32 [4]\n"); err != nil {
		t.Fatal(err)
	}
	if err := convertTo(t, c, out, inspect.RenameOptions{From: from.Name, To: to.Name}, open(t, like)); err != nil {
		t.Errorf("%s in a GGUF file: %v", what, err)
		return nil
	}
	return []*checkpoint.Checkpoint{open(t, out)}
}

// ggufOf is the text of a GGUF file of the samples' model, without tensors: everything that llama.cpp
// asks for whatever the architecture.
func ggufOf(architecture string, of *checkpoint.Checkpoint) string {
	experts := false
	for _, t := range of.All() {
		// CogVLM has a vision_expert and a language_expert, which are no mixture.
		experts = experts || strings.Contains(t.Name, "expert") && !strings.Contains(t.Name, "vision_expert") && !strings.Contains(t.Name, "language_expert") || strings.Contains(t.Name, "_exps.")
	}
	var text strings.Builder
	fmt.Fprintf(&text, "format gguf\nkv general.architecture str %s\n", architecture)
	text.WriteString("kv tokenizer.ggml.model str none\n")
	model := &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) {
		n, ok := sampleNumbers[key]
		return n, ok
	}}}
	for _, n := range convention.GGUFNumbers(architecture) {
		value, ok := n.Of(model)
		if n.Key == "" || n.Type == "str" || n.OfExperts && !experts || strings.HasSuffix(n.Key, "epsilon") && !n.Needed || !ok && !n.Needed || value.List {
			continue
		}
		if n.Type == "list" {
			fmt.Fprintf(&text, "kv %s.%s u32[] 1 1 1 1\n", architecture, n.Key)
			continue
		}
		number := 1.0
		switch {
		case ok && n.Key != "feed_forward_length": // which is what the samples have
			number = value.Numbers[0]
		case strings.HasSuffix(n.Key, "feed_forward_length"):
			number = float64(sampleNumbers["intermediate_size"])
		case n.Key == "context_length":
			number = 64
		case strings.HasSuffix(n.Key, "epsilon"):
			number = 1e-5
		}
		if n.Type == "bool" {
			fmt.Fprintf(&text, "kv %s.%s bool %t\n", architecture, n.Key, number != 0)
			continue
		}
		fmt.Fprintf(&text, "kv %s.%s %s %s\n", architecture, n.Key, n.Type, strconv.FormatFloat(number, 'f', -1, 64))
	}
	return text.String()
}

// An adapter in one spelling that is converted to another is identified as an adapter
// of the same model in that one, or the conversion is refused: of the modules of every
// convention, in every spelling, below what trainers put in front of all names.
func TestConvertedAdapterIsIdentified(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	n, done, refused := 0, make(map[string]int), 0
	for _, c := range convention.All() {
		part := "any"
		if c.Kind == convention.Denoiser {
			part = c.Kind
		}
		for _, spelling := range adapter.All() {
			prefix, ok := spelling.PrefixOf(part, c.HasFamily)
			if n++; !ok || !sweep.Has(n, 71) {
				continue
			}
			wrapper := []string{"", "module."}[n%2]
			text := spelled(spelling, prefix, wrapper, adapted(c))
			if got, ok := readAdapter(text, c); !ok || got != spelling.Name {
				continue // of another spelling or another convention
			}
			dir := t.TempDir()
			path := filepath.Join(dir, "adapter_model.safetensors")
			config := `{"peft_type": "LORA", "r": 4, "lora_alpha": 8, "lora_parameters": {"rank": 4, "scale": 2.0}}`
			numbers, err := json.Marshal(sampleNumbers)
			err = errors.Join(err, fixture.Write(path, text), os.WriteFile(filepath.Join(dir, "adapter_config.json"), []byte(config), 0o666), os.WriteFile(filepath.Join(dir, "config.json"), numbers, 0o666))
			if err != nil {
				t.Fatal(err)
			}
			source := open(t, path)
			for _, to := range adapter.All() {
				what := fmt.Sprintf("an adapter of %s in %s below %q to %s", c.Name, spelling.Name, wrapper+prefix, to.Name)
				made := bothWays(t, what, source, dir, inspect.RenameOptions{From: c.Name, To: to.Name})
				if made == nil {
					refused++
					continue
				}
				done[to.Name]++
				for _, written := range made {
					res, err := inspect.Identify(t.Context(), written, nil)
					if err != nil || !res.Adapter || !slices.Equal(res.Dialects, []string{to.Name}) {
						t.Errorf("%s is identified as one in %v, %v", what, res.Dialects, err)
						continue
					}
					of := append([]identify.Candidate{{Convention: res.Convention}}, res.Candidates...)
					if !slices.ContainsFunc(of, func(k identify.Candidate) bool {
						known, ok := convention.Lookup(k.Convention)
						return ok && slices.ContainsFunc(known.Families, c.HasFamily)
					}) {
						t.Errorf("%s is identified as one of %q", what, res.Convention)
					}
				}
				for _, written := range made {
					if err := os.Remove(written.Path); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	t.Logf("%v, %d refused", done, refused)
	if len(done) < len(adapter.All())-1 { // the one of XLabs has few modules
		t.Errorf("of %d spellings only %v were converted to", len(adapter.All()), done)
	}
}

// adapted lists matrices of a convention that adapters change: the first of each role that
// has a layer, with their outputs and inputs.
func adapted(c *convention.Convention) []fixture.NamedTensor {
	var out []fixture.NamedTensor
	seen := make(map[string]bool)
	for _, n := range sample(c, c, func(*convention.Tensor) bool { return false }) {
		path, ok := strings.CutSuffix(n.Name, ".weight")
		t, _, known := c.Match(n.Name)
		if !ok || !known || len(n.Shape) != 2 || seen[t.Role] || len(t.Pattern.Holes()) == 0 || len(out) == 6 {
			continue
		}
		seen[t.Role] = true
		out = append(out, fixture.NamedTensor{Name: path, Shape: n.Shape})
	}
	return out
}

// spelled is the text of an adapter in a spelling.
func spelled(d *adapter.Dialect, prefix, wrapper string, modules []fixture.NamedTensor) string {
	var text strings.Builder
	for _, m := range modules {
		path, ok := d.Spell(m.Name)
		if !ok {
			return ""
		}
		for part, shape := range map[string][]uint64{"down": {4, m.Shape[1]}, "up": {m.Shape[0], 4}} {
			leaf, _ := d.Leaf(part)
			if slices.Contains(d.Transposed, part) {
				slices.Reverse(shape)
			}
			fmt.Fprintf(&text, "tensor %s F32 [%d,%d] normal=1\n", wrapper+prefix+path+leaf, shape[0], shape[1])
		}
		if leaf, ok := d.Leaf("alpha"); ok && d.Alpha == adapter.Tensor {
			fmt.Fprintf(&text, "tensor %s F32 [] values=2\n", wrapper+prefix+path+leaf)
		}
	}
	return text.String()
}

// readAdapter is the spelling of an adapter, where it is read as one of a convention.
func readAdapter(text string, c *convention.Convention) (string, bool) {
	var tensors []convention.Named
	for line := range strings.Lines(text) {
		var n convention.Named
		var dtype, dims, values string
		fmt.Sscanf(line, "tensor %s %s %s %s", &n.Name, &dtype, &dims, &values)
		var rows, columns uint64
		if k, _ := fmt.Sscanf(dims, "[%d,%d]", &rows, &columns); k == 2 {
			n.Shape = []uint64{rows, columns}
		}
		tensors = append(tensors, n)
	}
	a := identify.ReadAdapter(tensors, nil, c)
	if a == nil || a.Components[0].Convention != c {
		return "", false
	}
	return a.Dialect.Name, true
}

// GGUF files of every architecture whose names have a counterpart become safetensors with
// those, and come back, by their own key/values, as the architecture that they were.
func TestContainers(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	tried := make(map[string]bool)
	done, refused := 0, 0
	offered(t, func(from, to *convention.Convention) {
		architecture, isGGUF := strings.CutSuffix(from.Name, "-gguf")
		if !isGGUF || !to.HasDialect("hf") || tried[from.Name] {
			return
		}
		tried[from.Name] = true
		if !sweep.Has(len(tried), 4) {
			return
		}
		dir := t.TempDir()
		c := sampleOf(t, dir, from, to)
		var text strings.Builder
		text.WriteString(ggufOf(architecture, c))
		for _, tensor := range c.All() {
			values := "normal=1"
			if strings.HasSuffix(tensor.Name, "ssm_a") {
				values = "values=-1,-0.5,-2" // of -exp
			}
			fmt.Fprintf(&text, "tensor %s F32 %s %s\n", tensor.Name, strings.ReplaceAll(fmt.Sprint(tensor.Shape), " ", ","), values)
		}
		path := filepath.Join(dir, "model.gguf")
		if err := fixture.Write(path, text.String()); err != nil {
			t.Fatal(err)
		}
		source := open(t, path)
		there, back := filepath.Join(dir, "there.safetensors"), filepath.Join(dir, "back.gguf")
		if err := convertTo(t, source, there, inspect.RenameOptions{}, nil); err != nil {
			refused++
			t.Logf("%s: %v", from.Name, err)
			return
		}
		converted := open(t, there)
		got, err := inspect.Identify(t.Context(), converted, nil)
		if c, ok := convention.Lookup(got.Convention); err != nil || !ok || !c.HasDialect("hf") {
			t.Errorf("%s becomes %q, %v: %v", from.Name, got.Convention, got.Evidence, err)
			return
		}
		model, err := inspect.Model(t.Context(), converted, dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := convertTo(t, converted, back, inspect.RenameOptions{Model: model}, source); err != nil {
			refused++
			t.Logf("%s: back: %v", from.Name, err)
			return
		}
		done++
		if got, err := inspect.Identify(t.Context(), open(t, back), nil); err != nil || !got.IsOf(from.Name) {
			t.Errorf("%s comes back as %q, %v: %v", from.Name, got.Convention, got.Evidence, err)
		}
	})
	t.Logf("%d architectures, %d refused", done, refused)
	if done < sweep.Count(25, 106) {
		t.Errorf("only %d architectures go there and back", done)
	}
}

// What is interrupted while it writes leaves nothing beside its source.
func TestInterruptedWriting(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "tensor w.{0..15}.weight BF16 [1024,1024]\n"); err != nil {
		t.Fatal(err)
	}
	for what, write := range map[string]func(ctx context.Context, c *checkpoint.Checkpoint, progress func(done, total int64)) error{
		"rename": func(ctx context.Context, c *checkpoint.Checkpoint, progress func(done, total int64)) error {
			r, err := inspect.Rename(ctx, c, &inspect.RenameOptions{Edit: rename.Edit{Steps: []rename.Step{{Kind: rename.AddPrefix, Text: "model."}}}, Rewrite: rewrite.Options{Output: filepath.Join(dir, "out.safetensors")}})
			if err != nil {
				return err
			}
			defer r.Close()
			return r.Run(ctx, progress)
		},
		"convert": func(ctx context.Context, c *checkpoint.Checkpoint, progress func(done, total int64)) error {
			v, err := inspect.Convert(ctx, []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{DType: "F32", MaxShardSize: 1 << 22, Write: assemble.Options{Output: filepath.Join(dir, "out")}})
			if err != nil {
				return err
			}
			defer v.Close()
			return v.Run(ctx, progress)
		},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		err := write(ctx, open(t, path), func(done, total int64) {
			if done > 0 && done < total {
				cancel()
			}
		})
		cancel()
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s leaves %v, %v", what, left, err)
		}
	}
}

// A plan takes little memory for each tensor: lists have the room that they need, and plain
// weights are not looked through for scales.
func TestConvertPlanMemory(t *testing.T) {
	const tensors, most = 20_000, 2000 // bytes for each
	path := filepath.Join(t.TempDir(), "model.safetensors")
	if err := fixture.Write(path, fmt.Sprintf("data sparse\ntensor model.layers.{0..%d}.mlp.experts.{0..99}.down_proj.weight BF16 [16,16]\n", tensors/100-1)); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plan := func() uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		v, err := inspect.Convert(t.Context(), r.Checkpoints, &inspect.ConvertOptions{Write: assemble.Options{Output: path + ".out.safetensors"}})
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if v.Len() != tensors {
			t.Errorf("%d tensors", v.Len())
		}
		runtime.ReadMemStats(&after)
		return (after.TotalAlloc - before.TotalAlloc) / tensors
	}
	plan() // reads the conventions
	if got := plan(); got > most {
		t.Errorf("%d bytes are allocated for each tensor, and %d would do", got, most)
	} else {
		t.Logf("%d bytes are allocated for each tensor", got)
	}
}

// A release in the names of another convention of the same project has a config.json that is of a model with those
// names, or a note says that it is not, or the conversion is refused: of every pair, with each of the
// model types that the names of the source may be of.
func TestConvertedReleaseIsDescribed(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	n, done, noted, refused := 0, 0, 0, 0
	offered(t, func(from, to *convention.Convention) {
		if !from.HasDialect("hf") || !to.HasDialect("hf") {
			return
		}
		if n++; !sweep.Has(n, 3) {
			return
		}
		dir := t.TempDir()
		sampleOf(t, dir, from, to)
		for _, family := range from.Families {
			what := fmt.Sprintf("%s to %s, model_type %s", from.Name, to.Name, family)
			writeSampleConfig(t, dir, family)
			source := open(t, dir)
			out := filepath.Join(t.TempDir(), "out")
			v, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{source}, &inspect.ConvertOptions{
				Names: inspect.RenameOptions{From: from.Name, To: to.Name, Unknown: inspect.DropUnknown}, Write: assemble.Options{Output: out, Verify: rewrite.VerifyNone},
			})
			if _, ok := errors.AsType[*convert.RefusalError](err); ok {
				refused++
				continue
			}
			if err == nil {
				err = v.Run(t.Context(), nil)
				v.Close()
			}
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			done++
			r, err := inspect.Check(t.Context(), []string{out}, &inspect.CheckOptions{RuleChoice: inspect.RuleChoice{Select: []string{"WT310", "WT318"}}})
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				named := slices.ContainsFunc(v.Notes, func(note string) bool { return strings.Contains(note, f.Message) })
				if noted++; f.Severity == checkpoint.Error || !named {
					t.Errorf("%s: %s %s: %s, of which the notes say nothing: %q", what, f.Severity, f.Rule, f.Message, v.Notes)
				}
			}
		}
	})
	t.Logf("%d conversions, %d findings that are noted, %d refused", done, noted, refused)
	if done < sweep.Count(20, 40) || noted == 0 || refused == 0 {
		t.Errorf("%d conversions, %d findings that are noted, %d refused", done, noted, refused)
	}
}

// Blocks that a convention stores in columns become numbers before they are moved, by the formula of ggml
// (block_q8_0: a scale of 16 bits, and 32 integers), each rounded once; without a dtype they are refused.
func TestConvertMovesBlocks(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "gpt2.gguf")
	err := fixture.Write(path, `format gguf
kv general.architecture str gpt2
kv gpt2.attention.head_count u32 4
tensor token_embd.weight F32 [64,32]
tensor position_embd.weight F32 [8,32]
tensor blk.0.attn_norm.weight F32 [32]
tensor blk.0.attn_norm.bias F32 [32]
tensor blk.0.attn_qkv.weight Q8_0 [96,32]
tensor blk.0.attn_qkv.bias F32 [96]
tensor blk.0.attn_output.weight F32 [32,32]
tensor blk.0.attn_output.bias F32 [32]
tensor blk.0.ffn_norm.weight F32 [32]
tensor blk.0.ffn_norm.bias F32 [32]
tensor blk.0.ffn_up.weight Q8_0 [128,32]
tensor blk.0.ffn_up.bias F32 [128]
tensor blk.0.ffn_down.weight F32 [32,128]
tensor blk.0.ffn_down.bias F32 [32]
tensor output_norm.weight F32 [32]
tensor output_norm.bias F32 [32]
`)
	if err != nil {
		t.Fatal(err)
	}
	c := open(t, path)
	bytesOf := func(c *checkpoint.Checkpoint, name string) []byte {
		i, ok := c.Lookup(name)
		if !ok {
			t.Fatalf("%s has no %s", c.Path, name)
		}
		r, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	convertDType := func(dtype string, keep ...inspect.Keep) (*inspect.Conversion, error) {
		return inspect.Convert(t.Context(), []*checkpoint.Checkpoint{c}, &inspect.ConvertOptions{
			DType: dtype, Keep: keep, Container: checkpoint.Safetensors, Write: assemble.Options{Output: filepath.Join(dir, dtype+".safetensors"), Verify: rewrite.VerifyNone},
		})
	}
	if _, err := convertDType(""); err == nil || !strings.HasSuffix(err.Error(), `transpose of "blk.0.attn_qkv.weight": rows of blocks of 32 Q8_0 cannot become columns; --dtype bf16 works out its numbers, which can be moved`) {
		t.Errorf("without a dtype: %v", err)
	}
	kept, err := inspect.ParseKeep("*attn_qkv.weight")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := convertDType("BF16", kept); err == nil || !strings.HasSuffix(err.Error(), "without the --keep that names it, its numbers are worked out and can be moved") {
		t.Errorf("kept: %v", err)
	}
	for _, dtype := range []string{"F32", "BF16"} {
		v, err := convertDType(dtype)
		if err != nil {
			t.Fatal(err)
		}
		defer v.Close()
		if err := v.Run(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if i := slices.IndexFunc(v.Casts(), func(c inspect.CastSummary) bool {
			return c.From == "Q8_0" && c.To == dtype && c.Tensors == 2 && c.Elements == 96*32+128*32 && c.Rounding != nil && (c.Rounding.Inexact == 0) == (dtype == "F32")
		}); i < 0 {
			t.Errorf("%s: %+v", dtype, v.Casts())
		}
		made := open(t, filepath.Join(dir, dtype+".safetensors"))
		for old, name := range map[string]string{"blk.0.attn_qkv.weight": "transformer.h.0.attn.c_attn.weight", "blk.0.ffn_up.weight": "transformer.h.0.mlp.c_fc.weight"} {
			blocks, data := bytesOf(c, old), bytesOf(made, name)
			rows := len(blocks) / 34 // of 32 columns, one block each
			if len(data) != rows*32*map[string]int{"F32": 4, "BF16": 2}[dtype] {
				t.Fatalf("%s: %s has %d bytes", dtype, name, len(data))
			}
			for row := range rows {
				block := blocks[34*row:][:34]
				scale := float16.Frombits(binary.LittleEndian.Uint16(block)).Float32()
				for column := range 32 {
					want, at := scale*float32(int8(block[2+column])), column*rows+row
					bits := math.Float32bits(want)
					got := uint32(0)
					if dtype == "F32" {
						got = binary.LittleEndian.Uint32(data[4*at:])
					} else {
						got = uint32(binary.LittleEndian.Uint16(data[2*at:]))
						bits = (bits + 0x7fff + bits>>16&1) >> 16 // to the nearest, ties to even
					}
					if want == want && got != bits {
						t.Fatalf("%s: %s [%d,%d] has the bits %#x, want %#x", dtype, name, column, row, got, bits)
					}
				}
			}
		}
	}
}

// Tensors whose dtype a file does not say are refused.
func TestConvertNoDType(t *testing.T) {
	header := `{"a":{"dtype":"","shape":[4],"data_offsets":[0,4]}}`
	path := filepath.Join(t.TempDir(), "a.safetensors")
	text := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	writeFile(t, path, string(text)+header+"1234")
	_, err := inspect.Convert(t.Context(), []*checkpoint.Checkpoint{open(t, path)}, &inspect.ConvertOptions{})
	if want := `1 tensor has no dtype (the first is "a"); --exclude "a" leaves it out`; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
}
