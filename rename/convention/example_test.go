package convention_test

import (
	"fmt"

	"github.com/wtinspect/wtinspect/rename/convention"
)

func ExampleGGUFKey() {
	key, _ := convention.GGUFKey("llama", "num_key_value_heads")
	fmt.Println(key)
	// Output:
	// llama.attention.head_count_kv
}

func ExampleModel_Number() {
	params := map[string]int64{"dim": 4096, "n_heads": 32, "n_layers": 32} // Meta's params.json
	m := &convention.Model{Documents: []func(string) (int64, bool){
		func(key string) (int64, bool) { n, ok := params[key]; return n, ok },
	}}
	fmt.Println(m.Number("hidden_size"))
	fmt.Println(m.Number("num_key_value_heads"))
	fmt.Println(m.Number("num_local_experts"))
	// Output:
	// 4096 true
	// 32 true
	// 0 false
}
