package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
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
	keys := []string{"file", "name", "offset", "bytes", "elements", "dtype"}
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
	selected, err := o.compile()
	if err != nil {
		return err
	}
	if o.tree && o.Format() != render.TableFormat {
		return fmt.Errorf("--tree is a table; it has no %s form", o.format)
	}
	in, err := o.openFor(ctx, p, args, o.Format())
	if err != nil {
		return err
	}
	defer in.close()
	in.validate()

	l := listing{in: in, selected: selected, options: o, verbose: p.verbose}
	for _, c := range in.checkpoints {
		l.views = append(l.views, newView(c))
	}
	if o.to != "" {
		if err := l.convertAll(ctx, p); err != nil {
			return in.finish(p, err)
		}
	}
	err = o.write(p, in.paths(), l.write)
	if selected != nil && l.chosen == 0 && err == nil {
		p.note("no tensor is chosen by the names given")
	}
	return in.finish(p, err)
}

// A listing is the tensors that ls was asked for.
type listing struct {
	in       *inputs
	selected func(name string) bool // nil: all
	options  *lsOptions
	verbose  bool

	views  []*view // of in.checkpoints
	chosen int     // tensors, once written
}

func (l *listing) write(w io.Writer, s render.Style) error {
	switch f := l.options.Format(); f {
	case render.TableFormat:
		if l.options.tree {
			return l.writeCheckpoints(w, s, l.writeTree)
		}
		if s.Terminal {
			return l.writeCheckpoints(w, s, l.writeTable)
		}
		return l.table(false).Write(w, f, s)
	case render.JSON:
		return l.writeJSON(w)
	default:
		return l.table(f == render.JSONL).Write(w, f, s)
	}
}

func (l *listing) writeJSON(w io.Writer) error {
	checkpoints := make([]jsonCheckpoint, len(l.views))
	for i, v := range l.views {
		checkpoints[i] = newJSONCheckpoint(v.checkpoint, v.Totals())
	}
	d := render.NewDocument(w)
	render.List(d, "checkpoints", checkpoints)
	d.Rows("tensors", l.table(true))
	render.List(d, "faults", l.in.jsonFaults())
	return d.Close()
}

// indices returns the chosen tensors of v in order.
func (l *listing) indices(v *view) []int {
	out := make([]int, 0, v.Len())
	for i, t := range v.All() {
		if l.selected == nil || l.selected(t.Name) {
			out = append(out, i)
		}
	}
	if order := l.order(v); order != nil {
		slices.SortFunc(out, func(a, b int) int { return cmp.Or(order(a, b), cmp.Compare(a, b)) })
	}
	if l.options.reverse {
		slices.Reverse(out)
	}
	return out
}

// order returns how two tensors of v compare, nil for as they are stored.
// What is unknown comes first.
func (l *listing) order(v *view) func(i, j int) int {
	known := func(n uint64, ok bool) [2]uint64 {
		if !ok {
			return [2]uint64{}
		}
		return [2]uint64{1, n}
	}
	pairs := func(a, b [2]uint64) int { return slices.Compare(a[:], b[:]) }
	switch l.options.sort {
	case "name":
		return byKey(v, func(t *checkpoint.Tensor) string { return t.Name }, template.Compare)
	case "dtype":
		return byKey(v, func(t *checkpoint.Tensor) string { return t.DType }, strings.Compare)
	case "offset":
		return byKey(v, func(t *checkpoint.Tensor) [2]int64 { return [2]int64{int64(t.File), t.Offset} },
			func(a, b [2]int64) int { return slices.Compare(a[:], b[:]) })
	case "bytes":
		return byKey(v, func(t *checkpoint.Tensor) [2]uint64 { return known(t.Bytes, t.BytesKnown) }, pairs)
	case "elements":
		return byKey(v, func(t *checkpoint.Tensor) [2]uint64 { return known(t.Elements()) }, pairs)
	}
	return nil
}

// byKey compares tensors by something that is taken from each of them once.
func byKey[K any](v *view, key func(t *checkpoint.Tensor) K, compare func(a, b K) int) func(i, j int) int {
	keys := make([]K, v.Len())
	var t checkpoint.Tensor // one for all, since key could keep it
	for i, tensor := range v.All() {
		t = tensor
		keys[i] = key(&t)
	}
	return func(i, j int) int { return compare(keys[i], keys[j]) }
}

