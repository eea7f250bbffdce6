package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/template"
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
}

// autoMap is the value of --map that stands for the conventions of both.
const autoMap = "auto"

func newDiff(p *program) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff A B",
		Short: "What two checkpoints have in common, and where they differ",
		Long: `Diff pairs the tensors of two checkpoints by name, then by content, then by
what they are for, and says which are renamed, changed, of another dtype or
shape, or in one of them only. Renames are told as the rules of a map, which
--write-map writes when contents prove them.

Values are compared byte by byte; where they differ, all of both is read again
for the greatest difference, the relative root mean square and the cosine.
--headers reads no values.

Two checkpoints of different formats, or of conventions that keep the same weights
in different ways, are compared as --map auto does: A's names are mapped to B's
convention, what the conventions do to the bytes is undone,
and a quantised tensor's error stands beside what its type is expected to cost.`,
		Annotations: exitStatus("0  they are the same", "1  they differ"),
		Example: `  wtinspect diff before/ after/
  wtinspect diff --write-map yi-to-llama.yaml yi/ llama/
  wtinspect diff --headers a.safetensors b.safetensors
  wtinspect diff model/ model-q8_0.gguf
  wtinspect diff --stat --weights-only base/ tuned/`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runDiff(cmd.Context(), p, &o, args)
		}),
	}
	o.output.addFlags(cmd)
	o.selection.addFlags(cmd, p)
	o.addWorkFlags(cmd)
	o.progress.addFlags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.headers, "headers", false, "compare names, dtypes and shapes; read no values")
	f.StringVar(&o.mapName, "map", "", "map A's names first: a `FILE`, a built-in map, or auto for the conventions of both")
	f.StringVar(&o.writeMap, "write-map", "", "write the map that explains the renamed tensors to `FILE`")
	f.BoolVar(&o.stat, "stat", false, "print the counts alone")
	f.BoolVar(&o.nameOnly, "name-only", false, "print the names of the tensors that differ alone")
	f.BoolVar(&o.weightsOnly, "weights-only", false, "leave metadata and config.json out")
	f.BoolVar(&o.flat, "flat", false, "do not fold layers")
	return cmd
}

func runDiff(ctx context.Context, p *program, o *diffOptions, args []string) error {
	selected, err := o.compile()
	if err != nil {
		return err
	}
	if o.writeMap != "" && o.headers {
		return errors.New("--write-map proves the map by what the tensors hold; leave out --headers")
	}
	if (o.stat || o.nameOnly) && (o.Format() != render.TableFormat || o.stat && o.nameOnly) {
		return errors.New("--stat and --name-only are each a form of the table")
	}
	opt := compare.Options{
		Headers: o.headers, Chosen: selected, WeightsOnly: o.weightsOnly, Workers: o.workers,
	}
	if o.mapName != "" && o.mapName != autoMap {
		if opt.Map, err = loadMap(ctx, o.mapName); err != nil {
			return err
		}
	}
	in, err := o.open(ctx, p, args)
	if err != nil {
		return err
	}
	defer in.close()
	if in.failed {
		return &exitError{exitFailed}
	}
	d, err := pairCheckpoints(in, o)
	if err != nil {
		return err
	}
	in.validate()
	for _, pair := range d.pairs {
		if err := pair.compare(ctx, p, in, opt); err != nil {
			return err
		}
	}
	if o.writeMap != "" {
		if err := d.pairs[0].writeMap(p, in.paths()); err != nil {
			return err
		}
	}
	err = o.write(p, in.paths(), d.write)
	if err = in.finish(p, err); err == nil && d.differs() {
		return &exitError{exitFindings}
	}
	return err
}

// A differences is the answer of diff: one for each pair of checkpoints.
type differences struct {
	in      *inputs
	options *diffOptions
	pairs   []*difference
	// onlyA and onlyB are checkpoints without a counterpart.
	onlyA, onlyB []*checkpoint.Checkpoint
}

