package page

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
)

// The drawing is laid out for these pixels. A page stretches its width, and keeps its height.
const (
	mapWidth  = 960
	mapHeight = 480
	// frameTop is the heading of a frame, and frameEdge its other sides.
	frameTop  = 17
	frameEdge = 2
	// leastPart is the part of the bytes from which on a tile is drawn by itself, so that
	// there are at most 500.
	leastPart = 0.002
	// charWidth and lineHeight are those of labels.
	charWidth  = 6.8
	lineHeight = 14
	// phoneWidth is how wide the drawing is on a phone.
	phoneWidth = 320
)

// A treemap shows the parts of a model by their bytes.
type treemap struct {
	Title, Description string
	// Hidden says what is too small to be drawn, "" where nothing is.
	Hidden string
	Tiles  []tile
	Legend []legend
}

// A tile is a tensor, or a frame around several. Its sides are percentages.
type tile struct {
	X, Y, W, H string
	Class      string
	// Title says what the tile is, and Label and Size are written on it where they fit.
	Title, Label, Size string
	// Wide says that the label does not fit on a phone.
	Wide bool
}

type legend struct {
	Class, Text string
	X           int // in a drawing that stands alone
}

type rect struct{ x, y, w, h float64 }

// squarify divides r into parts of the given areas, which descend and add up to that of r,
// so that they are as square as may be: Bruls, Huizing and van Wijk, "Squarified Treemaps",
// 2000, section 3.
func squarify(areas []float64, r rect) []rect {
	out := make([]rect, 0, len(areas))
	for len(areas) > 0 {
		side := min(r.w, r.h)
		n, sum := 1, areas[0]
		for n < len(areas) && worst(areas[:n+1], sum+areas[n], side) <= worst(areas[:n], sum, side) {
			sum += areas[n]
			n++
		}
		// The row lies along the shorter side.
		thick := 0.0
		if side > 0 {
			thick = sum / side
		}
		at := 0.0
		for _, a := range areas[:n] {
			long := 0.0
			if thick > 0 {
				long = a / thick
			}
			if r.w >= r.h {
				out = append(out, rect{r.x, r.y + at, thick, long})
			} else {
				out = append(out, rect{r.x + at, r.y, long, thick})
			}
			at += long
		}
		if r.w >= r.h {
			r.x, r.w = r.x+thick, r.w-thick
		} else {
			r.y, r.h = r.y+thick, r.h-thick
		}
		areas = areas[n:]
	}
	return out
}

// worst is the greatest ratio of the sides of the parts of a row along a side: the areas
// descend, so that it is that of the first or of the last.
func worst(row []float64, sum, side float64) float64 {
	most, least := row[0], row[len(row)-1]
	return max(side*side*most/(sum*sum), sum*sum/(side*side*least))
}

// colorClass is the class of the k-th dtype, the one with the most bytes first.
func colorClass(k int) string {
	const colors = 8 // with a colour of their own in page.css
	if k >= colors {
		return "dx"
	}
	return "d" + strconv.Itoa(k)
}

// percentOf is a part as a percentage that SVG takes.
func percentOf(part, all uint64) string {
	if all == 0 {
		return "0%"
	}
	return percentage(float64(part) / float64(all) * 100)
}

func percentage(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) + "%" }

