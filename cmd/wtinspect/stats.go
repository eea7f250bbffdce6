package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

type statsOptions struct {
	reading
	selection
	output
	progress
	quantiles bool
	histogram bool
	byLayer   bool
	sample    string
}

func newStats(p *program) *cobra.Command {
	var o statsOptions
	cmd := &cobra.Command{
		Use:   "stats [PATH...]",
		Short: "Figures of the tensors' values: range, mean, spread, NaN, quantiles",
		Long: `Stats reads the values of every tensor and says how many there are, their
range, mean, standard deviation, norm, quantiles, and how many are zero,
subnormal, infinite or not a number. All but the quantiles of F32 and of 64-bit
types are exact, whatever the number of workers.

Range, mean, deviation, norm and quantiles are of the finite numbers.
Block-quantised types are read as the numbers they stand for.

--by-layer puts the tensors that have the same part in every layer on one line,
with their deviation from the first layer to the last, and names the layers
that are not like the others.`,
		Annotations: exitStatus("2  also when a tensor cannot be read or its type has no numbers; the rest is printed"),
		Example: `  wtinspect stats model.safetensors
  wtinspect stats --by-layer .
  wtinspect stats --sample 5% --histogram --match '*.mlp.*' model.gguf
  wtinspect stats -f jsonl . | jq -r 'select(.nan > 0).name'`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runStats(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.quantiles, "quantiles", false, "show the quantiles; find those of block-quantised tensors too, which takes several times as long")
	f.BoolVar(&o.histogram, "histogram", false, "draw how the values are spread from the least to the greatest")
	f.BoolVar(&o.byLayer, "by-layer", false, "one line for the tensors that have the same part in every layer")
	f.StringVar(&o.sample, "sample", "", "read `N%` of each tensor, in blocks spread evenly over it")
	return cmd
}

// bins is the number of intervals of a histogram: enough for a shape, few
// enough for a line.
const bins = 16

// part returns the part of each tensor that --sample asks for, 0 for all.
func (o *statsOptions) part() (float64, error) {
	if o.sample == "" {
		return 0, nil
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(o.sample, "%"), 64)
	if err != nil || !(n > 0 && n <= 100) {
		return 0, fmt.Errorf("--sample %s: it must be a percentage above 0 and up to 100", o.sample)
	}
	return n / 100, nil
}

func runStats(ctx context.Context, p *program, o *statsOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	part, err := o.part()
	if err != nil {
		return err
	}
	if o.byLayer && (o.quantiles || o.histogram) {
		return errors.New("--by-layer has neither --quantiles nor --histogram: they cannot be put together from those of several tensors")
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.Close()
	bar := o.jobMeter(p, "stats")
	opts := inspect.StatsOptions{Select: o.Selection, Workers: o.workers, Quantiles: o.quantiles, Sample: part, Progress: bar.update}
	if o.histogram {
		opts.Bins = bins
	}
	stats, err := inspect.Stats(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	in.say(p, stats.Errors())
	m := measuring{StatsResult: stats, in: in, options: o, verbose: p.verbose}
	write := m.write
	if o.byLayer {
		layers := stats.ByLayer()
		write = func(w io.Writer, s render.Style) error { return m.writeLayers(w, s, layers) }
	}
	err = o.write(p, in.Paths(), write)
	o.noteNone(p, len(stats.Tensors), err)
	return in.finish(p, err)
}

// A measuring is the figures of the tensors that were asked for, and how they are
// shown.
type measuring struct {
	*inspect.StatsResult
	in      *inputs
	options *statsOptions
	verbose bool
}

func (m *measuring) write(w io.Writer, s render.Style) error {
	switch f := m.options.Format(); f {
	case render.TableFormat:
		return m.writeTable(w, s, func(k int) error { return m.table(k, s.Terminal).Write(w, f, s) })
	case render.JSON:
		d := m.document(w)
		d.Rows("tensors", m.table(-1, false))
		render.Each(d, "faults", m.Faults)
		return d.Close()
	default:
		return m.table(-1, false).Write(w, f, s)
	}
}

func (m *measuring) document(w io.Writer) *render.Document {
	d := render.NewDocument(w)
	render.List(d, "checkpoints", m.Checkpoints)
	d.Field("sample", m.Sample)
	return d
}

// writeTable writes one checkpoint after the other, with headings where there
// are several, and says of a sample that it is one.
func (m *measuring) writeTable(w io.Writer, s render.Style, one func(k int) error) error {
	for k, c := range m.Checkpoints {
		if len(m.Checkpoints) > 1 && s.Terminal {
			if err := writeHeading(w, s, k, c.Path); err != nil {
				return err
			}
		}
		if err := one(k); err != nil {
			return err
		}
		if s.Terminal {
			if _, err := fmt.Fprintln(w, s.Paint(render.Dim, m.totalsLine(k))); err != nil {
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

// totalsLine sums up a checkpoint: what is hardly ever meant, and how much there
// is of it.
func (m *measuring) totalsLine(k int) string {
	t := m.Summary(k)
	out := []string{counted(t.Tensors, "tensor"), counted(t.Numbers, "number")}
	if t.NaN > 0 {
		out = append(out, fmt.Sprintf("%s NaN in %s", render.Grouped(t.NaN), counted(t.WithNaN, "tensor")))
	}
	if t.Inf > 0 {
		out = append(out, fmt.Sprintf("%s infinite in %s", render.Grouped(t.Inf), counted(t.WithInf, "tensor")))
	}
	if t.Zero > 0 {
		out = append(out, fmt.Sprintf("%s all zero", render.Grouped(uint64(t.Zero))))
	}
	if t.Constant > 0 {
		out = append(out, fmt.Sprintf("%s of one value", render.Grouped(uint64(t.Constant))))
	}
	return strings.Join(out, ", ")
}

// table has a row a tensor of checkpoint k, or of all where k is -1.
func (m *measuring) table(k int, terminal bool) *render.Table {
	type row = *inspect.TensorStats
	people := m.options.Format() == render.TableFormat
	checkpoints := checkpointCells(m.in.Checkpoints)
	columns := render.Columns[row]{
		{
			Key: "checkpoint", Title: titleIf(people && !terminal && len(m.Checkpoints) > 1, "CHECKPOINT"),
			Cell: func(c *render.Cell, t row) { *c = checkpoints[t.Checkpoint] },
		},
		{Key: "name", Title: "NAME", Cut: render.CutMiddle, Cell: func(c *render.Cell, t row) { c.Text(t.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, t row) {
			c.Some(t.DType)
			c.Color(render.Cyan)
		}},
		{Key: "shape", Title: titleIf(m.verbose, "SHAPE"), Cell: func(c *render.Cell, t row) { c.Shape(t.Shape) }},
		{Key: "file", Cell: func(c *render.Cell, t row) { c.Some(t.FileName) }},
		{Key: "bytes", Cell: func(c *render.Cell, t row) {
			if t.BytesKnown {
				c.Uint(t.Bytes)
			}
		}},
		{Key: "read", Title: titleIf(m.Sample != nil && m.verbose, "READ"), Right: true, Cell: func(c *render.Cell, t row) {
			if t.Figures != nil {
				c.Int(t.Read)
			}
		}},
	}
	add := func(key, title string, shown bool, cell func(c *render.Cell, f *inspect.Figures)) {
		columns = append(columns, render.Col[row]{Key: key, Title: titleIf(shown, title), Right: true, Cell: func(c *render.Cell, t row) {
			if t.Figures != nil {
				cell(c, t.Figures)
			}
		}})
	}
	all := m.verbose
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
		add(fmt.Sprintf("p%d", p), fmt.Sprintf("%d%%", p), m.options.quantiles, func(c *render.Cell, f *inspect.Figures) { c.Figure(f.Quantiles[i]) })
	}
	add("quantile_error", "", false, func(c *render.Cell, f *inspect.Figures) { c.Float(f.QuantileError) })
	add("fingerprint", "", false, func(c *render.Cell, f *inspect.Figures) { c.Some(f.Fingerprint) })
	columns = append(columns,
		render.Col[row]{Key: "histogram", Title: titleIf(m.options.histogram, "HISTOGRAM"), Cell: func(c *render.Cell, t row) {
			if t.Figures == nil || t.Figures.Histogram == nil {
				return
			}
			c.Value(bars(t.Figures.Histogram), jsonNumbers(t.Figures.Histogram))
		}},
		render.Col[row]{Key: "error", Cell: func(c *render.Cell, t row) { c.Error(t.Err) }},
	)
	return columns.Table(func(yield func(row) bool) {
		for t := range pointers(m.Tensors) {
			if (k < 0 || t.Checkpoint == k) && !yield(t) {
				return
			}
		}
	})
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

// writeLayers writes the roll-up: for people a line a template, for programs a
// row a template and layer.
func (m *measuring) writeLayers(w io.Writer, s render.Style, layers *inspect.LayersResult) error {
	switch f := m.options.Format(); f {
	case render.TableFormat:
		return m.writeTable(w, s, func(k int) error { return writeTemplates(w, s, layers.Templates[k]) })
	case render.JSON:
		d := m.document(w)
		d.Rows("layers", m.layerTable(layers))
		render.Each(d, "faults", layers.Faults)
		return d.Close()
	default:
		return m.layerTable(layers).Write(w, f, s)
	}
}

func (m *measuring) layerTable(layers *inspect.LayersResult) *render.Table {
	type row = inspect.LayerRow
	checkpoints := checkpointCells(m.in.Checkpoints)
	return render.Columns[row]{
		{Key: "checkpoint", Cell: func(c *render.Cell, l row) { *c = checkpoints[l.Checkpoint] }},
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
	}.Table(layers.Layers)
}

var templateColumns = render.Columns[*inspect.StatsTemplate]{
	{Title: "NAME", Cut: render.CutMiddle, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Text(t.Name) }},
	{Title: "LAYERS", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Int(int64(len(t.Layers))) }},
	{Title: "STD", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) {
		if !math.IsNaN(t.MedianStd) {
			c.Text(digits4(t.MedianStd))
		}
	}},
	{Title: "ABSMAX", Right: true, Cell: func(c *render.Cell, t *inspect.StatsTemplate) {
		if !math.IsNaN(t.MedianAbsMax) {
			c.Text(digits4(t.MedianAbsMax))
		}
	}},
	{Title: "STD BY LAYER", Cut: render.CutEnd, Cell: func(c *render.Cell, t *inspect.StatsTemplate) { c.Some(sparkline(t)) }},
}

// writeTemplates writes a line a template, and below it the odd layers.
func writeTemplates(w io.Writer, s render.Style, templates []inspect.StatsTemplate) error {
	table := templateColumns.Table(pointers(templates))
	table.Headings = render.Always
	if err := table.Write(w, render.TableFormat, s); err != nil {
		return err
	}
	b := bufio.NewWriter(w)
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
			fmt.Fprintf(b, "%s %s: %s\n", s.Paint(render.Yellow, "odd:"), render.Escape(name), strings.Join(l.Odd, ", "))
		}
	}
	return b.Flush()
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
