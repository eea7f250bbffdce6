package answer

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// ListOptions adjust [List].
type ListOptions struct {
	Options
	// Tree shows the names as a tree, and Flat folds no layers.
	Tree, Flat bool
	// Dims shows dimensions as GGUF stores them, the fastest first.
	Dims bool
	// Chosen says that not all tensors were asked for.
	Chosen bool
}

// A listing is the tensors that ls was asked for, and how it shows them.
type listing struct {
	*inspect.ListResult
	ListOptions
}

// List prints tensors: on a terminal a table for each checkpoint, with layers
// folded, otherwise a row a tensor.
func List(w io.Writer, r *inspect.ListResult, o ListOptions) error {
	l := &listing{r, o}
	switch f := o.Format; {
	case f == render.JSON:
		d := render.NewDocument(w)
		render.Each(d, "checkpoints", l.Checkpoints)
		d.Rows("tensors", l.table())
		render.Each(d, "faults", l.Faults)
		return d.Close()
	case f == render.TableFormat && o.Tree:
		return o.Style.Wrap(w, func(w io.Writer) error { return l.writeCheckpoints(w, l.treeTable) })
	case f == render.TableFormat && o.Style.Terminal:
		return o.Style.Wrap(w, func(w io.Writer) error { return l.writeCheckpoints(w, l.groupTable) })
	default:
		return l.table().Write(w, f, o.Style)
	}
}

// A tensorRow is a tensor as ls prints it, in the same place for all.
type tensorRow struct {
	checkpoint render.Cell
	listing    *inspect.Listing
	index      int // in the listing
	checkpoint.Tensor
}

// ListColumns describes the columns of [List].
func ListColumns(o ListOptions) []render.Column {
	l := &listing{&inspect.ListResult{}, o}
	switch {
	case o.Tree:
		return l.treeColumns().Heads()
	case o.Format == render.TableFormat && o.Style.Terminal:
		return l.groupColumns(&inspect.Listing{}, true).Heads()
	}
	return l.columns().Heads()
}

// columns are those of a row per tensor, for pipes and programs.
func (l *listing) columns() render.Columns[*tensorRow] {
	return render.Columns[*tensorRow]{
		{Key: "checkpoint", Title: "CHECKPOINT", Hide: len(l.Listings) <= 1, Cell: func(c *render.Cell, r *tensorRow) { *c = r.checkpoint }},
		{Key: "name", Title: "NAME", Cell: func(c *render.Cell, r *tensorRow) { c.Text(r.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, r *tensorRow) { c.Some(r.DType) }},
		{Key: "shape", Title: "SHAPE", Hide: l.Dims, Cell: func(c *render.Cell, r *tensorRow) { c.Shape(r.Shape) }},
		{Key: l.dimsKey(), Title: "DIMS", Hide: !l.Dims, Cell: func(c *render.Cell, r *tensorRow) { c.Shape(inspect.Dims(r.Shape)) }},
		{Key: "elements", Cell: func(c *render.Cell, r *tensorRow) {
			if n, ok := r.Elements(); ok {
				c.Uint(n)
			}
		}},
		{Key: "bytes", Title: "SIZE", Right: true, Cell: func(c *render.Cell, r *tensorRow) {
			if r.BytesKnown {
				c.Bytes(r.Bytes)
			}
		}},
		{Key: "file", Title: "FILE", Hide: !l.Verbose, Cell: func(c *render.Cell, r *tensorRow) { c.Some(r.listing.FileName(r.File)) }},
		{Key: "offset", Title: "OFFSET", Hide: !l.Verbose, Right: true, Cell: func(c *render.Cell, r *tensorRow) {
			if r.Offset >= 0 {
				c.Int(r.Offset)
			}
		}},
		{Key: l.tiedKey(), Title: "TIED TO", Hide: !l.Verbose || l.tiedKey() == "", Cell: func(c *render.Cell, r *tensorRow) { c.Some(r.listing.TiedTo(r.index)) }},
	}
}

// tiedKey names the tensors that others are tied to, where a checkpoint may have some.
func (l *listing) tiedKey() string {
	return tiedKey(slices.ContainsFunc(l.Listings, func(of *inspect.Listing) bool { return of.Checkpoint.Format == checkpoint.PyTorch }))
}

func tiedKey(torch bool) string {
	if torch {
		return "tied_to"
	}
	return ""
}

func (l *listing) table() *render.Table {
	return l.columns().Table(func(yield func(*tensorRow) bool) {
		for k, of := range l.Listings {
			if !eachRow(k, of, of.All(), yield) {
				return
			}
		}
	})
}

// eachRow calls yield for tensors of a listing, the one at k, and reports whether it wants
// more.
func eachRow(k int, of *inspect.Listing, tensors iter.Seq2[int, checkpoint.Tensor], yield func(*tensorRow) bool) bool {
	row := &tensorRow{checkpoint: checkpointCell(of.Checkpoint.Path, k), listing: of}
	for row.index, row.Tensor = range tensors {
		if !yield(row) {
			return false
		}
	}
	return true
}

// ListSome prints the JSON lines of some tensors of a checkpoint, the one at k of a set:
// what [List] prints, before the rest is known.
func ListSome(w io.Writer, k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor], o ListOptions) error {
	of := &inspect.Listing{Checkpoint: c, View: c}
	l := &listing{&inspect.ListResult{Listings: []*inspect.Listing{of}}, o}
	rows := func(yield func(*tensorRow) bool) { eachRow(k, of, tensors, yield) }
	return l.columns().Table(rows).Write(w, render.JSONL, o.Style)
}

