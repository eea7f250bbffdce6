package answer

import (
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A newTensors is tensors of a new checkpoint that are made alike.
type newTensors struct {
	from, to, dtype, done string
	count                 int
}

// foldNew folds the tensors that are not copied under their names.
func foldNew(tensors iter.Seq[inspect.NewTensor]) []newTensors {
	var changed []inspect.NewTensor
	for t := range tensors {
		if t.Done != "" || len(t.From) != 1 || t.From[0] != t.Name {
			changed = append(changed, t)
		}
	}
	dtype := func(t *inspect.NewTensor) string {
		if t.FromDType == t.DType {
			return t.DType
		}
		return t.FromDType + " -> " + t.DType
	}
	var out []newTensors
	for _, g := range template.FoldPairs(len(changed), func(i int) (from, to, key string) {
		t := &changed[i]
		return t.From[0], t.Name, fmt.Sprintf("%d %s %s", len(t.From), dtype(t), t.Done)
	}) {
		t := &changed[g.Members[0]]
		n := newTensors{from: g.Name, to: g.To, dtype: dtype(t), done: t.Done, count: len(g.Members)}
		if n.to == "" {
			n.to = t.Name
		}
		if more := len(t.From) - 1; more > 0 {
			n.from += fmt.Sprintf(" and %d more", more)
		}
		if n.to == n.from {
			n.to = ""
		}
		out = append(out, n)
	}
	return out
}

var newColumns = render.Columns[newTensors]{
	{Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, n newTensors) { c.Text(n.from) }},
	{Title: "COUNT", Right: true, Cell: func(c *render.Cell, n newTensors) { c.Text(fmt.Sprintf("x%d", n.count)) }},
	{Title: "DTYPE", Cell: func(c *render.Cell, n newTensors) { c.Text(n.dtype) }},
	{Title: "BECOMES", Cut: render.Whole, Cell: func(c *render.Cell, n newTensors) {
		switch {
		case n.done != "" && n.to != "":
			c.Text(n.to + " (" + n.done + ")")
			c.Color(render.Cyan)
		case n.done != "":
			c.Text("(" + n.done + ")")
			c.Color(render.Cyan)
		default:
			c.Text(n.to)
			c.Color(render.Green)
		}
	}},
}

var newTensorColumns = render.Columns[inspect.NewTensor]{
	{Key: "name", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Text(t.Name) }},
	{Key: "dtype", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Text(t.DType) }},
	{Key: "shape", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Shape(t.Shape) }},
	{Key: "bytes", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Uint(t.Bytes) }},
	{Key: "from", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Text(t.From[0]) }},
	{Key: "made_of", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Uint(uint64(len(t.From))) }},
	{Key: "from_dtype", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Text(t.FromDType) }},
	{Key: "done", Cell: func(c *render.Cell, t inspect.NewTensor) { c.Some(t.Done) }},
}

// ConvertColumns describes the columns of [ConvertPlan] and [Convert].
func ConvertColumns(o Options) []render.Column {
	if o.Format == render.TableFormat {
		return newColumns.Heads()
	}
	return newTensorColumns.Heads()
}

// ConvertPlan prints for people what a conversion does.
func ConvertPlan(w io.Writer, v *inspect.Conversion, o Options) error {
	return o.Style.Wrap(w, func(w io.Writer) error { return writeConversion(w, v, o) })
}

