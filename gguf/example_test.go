package gguf_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"log"

	"github.com/wtinspect/wtinspect/gguf"
)

// exampleFile returns a small model.
func exampleFile() []byte {
	kvs := []gguf.KV{
		{Key: "general.architecture", Value: gguf.ValueOf("llama")},
		{Key: "tokenizer.ggml.tokens", Value: gguf.ArrayOf("<s>", "</s>", "a")},
	}
	tensors, err := gguf.Layout([]gguf.Tensor{
		{Name: "token_embd.weight", Type: gguf.Q8_0, Dims: []uint64{64, 3}},
		{Name: "output_norm.weight", Type: gguf.F32, Dims: []uint64{64}},
	}, gguf.DefaultAlignment)
	if err != nil {
		log.Fatal(err)
	}
	b, err := gguf.EncodeHeader(3, binary.LittleEndian, kvs, tensors, nil)
	if err != nil {
		log.Fatal(err)
	}
	return append(b, make([]byte, 224+256)...)
}

func ExampleNewFile() {
	r := bytes.NewReader(exampleFile())
	f, err := gguf.NewFile(r, r.Size())
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range f.Tensors {
		fmt.Println(t.Name, t.Type, t.Dims, t.Bytes)
	}
	if v, ok := f.Lookup("tokenizer.ggml.tokens"); ok {
		tokens, _ := v.Array()
		last, _ := tokens.At(tokens.Len() - 1)
		s, _ := last.Text()
		fmt.Println(tokens.Len(), "tokens, the last is", s)
	}
	// Output:
	// token_embd.weight Q8_0 [64 3] 204
	// output_norm.weight F32 [64] 256
	// 3 tokens, the last is a
}

func ExampleFile_Validate() {
	b := exampleFile()
	f, err := gguf.NewFile(bytes.NewReader(b), int64(len(b)-1))
	if err != nil {
		log.Fatal(err)
	}
	for _, fault := range f.Validate() {
		fmt.Println(fault.Severity, fault.Code, fault.Error())
	}
	// Output:
	// error data_truncated tensor "output_norm.weight": its data (256 bytes at offset 224) are not within the data section, which ends at offset 479 with the file (byte 203)
}

func ExampleFile_Rename() {
	b := exampleFile()
	f, err := gguf.NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		log.Fatal(err)
	}
	header, err := f.Rename(func(i int) string {
		if f.Tensors[i].Name == "output_norm.weight" {
			return "norm.weight"
		}
		return f.Tensors[i].Name
	}, f.DataOffset)
	if err != nil {
		log.Fatal(err)
	}
	copy(b, header)
	if f, err = gguf.NewFile(bytes.NewReader(b), int64(len(b))); err != nil {
		log.Fatal(err)
	}
	fmt.Println(f.Tensors[1].Name, len(f.Validate()))
	// Output: norm.weight 0
}
