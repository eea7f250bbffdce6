package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

type diffOptions struct {
	reading
	selection
	output
	progress
	headers     bool
	mapName     string
	writeMap    string
	stat        bool
	nameOnly    bool
	weightsOnly bool
	flat        bool
	tolerance   float64
	strict      bool
}

// autoMap is the value of --map that stands for the conventions of both.
const autoMap = "auto"

func newDiff(p *program) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "Compare two checkpoints: what differs, and what is only renamed",
		Long: `Diff pairs the tensors of two checkpoints by name, then by content, then by
what they are for, and says which are renamed, changed, of another dtype or
shape, or in one of them only. Renames are reported as the rules of a map, which
--write-map writes when contents prove them.

Values are compared byte by byte; where they differ, all of both is read again
for the greatest difference, the relative root mean square and the cosine.
--headers reads no values.

The last line is the verdict: same bytes, same values in another dtype or container,
faithful (no number differs by more than its dtype costs), changed, or other: not the
same model. The tensors that make the verdict come first.

Two checkpoints of different formats, of different projects' conventions, or of
conventions that keep the same weights in different ways, are compared as --map auto
does: one is compared as if it were converted to the convention of the other,
whichever is given first. Within one project, another name is a difference. A tensor that the
other project has no place for is listed with the reason, and is no difference.`,
		Annotations: exitStatus("0  same, same values or faithful; with --strict, same", "1  they differ"),
		Example: `  wtinspect diff before/ after/
  wtinspect diff --write-map yi-to-llama.yaml yi/ llama/
  wtinspect diff --headers a.safetensors b.safetensors
  wtinspect diff model/ model-q8_0.gguf
  wtinspect diff --stat --weights-only base/ tuned/`,
		Args:              arguments(2, 2),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd, p, diffColumns)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.headers, "headers", false, "compare names, dtypes and shapes; read no values")
	f.StringVar(&o.mapName, "map", "", "map A's names first: a `FILE`, a built-in map, or auto for the conventions of both")
	f.StringVar(&o.writeMap, "write-map", "", "write the map that explains the renamed tensors to `FILE`")
	f.BoolVar(&o.stat, "stat", false, "print the counts, how alike matrices are, and the verdict")
	f.Float64Var(&o.tolerance, "tolerance", 0, "call tensors faithful up to this relative error `X`, whatever their dtypes")
	f.BoolVar(&o.strict, "strict", false, "exit with 1 unless every tensor has the same bytes")
	f.BoolVar(&o.nameOnly, "name-only", false, "print only the names of the tensors that differ")
	f.BoolVar(&o.weightsOnly, "weights-only", false, "leave metadata and config.json out")
	f.BoolVar(&o.flat, "flat", false, "do not fold layers")
	return cmd
}

