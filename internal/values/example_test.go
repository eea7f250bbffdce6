package values_test

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/internal/values"
)

// Statistics and digest of a tensor in one pass.
func ExampleRun() {
	bf16, _ := values.Lookup("BF16")
	data := "\x80\x3f\x00\x40\x00\x00\xc0\xff" // 1, 2, 0, NaN
	sections := []values.Section{{
		Name: "model.norm.weight",
		Data: io.NewSectionReader(strings.NewReader(data), 0, int64(len(data))),
		Type: bf16,
	}}
	err := values.Run(context.Background(), sections, values.Options{Stats: &values.StatsOptions{}, SHA256: true},
		func(i int, r *values.Result) error {
			if r.Err != nil {
				return r.Err
			}
			s := r.Stats
			fmt.Printf("%s: %d numbers, %d NaN, %g to %g, mean %g\n", sections[i].Name, s.Count, s.NaN, s.Min, s.Max, s.Mean)
			fmt.Printf("%x\n", r.SHA256)
			return nil
		})
	if err != nil {
		fmt.Println(err)
	}
	// Output:
	// model.norm.weight: 4 numbers, 1 NaN, 0 to 2, mean 1
	// d91e3dde76520cae17464ae9a5aa5548c6eefd69dec8e76b14c2c38b6df399fa
}
