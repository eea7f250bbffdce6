package inspect

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/stats"
	"github.com/wtinspect/wtinspect/internal/values"
)

// StatsOptions adjust [Stats]. Nil options are the defaults.
type StatsOptions struct {
	Select Selection
	// Workers bounds how many tensors are worked on at once. 0 means GOMAXPROCS.
	Workers int
	// Quantiles finds those of block-quantised tensors, too, which takes several
	// times as long.
	Quantiles bool
	// Bins is how many intervals a histogram has. 0 leaves it out.
	Bins int
	// Sample is the part of each tensor that is read, in blocks spread evenly over
	// it. 0 means all.
	Sample float64
	// Progress is told how many bytes are done, by several goroutines at once.
	Progress func(done, total int64)
}

// A StatsResult has the figures of the values of a set's tensors.
type StatsResult struct {
	Checkpoints []CheckpointName `json:"checkpoints"`
	// Sample is the part of each tensor that was read, nil for all.
	Sample  *float64      `json:"sample"`
	Tensors []TensorStats `json:"tensors"`
	Faults  Seq[Fault]    `json:"faults"`
}

// TensorStats are the figures of a tensor.
type TensorStats struct {
	Tensor
	// Err says why there are no figures.
	Err error
	// Read is how many bytes were read.
	Read int64
	// Figures is nil when Err is not.
	Figures *Figures

	stats *values.Stats
}

// Figures are those of a tensor's numbers, or of the part that was read. Min to
// L2 and the quantiles are of the finite numbers, and NaN where there are none.
type Figures struct {
	Count, NaN, PosInf, NegInf uint64
	Zeros                      uint64 // 0 and -0
	// Denormals counts the numbers that are subnormal in the tensor's own type.
	Denormals uint64
	Min, Max  float64
	Mean, Std float64 // Std is of the population
	AbsMax    float64
	L2        float64
	// Distinct counts different finite numbers; -1 when it is not known.
	Distinct int64
	// Quantiles are those of [Percents], NaN where they were not asked for.
	Quantiles []float64
	// QuantileError is how far a quantile may be off, relative to it; 0 says that
	// they are exact.
	QuantileError float64
	// Histogram counts the numbers in equal intervals from Min to Max; nil when it
	// was not asked for or cannot be known.
	Histogram []uint64
	// Fingerprint is of the numbers in whatever order, "" when it is not known.
	Fingerprint string
}

// Percents are the percentages that [Figures].Quantiles answer.
func Percents() []int { return values.Percents() }

// Finite returns how many numbers are neither infinite nor NaN.
func (f *Figures) Finite() uint64 { return f.Count - f.NaN - f.PosInf - f.NegInf }

// MarshalJSON implements [json.Marshaler].
func (t TensorStats) MarshalJSON() ([]byte, error) {
	o := object{'{'}
	o.tensor(&t.Tensor)
	o.text("file", t.FileName)
	o.add("bytes", optional(t.Bytes, t.BytesKnown))
	f := t.Figures
	known := f != nil
	if !known {
		f = &Figures{Distinct: -1, Quantiles: make([]float64, len(Percents()))}
	}
	o.add("read", optional(t.Read, known))
	o.add("count", optional(f.Count, known))
	for _, m := range []struct {
		key   string
		value float64
	}{{"min", f.Min}, {"max", f.Max}, {"mean", f.Mean}, {"std", f.Std}, {"abs_max", f.AbsMax}, {"l2", f.L2}} {
		o.figure(m.key, m.value, known)
	}
	o.add("zeros", optional(f.Zeros, known))
	o.add("denormals", optional(f.Denormals, known))
	o.add("nan", optional(f.NaN, known))
	o.add("pos_inf", optional(f.PosInf, known))
	o.add("neg_inf", optional(f.NegInf, known))
	o.add("distinct", optional(f.Distinct, f.Distinct >= 0))
	for i, p := range Percents() {
		o.figure("p"+strconv.Itoa(p), f.Quantiles[i], known)
	}
	o.number("quantile_error", f.QuantileError, known)
	o.add("fingerprint", some(f.Fingerprint))
	o.add("histogram", f.Histogram)
	o.err(t.Err)
	return o.end()
}

// An object is a JSON object in the making, of rows whose members depend on what
// was asked for.
type object []byte

func (o *object) add(key string, v any) {
	data, err := render.Marshal(v)
	if err != nil {
		panic(err) // members are numbers and text
	}
	if len(*o) > 1 {
		*o = append(*o, ',')
	}
	*o = append(append(strconv.AppendQuote(*o, key), ':'), data...)
}

// text adds text, null when it is empty, with its bytes when JSON cannot hold it.
func (o *object) text(key, s string) {
	o.add(key, some(s))
	if raw := notUTF8(s); raw != nil {
		o.add(key+"_base64", raw)
	}
}