func runDiff(ctx context.Context, p *program, o *diffOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if o.writeMap != "" && o.headers {
		return errors.New("--write-map proves the map by what the tensors hold; leave out --headers")
	}
	if (o.stat || o.nameOnly) && (o.Format() != render.TableFormat || o.stat && o.nameOnly) {
		return errors.New("--stat and --name-only are forms of the table: choose one of them, without -f")
	}
	if !(o.tolerance >= 0) || math.IsInf(o.tolerance, 0) {
		return fmt.Errorf("--tolerance %g: it must be a number of at least 0", o.tolerance)
	}
	opts := inspect.DiffOptions{
		Select: o.Selection, Headers: o.headers, Auto: o.mapName == autoMap, WeightsOnly: o.weightsOnly, All: p.verbose, Workers: o.workers,
		One: o.writeMap != "", Tolerance: o.tolerance,
	}
	if o.mapName != "" && o.mapName != autoMap {
		var err error
		if opts.Map, err = loadMap(ctx, o.mapName); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.Close()
	if in.failed {
		return &exitError{exitFailed}
	}
	var stage string
	bar := &jobMeter{start: func(total int64) *meter { return o.meter(p, stage, total) }}
	opts.Progress = func(what string, done, total int64) {
		if done == 0 {
			stage = what
		}
		bar.update(done, total)
	}
	res, err := inspect.Diff(ctx, in.Set, &opts)
	bar.end()
	if err != nil {
		return err
	}
	d := &differences{DiffResult: res, options: o}
	compared := 0
	for _, c := range res.Comparisons {
		compared += len(c.Rows)
		d.pairs = append(d.pairs, &difference{Comparison: c, options: o, verbose: p.verbose})
		for _, note := range c.Notes {
			p.note("%s", note)
		}
	}
	in.say(p, res.Errors())
	if o.writeMap != "" {
		if err := d.pairs[0].writeMap(p, in.Paths()); err != nil {
			return err
		}
	}
	err = o.write(p, in.Paths(), d.write)
	o.noteNone(p, compared, err)
	verdict := res.Verdict
	if err = in.finish(ctx, p, err); err == nil && (verdict.Differs() || o.strict && verdict != inspect.VerdictSame) {
		return &exitError{exitFindings}
	}
	return err
}

// A differences is the answer of diff: one for each pair of checkpoints.
type differences struct {
	*inspect.DiffResult
	options *diffOptions
	pairs   []*difference
}

func (d *differences) write(w io.Writer, s render.Style) error {
	f := d.options.Format()
	if f == render.JSON {
		doc := render.NewDocument(w)
		render.List(doc, "comparisons", d.Comparisons)
		doc.Field("only_a", d.OnlyA)
		doc.Field("only_b", d.OnlyB)
		doc.Field("verdict", d.Verdict)
		doc.Rows("tensors", d.table())
		render.Each(doc, "faults", d.Faults)
		return doc.Close()
	}
	if f != render.TableFormat {
		return d.table().Write(w, f, s)
	}
	return s.Wrap(w, func(w io.Writer) error { return d.writeTables(w, s) })
}

func (d *differences) writeTables(w io.Writer, s render.Style) error {
	several := len(d.pairs)+len(d.OnlyA)+len(d.OnlyB) > 1
	for i, p := range d.pairs {
		if several && !d.options.nameOnly {
			if err := writeHeading(w, s, i, p.Place); err != nil {
				return err
			}
		}
		if err := p.write(w, s); err != nil {
			return err
		}
	}
	for _, side := range []struct {
		status inspect.DiffStatus
		paths  []string
	}{{inspect.OnlyA, d.OnlyA}, {inspect.OnlyB, d.OnlyB}} {
		for _, path := range side.paths {
			if _, err := fmt.Fprintf(w, "%s  %s\n", s.Paint(render.Red, statusWord(side.status)), render.Escape(path)); err != nil {
				return err
			}
		}
	}
	if several && !d.options.nameOnly {
		_, err := fmt.Fprintf(w, "all: %s\n", s.Paint(verdictColor(d.Verdict), cmp.Or(string(d.Verdict), "undecided")))
		return err
	}
	return nil
}

func verdictColor(v inspect.DiffVerdict) render.Color {
	switch {
	case !v.Differs():
		return render.Green
	case v == "":
		return render.Yellow
	}
	return render.Red
}

// A difference is how two checkpoints differ, and how that is shown.
type difference struct {
	*inspect.Comparison
	options *diffOptions
	verbose bool
}

// writeMap writes the map that explains the renamed tensors, when their contents
// prove every rule of it.
func (d *difference) writeMap(p *program, inputs []string) error {
	m, unproven := d.Map()
	if unproven > 0 {
		p.say("%s: %s left out: no tensor has the same contents under both names", d.options.writeMap, counted(unproven, "rule"))
	}
	return writeMap(p, &output{path: d.options.writeMap}, m, inputs)
}

func (d *difference) write(w io.Writer, s render.Style) error {
	if d.options.nameOnly {
		return d.writeNames(w)
	}
	return d.writeTable(w, s)
}

func (d *difference) writeNames(w io.Writer) error {
	var b bytes.Buffer
	for i := range d.Rows {
		r := &d.Rows[i]
		if !r.Interesting() {
			continue
		}
		name := r.NameB
		if r.B < 0 {
			name = r.NameA
		}
		fmt.Fprintln(&b, render.Escape(name))
	}
	_, err := w.Write(b.Bytes())
	return err
}

// colors of what became of tensors.
func statusColor(s inspect.DiffStatus) render.Color {
	switch s {
	case inspect.Same, inspect.Agree:
		return render.Green
	case inspect.Changed, inspect.DTypeChanged:
		return render.Yellow
	}
	return render.Red
}

// statusWord is a status as people read it.
func statusWord(s inspect.DiffStatus) string {
	switch s {
	case inspect.OnlyA:
		return "only A"
	case inspect.OnlyB:
		return "only B"
	}
	return string(s)
}

func (d *difference) writeTable(w io.Writer, s render.Style) error {
	if !d.options.stat {
		if err := d.writeRules(w, s); err != nil {
			return err
		}
		if groups := d.Groups(s.Terminal && !d.options.flat, d.verbose); len(groups) > 0 {
			if err := d.groupTable(groups).Write(w, render.TableFormat, s); err != nil {
				return err
			}
		}
		if err := d.writeChanges(w, s); err != nil {
			return err
		}
	}
	if _, err := fmt.Fprintln(w, d.Summary.String()); err != nil {
		return err
	}
	if relRMS, cosine, n := d.Likeness(); d.options.stat && n > 0 {
		if _, err := fmt.Fprintf(w, "matrices: %s, median relative RMS %.3g, median cosine %.6f\n", render.Grouped(uint64(n)), relRMS, cosine); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, s.Paint(verdictColor(d.Verdict), d.Sentence()))
	return err
}

// writeRules writes a line a rule, and how many tensors it takes; two on a
// terminal that is too narrow, since a name that is cut is no rule.
func (d *difference) writeRules(w io.Writer, s render.Style) error {
	const fixed = len("renamed    ->   x12345  by name and shape alone")
	narrow := s.Width > 0 && slices.ContainsFunc(d.Rules, func(r inspect.DiffRule) bool {
		return fixed+len(r.From)+len(r.To) > s.Width
	})
	var lines []ruleLine
	for _, r := range d.Rules {
		l := ruleLine{"renamed", r.From + " -> " + r.To, "x" + strconv.Itoa(r.Tensors), "same contents"}
		switch {
		case r.To == "":
			l.kind, l.rule, l.proof = "dropped", r.From, "another tensor takes its name"
		case d.options.headers && r.Likely > 0:
			l.proof = "likely, by their names"
		case d.options.headers:
			l.proof = "by name and shape alone"
		case r.Proven == 0 && r.Likely > 0:
			l.proof = "contents differ; likely"
		case r.Proven == 0:
			l.proof = "contents differ"
		case r.Likely > 0:
			l.proof = fmt.Sprintf("same in %d, likely in %d", r.Proven, r.Likely)
		case r.Proven < r.Tensors:
			l.proof = fmt.Sprintf("same contents in %d", r.Proven)
		}
		if narrow && r.To != "" {
			l.rule = r.From
			lines = append(lines, l, ruleLine{"->", r.To, " ", " "})
		} else {
			lines = append(lines, l)
		}
	}
	t := ruleColumns.Table(slices.Values(lines))
	s.Columns = nil // which are of the table of tensors
	t.Headings = render.Never
	var b bytes.Buffer
	if err := t.Write(&b, render.TableFormat, s); err != nil {
		return err
	}
	for line := range strings.Lines(b.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// A ruleLine is a line about a rule.
type ruleLine struct{ kind, rule, tensors, proof string }

var ruleColumns = render.Columns[ruleLine]{
	{Title: "KIND", Right: true, Cell: func(c *render.Cell, l ruleLine) {
		c.Text(l.kind)
		c.Color(render.Cyan)
	}},
	{Title: "RULE", Cut: render.Whole, Cell: func(c *render.Cell, l ruleLine) { c.Text(l.rule) }},
	{Title: "TENSORS", Right: true, Cell: func(c *render.Cell, l ruleLine) { c.Text(l.tensors) }},
	{Title: "PROOF", Cell: func(c *render.Cell, l ruleLine) { c.Text(l.proof) }},
}

// groupTable has a line a group, with the worst of its figures.
func (d *difference) groupTable(groups []inspect.DiffGroup) *render.Table {
	folded := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool { return len(g.Rows) > 1 })
	measured := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool {
		return slices.ContainsFunc(g.Rows, func(r *inspect.DiffRow) bool { return r.Figures != nil })
	})
	noted := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool { return g.Remark(d.verbose) != "" })
	return d.groupColumns(folded, measured, noted).Table(slices.Values(groups))
}

