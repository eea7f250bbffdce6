package rewrite

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// BenchmarkTransform converts 1 GiB in the ways that models need, beside a
// plain copy of the same file.
func BenchmarkTransform(b *testing.B) {
	const size = 1 << 30
	tests := []struct{ name, body, rules string }{
		{"copy", "tensor a.{0..7} BF16 [16384,4096]\n", "rename: {'a.{n}': 'b.{n}'}"},
		{"permute", "tensor a.{0..7} BF16 [16384,4096]\n", "rules: [{from: 'a.{n}', permute: {heads: 128, from: half, to: adjacent}, to: 'b.{n}'}]"},
		{"split-grouped", "tensor a.{0..7} BF16 [16384,4096]\n", "rules: [{from: 'a.{n}', split: {axis: 0, parts: [6, 1, 1], layout: grouped, groups: 16}, to: ['q.{n}', 'k.{n}', 'v.{n}']}]"},
		{"split-per-head", "tensor a.{0..7} BF16 [16384,4096]\n", "rules: [{from: 'a.{n}', split: {axis: 0, parts: [2, 1, 1], layout: per-head, groups: 32}, to: ['q.{n}', 'k.{n}', 'v.{n}']}]"},
		{"concat", "tensor a.{0..7} BF16 [8192,4096]\ntensor b.{0..7} BF16 [8192,4096]\n", "rules: [{from: ['a.{n}', 'b.{n}'], concat: {axis: 0, parts: [1, 1]}, to: 'c.{n}'}]"},
		{"concat-interleaved", "tensor a.{0..7} BF16 [8192,4096]\ntensor b.{0..7} BF16 [8192,4096]\n", "rules: [{from: ['a.{n}', 'b.{n}'], concat: {axis: 0, parts: [1, 1], layout: interleaved}, to: 'c.{n}'}]"},
		{"stack", "tensor e.{0..127} BF16 [1024,4096]\n", "rules: [{from: 'e.{n}', stack: {over: n}, to: experts}]"},
		{"transpose", "tensor a.{0..7} BF16 [16384,4096]\n", "rules: [{from: 'a.{n}', transpose: {}, to: 'b.{n}'}]"},
	}
	for _, tt := range tests {
		b.Run(tt.name, func(b *testing.B) {
			dir := benchDir(b)
			ref := filepath.Join(dir, "model.safetensors")
			must(b, fixture.Write(ref, tt.body))
			m := parseMap(b, tt.rules)
			out := filepath.Join(filepath.Dir(dir), "out.safetensors")
			for _, v := range []Verify{VerifyNone, VerifyDefault} {
				b.Run("verify="+string(v), func(b *testing.B) {
					b.SetBytes(size)
					for b.Loop() {
						b.StopTimer()
						must(b, os.RemoveAll(out))
						cold(b, dir)
						b.StartTimer()
						rewriteOnce(b, faulttest.Limited{}, ref, m, &Options{Output: out, Verify: v})
					}
				})
			}
		})
	}
}
