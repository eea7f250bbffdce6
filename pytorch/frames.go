package pytorch

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"
	"sort"
)

// A pickler of protocol 4 writes opcodes in frames (PEP 3154), each whole in one. Where one is not,
// Python's unpicklers see different programs:
//
//   - the one in C (Modules/_pickle.c) takes a frame from a file at once. When the rest of it is shorter
//     than what is read next, it drops that rest and reads behind the frame (_Unpickler_ReadImpl,
//     _Unpickler_Readline). torch.load has it read data.pkl like that, from an io.BytesIO. Bytes it
//     puts together of both since Python 3.8 (_Unpickler_ReadInto);
//   - of a string, and mostly of a file with a method peek, it reads straight on, as this package does;
//   - the one in Python (Lib/pickle.py, _Unframer) refuses it.

// crossing returns where the first part of the opcode at pos begins that an unpickler reads at once, and that
// is in a frame and beyond its end. joined is true for bytes that are put together.
func (w *window) crossing(pos, frame int, joined bool) (at int, ok bool) {
	if frame <= pos {
		return 0, false
	}
	b, err := w.view(pos, 1)
	if err != nil {
		return 0, false
	}
	op := b[0]
	kind := opcodes[op]
	at = pos + 1
	for range kind.lines {
		if at >= frame {
			return 0, false
		}
		i := w.newline(at, frame)
		if i < 0 {
			return at, true
		}
		at = i + 1
	}
	n := uint64(kind.bytes)
	if kind.length > 0 {
		if at < frame && at+int(kind.length) > frame {
			return at, true
		}
		if b, err = w.view(at, int(kind.length)); err != nil {
			return 0, false
		}
		n = littleEndian(b)
		at += int(kind.length)
	}
	past := func(n uint64) bool { return at < frame && n > uint64(frame-at) }
	switch op {
	case opBinBytes, opShortBinBytes, opBinBytes8, opByteArray8:
		return at, past(n) && !joined
	case opFrame:
		if past(n) {
			return at, true
		}
		if b, err = w.view(at, 8); err != nil {
			return 0, false
		}
		n, at = binary.LittleEndian.Uint64(b), at+8
		return at, past(min(n, uint64(w.size-int64(at)))) // the unpickler in Python takes what there is
	}
	return at, past(n)
}

// newline returns where the first newline from at on is, -1 for none before end.
func (w *window) newline(at, end int) int {
	for at < end {
		b, err := w.view(at, min(piece, end-at))
		if err != nil {
			return -1
		}
		if i := bytes.IndexByte(b, '\n'); i >= 0 {
			return at + i
		}
		at += len(b)
	}
	return -1
}

// frameEnd returns where a frame ends whose header, with that operand, ends at pos.
func (w *window) frameEnd(arg []byte, pos int) int {
	return pos + int(min(binary.LittleEndian.Uint64(arg), uint64(w.size-int64(pos))))
}

// maxDrops bounds how often a frame is left before its end, as it never is.
const maxDrops = 1000

// A reading is a pickle as the unpickler in C takes it from a file without a method peek.
type reading struct {
	w     *window // from the pickle on, without what is dropped
	drops []drop
}

// A drop is where something is dropped: from at on, what is read is that much further on.
type drop struct{ at, skip int64 }

// place returns where a byte of the reading is in what it is a reading of.
func (g *reading) place(pos int64) int64 {
	if i := g.before(pos); i > 0 {
		pos += g.drops[i-1].skip
	}
	return pos
}

// before returns how many drops are up to a place.
func (g *reading) before(pos int64) int {
	return sort.Search(len(g.drops), func(i int) bool { return g.drops[i].at > pos })
}

// A splice reads what a reading has of a file.
type splice struct {
	r io.ReaderAt
	*reading
}

func (s splice) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		part := p[n:]
		if i := s.before(off); i < len(s.drops) {
			part = part[:min(int64(len(part)), s.drops[i].at-off)]
		}
		k, err := s.r.ReadAt(part, s.place(off))
		n, off = n+k, off+int64(k)
		if k < len(part) {
			return n, err
		}
	}
	return n, nil
}

// framed returns how the unpickler in C reads the pickle at pos from a file. Where that ends, or breaks
// off, it also returns how much of the window the unpickler has taken. joined is true for Python 3.8 and newer.
func (w *window) framed(pos int, joined bool) (g *reading, taken int64, err error) {
	rest := w.from(int64(pos))
	var r io.ReaderAt = bytes.NewReader(rest.buf)
	if rest.r != nil {
		r = io.NewSectionReader(rest.r, rest.off, rest.size)
	}
	g = &reading{}
	g.w = &window{r: splice{r, g}, size: rest.size, base: -1, perByte: w.perByte}
	for p, frame := 0, 0; ; {
		if at, ok := g.w.crossing(p, frame, joined); ok {
			if len(g.drops) == maxDrops {
				return nil, 0, newFault(CodeLimit, -1, "", "the pickle leaves its frames before their ends more than %d times: what it is then is not judged", maxDrops)
			}
			skip := int64(frame - at)
			g.w.size -= skip
			g.w.buf = nil
			if n := len(g.drops); n > 0 {
				skip += g.drops[n-1].skip
			}
			g.drops = append(g.drops, drop{int64(at), skip})
			frame = at
			continue
		}
		op, arg, next, err := g.w.next(p)
		if _, broken := err.(*Fault); broken {
			return g, g.place(int64(max(p, frame))), nil
		} else if err != nil {
			return nil, 0, err
		}
		if op == opFrame {
			frame = max(frame, g.w.frameEnd(arg, next))
		}
		if op == opStop {
			return g, g.place(int64(max(next, frame))), nil
		}
		p = next
	}
}

// readings returns the readings of a pickle that differ from what is read straight on, and how much of the
// window each has taken.
func (w *window) readings(pos int) (list []*reading, taken []int64, err error) {
	for _, joined := range []bool{true, false} {
		g, n, err := w.framed(pos, joined)
		if err != nil {
			return list, taken, err
		}
		if len(g.drops) > 0 && !slices.ContainsFunc(list, func(o *reading) bool { return slices.Equal(o.drops, g.drops) }) {
			list, taken = append(list, g), append(taken, n)
		}
	}
	return list, taken, nil
}
