package image

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
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// A copy of pieces that begin and end anywhere has the right bytes and digests,
// whether or not the file system lets it go past the cache.
func TestDirect(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 20<<20+123)
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for name, sys := range map[string]txn.System{"past the cache": faulttest.Uncached, "as it is": txn.OS{}, "not opened": faulttest.Cached(false), "not read or written": faulttest.Cached(true)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "old"), src, 0o644))
			old, err := Open(int64(len(src)), func(flag int) (txn.File, error) { return sys.Read(filepath.Join(dir, "old"), flag) })
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
				img := Image{Header: bytes.Repeat([]byte("h"), []int{4096, 100, 8192, 33}[try])}
				want := slices.Clone(img.Header)
				var sums []txn.Digest
				for i, n := range sizes {
					off := rng.Int64N(int64(len(src)) - n + 1)
					p := src[off : off+n]
					img.Pieces = append(img.Pieces, Piece{Name: string(rune('a' + i)), Src: old, Off: off, Size: n, At: int64(len(want) - len(img.Header))})
					want = append(want, p...)
					sums = append(sums, sha256.Sum256(p))
				}
				img.Size = int64(len(want))
				made := string(rune('0' + try))
				got, err := Build(context.Background(), root, made, img, old, true, nil)
				must(t, err)
				if !slices.Equal(got, sums) {
					t.Errorf("%d: the digests of what was read are wrong", try)
				}
				f, err := Open(img.Size, func(flag int) (txn.File, error) { return sys.Read(filepath.Join(dir, made), flag) })
				must(t, err)
				again := slices.Clone(img.Pieces)
				for i := range again {
					again[i].Src, again[i].Off = f, again[i].At+int64(len(img.Header))
				}
				got, err = Digest(context.Background(), again, nil)
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

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