// diffColumns describes the columns of the answer.
func diffColumns(o answer.Options) []render.Column {
	if o.Format == render.TableFormat {
		return (&difference{}).groupColumns(true, true, true).Heads()
	}
	return (&differences{DiffResult: &inspect.DiffResult{}}).columns().Heads()
}

func (d *difference) groupColumns(folded, measured, noted bool) render.Columns[inspect.DiffGroup] {
	figure := func(of func(c *render.Cell, f *inspect.DiffFigures)) func(c *render.Cell, g inspect.DiffGroup) {
		return func(c *render.Cell, g inspect.DiffGroup) {
			if f := inspect.WorstFigures(g.Rows); f != nil {
				of(c, f)
			}
		}
	}
	return render.Columns[inspect.DiffGroup]{
		{Title: "WHAT", Cell: func(c *render.Cell, g inspect.DiffGroup) {
			r := g.Rows[0]
			word := statusWord(r.Status)
			if r.Moved {
				word = "moved"
			}
			c.Text(word)
			c.Color(statusColor(r.Status))
		}},
		{Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, g inspect.DiffGroup) { c.Text(g.Name) }},
		{Title: "DTYPE", Cell: func(c *render.Cell, g inspect.DiffGroup) {
			r := g.Rows[0]
			pairCell(c, r.DTypeA, r.DTypeB, r)
		}},
		{Title: "SHAPE", Cell: func(c *render.Cell, g inspect.DiffGroup) {
			r := g.Rows[0]
			pairCell(c, dimensions(r.ShapeA), dimensions(r.ShapeB), r)
		}},
		{Title: "COUNT", Hide: !folded, Right: true, Cell: func(c *render.Cell, g inspect.DiffGroup) { c.Text("x" + strconv.Itoa(len(g.Rows))) }},
		{Title: "MAX ABS", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Text(digits4(f.MaxAbs)) })},
		{Title: "REL RMS", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Text(digits4(f.RelRMS)) })},
		{Title: "COSINE", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) {
			if !math.IsNaN(f.Cosine) {
				c.Text(strconv.FormatFloat(f.Cosine, 'f', 6, 64))
			}
		})},
		{Title: "NOTE", Hide: !noted, Cut: render.Sentence, Cell: func(c *render.Cell, g inspect.DiffGroup) { c.Some(g.Remark(d.verbose)) }},
	}
}

