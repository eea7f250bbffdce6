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

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/stats"
	"github.com/wtinspect/wtinspect/internal/values"
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
	selected, err := o.compile()
	if err != nil {
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
	defer in.close()
	in.validate()

	m := measuring{in: in, options: o, part: part, verbose: p.verbose}
	if err := m.run(ctx, p, selected); err != nil {
		return err
	}
	err = o.write(p, in.paths(), m.write)
	if selected != nil && len(m.tensors) == 0 && err == nil {
		p.note("no tensor is chosen by the names given")
	}
	return in.finish(p, err)
}

// A measuring is the figures of the tensors that were asked for.
type measuring struct {
	in      *inputs
	options *statsOptions
	part    float64 // of each tensor; 0 is all
	verbose bool
	tensors []measured
}

type measured struct {
	checkpoint int
	tensor     checkpoint.Tensor
	err        error
	read       int64
	stats      *values.Stats
}

func (m *measuring) run(ctx context.Context, p *program, selected func(string) bool) error {
	var (
		sections []values.Section
		of       []int
		total    float64
	)
	for k, c := range m.in.checkpoints {
		for i, t := range c.All() {
			if selected != nil && !selected(t.Name) {
				continue
			}
			one := measured{checkpoint: k, tensor: t}
			s, err := compare.Section(c, i)
			switch {
			case err != nil:
				one.err = err
			case s.Type == nil:
				one.err = inFile(c, t.File, fmt.Errorf("tensor %q: this version does not know the numbers of %s", t.Name, t.DType))
			default:
				sections, of = append(sections, s), append(of, len(m.tensors))
				total += float64(s.Data.Size())
			}
			m.tensors = append(m.tensors, one)
		}
	}
	if m.part > 0 {
		total *= m.part
	}
	bar := m.options.meter(p, "stats", int64(min(total, math.MaxInt64/2)))
	defer bar.end()
	opt := &values.StatsOptions{BlockQuantiles: m.options.quantiles || m.options.histogram}
	if m.options.histogram {
		opt.Bins = bins
	}
	err := values.Run(ctx, sections, values.Options{
		Workers: m.options.workers, Stats: opt, Sample: m.part, Progress: bar.add,
	}, func(i int, r *values.Result) error {
		t := &m.tensors[of[i]]
		t.err = inFile(m.in.checkpoints[t.checkpoint], t.tensor.File, r.Err)
		t.read, t.stats = r.Read, r.Stats
		return nil
	})
	bar.end()
	if err != nil {
		return err
	}
	for i := range m.tensors {
		if t := &m.tensors[i]; t.err != nil {
			m.in.failed = true
			p.say("%v", t.err)
		}
	}
	return nil
}

// inFile adds the path of a tensor's file to an error that lacks it.
func inFile(c *checkpoint.Checkpoint, file int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.Files[file].Path, err)
}

func (m *measuring) write(w io.Writer, s render.Style) error {
	f := m.options.Format()
	if m.options.byLayer {
		return m.writeLayers(w, s)
	}
	switch f {
	case render.TableFormat:
		return m.writeTable(w, s, func(k int) error {
			return m.table(k, s.Terminal, false).Write(w, f, s)
		})
	case render.JSON:
		d := render.NewDocument(w)
		m.writeHead(d)
		d.Rows("tensors", m.table(-1, false, true))
		render.List(d, "faults", m.in.jsonFaults())
		return d.Close()
	default:
		return m.table(-1, false, f == render.JSONL).Write(w, f, s)
	}
}

// A jsonMeasuredCheckpoint is an element of the "checkpoints" of stats.
type jsonMeasuredCheckpoint struct {
	Path   string            `json:"path"`
	Format checkpoint.Format `json:"format"`
}

func (m *measuring) writeHead(d *render.Document) {
	var list []jsonMeasuredCheckpoint
	for _, c := range m.in.checkpoints {
		list = append(list, jsonMeasuredCheckpoint{c.Path, c.Format})
	}
	render.List(d, "checkpoints", list)
	if m.part > 0 {
		d.Field("sample", m.part)
	} else {
		d.Field("sample", nil)
	}
}

