package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename"
)

func TestNames(t *testing.T) {
	for _, tt := range []struct {
		what      string
		f         func(string) string
		name, out string
	}{
		{"unwrapped", unwrapped, "module.model.w", "model.w"},
		{"unwrapped", unwrapped, "module.module.model.w", "model.w"},
		{"unwrapped", unwrapped, "a._orig_mod.b._fsdp_wrapped_module.w", "a.b.w"},
		{"unwrapped", unwrapped, "_orig_mod.w", "w"},
		{"unwrapped", unwrapped, "module.w", "module.w"}, // a model's own module
		{"unwrapped", unwrapped, "a.module.w", "a.module.w"},
		{"unwrapped", unwrapped, "a._orig_module.w", "a._orig_module.w"},
		{"undoubled", undoubled, "model.model.layers.0.w", "model.layers.0.w"},
		{"undoubled", undoubled, "a.a.a.w", "a.w"},
		{"undoubled", undoubled, "model.modelx.w", "model.modelx.w"},
		{"undoubled", undoubled, "a.b.b.w", "a.b.b.w"},
		{"modernLeaf", modernLeaf, "bert.LayerNorm.gamma", "bert.LayerNorm.weight"},
		{"modernLeaf", modernLeaf, "bert.LayerNorm.beta", "bert.LayerNorm.bias"},
		{"modernLeaf", modernLeaf, "convnext.layer_scale.gamma", "convnext.layer_scale.gamma"},
		{"anonymous", anonymous, "q.lora_A.default.weight", "q.lora_A.weight"},
		{"anonymous", anonymous, "q.lora_B.my_task.weight", "q.lora_B.weight"},
		{"anonymous", anonymous, "q.lora_A.weight", "q.lora_A.weight"},
		{"generic", generic, "model.layers.11.w1.weight", "model.layers.{n}.w1.weight"},
		{"generic", generic, "a", "a"},
		{"setPattern", setPattern, "model-00001-of-00002.safetensors", "model-*-of-00002.safetensors"},
		{"setPattern", setPattern, "model.safetensors", "model.safetensors"},
	} {
		if got := tt.f(tt.name); got != tt.out {
			t.Errorf("%s(%q) = %q, want %q", tt.what, tt.name, got, tt.out)
		}
	}
}

// Every finding is held against every exception, of which there are no more than
// people write.
func TestManyExceptions(t *testing.T) {
	text := "ignore:\n" + strings.Repeat("- {rule: WT101, tensor: a, reason: b}\n", maxExceptions)
	if _, err := ParseSettings("s.yaml", []byte(text)); err != nil {
		t.Error(err)
	}
	_, err := ParseSettings("s.yaml", []byte(text+strings.Repeat("- {rule: WT101, tensor: a, reason: b}\n", 9)))
	if err == nil || err.Error() != "s.yaml:1002:3: more than 1000 exceptions; a baseline leaves out as many findings as there are" {
		t.Error(err)
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
		r, ok := Lookup(tt.id)
		if !ok || tt.opts.runs(r) != tt.want {
			t.Errorf("%+v runs %s: %v", tt.opts, tt.id, !tt.want)
		}
	}
	for _, bad := range []string{"", "WT7", "WT1011", "X"} {
		if err := (&Options{Select: []string{bad}}).Check(); err == nil {
			t.Errorf("%q is taken for a rule", bad)
		}
	}
	if err := (&Options{Select: []string{"WT1"}, Ignore: []string{"wt904"}}).Check(); err != nil {
		t.Error(err)
	}
	if _, ok := Lookup("WT999"); ok {
		t.Error("WT999 is found")
	}
}

// A severity given for a rule goes before the profile's and the rule's own.
func TestSeverities(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]"})
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

func TestExceptions(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor \"a \" F32 [2]\ntensor \"b \" F32 [2]"})
	day := func(s string) time.Time {
		d, err := time.Parse(time.DateOnly, s)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, tt := range []struct {
		name string
		e    Exception
		now  string
		left int // findings of WT112
	}{
		{"all of a block", Exception{Rule: "WT1"}, "2026-01-01", 0},
		{"one tensor", Exception{Rule: "WT112", Tensor: "a*"}, "2026-01-01", 1},
		{"the other", Exception{Rule: "WT112", Tensor: "[!a]*"}, "2026-01-01", 1},
		{"the file", Exception{Rule: "WT112", File: "*.safetensors"}, "2026-01-01", 0},
		{"another file", Exception{Rule: "WT112", File: "*.gguf"}, "2026-01-01", 2},
		{"another rule", Exception{Rule: "WT2"}, "2026-01-01", 2},
		{"the last day", Exception{Rule: "WT112", Until: day("2026-01-01")}, "2026-01-01", 0},
		{"the day after", Exception{Rule: "WT112", Until: day("2026-01-01")}, "2026-01-02", 2},
	} {
		_, report := judged(t, dir, &Options{Exceptions: []Exception{tt.e}, Now: day(tt.now)})
		left, about := 0, ""
		for _, f := range report.Findings {
			switch f.Rule.ID {
			case "WT112":
				left++
			case "WT001", "WT002":
				about = f.Rule.ID
			}
		}
		wantAbout := ""
		switch {
		case tt.name == "the day after":
			wantAbout = "WT001"
		case tt.left == 2:
			wantAbout = "WT002"
		}
		if left != tt.left || about != wantAbout || report.Accepted != 2-tt.left {
			t.Errorf("%s: %d left, %d accepted, %q", tt.name, left, report.Accepted, about)
		}
	}
}