func writeConversion(w io.Writer, v *inspect.Conversion, o Options) error {
	if v.Refused() {
		return nil // the refusal lists why
	}
	if rows := foldNew(v.All()); len(rows) > 0 {
		if err := newColumns.Table(slices.Values(rows)).Write(w, render.TableFormat, o.Style); err != nil {
			return err
		}
	}
	writeLeftOut(w, v, o.Verbose)
	s := v.Summary()
	fmt.Fprintf(w, "%s (%s) of %s (%s): %s\n", render.Counted(s.Tensors, "tensor"), render.Size(s.Bytes), render.Counted(s.SourceTensors, "tensor"), render.Size(s.SourceBytes), strings.Join(conversionWords(&s), ", "))
	writeRemote(w, s.RemoteBytes)
	writeCasts(w, v)
	if j := v.Job; j != nil {
		to := ""
		if j.Output != "" {
			to = "to " + render.Escape(j.Output) + ": "
		}
		fmt.Fprintf(w, "%s%s, %s", to, v.Container, render.Counted(len(j.Files), "file"))
		if j.Free >= 0 {
			fmt.Fprintf(w, "; needs %s of %s free", render.Size(uint64(j.Need)), render.Size(uint64(j.Free)))
		}
		fmt.Fprintln(w)
		const few = 20
		for i := range j.Files {
			f := &j.Files[i]
			if f.Over {
				fmt.Fprintf(w, "%s: one tensor that is larger than a file is to be\n", render.Escape(f.Name))
			}
			if o.Verbose && len(j.Files) > 1 {
				fmt.Fprintf(w, "  %s: %s, %s\n", render.Escape(f.Name), render.Counted(f.Tensors, "tensor"), render.Size(uint64(f.Bytes)))
			}
		}
		for i, path := range j.Replaces {
			if i == few && !o.Verbose {
				more := len(j.Replaces) - few
				fmt.Fprintf(w, "and %s %s replaced (-v lists all)\n", plural.Of(more, "more file"), plural.Verb(more, "are"))
				break
			}
			fmt.Fprintf(w, "replaces %s\n", render.Escape(path))
		}
		if n := len(j.Copied); n > 0 {
			fmt.Fprintf(w, "with %s: %s\n", render.Counted(n, "other file"), render.Escape(someOf(j.Copied, o.Verbose)))
		}
	}
	for _, d := range v.Documents {
		if d.LeftOut != "" {
			fmt.Fprintf(w, "%s: left out, as %s\n", render.Escape(d.Name), d.LeftOut)
			continue
		}
		writeEdits(w, d.Name, d.Edits, o.Verbose)
	}
	if len(v.Missing) > 0 {
		fmt.Fprintf(w, "missing for a release: %s; take them from the original one\n", strings.Join(v.Missing, ", "))
	}
	return nil
}

// someOf joins the first of some names.
func someOf(names []string, all bool) string {
	const few = 6
	if len(names) > few && !all {
		return strings.Join(names[:few], ", ") + " …"
	}
	return strings.Join(names, ", ")
}

func conversionWords(s *inspect.ConvertSummary) []string {
	words := []string{fmt.Sprintf("%s copied", render.Grouped(uint64(s.Copied)))}
	add := func(n int, what string) {
		if n > 0 {
			words = append(words, render.Grouped(uint64(n))+" "+what)
		}
	}
	add(s.Tensors-s.Copied, "computed")
	add(s.Renamed, "renamed")
	add(s.Unchosen, "not chosen")
	add(s.LeftOut, "left out")
	return words
}

// writeLeftOut lists what is left out, folded.
func writeLeftOut(w io.Writer, v *inspect.Conversion, verbose bool) {
	const most = 8
	for i, g := range template.FoldPairs(len(v.LeftOut), func(i int) (string, string, string) {
		return v.LeftOut[i].Name, v.LeftOut[i].Name, v.LeftOut[i].Reason
	}) {
		if i == most && !verbose {
			fmt.Fprintln(w, "  and more (-v lists all)")
			return
		}
		fmt.Fprintf(w, "  left out: %s  x%d (%s)\n", render.Escape(g.Name), len(g.Members), render.Escape(v.LeftOut[g.Members[0]].Reason))
	}
}

// writeCasts says what dtypes become, and what that costs.
func writeCasts(w io.Writer, v *inspect.Conversion) {
	for _, c := range v.Casts() {
		fmt.Fprintf(w, "%s -> %s: %s, %s", c.From, c.To, render.Counted(c.Tensors, "tensor"), render.Counted(c.Elements, "number"))
		if r := c.Rounding; r != nil {
			fmt.Fprintf(w, "; %s", roundingText(r))
		}
		fmt.Fprintln(w)
	}
	writeOperations(w, v, false)
}

