package check

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename/convention/adapter"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		what      string
		f         func(string) string
		name, out string
	}{
		{"modernLeaf", modernLeaf, "bert.LayerNorm.gamma", "bert.LayerNorm.weight"},
		{"modernLeaf", modernLeaf, "bert.LayerNorm.beta", "bert.LayerNorm.bias"},
		{"modernLeaf", modernLeaf, "convnext.layer_scale.gamma", "convnext.layer_scale.gamma"},
		{"Anonymous", adapter.Anonymous, "q.lora_A.default.weight", "q.lora_A.weight"},
		{"Anonymous", adapter.Anonymous, "q.lora_B.my_task.weight", "q.lora_B.weight"},
		{"Anonymous", adapter.Anonymous, "q.lora_A.weight", "q.lora_A.weight"},
		{"Anonymous", adapter.Anonymous, "q.lora_A.default_0.default.weight", "q.lora_A.weight"},
		{"Anonymous", adapter.Anonymous, "q.lora_magnitude_vector.default.weight", "q.lora_magnitude_vector.weight"},
		{"Anonymous", adapter.Anonymous, "e.lora_embedding_A.default", "e.lora_embedding_A"},
		{"Anonymous", adapter.Anonymous, "e.lora_embedding_A", "e.lora_embedding_A"},
		{"Anonymous", adapter.Anonymous, "q.base_layer.weight", "q.base_layer.weight"},
		{"generic", generic, "model.layers.11.w1.weight", "model.layers.{n}.w1.weight"},
		{"generic", generic, "a", "a"},
	} {
		if got := tt.f(tt.name); got != tt.out {
			t.Errorf("%s(%q) = %q, want %q", tt.what, tt.name, got, tt.out)
		}
	}
}

// Findings of many tensors become one with all of them, and one is left as it is.
func TestTally(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "layers")
		var tl tally
		for i := range n {
			tl.add(Finding{Rule: Rules()[0], Tensor: fmt.Sprintf("model.layers.%d.w1.weight", i), Message: fmt.Sprintf("%d rows", i)})
		}
		tl.add(Finding{Rule: Rules()[0], Tensor: "model.layers.0.w2.weight", Message: "0 rows"})
		got := tl.findings()
		if len(got) != 2 || got[0].Count != n || got[1].Count != 1 || got[1].Tensor != "model.layers.0.w2.weight" {
			t.Fatalf("%d findings: %+v", len(got), got)
		}
		want := "model.layers.0.w1.weight"
		if n > 1 {
			want = fmt.Sprintf("model.layers.{0..%d}.w1.weight", n-1)
		}
		if got[0].Tensor != want {
			t.Fatalf("tensor %q, want %q", got[0].Tensor, want)
		}
	})
}

// What has no tensor is only one finding when it says the same of one file.
func TestTallyOfFiles(t *testing.T) {
	var tl tally
	for _, f := range []Finding{
		{File: "a1", Message: "x"}, {File: "a1", Message: "x"}, {File: "a2", Message: "x"}, {File: "a1", Message: "y"},
	} {
		tl.add(f)
	}
	var counts []int
	for _, f := range tl.findings() {
		counts = append(counts, f.Count)
	}
	if !slices.Equal(counts, []int{2, 1, 1}) {
		t.Errorf("counts %v", counts)
	}
}

// A fingerprint outlives a move of the release and other numbers, and nothing
// else.
func TestFingerprint(t *testing.T) {
	a := Finding{Rule: Rules()[0], File: filepath.Join("x", "model.safetensors"), Tensor: "l.{0..3}.w", Message: "3 rows, in " + filepath.Join("x", "f.1"), dir: "x"}
	for _, dir := range []string{filepath.Join("y", "z"), ".", filepath.Join("..", "w")} {
		same := Finding{Rule: Rules()[0], File: filepath.Join(dir, "model.safetensors"), Tensor: "l.{0..31}.w", Message: "44 rows, in " + filepath.Join(dir, "f.1"), Offset: 9, Severity: checkpoint.Error, dir: dir}
		if a.Fingerprint() != same.Fingerprint() {
			t.Errorf("the fingerprint depends on where the release is, or on numbers: %s", dir)
		}
	}
	for what, other := range map[string]Finding{
		"rule":    {Rule: Rules()[1], File: a.File, Tensor: a.Tensor, Message: a.Message, dir: a.dir},
		"file":    {Rule: a.Rule, File: filepath.Join("x", "other.safetensors"), Tensor: a.Tensor, Message: a.Message, dir: a.dir},
		"tensor":  {Rule: a.Rule, File: a.File, Tensor: "l.{0..3}.v", Message: a.Message, dir: a.dir},
		"message": {Rule: a.Rule, File: a.File, Tensor: a.Tensor, Message: "3 columns", dir: a.dir},
	} {
		if a.Fingerprint() == other.Fingerprint() {
			t.Errorf("another %s has the same fingerprint", what)
		}
	}
}

