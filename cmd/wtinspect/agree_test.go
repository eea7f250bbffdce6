package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// identify, info, diff and ls --as see the same convention of every list of names
// with a configuration.
func TestCommandsAgree(t *testing.T) {
	t.Parallel()
	agree := func(t *testing.T, names []string, config string) (known bool) {
		t.Helper()
		dir := t.TempDir()
		weights := make(map[string]string, len(names))
		for _, n := range names {
			weights[n] = "model-00001-of-00001.safetensors"
		}
		index, err := json.Marshal(map[string]any{"weight_map": weights})
		if err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"model.safetensors.index.json": string(index), "config.json": config} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		ask := func(answer any, args ...string) {
			t.Helper()
			var out, errs bytes.Buffer
			if code := run(t.Context(), args, nil, &out, &errs); code != exitOK {
				t.Fatalf("%v: exit %d\n%s", args, code, &errs)
			}
			if err := json.Unmarshal(out.Bytes(), answer); err != nil {
				t.Fatalf("%v: %v", args, err)
			}
		}
		var identify struct {
			Results []struct{ Convention *string } `json:"results"`
		}
		var info struct {
			Checkpoints []struct{ Convention *string } `json:"checkpoints"`
		}
		ask(&identify, "identify", "-f", "json", dir)
		ask(&info, "info", "-f", "json", dir)
		text := func(s *string) string {
			if s == nil {
				return "unknown"
			}
			return *s
		}
		want := text(identify.Results[0].Convention)
		if got := text(info.Checkpoints[0].Convention); got != want {
			t.Errorf("identify says %s, info %s", want, got)
		}
		if want == "unknown" {
			return false
		}
		var diff struct {
			Comparisons []struct {
				A, B struct{ Convention *string }
			} `json:"comparisons"`
		}
		ask(&diff, "diff", "-f", "json", "--headers", "--map", "auto", dir, dir)
		if c := diff.Comparisons[0]; text(c.A.Convention) != want || text(c.B.Convention) != want {
			t.Errorf("identify says %s, diff %s and %s", want, text(c.A.Convention), text(c.B.Convention))
		}
		return true
	}
	config := func(typ, text string) string {
		doc := map[string]any{"model_type": typ}
		if text != "" {
			doc["text_config"] = map[string]any{"model_type": text}
		}
		b, _ := json.Marshal(doc)
		return string(b)
	}
	known := 0
	n := 0
	for _, l := range fixture.NameLists(t, filepath.Join("..", "..", "rename", "convention", "testdata", "lists")) {
		if l.ModelType == "" {
			continue
		}
		if n++; !sweep.Has(n, 4) {
			continue
		}
		var names []string
		for _, n := range l.Tensors {
			names = append(names, n.Name)
		}
		if agree(t, names, config(l.ModelType, l.TextModelType)) {
			known++
		}
	}
	if known < sweep.Count(5, 10) {
		t.Errorf("only %d lists are known", known)
	}
	t.Run("published", func(t *testing.T) {
		for i, path := range testdata.Glob(t, "names/*.config.json") {
			if !sweep.Has(i, 4) {
				continue
			}
			config, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			names := fixture.ListedNames(t, strings.TrimSuffix(path, ".config.json")+".tsv")
			t.Run(filepath.Base(path), func(t *testing.T) { agree(t, names, string(config)) })
		}
	})
}
