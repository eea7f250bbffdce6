// Package stats puts the figures of tensors together by layer, so that a layer
// that is not like the others stands out.
//
// Tensors are put together by the template of their names, by segments: the first
// index counts layers, further ones, such as those of experts, are merged. A layer
// is judged against the other layers of its template alone, by facts: NaN,
// infinities, nothing but zeros, one single value, a spread or an extreme far from
// the median. Whether that is a mistake is not this package's to say.
package stats

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Template is the figures of the tensors of one template, layer by layer.
type Template struct {
	// Name has {layer} where the layer's number stands and * for other numbers:
	// "model.layers.{layer}.mlp.experts.*.up_proj.weight".
	Name string
	// Layers are in the order of their numbers. A tensor without a number has
	// one, numbered -1.
	Layers []Layer
	// MedianStd and MedianAbsMax are of the layers that have numbers to measure;
	// NaN where none has.
	MedianStd, MedianAbsMax float64
}

// A Layer is the tensors of a template in one layer, put together.
type Layer struct {
	Number  int // -1: no layer
	Tensors int
	Count   uint64 // all numbers
	NaN     uint64
	Inf     uint64
	Zeros   uint64
	// Min to AbsMax are of the finite numbers, NaN where there are none. Std is
	// of the population.
	Min, Max, Mean, Std, AbsMax float64
	// Odd says in what the layer is not like the others; empty in most.
	Odd []string

	finite float64
	m2     float64 // Σ(x-Mean)²
}

// A Collector takes in the figures of tensors. Its zero value is ready.
type Collector struct {
	templates []*Template // in order of first appearance
	byName    map[string]*Template
	layers    map[layerKey]int // index in Layers, while they are collected
}

type layerKey struct {
	of     *Template
	number int
}

// Add takes in the figures of a tensor.
func (c *Collector) Add(name string, s *values.Stats) {
	if c.byName == nil {
		c.byName, c.layers = make(map[string]*Template), make(map[layerKey]int)
	}
	folded, number := Split(name)
	t := c.byName[folded]
	if t == nil {
		t = &Template{Name: folded}
		c.byName[folded] = t
		c.templates = append(c.templates, t)
	}
	key := layerKey{t, number}
	i, ok := c.layers[key]
	if !ok {
		i = len(t.Layers)
		c.layers[key] = i
		nan := math.NaN()
		t.Layers = append(t.Layers, Layer{Number: number, Min: nan, Max: nan, Mean: nan, Std: nan, AbsMax: nan})
	}
	t.Layers[i].add(s)
}

// Split finds the template of a name and the number of the layer, -1 where no
// segment is a number.
func Split(name string) (folded string, layer int) {
	layer = -1
	if _, n, _, ok := template.Layer(name); ok {
		layer = n
	}
	return template.Segments.Replace(name, func(i int, _ string) string {
		if i == 0 {
			return "{layer}"
		}
		return "*"
	}), layer
}

// add puts a tensor's figures to the others: of n numbers with mean m and
// Σ(x-m)² each, as Chan, Golub and LeVeque combine them (1979).
func (l *Layer) add(s *values.Stats) {
	l.Tensors++
	l.Count += s.Count
	l.NaN += s.NaN
	l.Inf += s.PosInf + s.NegInf
	l.Zeros += s.Zeros
	n := float64(s.Finite())
	if n == 0 {
		return
	}
	m2 := s.Std * s.Std * n
	if l.finite == 0 {
		l.finite, l.m2 = n, m2
		l.Min, l.Max, l.Mean, l.AbsMax = s.Min, s.Max, s.Mean, s.AbsMax
	} else {
		total := l.finite + n
		d := s.Mean - l.Mean
		l.m2 += m2 + d*d*(l.finite/total)*n
		l.Mean += d * (n / total)
		l.finite = total
		l.Min, l.Max, l.AbsMax = min(l.Min, s.Min), max(l.Max, s.Max), max(l.AbsMax, s.AbsMax)
	}
	l.Std = math.Sqrt(l.m2 / l.finite)
}