func TestSelectors(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		id   string
		want bool
	}{
		{Options{}, "WT101", true},
		{Options{Select: []string{"WT1"}}, "WT101", true},
		{Options{Select: []string{"wt101"}}, "WT101", true},
		{Options{Select: []string{"WT2"}}, "WT101", false},
		{Options{Select: []string{"WT1"}, Ignore: []string{"WT101"}}, "WT101", false},
		{Options{Ignore: []string{"WT1"}}, "WT101", false},
	} {
		r, err := Lookup(tt.id)
		if err != nil || tt.opts.Runs(r) != tt.want {
			t.Errorf("%+v runs %s: %v", tt.opts, tt.id, !tt.want)
		}
	}
	for _, bad := range []string{"", "WT8", "WT1011", "X"} {
		if err := (&Options{Select: []string{bad}}).Check(); err == nil {
			t.Errorf("%q is taken for a rule", bad)
		}
	}
	if err := (&Options{Select: []string{"WT1"}, Ignore: []string{"wt904"}}).Check(); err != nil {
		t.Error(err)
	}
	if _, err := Lookup("WT999"); err == nil {
		t.Error("WT999 is found")
	}
}

// A severity given for a rule goes before the profile's and the rule's own.
func TestSeverities(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]", "config.json": "{}"})
	for _, tt := range []struct {
		opts Options
		want checkpoint.Severity
	}{
		{Options{}, checkpoint.Info},
		{Options{Profile: Transformers}, checkpoint.Error},
		{Options{Profile: Transformers, Severities: map[string]checkpoint.Severity{"WT904": checkpoint.Warning}}, checkpoint.Warning},
	} {
		_, report := judged(t, dir, &tt.opts)
		if len(report.Findings) != 1 || report.Findings[0].Severity != tt.want {
			t.Errorf("%+v: %+v", tt.opts, report.Findings)
		}
	}
}

// A run that is interrupted says so.
func TestRunIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]"})
	rel, err := checkpoint.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Run(ctx, rel, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

// A wrapper that only some names have is one when no model has such a segment.
func TestPartOfTheNamesIsWrapped(t *testing.T) {
	dir := t.TempDir()
	fixture.Release(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor module.a.w F32 [2]\ntensor b._orig_mod.w F32 [2]\ntensor c.w F32 [2]"})
	_, report := judged(t, dir, &Options{Select: []string{"WT402"}})
	if len(report.Findings) != 1 || report.Findings[0].Tensor != "b._orig_mod.w" {
		t.Errorf("%+v", report.Findings)
	}
}

// The front matter of a model card ends its lines as the card's author's
// system does.
func TestFrontMatter(t *testing.T) {
	for text, want := range map[string]string{
		"---\nlicense: mit\n---\n# A model\n":         "license: mit\n",
		"---\r\nlicense: mit\r\n---\r\n# A model\r\n": "license: mit\n",
		"---\nlicense: mit\n":                         "license: mit\n\n",
		"# A model\n---\nlicense: mit\n---\n":         "",
		"":                                            "",
	} {
		if got := frontMatter(text); got != want {
			t.Errorf("frontMatter(%q) = %q, want %q", text, got, want)
		}
	}
}

// judged opens a release and judges it, and closes it at the end of the test.
func judged(t *testing.T, path string, opts *Options) (*checkpoint.Release, *Report) {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	report, err := Run(t.Context(), rel, opts)
	if err != nil {
		t.Fatal(err)
	}
	return rel, report
}
