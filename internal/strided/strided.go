// Package strided reads arrays whose elements do not follow each other in their file in the
// order of their shape.
package strided

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"
	"sync"
)

const (
	blockSize  = 4 << 20  // what is gathered at once: fewer passes over the storage
	windowSize = 64 << 10 // what is read at once where elements are near each other
	windowGap  = 4 << 10  // how far they may be from each other then
)

// blocks are those that are read to their end.
var blocks = sync.Pool{New: func() any { b := make([]byte, blockSize); return &b }}

func newBlock(size int64) []byte {
	if size < blockSize {
		return make([]byte, size)
	}
	return *blocks.Get().(*[]byte)
}

// A Reader reads the elements of an array in the order of its shape, the last axis fastest. It
// may be used by several goroutines, and takes some 4 MiB.
type Reader struct {
	r    io.ReaderAt
	base int64 // of the first element in r
	elem int64
	dims []axis // from the slowest
	size int64

	mu    sync.Mutex
	block []byte
	at    int64 // of the block, a multiple of blockSize; -1 when there is none
}

// An axis is one dimension: how many steps it has, and how many bytes one is in the storage
// and in what is gathered.
type axis struct{ n, from, to int64 }

// NewReader reads an array of elements of elem bytes, whose first is at base in r. Strides are
// in elements. It has elements, and all of them are within r.
func NewReader(r io.ReaderAt, base, elem int64, shape, strides []uint64) *Reader {
	g := &Reader{r: r, base: base, elem: elem, size: elem, at: -1}
	for i := len(shape) - 1; i >= 0; i-- {
		if n := int64(shape[i]); n > 1 {
			g.dims = append(g.dims, axis{n, int64(strides[i]) * elem, g.size})
			g.size *= n
		}
	}
	slices.Reverse(g.dims)
	return g
}

// Size returns the number of bytes.
func (g *Reader) Size() int64 { return g.size }

// ReadAt reads as [io.ReaderAt] does.
func (g *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n < len(p) && off < g.size {
		if at := off - off%blockSize; at != g.at {
			if g.block == nil {
				g.block = newBlock(g.size)
			}
			g.at = -1
			if err := g.fill(&strideReader{r: g.r}, g.block[:min(blockSize, g.size-at)], g.dims, g.base, at); err != nil {
				return n, err
			}
			g.at = at
		}
		m := copy(p[n:], g.block[off-g.at:min(blockSize, g.size-g.at)])
		n += m
		off += int64(m)
	}
	if off == g.size && g.block != nil { // many may be read one after the other, and none is closed
		if block := g.block; len(block) == blockSize {
			blocks.Put(&block)
		}
		g.block, g.at = nil, -1
	}
	if n < len(p) {
		err = io.EOF
	}
	return n, err
}

// fill gathers the bytes from off on of an array of some dimensions, which begins at base.
func (g *Reader) fill(rd *strideReader, p []byte, dims []axis, base, off int64) error {
	if len(dims) == 0 {
		return rd.read(p, base)
	}
	d := dims[0]
	for len(p) > 0 {
		i, rest := off/d.to, off%d.to
		n := min(int64(len(p)), d.to-rest)
		var err error
		if whole := int64(len(p)) / d.to; rest == 0 && whole > 0 {
			n = whole * d.to
			box := slices.Concat([]axis{{whole, d.from, d.to}}, dims[1:])
			// In the order of the storage.
			slices.SortStableFunc(box, func(a, b axis) int { return cmp.Compare(b.from, a.from) })
			err = g.box(rd, p[:n], box, base+i*d.from)
		} else {
			err = g.fill(rd, p[:n], dims[1:], base+i*d.from, rest)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// box gathers all elements of some axes.
func (g *Reader) box(rd *strideReader, p []byte, axes []axis, at int64) error {
	d := axes[0]
	switch span := (d.n-1)*d.from + g.elem; {
	case len(axes) > 1:
		for i := range d.n {
			if err := g.box(rd, p[i*d.to:], axes[1:], at+i*d.from); err != nil {
				return err
			}
		}
	case d.from == g.elem && d.to == g.elem:
		return rd.read(p[:span], at)
	case span > windowSize:
		for i := range d.n {
			if err := rd.read(p[i*d.to:][:g.elem], at+i*d.from); err != nil {
				return err
			}
		}
	default:
		run, err := rd.window(at, span)
		if err != nil {
			return err
		}
		spread(p, run, d, g.elem)
	}
	return nil
}

// spread copies the elements of an axis.
func spread(to, from []byte, d axis, elem int64) {
	le := binary.LittleEndian
	for i := range d.n {
		to, from := to[i*d.to:], from[i*d.from:]
		switch elem {
		case 1:
			to[0] = from[0]
		case 2:
			le.PutUint16(to, le.Uint16(from))
		case 4:
			le.PutUint32(to, le.Uint32(from))
		default:
			copy(to[:elem], from)
		}
	}
}

// A strideReader reads small pieces that mostly follow each other, with some distance.
type strideReader struct {
	r   io.ReaderAt
	buf []byte
	at  int64 // of buf
}

func (rd *strideReader) read(p []byte, at int64) error {
	if len(p) > windowSize {
		_, err := io.ReadFull(io.NewSectionReader(rd.r, at, int64(len(p))), p)
		return err
	}
	w, err := rd.window(at, int64(len(p)))
	copy(p, w)
	return err
}

// window returns n bytes, at most windowSize, until the next call.
func (rd *strideReader) window(at, n int64) ([]byte, error) {
	end := rd.at + int64(len(rd.buf))
	if at < rd.at || at+n > end {
		want := n
		if rd.buf == nil {
			rd.buf = make([]byte, 0, windowSize)
		} else if at >= rd.at && at-end < windowGap {
			want = windowSize
		}
		got, err := rd.r.ReadAt(rd.buf[:want], at) // the file may end before the window does
		rd.buf, rd.at = rd.buf[:got], at
		if int64(got) < n {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return rd.buf[at-rd.at:][:n], nil
}
