package browse

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A node is a line of the tree: a segment of names, or several that always follow each
// other; a group of tensors that differ in nothing but numbers; or one tensor.
type node struct {
	label string
	// units are the groups or tensors below, which differ from the segment at depth on.
	units []template.Group
	depth int
	// place is the first tensor below.
	place    int
	tensors  int
	bytes    inspect.Sum
	elements uint64
	// differ and unread count the tensors below that differ, and those whose values were
	// not compared.
	differ, unread int
	// leaf says that the tensors are one group, the only one of units.
	leaf bool

	open bool
	kids []*node // nil until it was opened
}

// hasKids reports whether there is anything to open.
func (n *node) hasKids() bool { return !n.leaf || n.tensors > 1 }

// only reports whether the node is one tensor.
func (n *node) only() bool { return n.tensors == 1 && n.leaf }

// A sorting is an order of the list and of each level of the tree.
type sorting struct {
	by      string
	reverse bool
}

// sorts are the orders, in which s goes from one to the next.
var sorts = []string{"file", "name", "size", "elements", "dtype"}

// mostFolded bounds the memory that folding takes, as ls does.
const mostFolded = 1 << 19

// fold puts tensors together that differ in the numbers of their names alone, or with flat
// none.
func fold(ctx context.Context, items Items, places []int32, flat bool) []template.Group {
	if flat || len(places) > mostFolded {
		units := make([]template.Group, len(places))
		members := make([]int, len(places))
		for i, place := range places {
			members[i] = int(place)
			units[i] = template.Group{Name: items.At(int(place)).Name, Members: members[i : i+1 : i+1]}
		}
		return units
	}
	var key []byte
	units := template.Fold(len(places), func(k int) (string, string) {
		if ctx.Err() != nil {
			return "", ""
		}
		i := items.At(int(places[k]))
		key = strconv.AppendBool(append(key[:0], i.Status...), i.Renamed)
		for side := range i.Sides {
			if t := &i.Sides[side]; i.Has[side] {
				key = append(append(key, ' '), t.DType...)
				key = append(strconv.AppendUint(append(key, ' '), t.Bytes, 10), shapeText(t.Shape)...)
			}
		}
		return i.Name, string(key)
	})
	for _, u := range units {
		for k, m := range u.Members {
			u.Members[k] = int(places[m])
		}
	}
	return units
}

// rootOf makes the tree of some tensors. Of several checkpoints each is a node.
func rootOf(ctx context.Context, items Items, places []int32, flat bool) *node {
	root := &node{}
	for len(places) > 0 {
		of := items.At(int(places[0])).Of
		n := len(places)
		if of != "" {
			if n = slices.IndexFunc(places, func(p int32) bool { return items.At(int(p)).Of != of }); n < 0 {
				n = len(places)
			}
		}
		part := measured(items, &node{label: of, units: fold(ctx, items, places[:n], flat)})
		if places = places[n:]; of == "" {
			part.kids = grow(ctx, items, part)
			return part
		}
		root.kids = append(root.kids, part)
		root.tensors += part.tensors
		root.bytes.Add(part.bytes.N)
	}
	return root
}

// unfold opens nodes from the top as long as no more than so many lines are open.
func unfold(ctx context.Context, items Items, root *node, lines int) {
	open := len(root.kids)
	level := root.kids
	for len(level) > 0 && ctx.Err() == nil {
		var next []*node
		for _, n := range level {
			if n.leaf || open >= lines {
				continue
			}
			n.kids = grow(ctx, items, n)
			if n.open = open+len(n.kids) <= lines; n.open {
				open += len(n.kids)
				next = append(next, n.kids...)
			}
		}
		level = next
	}
}

// arrangeAll sorts every level that was opened.
func (s sorting) arrangeAll(items Items, n *node) {
	s.arrange(items, n.kids)
	for _, kid := range n.kids {
		s.arrangeAll(items, kid)
	}
}

