package evidence

// A view is how a tensor is read and compared: rows that are contiguous in the file, taken
// as a matrix whose columns are what training could number in any order: the channels of the
// residual stream, heads' outputs, units of an MLP. The statistic of a pair rests on that
// (see likeness).
type view struct {
	rows, row int64 // how many, and of how many elements
	// kernel is how many elements of a row belong to one column, as in a convolution of
	// [out, in, 3, 3]: neighbouring pixels are not in any order, and count as rows.
	kernel int64
	// turned says that the rows are the columns: they are many, and too short to compare.
	turned bool
	vector bool
}

const (
	// narrow is the longest row that is turned: a depthwise convolution has rows of 4, and
	// A_log of Mamba of 16.
	narrow = 16
	// mostVector bounds what is read of a vector, in elements.
	mostVector = 1 << 20
)

// viewOf returns how to look at a shape. Axes of length 1 are of no account. It has no rows
// where there is nothing to compare.
func viewOf(shape []uint64) view {
	var dims []int64
	for _, d := range shape {
		if d == 0 || d > 1<<48 {
			return view{}
		}
		if d > 1 {
			dims = append(dims, int64(d))
		}
	}
	product := func(list []int64) int64 {
		n := int64(1)
		for _, d := range list {
			n *= d // the bytes of the tensor exist, so that the product fits
		}
		return n
	}
	n := len(dims)
	if n < 2 {
		// Block types cut vectors into blocks, and the vectors that matter are one row.
		return view{rows: 1, row: min(product(dims), mostVector), kernel: 1, vector: true}
	}
	v := view{rows: product(dims[:n-1]), row: dims[n-1], kernel: 1}
	if isKernel(dims) {
		v.rows, v.row, v.kernel = dims[0], product(dims[1:]), product(dims[2:])
	}
	if v.kernel == 1 && v.row <= narrow && v.rows > v.row {
		v.turned = true
	}
	return v
}

// isKernel tells a convolution, [out, in, …] with short axes at the end, from a stack of
// matrices.
func isKernel(dims []int64) bool {
	if len(dims) < 3 {
		return false
	}
	for _, d := range dims[2:] {
		if d > narrow {
			return false
		}
	}
	return true
}

// sample returns n rows of the middle: those around rows/2, and those around the boundary nearest
// to it of the largest runs of a power of two that the rows consist of. Where the rows are those
// of heads, one of the two is a boundary between heads, and the last row of a head and the first
// of the next are in the same place whether rotary embedding pairs rows as neighbours or
// as halves. So weights are recognised in spite of it.
func (v *view) sample(n int64) []span {
	if v.rows <= n {
		return []span{{0, v.rows}}
	}
	half := v.rows / 2
	run := v.rows & -v.rows
	other := v.rows / run / 2 * run
	if other == half || other == 0 {
		return []span{around(half, n, v.rows)}
	}
	first, second := around(min(half, other), n/2, v.rows), around(max(half, other), n/2, v.rows)
	if first.start+first.n >= second.start {
		return []span{around(half, n, v.rows)}
	}
	return []span{first, second}
}

// around is n of the rows, as many before a place as from it on.
func around(at, n, rows int64) span {
	return span{max(0, min(at-n/2, rows-n)), min(n, rows)}
}

// spread returns about n rows in blocks of equal length, spread evenly.
func (v *view) spread(n, blocks int64) []span {
	if v.rows <= n {
		return []span{{0, v.rows}}
	}
	each := n / blocks
	var out []span
	for i := range blocks {
		out = append(out, span{i * (v.rows - each) / (blocks - 1), each})
	}
	return out
}

// A block is numbers as a matrix.
type block struct {
	rows, cols int
	v          []float64
}

func (b *block) row(i int) []float64 { return b.v[i*b.cols : (i+1)*b.cols] }

// blockOf takes rows of a tensor as the view has them.
func (v *view) blockOf(data []float64) *block {
	switch {
	case v.turned:
		b := &block{rows: int(v.row), cols: len(data) / int(v.row)}
		return b.take(data, b.cols)
	case v.kernel > 1:
		k, cols := int(v.kernel), int(v.row/v.kernel)
		b := &block{rows: len(data) / cols, cols: cols, v: make([]float64, len(data))}
		for i := range data {
			row, in := i/int(v.row), i%int(v.row)
			b.v[(row*k+in%k)*cols+in/k] = data[i]
		}
		return b
	}
	return &block{rows: len(data) / int(v.row), cols: int(v.row), v: data}
}

// take fills the block with the columns that data has as its rows, one after the other.
func (b *block) take(data []float64, n int) *block {
	b.v = make([]float64, len(data))
	for i := range n {
		for j := range b.rows {
			b.v[j*b.cols+i] = data[i*b.rows+j]
		}
	}
	return b
}