// shareText is a part as people read it.
func shareText(part, all uint64) string {
	f := float64(part) / float64(max(all, 1)) * 100
	if part > 0 && f < 0.05 {
		return "< 0.1 %"
	}
	if part < all {
		f = min(f, 99.9) // what is not all is not said to be
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " %"
}

// A drawing is a treemap in the making.
type drawing struct {
	*builder
	*treemap
	listing *inspect.Listing
	all     uint64
	room    int
	// hidden counts the tensors that are too small to be seen.
	hidden uint64
}

// draw draws where the bytes of a model are, and lists its largest parts.
func (b *builder) draw(m *model, l *inspect.Listing, parts int) {
	root := l.Tree(false)
	if root.Bytes.N == 0 || root.Bytes.Overflow {
		return
	}
	d := &drawing{builder: b, treemap: new(treemap), listing: l, all: root.Bytes.N, room: b.share(11, parts)}
	d.Title = "Where the bytes are"
	d.Description = fmt.Sprintf("Tensors of %s as rectangles, their areas in proportion to their bytes, inside of each other as their names are.", render.Size(d.all))
	d.node(root, "", rect{0, 0, mapWidth, mapHeight})
	if d.hidden > 0 {
		d.Hidden = fmt.Sprintf("%s %s too small to be drawn.", render.Counted(d.hidden, "tensor"), plural.Verb(d.hidden, "are"))
	}
	x := 0
	for _, t := range l.Totals().DTypes.ByBytes() {
		if text := name(t.DType); x+len(text)*8 < mapWidth-100 {
			d.Legend = append(d.Legend, legend{b.colors[t.DType], text, x})
			x += 44 + len(text)*8
		}
	}
	m.Map = d.treemap
	m.Parts = d.parts(root)
}

// A part is what a tile shows: a node, or several small ones beside each other.
type part struct {
	nodes   []*inspect.Node
	bytes   uint64
	tensors uint64
}

func (p *part) add(n *inspect.Node) {
	p.nodes = append(p.nodes, n)
	p.bytes += n.Bytes.N // which all together do not overflow
	p.tensors += n.Tensors
}

// partsOf returns what is below a node, the greatest first. Small nodes are put together in
// their order until they are large enough to be seen, those of a dtype by themselves.
func (d *drawing) partsOf(n *inspect.Node) []part {
	var out []part
	small := make(map[string]*part) // by dtype, until they are large enough
	var dtypes []string
	least := uint64(float64(d.all) * leastPart)
	for _, c := range n.Children() {
		if c.Bytes.N >= max(least, 1) {
			out = append(out, part{[]*inspect.Node{c}, c.Bytes.N, c.Tensors})
			continue
		}
		dtype := d.dtype(c)
		p := small[dtype]
		if p == nil {
			p = new(part)
			small[dtype] = p
			dtypes = append(dtypes, dtype)
		}
		if p.add(c); p.bytes >= max(least, 1) {
			out = append(out, *p)
			*p = part{}
		}
	}
	var rest part
	for _, dtype := range dtypes {
		for _, c := range small[dtype].nodes {
			rest.add(c)
		}
	}
	if rest.bytes >= max(least/4, 1) {
		out = append(out, rest)
	} else {
		d.hidden += rest.tensors
	}
	slices.SortStableFunc(out, func(a, b part) int { return cmp.Compare(b.bytes, a.bytes) })
	return out
}

// dtype is that of all tensors below a node, "" where they have several.
func (d *drawing) dtype(n *inspect.Node) string {
	if n.Leaf >= 0 {
		return d.listing.At(int(n.Leaf)).DType
	}
	first := ""
	for i, c := range n.Children() {
		switch dtype := d.dtype(c); {
		case i == 0:
			first = dtype
		case dtype != first:
			return ""
		}
	}
	return first
}

// node draws what is below a node into r.
func (d *drawing) node(n *inspect.Node, prefix string, r rect) {
	parts := d.partsOf(n)
	sum := 0.0
	for _, p := range parts {
		sum += float64(p.bytes)
	}
	areas := make([]float64, len(parts))
	for i, p := range parts {
		areas[i] = float64(p.bytes) / sum * r.w * r.h
	}
	for i, at := range squarify(areas, r) {
		p := &parts[i]
		c := p.nodes[0]
		full := prefix + c.Segment
		switch {
		case len(p.nodes) > 1:
			last := p.nodes[len(p.nodes)-1]
			class := cmp.Or(d.colors[d.dtypeOf(p)], "dx")
			d.tile(at, class, fmt.Sprintf("%s, from %s to %s: %s", render.Counted(p.tensors, "small tensor"), name(full), name(prefix+last.Segment), d.size(p.bytes)),
				c.Segment+" … "+last.Segment, render.Size(p.bytes))
		case c.Leaf >= 0:
			t := d.listing.At(int(c.Leaf))
			d.tile(at, d.colors[t.DType], d.leafTitle(full, c, &t), c.Segment, render.Size(p.bytes))
		case at.w > 5*charWidth && at.h > 2*frameTop:
			d.tile(rect{at.x, at.y, at.w, at.h}, "frame", fmt.Sprintf("%s: %s, %s", name(full), render.Counted(c.Tensors, "tensor"), d.size(p.bytes)), c.Segment, "")
			d.node(c, full+".", rect{at.x + frameEdge, at.y + frameTop, at.w - 2*frameEdge, at.h - frameTop - frameEdge})
		default:
			d.node(c, full+".", at)
		}
	}
}

// dtypeOf is the dtype of all tensors of a part, "" where they have several.
func (d *drawing) dtypeOf(p *part) string {
	first := d.dtype(p.nodes[0])
	for _, n := range p.nodes[1:] {
		if d.dtype(n) != first {
			return ""
		}
	}
	return first
}

func (d *drawing) size(bytes uint64) string {
	return render.Size(bytes) + ", " + shareText(bytes, d.all)
}

// leafTitle says what a tile of tensors is.
func (d *drawing) leafTitle(full string, n *inspect.Node, t *checkpoint.Tensor) string {
	s := name(full) + ": " + name(t.DType)
	if t.Shape != nil {
		s += " " + name(answer.ShapeText(t.Shape))
	}
	if n.Tensors > 1 {
		s += " x" + strconv.FormatUint(n.Tensors, 10)
	}
	return s + ", " + d.size(n.Bytes.N)
}

// tile draws a tile, with as much written on it as fits.
func (d *drawing) tile(r rect, class, title, label, size string) {
	t := tile{
		X: percentage(r.x / mapWidth * 100), Y: percentage(r.y / mapHeight * 100), W: percentage(r.w / mapWidth * 100), H: percentage(r.h / mapHeight * 100),
		Class: class,
	}
	const edge = 8
	if width := int((r.w - edge) / charWidth); width >= 3 && r.h > lineHeight {
		label = render.Escape(label)
		if n := utf8.RuneCountInString(label); n > width {
			label = string([]rune(label)[:width-1]) + "…"
		}
		t.Label = label
		t.Wide = float64(utf8.RuneCountInString(label))*charWidth > r.w/mapWidth*phoneWidth-edge
		if r.h > 2*lineHeight+6 && len(size) <= width {
			t.Size = size
		}
	}
	const markup = 200
	if d.room -= d.escaped(title) + d.escaped(t.Label) + markup; d.room > 0 {
		t.Title = title
	}
	d.Tiles = append(d.Tiles, t)
}

// parts lists the largest parts, those of a part that is more than half instead of it.
func (d *drawing) parts(root *inspect.Node) *table {
	type named struct {
		name string
		*inspect.Node
	}
	var list []named
	var walk func(n *inspect.Node, prefix string)
	walk = func(n *inspect.Node, prefix string) {
		for _, c := range n.Children() {
			full := prefix + c.Segment
			if c.Leaf < 0 && c.Bytes.N > d.all/2 {
				walk(c, full+".")
			} else if c.Bytes.N > 0 {
				list = append(list, named{full, c})
			}
		}
	}
	walk(root, "")
	slices.SortStableFunc(list, func(a, b named) int { return cmp.Compare(b.Bytes.N, a.Bytes.N) })
	const most = 24
	out := &table{Caption: "The largest parts", Titled: true, Columns: []column{{Title: "part", Code: true}, {Title: "tensors", Right: true}, {Title: "size", Right: true}, {Title: "share", Right: true}}}
	var rest inspect.Node
	row := func(text string, n *inspect.Node) []cell {
		return []cell{
			{Text: text},
			{render.Grouped(n.Tensors), strconv.FormatUint(n.Tensors, 10)},
			{render.Size(n.Bytes.N), strconv.FormatUint(n.Bytes.N, 10)},
			{shareText(n.Bytes.N, d.all), strconv.FormatUint(n.Bytes.N, 10)},
		}
	}
	for i, p := range list {
		if i >= most {
			rest.Tensors += p.Tensors
			rest.Bytes.Add(p.Bytes.N)
			continue
		}
		out.Rows = append(out.Rows, row(name(p.name), p.Node))
	}
	if n := len(list) - most; n > 0 {
		out.Rows = append(out.Rows, row(render.Counted(n, "smaller part"), &rest))
	}
	return out
}
