package main

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// BenchmarkLs lists 163 shards with 91,932 tensors, as DeepSeek-V3's.
func BenchmarkLs(b *testing.B) {
	var text strings.Builder
	text.WriteString("data sparse\nmeta format pt\n")
	for s := range 163 {
		fmt.Fprintf(&text, "file model-%05d-of-00163.safetensors\n", s+1)
		for _, part := range []struct{ name, shape, scale string }{
			{"down_proj", "[7168,2048]", "[56,16]"}, {"gate_proj", "[2048,7168]", "[16,56]"}, {"up_proj", "[2048,7168]", "[16,56]"},
		} {
			name := fmt.Sprintf("tensor model.layers.%d.mlp.experts.{%d..%d}.%s", s%61, s*94, s*94+93, part.name)
			fmt.Fprintf(&text, "%s.weight F8_E4M3 %s\n%s.weight_scale_inv F32 %s\n", name, part.shape, name, part.scale)
		}
	}
	dir := b.TempDir()
	if err := fixture.Sharded(dir, text.String()); err != nil {
		b.Fatal(err)
	}
	for _, args := range [][]string{{"ls"}, {"ls", "-f", "json"}, {"info"}} {
		b.Run(strings.Join(args, " "), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if code := run(b.Context(), append(args[:len(args):len(args)], dir), strings.NewReader(""), io.Discard, io.Discard); code != exitOK {
					b.Fatal(code)
				}
			}
		})
	}
}