// grow makes the nodes below one.
func grow(ctx context.Context, items Items, n *node) []*node {
	if n.leaf {
		kids := make([]*node, n.tensors)
		for i := range kids {
			if ctx.Err() != nil {
				return nil
			}
			m := n.units[0].Members[i : i+1]
			kids[i] = measured(items, &node{units: []template.Group{{Name: items.At(m[0]).Name, Members: m}}, leaf: true})
			kids[i].label = kids[i].units[0].Name
		}
		return kids
	}
	var kids []*node
	byLabel := make(map[string]*node)
	for i := range n.units {
		u := n.units[i]
		if ctx.Err() != nil {
			return nil
		}
		segments := u.Segments()
		label := segments[n.depth]
		if len(segments) == n.depth+1 {
			kids = append(kids, &node{label: label, units: n.units[i : i+1], depth: n.depth + 1, leaf: true})
			continue
		}
		kid := byLabel[label]
		if kid == nil {
			kid = &node{label: label, depth: n.depth + 1}
			byLabel[label] = kid
			kids = append(kids, kid)
		}
		kid.units = append(kid.units, u)
	}
	for _, kid := range kids {
		kid.join()
		measured(items, kid)
	}
	return kids
}

// join makes one node of those that always follow each other.
func (n *node) join() {
	if n.leaf {
		return
	}
	first := n.units[0].Segments()
	end := len(first) // of what all have
	for _, u := range n.units[1:] {
		segments := u.Segments()
		end = min(end, len(segments)-1) // each of several is something by itself
		for k := n.depth; k < end; k++ {
			if segments[k] != first[k] {
				end = k
			}
		}
	}
	if len(n.units) > 1 {
		end = min(end, len(first)-1)
	}
	if end > n.depth {
		n.label += "." + strings.Join(first[n.depth:end], ".")
		n.depth = end
		n.leaf = end == len(first)
	}
}

// measured adds up what is below a node.
func measured(items Items, n *node) *node {
	n.place = n.units[0].Members[0]
	for _, u := range n.units {
		n.tensors += len(u.Members)
		for _, m := range u.Members {
			i := items.At(m)
			n.bytes.Add(size(i.one()))
			n.elements += elements(i.one())
			switch {
			case i.differs():
				n.differ++
			case i.Status == inspect.Agree:
				n.unread++
			}
		}
	}
	return n
}

// arrange sorts nodes.
func (s sorting) arrange(items Items, nodes []*node) {
	var compare func(a, b *node) int
	switch s.by {
	case "name":
		compare = func(a, b *node) int { return template.Compare(a.label, b.label) }
	case "size":
		compare = func(a, b *node) int { return cmp.Compare(b.bytes.N, a.bytes.N) }
	case "elements":
		compare = func(a, b *node) int { return cmp.Compare(b.elements, a.elements) }
	case "dtype":
		compare = func(a, b *node) int {
			x, y := items.At(a.place), items.At(b.place)
			return strings.Compare(x.one().DType, y.one().DType)
		}
	default:
		compare = func(a, b *node) int { return 0 }
	}
	slices.SortFunc(nodes, func(a, b *node) int { return s.turn(cmp.Or(compare(a, b), cmp.Compare(a.place, b.place))) })
}

func (s sorting) turn(order int) int {
	if s.reverse {
		return -order
	}
	return order
}

// places sorts tensors. Of sizes and elements the greatest comes first.
func (s sorting) places(ctx context.Context, items Items, list []int32) {
	if s.by == "file" {
		slices.Sort(list)
		if s.reverse {
			slices.Reverse(list)
		}
		return
	}
	type keyed struct {
		text  string
		n     uint64
		place int32
	}
	keys := make([]keyed, len(list))
	for k, place := range list {
		if ctx.Err() != nil {
			return
		}
		i := items.At(int(place))
		keys[k].place = place
		switch s.by {
		case "name":
			keys[k].text = i.Name
		case "dtype":
			keys[k].text = i.one().DType
		case "size":
			keys[k].n = size(i.one())
		case "elements":
			keys[k].n = elements(i.one())
		}
	}
	texts := strings.Compare
	if s.by == "name" {
		texts = template.Compare
	}
	slices.SortFunc(keys, func(a, b keyed) int {
		if ctx.Err() != nil { // whatever comes of it, nobody waits for it
			return 0
		}
		return s.turn(cmp.Or(cmp.Compare(b.n, a.n), texts(a.text, b.text), cmp.Compare(a.place, b.place)))
	})
	for k := range keys {
		list[k] = keys[k].place
	}
}

// A row is a line of the tree as it is open.
type row struct {
	*node
	indent int
	// of is what the node's share is of.
	of uint64
}

// rowsOf lists what is open below a node.
func rowsOf(n *node, indent int, out []row) []row {
	for _, kid := range n.kids {
		out = append(out, row{kid, indent, n.bytes.N})
		if kid.open {
			out = rowsOf(kid, indent+1, out)
		}
	}
	return out
}