// pairCheckpoints pairs the checkpoints of two paths: the only one of each, or
// those that have the same place in both.
func pairCheckpoints(in *inputs, o *diffOptions) (*differences, error) {
	d := &differences{in: in, options: o}
	a, b := in.releases[0], in.releases[1]
	if len(a.Checkpoints) == 1 && len(b.Checkpoints) == 1 {
		d.pairs = []*difference{{a: a.Checkpoints[0], b: b.Checkpoints[0], options: o}}
		return d, nil
	}
	inB := make(map[string]*checkpoint.Checkpoint)
	for _, c := range b.Checkpoints {
		inB[place(b, c)] = c
	}
	for _, c := range a.Checkpoints {
		name := place(a, c)
		if other := inB[name]; other != nil {
			d.pairs = append(d.pairs, &difference{a: c, b: other, name: name, options: o})
			delete(inB, name)
		} else {
			d.onlyA = append(d.onlyA, c)
		}
	}
	for _, c := range b.Checkpoints {
		if inB[place(b, c)] != nil {
			d.onlyB = append(d.onlyB, c)
		}
	}
	switch {
	case len(d.pairs) == 0:
		var paths []string
		for _, c := range in.checkpoints {
			paths = append(paths, c.Path)
		}
		return nil, fmt.Errorf("%s, %s: no two checkpoints have the same place in both; name two of %s", a.Path, b.Path, strings.Join(paths, ", "))
	case o.writeMap != "" && len(d.pairs) > 1:
		return nil, fmt.Errorf("%s, %s: a map is of one checkpoint; name two", a.Path, b.Path)
	}
	return d, nil
}

// place is where a checkpoint is in its release.
func place(r *checkpoint.Release, c *checkpoint.Checkpoint) string {
	rel, err := filepath.Rel(r.Dir, c.Path)
	if err != nil {
		return c.Path
	}
	return filepath.ToSlash(rel)
}

func (d *differences) differs() bool {
	return len(d.onlyA)+len(d.onlyB) > 0 || slices.ContainsFunc(d.pairs, func(p *difference) bool { return p.res.Differs() })
}

func (d *differences) write(w io.Writer, s render.Style) error {
	f := d.options.Format()
	if f == render.JSON {
		return d.writeJSON(w)
	}
	if f != render.TableFormat {
		return d.table(f == render.JSONL).Write(w, f, s)
	}
	several := len(d.pairs)+len(d.onlyA)+len(d.onlyB) > 1
	for i, p := range d.pairs {
		if several && !d.options.nameOnly {
			between := ""
			if i > 0 {
				between = "\n"
			}
			if _, err := fmt.Fprintf(w, "%s%s\n", between, s.Paint(render.Bold, render.Escape(p.name)+":")); err != nil {
				return err
			}
		}
		if err := p.write(w, s); err != nil {
			return err
		}
	}
	for _, side := range []struct {
		word string
		list []*checkpoint.Checkpoint
	}{{statusWord(compare.OnlyA), d.onlyA}, {statusWord(compare.OnlyB), d.onlyB}} {
		for _, c := range side.list {
			if _, err := fmt.Fprintf(w, "%s  %s\n", s.Paint(render.Red, side.word), render.Escape(c.Path)); err != nil {
				return err
			}
		}
	}
	return nil
}

// compare compares the pair.
func (d *difference) compare(ctx context.Context, p *program, in *inputs, opt compare.Options) error {
	o := d.options
	d.verbose = p.verbose
	opt.Auto = o.mapName == autoMap || o.mapName == "" && d.a.Format != d.b.Format
	bar := &meter{stop: func() {}}
	opt.Stage = func(what string, bytes int64) func(int64) {
		bar.end()
		bar = o.meter(p, what, bytes)
		return bar.add
	}
	res, err := compare.Compare(ctx, d.a, d.b, opt)
	bar.end()
	if err != nil {
		return err
	}
	d.res = res
	d.sum()
	for _, note := range res.Notes {
		p.note("%s", note)
	}
	for i := range res.Rows {
		if r := &res.Rows[i]; r.Err != nil {
			in.failed = true
			p.say("%v", r.Err)
		}
	}
	return nil
}

