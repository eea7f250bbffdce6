package tables

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// BenchmarkWrite writes releases of 200 tensors.
func BenchmarkWrite(b *testing.B) {
	const releases, tensors = 1000, 200
	b.ReportAllocs()
	for b.Loop() {
		w, err := Create(txn.OS{}, filepath.Join(b.TempDir(), "table"), Options{Version: version})
		if err != nil {
			b.Fatal(err)
		}
		for i := range releases {
			if err := w.Write(scanned(fmt.Sprintf("org/model-%05d", i), tensors)); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Commit(); err != nil {
			b.Fatal(err)
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)*releases*tensors/b.Elapsed().Seconds(), "rows/s")
}
