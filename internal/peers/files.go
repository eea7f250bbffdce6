package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// The files, below a directory of their own.
const (
	shardsFile  = "shards" // a directory
	expertsFile = "experts.safetensors"
	vocabulary  = "vocabulary.gguf"
	valuesFile  = "values.safetensors"
)

const (
	shardCount = 163
	tokenCount = 150_000
	valueCount = 256 << 20 // of 2 bytes
)

// makeFiles makes the files. Data that nobody reads are holes.
func makeFiles(dir string) error {
	if err := os.MkdirAll(filepath.Join(dir, shardsFile), 0o777); err != nil {
		return err
	}
	if err := fixture.Sharded(filepath.Join(dir, shardsFile), shardsText()); err != nil {
		return err
	}
	if err := fixture.Write(filepath.Join(dir, expertsFile), expertsText()); err != nil {
		return err
	}
	if err := fixture.Write(filepath.Join(dir, vocabulary), vocabularyText()); err != nil {
		return err
	}
	return writeValues(filepath.Join(dir, valuesFile), valueCount)
}

// shardsText is a release in the shape of Yi-34B.
func shardsText() string {
	tensors := []string{"model.embed_tokens.weight BF16 [64000,7168]"}
	for layer := range 60 {
		for _, t := range []string{
			"self_attn.q_proj.weight BF16 [7168,7168]", "self_attn.k_proj.weight BF16 [1024,7168]",
			"self_attn.v_proj.weight BF16 [1024,7168]", "self_attn.o_proj.weight BF16 [7168,7168]",
			"mlp.gate_proj.weight BF16 [20480,7168]", "mlp.up_proj.weight BF16 [20480,7168]", "mlp.down_proj.weight BF16 [7168,20480]",
			"input_layernorm.weight BF16 [7168]", "post_attention_layernorm.weight BF16 [7168]",
		} {
			tensors = append(tensors, fmt.Sprintf("model.layers.%d.%s", layer, t))
		}
	}
	tensors = append(tensors, "model.norm.weight BF16 [7168]", "lm_head.weight BF16 [64000,7168]")
	var b strings.Builder
	b.WriteString("data sparse\nmeta format pt\n")
	for shard := range shardCount {
		fmt.Fprintf(&b, "file model-%05d-of-%05d.safetensors\n", shard+1, shardCount)
		for _, t := range tensors[len(tensors)*shard/shardCount : len(tensors)*(shard+1)/shardCount] {
			fmt.Fprintln(&b, "tensor", t)
		}
	}
	return b.String()
}

// expertsText is one file in the shape of DeepSeek-V3, with the layer that predicts more
// tokens, and with I8 for its F8_E4M3, which not every reader knows.
func expertsText() string {
	var b strings.Builder
	b.WriteString("data sparse\nmeta format pt\n")
	for _, name := range []string{"input_layernorm", "post_attention_layernorm", "self_attn.q_a_layernorm", "self_attn.kv_a_layernorm"} {
		fmt.Fprintf(&b, "tensor model.layers.{0..61}.%s.weight BF16 [7168]\n", name)
	}
	for _, w := range []struct {
		name       string
		rows, cols int
	}{
		{"{0..61}.self_attn.q_a_proj", 1536, 7168},
		{"{0..61}.self_attn.q_b_proj", 24576, 1536},
		{"{0..61}.self_attn.kv_a_proj_with_mqa", 576, 7168},
		{"{0..61}.self_attn.kv_b_proj", 32768, 512},
		{"{0..61}.self_attn.o_proj", 7168, 16384},
		{"{3..61}.mlp.experts.{0..255}.gate_proj", 2048, 7168},
		{"{3..61}.mlp.experts.{0..255}.up_proj", 2048, 7168},
		{"{3..61}.mlp.experts.{0..255}.down_proj", 7168, 2048},
	} {
		fmt.Fprintf(&b, "tensor model.layers.%s.weight I8 [%d,%d]\n", w.name, w.rows, w.cols)
		fmt.Fprintf(&b, "tensor model.layers.%s.weight_scale_inv F32 [%d,%d]\n", w.name, (w.rows+127)/128, (w.cols+127)/128)
	}
	return b.String()
}