// A difference is how two checkpoints differ.
type difference struct {
	a, b    *checkpoint.Checkpoint
	name    string // their place, where there are several
	res     *compare.Result
	options *diffOptions
	verbose bool
	counts  jsonDiffSummary
}

// A jsonDiffSummary counts tensors. Renamed ones are counted under what else they
// are, too.
type jsonDiffSummary struct {
	Same    int `json:"same"`
	Agree   int `json:"agree"`
	Changed int `json:"changed"`
	DType   int `json:"dtype"`
	Shape   int `json:"shape"`
	OnlyA   int `json:"only_a"`
	OnlyB   int `json:"only_b"`
	Error   int `json:"error"`
	// Renamed tensors have another name in B, Moved ones of them a name that in
	// A is another tensor's.
	Renamed  int `json:"renamed"`
	Moved    int `json:"moved"`
	Rules    int `json:"rules"`
	Metadata int `json:"metadata"`
	Config   int `json:"config"`
}

func (d *difference) sum() {
	n := &d.counts
	for i := range d.res.Rows {
		r := &d.res.Rows[i]
		switch r.Status {
		case compare.Same:
			n.Same++
		case compare.Agree:
			n.Agree++
		case compare.Changed:
			n.Changed++
		case compare.DTypeChanged:
			n.DType++
		case compare.ShapeChanged:
			n.Shape++
		case compare.OnlyA:
			n.OnlyA++
		case compare.OnlyB:
			n.OnlyB++
		case compare.Unread:
			n.Error++
		}
		if r.Renamed() {
			n.Renamed++
			if d.moved(r) {
				n.Moved++
			}
		}
	}
	n.Rules, n.Metadata, n.Config = len(d.res.Rules), len(d.res.Metadata), len(d.res.Config)
}

// moved reports whether B has the tensor under a name that in A is another's.
func (d *difference) moved(r *compare.Row) bool {
	if !r.Renamed() {
		return false
	}
	_, ok := d.a.Lookup(r.NameB)
	return ok && r.By == compare.ByContent
}

// writeMap writes the map that explains the renamed tensors, when their contents
// prove every rule of it.
func (d *difference) writeMap(p *program, inputs []string) error {
	m := d.res.Map
	if m == nil {
		m = &rename.Map{}
	}
	out := *m
	out.Rules = nil
	tensors, unproven := 0, 0
	for i := range m.Rules {
		if r := d.res.Rules[i]; r.Proven == 0 && r.To != "" {
			unproven++
			continue
		}
		tensors += d.res.Rules[i].Tensors
		out.Rules = append(out.Rules, m.Rules[i])
	}
	proven := 0
	for _, r := range d.res.Rules {
		proven += r.Proven
	}
	out.Description = fmt.Sprintf("%s to %s: %s, %s proven by content", filepath.Base(d.a.Path), filepath.Base(d.b.Path), counted(tensors, "tensor"), render.Grouped(uint64(proven)))
	if unproven > 0 {
		p.say("%s: %s left out: no tensor has the same contents under both names", d.options.writeMap, counted(unproven, "rule"))
	}
	var b bytes.Buffer
	if err := rename.Write(&b, &out); err != nil {
		return fmt.Errorf("%s: %w", d.options.writeMap, err)
	}
	to := output{path: d.options.writeMap}
	return to.write(p, inputs, func(w io.Writer, _ render.Style) error {
		_, err := w.Write(b.Bytes())
		return err
	})
}

func (d *difference) write(w io.Writer, s render.Style) error {
	if d.options.nameOnly {
		return d.writeNames(w)
	}
	return d.writeTable(w, s)
}

// interesting reports whether a row says more than that a tensor is the same.
func interesting(r *compare.Row) bool {
	return r.Status != compare.Same && r.Status != compare.Agree || r.Renamed()
}

