package inspect

import "slices"

// A Node of a [Listing.Tree] is a segment of names, or several that always follow
// each other.
type Node struct {
	Segment string
	// Tensors and Bytes add up what the node has below it.
	Tensors uint64
	Bytes   Sum
	// Unknown says that the size of some tensor is not known.
	Unknown bool
	// Leaf is the place in the listing of a tensor of the group that ends here, or
	// -1; of further groups of the same name, which differ in dtype or shape, each
	// has a node of its own.
	Leaf int32

	*branch // nil while nothing is below it
}

// Children returns the nodes below n.
func (n *Node) Children() []*Node {
	if n.branch == nil {
		return nil
	}
	return n.children
}

// A branch is what is below a node.
type branch struct {
	children []*Node
	byName   map[string]*Node // nil while there are few
}

// manyChildren is from where on a node looks its children up in a map, which
// takes more room than most nodes.
const manyChildren = 8

// child returns the first child of that name, and makes it when there is none.
func (n *Node) child(segment string) *Node {
	if n.branch == nil {
		n.branch = new(branch)
	}
	if n.byName != nil {
		if c := n.byName[segment]; c != nil {
			return c
		}
	} else {
		for _, c := range n.children {
			if c.Segment == segment {
				return c
			}
		}
	}
	c := &Node{Segment: segment, Leaf: -1}
	n.children = append(n.children, c)
	switch {
	case n.byName != nil:
		n.byName[segment] = c
	case len(n.children) > manyChildren:
		n.byName = make(map[string]*Node)
		for _, c := range slices.Backward(n.children) {
			n.byName[c.Segment] = c // the first of a name comes last
		}
	}
	return c
}

// Tree puts the names together by their dotted segments, in groups as [Groups]
// does; every node has the totals of what is below it. The root has no segment.
func (l *Listing) Tree(flat bool) *Node {
	root := &Node{Leaf: -1}
	groups, _ := l.Groups(flat)
	for g := range groups {
		add := func(n *Node) {
			n.Tensors += uint64(len(g.Members))
			n.Bytes.Add(g.Bytes.N)
			n.Bytes.Overflow = n.Bytes.Overflow || g.Bytes.Overflow
			n.Unknown = n.Unknown || !g.First.BytesKnown
		}
		n := root
		add(n)
		segments := g.Segments()
		for _, segment := range segments[:len(segments)-1] {
			n = n.child(segment)
			add(n)
		}
		last := segments[len(segments)-1]
		leaf := n.child(last)
		if leaf.Leaf >= 0 {
			leaf = &Node{Segment: last}
			n.children = append(n.children, leaf)
		}
		add(leaf)
		leaf.Leaf = int32(g.Members[0])
	}
	root.join()
	return root
}

// join makes one node of those that always follow each other.
func (n *Node) join() {
	for i, c := range n.Children() {
		for c.Leaf < 0 && len(c.children) == 1 { // what is no leaf has children
			only := c.children[0]
			only.Segment = c.Segment + "." + only.Segment
			c = only
		}
		n.children[i] = c
		c.join()
	}
}