// tensor adds what is the same in every row of a tensor.
func (o *object) tensor(t *Tensor) {
	o.add("checkpoint", t.Checkpoint)
	o.name("name", t.Name, true)
	o.add("dtype", some(t.DType))
	o.add("shape", t.Shape)
}

// name adds text that may be empty.
func (o *object) name(key, s string, known bool) {
	if s != "" || !known {
		o.text(key, s)
		return
	}
	o.add(key, s)
}

// figure adds a number: null when it is unknown or NaN, text when it is infinite.
func (o *object) figure(key string, f float64, known bool) {
	switch {
	case !known || math.IsNaN(f):
		o.add(key, nil)
	case math.IsInf(f, 1):
		o.add(key, "Infinity")
	case math.IsInf(f, -1):
		o.add(key, "-Infinity")
	default:
		*o = append(append(strconv.AppendQuote(append(*o, ','), key), ':'), strconv.FormatFloat(f, 'g', -1, 64)...)
	}
}

// number is figure for what is NaN only where that is its value.
func (o *object) number(key string, f float64, known bool) {
	if known && math.IsNaN(f) {
		o.add(key, "NaN")
		return
	}
	o.figure(key, f, known)
}

func (o *object) err(err error) {
	if err == nil {
		o.add("error", nil)
		return
	}
	o.text("error", err.Error())
}

func (o *object) end() ([]byte, error) { return append(*o, '}'), nil }

func optional[T any](v T, known bool) *T {
	if !known {
		return nil
	}
	return &v
}

