package arrays

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

const (
	// windowSize is how much of a source is read at once where little is
	// wanted, and windowCount how many such are kept.
	windowSize  = 1 << 20
	windowCount = 8
	// stripSize is how much of a transposed matrix is made at once.
	stripSize = 32 << 20
)

// A Workspace is the memory with which the arrays of one file are read. The zero
// value is one. What reads through it, transpositions and what
// [Workspace.Tensor] returns, is for one goroutine at a time.
type Workspace struct {
	// Rounds gives the tally of an operation whose results may not bring back what it was done to, in
	// which the numbers count as inexact that do not come back. It may be nil, and its result as well.
	Rounds func(op *tensorop.Op, a *Array) *Tally

	windows []*stretch
	turn    int
	strips  []*strip
}

// A stretch is part of a source that has been read.
type stretch struct {
	src  io.ReaderAt
	off  int64
	data []byte
}

// A leaf is the bytes of a tensor in a file, read in windows.
type leaf struct {
	work      *Workspace
	src       io.ReaderAt
	off, size int64
}

// Tensor is size bytes of a file from off on, read in windows: operations take
// many small pieces of them. It does not read beyond them.
func (w *Workspace) Tensor(src io.ReaderAt, off, size int64) io.ReaderAt {
	return &leaf{w, src, off, size}
}

func (l *leaf) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || int64(len(p)) > l.size-off {
		return 0, fmt.Errorf("bytes %d to %d of a tensor of %d bytes: %w", off, off+int64(len(p)), l.size, io.ErrUnexpectedEOF)
	}
	if len(p) >= windowSize/4 {
		if err := source.ReadFull(l.src, p, l.off+off); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	for done := 0; done < len(p); {
		at := l.off + off + int64(done)
		w, err := l.work.window(l.src, at, l.off+l.size)
		if err != nil {
			return done, err
		}
		done += copy(p[done:], w.data[at-w.off:])
	}
	return len(p), nil
}

// window returns one that has the byte at a place. It does not go beyond end.
func (w *Workspace) window(src io.ReaderAt, at, end int64) (*stretch, error) {
	for _, win := range w.windows {
		if win.src == src && win.off <= at && at < win.off+int64(len(win.data)) {
			return win, nil
		}
	}
	var win *stretch
	if len(w.windows) < windowCount {
		win = &stretch{data: make([]byte, 0, windowSize)}
		w.windows = append(w.windows, win)
	} else {
		win = w.windows[w.turn]
		w.turn = (w.turn + 1) % windowCount
	}
	win.src, win.off = src, at
	win.data = win.data[:min(windowSize, end-at)]
	err := source.ReadFull(src, win.data, at)
	if err != nil {
		win.data = win.data[:0]
	}
	return win, err
}

// A strip is some rows of a transposed matrix.
type strip struct {
	of   *transposed
	off  int64 // in its bytes
	data []byte
	rows []byte // as they are read
	busy bool   // being filled
}

// strip returns one to fill: that of the array if it has one.
func (w *Workspace) strip(of *transposed) *strip {
	const most = 2
	for _, s := range w.strips {
		if s.of == of {
			return s
		}
	}
	for i, s := range w.strips {
		if !s.busy && len(w.strips) >= most {
			w.strips = append(slices.Delete(w.strips, i, i+1), s)
			s.of, s.data = of, s.data[:0]
			return s
		}
	}
	s := &strip{of: of}
	w.strips = append(w.strips, s)
	return s
}

// transpose puts axes into another order: axis i of the result is axis axes[i].
// Without axes the last two are exchanged.
func (w *Workspace) transpose(a *Array, axes []int) ([]*Array, error) {
	n := len(a.Shape)
	if len(axes) == 0 {
		if n < 2 {
			return nil, fmt.Errorf("its shape %v has no two axes to exchange", a.Shape)
		}
		for i := range n {
			axes = append(axes, i)
		}
		axes[n-2], axes[n-1] = n-1, n-2
	}
	sorted := slices.Clone(axes)
	slices.Sort(sorted)
	for i := range sorted {
		if len(axes) != n || sorted[i] != i {
			return nil, fmt.Errorf("axes of %v are not those of its shape %v", axes, a.Shape)
		}
	}
	if n > 0 && axes[n-1] != n-1 && a.Elem.Elems > 1 {
		return nil, fmt.Errorf("rows of blocks of %d %s cannot become columns", a.Elem.Elems, a.Elem.DType)
	}
	shape := make([]int64, n)
	for i, axis := range axes {
		shape[i] = a.Shape[axis]
	}
	return []*Array{a.like(shape, w.exchange(a, axes))}, nil
}