// table returns one row a tensor, for pipes and programs. A program that reads
// numbered rows is told the checkpoint by its index, others by its path.
func (l *listing) table(numbered bool) *render.Table {
	dims := l.options.dims == "ggml"
	columns := []render.Column{
		{Key: "checkpoint"},
		{Key: "name", Title: "NAME"},
		{Key: "dtype", Title: "DTYPE"},
		{Key: "shape", Title: "SHAPE"},
		{Key: "dims", Title: "DIMS"},
		{Key: "elements"},
		{Key: "bytes", Title: "SIZE", Right: true},
		{Key: "file"},
		{Key: "offset"},
	}
	const (
		columnCheckpoint, columnShape, columnDims, columnFile, columnOffset = 0, 3, 4, 7, 8
	)
	if len(l.views) > 1 {
		columns[columnCheckpoint].Title = "CHECKPOINT"
	}
	if l.verbose {
		columns[columnFile].Title = "FILE"
		columns[columnOffset].Title, columns[columnOffset].Right = "OFFSET", true
	}
	if dims {
		columns[columnShape].Title = ""
	} else {
		columns[columnDims] = render.Column{}
	}

	// An order or a choice is found once, not once a walk.
	var indices [][]int
	if l.selected != nil || l.options.reverse || l.options.sort != "file" {
		for _, v := range l.views {
			indices = append(indices, l.indices(v))
		}
	}
	row := make([]render.Cell, len(columns))
	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		l.chosen = 0
		for k, v := range l.views {
			row[columnCheckpoint] = render.Text(v.checkpoint.Path)
			if numbered {
				row[columnCheckpoint] = render.Uint(uint64(k))
			}
			one := func(t *checkpoint.Tensor) bool {
				l.chosen++
				l.fillRow(row[1:], v, t)
				return yield(row)
			}
			if indices == nil {
				for _, t := range v.All() {
					if !one(&t) {
						return
					}
				}
				continue
			}
			for _, i := range indices[k] {
				t := v.At(i)
				if !one(&t) {
					return
				}
			}
		}
	}}
}

// fillRow sets the cells from the name on. A table that does not show the last
// of them is spared the work.
func (l *listing) fillRow(row []render.Cell, v *view, t *checkpoint.Tensor) {
	row[0].ResetText(t.Name)
	if t.DType == "" {
		row[1] = render.Null()
	} else {
		row[1].ResetText(t.DType)
	}
	row[2].ResetShape(t.Shape)
	if l.options.dims == "ggml" {
		row[3] = dimsCell(t)
	}
	if t.BytesKnown {
		row[5].ResetBytes(t.Bytes)
	} else {
		row[5] = render.Null()
	}
	if l.options.Format() == render.TableFormat && !l.verbose {
		return
	}
	row[4], row[6], row[7] = render.Null(), render.Null(), render.Null()
	if n, ok := t.Elements(); ok {
		row[4] = render.Uint(n)
	}
	if t.File >= 0 {
		row[6] = render.Text(v.checkpoint.Files[t.File].Name)
	}
	if t.Offset >= 0 {
		row[7] = render.Int(t.Offset)
	}
}

func dtypeCell(t *checkpoint.Tensor) render.Cell {
	if t.DType == "" {
		return render.Null()
	}
	return render.Text(t.DType)
}

// dimsCell has the dimensions in the order of ggml, the fastest first.
func dimsCell(t *checkpoint.Tensor) render.Cell {
	if t.Shape == nil {
		return render.Null()
	}
	dims := slices.Clone(t.Shape)
	slices.Reverse(dims)
	return render.Shape(dims)
}

// writeCheckpoints writes one checkpoint after the other, with headings where
// there are several, and their totals on a terminal.
func (l *listing) writeCheckpoints(w io.Writer, s render.Style, one func(w io.Writer, s render.Style, v *view, indices []int) error) error {
	for k, v := range l.views {
		indices := l.indices(v)
		l.chosen += len(indices)
		if len(l.views) > 1 {
			between := ""
			if k > 0 {
				between = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(v.checkpoint.Path)+":")); err != nil {
				return err
			}
		}
		if err := one(w, s, v, indices); err != nil {
			return err
		}
		if s.Terminal {
			if _, err := fmt.Fprintln(w, s.Paint(render.Dim, l.totalsLine(v, indices))); err != nil {
				return err
			}
		}
	}
	return nil
}

