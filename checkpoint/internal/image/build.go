package image

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/internal/txn"
)

// An Image is the content of a file to be: a header, and the data behind it.
type Image struct {
	Header []byte
	Size   int64
	Pieces []Piece // in the order of their places; what they leave out is zero
	Clone  *Clone  // shares the data instead of writing the pieces
}

// A Piece is bytes of a new file and where they come from: a tensor, or what
// lies between two of them.
type Piece struct {
	Name      string // the tensor, or ""
	Src       io.ReaderAt
	Off, Size int64 // in Src
	At        int64 // from the start of the new file's data
	// Watch is told what is read of Src; nil for nobody. It must be comparable.
	Watch Watcher
}

// A Watcher is told the bytes that are read of a file, or that they are zeros, with their place in it. Its
// error ends the copy.
type Watcher interface {
	Saw(p []byte, off int64) error
	SawZeros(off, n int64) error
}

// A Clone is a range of whole blocks that a new file shares with an old one.
// The header is written over its first block.
type Clone struct {
	Src            txn.File
	SrcOff, Off, N int64
}

const (
	// IOSize is the unit of a copy: larger ones were measured to be no faster.
	IOSize = 8 << 20
	// behind is how far behind the copy the new file leaves the cache.
	behind = 64 << 20
	// readSize is the unit of a digest: a block of it stays in the
	// processor's cache between the read and the digest.
	readSize = 256 << 10
	// directSize is the same past the cache, where a disk wants more at once.
	directSize = 2 << 20
)

