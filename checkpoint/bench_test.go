package checkpoint_test

import (
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// BenchmarkDeepSeekV3 works on a release of 163 shards, 91,991 tensors and
// 11.9 MB of headers.
func BenchmarkDeepSeekV3(b *testing.B) {
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Skipf("sparse files of 680 GB in all: %v", err)
	}
	open := func(b *testing.B) *checkpoint.Release {
		r, err := checkpoint.Open(b.Context(), dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		return r
	}
	b.Run("Open", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			open(b).Close()
		}
	})
	b.Run("Validate", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			b.StopTimer()
			r := open(b)
			b.StartTimer()
			if faults := r.Checkpoints[0].Validate(b.Context()); len(faults) > 0 {
				b.Fatal(faults[0])
			}
			r.Close()
		}
	})
	r := open(b)
	defer r.Close()
	c := r.Checkpoints[0]
	b.Run("All", func(b *testing.B) {
		for b.Loop() {
			var sum uint64
			for _, t := range c.All() {
				sum += t.Bytes
			}
			if sum == 0 {
				b.Fatal("no bytes")
			}
		}
	})
	b.Run("At", func(b *testing.B) {
		for b.Loop() {
			var sum uint64
			for i := range c.Len() {
				sum += c.At(i).Bytes
			}
			if sum == 0 {
				b.Fatal("no bytes")
			}
		}
	})
	b.Run("Parameters", func(b *testing.B) {
		for b.Loop() {
			c.Parameters(r.Config)
		}
	})
}
