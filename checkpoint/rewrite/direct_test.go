package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// A copy of pieces that begin and end anywhere has the right bytes and digests,
// whether or not the file system lets it go past the cache.
func TestDirect(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 20<<20+123)
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for name, sys := range map[string]txn.System{"past the cache": uncached, "as it is": txn.OS{}, "not opened": cached(false), "not read or written": cached(true)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "old"), src, 0o644))
			old, err := openDirect(int64(len(src)), func(flag int) (txn.File, error) { return sys.Read(filepath.Join(dir, "old"), flag) })
			must(t, err)
			defer old.Close()
			root, err := sys.OpenDir(dir)
			must(t, err)
			defer root.Close()
			for try, sizes := range [][]int64{
				{1, 4095, 4096, 4097, 0, 9 << 20, 8191, 1},
				{10<<20 + 5, 3, 2 << 20},
				{4096, 8 << 20, 8 << 20, 4096 * 3},
				{1<<20 + 1},
			} {
				img := image{header: bytes.Repeat([]byte("h"), []int{4096, 100, 8192, 33}[try])}
				want := slices.Clone(img.header)
				var sums []digest
				for i, n := range sizes {
					off := rng.Int64N(int64(len(src)) - n + 1)
					p := src[off : off+n]
					img.pieces = append(img.pieces, piece{name: string(rune('a' + i)), src: old, off: off, size: n, at: int64(len(want) - len(img.header))})
					want = append(want, p...)
					sums = append(sums, sha256.Sum256(p))
				}
				img.size = int64(len(want))
				made := string(rune('0' + try))
				got, err := build(context.Background(), root, made, img, old, true, nil)
				must(t, err)
				if !slices.Equal(got, sums) {
					t.Errorf("%d: the digests of what was read are wrong", try)
				}
				f, err := openDirect(img.size, func(flag int) (txn.File, error) { return sys.Read(filepath.Join(dir, made), flag) })
				must(t, err)
				again := slices.Clone(img.pieces)
				for i := range again {
					again[i].src, again[i].off = f, again[i].at+int64(len(img.header))
				}
				got, err = digestPieces(context.Background(), again, nil)
				must(t, err)
				must(t, f.Close())
				if !slices.Equal(got, sums) {
					t.Errorf("%d: the digests of what was written are wrong", try)
				}
				if b, err := os.ReadFile(filepath.Join(dir, made)); err != nil || !bytes.Equal(b, want) {
					t.Errorf("%d: the copy is not what it should be (%v)", try, err)
				}
			}
		})
	}
}
