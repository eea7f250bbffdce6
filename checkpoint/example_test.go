package checkpoint_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// A release of two shards and an index.
	err = fixture.Sharded(dir, `
file model-00001-of-00002.safetensors
tensor model.embed_tokens.weight BF16 [32,8]
file model-00002-of-00002.safetensors
tensor model.norm.weight BF16 [8]
`)
	if err != nil {
		log.Fatal(err)
	}

	release, err := checkpoint.Open(context.Background(), dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer release.Close()
	for _, c := range release.Checkpoints {
		fmt.Println(c.Format, filepath.Base(c.Index))
		for _, t := range c.All() {
			fmt.Println(t.Name, t.DType, t.Shape, t.Bytes, c.Files[t.File].Name)
		}
		for _, f := range c.Validate(context.Background()) {
			fmt.Println(f.Severity, f.Code, f)
		}
	}
	// Output:
	// safetensors model.safetensors.index.json
	// model.embed_tokens.weight BF16 [32 8] 512 model-00001-of-00002.safetensors
	// model.norm.weight BF16 [8] 16 model-00002-of-00002.safetensors
}

func ExampleCheckpoint_Validate() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	// The index names a tensor that its shard lacks.
	err = fixture.Sharded(dir, `
file model-00001-of-00001.safetensors
tensor model.norm.weight BF16 [8]
weight mtp.fc.weight model-00001-of-00001.safetensors
`)
	if err != nil {
		log.Fatal(err)
	}

	release, err := checkpoint.Open(context.Background(), dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer release.Close()
	for _, f := range release.Checkpoints[0].Validate(context.Background()) {
		fmt.Println(f.Severity, f.Code, f.Tensor)
	}
	// Output:
	// error missing_tensor mtp.fc.weight
}
