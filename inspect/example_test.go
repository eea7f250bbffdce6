package inspect_test

import (
	"context"
	"fmt"
	"log"

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
