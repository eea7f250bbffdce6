package main

import (
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// BenchmarkProcessCheck judges the largest release that is still common, as a
// user meets it, beside the listing of its tensors.
func BenchmarkProcessCheck(b *testing.B) {
	bin := buildBinary(b)
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Fatal(err)
	}
	b.Run("shards=163/tensors=91991/check", func(b *testing.B) { process(b, false, bin, "check", dir) })
	b.Run("shards=163/tensors=91991/ls", func(b *testing.B) { process(b, false, bin, "ls", dir) })
}
