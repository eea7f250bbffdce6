package image

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// Reopen opens the file that Build wrote: past the cache and from the disk, when all of
// it is to be read again.
func (img *Image) Reopen(dir txn.Dir, name string, all bool) (txn.File, error) {
	size := int64(0)
	if all {
		size = img.Size
	}
	f, err := Open(size, func(flag int) (txn.File, error) { return txn.Open(dir, name, os.O_RDONLY|flag, 0) })
	if err == nil && all {
		f.Drop(0, img.Size)
	}
	return f, err
}

// Compare compares the digests of the pieces of a new file with the sums of what they were
// copied from, which Build returned: those of what was read back, or of what it reads. It says
// how many tensors and bytes that were.
func (img *Image) Compare(ctx context.Context, f txn.File, sums *Sums, progress func(int64)) (tensors int, n int64, err error) {
	base := int64(len(img.Header))
	got := sums.written
	if got == nil {
		again := make([]Piece, len(img.Pieces))
		for i, old := range img.Pieces {
			again[i] = Piece{Name: old.Name, Src: f, Off: base + old.At, Size: old.Size, At: old.At}
		}
		if got, err = digest(ctx, again, sums.algorithm, sums.holes, progress); err != nil {
			return 0, 0, err
		}
	}
	for i := range img.Pieces {
		p := &img.Pieces[i]
		if !bytes.Equal(sums.digests.at(i), got.at(i)) {
			return 0, 0, Damaged(p.Name, base+p.At)
		}
		n += p.Size
		if p.Name != "" {
			tensors++
		}
	}
	return tensors, n, img.compareHoles(ctx, f, sums.holes)
}

// compareHoles checks that what was in holes is zero in the new file: it is in holes
// there, too, or it is read.
func (img *Image) compareHoles(ctx context.Context, f txn.File, list []txn.Extent) error {
	if len(list) == 0 {
		return nil
	}
	base := int64(len(img.Header))
	mine := holes{}
	if m, err := f.Extents(); err == nil {
		mine[f] = m
	}
	buf := make([]byte, readSize)
	for _, hole := range list {
		for at := hole.Start; at < hole.End; {
			if err := ctx.Err(); err != nil {
				return err
			}
			n, still := mine.next(f, base+at, hole.End-at)
			if !still {
				n = min(n, readSize)
				if err := source.ReadFull(f, buf[:n], base+at); err != nil {
					return err
				}
				if i := bytes.IndexFunc(buf[:n], func(r rune) bool { return r != 0 }); i >= 0 {
					return Damaged(img.tensorAt(at+int64(i)), base+at+int64(i))
				}
			}
			at += n
		}
	}
	return nil
}

// tensorAt names the piece that has a byte of the data.
func (img *Image) tensorAt(at int64) string {
	if i, ok := img.pieceAt(at); ok {
		return img.Pieces[i].Name
	}
	return ""
}

// pieceAt finds the piece that has a byte of the data.
func (img *Image) pieceAt(at int64) (int, bool) {
	return slices.BinarySearchFunc(img.Pieces, at, func(p Piece, at int64) int {
		if p.At+p.Size <= at {
			return -1
		}
		if p.At > at {
			return 1
		}
		return 0
	})
}

// Again reads what the image is made of a second time, and compares it with the sums.
func (img *Image) Again(ctx context.Context, sums *Sums, progress func(int64)) error {
	got, err := digest(ctx, img.Pieces, sums.algorithm, sums.holes, progress)
	if err != nil {
		return err
	}
	for i := range img.Pieces {
		if !bytes.Equal(got.at(i), sums.digests.at(i)) {
			return fmt.Errorf("tensor %q: read a second time it is not what it was; the disk or the memory may be failing", img.Pieces[i].Name)
		}
	}
	return nil
}

// Damaged is the error of data that is not what was written.
func Damaged(tensor string, off int64) error {
	return fmt.Errorf("tensor %q: the data at byte %d is not what it was before; the disk or the memory may be failing", tensor, off)
}

// Sample compares some blocks of a new file with where they came from, and says
// how many blocks and bytes that were.
func (img *Image) Sample(f io.ReaderAt) (samples int, bytesRead int64, err error) {
	base := int64(len(img.Header))
	for _, s := range Spread(img.Size - base) {
		i, ok := img.pieceAt(s.Off)
		if !ok {
			continue
		}
		old := img.Pieces[i]
		n := min(s.N, old.At+old.Size-s.Off)
		a, b := make([]byte, n), make([]byte, n)
		if err = source.ReadFull(old.Src, a, old.Off+s.Off-old.At); err == nil {
			err = source.ReadFull(f, b, base+s.Off)
		}
		if err != nil {
			return 0, 0, err
		}
		if !bytes.Equal(a, b) {
			return 0, 0, Damaged(old.Name, base+s.Off)
		}
		samples++
		bytesRead += n
	}
	return samples, bytesRead, nil
}

// Spread picks blocks of n bytes of data: the first, the last, and some
// between, evenly.
func Spread(n int64) []txn.Sample {
	const size, count = int64(4096), 16
	if n <= 0 {
		return nil
	}
	if n <= size*count {
		var out []txn.Sample
		for off := int64(0); off < n; off += size {
			out = append(out, txn.Sample{Off: off, N: min(size, n-off)})
		}
		return out
	}
	out := make([]txn.Sample, count)
	for i := range out {
		out[i] = txn.Sample{Off: (n - size) / (count - 1) * int64(i), N: size}
	}
	out[count-1].Off = n - size
	return out
}
