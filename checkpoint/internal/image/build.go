package image

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
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
// The sums are those of what was read, nil unless asked for. progress may be nil.
func Build(ctx context.Context, dir txn.Dir, name string, img Image, like txn.File, digests bool, progress func(int64)) (sums *Sums, err error) {
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

// A block is bytes on their way from a source to the new file.
type block struct {
	buf  []byte // nil: a hole
	n    int
	at   int64        // in the new file
	mem  []byte       // what buf is part of
	left atomic.Int32 // of those who read buf
}

// copyPieces writes the pieces. It reads ahead, and digests behind.
func copyPieces(ctx context.Context, f txn.File, img Image, digests bool, progress func(int64)) (*Sums, error) {
	base := int64(len(img.Header))
	runs := join(img.Pieces)
	holes := findHoles(runs)
	if img.Size > base && !holes.any() {
		if err := txn.Retry(func() error { return f.Allocate(img.Size) }); err != nil && !errors.Is(err, errors.ErrUnsupported) {
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
		sums, toDigest = newDigester(img.Pieces), make(chan *block, buffers)
		others.Go(func() error {
			for b := range toDigest {
				if b.buf == nil {
					sums.hole(b.at-base, b.n)
				} else {
					sums.write(b.buf)
				}
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

// readRuns reads the runs in blocks that end at multiples of IOSize in the new file.
func readRuns(ctx context.Context, runs []Piece, base int64, holes holes, blocks chan<- *block, free <-chan []byte) error {
	for _, r := range runs {
		if err := readRun(ctx, r, base, holes, blocks, free); err != nil {
			return err
		}
	}
	return nil
}

func readRun(ctx context.Context, r Piece, base int64, holes holes, blocks chan<- *block, free <-chan []byte) error {
	src, release, err := open(r.Src)
	if err != nil {
		return err
	}
	defer release()
	holes.look(r.Src, src)
	for done := int64(0); done < r.Size; {
		b := &block{at: base + r.At + done}
		n, hole := holes.next(r.Src, r.Off+done, min(r.Size-done, IOSize-b.at%IOSize))
		b.n = int(n)
		if !hole {
			select {
			case b.mem = <-free:
			case <-ctx.Done():
				return ctx.Err()
			}
			// A byte is as far into its page in memory as in the file.
			into := int(b.at % directAlign)
			if room := max(b.n, int(min(IOSize, r.Size))) + 2*directAlign; len(b.mem) < room {
				b.mem = make([]byte, room)
			}
			if b.buf, err = readBlock(src, b.mem, r.Off+done, b.n, into); err != nil {
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
	return nil
}

// join makes one piece of neighbours that stay neighbours.
func join(pieces []Piece) []Piece {
	var out []Piece
	for _, p := range pieces {
		if n := len(out); n > 0 {
			l := &out[n-1]
			if l.Src == p.Src && l.Off+l.Size == p.Off && l.At+l.Size == p.At {
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
