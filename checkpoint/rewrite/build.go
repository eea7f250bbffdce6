package rewrite

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"runtime"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// An image is the content of a file to be: a header, and the data behind it.
type image struct {
	header []byte
	size   int64
	pieces []piece // in the order of their places; what they leave out is zero
	clone  *clone  // shares the data instead of writing the pieces
}

// A clone is a range of whole blocks that a new file shares with an old one.
// The header is written over its first block.
type clone struct {
	src            txn.File
	srcOff, off, n int64
}

// A digest identifies the bytes of a piece.
type digest = txn.Digest

const (
	// ioSize is the unit of a copy: larger ones were measured to be no faster.
	ioSize = 8 << 20
	// behind is how far behind the copy the new file leaves the cache.
	behind = 64 << 20
	// readSize is the unit of a digest: a block of it stays in the
	// processor's cache between the read and the digest.
	readSize = 256 << 10
	// directSize is the same past the cache, where a disk wants more at once.
	directSize = 2 << 20
)

// build writes a file of that name in dir, which must not exist, with the owner
// and permissions of another one, and makes its content durable. The digests
// are those of the pieces as they were read, nil unless asked for. progress may
// be nil.
func build(ctx context.Context, dir txn.Dir, name string, img image, like txn.File, digests bool, progress func(int64)) (sums []digest, err error) {
	size := img.size
	if img.clone != nil {
		size = 0 // of which nothing is written but the header
	}
	f, err := openDirect(size, func(flag int) (txn.File, error) {
		if flag == 0 {
			flag = os.O_CREATE | os.O_EXCL
		}
		return txn.Open(dir, name, os.O_RDWR|flag, 0o600)
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := txn.Retry(func() error { return f.Truncate(img.size) }); err != nil {
		return nil, err
	}
	if c := img.clone; c != nil {
		if err := txn.Retry(func() error { return f.Clone(c.src, c.srcOff, c.off, c.n) }); err != nil {
			return nil, err
		}
	} else if sums, err = copyPieces(ctx, f, img, digests, progress); err != nil {
		return nil, err
	}
	if err := txn.WriteFull(f, img.header, 0); err != nil {
		return nil, err
	}
	if d, ok := like.(*directFile); ok {
		like = d.File
	}
	if err := txn.Retry(func() error { return f.Adopt(like) }); err != nil {
		return nil, err
	}
	return sums, txn.Sync(f)
}

// A block is bytes on their way from a source to the new file.
type block struct {
	buf  []byte // nil: a hole
	n    int
	at   int64        // in the new file
	mem  []byte       // what buf is part of
	left atomic.Int32 // of those who read buf
}

// copyPieces writes the pieces. It reads ahead, and digests behind.
func copyPieces(ctx context.Context, f txn.File, img image, digests bool, progress func(int64)) ([]digest, error) {
	base := int64(len(img.header))
	runs := join(img.pieces)
	holes := findHoles(runs)
	if img.size > base && !holes.any() {
		if err := txn.Retry(func() error { return f.Allocate(img.size) }); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}

	const buffers = 4
	blocks, free := make(chan *block), make(chan []byte, buffers)
	for range buffers {
		free <- nil
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var others errgroup.Group
	others.Go(func() error {
		defer close(blocks)
		return readRuns(ctx, runs, base, holes, blocks, free)
	})
	done := func(b *block) {
		if b.left.Add(-1) == 0 && b.mem != nil {
			free <- b.mem
		}
	}
	readers := int32(1)
	var sums *digester
	var toDigest chan *block
	if digests {
		readers = 2
		sums, toDigest = newDigester(img.pieces), make(chan *block, buffers)
		others.Go(func() error {
			for b := range toDigest {
				sums.write(b.buf, b.n)
				done(b)
			}
			return nil
		})
	}
	var failure error
	for b := range blocks {
		if failure != nil {
			continue
		}
		b.left.Store(readers)
		if toDigest != nil {
			toDigest <- b
		}
		if b.buf != nil {
			if failure = txn.WriteFull(f, b.buf, b.at); failure != nil {
				cancel()
			}
			f.WriteOut(b.at, int64(b.n))
			if b.at > behind {
				f.Drop(b.at-behind, int64(b.n))
			}
		}
		done(b)
		if failure == nil && progress != nil {
			progress(int64(b.n))
		}
	}
	if toDigest != nil {
		close(toDigest)
	}
	if err := others.Wait(); failure == nil {
		failure = err
	}
	if failure != nil || sums == nil {
		return nil, failure
	}
	return sums.finish(), nil
}

// readRuns reads the runs in blocks that end at multiples of ioSize in the new file.
func readRuns(ctx context.Context, runs []piece, base int64, holes holes, blocks chan<- *block, free <-chan []byte) error {
	for _, r := range runs {
		for done := int64(0); done < r.size; {
			b := &block{at: base + r.at + done}
			b.n = int(min(r.size-done, ioSize-b.at%ioSize))
			if !holes.contain(r.src, r.off+done, int64(b.n)) {
				select {
				case b.mem = <-free:
				case <-ctx.Done():
					return ctx.Err()
				}
				// A byte is as far into its page in memory as in the file.
				into := int(b.at % directAlign)
				if room := max(b.n, int(min(ioSize, r.size))) + 2*directAlign; len(b.mem) < room {
					b.mem = make([]byte, room)
				}
				var err error
				if b.buf, err = readBlock(r.src, b.mem, r.off+done, b.n, into); err != nil {
					return err
				}
			}
			select {
			case blocks <- b:
			case <-ctx.Done():
				return ctx.Err()
			}
			done += int64(b.n)
		}
	}
	return nil
}

// join makes one piece of neighbours that stay neighbours.
func join(pieces []piece) []piece {
	var out []piece
	for _, p := range pieces {
		if n := len(out); n > 0 {
			l := &out[n-1]
			if l.src == p.src && l.off+l.size == p.off && l.at+l.size == p.at {
				l.size += p.size
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

// holes are the files of a copy that have holes, with what is not one.
type holes map[io.ReaderAt][]txn.Extent

// findHoles looks for sparse files, so that a copy is as sparse as its source.
func findHoles(runs []piece) holes {
	h := make(holes)
	for _, r := range runs {
		f, ok := r.src.(txn.File)
		if _, seen := h[r.src]; !ok || seen {
			continue
		}
		st, err := f.Stat()
		if err != nil || st.Allocated >= st.Size {
			continue
		}
		if m, err := f.Extents(); err == nil {
			h[r.src] = m
		}
	}
	return h
}

func (h holes) any() bool { return len(h) > 0 }

// contain reports whether nothing but a hole is in a range.
func (h holes) contain(src io.ReaderAt, off, n int64) bool {
	m, ok := h[src]
	if !ok {
		return false
	}
	i, _ := slices.BinarySearchFunc(m, off, func(e txn.Extent, off int64) int {
		if e.End <= off {
			return -1
		}
		return 1
	})
	return i == len(m) || m[i].Start >= off+n
}

// A digester turns a stream into the digests of the pieces it consists of.
type digester struct {
	pieces []piece
	left   int64 // of pieces[len(sums)]
	hash   hash.Hash
	sums   []digest
}

func newDigester(pieces []piece) *digester {
	d := &digester{pieces: pieces, hash: sha256.New(), sums: make([]digest, 0, len(pieces))}
	if len(pieces) > 0 {
		d.left = pieces[0].size
	}
	return d
}

var zeros [64 << 10]byte

// write takes the next n bytes, which are zero when p is nil.
func (d *digester) write(p []byte, n int) {
	for n > 0 {
		d.close()
		k := int(min(int64(n), d.left))
		if p == nil {
			k = min(k, len(zeros))
			d.hash.Write(zeros[:k])
		} else {
			d.hash.Write(p[:k])
			p = p[k:]
		}
		n, d.left = n-k, d.left-int64(k)
	}
}

// close ends the pieces that are complete.
func (d *digester) close() {
	for d.left == 0 && len(d.sums) < len(d.pieces) {
		d.sums = append(d.sums, digest(d.hash.Sum(nil)))
		d.hash.Reset()
		if i := len(d.sums); i < len(d.pieces) {
			d.left = d.pieces[i].size
		}
	}
}

func (d *digester) finish() []digest {
	d.close()
	return d.sums
}

// digestPieces reads pieces, several at a time. progress may be nil.
func digestPieces(ctx context.Context, pieces []piece, progress func(int64)) ([]digest, error) {
	sums := make([]digest, len(pieces))
	g, ctx := errgroup.WithContext(ctx)
	// Past the cache nobody reads ahead: some read while others digest.
	workers, size := runtime.GOMAXPROCS(0), int(readSize)
	if len(pieces) > 0 {
		if _, ok := pieces[0].src.(*directFile); ok {
			workers, size = 2*workers, directSize
		}
	}
	g.SetLimit(workers)
	buffers := make(chan []byte, workers)
	for i, p := range pieces {
		g.Go(func() error {
			var buf []byte
			select {
			case buf = <-buffers:
			default:
				buf = make([]byte, size)
			}
			defer func() { buffers <- buf }()
			h := sha256.New()
			end := p.off + p.size
			for at := p.off; at < end; {
				if err := ctx.Err(); err != nil {
					return err
				}
				start, stop := pages(p.src, at, end, int64(len(buf)))
				if err := source.ReadFull(p.src, buf[:stop-start], start); err != nil {
					return fmt.Errorf("tensor %q: %w", p.name, err)
				}
				next := min(stop, end)
				h.Write(buf[at-start : next-start])
				if progress != nil {
					progress(next - at)
				}
				at = next
			}
			sums[i] = digest(h.Sum(nil))
			return nil
		})
	}
	return sums, g.Wait()
}

// pages returns the range to read for the bytes from at on, of at most so many:
// whole pages, where a file is read past the cache and has them.
func pages(src io.ReaderAt, at, end, most int64) (start, stop int64) {
	d, ok := src.(*directFile)
	if !ok {
		return at, min(end, at+most)
	}
	start = at / directAlign * directAlign
	stop = min(roundUp(end, directAlign), start+most)
	if stop > d.size {
		if whole := d.size / directAlign * directAlign; whole > at {
			return start, whole
		}
		return at, min(end, at+most)
	}
	return start, stop
}
