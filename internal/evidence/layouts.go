package evidence

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

const (
	// probes is how many rows of the results are looked for, in runs of probeRun.
	probes   = 64
	probeRun = 8
	// probeColumns is how much of each of them is compared.
	probeColumns = 256
	// match is how many standard deviations a row and its source must be from unrelated ones.
	match = 5
)

// Layouts scores ways to make tensors of B of tensors of A. Each way is carried out on the
// numbers of A's elements instead of the elements, which tells where every probe row of B would come from.
// A row is found when, of all the rows that any way takes it or another probe row from, that one is
// most like it, and is like it beyond chance. The score is the share of rows found: near 1 for the
// right way if the weights are related, and 0 for all ways if they are not.
//
// A way that cannot be carried out on these shapes scores 0, and one that takes every probe
// row from where an earlier way takes it scores NaN: nothing tells the two apart.
func (w *Weights) Layouts(ctx context.Context, a, b []string, ways [][]tensorop.Op) ([]float64, error) {
	from, err := w.tensors(sideA, a)
	if err != nil {
		return nil, err
	}
	to, err := w.tensors(sideB, b)
	if err != nil {
		return nil, err
	}
	scores := make([]float64, len(ways))
	l := &layouts{w: w, from: from, to: to}
	if !l.begin() {
		return scores, nil
	}
	found := make([][]*origin, len(ways)) // by way and probe
	for i, ops := range ways {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		found[i], err = l.trace(ops)
		if err != nil {
			continue // the way does not fit these shapes
		}
	}
	if err := w.fetch(ctx, l.wants()); err != nil {
		return nil, err
	}
	best, count := l.best()
	for i, list := range found {
		if list == nil {
			continue
		}
		if slices.ContainsFunc(found[:i], func(o []*origin) bool { return slices.Equal(o, list) }) {
			scores[i] = math.NaN()
			continue
		}
		hits := 0
		for j, o := range list {
			if o != nil && slices.Contains(best[j], o) {
				hits++
			}
		}
		if count > 0 {
			scores[i] = float64(hits) / float64(count)
		}
	}
	return scores, nil
}

func (w *Weights) tensors(s side, names []string) ([]*tensor, error) {
	list := make([]*tensor, len(names))
	for i, n := range names {
		t, err := w.tensor(s, n)
		if err != nil {
			return nil, err
		}
		list[i] = t
	}
	return list, nil
}

// layouts is what is known while ways are tried.
type layouts struct {
	w        *Weights
	from, to []*tensor
	first    []int64 // number of the first element of each source
	probes   []probe
	columns  []span // of each target, those that are compared
	origins  map[[2]any]*origin
	ordered  []*origin
	spans    [2]map[*tensor][]span // what is read of each
}

// A probe is a row of a target.
type probe struct {
	target int
	row    int64
}

// An origin is where a way takes a row of a target from.
type origin struct {
	target int
	// from are the numbers of the elements; one alone where they follow one another in a row.
	from []int64
}

// begin chooses the probes. It is false where there is nothing to compare.
func (l *layouts) begin() bool {
	next := int64(1) // 0 is what no element is
	for _, t := range l.from {
		if t.rows == 0 || t.vector {
			return false
		}
		l.first = append(l.first, next)
		next += t.rows * t.row
	}
	for j, t := range l.to {
		if t.rows < 2 || t.turned {
			return false
		}
		n := min(t.row, probeColumns)
		l.columns = append(l.columns, span{(t.row - n) / 2, n})
		for _, r := range probeRows(t.rows, max(probes/int64(len(l.to)), 2*probeRun)) {
			l.probes = append(l.probes, probe{j, r})
		}
	}
	l.origins = make(map[[2]any]*origin)
	return len(l.probes) > 0
}

