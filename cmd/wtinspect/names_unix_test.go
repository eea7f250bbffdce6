//go:build unix

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
)

// Files whose names are equal to some systems, or odd to people, are files of
// their own: none hides another, and none is merged.
func TestOddFileNames(t *testing.T) {
	if testing.Short() {
		t.Skip("every command for every name")
	}
	t.Parallel()
	const one, two = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
	n := 0
	for _, tt := range []struct {
		what  string
		files []string
		index bool
		// checkpoints are how many there are, each of its own tensors.
		checkpoints int
	}{
		{"case of single files", []string{"model.safetensors", "Model.safetensors", "MODEL.SAFETENSORS", "model.gguf", "MODEL.GGUF"}, false, 5},
		{"case of shards", []string{one, two, strings.ToUpper(one[:5]) + one[5:], strings.ToUpper(two[:5]) + two[5:]}, false, 2},
		{"case within a set", []string{one, two, strings.Replace(one, "model", "Model", 1)}, false, 2},
		{"case in an index", []string{one, strings.Replace(one, "model", "Model", 1), two}, true, 1},
		{"normal forms", []string{"mod\u00e8le.safetensors", "mode\u0300le.safetensors"}, false, 2},
		{"normal forms of shards", []string{
			"\u00e9-00001-of-00002.safetensors", "e\u0301-00001-of-00002.safetensors", "\u00e9-00002-of-00002.safetensors", "e\u0301-00002-of-00002.safetensors",
		}, false, 2},
		{"normal forms in an index", []string{"\u00e9-00001-of-00002.safetensors", "e\u0301-00001-of-00002.safetensors"}, true, 1},
		{"newline, escape, no UTF-8", []string{"a\nb.safetensors", "a\x1b[31m.safetensors", "a\xff.safetensors", "a\u202e.gguf", "\xff-00001-of-00001.safetensors"}, false, 5},
		{"blanks and signs", []string{" .safetensors", "-f.safetensors", "%2e.safetensors", "~.safetensors", `\.safetensors`, "$(x).gguf"}, false, 6},
	} {
		t.Run(tt.what, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "m")
			tensors := 0
			var index strings.Builder
			for i, name := range tt.files {
				text := fmt.Sprintf("tensor only.in.%d F32 [2]\ntensor again.in.%d F32 [3]\n", i, i)
				if strings.HasSuffix(strings.ToLower(name), ".gguf") {
					text = "format gguf\nkv general.architecture str llama\n" + text
				}
				needs(t, "names of any bytes", fixture.Write(filepath.Join(dir, name), text))
				tensors += 2
				fmt.Fprintf(&index, ",\"only.in.%d\":%q,\"again.in.%d\":%q", i, name, i, name)
			}
			if tt.index {
				text := `{"weight_map":{` + index.String()[1:] + "}}"
				if err := os.WriteFile(filepath.Join(dir, "model.safetensors.index.json"), []byte(text), 0o666); err != nil {
					t.Fatal(err)
				}
			}
			if entries, err := os.ReadDir(dir); err != nil || len(entries) < len(tt.files) {
				t.Skip("the file system takes some of the names for the same")
			}
			for _, args := range readingCommands {
				for _, format := range append(formatsOf(t, args), "") {
					if n++; !sweep.Has(n, 5) {
						continue
					}
					all := inDirectory(dir, args)
					if format != "" {
						all = append(all, "-f", format)
					}
					var out, errs bytes.Buffer
					if code := run(t.Context(), all, strings.NewReader(""), &out, &errs); code > exitFailed {
						t.Errorf("%v: exit %d, %s", all, code, &errs)
					}
					if err := judgeOutput(out.Bytes(), format, false); err != nil {
						t.Errorf("%v: stdout: %v", all, err)
					}
					if err := forHumans(errs.Bytes(), ""); err != nil {
						t.Errorf("%v: stderr: %v", all, err)
					}
				}
			}
			var out, errs bytes.Buffer
			run(t.Context(), []string{"ls", "-f", "json", dir}, strings.NewReader(""), &out, &errs)
			l := parseListing(t, out.Bytes())
			if len(l.Checkpoints) != tt.checkpoints || len(l.Tensors) != tensors {
				t.Errorf("%d checkpoints of %d tensors, want %d of %d; %s", len(l.Checkpoints), len(l.Tensors), tt.checkpoints, tensors, &errs)
			}
			out.Reset()
			run(t.Context(), []string{"hash", "-f", "json", dir}, strings.NewReader(""), &out, &errs)
			if n := len(parseListing(t, out.Bytes()).Tensors); n != tensors {
				t.Errorf("hash has %d tensors, want %d", n, tensors)
			}
		})
	}
}
