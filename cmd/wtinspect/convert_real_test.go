package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A real model goes from transformers' names to Meta's, on to GGUF's, and back:
// the rows of its queries and keys change places twice, and every bit returns.
func TestConvertTinyLLaMA(t *testing.T) {
	source := filepath.Dir(testdata.Path(t, "tinyllama/A0/model.safetensors"))
	dir := t.TempDir()
	config := filepath.Join(source, "config.json")
	from := source
	for _, to := range []string{"meta", "gguf", "hf"} {
		out := filepath.Join(dir, to)
		var stdout, stderr bytes.Buffer
		args := []string{"rename", "--to", to, "--config", config, "--verify", "full", "-o", out, from}
		if code := run(context.Background(), args, nil, &stdout, &stderr); code != 0 {
			t.Fatalf("to %s: exit code %d\n%s%s", to, code, &stdout, &stderr)
		}
		from = out
	}
	data := func(dir string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	old, back := data(source), data(from)
	const size = 3346688 // of the tensors' data, which the headers stand before
	if !bytes.Equal(old[len(old)-size:], back[len(back)-size:]) {
		t.Error("the data is not what it was")
	}
	if bytes.Contains(data(filepath.Join(dir, "meta")), old[len(old)-size:]) {
		t.Error("nothing was moved on the way")
	}
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"diff", source, from}, nil, &stdout, &stderr); code != 0 {
		t.Errorf("diff: exit code %d\n%s%s", code, &stdout, &stderr)
	}
}

// GGUF files, whose rows may be blocks and whose bytes may be big-endian, come
// back from transformers' names as the same files.
func TestConvertGGUF(t *testing.T) {
	for _, name := range []string{"stories260K-Q4_0.gguf", "stories260K-v3.gguf", "stories260K-big-endian.gguf"} {
		t.Run(name, func(t *testing.T) {
			source := testdata.Path(t, "models/"+name)
			dir := t.TempDir()
			there, back := filepath.Join(dir, "there.gguf"), filepath.Join(dir, "back.gguf")
			for _, args := range [][]string{
				{"rename", "--to", "hf", "--verify", "full", "-o", there, source},
				{"rename", "--to", "gguf", "-o", back, there},
			} {
				var stdout, stderr bytes.Buffer
				if code := run(context.Background(), args, nil, &stdout, &stderr); code != 0 {
					t.Fatalf("%v: exit code %d\n%s%s", args, code, &stdout, &stderr)
				}
			}
			old, err := os.ReadFile(source)
			if err != nil {
				t.Fatal(err)
			}
			now, err := os.ReadFile(back)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(old, now) {
				t.Error("the file is not what it was")
			}
		})
	}
}
