package template_test

import (
	"fmt"

	"github.com/wtinspect/wtinspect/rename/template"
)

func ExampleFold() {
	names := []string{
		"embed.weight",
		"layers.0.ln1.weight", "layers.0.mlp.weight",
		"layers.1.ln1.weight", "layers.1.mlp.weight",
		"layers.2.ln1.weight", "layers.2.mlp.weight",
	}
	dtypes := []string{"BF16", "F32", "BF16", "F32", "BF16", "F32", "F8_E4M3"}
	for _, g := range template.Fold(len(names), func(i int) (string, string) { return names[i], dtypes[i] }) {
		fmt.Printf("%s %s x%d\n", g.Name, dtypes[g.Members[0]], len(g.Members))
	}
	// Output:
	// embed.weight BF16 x1
	// layers.{0..2}.ln1.weight F32 x3
	// layers.{0..1}.mlp.weight BF16 x2
	// layers.2.mlp.weight F8_E4M3 x1
}
