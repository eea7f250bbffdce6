package inspect_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
)

func Example() {
	ctx := context.Background()
	set, err := inspect.Open(ctx, []string{"../testdata/yi-tiny"}, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer set.Close()
	norms := inspect.Selection{Match: []string{"*norm.weight"}}
	list, err := inspect.List(ctx, set, &inspect.ListOptions{Select: norms})
	if err != nil {
		log.Fatal(err)
	}
	for t := range list.Tensors {
		fmt.Println(t.Name, t.DType, t.Shape, t.FileName)
	}
	digests, err := inspect.Hash(ctx, set, &inspect.HashOptions{Select: norms})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(digests.Tensors[0].Digest(inspect.SHA256)[:16])
	// Output:
	// model.norm.weight BF16 [32] model-00002-of-00002.safetensors
	// 5d8d7aa5824705f9
}

// A release gets the names of another convention, with proof that no weight
// changed, and is judged afterwards.
func Example_release() {
	dir, err := os.MkdirTemp("", "inspect")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, os.DirFS("../testdata/yi-tiny")); err != nil {
		log.Fatal(err)
	}
	if err := toLlama(context.Background(), dir); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 39 tensors by the convention yi-hf
	// model.layers.{0..3}.ln1.weight -> model.layers.{0..3}.input_layernorm.weight x4
	// model.layers.{0..3}.ln2.weight -> model.layers.{0..3}.post_attention_layernorm.weight x4
	// model-00001-of-00002.safetensors: pad in place, 19 tensors unchanged
	// model-00002-of-00002.safetensors: pad in place, 20 tensors unchanged
	// 0 errors
}

func toLlama(ctx context.Context, dir string) error {
	set, err := inspect.Open(ctx, []string{dir}, nil)
	if err != nil {
		return err
	}
	defer set.Close()
	model := set.Checkpoints[0]
	known, err := inspect.Identify(ctx, model, nil)
	if err != nil {
		return err
	}
	fmt.Println(model.Len(), "tensors by the convention", known.Convention)

	full := rewrite.Options{Verify: rewrite.VerifyFull}
	renaming, err := inspect.Rename(ctx, model, &inspect.RenameOptions{To: "llama-hf", Rewrite: full})
	if err != nil {
		return err
	}
	defer renaming.Close()
	for _, change := range renaming.Plan.Changes() {
		fmt.Printf("%s -> %s x%d\n", change.From, change.To, change.Count)
	}
	if err := renaming.Run(ctx, nil); err != nil {
		return err // the release is unchanged
	}
	for _, file := range renaming.Report.Files {
		fmt.Printf("%s: %s, %d tensors unchanged\n", file.Name, file.Step, file.Proof.Tensors)
	}

	judged, err := inspect.Check(ctx, []string{dir}, nil)
	if err != nil {
		return err
	}
	fmt.Println(judged.Summary.Errors, "errors")
	return nil
}
