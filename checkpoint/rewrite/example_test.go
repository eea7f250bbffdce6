package rewrite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/rename"
)

// A rename is planned, looked at, and carried out in place.
func Example() {
	dir, err := os.MkdirTemp("", "rewrite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "model.safetensors")
	if err := fixture.Write(path, "tensor model.layers.{0..1}.ln1.weight BF16 [16]"); err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	m, err := rename.Parse("map.yaml", []byte(`
rename:
  model.layers.{layer}.ln1.weight: model.layers.{layer}.input_layernorm.weight
`))
	if err != nil {
		log.Fatal(err)
	}
	release, err := checkpoint.Open(ctx, path, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer release.Close()
	c := release.Checkpoints[0]
	var names []string
	for _, t := range c.All() {
		names = append(names, t.Name)
	}

	job, err := rewrite.Prepare(ctx, c, rename.NewPlan(m, names, rename.Safetensors()), nil)
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range job.Files {
		fmt.Printf("%s: %d names, %d bytes of data\n", f.Name, f.Renamed, f.DataBytes)
	}
	report, err := job.Run(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%d tensors hold the data they held\n", report.Files[0].Proof.Tensors)
	// Output:
	// model.safetensors: 2 names, 64 bytes of data
	// 2 tensors hold the data they held
}