// writeCheckpoints writes one checkpoint after the other, with headings where
// there are several, and their totals on a terminal.
func (l *listing) writeCheckpoints(w io.Writer, table func(of *inspect.Listing) *render.Table) error {
	s := l.Style
	for k, of := range l.Listings {
		if len(l.Listings) > 1 {
			if err := Heading(w, s, k, of.Checkpoint.Path); err != nil {
				return err
			}
		}
		if err := table(of).Write(w, render.TableFormat, s); err != nil {
			return err
		}
		if s.Terminal {
			if _, err := fmt.Fprintln(w, s.Paint(render.Dim, l.totalsLine(of))); err != nil {
				return err
			}
		}
	}
	return nil
}

// totalsLine sums up the tensors of a checkpoint that are listed: "543 tensors,
// 34,388,917,248 elements, 64.1 GiB BF16".
func (l *listing) totalsLine(of *inspect.Listing) string {
	t := of.Totals()
	var b strings.Builder
	b.WriteString(render.Counted(t.Tensors, "tensor"))
	if l.Chosen {
		fmt.Fprintf(&b, " of %s", render.Grouped(uint64(of.View.Len())))
	}
	if t.Unknown < t.Tensors {
		elements := " elements"
		if t.Elements.N == 1 {
			elements = " element"
		}
		fmt.Fprintf(&b, ", %s, %s", sumText(t.Elements, elements, render.Grouped), sumText(t.Bytes, "", render.Size))
	}
	dtypes := t.DTypes.ByBytes()
	const most = 4
	switch {
	case len(dtypes) == 1:
		b.WriteString(" " + render.Escape(dtypes[0].DType))
	case len(dtypes) > 1:
		b.WriteString(" (")
		for i, d := range dtypes[:min(most, len(dtypes))] {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", render.Escape(d.DType), sumText(d.Bytes, "", render.Size))
		}
		if len(dtypes) > most {
			b.WriteString(", …")
		}
		b.WriteString(")")
	}
	if t.Unknown > 0 {
		fmt.Fprintf(&b, ", %s of unknown size", render.Grouped(uint64(t.Unknown)))
	}
	if t.Tied > 0 {
		fmt.Fprintf(&b, "; the bytes of %s are counted once", render.Counted(t.Tied, "tied tensor"))
	}
	return b.String()
}

// shapeCell has a shape, or the dimensions in ggml's order.
func (l *listing) shapeCell(c *render.Cell, t *checkpoint.Tensor) {
	if l.Dims {
		c.Shape(inspect.Dims(t.Shape))
	} else {
		c.Shape(t.Shape)
	}
}

// dimsKey names the dimensions for programs, which have them only when asked for.
func (l *listing) dimsKey() string {
	if !l.Dims {
		return ""
	}
	return "dims"
}

func (l *listing) shapeTitle() string {
	if l.Dims {
		return "DIMS"
	}
	return "SHAPE"
}

