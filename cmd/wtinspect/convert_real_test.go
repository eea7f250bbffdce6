package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/testdata"
)

// A real model goes from transformers' names to Meta's, on to GGUF's, and back:
// the rows of its queries and keys change places twice, and every bit returns.
func TestConvertTinyLLaMA(t *testing.T) {
	source := filepath.Dir(testdata.Path(t, "tinyllama/A0/model.safetensors"))
	dir := t.TempDir()
	config := filepath.Join(source, "config.json")
	convert := func(from string, goals ...string) string {
		for _, to := range goals {
			out := filepath.Join(dir, strings.Join(goals, "-")+" "+to)
			var stdout, stderr bytes.Buffer
			args := []string{"rename", "--to", to, "--config", config, "--verify", "full", "-o", out, from}
			if code := run(context.Background(), args, nil, &stdout, &stderr); code != 0 {
				t.Fatalf("to %s: exit code %d\n%s%s", to, code, &stdout, &stderr)
			}
			from = out
		}
		return from
	}
	data := func(dir string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		const size = 3346688 // of the tensors' data, which the headers stand before
		return b[len(b)-size:]
	}
	old, meta := data(source), convert(source, "meta")
	if bytes.Equal(data(meta), old) {
		t.Error("nothing was moved on the way")
	}
	if !bytes.Equal(data(convert(meta, "hf")), old) {
		t.Error("the data is not what it was")
	}
	// In GGUF the norms are F32, and stay so on the way back.
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"diff", source, convert(meta, "gguf", "hf")}, nil, &stdout, &stderr); code != 0 || !strings.Contains(stdout.String(), "same values: ") {
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