// writeTable writes one checkpoint after the other, with headings where there
// are several, and says of a sample that it is one.
func (m *measuring) writeTable(w io.Writer, s render.Style, one func(k int) error) error {
	for k, c := range m.in.checkpoints {
		if len(m.in.checkpoints) > 1 && s.Terminal {
			between := ""
			if k > 0 {
				between = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(c.Path)+":")); err != nil {
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
	if m.part > 0 && s.Terminal {
		_, err := fmt.Fprintln(w, s.Paint(render.Dim, fmt.Sprintf("of %.4g %% of each tensor, in blocks spread evenly over it", m.part*100)))
		return err
	}
	return nil
}

// totalsLine sums up a checkpoint: what is hardly ever meant, and how much there
// is of it.
func (m *measuring) totalsLine(k int) string {
	var (
		tensors, withNaN, withInf, zero, constant int
		numbers, nan, inf                         uint64
	)
	for i := range m.tensors {
		t := &m.tensors[i]
		if t.checkpoint != k || t.stats == nil {
			continue
		}
		s := t.stats
		tensors++
		numbers += s.Count
		nan += s.NaN
		inf += s.PosInf + s.NegInf
		if s.NaN > 0 {
			withNaN++
		}
		if s.PosInf+s.NegInf > 0 {
			withInf++
		}
		switch {
		case s.Finite() < 2 || s.Min != s.Max:
		case s.Min == 0:
			zero++
		default:
			constant++
		}
	}
	out := []string{counted(tensors, "tensor"), counted(numbers, "number")}
	if nan > 0 {
		out = append(out, fmt.Sprintf("%s NaN in %s", render.Grouped(nan), counted(withNaN, "tensor")))
	}
	if inf > 0 {
		out = append(out, fmt.Sprintf("%s infinite in %s", render.Grouped(inf), counted(withInf, "tensor")))
	}
	if zero > 0 {
		out = append(out, fmt.Sprintf("%s all zero", render.Grouped(uint64(zero))))
	}
	if constant > 0 {
		out = append(out, fmt.Sprintf("%s of one value", render.Grouped(uint64(constant))))
	}
	return strings.Join(out, ", ")
}

// number is a cell for a figure: a few digits on a terminal, elsewhere all.
func number(f float64, terminal bool) render.Cell {
	switch {
	case math.IsNaN(f):
		return render.Null()
	case terminal:
		return render.Text(strconv.FormatFloat(f, 'g', 4, 64))
	}
	return render.Float(f)
}

// table has a row a tensor of checkpoint k, or of all where k is -1.
func (m *measuring) table(k int, terminal, numbered bool) *render.Table {
	people := m.options.Format() == render.TableFormat
	var columns []render.Column
	add := func(key, title string, shown bool, c render.Column) {
		c.Key = key
		if shown {
			c.Title = title
		}
		columns = append(columns, c)
	}
	right := render.Column{Right: true}
	all := m.verbose
	add("checkpoint", "CHECKPOINT", people && !terminal && len(m.in.checkpoints) > 1, render.Column{})
	add("name", "NAME", true, render.Column{Cut: render.CutMiddle})
	add("dtype", "DTYPE", true, render.Column{})
	add("shape", "SHAPE", all, render.Column{})
	add("file", "FILE", false, render.Column{})
	add("bytes", "BYTES", false, right)
	add("read", "READ", m.part > 0 && all, right)
	add("count", "COUNT", all, right)
	add("min", "MIN", true, right)
	add("max", "MAX", true, right)
	add("mean", "MEAN", true, right)
	add("std", "STD", true, right)
	add("abs_max", "ABSMAX", all, right)
	add("l2", "L2", all, right)
	add("zeros", "ZEROS", true, right)
	add("denormals", "SUBNORMAL", all, right)
	add("nan", "NAN", true, right)
	add("pos_inf", "+INF", all, right)
	add("neg_inf", "-INF", all, right)
	add("", "INF", !all, right)
	add("distinct", "DISTINCT", all, right)
	for _, p := range values.Percents() {
		add(fmt.Sprintf("p%d", p), fmt.Sprintf("%d%%", p), m.options.quantiles, right)
	}
	add("quantile_error", "", false, right)
	add("fingerprint", "FINGERPRINT", false, render.Column{})
	add("histogram", "HISTOGRAM", m.options.histogram, render.Column{})
	add("error", "", false, render.Column{})

	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for i := range m.tensors {
			t := &m.tensors[i]
			if k >= 0 && t.checkpoint != k {
				continue
			}
			row := m.row(t, terminal, numbered)
			for len(row) < len(columns)-1 {
				row = append(row, render.Null()) // figures of what was not read
			}
			if !yield(append(row, errorCell(t.err))) {
				return
			}
		}
	}}
}

// row returns the cells in the order of the columns of table, but for the last
// one, and without figures where there are none.
func (m *measuring) row(t *measured, terminal, numbered bool) []render.Cell {
	file, bytes := render.Null(), render.Null()
	if t.tensor.File >= 0 {
		file = render.Text(m.in.checkpoints[t.checkpoint].Files[t.tensor.File].Name)
	}
	if t.tensor.BytesKnown {
		bytes = render.Uint(t.tensor.Bytes)
	}
	row := []render.Cell{
		checkpointCell(m.in, t.checkpoint, numbered),
		render.Text(t.tensor.Name),
		dtypeCell(&t.tensor).In(render.Cyan),
		render.Shape(t.tensor.Shape),
		file,
		bytes,
	}
	s := t.stats
	if s == nil {
		return row
	}
	bad := func(n uint64) render.Cell {
		if n > 0 {
			return render.Uint(n).In(render.Red)
		}
		return render.Uint(n)
	}
	distinct := render.Null()
	if s.Distinct >= 0 {
		distinct = render.Int(s.Distinct)
	}
	row = append(
		row,
		render.Int(t.read),
		render.Uint(s.Count),
		number(s.Min, terminal),
		number(s.Max, terminal),
		number(s.Mean, terminal),
		number(s.Std, terminal),
		number(s.AbsMax, terminal),
		number(s.L2, terminal),
		render.Uint(s.Zeros),
		render.Uint(s.Denormals),
		bad(s.NaN),
		bad(s.PosInf),
		bad(s.NegInf),
		bad(s.PosInf+s.NegInf),
		distinct,
	)
	for _, q := range s.Quantiles {
		row = append(row, number(q, terminal))
	}
	fingerprint := render.Null()
	if !s.Fingerprint.IsZero() {
		fingerprint = render.Text(s.Fingerprint.String())
	}
	histogram := render.Null()
	if s.Histogram != nil {
		histogram = render.Value(bars(s.Histogram), jsonNumbers(s.Histogram))
	}
	return append(row, render.Float(s.QuantileError), fingerprint, histogram)
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
	steps := []rune("▁▂▃▄▅▆▇█")
	most := slices.Max(list)
	var b strings.Builder
	for _, n := range list {
		if n == 0 {
			b.WriteRune('·')
			continue
		}
		b.WriteRune(steps[min(int(float64(n)/float64(most)*float64(len(steps))), len(steps)-1)])
	}
	return b.String()
}