// probeRows returns about n of the rows, in runs. The runs are at multiples of the golden ratio,
// so that they neither cluster nor keep to the boundaries of heads.
func probeRows(rows, n int64) []int64 {
	var out []int64
	if rows <= n {
		for r := range rows {
			out = append(out, r)
		}
		return out
	}
	for i := range n / probeRun {
		_, f := math.Modf(float64(i+1) * 0.6180339887498949)
		start := int64(f * float64(rows-probeRun))
		for r := range int64(probeRun) {
			out = append(out, start+r)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// numbers is the numbers of a tensor's elements, as its bytes.
type numbers struct{ first int64 }

func (n numbers) ReadAt(p []byte, off int64) (int, error) {
	if off%8 != 0 || len(p)%8 != 0 {
		return 0, fmt.Errorf("%d bytes at %d are not whole elements", len(p), off)
	}
	for i := 0; i < len(p); i += 8 {
		binary.LittleEndian.PutUint64(p[i:], uint64(n.first+(off+int64(i))/8))
	}
	return len(p), nil
}

// trace carries a way out on numbers, and returns where it takes each probe from: nil for
// what is no element of A, such as padding.
func (l *layouts) trace(ops []tensorop.Op) ([]*origin, error) {
	now := make([]*arrays.Array, len(l.from))
	for i, t := range l.from {
		// Padding wants floats, and nothing that is left below computes.
		a, err := arrays.New(l.w.at(t).Shape, arrays.Element{DType: "F64", Elems: 1, Bytes: 8}, numbers{l.first[i]})
		if err != nil {
			return nil, err
		}
		now[i] = a
	}
	var work arrays.Workspace
	for _, op := range ops {
		if op.Index < 0 || op.Count < 1 || op.Index > len(now) || op.Count > len(now)-op.Index {
			return nil, fmt.Errorf("%s takes %d tensors from %d on, and there are %d", op.Kind, op.Count, op.Index, len(now))
		}
		in := now[op.Index : op.Index+op.Count]
		var out []*arrays.Array
		switch op.Kind {
		case tensorop.Cast, tensorop.Offset, tensorop.Scale, tensorop.NegativeExp, tensorop.LogNegative:
			continue // every element stays where it is
		case tensorop.Merge: // of equal tensors the first will do
			out = in[:1]
		default:
			var err error
			if out, _, err = work.Operate(op, in); err != nil {
				return nil, err
			}
		}
		now = slices.Replace(slices.Clone(now), op.Index, op.Index+op.Count, out...)
	}
	if len(now) != len(l.to) {
		return nil, fmt.Errorf("there are %d results, and %d tensors", len(now), len(l.to))
	}
	for j, t := range l.to {
		if viewOf(now[j].Dims()) != t.view {
			return nil, fmt.Errorf("the shape %s is not that of %s", shapeText(now[j].Dims()), t.sec.Name)
		}
	}
	list := make([]*origin, len(l.probes))
	for i, p := range l.probes {
		c := l.columns[p.target]
		buf := make([]byte, 8*c.n)
		if err := source.ReadFull(now[p.target].Data, buf, 8*(p.row*l.to[p.target].row+c.start)); err != nil {
			return nil, err
		}
		from := make([]int64, c.n)
		for k := range from {
			from[k] = int64(binary.LittleEndian.Uint64(buf[8*k:]))
		}
		if !slices.Contains(from, 0) {
			list[i] = l.origin(p.target, from)
		}
	}
	return list, nil
}

func (w *Weights) at(t *tensor) checkpoint.Tensor { return w.sides[t.side].At(t.index) }

// origin returns the one with these elements.
func (l *layouts) origin(target int, from []int64) *origin {
	n := int64(len(from))
	t, row, col := l.locate(from[0])
	inRow := col+n <= l.from[t].row
	for k, id := range from {
		inRow = inRow && id == from[0]+int64(k)
	}
	key := [2]any{target, [2]int64{int64(t)<<48 | row, col}}
	if inRow {
		from = from[:1]
	} else {
		key[1] = string(binary.LittleEndian.AppendUint64(nil, checksum(from)))
	}
	o := l.origins[key]
	if o == nil {
		o = &origin{target, from}
		l.origins[key] = o
		l.ordered = append(l.ordered, o)
	}
	return o
}

// checksum is FNV-1a over numbers.
func checksum(v []int64) uint64 {
	h := uint64(14695981039346656037)
	for _, x := range v {
		for s := 0; s < 64; s += 8 {
			h = (h ^ uint64(x)>>s&0xff) * 1099511628211
		}
	}
	return h
}

// locate returns the source, row and column of the element of a number.
func (l *layouts) locate(id int64) (t int, row, col int64) {
	t = len(l.first) - 1
	for t > 0 && id < l.first[t] {
		t--
	}
	at := id - l.first[t]
	return t, at / l.from[t].row, at % l.from[t].row
}

// wants are the rows that have to be read, those that are close to one another together.
func (l *layouts) wants() []want {
	rows := [2]map[*tensor][]int64{{}, {}}
	for _, p := range l.probes {
		t := l.to[p.target]
		rows[sideB][t] = append(rows[sideB][t], p.row)
	}
	for _, o := range l.ordered {
		for _, id := range o.from {
			i, row, _ := l.locate(id)
			rows[sideA][l.from[i]] = append(rows[sideA][l.from[i]], row)
		}
	}
	var list []want
	for s, tensors := range [2][]*tensor{l.from, l.to} {
		l.spans[s] = make(map[*tensor][]span)
		for _, t := range tensors {
			if rows[s][t] == nil || l.spans[s][t] != nil {
				continue
			}
			l.spans[s][t] = runs(rows[s][t])
			list = append(list, t.wants(l.spans[s][t])...)
		}
	}
	return list
}

// runs puts rows together that are at most one row apart, as every other one of a head is.
func runs(rows []int64) []span {
	slices.Sort(rows)
	var out []span
	for _, r := range rows {
		if n := len(out); n > 0 && r <= out[n-1].start+out[n-1].n+1 {
			out[n-1].n = max(out[n-1].n, r+1-out[n-1].start)
			continue
		}
		out = append(out, span{r, 1})
	}
	return out
}

// best returns, of each probe, the origins that are most like it, and how many probes
// have numbers to compare.
func (l *layouts) best() (best [][]*origin, count int) {
	sources := make([]map[int64][]float64, len(l.from))
	for i, t := range l.from {
		sources[i] = l.read(sideA, t)
	}
	targets := make([]map[int64][]float64, len(l.to))
	for j, t := range l.to {
		targets[j] = l.read(sideB, t)
	}
	vectors := make([][][]float64, len(l.to)) // by target, as origins are in ordered
	of := make([][]*origin, len(l.to))
	for _, o := range l.ordered {
		if v := unit(l.values(o, sources)); v != nil {
			vectors[o.target] = append(vectors[o.target], v)
			of[o.target] = append(of[o.target], o)
		}
	}
	best = make([][]*origin, len(l.probes))
	for i, p := range l.probes {
		c := l.columns[p.target]
		v := unit(targets[p.target][p.row][c.start : c.start+c.n])
		if v == nil {
			l.w.skipped++
			continue
		}
		count++
		most := match / math.Sqrt(float64(len(v)-1))
		for k, x := range vectors[p.target] {
			cos := 0.0
			for m := range v {
				cos += v[m] * x[m]
			}
			switch {
			case cos > most+1e-9:
				most, best[i] = cos, []*origin{of[p.target][k]}
			case cos >= most-1e-9 && best[i] != nil: // a row that occurs twice
				best[i] = append(best[i], of[p.target][k])
			}
		}
	}
	return best, count
}

// read decodes the rows of a tensor that were read, by their numbers.
func (l *layouts) read(s side, t *tensor) map[int64][]float64 {
	out := make(map[int64][]float64)
	for _, sp := range l.spans[s][t] {
		data := l.w.rowsOf(t, []span{sp})
		for r := range sp.n {
			out[sp.start+r] = data[r*t.row : (r+1)*t.row]
		}
	}
	return out
}

// values are the numbers of an origin.
func (l *layouts) values(o *origin, sources []map[int64][]float64) []float64 {
	if len(o.from) == 1 {
		t, row, col := l.locate(o.from[0])
		return sources[t][row][col : col+l.columns[o.target].n]
	}
	v := make([]float64, len(o.from))
	for i, id := range o.from {
		t, row, col := l.locate(id)
		v[i] = sources[t][row][col]
	}
	return v
}

// unit returns numbers less their mean with a length of 1; nil where they are constant or not
// finite.
func unit(v []float64) []float64 {
	b := &block{1, len(v), slices.Clone(v)}
	b.rowsTo(true)
	sum := 0.0
	for _, x := range b.v {
		sum += x * x
	}
	if !(sum > 0.5 && sum < 1.5) {
		return nil
	}
	return b.v
}
