package render

// A memo keeps the texts of numbers and of shapes for when they come again: the
// tensors of a model have few different ones. Each has one place to be in.
type memo struct {
	places [1 << memoBits]memoPlace
	other  []byte
}

const memoBits = 6

type memoPlace struct {
	kind kind
	rank uint8
	size uint8
	dims [2]uint64 // of a shape; a number is the first
	text [48]byte  // which two dimensions of twenty digits fill nearly
}

// human is [Cell.appendHuman] for a pipe. The text is valid until the next call.
func (m *memo) human(c *Cell) (text []byte, plain bool) {
	var dims [2]uint64
	rank := 0
	switch {
	case c.kind == unsigned || c.kind == size:
		dims[0] = c.n
	case c.kind == shape && len(c.list) <= len(dims):
		rank = copy(dims[:], c.list)
	default:
		m.other, plain = c.appendHuman(m.other[:0], false)
		return m.other, plain
	}
	p := &m.places[(dims[0]+dims[1]<<16+uint64(c.kind))*0x9e3779b97f4a7c15>>(64-memoBits)]
	if p.dims != dims || p.kind != c.kind || int(p.rank) != rank {
		p.dims, p.kind, p.rank = dims, c.kind, uint8(rank)
		text, _ = c.appendHuman(p.text[:0], false)
		p.size = uint8(len(text))
	}
	return p.text[:p.size], true
}