// layers puts the tensors of checkpoint k together.
func (m *measuring) layers(k int) []stats.Template {
	var c stats.Collector
	for i := range m.tensors {
		if t := &m.tensors[i]; t.checkpoint == k && t.stats != nil {
			c.Add(t.tensor.Name, t.stats)
		}
	}
	return c.Templates()
}

// writeLayers writes the roll-up: for people a line a template, for programs a
// row a template and layer.
func (m *measuring) writeLayers(w io.Writer, s render.Style) error {
	switch f := m.options.Format(); f {
	case render.TableFormat:
		return m.writeTable(w, s, func(k int) error { return m.writeTemplates(w, s, m.layers(k)) })
	case render.JSON:
		d := render.NewDocument(w)
		m.writeHead(d)
		d.Rows("layers", m.layerTable(true))
		render.List(d, "faults", m.in.jsonFaults())
		return d.Close()
	default:
		return m.layerTable(f == render.JSONL).Write(w, f, s)
	}
}

func (m *measuring) layerTable(numbered bool) *render.Table {
	columns := []render.Column{
		{Key: "checkpoint"},
		{Key: "template"},
		{Key: "layer"},
		{Key: "tensors"},
		{Key: "count"},
		{Key: "min"},
		{Key: "max"},
		{Key: "mean"},
		{Key: "std"},
		{Key: "abs_max"},
		{Key: "zeros"},
		{Key: "nan"},
		{Key: "inf"},
		{Key: "odd"},
	}
	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for k := range m.in.checkpoints {
			for _, t := range m.layers(k) {
				for i := range t.Layers {
					l := &t.Layers[i]
					row := []render.Cell{
						checkpointCell(m.in, k, numbered),
						render.Text(t.Name),
						render.Null(),
						render.Int(int64(l.Tensors)),
						render.Uint(l.Count),
						number(l.Min, false),
						number(l.Max, false),
						number(l.Mean, false),
						number(l.Std, false),
						number(l.AbsMax, false),
						render.Uint(l.Zeros),
						render.Uint(l.NaN),
						render.Uint(l.Inf),
						textOrNull(strings.Join(l.Odd, "; ")),
					}
					if l.Number >= 0 {
						row[2] = render.Int(int64(l.Number))
					}
					if !yield(row) {
						return
					}
				}
			}
		}
	}}
}

// writeTemplates writes a line a template, and below it the odd layers.
func (m *measuring) writeTemplates(w io.Writer, s render.Style, templates []stats.Template) error {
	var row []render.Cell
	table := &render.Table{
		Headings: render.Always,
		Columns: []render.Column{
			{Title: "NAME", Cut: render.CutMiddle},
			{Title: "LAYERS", Right: true},
			{Title: "STD", Right: true},
			{Title: "ABSMAX", Right: true},
			{Title: "STD BY LAYER", Cut: render.CutEnd},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for i := range templates {
				t := &templates[i]
				row = append(
					row[:0],
					render.Text(t.Name),
					render.Int(int64(len(t.Layers))),
					number(t.MedianStd, true),
					number(t.MedianAbsMax, true),
					textOrNull(sparkline(t)),
				)
				if !yield(row) {
					return
				}
			}
		},
	}
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
func sparkline(t *stats.Template) string {
	steps := []rune("▁▂▃▄▅▆▇█")
	lo, hi := math.Inf(1), math.Inf(-1)
	for i := range t.Layers {
		if v := t.Layers[i].Std; !math.IsNaN(v) {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	if len(t.Layers) < 2 {
		return ""
	}
	var b strings.Builder
	for i := range t.Layers {
		switch v := t.Layers[i].Std; {
		case math.IsNaN(v):
			b.WriteRune('·')
		case hi == lo:
			b.WriteRune(steps[3])
		default:
			b.WriteRune(steps[min(int((v-lo)/(hi-lo)*float64(len(steps))), len(steps)-1)])
		}
	}
	return b.String()
}
