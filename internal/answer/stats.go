package answer

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
)

// StatsOptions adjust [Stats].
type StatsOptions struct {
	Options
	// Quantiles and Histogram add them to tables.
	Quantiles, Histogram bool
}

// A measuring is the figures of the tensors that were asked for, and how they are
// shown.
type measuring struct {
	*inspect.StatsResult
	StatsOptions
}

// Stats prints the figures of tensors.
func Stats(w io.Writer, r *inspect.StatsResult, o StatsOptions) error {
	m := &measuring{r, o}
	switch o.Format {
	case render.TableFormat:
		return m.writeTable(w, func(w io.Writer, k int) error { return m.table(k).Write(w, o.Format, o.Style) })
	case render.JSON:
		d := m.document(w)
		d.Rows("tensors", m.table(-1))
		render.Each(d, "faults", m.Faults)
		return d.Close()
	default:
		return m.table(-1).Write(w, o.Format, o.Style)
	}
}

func (m *measuring) document(w io.Writer) *render.Document {
	d := render.NewDocument(w)
	render.List(d, "checkpoints", m.Checkpoints)
	d.Field("sample", m.Sample)
	return d
}

// checkpoint is the cell of checkpoint k.
func (m *measuring) checkpoint(k int) render.Cell { return checkpointCell(m.Checkpoints[k].Path, k) }

// writeTable writes one checkpoint after the other, with headings where there
// are several, and says of a sample that it is one.
func (m *measuring) writeTable(w io.Writer, one func(w io.Writer, k int) error) error {
	return m.Style.Wrap(w, func(w io.Writer) error { return m.writeTables(w, one) })
}

func (m *measuring) writeTables(w io.Writer, one func(w io.Writer, k int) error) error {
	s := m.Style
	for k, c := range m.Checkpoints {
		if len(m.Checkpoints) > 1 && s.Terminal {
			if err := Heading(w, s, k, c.Path); err != nil {
				return err
			}
		}
		if err := one(w, k); err != nil {
			return err
		}
		if s.Terminal {
			if _, err := fmt.Fprintln(w, s.Paint(render.Dim, StatsLine(m.StatsResult, k))); err != nil {
				return err
			}
		}
	}
	if m.Sample != nil && s.Terminal {
		_, err := fmt.Fprintln(w, s.Paint(render.Dim, fmt.Sprintf("of %.4g %% of each tensor, in blocks spread evenly over it", *m.Sample*100)))
		return err
	}
	return nil
}

// StatsLine sums up checkpoint k: what is hardly ever meant, and how much there is of it.
func StatsLine(r *inspect.StatsResult, k int) string {
	t := r.Summary(k)
	out := []string{render.Counted(t.Tensors, "tensor"), render.Counted(t.Numbers, "number")}
	if t.NaN > 0 {
		out = append(out, fmt.Sprintf("%s NaN in %s", render.Grouped(t.NaN), render.Counted(t.WithNaN, "tensor")))
	}
	if t.Inf > 0 {
		out = append(out, fmt.Sprintf("%s infinite in %s", render.Grouped(t.Inf), render.Counted(t.WithInf, "tensor")))
	}
	if t.Zero > 0 {
		out = append(out, fmt.Sprintf("%s all zero", render.Grouped(uint64(t.Zero))))
	}
	if t.Constant > 0 {
		out = append(out, fmt.Sprintf("%s of one value", render.Grouped(uint64(t.Constant))))
	}
	return strings.Join(out, ", ")
}

// StatsColumns describes the columns of [Stats].
func StatsColumns(o Options) []render.Column {
	return (&measuring{&inspect.StatsResult{}, StatsOptions{Options: o}}).columns().Heads()
}

// LayersColumns describes the columns of [Layers].
func LayersColumns(o Options) []render.Column {
	if o.Format == render.TableFormat {
		return templateColumns.Heads()
	}
	return (&measuring{}).layerColumns().Heads()
}

// table has a row a tensor of checkpoint k, or of all where k is -1.
func (m *measuring) table(k int) *render.Table {
	return m.columns().Table(func(yield func(*inspect.TensorStats) bool) {
		for t := range pointers(m.Tensors) {
			if (k < 0 || t.Checkpoint == k) && !yield(t) {
				return
			}
		}
	})
}