// vocabularyText is a GGUF file with a large vocabulary and its merges.
func vocabularyText() string {
	var tokens, types, merges []byte
	for i := range tokenCount {
		token := "\u0120" + strconv.FormatUint(uint64(i)*2654435761%1_000_000_007, 36)
		tokens = appendString(tokens, token)
		types = binary.LittleEndian.AppendUint32(types, 1)
		merges = appendString(merges, token[:3]+" "+token[3:])
	}
	const typeInt32, typeString, typeArray = 5, 8, 9
	// The array is one word of the fixture's language, in which a brace is doubled.
	array := func(key string, typ uint32, values []byte) string {
		head := binary.LittleEndian.AppendUint32(nil, typeArray)
		head = binary.LittleEndian.AppendUint32(head, typ)
		head = binary.LittleEndian.AppendUint64(head, tokenCount)
		return fmt.Sprintf("kv %s raw %q\n", key, strings.ReplaceAll(string(head)+string(values), "{", "{{"))
	}
	return "format gguf\ndata sparse\n" +
		"kv general.architecture str qwen2\nkv qwen2.block_count u32 48\nkv qwen2.embedding_length u32 5120\n" +
		"kv tokenizer.ggml.model str gpt2\n" +
		array("tokenizer.ggml.tokens", typeString, tokens) +
		array("tokenizer.ggml.token_type", typeInt32, types) +
		array("tokenizer.ggml.merges", typeString, merges) +
		"tensor token_embd.weight Q4_K [152064,5120]\n" +
		"tensor blk.{0..47}.attn_norm.weight F32 [5120]\n" +
		"tensor blk.{0..47}.attn_q.weight Q4_K [5120,5120]\n" +
		"tensor blk.{0..47}.attn_k.weight Q4_K [1024,5120]\n" +
		"tensor blk.{0..47}.attn_v.weight Q6_K [1024,5120]\n" +
		"tensor blk.{0..47}.attn_output.weight Q4_K [5120,5120]\n" +
		"tensor blk.{0..47}.ffn_norm.weight F32 [5120]\n" +
		"tensor blk.{0..47}.ffn_gate.weight Q4_K [13824,5120]\n" +
		"tensor blk.{0..47}.ffn_up.weight Q4_K [13824,5120]\n" +
		"tensor blk.{0..47}.ffn_down.weight Q6_K [5120,13824]\n" +
		"tensor output_norm.weight F32 [5120]\ntensor output.weight Q6_K [152064,5120]\n"
}

func appendString(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}

// writeValues writes BF16 tensors with normally distributed numbers, of which some are
// zero.
func writeValues(name string, count int) error {
	const tensors = 16
	per := count / tensors
	if err := fixture.Write(name, fmt.Sprintf("data sparse\ntensor model.layers.{0..%d}.mlp.up_proj.weight BF16 [%d,1024]\n", tensors-1, per/1024)); err != nil {
		return err
	}
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	random := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, 0, 2*per)
	for i := range per {
		x := float32(random.NormFloat64() * 0.02)
		if i%1000 == 0 {
			x = 0
		}
		block = binary.LittleEndian.AppendUint16(block, uint16(math.Float32bits(x)>>16))
	}
	for t := range tensors {
		// Each tensor has the same numbers in another order.
		shift := 2 * (per / tensors) * t
		at := st.Size() - int64(2*per*(tensors-t))
		if _, err := f.WriteAt(block[shift:], at); err != nil {
			return err
		}
		if _, err := f.WriteAt(block[:shift], at+int64(len(block)-shift)); err != nil {
			return err
		}
	}
	return f.Close()
}