// Build writes a file of that name in dir, which must not exist, with the owner
// and permissions of another one, where there is one, and makes its content durable.
// The sums are those of what was read, nil for [NoDigests]. progress may be nil.
func Build(ctx context.Context, dir txn.Dir, name string, img Image, like txn.File, digests Algorithm, progress func(int64)) (sums *Sums, err error) {
	size := img.Size
	if img.Clone != nil {
		size = 0 // of which nothing is written but the header
	}
	perm := fs.FileMode(0o666)
	if like != nil {
		perm = 0o600
	}
	f, err := Open(size, func(flag int) (txn.File, error) {
		if flag == 0 {
			flag = os.O_CREATE | os.O_EXCL
		}
		return txn.Open(dir, name, os.O_RDWR|flag, perm)
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := txn.Retry(func() error { return f.Truncate(img.Size) }); err != nil {
		return nil, err
	}
	if c := img.Clone; c != nil {
		if err := txn.Retry(func() error { return f.Clone(c.Src, c.SrcOff, c.Off, c.N) }); err != nil {
			return nil, err
		}
	} else if sums, err = copyPieces(ctx, f, img, digests, progress); err != nil {
		return nil, err
	}
	if err := txn.WriteFull(f, img.Header, 0); err != nil {
		return nil, err
	}
	if d, ok := like.(*directFile); ok {
		like = d.File
	}
	if like != nil {
		if err := txn.Retry(func() error { return f.Adopt(like) }); err != nil {
			return nil, err
		}
	}
	return sums, txn.Sync(f)
}

// What a copy has of each: one block is read and digested while others are written. Past
// the cache a disk is faster with two writes at a time.
const buffers, writers = 4, 2

// A memory is kept from one copy, or comparison, for the next of either: they follow each other.
type memory struct{ bytes []byte }

var memories = sync.Pool{New: func() any { return new(memory) }}

func (m *memory) room(n int) []byte {
	if len(m.bytes) < n {
		m.bytes = make([]byte, n)
	}
	return m.bytes[:n]
}

// A block is bytes on their way from a source to the new file.
type block struct {
	buf  []byte // nil: a hole
	n    int
	at   int64        // in the new file
	off  int64        // in the source
	by   Watcher      // of the source
	mem  *memory      // what buf is part of
	left atomic.Int32 // of those who read buf
}

// copyPieces writes the pieces. It reads ahead, and digests meanwhile.
func copyPieces(ctx context.Context, f txn.File, img Image, digests Algorithm, progress func(int64)) (*Sums, error) {
	base := int64(len(img.Header))
	runs := join(img.Pieces)
	holes := findHoles(runs)
	if img.Size > base && !holes.any() {
		if err := txn.Retry(func() error { return f.Allocate(img.Size) }); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return nil, err
		}
	}

	blocks, free := make(chan *block), make(chan *memory, buffers)
	for range buffers {
		free <- memories.Get().(*memory)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var others errgroup.Group
	others.Go(func() error {
		defer close(blocks)
		return readRuns(ctx, runs, base, holes, blocks, free)
	})
	done := func(b *block) {
		if b.left.Add(-1) == 0 && b.buf != nil {
			free <- b.mem
		}
	}
	var sums *digester
	if digests != NoDigests {
		sums = newDigester(img.Pieces, digests)
	}
	toDigest, toWrite := make(chan *block, buffers), make(chan *block)
	others.Go(func() error {
		var failure error
		for b := range toDigest {
			switch {
			case sums == nil:
			case b.buf == nil:
				sums.hole(b.at-base, b.n)
			default:
				sums.write(b.buf)
			}
			if failure == nil {
				if failure = b.watch(); failure != nil {
					cancel(failure)
				}
			}
			done(b)
		}
		return failure
	})
	for range writers {
		others.Go(func() error {
			var failure error
			for b := range toWrite {
				if failure == nil {
					if failure = writeBlock(f, b); failure != nil {
						cancel(failure)
					} else if progress != nil {
						progress(int64(b.n))
					}
				}
				done(b)
			}
			return failure
		})
	}
	for b := range blocks {
		b.left.Store(2)
		toDigest <- b
		toWrite <- b
	}
	close(toDigest)
	close(toWrite)
	if err := others.Wait(); err != nil {
		return nil, err
	}
	for range buffers {
		memories.Put(<-free)
	}
	if sums == nil {
		return nil, nil
	}
	return sums.finish(), nil
}

// watch tells who watches the source what was read of it.
func (b *block) watch() error {
	switch {
	case b.by == nil:
		return nil
	case b.buf == nil:
		return b.by.SawZeros(b.off, int64(b.n))
	}
	return b.by.Saw(b.buf, b.off)
}

// writeBlock writes a block, and sees to it that the new file does not fill the cache.
func writeBlock(f txn.File, b *block) error {
	if b.buf == nil {
		return nil
	}
	if err := txn.WriteFull(f, b.buf, b.at); err != nil {
		return err
	}
	f.WriteOut(b.at, int64(b.n))
	if b.at > behind {
		f.Drop(b.at-behind, int64(b.n))
	}
	return nil
}

// readRuns reads the runs in blocks that end at multiples of IOSize in the new file.
func readRuns(ctx context.Context, runs []Piece, base int64, holes holes, blocks chan<- *block, free <-chan *memory) error {
	for _, r := range runs {
		if err := readRun(ctx, r, base, holes, blocks, free); err != nil {
			return err
		}
	}
	return nil
}

func readRun(ctx context.Context, r Piece, base int64, holes holes, blocks chan<- *block, free <-chan *memory) error {
	src, release, err := open(r.Src)
	if err != nil {
		return err
	}
	defer release()
	holes.look(r.Src, src)
	for done := int64(0); done < r.Size; {
		b := &block{at: base + r.At + done, off: r.Off + done, by: r.Watch}
		n, hole := holes.next(r.Src, r.Off+done, min(r.Size-done, IOSize-b.at%IOSize))
		b.n = int(n)
		if !hole {
			select {
			case b.mem = <-free:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			// A byte is as far into its page in memory as in the file.
			into := int(b.at % directAlign)
			mem := b.mem.room(max(b.n, int(min(IOSize, r.Size))) + 2*directAlign)
			if b.buf, err = readBlock(src, mem, r.Off+done, b.n, into); err != nil {
				return err
			}
		}
		select {
		case blocks <- b:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		done += int64(b.n)
	}
	return nil
}

// join makes one piece of neighbours that stay neighbours.
func join(pieces []Piece) []Piece {
	var out []Piece
	for _, p := range pieces {
		if n := len(out); n > 0 {
			l := &out[n-1]
			if l.Src == p.Src && l.Watch == p.Watch && l.Off+l.Size == p.Off && l.At+l.Size == p.At {
				l.Size += p.Size
				continue
			}
		}
		out = append(out, p)
	}
	return out
}

// holes are the sparse files of a copy, with what is not a hole once it is known,
// so that a copy is as sparse as its source.
type holes map[io.ReaderAt][]txn.Extent

// findHoles looks for sparse files.
func findHoles(runs []Piece) holes {
	h := make(holes)
	for _, r := range runs {
		switch f := r.Src.(type) {
		case *Source:
			h.note(f, f.Stat)
		case txn.File:
			if st, err := f.Stat(); err == nil {
				h.note(f, st)
			}
		}
	}
	return h
}

func (h holes) note(src io.ReaderAt, st txn.Stat) {
	if st.Allocated < st.Size {
		h[src] = nil
	}
}

// look finds out where the holes of a file are that has some. src is what runs call
// it, and f the same, open.
func (h holes) look(src, f io.ReaderAt) {
	if m, sparse := h[src]; !sparse || m != nil {
		return
	}
	m, err := f.(txn.File).Extents()
	if err != nil {
		delete(h, src)
		return
	}
	h[src] = append([]txn.Extent{}, m...)
}

func (h holes) any() bool { return len(h) > 0 }

// leastHole is the size from which a hole is worth a write of its own on each side.
const leastHole = 1 << 20

// next says how many of the next n bytes are alike, a hole or not.
func (h holes) next(src io.ReaderAt, off, n int64) (k int64, hole bool) {
	m, sparse := h[src]
	if !sparse {
		return n, false
	}
	i, _ := slices.BinarySearchFunc(m, off, func(e txn.Extent, off int64) int {
		if e.End <= off {
			return -1
		}
		return 1
	})
	switch {
	case i == len(m) || m[i].Start >= off+n:
		return n, true
	case m[i].Start-off >= leastHole:
		return m[i].Start - off, true
	}
	end := m[i].End
	for i++; i < len(m) && m[i].Start-end < leastHole; i++ {
		end = m[i].End
	}
	if off+n-end < leastHole {
		return n, false
	}
	return end - off, false
}