func (d *difference) writeNames(w io.Writer) error {
	var b bytes.Buffer
	for i := range d.res.Rows {
		r := &d.res.Rows[i]
		if !interesting(r) {
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
func statusColor(s compare.Status) render.Color {
	switch s {
	case compare.Same, compare.Agree:
		return render.Green
	case compare.Changed, compare.DTypeChanged:
		return render.Yellow
	}
	return render.Red
}

// statusWord is a status as people read it.
func statusWord(s compare.Status) string {
	switch s {
	case compare.OnlyA:
		return "only A"
	case compare.OnlyB:
		return "only B"
	}
	return string(s)
}

func (d *difference) writeTable(w io.Writer, s render.Style) error {
	if !d.options.stat {
		if err := d.writeRules(w, s); err != nil {
			return err
		}
		if groups := d.groups(s.Terminal && !d.options.flat); len(groups) > 0 {
			if err := d.groupTable(groups).Write(w, render.TableFormat, s); err != nil {
				return err
			}
		}
		if err := d.writeChanges(w, s); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, d.summary())
	return err
}

// writeRules writes a line a rule, and how many tensors it takes; two on a
// terminal that is too narrow, since a name that is cut is no rule.
func (d *difference) writeRules(w io.Writer, s render.Style) error {
	const fixed = len("renamed    ->   x12345  by name and shape alone")
	narrow := s.Width > 0 && slices.ContainsFunc(d.res.Rules, func(r compare.Rule) bool {
		return fixed+len(r.From)+len(r.To) > s.Width
	})
	t := &render.Table{
		Headings: render.Never,
		Columns: []render.Column{
			{Title: "KIND", Right: true}, {Title: "RULE", Cut: render.CutMiddle}, {Title: "TENSORS", Right: true}, {Title: "PROOF"},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for _, r := range d.res.Rules {
				kind, rule, proof := "renamed", r.From+" -> "+r.To, "same contents"
				switch {
				case r.To == "":
					kind, rule, proof = "dropped", r.From, "another tensor takes its name"
				case d.options.headers:
					proof = "by name and shape alone"
				case r.Proven == 0:
					proof = "contents differ"
				case r.Proven < r.Tensors:
					proof = fmt.Sprintf("same contents in %d", r.Proven)
				}
				second := narrow && r.To != ""
				if second {
					rule = r.From
				}
				if !yield([]render.Cell{
					render.Text(kind).In(render.Cyan),
					render.Text(rule),
					render.Text("x" + strconv.Itoa(r.Tensors)),
					render.Text(proof),
				}) {
					return
				}
				if second && !yield([]render.Cell{
					render.Text("->").In(render.Cyan), render.Text(r.To), render.Text(" "), render.Text(" "),
				}) {
					return
				}
			}
		},
	}
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

// A rowGroup is rows that are one line.
type rowGroup struct {
	name string
	rows []*compare.Row
}

// groups folds the rows worth a line, or does not. What is only renamed is told
// by its rule.
func (d *difference) groups(fold bool) []rowGroup {
	var rows []*compare.Row
	for i := range d.res.Rows {
		r := &d.res.Rows[i]
		if d.moved(r) || r.Status != compare.Same && r.Status != compare.Agree || d.verbose {
			rows = append(rows, r)
		}
	}
	var out []rowGroup
	if !fold {
		for _, r := range rows {
			out = append(out, rowGroup{d.rowName(r), []*compare.Row{r}})
		}
		return out
	}
	for _, g := range template.Fold(len(rows), func(i int) (string, string) {
		r := rows[i]
		return d.rowName(r), fmt.Sprint(r.Status, r.DTypeA, r.DTypeB, r.ShapeA, r.ShapeB, d.moved(r), r.Holds >= 0, rounded(r), r.Layout, r.Stored, r.Reordered)
	}) {
		group := rowGroup{name: g.Name}
		for _, i := range g.Members {
			group.rows = append(group.rows, rows[i])
		}
		out = append(out, group)
	}
	return out
}

// rowName is the name in B, or in A where B does not have the tensor.
func (d *difference) rowName(r *compare.Row) string {
	if r.B >= 0 {
		return r.NameB
	}
	return r.Mapped
}

// groupTable has a line a group, with the worst of its figures.
func (d *difference) groupTable(groups []rowGroup) *render.Table {
	folded := slices.ContainsFunc(groups, func(g rowGroup) bool { return len(g.rows) > 1 })
	figures := slices.ContainsFunc(groups, func(g rowGroup) bool {
		return slices.ContainsFunc(g.rows, func(r *compare.Row) bool { return r.Difference != nil })
	})
	columns := []render.Column{
		{Title: "WHAT"},
		{Title: "NAME", Cut: render.CutMiddle},
		{Title: "DTYPE"},
		{Title: "SHAPE"},
		{},
		{},
		{},
		{},
		{Title: "NOTE", Cut: render.CutEnd},
	}
	if folded {
		columns[4] = render.Column{Title: "COUNT", Right: true}
	}
	if figures {
		columns[5] = render.Column{Title: "MAX ABS", Right: true}
		columns[6] = render.Column{Title: "REL RMS", Right: true}
		columns[7] = render.Column{Title: "COSINE", Right: true}
	}
	if !slices.ContainsFunc(groups, func(g rowGroup) bool { return d.remark(g.rows) != "" }) {
		columns[8] = render.Column{}
	}
	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for _, g := range groups {
			r := g.rows[0]
			word := statusWord(r.Status)
			if d.moved(r) {
				word = "moved"
			}
			var maxAbs, relRMS, cosine render.Cell
			if f, ok := worst(g.rows); ok {
				maxAbs, relRMS = render.Text(digits4(f.maxAbs)), render.Text(digits4(f.relRMS))
				if !math.IsNaN(f.cosine) {
					cosine = render.Text(strconv.FormatFloat(f.cosine, 'f', 6, 64))
				}
			}
			if !yield([]render.Cell{
				render.Text(word).In(statusColor(r.Status)),
				render.Text(g.name),
				pairCell(r.DTypeA, r.DTypeB, r),
				pairCell(dimensions(r.ShapeA), dimensions(r.ShapeB), r),
				render.Text("x" + strconv.Itoa(len(g.rows))),
				maxAbs, relRMS, cosine,
				textOrNull(d.remark(g.rows)),
			}) {
				return
			}
		}
	}}
}

func digits4(f float64) string { return strconv.FormatFloat(f, 'g', 4, 64) }

// pairCell shows what both have once, and otherwise as "A -> B".
func pairCell(a, b string, r *compare.Row) render.Cell {
	switch {
	case r.A < 0:
		return textOrNull(b)
	case r.B < 0 || a == b:
		return textOrNull(a)
	}
	return render.Text(a + " -> " + b)
}

// dimensions is shapeText of a shape that may be unknown.
func dimensions(shape []uint64) string {
	if shape == nil {
		return "?"
	}
	return shapeText(shape)
}

type figures struct{ maxAbs, relRMS, cosine float64 }

// worst returns the worst of the figures of several rows.
func worst(rows []*compare.Row) (figures, bool) {
	f, found := figures{cosine: math.NaN()}, false
	for _, r := range rows {
		diff := r.Difference
		if diff == nil {
			continue
		}
		found = true
		f.maxAbs, f.relRMS = max(f.maxAbs, diff.MaxAbs), max(f.relRMS, diff.RelRMS)
		if math.IsNaN(f.cosine) || diff.Cosine < f.cosine {
			f.cosine = diff.Cosine
		}
	}
	return f, found
}

// The ways in which the values of two dtypes agree.
const (
	equalValues = "equal values"
	roundedB    = "B is A rounded"
	roundedA    = "A is B rounded"
)

// rounded says which of two tensors of different dtypes is the other, rounded or
// with equal values; "" when neither is.
func rounded(r *compare.Row) string {
	switch diff := r.Difference; {
	case diff == nil || r.Status != compare.DTypeChanged:
		return ""
	case diff.BRoundsA:
		return roundedB
	case diff.ARoundsB:
		return roundedA
	}
	return ""
}

// rounding is rounded for rows that agree in it, and tells equal values apart.
func rounding(rows ...*compare.Row) string {
	if !slices.ContainsFunc(rows, func(r *compare.Row) bool {
		return r.Status != compare.DTypeChanged || r.Difference == nil || r.Difference.Differ > 0
	}) {
		return equalValues
	}
	return rounded(rows[0])
}

// remark says what rows have in common beyond their figures.
func (d *difference) remark(rows []*compare.Row) string {
	r := rows[0]
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if s := rounding(rows...); s != "" {
		add("%s", s)
	}
	if d.moved(r) && len(rows) == 1 {
		add("holds A's %s", render.Escape(r.NameA))
	} else if d.moved(r) {
		add("hold other tensors of A")
	} else if r.Status == compare.OnlyA && r.Mapped != r.NameA && len(rows) == 1 {
		add("A's %s", render.Escape(r.NameA))
	} else if r.Renamed() && r.Status != compare.Same && r.Status != compare.Agree && len(rows) == 1 {
		add("A's %s", render.Escape(r.NameA))
	}
	if r.Holds >= 0 && len(rows) == 1 {
		add("the same bytes as A's %s", render.Escape(d.a.At(r.Holds).Name))
	} else if r.Holds >= 0 {
		add("the same bytes as other tensors of A")
	}
	nan := uint64(0)
	for _, r := range rows {
		if r.Difference != nil {
			nan += r.Difference.NaN
		}
	}
	if nan > 0 {
		add("%s NaN on one side", render.Grouped(nan))
	}
	if r.Reordered {
		add("the same numbers in another order")
	}
	if r.Stored {
		add("A's rows as they are stored: their layout was not converted")
	} else if e, ok := r.Expected(); ok && rounding(rows...) == "" {
		add("%s is expected to cost %.2g", r.DTypeB, e)
	}
	if len(r.Layout) > 0 && (d.verbose || r.Status != compare.DTypeChanged) {
		add("%s undone", strings.Join(r.Layout, ", "))
	}
	return strings.Join(out, "; ")
}

// writeChanges writes what differs beside the tensors.
func (d *difference) writeChanges(w io.Writer, s render.Style) error {
	t := &render.Table{
		Headings: render.Never,
		Columns:  []render.Column{{Title: "WHAT"}, {Title: "KEY", Cut: render.CutMiddle}, {Title: "CHANGE", Cut: render.CutEnd}},
		Rows: func(yield func([]render.Cell) bool) {
			for _, list := range []struct {
				what    string
				changes []compare.Change
			}{{"metadata", d.res.Metadata}, {"config", d.res.Config}} {
				for _, c := range list.changes {
					key := c.Key
					if list.what == "config" && key == "" {
						key = "config.json"
					}
					var change string
					switch {
					case !c.InB:
						change = strings.TrimSpace("only A " + c.A)
					case !c.InA:
						change = strings.TrimSpace("only B " + c.B)
					default:
						change = c.A + " -> " + c.B
					}
					if !yield([]render.Cell{render.Text(list.what).In(render.Yellow), render.Text(key), render.Text(change)}) {
						return
					}
				}
			}
		},
	}
	return t.Write(w, render.TableFormat, s)
}

// summary sums up in a line: "120 tensors renamed by 2 rules, 423 the same, 0
// changed".
func (d *difference) summary() string {
	n := &d.counts
	var out []string
	add := func(count int, format string) {
		out = append(out, fmt.Sprintf(format, render.Grouped(uint64(count))))
	}
	if n.Renamed > 0 {
		out = append(out, fmt.Sprintf("%s renamed by %s", counted(n.Renamed, "tensor"), counted(n.Rules, "rule")))
	}
	same, agree := 0, 0
	for i := range d.res.Rows {
		r := &d.res.Rows[i]
		if r.Renamed() {
			continue
		}
		switch r.Status {
		case compare.Same:
			same++
		case compare.Agree:
			agree++
		}
	}
	if d.options.headers || n.Agree > 0 {
		add(agree, "%s agree in name, dtype and shape (values not read)")
	} else {
		add(same, "%s the same")
		add(n.Changed, "%s changed")
	}
	for _, c := range []struct {
		n      int
		format string
	}{
		{n.DType, "%s of another dtype" + d.agreement()},
		{n.Shape, "%s of another shape"},
		{n.OnlyA, "%s only in A"},
		{n.OnlyB, "%s only in B"},
		{n.Error, "%s not compared"},
		{n.Metadata, "%s of the metadata"},
		{n.Config, "%s of config.json"},
	} {
		if c.n > 0 {
			add(c.n, c.format)
		}
	}
	return strings.Join(out, ", ")
}

// agreement says how many tensors of different dtypes have values that agree.
func (d *difference) agreement() string {
	equal, near := 0, 0
	for i := range d.res.Rows {
		switch r := &d.res.Rows[i]; rounding(r) {
		case equalValues:
			equal++
		case roundedA, roundedB:
			near++
		}
	}
	var out []string
	if equal > 0 {
		out = append(out, fmt.Sprintf("%s with equal values", render.Grouped(uint64(equal))))
	}
	if near > 0 {
		out = append(out, fmt.Sprintf("%s rounded", render.Grouped(uint64(near))))
	}
	if out == nil {
		return ""
	}
	return " (" + strings.Join(out, ", ") + ")"
}

// A jsonDiffSide is one of the checkpoints.
type jsonDiffSide struct {
	Path    string            `json:"path"`
	Format  checkpoint.Format `json:"format"`
	Tensors int               `json:"tensors"`
	// Convention is the one that names were mapped from or to, null without.
	Convention *string `json:"convention"`
}

// A jsonDiffRule explains renamed tensors; To is "" of one that is dropped.
type jsonDiffRule struct {
	From    string `json:"from"`
	To      string `json:"to"`
	Tensors int    `json:"tensors"`
	Proven  int    `json:"proven"`
}

// A jsonChange is an entry of metadata or configuration, null where there is
// none.
type jsonChange struct {
	Key string  `json:"key"`
	A   *string `json:"a"`
	B   *string `json:"b"`
}

func jsonChanges(list []compare.Change) []jsonChange {
	out := []jsonChange{}
	for i := range list {
		c := &list[i]
		j := jsonChange{Key: c.Key}
		if c.InA {
			j.A = &c.A
		}
		if c.InB {
			j.B = &c.B
		}
		out = append(out, j)
	}
	return out
}

// A jsonDiff is an element of "comparisons". Metadata and Config are null when
// they were not compared.
type jsonDiff struct {
	A           jsonDiffSide    `json:"a"`
	B           jsonDiffSide    `json:"b"`
	HeadersOnly bool            `json:"headers_only"`
	Summary     jsonDiffSummary `json:"summary"`
	Rules       []jsonDiffRule  `json:"rules"`
	Metadata    []jsonChange    `json:"metadata"`
	Config      []jsonChange    `json:"config"`
}

func (d *difference) json() jsonDiff {
	side := func(c *checkpoint.Checkpoint, convention string) jsonDiffSide {
		j := jsonDiffSide{Path: c.Path, Format: c.Format, Tensors: c.Len()}
		if convention != "" {
			j.Convention = &convention
		}
		return j
	}
	out := jsonDiff{
		A: side(d.a, d.res.From), B: side(d.b, d.res.To),
		HeadersOnly: d.options.headers, Summary: d.counts, Rules: []jsonDiffRule{},
	}
	for _, r := range d.res.Rules {
		out.Rules = append(out.Rules, jsonDiffRule(r))
	}
	if d.res.MetadataCompared {
		out.Metadata, out.Config = jsonChanges(d.res.Metadata), jsonChanges(d.res.Config)
	}
	return out
}

func (d *differences) writeJSON(w io.Writer) error {
	doc := render.NewDocument(w)
	list := make([]jsonDiff, len(d.pairs))
	for i, p := range d.pairs {
		list[i] = p.json()
	}
	paths := func(list []*checkpoint.Checkpoint) []string {
		out := []string{}
		for _, c := range list {
			out = append(out, c.Path)
		}
		return out
	}
	render.List(doc, "comparisons", list)
	doc.Field("only_a", paths(d.onlyA))
	doc.Field("only_b", paths(d.onlyB))
	doc.Rows("tensors", d.table(true))
	render.List(doc, "faults", d.in.jsonFaults())
	return doc.Close()
}

// programRows are the rows for programs: those that differ, with -v all.
func (d *difference) programRows() []*compare.Row {
	var out []*compare.Row
	for i := range d.res.Rows {
		if r := &d.res.Rows[i]; d.verbose || interesting(r) {
			out = append(out, r)
		}
	}
	return out
}

// table has a row a tensor. A program that reads numbered rows is told the
// comparison by its index, others by the path of A.
func (d *differences) table(numbered bool) *render.Table {
	keys := []string{
		"comparison", "status", "moved", "paired_by", "name_a", "name_b", "dtype_a", "dtype_b", "shape_a", "shape_b", "layout",
		"max_abs", "max_abs_at", "rel_rms", "cosine", "differ", "nan", "rounded", "expected_rms", "as_stored", "reordered", "first_byte", "same_bytes_as", "error",
	}
	columns := make([]render.Column, len(keys))
	for i, k := range keys {
		columns[i].Key = k
	}
	return &render.Table{Columns: columns, Rows: func(yield func([]render.Cell) bool) {
		for i, p := range d.pairs {
			first := render.Text(p.a.Path)
			if numbered {
				first = render.Uint(uint64(i))
			}
			for _, r := range p.programRows() {
				if !yield(append([]render.Cell{first}, p.row(r)...)) {
					return
				}
			}
		}
	}}
}

// row has the cells of table from the status on.
func (d *difference) row(r *compare.Row) []render.Cell {
	var maxAbs, maxAt, relRMS, cosine, differ, nan, rounded, expected, first, holds render.Cell
	if f := r.Difference; f != nil {
		maxAbs, maxAt, relRMS = render.Float(f.MaxAbs), render.Uint(f.MaxAt), render.Float(f.RelRMS)
		cosine, differ, nan = number(f.Cosine, false), render.Uint(f.Differ), render.Uint(f.NaN)
		switch {
		case f.Differ == 0:
			rounded = render.Text("equal")
		case f.BRoundsA:
			rounded = render.Text("b")
		case f.ARoundsB:
			rounded = render.Text("a")
		}
	}
	if e, ok := r.Expected(); ok {
		expected = render.Float(e)
	}
	if r.First >= 0 {
		first = render.Int(r.First)
	}
	if r.Holds >= 0 {
		holds = render.Text(d.a.At(r.Holds).Name)
	}
	nameA, nameB := render.Null(), render.Null() // a name may be empty
	if r.A >= 0 {
		nameA = render.Text(r.NameA)
	}
	if r.B >= 0 {
		nameB = render.Text(r.NameB)
	}
	return []render.Cell{
		render.Text(strings.ReplaceAll(string(r.Status), "-", "_")),
		render.Bool(d.moved(r)),
		textOrNull(string(r.By)),
		nameA, nameB,
		textOrNull(r.DTypeA),
		textOrNull(r.DTypeB),
		render.Shape(r.ShapeA),
		render.Shape(r.ShapeB),
		textOrNull(strings.Join(r.Layout, ", ")),
		maxAbs, maxAt, relRMS, cosine, differ, nan, rounded, expected,
		render.Bool(r.Stored),
		render.Bool(r.Reordered),
		first, holds,
		errorCell(r.Err),
	}
}