// exchange makes the bytes of a transposition out of exchanges of two
// neighbouring groups of axes, each of which is a transposition of matrices.
func (w *Workspace) exchange(a *Array, axes []int) io.ReaderAt {
	data := a.Data
	now := make([]int, len(axes)) // the axes in the order of data
	for i := range now {
		now[i] = i
	}
	product := func(list []int) int64 {
		n := int64(1)
		for _, axis := range list {
			n *= a.length(axis)
		}
		return n
	}
	for i := 0; i < len(axes); i++ {
		if now[i] == axes[i] {
			continue
		}
		// now = done, left, right, rest; right begins with the axis wanted and
		// goes on as long as its order is the one wanted.
		j := slices.Index(now, axes[i])
		k := j + 1
		for k < len(now) && i+k-j < len(axes) && now[k] == axes[i+k-j] {
			k++
		}
		data = &transposed{
			work: w, src: data, size: a.Size(),
			rows: product(now[i:j]), cols: product(now[j:k]), cell: product(now[k:]) * a.Elem.Bytes,
		}
		now = slices.Concat(now[:i], now[j:k], now[i:j], now[k:])
	}
	return data
}

// transposed is matrices of cells, each rows by cols, as cols by rows.
type transposed struct {
	work             *Workspace
	src              io.ReaderAt
	size             int64
	rows, cols, cell int64
}

func (t *transposed) ReadAt(p []byte, off int64) (int, error) {
	if t.cell >= windowSize/16 { // large cells are copied one by one
		return readPieces(p, off, t.locate)
	}
	for done := 0; done < len(p); {
		s := t.work.strip(t)
		at := off + int64(done)
		if at < s.off || at >= s.off+int64(len(s.data)) {
			if err := t.fill(s, at); err != nil {
				s.data = s.data[:0]
				return done, err
			}
		}
		done += copy(p[done:], s.data[at-s.off:])
	}
	return len(p), nil
}

func (t *transposed) locate(off int64) (io.ReaderAt, int64, int64) {
	cell, in := off/t.cell, off%t.cell
	m, i := cell/(t.rows*t.cols), cell%(t.rows*t.cols)
	c, r := i/t.rows, i%t.rows
	return t.src, ((m*t.rows+r)*t.cols+c)*t.cell + in, t.cell - in
}

// fill makes the strip that has the byte at off: whole matrices where they are
// small, whole columns of one where those are, part of a column otherwise.
func (t *transposed) fill(s *strip, off int64) error {
	if off >= t.size {
		return io.ErrUnexpectedEOF
	}
	s.busy = true
	defer func() { s.busy = false }()
	room := int64(stripSize)
	if all := min(room, t.size); int64(cap(s.data)) < all {
		s.data = make([]byte, all)
	}
	matrix, column := t.rows*t.cols*t.cell, t.rows*t.cell
	m, in := off/matrix, off%matrix
	c := in / column
	r, nr, nc, nm := int64(0), t.rows, int64(1), int64(1)
	switch {
	case matrix <= room:
		c, nc, nm = 0, t.cols, min(room, t.size-m*matrix)/matrix
	case column <= room:
		nc = min(room/column, t.cols-c)
	default:
		r = in % column / t.cell
		nr = min(room/t.cell, t.rows-r)
	}
	s.off = m*matrix + c*column + r*t.cell
	s.data = s.data[:nm*nr*nc*t.cell]
	// Rows are read several at a time, so that the columns are written in runs.
	line := nc * t.cell
	const most = 64
	batch := max(1, min(most, nr, windowSize/max(1, line)))
	if int64(len(s.rows)) < batch*line {
		s.rows = make([]byte, batch*line)
	}
	buf := s.rows
	src := t.src
	if l, ok := src.(*leaf); ok && line >= 512 {
		// Windows would read what lies between the pieces, too.
		src = &strided{l.src, l.off, t.size, t.size}
	}
	for i := range nm {
		matrix := s.data[i*nr*nc*t.cell:]
		for done := int64(0); done < nr; done += batch {
			n := min(batch, nr-done)
			first := (((m+i)*t.rows+r+done)*t.cols + c) * t.cell
			if nc == t.cols {
				if err := source.ReadFull(t.src, buf[:n*line], first); err != nil {
					return err
				}
			} else {
				for k := range n {
					if err := source.ReadFull(src, buf[k*line:(k+1)*line], first+k*t.cols*t.cell); err != nil {
						return err
					}
				}
			}
			putColumns(matrix[done*t.cell:], buf, int(n), int(nc), int(nr), int(t.cell))
		}
	}
	return nil
}