// Stats reads the values of tensors and finds their figures. What is wrong with
// one tensor is in its row; an error means that ctx ended, or that the options
// make no sense.
func Stats(ctx context.Context, set *Set, opts *StatsOptions) (*StatsResult, error) {
	if opts == nil {
		opts = new(StatsOptions)
	}
	selected, err := opts.Select.Compile()
	if err != nil {
		return nil, err
	}
	r := &StatsResult{Checkpoints: names(set.Checkpoints), Tensors: []TensorStats{}, Faults: set.Faults()}
	var (
		sections []values.Section
		of       []int
		total    float64
	)
	for i, t := range selectedTensors(set, selected) {
		one := TensorStats{Tensor: t}
		c := set.Checkpoints[t.Checkpoint]
		s, err := compare.Section(c, i)
		switch {
		case err != nil:
			one.Err = err
		case s.Type == nil:
			one.Err = inFile(c, t.File, fmt.Errorf("tensor %q: this version does not know the numbers of %s", t.Name, t.DType))
		default:
			sections, of = append(sections, s), append(of, len(r.Tensors))
			total += float64(s.Data.Size())
		}
		r.Tensors = append(r.Tensors, one)
	}
	if opts.Sample > 0 {
		total *= opts.Sample
		r.Sample = &opts.Sample
	}
	err = values.Run(ctx, sections, values.Options{
		Workers: opts.Workers, Sample: opts.Sample,
		Stats:    &values.StatsOptions{BlockQuantiles: opts.Quantiles || opts.Bins > 0, Bins: opts.Bins},
		Progress: counter(opts.Progress, int64(min(total, math.MaxInt64/2))),
	}, func(i int, res *values.Result) error {
		t := &r.Tensors[of[i]]
		t.Err = inFile(set.Checkpoints[t.Checkpoint], t.File, res.Err)
		t.Read, t.stats, t.Figures = res.Read, res.Stats, figuresOf(res.Stats)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// Errors returns what could not be read.
func (r *StatsResult) Errors() []error {
	var out []error
	for i := range r.Tensors {
		if err := r.Tensors[i].Err; err != nil {
			out = append(out, err)
		}
	}
	return out
}

// selectedTensors yields the tensors of a set that are chosen, and their indices
// in their checkpoints.
func selectedTensors(set *Set, selected func(name string) bool) func(yield func(int, Tensor) bool) {
	return func(yield func(int, Tensor) bool) {
		for k, c := range set.Checkpoints {
			for i, t := range c.All() {
				if selected != nil && !selected(t.Name) {
					continue
				}
				one := Tensor{Checkpoint: k, Tensor: t}
				if t.File >= 0 {
					one.FileName = c.Files[t.File].Name
				}
				if !yield(i, one) {
					return
				}
			}
		}
	}
}

// inFile adds the path of a tensor's file to an error that lacks it.
func inFile(c *checkpoint.Checkpoint, file int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", c.Files[file].Path, err)
}

func figuresOf(s *values.Stats) *Figures {
	if s == nil {
		return nil
	}
	f := &Figures{
		Count: s.Count, NaN: s.NaN, PosInf: s.PosInf, NegInf: s.NegInf, Zeros: s.Zeros, Denormals: s.Denormals,
		Min: s.Min, Max: s.Max, Mean: s.Mean, Std: s.Std, AbsMax: s.AbsMax, L2: s.L2, Distinct: s.Distinct,
		Quantiles: s.Quantiles[:], QuantileError: s.QuantileError, Histogram: s.Histogram,
	}
	if !s.Fingerprint.IsZero() {
		f.Fingerprint = s.Fingerprint.String()
	}
	return f
}

// A LayersResult is a [StatsResult] by template and layer.
type LayersResult struct {
	Checkpoints []CheckpointName `json:"checkpoints"`
	Sample      *float64         `json:"sample"`
	Layers      Seq[LayerRow]    `json:"layers"`
	Faults      Seq[Fault]       `json:"faults"`
	// Templates are those of each checkpoint.
	Templates [][]StatsTemplate `json:"-"`
}

// A StatsTemplate is the figures of the tensors that have the same part in every
// layer.
type StatsTemplate struct {
	// Name has {layer} for the layer's number and * for other numbers.
	Name   string
	Layers []Layer
	// MedianStd and MedianAbsMax are of the layers that have numbers to measure;
	// NaN where none has.
	MedianStd, MedianAbsMax float64
}

// A Layer is the tensors of a template in one layer, put together.
type Layer struct {
	Number                 int // -1: no layer
	Tensors                int
	Count, NaN, Inf, Zeros uint64
	// Min to AbsMax are of the finite numbers, NaN where there are none.
	Min, Max, Mean, Std, AbsMax float64
	// Odd says in what the layer is not like the others; empty in most.
	Odd []string
}

// A LayerRow is a layer of a template of a checkpoint.
type LayerRow struct {
	Checkpoint int
	Template   string
	Layer
}

// MarshalJSON implements [json.Marshaler].
func (r LayerRow) MarshalJSON() ([]byte, error) {
	o := object{'{'}
	o.add("checkpoint", r.Checkpoint)
	o.name("template", r.Template, true)
	o.add("layer", optional(r.Number, r.Number >= 0))
	o.add("tensors", r.Tensors)
	o.add("count", r.Count)
	o.figure("min", r.Min, true)
	o.figure("max", r.Max, true)
	o.figure("mean", r.Mean, true)
	o.figure("std", r.Std, true)
	o.figure("abs_max", r.AbsMax, true)
	o.add("zeros", r.Zeros)
	o.add("nan", r.NaN)
	o.add("inf", r.Inf)
	o.add("odd", some(r.OddText()))
	return o.end()
}

// OddText says in what the layer is not like the others, "" when it is.
func (l *Layer) OddText() string { return strings.Join(l.Odd, "; ") }

// ByLayer puts the figures together by template and layer.
func (r *StatsResult) ByLayer() *LayersResult {
	out := &LayersResult{Checkpoints: r.Checkpoints, Sample: r.Sample, Faults: r.Faults}
	collectors := make([]stats.Collector, len(r.Checkpoints))
	for i := range r.Tensors {
		if t := &r.Tensors[i]; t.stats != nil {
			collectors[t.Checkpoint].Add(t.Name, t.stats)
		}
	}
	for k := range collectors {
		var list []StatsTemplate
		for _, t := range collectors[k].Templates() {
			one := StatsTemplate{Name: t.Name, MedianStd: t.MedianStd, MedianAbsMax: t.MedianAbsMax}
			for _, l := range t.Layers {
				one.Layers = append(one.Layers, Layer{
					Number: l.Number, Tensors: l.Tensors, Count: l.Count, NaN: l.NaN, Inf: l.Inf, Zeros: l.Zeros,
					Min: l.Min, Max: l.Max, Mean: l.Mean, Std: l.Std, AbsMax: l.AbsMax, Odd: l.Odd,
				})
			}
			list = append(list, one)
		}
		out.Templates = append(out.Templates, list)
	}
	out.Layers = func(yield func(LayerRow) bool) {
		for k, list := range out.Templates {
			for i := range list {
				for _, l := range list[i].Layers {
					if !yield(LayerRow{k, list[i].Name, l}) {
						return
					}
				}
			}
		}
	}
	return out
}

// A StatsSummary counts, in one checkpoint, what is hardly ever meant.
type StatsSummary struct {
	Tensors           int
	Numbers, NaN, Inf uint64
	// WithNaN and WithInf count the tensors, Zero those that are all zero, and
	// Constant those of another single value.
	WithNaN, WithInf, Zero, Constant int
}

// Summary sums up checkpoint k.
func (r *StatsResult) Summary(k int) StatsSummary {
	var out StatsSummary
	for i := range r.Tensors {
		t := &r.Tensors[i]
		if t.Checkpoint != k || t.Figures == nil {
			continue
		}
		f := t.Figures
		out.Tensors++
		out.Numbers += f.Count
		out.NaN += f.NaN
		out.Inf += f.PosInf + f.NegInf
		if f.NaN > 0 {
			out.WithNaN++
		}
		if f.PosInf+f.NegInf > 0 {
			out.WithInf++
		}
		switch {
		case f.Finite() < 2 || f.Min != f.Max:
		case f.Min == 0:
			out.Zero++
		default:
			out.Constant++
		}
	}
	return out
}
