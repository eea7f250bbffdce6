package inspect

import (
	"context"
	"fmt"
	"math"
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
	// Quantised is how many of the tensors are weights whose elements are numbers only together
	// with other tensors, such as their scales. The figures are of the elements.
	Quantised int `json:"-"`
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

type jsonStats struct {
	jsonName
	// File is relative to the directory of the checkpoint.
	File       *string `json:"file"`
	FileBase64 []byte  `json:"file_base64,omitempty"`
	Bytes      *uint64 `json:"bytes"`
	TiedTo     *string `json:"tied_to,omitempty"` // as in a list of tensors
	// Read is how many bytes were read.
	Read *int64 `json:"read"`
	// Count is how many numbers there are, or were read.
	Count *uint64 `json:"count"`
	// Min, Max, Mean, Std, AbsMax and L2 are of the finite numbers, nil where there are none.
	Min  *figure `json:"min"`
	Max  *figure `json:"max"`
	Mean *figure `json:"mean"`
	// Std is the standard deviation of the population.
	Std    *figure `json:"std"`
	AbsMax *figure `json:"abs_max"`
	// L2 is the root of the sum of the squares.
	L2 *figure `json:"l2"`
	// Zeros counts 0 and -0.
	Zeros *uint64 `json:"zeros"`
	// Denormals counts the numbers that are subnormal in the tensor's own type.
	Denormals *uint64 `json:"denormals"`
	NaN       *uint64 `json:"nan"`
	PosInf    *uint64 `json:"pos_inf"`
	NegInf    *uint64 `json:"neg_inf"`
	// Distinct counts different finite numbers.
	Distinct *int64 `json:"distinct"`
	// P1, P5, P25, P50, P75, P95 and P99 are the least numbers that at least 1 % to 99 % of
	// the finite numbers do not exceed.
	P1  *figure `json:"p1"`
	P5  *figure `json:"p5"`
	P25 *figure `json:"p25"`
	P50 *figure `json:"p50"`
	P75 *figure `json:"p75"`
	P95 *figure `json:"p95"`
	P99 *figure `json:"p99"`
	// QuantileError is how far P1 to P99 may be off, relative to them; 0 says that they
	// are exact.
	QuantileError *figure `json:"quantile_error"`
	// Fingerprint is of the numbers in whatever order.
	Fingerprint *string `json:"fingerprint"`
	// Histogram counts, with --histogram, the numbers in equal intervals from Min to Max.
	Histogram []uint64 `json:"histogram"`
	// Error says why there are no figures.
	Error       *string `json:"error"`
	ErrorBase64 []byte  `json:"error_base64,omitempty"`
}

// MarshalJSON implements [json.Marshaler].
func (t TensorStats) MarshalJSON() ([]byte, error) {
	j := jsonStats{
		jsonName: t.jsonName(), File: some(t.FileName), FileBase64: notUTF8(t.FileName), Bytes: optional(t.Bytes, t.BytesKnown),
		TiedTo: some(t.TiedTo),
	}
	j.Error, j.ErrorBase64 = errorText(t.Err)
	if f := t.Figures; f != nil {
		j.Read, j.Count, j.Zeros, j.Denormals = &t.Read, &f.Count, &f.Zeros, &f.Denormals
		j.NaN, j.PosInf, j.NegInf, j.Distinct = &f.NaN, &f.PosInf, &f.NegInf, optional(f.Distinct, f.Distinct >= 0)
		j.Min, j.Max, j.Mean, j.Std, j.AbsMax, j.L2 = known(f.Min), known(f.Max), known(f.Mean), known(f.Std), known(f.AbsMax), known(f.L2)
		for i, p := range []**figure{&j.P1, &j.P5, &j.P25, &j.P50, &j.P75, &j.P95, &j.P99} {
			*p = known(f.Quantiles[i])
		}
		j.QuantileError, j.Fingerprint, j.Histogram = (*figure)(&f.QuantileError), some(f.Fingerprint), f.Histogram
	}
	return render.Marshal(j)
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
	weights := make(map[int]map[int][]string) // of each checkpoint that is asked
	for i, t := range selectedTensors(set, selected) {
		one := TensorStats{Tensor: t}
		c := set.Checkpoints[t.Checkpoint]
		if first, ok := c.TiedTo(i); ok {
			one.TiedTo = c.At(first).Name
		}
		if mayBeCodes(t.DType) {
			if weights[t.Checkpoint] == nil {
				weights[t.Checkpoint] = quantised(c)
			}
			if weights[t.Checkpoint][i] != nil {
				r.Quantised++
			}
		}
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
	part := 1.0
	if opts.Sample > 0 {
		part = opts.Sample
	}
	reach := newReach(ctx)
	for _, i := range of {
		t := &r.Tensors[i].Tensor
		reach.add(set.Checkpoints[t.Checkpoint], &t.Tensor, part)
	}
	if err := reach.allow(); err != nil {
		return nil, err
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

type jsonLayer struct {
	// Checkpoint is the index in checkpoints.
	Checkpoint int `json:"checkpoint"`
	// Template has {layer} for the layer's number and * for other numbers.
	Template       string `json:"template"`
	TemplateBase64 []byte `json:"template_base64,omitempty"`
	// Layer is its number, nil where there is none.
	Layer *int `json:"layer"`
	// Tensors is how many are put together.
	Tensors int    `json:"tensors"`
	Count   uint64 `json:"count"`
	// Min, Max, Mean, Std and AbsMax are of the finite numbers, nil where there are none.
	Min    *figure `json:"min"`
	Max    *figure `json:"max"`
	Mean   *figure `json:"mean"`
	Std    *figure `json:"std"`
	AbsMax *figure `json:"abs_max"`
	Zeros  uint64  `json:"zeros"`
	NaN    uint64  `json:"nan"`
	Inf    uint64  `json:"inf"`
	// Odd says in what the layer is not like the others, nil when it is.
	Odd *string `json:"odd"`
}

// MarshalJSON implements [json.Marshaler].
func (r LayerRow) MarshalJSON() ([]byte, error) {
	return render.Marshal(jsonLayer{
		Checkpoint: r.Checkpoint, Template: r.Template, TemplateBase64: notUTF8(r.Template), Layer: optional(r.Number, r.Number >= 0),
		Tensors: r.Tensors, Count: r.Count, Min: known(r.Min), Max: known(r.Max), Mean: known(r.Mean), Std: known(r.Std),
		AbsMax: known(r.AbsMax), Zeros: r.Zeros, NaN: r.NaN, Inf: r.Inf, Odd: some(r.OddText()),
	})
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