func TestBaseline(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]\ntensor \"b \" F32 [2]"})
	_, report := judged(t, dir, nil)
	var file bytes.Buffer
	if err := WriteBaseline(&file, report); err != nil {
		t.Fatal(err)
	}
	known, err := ReadBaseline("x", bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]\ntensor \"b \" F32 [2]\ntensor \"c \" F32 [2]"})
	_, report = judged(t, dir, &Options{Baseline: known})
	if len(report.Findings) != 1 || report.Findings[0].Tensor != "c " || report.Known != 2 {
		t.Errorf("%d known, left: %+v", report.Known, report.Findings)
	}
	for _, bad := range []string{"", "[]", `{"baseline_version": 2}`, `{"baseline_version": 1, "other": 1}`} {
		if _, err := ReadBaseline("x", strings.NewReader(bad)); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"model.safetensors.fixture": "tensor \"a\\\"b\" F32 [2]\ntensor s F32 []", "unet/x.gguf.fixture": "format gguf\ntensor w Q8_0 [2,32]"})
	rel, err := checkpoint.Open(t.Context(), dir, &checkpoint.Options{Recursive: true})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	for _, digests := range []bool{false, true} {
		var read atomic.Int64
		lock, err := NewLock(t.Context(), rel, digests, func(n int64) { read.Add(n) })
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		n, err := lock.WriteTo(&file)
		if err != nil || n != int64(file.Len()) {
			t.Fatalf("%d bytes of %d, %v", n, file.Len(), err)
		}
		again, err := ReadLock(dir, bytes.NewReader(file.Bytes()))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(lock, again, cmp.AllowUnexported(Lock{})); diff != "" {
			t.Error(diff)
		}
		if again.digests() != digests || (read.Load() > 0) != digests {
			t.Errorf("digests %v, %d bytes read", again.digests(), read.Load())
		}
		report, err := Run(t.Context(), rel, &Options{Select: []string{"WT6"}, Against: again})
		if err != nil || len(report.Findings) > 0 {
			t.Errorf("held to itself: %v, %v", report, err)
		}
	}
	for _, bad := range []string{"", "{}", `{"lock_version": 1} {}`, `{"lock_version": 2, "checkpoints": []}`, `{"lock_version": 1, "x": 1}`} {
		if _, err := ReadLock("x", strings.NewReader(bad)); err == nil || !strings.HasPrefix(err.Error(), "x: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
	// A name that JSON cannot hold is refused rather than changed.
	write(t, dir, map[string]string{"bad.gguf.fixture": "format gguf\ntensor \"a\\xff\" F32 [2]"})
	bad, err := checkpoint.Open(t.Context(), filepath.Join(dir, "bad.gguf"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer bad.Close()
	if _, err := NewLock(t.Context(), bad, false, nil); err == nil || !strings.Contains(err.Error(), "not UTF-8") {
		t.Errorf("%v", err)
	}
}

func TestSettings(t *testing.T) {
	set, err := ParseSettings(filepath.Join("d", SettingsName), []byte(`
version: 1
profile: mlx
select: [WT1, WT904]
fail-on: info
baseline: base.json
severity: {wt904: error}
ignore:
- {rule: WT2, tensor: "a*", file: b, reason: " because ", until: 2026-02-03}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := &Settings{
		Path: filepath.Join("d", SettingsName), Profile: MLX, Select: []string{"WT1", "WT904"}, FailOn: "info",
		Baseline: filepath.Join("d", "base.json"), Severities: map[string]checkpoint.Severity{"WT904": checkpoint.Error},
		Exceptions: []Exception{{
			Rule: "WT2", Tensor: "a*", File: "b", Reason: "because", Until: time.Date(2026, 2, 3, 0, 0, 0, 0, time.UTC),
			Origin: filepath.Join("d", SettingsName), Line: 9, Column: 3,
		}},
	}
	if diff := cmp.Diff(want, set); diff != "" {
		t.Error(diff)
	}
	for text, wants := range map[string][]string{
		"x: 1":                           {"f:1:1: unknown key \"x\""},
		"version: 2":                     {"f:1:10: version 2, where"},
		"version: 1\nversion: 1":         {"f:2:1: version is given twice"},
		"profile: x\nfail-on: y":         {"f:1:10: \"x\" is no profile", "f:2:10: \"y\" is none of"},
		"select: WT1":                    {"f:1:9: select is a list"},
		"select: [WT7]":                  {"f:1:10: \"WT7\" is no rule"},
		"select: [[]]":                   {"f:1:10: a rule is text"},
		"severity: [a]":                  {"f:1:11: severity is a mapping"},
		"severity: {WT999: info}":        {"f:1:12: \"WT999\" is no rule"},
		"ignore: [WT1]":                  {"f:1:10: an element of ignore is a mapping"},
		"ignore: [{reason: x}]":          {"f:1:10: an exception needs a rule"},
		"ignore: [{rule: WT1, y: x}]":    {"unknown key \"y\"", "needs a reason"},
		"ignore: [{file: '[z-a]'}]":      {"f:1:17: file \"[z-a]\": the range z-a runs backwards"},
		"- a":                            {"f:1:1: a settings file is a mapping"},
		"a: [":                           {"f:2:1: did not find"},
		"profile: ~":                     {"f:1:10: profile is text"},
		"ignore:\n- {rule: &a WT1, *a }": {"f:"},
	} {
		_, err := ParseSettings("f", []byte(text))
		if err == nil {
			t.Errorf("%q: no error", text)
			continue
		}
		if _, ok := errors.AsType[*SettingsError](err); !ok {
			t.Errorf("%q: %T", text, err)
		}
		for _, w := range wants {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v\nwant %s", text, err, w)
			}
		}
	}
	for _, empty := range []string{"", "# nothing\n"} {
		if set, err := ParseSettings("f", []byte(empty)); err != nil || set == nil {
			t.Errorf("%q: %v, %v", empty, set, err)
		}
	}
}

// Settings are looked for upwards.
func TestFindSettings(t *testing.T) {
	root := t.TempDir()
	below := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, SettingsName), []byte("fail-on: info"), 0o644); err != nil {
		t.Fatal(err)
	}
	set, err := FindSettings(t.Context(), below)
	if err != nil || set.FailOn != "info" {
		t.Errorf("%+v, %v", set, err)
	}
	if err := os.Mkdir(filepath.Join(below, SettingsName), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSettings(t.Context(), below); err == nil {
		t.Error("a directory is taken for settings")
	}
	if err := os.WriteFile(filepath.Join(root, "a", SettingsName), bytes.Repeat([]byte("#\n"), int(source.Settings.Limit())), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := FindSettings(t.Context(), filepath.Join(root, "a")); err == nil || !strings.Contains(err.Error(), "a settings file may have 1048576") {
		t.Errorf("settings of 2 MB: %v", err)
	}
	if _, err := OpenLock(t.Context(), root); err == nil {
		t.Error("a directory is taken for a lock")
	}
}

// A run that is interrupted says so.
func TestRunIsInterrupted(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"model.safetensors.fixture": "tensor a F32 [2]"})
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
	write(t, dir, map[string]string{"model.safetensors.fixture": "meta format pt\ntensor module.a.w F32 [2]\ntensor b._orig_mod.w F32 [2]\ntensor c.w F32 [2]"})
	_, report := judged(t, dir, &Options{Select: []string{"WT402"}})
	if len(report.Findings) != 1 || report.Findings[0].Tensor != "b._orig_mod.w" {
		t.Errorf("%+v", report.Findings)
	}
}

// The changes of a mend are folded as people read them.
func TestChanges(t *testing.T) {
	names := []string{"l.0.a1.w", "l.1.a1.w", "l.0.b.w", "x", "l.2.c"}
	rule, err := rename.NewRule("l.{n}.a1.w", "layers.{n}.q.w")
	if err != nil {
		t.Fatal(err)
	}
	m := rename.Map{Rules: []rename.Rule{rule, rename.DropRule("l.2.c", "stale")}}
	got := (&Mend{Plan: rename.NewPlan(&m, names, rename.Safetensors())}).Changes()
	want := []rename.FoldedChange{
		{From: "l.{0..1}.a1.w", To: "layers.{0..1}.q.w", Action: rename.Move, Count: 2},
		{From: "l.2.c", Action: rename.Drop, Reason: "stale", Count: 1},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
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
