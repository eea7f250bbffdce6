package gguf

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
)

// llamaHeader is a header like Llama 3's: 128,000 tokens with their types, 280,000 merges,
// 291 tensors.
var llamaHeader = sync.OnceValue(func() []byte {
	word := func(i int) string { return strings.Repeat("Ġ", i%2) + fmt.Sprintf("%x", uint32(i)*2654435761>>8) }
	var tokens, merges, types bytes.Buffer
	for i := range 128_000 {
		tokens.Write(le(str(word(i))))
		types.Write(le(int32(1)))
	}
	for i := range 280_000 {
		merges.Write(le(str(word(i) + " " + word(i/3))))
	}
	infos := parts{}
	for i := range uint64(291) {
		infos = append(infos, info(fmt.Sprintf("blk.%d.attn_q.weight", i), F32, 32*i, 8))
	}
	return le(head(291, 4),
		kv("general.architecture", TypeString, str("llama")),
		kv("tokenizer.ggml.tokens", TypeArray, array(TypeString, 128_000, tokens.Bytes())),
		kv("tokenizer.ggml.token_type", TypeArray, array(TypeInt32, 128_000, types.Bytes())),
		kv("tokenizer.ggml.merges", TypeArray, array(TypeString, 280_000, merges.Bytes())),
		infos, align(32))
})

// llamaFile is the file that begins with the header: 16 GB.
func llamaFile() sparse { return sparse{llamaHeader(), 16e9} }

// BenchmarkNewFile and BenchmarkNaive read the same header; the second one turns every
// value into a Go value, as most readers do.
func BenchmarkNewFile(b *testing.B) {
	r := llamaFile()
	b.SetBytes(int64(len(r.head)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := NewFile(r, r.size)
		if err != nil || len(f.Tensors) != 291 {
			b.Fatal(err)
		}
	}
}

func BenchmarkNaive(b *testing.B) {
	r := llamaFile()
	b.SetBytes(int64(len(r.head)))
	b.ReportAllocs()
	for b.Loop() {
		if n := readNaive(io.NewSectionReader(r, 0, r.size)); len(n.tensors) != 291 {
			b.Fatal(len(n.tensors))
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	r := sparse{llamaHeader(), int64(len(llamaHeader()) + 291*32)}
	f, err := NewFile(r, r.size)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(f.InfoEnd)
	b.ReportAllocs()
	for b.Loop() {
		if faults := f.Validate(); len(faults) != 0 {
			b.Fatal(faults)
		}
	}
}
