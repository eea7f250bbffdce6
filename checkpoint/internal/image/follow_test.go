package image

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// odd is an image of pieces of two files: large ones, small ones with little or much between them in
// the files, and gaps; with what is to be made of it.
func odd(t *testing.T, dir string, sys txn.System) (img Image, want []byte) {
	t.Helper()
	rng := rand.New(rand.NewPCG(5, 6))
	files := make([][]byte, 2)
	sources := make([]txn.File, 2)
	for k := range files {
		files[k] = make([]byte, 9<<20+777*k)
		for i := 0; i < len(files[k]); i += 7 {
			files[k][i] = byte(rng.Uint32())
		}
		name := filepath.Join(dir, string(rune('a'+k)))
		must(t, os.WriteFile(name, files[k], 0o644))
		f, err := Open(int64(len(files[k])), func(flag int) (txn.File, error) { return sys.Read(name, flag) })
		must(t, err)
		t.Cleanup(func() { f.Close() })
		sources[k] = f
	}
	img.Header = bytes.Repeat([]byte("h"), 4096+32)
	want = bytes.Clone(img.Header)
	add := func(k int, off, n, gap int64) {
		want = append(want, make([]byte, gap)...)
		img.Pieces = append(img.Pieces, Piece{Name: string(rune('a' + k)), Src: sources[k], Off: off, Size: n, At: int64(len(want) - len(img.Header))})
		want = append(want, files[k][off:off+n]...)
	}
	for i := range int64(2000) { // as storages in a zip archive
		add(0, 100+i*1100, 1000, 0)
	}
	for range 200 {
		add(rng.IntN(2), rng.Int64N(8<<20), rng.Int64N(20_000), rng.Int64N(40))
	}
	for range 3 {
		add(rng.IntN(2), rng.Int64N(5<<20), 3<<20+rng.Int64N(5), rng.Int64N(2)*100_000)
	}
	img.Size = int64(len(want))
	return img, want
}

// What is written is read back while the rest is written, whatever it is made of, and few calls
// write much.
func TestReadBack(t *testing.T) {
	var writes atomic.Int64
	counted := faulttest.System{File: func(f txn.File, _ int) (txn.File, error) { return countedFile{f, &writes}, nil }}
	for name, sys := range map[string]txn.System{"as it is": counted, "past the cache": faulttest.Uncached, "not opened": faulttest.Cached(false), "not read or written": faulttest.Cached(true)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			img, want := odd(t, dir, sys)
			root, err := sys.OpenDir(dir)
			must(t, err)
			defer root.Close()
			var progress, data atomic.Int64
			for _, p := range img.Pieces {
				data.Add(p.Size)
			}
			written := false
			img.Written = func() { written = true }
			sums, err := Build(t.Context(), root, "new", img, nil, XXH64, func(n int64) { progress.Add(n) })
			must(t, err)
			if b, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || !bytes.Equal(b, want) || !written {
				t.Errorf("the file is not what it should be (%v)", err)
			}
			if n := writes.Load(); n > img.Size/IOSize+40 {
				t.Errorf("%d calls write %d bytes", n, img.Size)
			}
			past := txn.PastCache != 0 && name != "not opened"
			if (sums.written != nil) != past {
				t.Errorf("read back: %t", sums.written != nil)
			}
			if past {
				if n := progress.Load(); n != 2*data.Load() {
					t.Errorf("progress %d of %d", n, 2*data.Load())
				}
				n, size, err := img.Compare(t.Context(), nil, sums, nil) // which reads nothing
				if err != nil || n != len(img.Pieces) || size != data.Load() {
					t.Errorf("%d tensors, %d bytes, %v", n, size, err)
				}
			}
			f, err := img.Reopen(root, "new", true)
			must(t, err)
			defer f.Close()
			sums.written = nil
			_, _, err = img.Compare(t.Context(), f, sums, nil)
			must(t, err)
		})
	}
}

type countedFile struct {
	txn.File
	n *atomic.Int64
}

func (f countedFile) Pwrite(p []byte, off int64) (int, error) {
	f.n.Add(1)
	return f.File.Pwrite(p, off)
}

// What the disk damages is found in what is read back, and a disk that cannot be read ends the copy.
func TestReadBackDamage(t *testing.T) {
	if txn.PastCache == 0 {
		t.Skip("the system does not go past its cache")
	}
	errRead := errors.New("the disk has gone")
	for name, tt := range map[string]struct {
		damage int64
		err    error
	}{"the first block": {4200, nil}, "a gap is not data": {0, nil}, "the last piece": {-1, nil}, "unreadable": {0, errRead}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			img, _ := odd(t, dir, txn.OS{})
			if tt.damage < 0 {
				last := img.Pieces[len(img.Pieces)-1]
				tt.damage = int64(len(img.Header)) + last.At + last.Size/2
			}
			sys := faulttest.System{File: func(f txn.File, _ int) (txn.File, error) { return &badFile{f, tt.damage, tt.err}, nil }}
			root, err := sys.OpenDir(dir)
			must(t, err)
			defer root.Close()
			sums, err := Build(context.Background(), root, "new", img, nil, XXH64, nil)
			if tt.err != nil {
				if !errors.Is(err, tt.err) {
					t.Errorf("error %v", err)
				}
				return
			}
			must(t, err)
			_, _, err = img.Compare(t.Context(), nil, sums, nil)
			i, _ := img.pieceAt(tt.damage - int64(len(img.Header)))
			if tt.damage == 0 {
				must(t, err)
			} else if err == nil || !strings.Contains(err.Error(), Damaged(img.Pieces[i].Name, int64(len(img.Header))+img.Pieces[i].At).Error()) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// A badFile damages the byte at an offset, where it is not 0, and fails to read.
type badFile struct {
	txn.File
	damage int64
	err    error
}

func (f *badFile) Pwrite(p []byte, off int64) (int, error) {
	if i := f.damage - off; f.damage > 0 && i >= 0 && i < int64(len(p)) {
		p = bytes.Clone(p)
		p[i] ^= 1
	}
	return f.File.Pwrite(p, off)
}

func (f *badFile) ReadAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.File.ReadAt(p, off)
}