// putColumns writes n rows of nc cells as columns. The columns of dst are
// so many cells apart.
func putColumns(dst, src []byte, n, nc, apart, cell int) {
	// A few rows at a time: their lengths are often powers of two, and many of
	// them would push each other out of the cache.
	const rows = 8
	for from := 0; from < n; from += rows {
		to := min(n, from+rows)
		switch cell {
		case 1:
			for c := range nc {
				d := dst[c*apart+from:][:to-from]
				for i := range d {
					d[i] = src[(from+i)*nc+c]
				}
			}
		case 2:
			for c := range nc {
				d := dst[(c*apart+from)*2:][:(to-from)*2]
				for i, k := 0, (from*nc+c)*2; i < len(d); i, k = i+2, k+nc*2 {
					binary.LittleEndian.PutUint16(d[i:], binary.LittleEndian.Uint16(src[k:]))
				}
			}
		case 4:
			for c := range nc {
				d := dst[(c*apart+from)*4:][:(to-from)*4]
				for i, k := 0, (from*nc+c)*4; i < len(d); i, k = i+4, k+nc*4 {
					binary.LittleEndian.PutUint32(d[i:], binary.LittleEndian.Uint32(src[k:]))
				}
			}
		default:
			for c := range nc {
				d := dst[(c*apart+from)*cell:][:(to-from)*cell]
				for i, k := 0, (from*nc+c)*cell; i < len(d); i, k = i+cell, k+nc*cell {
					copy(d[i:i+cell], src[k:k+cell])
				}
			}
		}
	}
}

// repack takes blocks and scales to ggml's blocks, or back.
func repack(in []*Array, op *tensorop.Op) ([]*Array, error) {
	const block, scaled = 16, 17
	for _, a := range in {
		if a.Elem.Bytes != 1 || a.Elem.Elems != 1 {
			return nil, fmt.Errorf("MXFP4 is repacked as bytes, and this is %s", a.Elem.DType)
		}
	}
	switch {
	case op.From == tensorop.MXFP4Blocks && op.To == tensorop.MXFP4GGML && len(in) == 2:
		b, s := in[0], in[1]
		n := len(b.Shape)
		if n == 0 || b.Shape[n-1] != block || !slices.Equal(b.Shape[:n-1], s.Shape) {
			return nil, fmt.Errorf("shapes %v and %v are not those of blocks of %d bytes and their scales", b.Shape, s.Shape, block)
		}
		w := &weave{}
		w.add(s.Data, 1)
		w.add(&nibbles{b.Data, true}, block)
		out, err := newArray(b.withAxis(n-1, scaled), b.Elem, w)
		return []*Array{out}, err
	case op.From == tensorop.MXFP4GGML && op.To == tensorop.MXFP4Blocks && len(in) == 1:
		g := in[0]
		n := len(g.Shape)
		if n == 0 || g.Shape[n-1] != scaled {
			return nil, fmt.Errorf("the shape %v is not that of blocks of %d bytes", g.Shape, scaled)
		}
		return []*Array{
			g.like(g.withAxis(n-1, block), &nibbles{&strided{g.Data, 1, block, scaled}, false}),
			g.like(slices.Clone(g.Shape[:n-1]), &strided{g.Data, 0, 1, scaled}),
		}, nil
	}
	return nil, errors.New("MXFP4 is repacked from blocks and scales to ggml's blocks, or back")
}

// nibbles is blocks of 32 four-bit values: from value 2i in the low half of
// byte i and 2i+1 in its high half, to value i in the low half and i+16 in the
// high half, or back.
type nibbles struct {
	src   io.ReaderAt
	apart bool
}

func (b *nibbles) ReadAt(p []byte, off int64) (int, error) {
	var in [16]byte
	for done := 0; done < len(p); {
		at := off + int64(done)
		if err := source.ReadFull(b.src, in[:], at/16*16); err != nil {
			return done, err
		}
		for i := int(at % 16); i < 16 && done < len(p); i++ {
			value := func(k int) byte { return in[k/2] >> (k % 2 * 4) & 15 }
			lo, hi := value(i), value(i+16)
			if !b.apart {
				value = func(k int) byte { return in[k%16] >> (k / 16 * 4) & 15 }
				lo, hi = value(2*i), value(2*i+1)
			}
			p[done] = lo | hi<<4
			done++
		}
	}
	return len(p), nil
}
