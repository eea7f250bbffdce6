// Package evidence compares the weights of two checkpoints by a few rows of their tensors:
// which tensor of one is which of the other, which rows of a fused tensor are whose, and
// what the numbers of one tensor show by themselves.
//
// It is an [infer.Content]. What it reads is counted and bounded: eight rows of a matrix
// tell related weights from unrelated ones (see likeness), and vectors are read whole.
// Which rows are read depends on the shape alone, so that both sides of a pair give the same
// rows, and so that a repeated run gives the same answer. An adversary who knows the rule
// could change all rows but those, and would mislead this package; what it decides is which
// name a tensor gets, which is of no use to one who can change the weights anyway. A verdict
// about where weights come from must not rest on rows that are known beforehand.
//
// NaN and infinities are left out with their rows, and counted. Sums are in float64, in the order of
// the elements, within one goroutine per answer: the number of workers changes nothing.
package evidence

import (
	"cmp"
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/infer"
)

// Options bound the reading.
type Options struct {
	// MaxBytes is the most that is read of both checkpoints; 0 sets no limit.
	MaxBytes int64
	Workers  int // 0 means GOMAXPROCS
	// Progress is told how many more bytes were read, from several goroutines. It may be nil.
	Progress func(n int64)
}

// A BudgetError says that an answer would take more bytes than may be read.
type BudgetError struct{ Need, Max int64 }

func (e *BudgetError) Error() string {
	return fmt.Sprintf("comparing the weights takes %s, and %s may be read; allow more, or compare names alone", plural.Size(e.Need), plural.Size(e.Max))
}

// Weights are those of two checkpoints, A and B. They remember what they read. Their methods
// are for one goroutine at a time.
type Weights struct {
	sides   [2]*checkpoint.Checkpoint // the second may be nil
	opt     Options
	chunks  map[place][]chunk
	read    atomic.Int64
	skipped int64
}

var _ infer.Content = (*Weights)(nil)

// New returns the weights of a checkpoint beside those of another. B may be nil: then only
// [Weights.Profile] has answers.
func New(a, b *checkpoint.Checkpoint, opt Options) (*Weights, error) {
	for _, c := range []*checkpoint.Checkpoint{a, b} {
		if c != nil && c.NamesOnly() {
			return nil, fmt.Errorf("%s: it is the names of an index without the weights; compare names alone", c.Path)
		}
	}
	if opt.Workers <= 0 {
		opt.Workers = runtime.GOMAXPROCS(0)
	}
	return &Weights{sides: [2]*checkpoint.Checkpoint{a, b}, opt: opt, chunks: make(map[place][]chunk)}, nil
}

// Read counts the bytes read so far.
func (w *Weights) Read() int64 { return w.read.Load() }

// Skipped counts the rows that were left out because they hold NaN or an infinity, each time
// they were compared.
func (w *Weights) Skipped() int64 { return w.skipped }

// A side is one of the two checkpoints.
type side int

const (
	sideA side = iota
	sideB
)

func (s side) String() string { return string(rune('A' + s)) }

// A place is a tensor of a side.
type place struct {
	side  side
	index int
}

// A chunk is rows that were read. Those of a tensor do not overlap and are in order.
type chunk struct {
	span
	data []byte
}

// A span is rows that follow one another.
type span struct{ start, n int64 }

func (s span) end() int64 { return s.start + s.n }

// A tensor is one whose rows can be read.
type tensor struct {
	view
	place
	sec values.Section
}

// tensor looks a tensor up by its name.
func (w *Weights) tensor(s side, name string) (*tensor, error) {
	c := w.sides[s]
	if c == nil {
		return nil, fmt.Errorf("there are no weights of %s to compare %q with", s, name)
	}
	i, ok := c.Lookup(name)
	if !ok {
		return nil, fmt.Errorf("%s: there is no tensor %q", c.Path, name)
	}
	sec, err := values.SectionOf(c, i)
	if err != nil {
		return nil, fmt.Errorf("%s: tensor %q: %w", c.Path, name, err)
	}
	t := &tensor{place: place{s, i}, sec: sec, view: viewOf(c.At(i).Shape)}
	if sec.Type == nil || sec.Type.Parts != 1 || t.row%int64(sec.Type.BlockElems) != 0 {
		t.rows = 0 // its numbers are not known, or a row of it is not whole blocks
	}
	return t, nil
}

