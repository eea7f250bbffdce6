package answer

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// DiffOptions adjust [Diff].
type DiffOptions struct {
	Options
	// Stat and NameOnly are forms of the table: counts and the verdict, or names alone.
	Stat, NameOnly bool
	// Flat folds no layers.
	Flat bool
}

// Diff prints how checkpoints differ.
func Diff(w io.Writer, r *inspect.DiffResult, o DiffOptions) error {
	d := &differences{r, o}
	return d.write(w, o.Style)
}

// A differences is how the checkpoints of two releases differ, and how that is shown.
type differences struct {
	*inspect.DiffResult
	DiffOptions
}

func (d *differences) write(w io.Writer, s render.Style) error {
	f := d.Format
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
	several := len(d.Comparisons)+len(d.OnlyA)+len(d.OnlyB) > 1
	for i, c := range d.Comparisons {
		if several && !d.NameOnly {
			if err := Heading(w, s, i, c.Place); err != nil {
				return err
			}
		}
		if err := (&difference{c, d.DiffOptions}).write(w, s); err != nil {
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
	if several && !d.NameOnly {
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
	DiffOptions
}

func (d *difference) write(w io.Writer, s render.Style) error {
	if d.NameOnly {
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
	if !d.Stat {
		if err := d.writeRules(w, s); err != nil {
			return err
		}
		if groups := d.Groups(s.Terminal && !d.Flat, d.Verbose); len(groups) > 0 {
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
	if relRMS, cosine, n := d.Likeness(); d.Stat && n > 0 {
		if _, err := fmt.Fprintf(w, "matrices: %s, median relative RMS %.3g, median cosine %.6f\n", render.Grouped(uint64(n)), relRMS, cosine); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, s.Paint(verdictColor(d.Verdict), d.Sentence()))
	return err
}

// writeRules writes a line for each rule, and how many tensors it takes; two on a
// terminal that is too narrow, since a name that is cut is no rule.
func (d *difference) writeRules(w io.Writer, s render.Style) error {
	const fixed = len("renamed    ->   x12345  by name and shape alone")
	narrow := s.Width > 0 && slices.ContainsFunc(d.Rules, func(r inspect.DiffRule) bool {
		return fixed+len(r.From)+len(r.To) > s.Width
	})
	t := d.rules(narrow)
	s.Columns = nil // which are of the table of tensors
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

// DiffRules has a row for each rule that explains renamed tensors.
func DiffRules(c *inspect.Comparison) *render.Table {
	return (&difference{Comparison: c}).rules(false)
}

// rules has a row for each rule, or two where it is too narrow for both names.
func (d *difference) rules(narrow bool) *render.Table {
	var lines []proofLine
	for _, r := range d.Rules {
		l := proofLine{"renamed", r.From + " -> " + r.To, "x" + strconv.Itoa(r.Tensors), "same contents"}
		switch {
		case r.To == "":
			l.kind, l.rule, l.proof = "dropped", r.From, "another tensor takes its name"
		case d.HeadersOnly && r.Likely > 0:
			l.proof = "likely, by their names"
		case d.HeadersOnly:
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
			lines = append(lines, l, proofLine{"->", r.To, " ", " "})
		} else {
			lines = append(lines, l)
		}
	}
	t := proofColumns.Table(slices.Values(lines))
	t.Headings = render.Never
	return t
}

// A proofLine is a line about a rule.
type proofLine struct{ kind, rule, tensors, proof string }

var proofColumns = render.Columns[proofLine]{
	{Title: "KIND", Right: true, Cell: func(c *render.Cell, l proofLine) {
		c.Text(l.kind)
		c.Color(render.Cyan)
	}},
	{Title: "RULE", Cut: render.Whole, Cell: func(c *render.Cell, l proofLine) { c.Text(l.rule) }},
	{Title: "TENSORS", Right: true, Cell: func(c *render.Cell, l proofLine) { c.Text(l.tensors) }},
	{Title: "PROOF", Cell: func(c *render.Cell, l proofLine) { c.Text(l.proof) }},
}

// DiffGroups has a row for each group of tensors that differ in something.
func DiffGroups(c *inspect.Comparison) *render.Table {
	return (&difference{Comparison: c}).groupTable(c.Groups(true, false))
}

// groupTable has a line per group, with the worst of its figures.
func (d *difference) groupTable(groups []inspect.DiffGroup) *render.Table {
	folded := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool { return len(g.Rows) > 1 })
	measured := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool {
		return slices.ContainsFunc(g.Rows, func(r *inspect.DiffRow) bool { return r.Figures != nil })
	})
	noted := slices.ContainsFunc(groups, func(g inspect.DiffGroup) bool { return g.Remark(d.Verbose) != "" })
	return d.groupColumns(folded, measured, noted).Table(slices.Values(groups))
}

// DiffColumns describes the columns of [Diff].
func DiffColumns(o Options) []render.Column {
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
		{Title: "COUNT", Hide: !folded, Right: true, Cell: func(c *render.Cell, g inspect.DiffGroup) { countCell(c, uint64(len(g.Rows))) }},
		{Title: "MAX ABS", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Ordered(digits4(f.MaxAbs), f.MaxAbs) })},
		{Title: "REL RMS", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) { c.Ordered(digits4(f.RelRMS), f.RelRMS) })},
		{Title: "COSINE", Hide: !measured, Right: true, Cell: figure(func(c *render.Cell, f *inspect.DiffFigures) {
			c.Ordered(strconv.FormatFloat(f.Cosine, 'f', 6, 64), f.Cosine)
		})},
		{Title: "NOTE", Hide: !noted, Cut: render.Sentence, Cell: func(c *render.Cell, g inspect.DiffGroup) { c.Some(g.Remark(d.Verbose)) }},
	}
}

