package page

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A curve shows figures of a template from the first layer to the last.
type curve struct {
	Name        string
	First, Last int
	Strips      []strip
}

// A strip is one of the figures, in a drawing of stripWidth by stripHeight.
type strip struct {
	Word, Low, High string
	Path            string
	// Odd are the places of the layers that are not like the others.
	Odd []string
}

const (
	stripWidth  = 200
	stripHeight = 32
	stripEdge   = 3
	// mostPoints is how many points a line has; of more layers it has the extremes.
	mostPoints = 240
	mostCurves = 40
)

// stripsOf are the figures that are drawn.
var stripsOf = []struct {
	word string
	of   func(l *inspect.Layer) float64
}{
	{"mean", func(l *inspect.Layer) float64 { return l.Mean }},
	{"std", func(l *inspect.Layer) float64 { return l.Std }},
	{"abs max", func(l *inspect.Layer) float64 { return l.AbsMax }},
}

// curves draws the templates that have more than one layer.
func (b *builder) curves(m *model, templates []inspect.StatsTemplate, k, parts int) {
	layered := slices.DeleteFunc(slices.Clone(templates), func(t inspect.StatsTemplate) bool { return len(t.Layers) < 2 })
	first, last := math.MaxInt, 0
	for i := range layered {
		for _, l := range layered[i].Layers {
			first, last = min(first, l.Number), max(last, l.Number)
		}
	}
	room := b.share(11, parts)
	for i := range layered {
		t := &layered[i]
		c := curve{Name: name(t.Name), First: first, Last: last}
		cost := b.escaped(c.Name)
		for _, s := range stripsOf {
			one := newStrip(s.word, t.Layers, s.of, first, last)
			cost += len(one.Path) + 24*len(one.Odd) + 300
			c.Strips = append(c.Strips, one)
		}
		if room -= cost; room < 0 || len(m.Curves) >= mostCurves {
			m.MoreCurves = &left{render.Counted(len(layered)-i, "more template"), b.of(k, "stats", "--by-layer")}
			return
		}
		m.Curves = append(m.Curves, c)
	}
}

type point struct {
	x, y float64
	odd  bool
}

func newStrip(word string, layers []inspect.Layer, of func(l *inspect.Layer) float64, first, last int) strip {
	points := make([]point, len(layers))
	lo, hi := math.Inf(1), math.Inf(-1)
	for i := range layers {
		l := &layers[i]
		points[i] = point{float64(l.Number), of(l), len(l.Odd) > 0}
		if v := points[i].y; !math.IsNaN(v) && !math.IsInf(v, 0) {
			lo, hi = min(lo, v), max(hi, v)
		} else {
			points[i].y = math.NaN()
		}
	}
	slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
	out := strip{Word: word}
	if lo > hi {
		out.Low, out.High = "no number", "no number"
		return out
	}
	out.Low, out.High = figureText(lo), figureText(hi)
	x := func(n float64) string {
		return coordinate(stripEdge + (n-float64(first))/max(float64(last-first), 1)*(stripWidth-2*stripEdge))
	}
	y := func(v float64) string {
		if lo == hi {
			return coordinate(stripHeight / 2)
		}
		// Halves, since the difference of the two may be infinite.
		return coordinate(stripHeight - stripEdge - (v/2-lo/2)/(hi/2-lo/2)*(stripHeight-2*stripEdge))
	}
	var path strings.Builder
	pen := false
	for _, p := range thin(points) {
		if math.IsNaN(p.y) {
			pen = false
			continue
		}
		if pen {
			fmt.Fprintf(&path, "L%s %s", x(p.x), y(p.y))
		} else {
			fmt.Fprintf(&path, "M%s %sh0", x(p.x), y(p.y)) // which is a dot when nothing follows
		}
		pen = true
	}
	out.Path = path.String()
	const mostOdd = 32
	for _, p := range points {
		if p.odd && len(out.Odd) < mostOdd {
			out.Odd = append(out.Odd, x(p.x))
		}
	}
	return out
}

// thin keeps, of more points than are drawn, the least and the greatest of those that fall
// together.
func thin(points []point) []point {
	if len(points) <= mostPoints {
		return points
	}
	var out []point
	size := (len(points) + mostPoints/2 - 1) / (mostPoints / 2)
	for part := range slices.Chunk(points, size) {
		least, greatest := 0, 0
		for i, p := range part {
			if !(p.y >= part[least].y) && !math.IsNaN(p.y) {
				least = i
			}
			if !(p.y <= part[greatest].y) && !math.IsNaN(p.y) {
				greatest = i
			}
		}
		out = append(out, part[min(least, greatest)])
		if least != greatest {
			out = append(out, part[max(least, greatest)])
		}
	}
	return out
}

func coordinate(f float64) string { return strconv.FormatFloat(math.Round(f*10)/10, 'f', -1, 64) }

func figureText(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }

func formatNumber(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
