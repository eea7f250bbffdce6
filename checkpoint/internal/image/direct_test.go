package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// bytesOf joins digests.
func bytesOf(list []txn.Digest) (out []byte) {
	for i := range list {
		out = append(out, list[i][:]...)
	}
	return out
}

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
				got, err := Build(context.Background(), root, made, img, old, SHA256, nil)
				must(t, err)
				if !bytes.Equal(got.digests.bytes, bytesOf(sums)) {
					t.Errorf("%d: the digests of what was read are wrong", try)
				}
				f, err := Open(img.Size, func(flag int) (txn.File, error) { return sys.Read(filepath.Join(dir, made), flag) })
				must(t, err)
				again := slices.Clone(img.Pieces)
				for i := range again {
					again[i].Src, again[i].Off = f, again[i].At+int64(len(img.Header))
				}
				written, err := Digest(context.Background(), again, nil)
				must(t, err)
				must(t, f.Close())
				if !slices.Equal(written, sums) {
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

// A sparse file is copied as sparse as it is, its holes are compared without being read,
// and what is in them all the same is found.
func TestHoles(t *testing.T) {
	dir := t.TempDir()
	old, err := os.Create(filepath.Join(dir, "old"))
	must(t, err)
	const size = 256 << 20
	for _, off := range []int64{0, 100 << 20, size - 3} {
		_, err = old.WriteAt([]byte("abc"), off)
		must(t, err)
	}
	must(t, old.Sync())
	must(t, old.Close())
	src, err := txn.OS{}.Read(old.Name(), 0)
	must(t, err)
	defer src.Close()
	st, err := src.Stat()
	must(t, err)
	if st.Allocated == size {
		t.Skip("the file system has no holes")
	}
	root, err := txn.OS{}.OpenDir(dir)
	must(t, err)
	defer root.Close()
	img := Image{Header: make([]byte, 4096), Size: 4096 + size, Pieces: []Piece{
		{Name: "first", Src: src, Size: 50 << 20},
		{Name: "second", Src: src, Off: 50 << 20, Size: 150 << 20, At: 50 << 20},
		{Name: "third", Src: src, Off: 200 << 20, Size: 56 << 20, At: 200 << 20},
	}}
	progress := int64(0)
	tell := func(n int64) { atomic.AddInt64(&progress, n) }
	sums, err := Build(t.Context(), root, "new", img, src, XXH64, tell)
	must(t, err)
	if n := len(sums.holes); n != 2 {
		t.Errorf("%d holes: %v", n, sums.holes)
	}
	if want := int64(size); sums.written != nil && progress != 2*want || sums.written == nil && progress != want {
		t.Errorf("progress %d, read back: %t", progress, sums.written != nil)
	}
	sums.written = nil // so that all is read again
	compare := func() error {
		f, err := img.Reopen(root, "new", true)
		must(t, err)
		defer f.Close()
		if st, err := f.Stat(); err != nil || st.Allocated > 1<<20 {
			t.Errorf("the copy takes %d bytes (%v)", st.Allocated, err)
		}
		progress = 0
		tensors, n, err := img.Compare(t.Context(), f, sums, tell)
		if err == nil && (tensors != 3 || n != size || progress != size) {
			t.Errorf("%d tensors, %d bytes, progress %d", tensors, n, progress)
		}
		return err
	}
	must(t, compare())
	must(t, img.Again(t.Context(), sums, nil))
	for _, off := range []int64{4096 + 40<<20, 4096 + 100<<20 + 1, 4096 + size - 1} {
		f, err := os.OpenFile(filepath.Join(dir, "new"), os.O_RDWR, 0)
		must(t, err)
		was := make([]byte, 1)
		_, err = f.ReadAt(was, off)
		must(t, err)
		_, err = f.WriteAt([]byte{was[0] ^ 0x81}, off)
		must(t, err)
		if err := compare(); err == nil {
			t.Errorf("the byte at %d is another one, and that is not found", off)
		}
		_, err = f.WriteAt(was, off)
		must(t, err)
		must(t, f.Close())
	}
	must(t, compare())
}

// A pool has few files open, and finds those that are not what they were.
func TestPool(t *testing.T) {
	dir := t.TempDir()
	var pool Pool
	var sources []*Source
	for i := range 3 * maxOpen {
		name := filepath.Join(dir, string(rune('a'+i)))
		must(t, os.WriteFile(name, []byte{byte(i)}, 0o644))
		f, err := txn.OS{}.Read(name, 0)
		must(t, err)
		st, err := f.Stat()
		must(t, err)
		must(t, f.Close())
		sources = append(sources, pool.Source(txn.OS{}, name, st))
	}
	b := make([]byte, 1)
	for range 2 {
		for i, s := range sources {
			if _, err := s.ReadAt(b, 0); err != nil || b[0] != byte(i) {
				t.Fatalf("source %d: %d, %v", i, b[0], err)
			}
			if n := len(pool.open); n > maxOpen {
				t.Fatalf("%d files are open", n)
			}
		}
	}
	must(t, os.WriteFile(sources[0].Path, []byte("longer"), 0o644))
	if _, err := sources[0].ReadAt(b, 0); !errors.Is(err, txn.ErrChanged) {
		t.Errorf("a file that changed: %v", err)
	}
	must(t, os.Remove(sources[1].Path))
	for _, s := range sources[:2] {
		if err := s.Unchanged(); !errors.Is(err, txn.ErrChanged) {
			t.Errorf("%s: %v", s.Path, err)
		}
	}
	must(t, sources[2].Unchanged())
	must(t, pool.Close())
}