func digits4(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

// pairCell shows what both have once, and otherwise as "A -> B".
func pairCell(c *render.Cell, a, b string, r *inspect.DiffRow) {
	switch {
	case r.A < 0:
		c.Some(b)
	case r.B < 0 || a == b:
		c.Some(a)
	default:
		c.Text(a + " -> " + b)
	}
}

// dimensions is shapeText of a shape that may be unknown.
func dimensions(shape []uint64) string {
	if shape == nil {
		return "?"
	}
	return shapeText(shape)
}

// writeChanges writes what differs beside the tensors.
func (d *difference) writeChanges(w io.Writer, s render.Style) error {
	var lines []changeLine
	for _, c := range d.Metadata {
		lines = append(lines, changeLine{"metadata", c.Key, changeText(c)})
	}
	for _, c := range d.Config {
		lines = append(lines, changeLine{"config", cmp.Or(c.Key, "config.json"), changeText(c)})
	}
	t := changeColumns.Table(slices.Values(lines))
	s.Columns = nil
	t.Headings = render.Never
	return t.Write(w, render.TableFormat, s)
}

// A changeLine is a line about what differs beside the tensors.
type changeLine struct{ what, key, change string }

var changeColumns = render.Columns[changeLine]{
	{Title: "WHAT", Cell: func(c *render.Cell, l changeLine) {
		c.Text(l.what)
		c.Color(render.Yellow)
	}},
	{Title: "KEY", Cut: render.Whole, Cell: func(c *render.Cell, l changeLine) { c.Text(l.key) }},
	{Title: "CHANGE", Cut: render.Sentence, Cell: func(c *render.Cell, l changeLine) { c.Text(l.change) }},
}

func changeText(c inspect.Change) string {
	switch {
	case c.B == nil:
		return strings.TrimSpace("only A " + textOf(c.A))
	case c.A == nil:
		return strings.TrimSpace("only B " + textOf(c.B))
	}
	return *c.A + " -> " + *c.B
}

// table has a row a tensor, for programs.
func (d *differences) table() *render.Table {
	return d.columns().Table(func(yield func(*inspect.DiffRow) bool) {
		for r := range d.Tensors {
			if !yield(&r) {
				return
			}
		}
	})
}

func (d *differences) columns() render.Columns[*inspect.DiffRow] {
	type row = *inspect.DiffRow
	comparisons := make([]render.Cell, len(d.Comparisons))
	for k, c := range d.Comparisons {
		comparisons[k] = render.Value(c.A.Path, strconv.Itoa(k))
	}
	figure := func(of func(c *render.Cell, f *inspect.DiffFigures)) func(c *render.Cell, r row) {
		return func(c *render.Cell, r row) {
			if r.Figures != nil {
				of(c, r.Figures)
			}
		}
	}
	return render.Columns[row]{
		{Key: "comparison", Cell: func(c *render.Cell, r row) { *c = comparisons[r.Comparison] }},
		{Key: "status", Cell: func(c *render.Cell, r row) { c.Text(strings.ReplaceAll(string(r.Status), "-", "_")) }},
		{Key: "moved", Cell: func(c *render.Cell, r row) { c.Bool(r.Moved) }},
		{Key: "paired_by", Cell: func(c *render.Cell, r row) { c.Some(r.By) }},
		// A name may be empty.
		{Key: "name_a", Cell: func(c *render.Cell, r row) {
			if r.A >= 0 {
				c.Text(r.NameA)
			}
		}},
		{Key: "name_b", Cell: func(c *render.Cell, r row) {
			if r.B >= 0 {
				c.Text(r.NameB)
			}
		}},
		{Key: "dtype_a", Cell: func(c *render.Cell, r row) { c.Some(r.DTypeA) }},
		{Key: "dtype_b", Cell: func(c *render.Cell, r row) { c.Some(r.DTypeB) }},
		{Key: "shape_a", Cell: func(c *render.Cell, r row) { c.Shape(r.ShapeA) }},
		{Key: "shape_b", Cell: func(c *render.Cell, r row) { c.Shape(r.ShapeB) }},
		{Key: "layout", Cell: func(c *render.Cell, r row) { c.Some(strings.Join(r.Layout, ", ")) }},
		{Key: "max_abs", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Float(f.MaxAbs) })},
		{Key: "max_abs_at", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Uint(f.MaxAt) })},
		{Key: "rel_rms", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Float(f.RelRMS) })},
		{Key: "cosine", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Figure(f.Cosine) })},
		{Key: "differ", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Uint(f.Differ) })},
		{Key: "nan", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Uint(f.NaN) })},
		{Key: "rounded", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Some(f.Rounded()) })},
		{Key: "beyond", Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Uint(f.Beyond) })},
		{Key: "expected_rms", Cell: func(c *render.Cell, r row) {
			if r.ExpectedRMS != nil {
				c.Float(*r.ExpectedRMS)
			}
		}},
		{Key: "as_stored", Cell: func(c *render.Cell, r row) { c.Bool(r.AsStored) }},
		{Key: "reordered", Cell: func(c *render.Cell, r row) { c.Bool(r.Reordered) }},
		{Key: "first_byte", Cell: func(c *render.Cell, r row) {
			if r.First >= 0 {
				c.Int(r.First)
			}
		}},
		{Key: "same_bytes_as", Cell: func(c *render.Cell, r row) {
			if r.SameBytesAs != nil {
				c.Text(*r.SameBytesAs)
			}
		}},
		{Key: "reason", Cell: func(c *render.Cell, r row) { c.Some(r.Reason) }},
		{Key: "verdict", Cell: func(c *render.Cell, r row) { c.Some(string(r.Verdict)) }},
		{Key: "error", Cell: func(c *render.Cell, r row) { c.Error(r.Err) }},
	}
}