func digits4(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

// countCell shows how many tensors a row is of.
func countCell(c *render.Cell, n uint64) { c.Ordered("x"+strconv.FormatUint(n, 10), float64(n)) }

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

// dimensions is ShapeText of a shape that may be unknown.
func dimensions(shape []uint64) string {
	if shape == nil {
		return "?"
	}
	return ShapeText(shape)
}

// writeChanges writes what differs beside the tensors.
func (d *difference) writeChanges(w io.Writer, s render.Style) error {
	s.Columns = nil
	return DiffBeside(d.Comparison).Write(w, render.TableFormat, s)
}

// DiffBeside has a row for each entry of metadata and configuration that differs.
func DiffBeside(c *inspect.Comparison) *render.Table {
	var lines []besideLine
	for _, change := range c.Metadata {
		lines = append(lines, besideLine{"metadata", change.Key, changeText(change)})
	}
	for _, change := range c.Config {
		lines = append(lines, besideLine{"config", cmp.Or(change.Key, "config.json"), changeText(change)})
	}
	t := besideColumns.Table(slices.Values(lines))
	t.Headings = render.Never
	return t
}

// A besideLine is a line about what differs beside the tensors.
type besideLine struct{ what, key, change string }

var besideColumns = render.Columns[besideLine]{
	{Title: "WHAT", Cell: func(c *render.Cell, l besideLine) {
		c.Text(l.what)
		c.Color(render.Yellow)
	}},
	{Title: "KEY", Cut: render.Whole, Cell: func(c *render.Cell, l besideLine) { c.Text(l.key) }},
	{Title: "CHANGE", Cut: render.Sentence, Cell: func(c *render.Cell, l besideLine) { c.Text(l.change) }},
}

func changeText(c inspect.Change) string {
	switch {
	case c.B == nil:
		return strings.TrimSpace("only A " + TextOf(c.A))
	case c.A == nil:
		return strings.TrimSpace("only B " + TextOf(c.B))
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
