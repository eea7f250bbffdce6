package image

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"runtime"
	"slices"

	"github.com/cespare/xxhash/v2"
	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// An Algorithm is what digests are computed by.
type Algorithm string

// The algorithms, by what users know them as. What a copy is compared for are accidents
// of the disk and the memory. XXH64 misses one in 2^64 of those, and SHA-256 takes several times as
// long, which is longer than the disk takes.
const (
	NoDigests Algorithm = ""
	XXH64     Algorithm = "xxh64"
	SHA256    Algorithm = "sha256"
)

func (a Algorithm) new() hash.Hash {
	if a == XXH64 {
		return xxhash.New()
	}
	return sha256.New()
}

// Sums are the digests of the pieces of an image. What was in holes is zero, and is not
// in the digests: 50 GB of nothing would take a minute.
type Sums struct {
	algorithm Algorithm
	digests   digests
	holes     []txn.Extent // from the start of the data
	// written are those of the new file, nil where it has not been read back.
	written *digests
}

// digests are those of many pieces, one after the other.
type digests struct {
	width int // of one
	bytes []byte
}

// digestsFor has room for those of n pieces.
func (a Algorithm) digestsFor(n int) digests {
	width := a.new().Size()
	return digests{width, make([]byte, 0, width*n)}
}

func (d *digests) len() int        { return len(d.bytes) / d.width }
func (d *digests) at(i int) []byte { return d.bytes[i*d.width:][:d.width] }

// add adds what a hash is of, which begins anew.
func (d *digests) add(h hash.Hash) {
	d.bytes = h.Sum(d.bytes)
	h.Reset()
}

// A digester turns a stream into the digests of the pieces it consists of.
type digester struct {
	Sums
	pieces []Piece
	left   int64 // of the piece after those that are digested
	hash   hash.Hash
}

func newDigester(pieces []Piece, by Algorithm) *digester {
	d := &digester{Sums: Sums{algorithm: by, digests: by.digestsFor(len(pieces))}, pieces: pieces, hash: by.new()}
	if len(pieces) > 0 {
		d.left = pieces[0].Size
	}
	return d
}

// take takes n bytes of the data, or a hole of as many where p is nil, which are at a place behind
// all that it took before. What is between pieces is in no digest. It says how many are in one.
func (d *digester) take(p []byte, at int64, n int) (taken int64) {
	if p == nil {
		d.holes = addHole(d.holes, at, int64(n))
	}
	for n > 0 {
		d.close()
		if d.digests.len() == len(d.pieces) {
			break
		}
		piece := &d.pieces[d.digests.len()]
		between := piece.At + piece.Size - d.left - at
		k := int(min(int64(n), max(0, between)))
		if between <= 0 {
			k = int(min(int64(n), d.left))
			d.left -= int64(k)
			taken += int64(k)
			if p != nil {
				d.hash.Write(p[:k])
			}
		}
		if p != nil {
			p = p[k:]
		}
		at += int64(k)
		n -= k
	}
	return taken
}

// addHole adds a hole behind others.
func addHole(holes []txn.Extent, at, n int64) []txn.Extent {
	if i := len(holes) - 1; i >= 0 && holes[i].End == at {
		holes[i].End += n
		return holes
	}
	return append(holes, txn.Extent{Start: at, End: at + n})
}

// close ends the pieces that are complete.
func (d *digester) close() {
	for d.left == 0 && d.digests.len() < len(d.pieces) {
		d.digests.add(d.hash)
		if i := d.digests.len(); i < len(d.pieces) {
			d.left = d.pieces[i].Size
		}
	}
}

func (d *digester) finish() *Sums {
	d.close()
	return &d.Sums
}

// Digest reads pieces, several at a time, for their SHA-256. progress may be nil.
func Digest(ctx context.Context, pieces []Piece, progress func(int64)) ([]txn.Digest, error) {
	sums, err := digest(ctx, pieces, SHA256, nil, progress)
	if err != nil {
		return nil, err
	}
	out := make([]txn.Digest, len(pieces))
	for i := range out {
		copy(out[i][:], sums.at(i))
	}
	return out, nil
}