func (m *measuring) columns() render.Columns[*inspect.TensorStats] {
	type row = *inspect.TensorStats
	people := m.Format == render.TableFormat
	columns := render.Columns[row]{
		{
			Key: "checkpoint", Title: "CHECKPOINT", Hide: !(people && !m.Style.Terminal && len(m.Checkpoints) > 1),
			Cell: func(c *render.Cell, t row) { *c = m.checkpoint(t.Checkpoint) },
		},
		{Key: "name", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, t row) { c.Text(t.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, t row) {
			c.Some(t.DType)
			c.Color(render.Cyan)
		}},
		{Key: "shape", Title: "SHAPE", Hide: !m.Verbose, Cell: func(c *render.Cell, t row) { c.Shape(t.Shape) }},
		{Key: "file", Cell: func(c *render.Cell, t row) { c.Some(t.FileName) }},
		{Key: "bytes", Cell: func(c *render.Cell, t row) {
			if t.BytesKnown {
				c.Uint(t.Bytes)
			}
		}},
		{
			Key:  tiedKey(slices.ContainsFunc(m.Checkpoints, func(of inspect.CheckpointName) bool { return of.Format == checkpoint.PyTorch })),
			Cell: func(c *render.Cell, t row) { c.Some(t.TiedTo) },
		},
		{Key: "read", Title: "READ", Hide: !(m.Sample != nil && m.Verbose), Right: true, Cell: func(c *render.Cell, t row) {
			if t.Figures != nil {
				c.Int(t.Read)
			}
		}},
	}
	add := func(key, title string, shown bool, cell func(c *render.Cell, f *inspect.Figures)) {
		columns = append(columns, render.Col[row]{Key: key, Title: title, Hide: !shown, Right: true, Cell: func(c *render.Cell, t row) {
			if t.Figures != nil {
				cell(c, t.Figures)
			}
		}})
	}
	all := m.Verbose
	add("count", "COUNT", all, func(c *render.Cell, f *inspect.Figures) { c.Uint(f.Count) })
	add("min", "MIN", true, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Min) })
	add("max", "MAX", true, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Max) })
	add("mean", "MEAN", true, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Mean) })
	add("std", "STD", true, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Std) })
	add("abs_max", "ABSMAX", all, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.AbsMax) })
	add("l2", "L2", all, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.L2) })
	add("zeros", "ZEROS", true, func(c *render.Cell, f *inspect.Figures) { c.Uint(f.Zeros) })
	add("denormals", "SUBNORMAL", all, func(c *render.Cell, f *inspect.Figures) { c.Uint(f.Denormals) })
	add("nan", "NAN", true, func(c *render.Cell, f *inspect.Figures) { badCell(c, f.NaN) })
	add("pos_inf", "+INF", all, func(c *render.Cell, f *inspect.Figures) { badCell(c, f.PosInf) })
	add("neg_inf", "-INF", all, func(c *render.Cell, f *inspect.Figures) { badCell(c, f.NegInf) })
	add("", "INF", !all, func(c *render.Cell, f *inspect.Figures) { badCell(c, f.PosInf+f.NegInf) })
	add("distinct", "DISTINCT", all, func(c *render.Cell, f *inspect.Figures) {
		if f.Distinct >= 0 {
			c.Int(f.Distinct)
		}
	})
	for i, p := range inspect.Percents() {
		add(fmt.Sprintf("p%d", p), fmt.Sprintf("%d%%", p), m.Quantiles, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Quantiles[i]) })
	}
	add("quantile_error", "", false, func(c *render.Cell, f *inspect.Figures) { c.Float(f.QuantileError) })
	add("fingerprint", "", false, func(c *render.Cell, f *inspect.Figures) { c.Some(f.Fingerprint) })
	return append(columns,
		render.Col[row]{Key: "histogram", Title: "HISTOGRAM", Hide: !m.Histogram, Cell: func(c *render.Cell, t row) {
			if t.Figures == nil || t.Figures.Histogram == nil {
				return
			}
			c.Value(bars(t.Figures.Histogram), jsonNumbers(t.Figures.Histogram))
		}},
		render.Col[row]{Key: "error", Cell: func(c *render.Cell, t row) { c.Error(t.Err) }},
	)
}

// badCell is a count of what should not be there.
func badCell(c *render.Cell, n uint64) {
	c.Uint(n)
	if n > 0 {
		c.Color(render.Red)
	}
}

func jsonNumbers(list []uint64) string {
	b := []byte{'['}
	for i, n := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	return string(append(b, ']'))
}

// bars draws numbers by their share of the greatest. Nothing is a dot, and
// however little is a line.
func bars(list []uint64) string {
	most := slices.Max(list)
	return levels(len(list), func(i int) float64 {
		if list[i] == 0 {
			return math.NaN()
		}
		return float64(list[i]) / float64(most)
	})
}

// levels draws n numbers from 0 to 1 as blocks, and NaN as a dot.
func levels(n int, at func(i int) float64) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	out := make([]rune, n)
	for i := range out {
		if v := at(i); math.IsNaN(v) {
			out[i] = '·'
		} else {
			out[i] = steps[min(int(v*float64(len(steps))), len(steps)-1)]
		}
	}
	return string(out)
}