// writeOperations says what is computed of numbers, and how many do not come back.
func writeOperations(w io.Writer, v *inspect.Conversion, done bool) {
	for _, o := range v.Operations() {
		numbers := render.Counted(o.Elements, "number")
		switch {
		case o.Lost == nil && done:
		case o.Lost == nil:
			fmt.Fprintf(w, "%s of %s: %s, %s\n", o.Operation, o.DType, render.Counted(o.Tensors, "tensor"), numbers)
		case o.Lost.Numbers == 0:
			fmt.Fprintf(w, "%s of %s: all of %s are the same on the way back\n", o.Operation, o.DType, numbers)
		default:
			by := ""
			if o.Lost.By != nil {
				by = fmt.Sprintf(" by at most %.2g", *o.Lost.By)
			}
			fmt.Fprintf(w, "%s of %s: %s of %s %s%s on the way back\n", o.Operation, o.DType, render.Grouped(o.Lost.Numbers), numbers, plural.Verb(o.Lost.Numbers, "differ"), by)
		}
	}
}

// roundingText says what a cast costs.
func roundingText(r *inspect.Rounding) string {
	if r.Inexact == 0 && r.NaN == 0 {
		return "all exact"
	}
	return counts{{r.Inexact - r.Overflowed - r.Underflowed, "rounded"}, {r.Overflowed, tooLarge}, {r.Underflowed, becameZero}, {r.NaN, "NaN"}}.String()
}

// Losses says how many numbers a cast could not keep at all.
func Losses(r *inspect.Rounding) string {
	return counts{{r.Overflowed, tooLarge}, {r.Underflowed, becameZero}}.String()
}

const tooLarge, becameZero = "too large", "became 0"

// counts are how many there are of what; nothing is printed of which there is none.
type counts []struct {
	n    uint64
	what string
}

func (c counts) String() string {
	var words []string
	for _, one := range c {
		if one.n > 0 {
			words = append(words, render.Grouped(one.n)+" "+one.what)
		}
	}
	return strings.Join(words, ", ")
}

// ConvertReport prints what was done, and how it is known that it is right.
func ConvertReport(w io.Writer, v *inspect.Conversion, verify rewrite.Verify, o Options) error {
	for _, sum := range v.Report.Proofs() {
		fmt.Fprintf(w, "read back and verified: %s\n", proofText(sum))
	}
	if verify == rewrite.VerifyNone {
		fmt.Fprintln(w, "not read back")
	}
	for _, c := range v.Casts() {
		if c.Rounding != nil {
			fmt.Fprintf(w, "%s -> %s: %s\n", c.From, c.To, roundingText(c.Rounding))
		}
	}
	writeOperations(w, v, true)
	_, err := fmt.Fprintf(w, "done: %s\n", render.Escape(v.Report.Output))
	return err
}

// Convert prints the plan, and what was done, for programs.
func Convert(w io.Writer, v *inspect.Conversion, o Options) error {
	t := newTensorColumns.Table(v.All())
	if o.Format != render.JSON {
		return t.Write(w, o.Format, o.Style)
	}
	d := render.NewDocument(w)
	paths := []string{v.Source.Path}
	if len(v.Source.Of) > 0 {
		paths = paths[:0]
		for _, c := range v.Source.Of {
			paths = append(paths, c.Path)
		}
	}
	render.List(d, "sources", paths)
	d.Field("container", v.Container)
	from, to := "", ""
	if v.Names != nil {
		from, to = v.Names.Plan.Map.From, v.Names.Plan.Map.To
	}
	d.Field("from", nullable(from))
	d.Field("to", nullable(to))
	d.Field("summary", v.Summary())
	d.Rows("tensors", t)
	d.Rows("left_out", render.Columns[*inspect.LeftOut]{
		{Key: "name", Cell: func(c *render.Cell, l *inspect.LeftOut) { c.Text(l.Name) }},
		{Key: "reason", Cell: func(c *render.Cell, l *inspect.LeftOut) { c.Text(l.Reason) }},
	}.Table(pointers(v.LeftOut)))
	render.List(d, "casts", v.Casts())
	render.List(d, "operations", v.Operations())
	render.List(d, "documents", v.Documents)
	render.List(d, "missing", v.Missing)
	render.List(d, "notes", v.Notes)
	var problems []rename.Problem
	if v.Refused() {
		problems = v.Names.Plan.Problems
	}
	render.List(d, "problems", problems)
	d.Field("write", v.Job)
	d.Field("report", v.Report)
	return d.Close()
}
