package rewrite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// cached is a file system that refuses to go past the cache: when a file is
// opened, or when it is used.
type cached struct {
	osFS
	late bool
}

type cachedFile struct{ osFile }

// uncached is a file system that says to have nothing in its cache.
type uncached struct{ osFS }

type uncachedFile struct{ osFile }

func (uncachedFile) Cached(int64) bool { return false }

func (u uncached) Open(name string, flag int, perm fs.FileMode) (file, error) {
	f, err := u.osFS.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return uncachedFile{f.(osFile)}, nil
}

func (c cached) Open(name string, flag int, perm fs.FileMode) (file, error) {
	if flag&openPast == 0 {
		return c.osFS.Open(name, flag, perm)
	}
	if !c.late {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	f, err := c.osFS.Open(name, flag, perm)
	if err != nil {
		return nil, err
	}
	return cachedFile{f.(osFile)}, nil
}

func (f cachedFile) ReadAt([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: f.Name(), Err: syscall.EINVAL}
}

func (f cachedFile) Pwrite([]byte, int64) (int, error) {
	return 0, &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.EINVAL}
}

// A copy of pieces that begin and end anywhere has the right bytes and digests,
// whether or not the file system lets it go past the cache.
func TestDirect(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	src := make([]byte, 20<<20+123)
	for i := range src {
		src[i] = byte(rng.Uint32())
	}
	for name, fsys := range map[string]fileSystem{"past the cache": uncached{}, "as it is": osFS{}, "not opened": cached{}, "not read or written": cached{late: true}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, os.WriteFile(filepath.Join(dir, "old"), src, 0o644))
			old, err := openDirect(fsys, filepath.Join(dir, "old"), os.O_RDONLY, int64(len(src)))
			must(t, err)
			defer old.Close()
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
				made := filepath.Join(dir, string(rune('0'+try)))
				got, err := build(context.Background(), fsys, made, img, old, true, nil)
				must(t, err)
				if !slices.Equal(got, sums) {
					t.Errorf("%d: the digests of what was read are wrong", try)
				}
				f, err := openDirect(fsys, made, os.O_RDONLY, img.size)
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
				if b, err := os.ReadFile(made); err != nil || !bytes.Equal(b, want) {
					t.Errorf("%d: the copy is not what it should be (%v)", try, err)
				}
			}
		})
	}
}