// groupColumns are those of the table for a terminal, with layers folded.
func (l *listing) groupColumns(of *inspect.Listing, folded bool) render.Columns[*inspect.Group] {
	type group = *inspect.Group
	return render.Columns[group]{
		{Key: "checkpoint", Cut: render.Whole, Cell: func(c *render.Cell, _ group) { c.Text(of.Checkpoint.Path) }},
		{Key: "name", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, g group) { c.Text(g.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, g group) {
			c.Some(g.First.DType)
			c.Color(render.Cyan)
		}},
		{Title: l.shapeTitle(), Cell: func(c *render.Cell, g group) { l.shapeCell(c, &g.First) }},
		{Title: "COUNT", Hide: !folded, Right: true, Cell: func(c *render.Cell, g group) { countCell(c, uint64(len(g.Members))) }},
		{Key: "elements", Right: true, Cell: func(c *render.Cell, g group) {
			if n := g.Elements(); n != nil {
				c.Number(*n)
			}
		}},
		{Key: "bytes", Title: "SIZE", Right: true, Cell: func(c *render.Cell, g group) {
			if g.First.BytesKnown {
				setSum(g.Bytes, c.Bytes)
			}
		}},
		{Key: "file", Title: "FILE", Hide: !l.Verbose, Cut: render.Whole, Cell: func(c *render.Cell, g group) {
			if g.Files > 1 {
				c.Text(render.Counted(g.Files, "file"))
				return
			}
			c.Some(of.FileName(g.First.File))
		}},
		{Key: "offset", Title: "OFFSET", Hide: !l.Verbose, Right: true, Cell: func(c *render.Cell, g group) {
			if len(g.Members) == 1 && g.First.Offset >= 0 {
				c.Int(g.First.Offset)
			}
		}},
	}
}

// Groups has a row for each group of tensors of a listing, as [List] has on a terminal.
func Groups(of *inspect.Listing) *render.Table {
	return (&listing{&inspect.ListResult{}, ListOptions{}}).groupTable(of)
}

// groupTable is the table for a terminal.
func (l *listing) groupTable(of *inspect.Listing) *render.Table {
	groups, n := of.Groups(l.Flat)
	return l.groupColumns(of, n < of.Len()).Table(func(yield func(*inspect.Group) bool) {
		for g := range groups {
			if !yield(&g) {
				return
			}
		}
	})
}

// A treeRow is a line of the tree.
type treeRow struct {
	*inspect.Node
	line string
	leaf checkpoint.Tensor
}

func (l *listing) treeColumns() render.Columns[*treeRow] {
	ofLeaf := func(cell func(c *render.Cell, r *treeRow)) func(c *render.Cell, r *treeRow) {
		return func(c *render.Cell, r *treeRow) {
			if r.Leaf < 0 {
				c.Text(" ")
			} else {
				cell(c, r)
			}
		}
	}
	return render.Columns[*treeRow]{
		{Key: "name", Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, r *treeRow) { c.Text(r.line) }},
		{Key: "dtype", Title: "DTYPE", Cell: ofLeaf(func(c *render.Cell, r *treeRow) {
			c.Some(r.leaf.DType)
			c.Color(render.Cyan)
		})},
		{Title: l.shapeTitle(), Cell: ofLeaf(func(c *render.Cell, r *treeRow) { l.shapeCell(c, &r.leaf) })},
		{Title: "COUNT", Right: true, Cell: func(c *render.Cell, r *treeRow) { countCell(c, r.Tensors) }},
		{Key: "bytes", Title: "SIZE", Right: true, Cell: func(c *render.Cell, r *treeRow) {
			if !r.Unknown {
				setSum(r.Bytes, c.Bytes)
			}
		}},
	}
}

// treeTable has the names as a tree of their dotted segments; every node has the
// totals of what is below it.
func (l *listing) treeTable(of *inspect.Listing) *render.Table {
	row := new(treeRow)
	var walk func(n *inspect.Node, indent string, top bool, yield func(*treeRow) bool) bool
	walk = func(n *inspect.Node, indent string, top bool, yield func(*treeRow) bool) bool {
		children := n.Children()
		for i, c := range children {
			branch, below := "├─ ", "│  "
			if i == len(children)-1 {
				branch, below = "└─ ", "   "
			}
			if top {
				branch, below = "", ""
			}
			row.Node, row.line = c, indent+branch+c.Segment
			if c.Leaf >= 0 {
				row.leaf = of.At(int(c.Leaf))
			}
			if !yield(row) || !walk(c, indent+below, false, yield) {
				return false
			}
		}
		return true
	}
	t := l.treeColumns().Table(func(yield func(*treeRow) bool) { walk(of.Tree(l.Flat), "", true, yield) })
	t.Headings = render.Always
	return t
}
