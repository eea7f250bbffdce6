package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// pictured is the model of the pictures in the documents: as Llama 3.1 8B in Q4_K_M, with a
// sixteenth of its widths.
const pictured = `format gguf
kv general.architecture str llama
kv general.name str "Llama 3.1 8B, narrow"
kv general.file_type u32 15
kv llama.block_count u32 32
kv llama.embedding_length u32 256
kv llama.feed_forward_length u32 1024
kv llama.attention.head_count u32 8
kv llama.attention.head_count_kv u32 2
kv llama.attention.layer_norm_rms_epsilon f32 0.00001
kv llama.context_length u32 131072
data sparse
tensor token_embd.weight Q4_K [8016,256]
tensor rope_freqs.weight F32 [64]
tensor blk.{0..31}.attn_norm.weight F32 [256]
tensor blk.{0..31}.attn_q.weight Q4_K [256,256]
tensor blk.{0..31}.attn_k.weight Q4_K [64,256]
tensor blk.{0..15}.attn_v.weight Q4_K [64,256]
tensor blk.{16..31}.attn_v.weight Q6_K [64,256]
tensor blk.{0..31}.attn_output.weight Q4_K [256,256]
tensor blk.{0..31}.ffn_norm.weight F32 [256]
tensor blk.{0..31}.ffn_gate.weight Q4_K [1024,256]
tensor blk.{0..31}.ffn_up.weight Q4_K [1024,256]
tensor blk.{0..15}.ffn_down.weight Q4_K [256,1024]
tensor blk.{16..31}.ffn_down.weight Q6_K [256,1024]
tensor output_norm.weight F32 [256]
tensor output.weight Q6_K [8016,256]
`

// The pictures in the documents are what the program draws. 'make pictures' draws them
// again.
func TestPictures(t *testing.T) {
	name, err := filepath.Abs(filepath.Join("..", "..", "docs", "pictures", "treemap.svg"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	if err := fixture.Write("llama-3.1-8b-narrow-Q4_K_M.gguf", pictured); err != nil {
		t.Fatal(err)
	}
	code, got, errs := execute(t, "report", "-f", "svg", "llama-3.1-8b-narrow-Q4_K_M.gguf")
	if code != exitOK {
		t.Fatal(errs)
	}
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the program draws; 'make pictures' draws it", name)
	}
}
