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

// A curve shows figures of a template from the first layer to the last, of one model or of
// two.
type curve struct {
	Name string
	// InA is the name in A where that is another.
	InA         string
	First, Last int
	Strips      []strip
}

// A strip is one of the figures, in a drawing of stripWidth by stripHeight.
type strip struct {
	Word, Low, High string
	// Paths are a line for each model.
	Paths []string
	// Texts say in words what the lines do.
	Texts []string
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

// layered reports whether a template has more than one layer.
func layered(t *inspect.StatsTemplate) bool { return len(t.Layers) > 1 }

// curves draws the templates that have more than one layer, apart from those that are
// drawn with those of another model.
func (b *builder) curves(m *model, templates []inspect.StatsTemplate, k, parts int) {
	var list [][]*inspect.StatsTemplate
	for i := range templates {
		if t := &templates[i]; layered(t) && !b.paired[t] {
			list = append(list, []*inspect.StatsTemplate{t})
		}
	}
	share := 11
	if len(b.paired) > 0 {
		share = 5
	}
	var more int
	if m.Curves, more = b.drawCurves(list, b.share(share, parts)); more > 0 {
		m.MoreCurves = &left{render.Counted(more, "more template"), b.of(k, "stats", "--by-layer")}
	}
}

// pairedCurves draws what both models of a pair have in several layers.
func (b *builder) pairedCurves(p *pair, pairs []inspect.LayersPair, parts int) {
	var list [][]*inspect.StatsTemplate
	for _, one := range pairs {
		if layered(one.A) && layered(one.B) {
			b.paired[one.A], b.paired[one.B] = true, true
			list = append(list, []*inspect.StatsTemplate{one.A, one.B})
		}
	}
	share := 6
	if b.o.OnlyDifference {
		share = 30
	}
	var more int
	if p.Curves, more = b.drawCurves(list, b.share(share, parts)); more > 0 {
		p.MoreCurves = &left{render.Counted(more, "more template"), b.command("stats", "--by-layer")}
	}
}

// drawCurves draws what fits of some templates, each of one model or of two, and counts the
// rest.
func (b *builder) drawCurves(list [][]*inspect.StatsTemplate, room int) (out []curve, more int) {
	first, last := math.MaxInt, 0
	for _, of := range list {
		for _, t := range of {
			for _, l := range t.Layers {
				first, last = min(first, l.Number), max(last, l.Number)
			}
		}
	}
	for i, of := range list {
		t := of[len(of)-1]
		c := curve{Name: name(t.Name), First: first, Last: last}
		if of[0].Name != t.Name {
			c.InA = name(of[0].Name)
		}
		cost := b.escaped(c.Name) + b.escaped(c.InA)
		for _, s := range stripsOf {
			one := newStrip(s.word, of, s.of, first, last)
			cost += 24*len(one.Odd) + 300
			for k, path := range one.Paths {
				cost += len(path) + len(one.Texts[k])
			}
			c.Strips = append(c.Strips, one)
		}
		if room -= cost; room < 0 || len(out) >= mostCurves {
			return out, len(list) - i
		}
		out = append(out, c)
	}
	return out, 0
}

type point struct {
	x, y float64
	odd  bool
}

func newStrip(word string, of []*inspect.StatsTemplate, figure func(l *inspect.Layer) float64, first, last int) strip {
	out := strip{Word: word}
	lo, hi := math.Inf(1), math.Inf(-1)
	var lines [][]point
	for k, t := range of {
		points := make([]point, len(t.Layers))
		low, high := math.Inf(1), math.Inf(-1)
		for i := range t.Layers {
			l := &t.Layers[i]
			points[i] = point{float64(l.Number), figure(l), len(l.Odd) > 0}
			if v := points[i].y; !math.IsNaN(v) && !math.IsInf(v, 0) {
				low, high = min(low, v), max(high, v)
			} else {
				points[i].y = math.NaN()
			}
		}
		lo, hi = min(lo, low), max(hi, high)
		slices.SortStableFunc(points, func(a, b point) int { return cmp.Compare(a.x, b.x) })
		lines = append(lines, points)
		text := "no number"
		if low <= high {
			text = "from " + figureText(low) + " to " + figureText(high)
		}
		if len(of) > 1 {
			text = "AB"[k:k+1] + " " + text
		}
		out.Texts = append(out.Texts, text)
	}
	if lo > hi {
		out.Low, out.High = "no number", "no number"
		return out
	}
	out.Low, out.High = rangeTexts(lo, hi)
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
	for _, points := range lines {
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
		out.Paths = append(out.Paths, path.String())
	}
	const mostOdd = 32
	odd := make(map[string]bool)
	for _, points := range lines {
		for _, p := range points {
			if at := x(p.x); p.odd && len(out.Odd) < mostOdd && !odd[at] {
				odd[at] = true
				out.Odd = append(out.Odd, at)
			}
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

// rangeTexts are the ends of a range, with the digits that tell them apart.
func rangeTexts(lo, hi float64) (low, high string) {
	for digits := 3; ; digits++ {
		low, high = strconv.FormatFloat(lo, 'g', digits, 64), strconv.FormatFloat(hi, 'g', digits, 64)
		if low != high || lo == hi {
			return low, high
		}
	}
}

func figureText(f float64) string { return strconv.FormatFloat(f, 'g', 3, 64) }

// formatNumber writes a number as JavaScript reads it.
func formatNumber(f float64) string {
	if math.IsInf(f, 0) {
		return strings.Replace(strconv.FormatFloat(f, 'g', -1, 64), "Inf", "Infinity", 1)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}
