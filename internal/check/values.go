package check

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash/maphash"
	"io"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
)

// measures is what the rules that read values know of a checkpoint's tensors,
// found in one pass over the data.
type measures struct {
	tensors []measure
	// rows is of the token embedding, nil when it is not known or was not read.
	rows *rowWatch
	// embedding is the index of the tensor that rows is of.
	embedding int
}

// A measure is what is known of one tensor's values. It is the zero value for
// one without data here, or whose type has no numbers that are known.
type measure struct {
	err error // the data cannot be read, and nothing else is known

	count, nan, posInf, negInf, zeros uint64

	min, max    float64 // of the finite numbers; NaN without any
	distinct    int64   // -1 when it is not known
	sha256      [sha256.Size]byte
	fingerprint values.Fingerprint
}

func (v *measure) finite() uint64 { return v.count - v.nan - v.posInf - v.negInf }

// zero reports that there are numbers and all are zero.
func (v *measure) zero() bool { return v.count > 0 && v.zeros == v.count }

// constant reports that there are several numbers, all the same, and not zero.
func (v *measure) constant() bool {
	return v.count > 1 && v.finite() == v.count && v.min == v.max && v.zeros == 0
}

// measure reads the data of a checkpoint. An interruption leaves out what
// was not read; Run reports it.
func (m *model) measure(ctx context.Context, opts *Options) *measures {
	out := &measures{tensors: make([]measure, m.Len()), embedding: -1}
	if _, i, ok := m.one("embed.tokens.weight"); ok {
		out.embedding = i
	}
	var sections []values.Section
	var of []int
	// Tensors that overlap would have few bytes read very often.
	left := make([]int64, len(m.Files))
	for k, f := range m.Files {
		left[k] = f.Size - f.DataOffset
	}
	for i, t := range m.All() {
		if t.File < 0 || m.Files[t.File].Missing || m.Files[t.File].Err != nil {
			continue // a finding of its own
		}
		section, err := values.SectionOf(m.Checkpoint, i)
		switch {
		case err != nil:
			out.tensors[i].err = err
			continue
		case section.Type == nil:
			continue
		case section.Data.Size() > left[t.File] && m.Format != checkpoint.PyTorch && m.Format != checkpoint.NumPy: // of which Data says so
			out.tensors[i].err = errOverlap
			continue
		}
		left[t.File] -= section.Data.Size()
		if i == out.embedding && len(t.Shape) == 2 && t.Shape[0] > 0 && t.Shape[0] <= maxRows && uint64(section.Data.Size())%t.Shape[0] == 0 {
			out.rows = newRowWatch(section.Data, t.Shape[0])
			_, base, size := section.Data.Outer()
			section.Data = io.NewSectionReader(out.rows, base, size)
		}
		sections, of = append(sections, section), append(of, i)
	}
	options := values.Options{Workers: opts.Workers, Stats: &values.StatsOptions{}, SHA256: true, Progress: opts.Progress}
	_ = values.Run(ctx, sections, options, func(k int, r *values.Result) error {
		v := &out.tensors[of[k]]
		if opts.Measured != nil {
			opts.Measured(m.Checkpoint, of[k], r)
		}
		if v.err = r.Err; r.Err != nil {
			return nil
		}
		st := r.Stats
		*v = measure{
			count: st.Count, nan: st.NaN, posInf: st.PosInf, negInf: st.NegInf, zeros: st.Zeros, min: st.Min, max: st.Max,
			distinct: st.Distinct, sha256: r.SHA256, fingerprint: st.Fingerprint,
		}
		return nil
	})
	return out
}

var errOverlap = errors.New("the tensors of the file overlap, and are more than its bytes")

// unread is what a finding says of data that could not be read, without the
// tensor's name.
func unread(err error) string {
	if e, ok := errors.AsType[*values.ReadError](err); ok {
		return fmt.Sprintf("byte %d of the file: %v", e.Offset, e.Err)
	}
	if f, ok := errors.AsType[*checkpoint.Fault](err); ok {
		return f.Detail
	}
	return err.Error()
}

// maxRows bounds the vocabularies whose rows are looked at, since every row
// costs memory. Those in use have up to 262,144.
const maxRows = 1 << 20

// A rowWatch reads the bytes of a matrix and takes the hash of every row as
// they pass. They must pass once and in order, as they do where digests are
// taken; otherwise it knows nothing.
type rowWatch struct {
	file   io.ReaderAt
	rows   uint64
	length int64 // of a row, in bytes
	begin  int64 // where the matrix is in the file
	next   int64 // where reading goes on, -1 when bytes passed out of order
	hash   maphash.Hash
	hashes []uint64 // of the rows that are complete
}

func newRowWatch(data *io.SectionReader, rows uint64) *rowWatch {
	file, begin, size := data.Outer()
	return &rowWatch{file: file, rows: rows, length: size / int64(rows), begin: begin, next: begin}
}

func (w *rowWatch) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.file.ReadAt(p, off)
	if off != w.next || w.length == 0 {
		w.next = -1
		return n, err
	}
	for b := p[:n]; len(b) > 0; {
		k := min(int64(len(b)), w.length-(w.next-w.begin)%w.length)
		w.hash.Write(b[:k])
		b = b[k:]
		if w.next += k; (w.next-w.begin)%w.length == 0 {
			w.hashes = append(w.hashes, w.hash.Sum64())
			w.hash.Reset()
		}
	}
	return n, err
}

// equal returns the size of the largest set of rows that are the same, the
// first of them, and whether they are zeros; n is 0 when not all rows were seen.
func (w *rowWatch) equal() (n, first int, zero bool) {
	if uint64(len(w.hashes)) != w.rows || w.next < 0 {
		return 0, 0, false
	}
	type set struct{ n, first int }
	sets := make(map[uint64]set, len(w.hashes))
	for i, h := range w.hashes {
		s, ok := sets[h]
		if !ok {
			s.first = i
		}
		s.n++
		sets[h] = s
		if s.n > n || s.n == n && s.first < first {
			n, first = s.n, s.first
		}
	}
	w.hash.Reset()
	for left := w.length; left > 0; {
		var zeros [4096]byte
		k := min(left, int64(len(zeros)))
		w.hash.Write(zeros[:k])
		left -= k
	}
	return n, first, w.hash.Sum64() == w.hashes[first]
}

// isInteger reports whether a dtype's numbers are no weights, but indices,
// masks, or weights that are packed.
func isInteger(dtype string) bool {
	switch dtype {
	case "BOOL", "I8", "U8", "I16", "U16", "I32", "U32", "I64", "U64":
		return true
	}
	return false
}
