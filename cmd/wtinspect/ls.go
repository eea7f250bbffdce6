package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

type lsOptions struct {
	reading
	selection
	output
	converting
	sort    string
	reverse bool
	tree    bool
	flat    bool
	dims    string
}

func newLs(p *program) *cobra.Command {
	var o lsOptions
	cmd := &cobra.Command{
		Use:   "ls [PATH...]",
		Short: "List the tensors: name, dtype, shape, bytes",
		Long: `Ls lists the tensors of every checkpoint under the paths, the current directory
when there is none.

On a terminal, tensors that differ only in the numbers in their names and agree
in dtype and shape are one line, model.layers.{0..59}.mlp.up_proj.weight, with
their count and the sum of their sizes; a layer that is not like the others has
a line of its own. --flat lists every tensor. In a pipe or a file there is one
line a tensor, without headings, with exact sizes and whole names.

-v adds the file and the offset of each tensor's data in it, and prints every
fault of the files on stderr.`,
		Annotations: exitStatus("2  also when a file of a set is missing or broken; the rest is listed"),
		Example: `  wtinspect ls
  wtinspect ls --match '*.q_proj.weight' model.safetensors
  wtinspect ls --sort bytes --reverse --flat . | head
  wtinspect ls --tree ~/models/llama
  wtinspect ls --as gguf ~/models/llama
  wtinspect ls -f json -o tensors.json model.safetensors.index.json`,
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runLs(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.selection.addFlags(cmd, p)
	o.reading.addFlags(cmd)
	f := cmd.Flags()
	keys := inspect.Sorts()
	f.Var(newChoice(&o.sort, keys...), "sort", "order, smallest first: name (2 before 10), offset, bytes, elements, dtype, or file: as stored")
	complete(cmd, "sort", keys...)
	f.BoolVar(&o.reverse, "reverse", false, "turn the order round")
	f.BoolVar(&o.tree, "tree", false, "show the names as a tree, with totals")
	f.StringVar(&o.to, "as", "", "show the tensors as another `CONVENTION`, or project, would have them")
	if err := cmd.RegisterFlagCompletionFunc("as", completeConventions); err != nil {
		panic(err) // the flag does not exist
	}
	f.BoolVar(&o.flat, "flat", false, "do not fold layers")
	f.Var(newChoice(&o.dims, "shape", "ggml"), "dims", "shape: slowest dimension first; ggml: fastest first, as GGUF stores them")
	complete(cmd, "dims", "shape", "ggml")
	return cmd
}

func runLs(ctx context.Context, p *program, o *lsOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if o.tree && o.Format() != render.TableFormat {
		return fmt.Errorf("--tree is a table; it has no %s form", o.format)
	}
	in, err := o.openFor(ctx, p, args, o.Format())
	if err != nil {
		return err
	}
	defer in.Close()
	opts := inspect.ListOptions{Select: o.Selection, Sort: o.sort, Reverse: o.reverse, Dims: o.dims == "ggml"}
	if o.to != "" {
		if opts.Views, err = o.convertAll(ctx, p, in); err != nil {
			return in.finish(p, err)
		}
	}
	list, err := inspect.List(ctx, in.Set, &opts)
	if err != nil {
		return err
	}
	l := listing{ListResult: list, options: o, verbose: p.verbose, ggml: opts.Dims}
	err = o.write(p, in.Paths(), l.write)
	o.noteNone(p, list.Len(), err)
	return in.finish(p, err)
}

// A listing is the tensors that ls was asked for, and how it shows them.
type listing struct {
	*inspect.ListResult
	options       *lsOptions
	verbose, ggml bool
}

func (l *listing) write(w io.Writer, s render.Style) error {
	switch f := l.options.Format(); {
	case f == render.JSON:
		d := render.NewDocument(w)
		render.Each(d, "checkpoints", l.Checkpoints)
		d.Rows("tensors", l.table())
		render.Each(d, "faults", l.Faults)
		return d.Close()
	case f == render.TableFormat && l.options.tree:
		return l.writeCheckpoints(w, s, l.treeTable)
	case f == render.TableFormat && s.Terminal:
		return l.writeCheckpoints(w, s, l.groupTable)
	default:
		return l.table().Write(w, f, s)
	}
}

// checkpointCells name checkpoints: by their index in the rows of JSON, otherwise
// by their paths.
func checkpointCells(list []*checkpoint.Checkpoint) []render.Cell {
	cells := make([]render.Cell, len(list))
	for k, c := range list {
		cells[k] = render.Value(c.Path, strconv.Itoa(k))
	}
	return cells
}

// titleIf is a column's heading where it is shown.
func titleIf(shown bool, title string) string {
	if !shown {
		return ""
	}
	return title
}

// A tensorRow is a tensor as ls prints it, in the same place for all.
type tensorRow struct {
	checkpoint render.Cell
	listing    *inspect.Listing
	checkpoint.Tensor
}

// table has a row a tensor, for pipes and programs.
func (l *listing) table() *render.Table {
	columns := render.Columns[*tensorRow]{
		{Key: "checkpoint", Title: titleIf(len(l.Listings) > 1, "CHECKPOINT"), Cell: func(c *render.Cell, r *tensorRow) { *c = r.checkpoint }},
		{Key: "name", Title: "NAME", Cell: func(c *render.Cell, r *tensorRow) { c.Text(r.Name) }},
		{Key: "dtype", Title: "DTYPE", Cell: func(c *render.Cell, r *tensorRow) { c.Some(r.DType) }},
		{Key: "shape", Title: titleIf(!l.ggml, "SHAPE"), Cell: func(c *render.Cell, r *tensorRow) { c.Shape(r.Shape) }},
		{Key: titleIf(l.ggml, "dims"), Title: titleIf(l.ggml, "DIMS"), Cell: func(c *render.Cell, r *tensorRow) { c.Shape(inspect.Dims(r.Shape)) }},
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
		{Key: "file", Title: titleIf(l.verbose, "FILE"), Cell: func(c *render.Cell, r *tensorRow) { c.Some(r.listing.FileName(r.File)) }},
		{Key: "offset", Title: titleIf(l.verbose, "OFFSET"), Right: true, Cell: func(c *render.Cell, r *tensorRow) {
			if r.Offset >= 0 {
				c.Int(r.Offset)
			}
		}},
	}
	return columns.Table(func(yield func(*tensorRow) bool) {
		row := new(tensorRow)
		for k, of := range l.Listings {
			row.checkpoint = render.Value(of.Checkpoint.Path, strconv.Itoa(k))
			row.listing = of
			for _, row.Tensor = range of.All() {
				if !yield(row) {
					return
				}
			}
		}
	})
}

// writeCheckpoints writes one checkpoint after the other, with headings where
// there are several, and their totals on a terminal.
func (l *listing) writeCheckpoints(w io.Writer, s render.Style, table func(of *inspect.Listing) *render.Table) error {
	for k, of := range l.Listings {
		if len(l.Listings) > 1 {
			if err := writeHeading(w, s, k, of.Checkpoint.Path); err != nil {
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

// writeHeading writes what stands above the answer about the k-th of several.
func writeHeading(w io.Writer, s render.Style, k int, name string) error {
	between := ""
	if k > 0 {
		between = "\n"
	}
	_, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(name)+":"))
	return err
}

// totalsLine sums up the tensors of a checkpoint that are listed: "543 tensors,
// 34,388,917,248 elements, 64.1 GiB BF16".
func (l *listing) totalsLine(of *inspect.Listing) string {
	t := inspect.TotalsOf(of.All())
	var b strings.Builder
	b.WriteString(counted(t.Tensors, "tensor"))
	if !l.options.All() {
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
	return b.String()
}

// sumText writes a sum with f, followed by unit.
func sumText(s inspect.Sum, unit string, f func(uint64) string) string {
	if s.Overflow {
		return "more than 2^64" + unit
	}
	return f(s.N) + unit
}

// setSum sets a cell to a sum, unless it left 64 bits.
func setSum(s inspect.Sum, set func(uint64)) {
	if !s.Overflow {
		set(s.N)
	}
}

// shapeCell has a shape, or the dimensions in ggml's order.
func (l *listing) shapeCell(c *render.Cell, t *checkpoint.Tensor) {
	if l.ggml {
		c.Shape(inspect.Dims(t.Shape))
	} else {
		c.Shape(t.Shape)
	}
}

func (l *listing) shapeTitle() string {
	if l.ggml {
		return "DIMS"
	}
	return "SHAPE"
}

// groupTable is the table for a terminal, with layers folded.
func (l *listing) groupTable(of *inspect.Listing) *render.Table {
	groups, n := of.Groups(l.options.flat)
	type group = *inspect.Group
	columns := render.Columns[group]{
		{Title: "NAME", Cut: render.CutMiddle, Cell: func(c *render.Cell, g group) { c.Text(g.Name) }},
		{Title: "DTYPE", Cell: func(c *render.Cell, g group) {
			c.Some(g.First.DType)
			c.Color(render.Cyan)
		}},
		{Title: l.shapeTitle(), Cell: func(c *render.Cell, g group) { l.shapeCell(c, &g.First) }},
		{Title: titleIf(n < of.Len(), "COUNT"), Right: true, Cell: func(c *render.Cell, g group) { c.Text("x" + strconv.Itoa(len(g.Members))) }},
		{Title: "SIZE", Right: true, Cell: func(c *render.Cell, g group) {
			if g.First.BytesKnown {
				setSum(g.Bytes, c.Bytes)
			}
		}},
		{Title: titleIf(l.verbose, "FILE"), Cut: render.CutMiddle, Cell: func(c *render.Cell, g group) {
			if g.Files > 1 {
				c.Text(counted(g.Files, "file"))
				return
			}
			c.Some(of.FileName(g.First.File))
		}},
		{Title: titleIf(l.verbose, "OFFSET"), Right: true, Cell: func(c *render.Cell, g group) {
			if len(g.Members) == 1 && g.First.Offset >= 0 {
				c.Int(g.First.Offset)
			}
		}},
	}
	return columns.Table(func(yield func(group) bool) {
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

// treeTable has the names as a tree of their dotted segments; every node has the
// totals of what is below it.
func (l *listing) treeTable(of *inspect.Listing) *render.Table {
	ofLeaf := func(cell func(c *render.Cell, r *treeRow)) func(c *render.Cell, r *treeRow) {
		return func(c *render.Cell, r *treeRow) {
			if r.Leaf < 0 {
				c.Text(" ")
			} else {
				cell(c, r)
			}
		}
	}
	columns := render.Columns[*treeRow]{
		{Title: "NAME", Cut: render.CutMiddle, Cell: func(c *render.Cell, r *treeRow) { c.Text(r.line) }},
		{Title: "DTYPE", Cell: ofLeaf(func(c *render.Cell, r *treeRow) {
			c.Some(r.leaf.DType)
			c.Color(render.Cyan)
		})},
		{Title: l.shapeTitle(), Cell: ofLeaf(func(c *render.Cell, r *treeRow) { l.shapeCell(c, &r.leaf) })},
		{Title: "COUNT", Right: true, Cell: func(c *render.Cell, r *treeRow) { c.Text("x" + strconv.FormatUint(r.Tensors, 10)) }},
		{Title: "SIZE", Right: true, Cell: func(c *render.Cell, r *treeRow) {
			if !r.Unknown {
				setSum(r.Bytes, c.Bytes)
			}
		}},
	}
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
	t := columns.Table(func(yield func(*treeRow) bool) { walk(of.Tree(l.options.flat), "", true, yield) })
	t.Headings = render.Always
	return t
}
