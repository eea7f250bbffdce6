package check

import (
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
)

// BenchmarkRun opens and judges the largest release that is still common: 163
// shards, 91,991 tensors.
func BenchmarkRun(b *testing.B) {
	dir := b.TempDir()
	if err := fixture.DeepSeekV3(dir); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		rel, err := checkpoint.Open(b.Context(), dir, nil)
		if err != nil {
			b.Fatal(err)
		}
		report, err := Run(b.Context(), rel, nil)
		if err != nil {
			b.Fatal(err)
		}
		if len(report.Findings) > 0 {
			b.Fatal(report.Findings[0].Message)
		}
		rel.Close()
	}
}