// Layers prints the figures put together by template and layer: for people a line
// a template, for programs a row a template and layer.
func Layers(w io.Writer, r *inspect.StatsResult, o StatsOptions) error {
	m, layers := &measuring{r, o}, r.ByLayer()
	switch o.Format {
	case render.TableFormat:
		return m.writeTable(w, func(w io.Writer, k int) error { return writeTemplates(w, o.Style, layers.Templates[k]) })
	case render.JSON:
		d := m.document(w)
		d.Rows("layers", m.layerTable(layers))
		render.Each(d, "faults", layers.Faults)
		return d.Close()
	default:
		return m.layerTable(layers).Write(w, o.Format, o.Style)
	}
}

func (m *measuring) layerTable(layers *inspect.LayersResult) *render.Table {
	return m.layerColumns().Table(layers.Layers)
}

func (m *measuring) layerColumns() render.Columns[inspect.LayerRow] {
	type row = inspect.LayerRow
	return render.Columns[row]{
		{Key: "checkpoint", Cell: func(c *render.Cell, l row) { *c = m.checkpoint(l.Checkpoint) }},
		{Key: "template", Cell: func(c *render.Cell, l row) { c.Text(l.Template) }},
		{Key: "layer", Cell: func(c *render.Cell, l row) {
			if l.Number >= 0 {
				c.Int(int64(l.Number))
			}
		}},
		{Key: "tensors", Cell: func(c *render.Cell, l row) { c.Int(int64(l.Tensors)) }},
		{Key: "count", Cell: func(c *render.Cell, l row) { c.Uint(l.Count) }},
		{Key: "min", Cell: func(c *render.Cell, l row) { c.Figure(l.Min) }},
		{Key: "max", Cell: func(c *render.Cell, l row) { c.Figure(l.Max) }},
		{Key: "mean", Cell: func(c *render.Cell, l row) { c.Figure(l.Mean) }},
		{Key: "std", Cell: func(c *render.Cell, l row) { c.Figure(l.Std) }},
		{Key: "abs_max", Cell: func(c *render.Cell, l row) { c.Figure(l.AbsMax) }},
		{Key: "zeros", Cell: func(c *render.Cell, l row) { c.Uint(l.Zeros) }},
		{Key: "nan", Cell: func(c *render.Cell, l row) { c.Uint(l.NaN) }},
		{Key: "inf", Cell: func(c *render.Cell, l row) { c.Uint(l.Inf) }},
		{Key: "odd", Cell: func(c *render.Cell, l row) { c.Some(l.OddText()) }},
	}
}

var templateColumns = render.Columns[*inspect.StatsTemplate]{
	{Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Text(t.Name) }},
	{Title: "LAYERS", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Int(int64(len(t.Layers))) }},
	{Title: "STD", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) {
		c.Ordered(digits4(t.MedianStd), t.MedianStd)
	}},
	{Title: "ABSMAX", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) {
		c.Ordered(digits4(t.MedianAbsMax), t.MedianAbsMax)
	}},
	{Title: "STD BY LAYER", Cut: render.CutEnd, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Some(sparkline(t)) }},
}

// writeTemplates writes a line a template, and below it the odd layers.
func writeTemplates(w io.Writer, s render.Style, templates []inspect.StatsTemplate) error {
	if err := Templates(templates).Write(w, render.TableFormat, s); err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	for name, odd := range OddLayers(templates) {
		fmt.Fprintf(b, "%s %s: %s\n", s.Paint(render.Yellow, "odd:"), render.Escape(name), odd)
	}
	return b.Flush()
}

// Templates has a row for each template.
func Templates(templates []inspect.StatsTemplate) *render.Table {
	t := templateColumns.Table(pointers(templates))
	t.Headings = render.Always
	return t
}

// OddLayers yields the tensors that are not like those of other layers, and in what. Layers
// that are odd in the same way are folded.
func OddLayers(templates []inspect.StatsTemplate) iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		var names, odd []string
		for i := range templates {
			t := &templates[i]
			for k := range t.Layers {
				l := &t.Layers[k]
				if len(l.Odd) == 0 {
					continue
				}
				name := t.Name
				if l.Number >= 0 {
					name = strings.Replace(name, "{layer}", strconv.Itoa(l.Number), 1)
				}
				names, odd = append(names, name), append(odd, strings.Join(l.Odd, ", "))
			}
		}
		for _, g := range template.Fold(len(names), func(i int) (name, key string) { return names[i], odd[i] }) {
			text := odd[g.Members[0]]
			if len(g.Members) > 1 {
				text += ", each"
			}
			if !yield(g.Name, text) {
				return
			}
		}
	}
}

// sparkline draws the deviations from the first layer to the last, from the
// least to the greatest. All the same is a flat line in the middle.
func sparkline(t *inspect.StatsTemplate) string {
	if len(t.Layers) < 2 {
		return ""
	}
	lo, hi := math.Inf(1), math.Inf(-1)
	for i := range t.Layers {
		if v := t.Layers[i].Std; !math.IsNaN(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	return levels(len(t.Layers), func(i int) float64 {
		v := t.Layers[i].Std
		if v == lo && v == hi {
			return 0.4
		}
		return (v - lo) / (hi - lo)
	})
}