// Templates returns what was collected, each template with its layers judged, in
// the order in which they were first added.
func (c *Collector) Templates() []Template {
	out := make([]Template, len(c.templates))
	for i, t := range c.templates {
		out[i] = *t
		out[i].Layers = slices.Clone(t.Layers)
		out[i].judge()
	}
	return out
}

// fewLayers is the number of layers below which a median says too little about
// any of them.
const fewLayers = 5

// A layer's spread or extreme is odd when it is farther from the median than
// manyDeviations times the usual distance, in logarithms, and by the factor
// notable at least: trained layers drift from the first to the last, and hardly
// ever jump.
const (
	manyDeviations = 6
	notable        = 2
)

func (t *Template) judge() {
	slices.SortStableFunc(t.Layers, func(a, b Layer) int { return cmp.Compare(a.Number, b.Number) })
	std := spreadOf(t.collect(func(l *Layer) float64 { return l.Std }))
	extreme := spreadOf(t.collect(func(l *Layer) float64 { return l.AbsMax }))
	t.MedianStd, t.MedianAbsMax = std.median, extreme.median
	constants := 0
	for i := range t.Layers {
		if t.Layers[i].constant() {
			constants++
		}
	}
	for i := range t.Layers {
		l := &t.Layers[i]
		l.Odd = nil
		if l.NaN > 0 {
			l.Odd = append(l.Odd, fmt.Sprintf("%d NaN", l.NaN))
		}
		if l.Inf > 0 {
			l.Odd = append(l.Odd, fmt.Sprintf("%d infinite", l.Inf))
		}
		// Where most layers are constant, as new norms and biases are, one more is
		// not odd.
		if l.constant() && 2*constants <= len(t.Layers) {
			if l.Min == 0 {
				l.Odd = append(l.Odd, "all zero")
			} else {
				l.Odd = append(l.Odd, fmt.Sprintf("all %.4g", l.Min))
			}
			continue
		}
		if len(t.Layers) < fewLayers || l.Number < 0 {
			continue
		}
		if s := std.outlier(l.Std, "std"); s != "" {
			l.Odd = append(l.Odd, s)
		} else if s := extreme.outlier(l.AbsMax, "abs max"); s != "" {
			l.Odd = append(l.Odd, s)
		}
	}
}

// constant reports whether all numbers are the same one, of several.
func (l *Layer) constant() bool { return l.finite > 1 && l.Min == l.Max }

func (t *Template) collect(f func(l *Layer) float64) []float64 {
	var out []float64
	for i := range t.Layers {
		if v := f(&t.Layers[i]); !math.IsNaN(v) {
			out = append(out, v)
		}
	}
	return out
}

// A spread is how figures lie about their median: usual is the distance that
// most of them have from it at most, in logarithms.
type spread struct{ median, usual float64 }

func spreadOf(all []float64) spread {
	s := spread{median: median(all)}
	distances := make([]float64, 0, len(all))
	for _, x := range all {
		distances = append(distances, math.Abs(math.Log(x/s.median)))
	}
	// 1.4826 makes a median of distances comparable to a standard deviation.
	s.usual = 1.4826 * median(distances)
	return s
}

// outlier says that v is far from the median, or returns "".
func (s spread) outlier(v float64, what string) string {
	if math.IsNaN(v) || s.median == 0 {
		return ""
	}
	ratio := v / s.median
	if d := math.Abs(math.Log(ratio)); d <= max(manyDeviations*s.usual, math.Log(notable)) {
		return ""
	}
	return fmt.Sprintf("%s %.3g, median %.3g", what, v, s.median)
}

// median returns NaN of nothing.
func median(x []float64) float64 {
	if len(x) == 0 {
		return math.NaN()
	}
	x = slices.Sorted(slices.Values(x))
	if n := len(x); n%2 == 0 {
		return (x[n/2-1] + x[n/2]) / 2
	}
	return x[len(x)/2]
}
