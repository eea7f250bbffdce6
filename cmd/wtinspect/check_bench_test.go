package main

import (
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// BenchmarkProcessIdentify says what a small file and the largest release are, as a
// user meets it: most of the first is starting and reading what the conventions are.
func BenchmarkProcessIdentify(b *testing.B) {
	bin := buildBinary(b)
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Fatal(err)
	}
	b.Run("small", func(b *testing.B) { process(b, false, bin, "identify", "../../testdata/llama-tiny.gguf") })
	b.Run("shards=163/tensors=91991", func(b *testing.B) { process(b, false, bin, "identify", dir) })
}

// BenchmarkProcessCheck judges the largest release that is still common, as a
// user meets it, beside the listing of its tensors.
func BenchmarkProcessCheck(b *testing.B) {
	bin := buildBinary(b)
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Fatal(err)
	}
	b.Run("shards=163/tensors=91991/check", func(b *testing.B) { process(b, false, bin, "check", dir) })
	b.Run("shards=163/tensors=91991/info", func(b *testing.B) { process(b, false, bin, "info", dir) })
	b.Run("shards=163/tensors=91991/ls", func(b *testing.B) { process(b, false, bin, "ls", dir) })
}
