package main

import (
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A node is a segment of names, or several that always follow each other.
type node struct {
	segment string
	*branch // nil while nothing is below it
	tensors uint64
	bytes   sum
	unknown bool // the size of some tensor
	// leaf is the index of a tensor of the group that ends here, or -1; of further
	// groups of the same name, which differ in dtype or shape, each has a node of
	// its own.
	leaf int32
}

// A branch is what is below a node.
type branch struct {
	children []*node
	byName   map[string]*node // nil while there are few
}

// manyChildren is from where on a node looks its children up in a map, which
// takes more room than most nodes.
const manyChildren = 8

// child returns the first child of that name, and makes it when there is none.
func (n *node) child(segment string) *node {
	if n.branch == nil {
		n.branch = new(branch)
	}
	if n.byName != nil {
		if c := n.byName[segment]; c != nil {
			return c
		}
	} else {
		for _, c := range n.children {
			if c.segment == segment {
				return c
			}
		}
	}
	c := &node{segment: segment, leaf: -1}
	n.children = append(n.children, c)
	switch {
	case n.byName != nil:
		n.byName[segment] = c
	case len(n.children) > manyChildren:
		n.byName = make(map[string]*node)
		for _, c := range slices.Backward(n.children) {
			n.byName[c.segment] = c // the first of a name comes last
		}
	}
	return c
}

// writeTree writes the names as a tree of their dotted segments; every node has
// the totals of what is below it.
func (l *listing) writeTree(w io.Writer, s render.Style, c *checkpoint.Checkpoint, indices []int) error {
	root := &node{leaf: -1}
	groups, _ := l.groups(c, indices)
	for g := range groups {
		var size sum
		unknown := false
		for _, m := range g.Members {
			t := l.of(c).At(indices[m])
			size.add(t.Bytes)
			unknown = unknown || !t.BytesKnown
		}
		add := func(n *node) {
			n.tensors += uint64(len(g.Members))
			n.bytes.add(size.n)
			n.bytes.overflow = n.bytes.overflow || size.overflow
			n.unknown = n.unknown || unknown
		}
		n := root
		add(n)
		segments := splitName(g.Name)
		for _, segment := range segments[:len(segments)-1] {
			n = n.child(segment)
			add(n)
		}
		last := segments[len(segments)-1]
		leaf := n.child(last)
		if leaf.leaf >= 0 {
			leaf = &node{segment: last}
			n.children = append(n.children, leaf)
		}
		add(leaf)
		leaf.leaf = int32(indices[g.Members[0]])
	}

	table := &render.Table{
		Headings: render.Always,
		Columns: []render.Column{
			{Title: "NAME", Cut: render.CutMiddle},
			{Title: "DTYPE"},
			{Title: "SHAPE"},
			{Title: "COUNT", Right: true},
			{Title: "SIZE", Right: true},
		},
		Rows: func(yield func([]render.Cell) bool) {
			row := make([]render.Cell, 5)
			l.walk(c, root, "", true, row, yield)
		},
	}
	if l.options.dims == "ggml" {
		table.Columns[2].Title = "DIMS"
	}
	return table.Write(w, render.TableFormat, s)
}

func (l *listing) walk(ck *checkpoint.Checkpoint, n *node, indent string, top bool, row []render.Cell, yield func([]render.Cell) bool) bool {
	if n.branch == nil {
		return true
	}
	for i, c := range n.children {
		segment := c.segment
		for c.leaf < 0 && len(c.children) == 1 { // what is no leaf has children
			c = c.children[0]
			segment += "." + c.segment
		}
		branch, below := "├─ ", "│  "
		if i == len(n.children)-1 {
			branch, below = "└─ ", "   "
		}
		if top {
			branch, below = "", ""
		}
		row[0] = render.Text(indent + branch + segment)
		row[1], row[2] = render.Text(" "), render.Text(" ")
		if c.leaf >= 0 {
			t := l.of(ck).At(int(c.leaf))
			row[1], row[2] = dtypeCell(&t).In(render.Cyan), render.Shape(t.Shape)
			if l.options.dims == "ggml" {
				row[2] = dimsCell(&t)
			}
		}
		row[3] = render.Text("x" + strconv.FormatUint(c.tensors, 10))
		row[4] = render.Null()
		if !c.unknown && !c.bytes.overflow {
			row[4] = render.Bytes(c.bytes.n)
		}
		if !yield(row) || !l.walk(ck, c, indent+below, false, row, yield) {
			return false
		}
	}
	return true
}

// splitName cuts a name, or the template of several, at the dots outside braces.
func splitName(name string) []string {
	var out []string
	depth, start := 0, 0
	for i := range len(name) {
		switch name[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		case '.':
			if depth == 0 {
				out = append(out, name[start:i])
				start = i + 1
			}
		}
	}
	return append(out, strings.Clone(name[start:]))
}
