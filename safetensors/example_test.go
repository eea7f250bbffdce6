package safetensors_test

import (
	"bytes"
	"fmt"
	"log"
	"strings"

	"github.com/wtinspect/wtinspect/safetensors"
)

// exampleFile returns a file of two tensors, whose last bytes are missing.
func exampleFile() []byte {
	tensors := safetensors.Layout([]safetensors.Tensor{
		{Name: "norm.weight", DType: "F32", Shape: []uint64{4}},
		{Name: "embed.weight", DType: "BF16", Shape: []uint64{2, 4}},
	})
	b, err := safetensors.EncodeHeader(tensors, []safetensors.KV{{Key: "format", Value: "pt"}}, nil)
	if err != nil {
		log.Fatal(err)
	}
	return append(b, make([]byte, 30)...)
}

func ExampleNewFile() {
	b := exampleFile()
	f, err := safetensors.NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		log.Fatal(err)
	}
	for _, t := range f.All() {
		fmt.Println(t.Name, t.DType, t.Shape, f.DataOffset()+int64(t.Begin))
	}
	for _, fault := range f.Validate() {
		fmt.Printf("%v: %v\n", fault.Severity, fault)
	}
	// Output:
	// norm.weight F32 [4] 176
	// embed.weight BF16 [2 4] 192
	// error: tensor "embed.weight": file ends 2 bytes short, and this is the first tensor it cuts; download or copy the file again (byte 206)
}

func ExampleSpliceNames() {
	b := exampleFile()
	f, err := safetensors.NewFile(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		log.Fatal(err)
	}
	header, err := safetensors.SpliceNames(f, func(i int) string {
		return strings.TrimSuffix(f.At(i).Name, ".weight")
	})
	if err != nil {
		log.Fatal(err)
	}
	// The new header fits into the room of the old one: the data need not move.
	start, err := safetensors.FrameHeader(header, &safetensors.EncodeOptions{Size: f.DataOffset()})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s|\n", start[8:])
	// Output:
	// {"__metadata__":{"format":"pt"},"norm":{"dtype":"F32","shape":[4],"data_offsets":[0,16]},"embed":{"dtype":"BF16","shape":[2,4],"data_offsets":[16,32]}}                 |
}

func ExampleReadIndex() {
	x, err := safetensors.ReadIndex(strings.NewReader(`{
  "metadata": {"total_size": 68777834496.0},
  "weight_map": {
    "lm_head.weight": "model-00002-of-00002.safetensors",
    "model.embed_tokens.weight": "../model-00001-of-00002.safetensors"
  }
}`))
	if err != nil {
		log.Fatal(err)
	}
	for name, shard := range x.All() {
		fmt.Println(name, safetensors.CheckShardPath(shard))
	}
	for _, fault := range x.Faults() {
		fmt.Printf("%v: %v\n", fault.Severity, fault)
	}
	// Output:
	// lm_head.weight <nil>
	// model.embed_tokens.weight has a ".." component
	// warning: total_size is written "68777834496.0", not as a plain integer (byte 31)
	// error: tensor "model.embed_tokens.weight": shard path "../model-00001-of-00002.safetensors" has a ".." component; it is not opened (byte 156)
	// warning: no tensor is in 1 of the 2 shards of "model", the first of them number 1
}