// digest is Digest of what is not in holes of the data that the pieces are parts of.
func digest(ctx context.Context, pieces []Piece, by Algorithm, holes []txn.Extent, progress func(int64)) (*digests, error) {
	sums := by.digestsFor(len(pieces))
	sums.bytes = sums.bytes[:cap(sums.bytes)]
	g, ctx := errgroup.WithContext(ctx)
	// Past the cache nobody reads ahead: some read while others digest.
	workers, size := runtime.GOMAXPROCS(0), readSize
	if len(pieces) > 0 {
		if _, ok := pieces[0].Src.(*directFile); ok {
			workers, size = min(2*workers, 8), directSize
		}
	}
	g.SetLimit(workers)
	for first := 0; first < len(pieces); {
		batch := pieces[first : first+neighbours(pieces[first:], int64(size))]
		out := digests{sums.width, sums.bytes[first*sums.width:][:0]}
		first += len(batch)
		g.Go(func() error {
			mem := windows.Get().(*memory)
			defer windows.Put(mem)
			src, release, err := open(batch[0].Src)
			if err != nil {
				return err
			}
			defer release()
			last := &batch[len(batch)-1]
			w := window{src: src, buf: mem.room(windowRoom)[:size], end: last.Off + last.Size}
			h := by.new()
			for i := range batch {
				p := &batch[i]
				if err := w.digest(ctx, h, p, holes); err != nil {
					return fmt.Errorf("tensor %q: %w", p.Name, err)
				}
				out.add(h) // in place
				if progress != nil {
					progress(p.Size)
				}
			}
			return nil
		})
	}
	return &sums, g.Wait()
}

// neighbours says how many pieces, one at least, follow one another in a file and are
// read at once: so many bytes together.
func neighbours(pieces []Piece, most int64) int {
	first := &pieces[0]
	n := 1
	for n < len(pieces) {
		before, p := &pieces[n-1], &pieces[n]
		end := before.Off + before.Size
		if p.Src != first.Src || p.Off < end || p.Off > end+directAlign || p.Off+p.Size-first.Off > most {
			break
		}
		n++
	}
	return n
}

// A window is a part of a file that is read front to back up to an end.
type window struct {
	src         io.ReaderAt
	buf         []byte
	start, stop int64 // of the bytes in buf
	end         int64
}

// digest adds a piece to a digest, but for what is in holes.
func (w *window) digest(ctx context.Context, h hash.Hash, p *Piece, holes []txn.Extent) error {
	shift := p.Off - p.At // from a place in the data to one in the file
	at, end := p.Off, p.Off+p.Size
	i, _ := slices.BinarySearchFunc(holes, p.At+1, func(e txn.Extent, at int64) int { return int(min(1, max(-1, e.End-at))) })
	for ; i < len(holes) && holes[i].Start+shift < end; i++ {
		if err := w.add(ctx, h, at, holes[i].Start+shift); err != nil {
			return err
		}
		at = max(at, holes[i].End+shift)
	}
	return w.add(ctx, h, at, end)
}

// add adds a range to a digest.
func (w *window) add(ctx context.Context, h hash.Hash, at, end int64) error {
	for at < end {
		if at < w.start || at >= w.stop {
			if err := ctx.Err(); err != nil {
				return err
			}
			w.start, w.stop = pages(w.src, at, w.end, int64(len(w.buf)))
			if err := source.ReadFull(w.src, w.buf[:w.stop-w.start], w.start); err != nil {
				return err
			}
		}
		next := min(w.stop, end)
		h.Write(w.buf[at-w.start : next-w.start])
		at = next
	}
	return nil
}

// pages returns the range to read for the bytes from at on, of at most so many:
// whole pages, where a file is read past the cache and has them.
func pages(src io.ReaderAt, at, end, most int64) (start, stop int64) {
	d, ok := src.(*directFile)
	if !ok {
		return at, min(end, at+most)
	}
	start = at / directAlign * directAlign
	stop = min(RoundUp(end, directAlign), start+most)
	if stop > d.size {
		if whole := d.size / directAlign * directAlign; whole > at {
			return start, whole
		}
		return at, min(end, at+most)
	}
	return start, stop
}
