package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/internal/values"
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

// A real model becomes a GGUF file, by the key/values of one that has only those, and comes
// back: every bit is what it was.
func TestConvertToGGUFAndBack(t *testing.T) {
	source := filepath.Dir(testdata.Path(t, "tinyllama/A0/model.safetensors"))
	dir := t.TempDir()
	like, there, back := filepath.Join(dir, "like.gguf"), filepath.Join(dir, "there.gguf"), filepath.Join(dir, "back")
	if err := fixture.Write(like, `format gguf
kv general.architecture str llama
kv llama.block_count u32 8
kv llama.context_length u32 512
kv llama.embedding_length u32 128
kv llama.feed_forward_length u32 352
kv llama.attention.head_count u32 8
kv llama.attention.head_count_kv u32 2
kv tokenizer.ggml.model str llama
kv tokenizer.ggml.tokens [str] {0..1023}
tensor output_norm.weight F32 [128]
`); err != nil {
		t.Fatal(err)
	}
	output0(t, "convert", "--like", like, "-o", there, source)
	output0(t, "check", there)
	output0(t, "convert", "--container", "safetensors", "--dtype", "bf16", "-o", back, there)
	if ids := strings.Fields(string(output0(t, "hash", "--content-id", source, back))); len(ids) != 4 || ids[0] != ids[2] {
		t.Errorf("the content is not what it was: %q", ids)
	}
}

// The numbers of blocks are those that the decoders give, rounded once.
func TestConvertBlocks(t *testing.T) {
	source := testdata.Path(t, "models/stories260K-Q8_0.gguf")
	out := filepath.Join(t.TempDir(), "out.safetensors")
	output0(t, "convert", "--keep-names", "--dtype", "bf16", "-o", out, source)
	old, now := openFile(t, source), openFile(t, out)
	for i, was := range old.All() {
		k, ok := now.Lookup(was.Name)
		if !ok {
			t.Fatalf("no %s", was.Name)
		}
		typ, _ := values.Lookup(was.DType)
		a, b := readTensor(t, old, i), readTensor(t, now, k)
		n, _ := was.Elements()
		numbers := make([]float32, n)
		typ.Decode(numbers, a)
		for j, v := range numbers {
			// The nearest of the two 16-bit neighbours, of two the even one.
			u := math.Float32bits(v)
			if u += 0x7fff + u>>16&1; binary.LittleEndian.Uint16(b[2*j:]) != uint16(u>>16) {
				t.Fatalf("%s: element %d, %v, is %#x", was.Name, j, v, b[2*j:2*j+2])
			}
		}
	}
}

func openFile(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel.Checkpoints[0]
}

func readTensor(t *testing.T, c *checkpoint.Checkpoint, i int) []byte {
	t.Helper()
	r, err := c.Data(i)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
