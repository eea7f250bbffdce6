package rename_test

import (
	"fmt"
	"log"
	"os"

	"github.com/wtinspect/wtinspect/rename"
)

func ExampleNewPlan() {
	m, _ := rename.Builtin("yi-to-llama")
	plan := rename.NewPlan(m, []string{
		"model.embed_tokens.weight",
		"model.layers.0.ln1.weight", "model.layers.0.ln2.weight",
		"model.layers.1.ln1.weight", "model.layers.1.ln2.weight",
	}, rename.Safetensors())
	if err := plan.Err(); err != nil {
		log.Fatal(err)
	}
	for _, c := range plan.Changes() {
		fmt.Printf("%s -> %s x%d\n", c.From, c.To, c.Count)
	}
	s := plan.Summary()
	fmt.Println(s.Moved, "moved,", s.Kept, "kept")
	// Output:
	// model.layers.{0..1}.ln1.weight -> model.layers.{0..1}.input_layernorm.weight x2
	// model.layers.{0..1}.ln2.weight -> model.layers.{0..1}.post_attention_layernorm.weight x2
	// 4 moved, 1 kept
}

func ExampleParse() {
	_, err := rename.Parse("map.yaml", []byte("rename:\n  h.{layer}.ln1: h.{lyer}.norm\n"))
	fmt.Println(err)
	// Output:
	// map.yaml:2:20: the left side has no hole {lyer}; did you mean {layer}?
	//  2 |   h.{layer}.ln1: h.{lyer}.norm
	//    |                    ^
}

func ExampleInvert() {
	m, err := rename.Parse("shift.yaml", []byte("rename:\n  h.{n}.{rest...}: layers.{n+1}.{rest}\n"))
	if err != nil {
		log.Fatal(err)
	}
	inverse, err := rename.Invert(m)
	if err != nil {
		log.Fatal(err)
	}
	if err := rename.Write(os.Stdout, inverse); err != nil {
		log.Fatal(err)
	}
	// Output:
	// version: 1
	// description: Undoes shift.yaml; right where no tensor had one of its new names before
	// rename:
	//   layers.{n}.{rest...}: h.{n-1}.{rest}
}
