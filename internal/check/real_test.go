package check

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
)

// findings judges what is at a path and returns the findings as lines.
func findings(t *testing.T, path string, opts *Options) []string {
	t.Helper()
	return findingsIn(t.Context(), t, path, opts)
}

func findingsIn(ctx context.Context, t *testing.T, path string, opts *Options) []string {
	t.Helper()
	rel, err := checkpoint.Open(ctx, path, &checkpoint.Options{Recursive: true})
	if err != nil {
		fault, ok := errors.AsType[*checkpoint.Fault](err)
		if !ok {
			t.Fatal(err)
		}
		rel = &checkpoint.Release{Path: path, Dir: filepath.Dir(path), Faults: []checkpoint.Fault{*fault}}
	}
	defer rel.Close()
	report, err := Run(ctx, rel, opts)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for i := range report.Findings {
		lines = append(lines, line(&report.Findings[i], rel.Dir))
	}
	return lines
}

// line writes a finding as the tests expect it: rule, severity, place within
// the release, tensor, count and message.
func line(f *Finding, dir string) string {
	place := strings.TrimPrefix(strings.TrimPrefix(filepath.ToSlash(f.Place()), filepath.ToSlash(dir)), "/")
	out := fmt.Sprintf("%s %s %s: ", f.Rule.ID, f.Severity, place)
	if f.Tensor != "" {
		out += strings.Trim(strconv.Quote(f.Tensor), `"`) + ": "
	}
	out += strings.ReplaceAll(f.Message, dir+string(filepath.Separator), "")
	if f.Count > 1 {
		out += fmt.Sprintf(" (x%d)", f.Count)
	}
	if f.Fixable {
		out += " [fix]"
	}
	return out
}

// The releases that are published must not be called wrong: a list of names,
// with its configuration where there is one, has no error, as a sparse file of full size where the
// shapes are known, and otherwise as an index without its shards.
func TestNoFalseAlarmOnNames(t *testing.T) {
	for _, list := range testdata.Glob(t, "names/*__*.tsv") {
		id := strings.TrimSuffix(filepath.Base(list), ".tsv")
		if strings.Contains(id, "gguf") || strings.Contains(id, "ollama") {
			continue // ggml's types and order of dimensions
		}
		t.Run(id, func(t *testing.T) {
			release := t.TempDir()
			data, err := os.ReadFile(strings.TrimSuffix(list, ".tsv") + ".config.json")
			switch {
			case errors.Is(err, fs.ErrNotExist):
			case err != nil:
				t.Fatal(err)
			default:
				if err := os.WriteFile(filepath.Join(release, "config.json"), data, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			writeList(t, release, list)
			for _, l := range findings(t, release, &Options{Ignore: []string{"WT201"}}) {
				if strings.Contains(l, " error ") {
					t.Error(l)
				} else {
					t.Log(l)
				}
			}
		})
	}
}

// What a model type requires is never too much for a published model of it.
func TestRequiredOfLists(t *testing.T) {
	if testing.Short() {
		t.Skip("every list of names")
	}
	for _, l := range fixture.NameLists(t, "../../rename/convention/testdata/lists") {
		if l.ModelType == "" {
			continue
		}
		config := map[string]any{"model_type": l.ModelType, "architectures": []string{"SomeForCausalLM"}}
		if l.TextModelType != "" {
			config["text_config"] = map[string]any{"model_type": l.TextModelType}
		}
		index := make(map[string]string)
		for _, n := range l.Tensors {
			index[n.Name] = "model-00001-of-00001.safetensors"
		}
		dir := t.TempDir()
		for name, doc := range map[string]any{"config.json": config, "model.safetensors.index.json": map[string]any{"metadata": map[string]any{"total_size": 0}, "weight_map": index}} {
			data, err := json.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		for _, f := range findings(t, dir, &Options{Select: []string{"WT310", "WT318", "WT319", "WT346", "WT347", "WT348", "WT402", "WT403"}}) {
			t.Errorf("%s: %s", l.ID, f)
		}
	}
}

// writeList makes a release of a list: name, dtype and shape.
func writeList(t *testing.T, dir, list string) {
	t.Helper()
	f, err := os.Open(list)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var text strings.Builder
	text.WriteString("data sparse\nmeta format pt\n")
	index := make(map[string]string)
	shapes := true
	s := bufio.NewScanner(f)
	for s.Scan() {
		cols := strings.Split(s.Text(), "\t")
		name := cols[0]
		if strings.HasPrefix(name, "#") || name == "name" {
			continue
		}
		index[name] = "model-00001-of-00001.safetensors"
		dtype, shape := "", "?"
		if len(cols) > 2 {
			dtype, shape = cols[1], cols[2]
		}
		if shapes = shapes && shape != "?" && shape != ""; !shapes {
			continue
		}
		switch named, isTorch := torchDTypes[dtype]; {
		case dtype == "" && (strings.HasSuffix(name, "_blocks") || strings.HasSuffix(name, "_scales")):
			dtype = "U8" // MXFP4
		case dtype == "":
			dtype = "BF16"
		case isTorch:
			dtype = named
		}
		shape = strings.Trim(strings.ReplaceAll(shape, "x", ","), "[]")
		fmt.Fprintf(&text, "tensor %s %s [%s]\n", strconv.Quote(strings.NewReplacer("{", "{{").Replace(name)), dtype, strings.ReplaceAll(shape, " ", ""))
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if shapes {
		if err := fixture.Write(filepath.Join(dir, "model.safetensors"), text.String()); err != nil {
			t.Fatal(err)
		}
		return
	}
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 0}, "weight_map": index})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), data, 0o644); err != nil {
		t.Fatal(err)
	}
}

// Real files have no error, nor do their values.
func TestNoFalseAlarmOnModels(t *testing.T) {
	for _, dir := range []string{testdata.Path(t, "models"), testdata.Path(t, "tinyllama")} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".md") {
				continue
			}
			for _, l := range findings(t, filepath.Join(dir, e.Name()), &Options{Values: true}) {
				switch {
				case strings.HasPrefix(e.Name(), "iree-") && strings.HasPrefix(l, "WT111 "):
					// IREE's file has a key twice, which ggml refuses.
				case strings.Contains(l, " error "):
					t.Errorf("%s: %s", e.Name(), l)
				case strings.HasPrefix(l, "WT55"):
					t.Logf("%s: %s", e.Name(), l)
				}
			}
		}
	}
}