// rowBytes is the size of a row.
func (t *tensor) rowBytes() int64 {
	return t.row / int64(t.sec.Type.BlockElems) * int64(t.sec.Type.BlockBytes)
}

// A want is rows of a tensor that are to be read.
type want struct {
	t *tensor
	span
}

// wants are some rows of a tensor.
func (t *tensor) wants(spans []span) []want {
	list := make([]want, len(spans))
	for i, s := range spans {
		list[i] = want{t, s}
	}
	return list
}

// missing returns what has not been read of some rows, each row once.
func (w *Weights) missing(list []want) []want {
	// In the order of the files, so that what a server sends beyond one part is of use for the next.
	list = slices.SortedFunc(slices.Values(list), func(x, y want) int {
		return cmp.Or(cmp.Compare(x.t.side, y.t.side), cmp.Compare(x.t.index, y.t.index), cmp.Compare(x.start, y.start))
	})
	var out []want
	for _, p := range list {
		if n := len(out); n > 0 && out[n-1].t.place == p.t.place && p.start < out[n-1].end() {
			p.n, p.start = p.end()-out[n-1].end(), out[n-1].end()
		}
		for _, c := range w.chunks[p.t.place] {
			if p.n <= 0 || c.start >= p.end() {
				break
			}
			if c.end() <= p.start {
				continue
			}
			if p.start < c.start {
				out = append(out, want{p.t, span{p.start, c.start - p.start}})
			}
			p.n, p.start = p.end()-c.end(), c.end()
		}
		if p.n > 0 {
			out = append(out, p)
		}
	}
	return out
}

// fetch reads the rows that are wanted and have not been read.
func (w *Weights) fetch(ctx context.Context, list []want) error {
	todo := w.missing(list)
	need := w.Read()
	for _, p := range todo {
		need += p.n * p.t.rowBytes()
	}
	if w.opt.MaxBytes > 0 && need > w.opt.MaxBytes {
		return &BudgetError{need, w.opt.MaxBytes}
	}
	data := make([][]byte, len(todo))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.opt.Workers)
	for i, p := range todo {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			size := p.t.rowBytes()
			b := make([]byte, p.n*size)
			if err := source.ReadFull(p.t.sec.Data, b, p.start*size); err != nil {
				return fmt.Errorf("%s: tensor %q: %w", w.sides[p.t.side].Path, p.t.sec.Name, err)
			}
			w.read.Add(int64(len(b)))
			if w.opt.Progress != nil {
				w.opt.Progress(int64(len(b)))
			}
			if p.t.sec.BigEndian {
				p.t.sec.Type.Swap(b)
			}
			data[i] = b
			return nil
		})
	}
	err := g.Wait()
	for i, p := range todo {
		if data[i] != nil {
			at := p.t.place
			w.chunks[at] = append(w.chunks[at], chunk{p.span, data[i]})
			slices.SortFunc(w.chunks[at], func(x, y chunk) int { return cmp.Compare(x.start, y.start) })
		}
	}
	return err
}

// rowsOf decodes rows that were fetched, one after the other.
func (w *Weights) rowsOf(t *tensor, spans []span) []float64 {
	out := make([]float64, total(spans)*t.row)
	to, size := out, t.rowBytes()
	for _, s := range spans {
		for _, c := range w.chunks[t.place] {
			if c.end() <= s.start || s.n == 0 {
				continue
			}
			n := min(s.end(), c.end()) - s.start
			t.sec.Type.Decode64(to[:n*t.row], c.data[(s.start-c.start)*size:(s.start-c.start+n)*size])
			to, s.start, s.n = to[n*t.row:], s.start+n, s.n-n
		}
	}
	return out
}

func total(spans []span) (n int64) {
	for _, s := range spans {
		n += s.n
	}
	return n
}

// each calls a function for every number below n, on several goroutines.
func (w *Weights) each(ctx context.Context, n int, do func(i int)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(w.opt.Workers)
	for i := range n {
		g.Go(func() error {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			do(i)
			return nil
		})
	}
	return g.Wait()
}

func shapeText(shape []uint64) string { return strings.ReplaceAll(fmt.Sprint(shape), " ", ",") }
