package arrays

import (
	"fmt"
	"testing"
)

// BenchmarkPutColumns is the inner loop of a transposition.
func BenchmarkPutColumns(b *testing.B) {
	for _, cell := range []int{1, 2, 4, 8} {
		b.Run(fmt.Sprintf("bytes=%d", cell), func(b *testing.B) {
			const n, nc, apart = 64, 1024, 16384
			dst, src := make([]byte, nc*apart*cell), make([]byte, n*nc*cell)
			b.SetBytes(int64(len(src)))
			i := 0
			for b.Loop() {
				putColumns(dst[i%(apart/n)*n*cell:], src, n, nc, apart, cell)
				i++
			}
		})
	}
}
