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

// A release is listed, renamed by a built-in map, and compared with what it was.
func Example_release() {
	dir, err := os.MkdirTemp("", "rewrite")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS("../../testdata/yi-tiny")); err != nil {
		log.Fatal(err)
	}
	if err := toLlama(context.Background(), dir); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 39 tensors
	// model.layers.{0..3}.ln1.weight -> model.layers.{0..3}.input_layernorm.weight x4
	// model.layers.{0..3}.ln2.weight -> model.layers.{0..3}.post_attention_layernorm.weight x4
	// model-00001-of-00002.safetensors: pad in place, 19 tensors unchanged
	// model-00002-of-00002.safetensors: pad in place, 20 tensors unchanged
}

func toLlama(ctx context.Context, path string) error {
	release, err := checkpoint.Open(ctx, path, nil)
	if err != nil {
		return err
	}
	defer release.Close()
	model := release.Checkpoints[0]
	fmt.Println(model.Len(), "tensors")
	for _, fault := range model.Validate() {
		fmt.Println(fault.Severity, fault)
	}

	var names []string
	for _, tensor := range model.All() {
		names = append(names, tensor.Name)
	}
	yi, _ := rename.Builtin("yi-to-llama")
	plan := rename.NewPlan(yi, names, rename.Safetensors())
	for _, change := range plan.Changes() {
		fmt.Printf("%s -> %s x%d\n", change.From, change.To, change.Count)
	}
	job, err := rewrite.Prepare(ctx, model, plan, &rewrite.Options{Verify: rewrite.VerifyFull})
	if err != nil {
		return err
	}
	report, err := job.Run(ctx, nil)
	if err != nil {
		return err // the release is what it was
	}
	for _, file := range report.Files {
		fmt.Printf("%s: %s, %d tensors unchanged\n", file.Name, file.Step, file.Proof.Tensors)
	}
	return nil
}