// totalsLine sums up the chosen tensors of v: "543 tensors, 34,388,917,248
// elements, 64.1 GiB BF16".
func (l *listing) totalsLine(v *view, indices []int) string {
	var t totals
	for _, i := range indices {
		tensor := v.At(i)
		t.add(&tensor)
	}
	var b strings.Builder
	b.WriteString(counted(t.tensors, "tensor"))
	if l.selected != nil {
		fmt.Fprintf(&b, " of %s", render.Grouped(uint64(v.Len())))
	}
	if t.unknown < t.tensors {
		elements := " elements"
		if t.elements.n == 1 {
			elements = " element"
		}
		fmt.Fprintf(&b, ", %s, %s", t.elements.text(elements, render.Grouped), t.bytes.text("", render.Size))
	}
	slices.SortStableFunc(t.dtypes, func(a, b dtypeTotals) int { return cmp.Compare(b.bytes.n, a.bytes.n) })
	const most = 4
	switch {
	case len(t.dtypes) == 1:
		b.WriteString(" " + render.Escape(t.dtypes[0].dtype))
	case len(t.dtypes) > 1:
		b.WriteString(" (")
		for i, d := range t.dtypes[:min(most, len(t.dtypes))] {
			if i > 0 {
				b.WriteString(", ")
			}
			fmt.Fprintf(&b, "%s %s", render.Escape(d.dtype), d.bytes.text("", render.Size))
		}
		if len(t.dtypes) > most {
			b.WriteString(", …")
		}
		b.WriteString(")")
	}
	if t.unknown > 0 {
		fmt.Fprintf(&b, ", %s of unknown size", render.Grouped(uint64(t.unknown)))
	}
	return b.String()
}

// maxFolded bounds the memory that folding takes. The largest release known,
// Kimi-K3, has 497,000 tensors.
const maxFolded = 1 << 19

// groups folds the chosen tensors, or does not, and returns how many groups there
// are. The members of one are valid until the next.
func (l *listing) groups(v *view, indices []int) (groups iter.Seq[template.Group], n int) {
	if l.options.flat || len(indices) > maxFolded {
		return func(yield func(template.Group) bool) {
			member := make([]int, 1)
			for k, i := range indices {
				member[0] = k
				if !yield(template.Group{Name: v.At(i).Name, Members: member}) {
					return
				}
			}
		}, len(indices)
	}
	var key []byte
	folded := template.Fold(len(indices), func(k int) (string, string) {
		t := v.At(indices[k])
		key = append(key[:0], t.DType...)
		if t.Shape != nil {
			key = append(key, ' ')
			for _, d := range t.Shape {
				key = append(strconv.AppendUint(key, d, 10), ',')
			}
		}
		if t.BytesKnown {
			key = strconv.AppendUint(append(key, ' '), t.Bytes, 10)
		}
		return t.Name, string(key)
	})
	return slices.Values(folded), len(folded)
}

// writeTable writes the table for a terminal, with layers folded.
func (l *listing) writeTable(w io.Writer, s render.Style, v *view, indices []int) error {
	groups, n := l.groups(v, indices)
	columns := []render.Column{
		{Title: "NAME", Cut: render.CutMiddle},
		{Title: "DTYPE"},
		{Title: "SHAPE"},
		{Title: "COUNT", Right: true},
		{Title: "SIZE", Right: true},
		{},
		{},
	}
	if n == len(indices) {
		columns[3].Title = ""
	}
	if l.options.dims == "ggml" {
		columns[2].Title = "DIMS"
	}
	if l.verbose {
		columns[5] = render.Column{Title: "FILE", Cut: render.CutMiddle}
		columns[6] = render.Column{Title: "OFFSET", Right: true}
	}
	row := make([]render.Cell, len(columns))
	table := &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for g := range groups {
			l.fillGroup(row, v, indices, &g)
			if !yield(row) {
				return
			}
		}
	}}
	return table.Write(w, render.TableFormat, s)
}

func (l *listing) fillGroup(row []render.Cell, v *view, indices []int, g *template.Group) {
	t := v.At(indices[g.Members[0]])
	row[0] = render.Text(g.Name)
	row[1] = dtypeCell(&t).In(render.Cyan)
	row[2] = render.Shape(t.Shape)
	if l.options.dims == "ggml" {
		row[2] = dimsCell(&t)
	}
	row[3] = render.Text("x" + strconv.Itoa(len(g.Members)))
	row[4], row[5], row[6] = render.Null(), render.Null(), render.Null()
	var bytes sum
	files := make(map[int]bool)
	for _, m := range g.Members {
		t := v.At(indices[m])
		bytes.add(t.Bytes)
		files[t.File] = true
	}
	if t.BytesKnown && !bytes.overflow {
		row[4] = render.Bytes(bytes.n)
	}
	switch {
	case len(files) > 1:
		row[5] = render.Text(counted(len(files), "file"))
	case t.File >= 0:
		row[5] = render.Text(v.checkpoint.Files[t.File].Name)
	}
	if len(g.Members) == 1 && t.Offset >= 0 {
		row[6] = render.Int(t.Offset)
	}
}
