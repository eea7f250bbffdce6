package page

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/report"
)

// A content is what is on a page. Its texts are fit to be shown, and not yet escaped for
// HTML or Markdown.
type content struct {
	Title   string
	Verdict string // of two models
	// Unread says what could not be opened, and what the page lacks for it.
	Unread     []fact
	Models     []*model
	Left       *left // of the models
	Judgement  judgement
	Difference *difference
	Made       []fact
	// Only says that there is nothing on the page but the difference.
	Only bool
}

// A left is what a page leaves out, and the command that prints it.
type left struct{ Text, Command string }

// A fact is a word and what there is to say about it, in lines.
type fact struct {
	Word  string
	Lines []string
	// Code says that the lines are for a machine.
	Code bool
}

// A model is a checkpoint.
type model struct {
	ID, Name string
	// Lead is the format and the sums, in a line.
	Lead     string
	Facts    []fact
	DTypes   *table
	Bars     []bar
	Files    *table
	Metadata *table
	Map      *treemap
	Parts    *table
	// Figures is what the values come to, in a line.
	Figures string
	Curves  []curve
	// MoreCurves are not drawn.
	MoreCurves *left
	Layers     *table
	Odd        []string
	MoreOdd    *left
	Tensors    *table
}

// A bar is the share of a dtype.
type bar struct {
	Class, Width string
	Share        string
}

// A table is rows for people.
type table struct {
	Caption string
	Columns []column
	Rows    [][]cell
	Left    *left // of the rows
	// Titled says that the columns have headings.
	Titled bool
	// headed says that the caption is written above the table already.
	headed bool
}

type column struct {
	Title string
	Right bool
	// Code says that the texts are names and values.
	Code bool
}

type cell struct {
	Text string
	// Number is what orders the column, "" for the text.
	Number string
}

// A judgement is what check found.
type judgement struct {
	Summary  string
	Fits     []string
	Problems []string
	Groups   []findingGroup
	Left     *left // of the findings
	Fixes    []fix
	Command  string
}

// A fix is a command, and what it does.
type fix struct{ Command, Does string }

// A findingGroup is the findings of a severity.
type findingGroup struct {
	Severity string
	Heading  string
	Rules    []ruleFindings
}

// ruleFindings are those of a rule, which Doc explains.
type ruleFindings struct {
	ID, Name, Title, Doc, Fix string
	Findings                  []finding
}

type finding struct{ Place, Message string }

// A difference is how two models differ.
type difference struct {
	Verdict string
	Pairs   []pair
	Only    []string
	Left    *left // of the pairs
	Command string
}

type pair struct {
	Heading       string
	A, B          string
	Notes         []string
	Summary       string
	Sentence      string
	Rules, Groups *table
	Beside        *table
	// Curves are of the figures of both.
	Curves     []curve
	MoreCurves *left
}

// A builder makes the content of a page.
type builder struct {
	form
	r *inspect.ReportResult
	o Options
	// colors are the classes of dtypes, the same in all drawings.
	colors map[string]string
	// paired are the templates whose curves are drawn with those of another model.
	paired map[*inspect.StatsTemplate]bool
}

func newPage(r *inspect.ReportResult, o Options, f form) *content {
	b := &builder{form: f, r: r, o: o, colors: make(map[string]string), paired: make(map[*inspect.StatsTemplate]bool)}
	c := &content{Title: name(o.Title), Unread: b.unread()}
	if r.Difference != nil {
		c.Difference = b.difference()
		c.Verdict = c.Difference.Verdict
	}
	c.Only = o.OnlyDifference
	shown := r.Checkpoints[:min(len(r.Checkpoints), b.models)]
	for k := range shown {
		c.Models = append(c.Models, b.model(k, len(shown)))
	}
	if n := len(r.Checkpoints) - len(shown); n > 0 {
		c.Left = &left{render.Counted(n, "more checkpoint"), b.command("info")}
	}
	c.Judgement = b.judgement()
	c.Made = b.made()
	return c
}

// unread says what could not be opened.
func (b *builder) unread() []fact {
	var out []fact
	room := b.share(2, 1)
	for _, err := range b.r.Unopened {
		text := message(err.Error())
		if room -= b.escaped(text) + b.cell; room > 0 {
			out = append(out, fact{Word: "not read", Lines: []string{text}})
		}
	}
	if len(out) > 0 && len(b.o.References) > 1 {
		out = append(out, fact{Word: "not compared", Lines: []string{"both models must be there"}})
	}
	return out
}

// command is a command about the models.
func (b *builder) command(words ...string) string {
	return command(append(append([]string{"wtinspect"}, words...), b.o.References...)...)
}

// of is a command about one of the checkpoints.
func (b *builder) of(k int, words ...string) string {
	return command(append(append([]string{"wtinspect"}, words...), b.r.Checkpoints[k].Path)...)
}

func (b *builder) model(k, parts int) *model {
	i := b.r.Checkpoints[k]
	m := &model{ID: fmt.Sprintf("model-%d", k+1), Name: name(i.Path)}
	if b.r.Difference != nil && parts == 2 {
		m.Name = string(rune('A'+k)) + ": " + m.Name
	}
	m.Lead = lead(i)
	if b.o.OnlyDifference {
		return m
	}
	m.Facts = b.facts(k)
	listing := b.r.Listings[k]
	totals := &i.Totals
	if b.r.Chosen { // as the drawing and the table of tensors
		totals = listing.Totals()
	}
	for rank, d := range totals.DTypes.ByBytes() {
		if b.colors[d.DType] == "" {
			b.colors[d.DType] = colorClass(len(b.colors))
		}
		if rank < b.rows {
			m.Bars = append(m.Bars, bar{b.colors[d.DType], percentOf(d.Bytes.N, totals.Bytes.N), shareText(d.Bytes.N, totals.Bytes.N)})
		}
	}
	if len(totals.DTypes) > 0 {
		m.DTypes = b.table("Bytes by dtype", answer.DTypes(totals.DTypes), 40, b.share(2, parts), b.of(k, "info"))
		m.DTypes.headed = true
	}
	if len(i.Files) > 1 {
		m.Files = b.table(render.Counted(len(i.Files), "file"), answer.InfoFiles(i), 64, b.share(3, parts), b.of(k, "info", "-v"))
	}
	if t := answer.InfoMetadata(i, true); t != nil {
		m.Metadata = b.table("Metadata", t, 64, b.share(5, parts), b.of(k, "meta", "show"))
	}
	if b.drawn {
		b.draw(m, listing, parts)
	}
	if v := b.r.Values; v != nil {
		b.measured(m, k, parts)
	}
	caption := render.Counted(listing.Len(), "tensor")
	if b.r.Chosen {
		caption += fmt.Sprintf(" chosen of %s", render.Grouped(uint64(listing.View.Len())))
	}
	m.Tensors = b.table(caption, answer.Groups(listing), b.rows, b.share(27, parts), b.of(k, "ls"))
	for _, t := range []*table{m.Files, m.Metadata, m.Tensors} {
		if t != nil {
			t.headed = true
		}
	}
	return m
}

// lead sums up a checkpoint in a line.
func lead(i *inspect.CheckpointInfo) string {
	words := []string{i.Container(), render.Counted(i.Totals.Tensors, "tensor")}
	if i.Parameters != nil && i.Totals.Tensors > 0 {
		words = append(words, render.Count(*i.Parameters)+" parameters")
	}
	if i.Totals.Unknown < i.Totals.Tensors && !i.Totals.Bytes.Overflow {
		words = append(words, render.Size(i.Totals.Bytes.N))
	}
	if len(i.Files) > 1 {
		words = append(words, render.Counted(len(i.Files), "file"))
	}
	if i.Revision != nil {
		words = append(words, "revision "+name(*i.Revision))
	}
	return strings.Join(words, ", ")
}

// facts are what info says of a checkpoint, and what identify says beyond it.
func (b *builder) facts(k int) []fact {
	i := b.r.Checkpoints[k]
	list := answer.InfoFacts(i, true)
	known := make(map[string]string)
	for _, f := range list {
		known[f.Word] = f.Text
	}
	if i.Revision != nil {
		list = append(list, answer.Fact{Word: "revision", Text: *i.Revision})
	}
	if known["convention"] != "" {
		known["nearest"] = "beside the convention"
	}
	skipped := false
	for _, f := range answer.IdentityFacts(b.r.Identities[k], true) {
		if f.Word != "" {
			skipped = known[f.Word] != "" && (f.Word != "quantisation" || known[f.Word] == f.Text)
		}
		if !skipped {
			list = append(list, f)
		}
	}
	var out []fact
	room := b.share(5, min(len(b.r.Checkpoints), b.models))
	more := 0
	for _, f := range list {
		text := render.Shorten(render.EscapeMessage(f.Text), mostMessage)
		last := len(out) - 1
		if f.Word != "" {
			out, more = append(out, fact{Word: f.Word}), 0
			last++
		}
		if room -= b.escaped(text) + b.cell; len(out[last].Lines) >= mostLines || room < 0 {
			more++
			lines := out[last].Lines
			says := fmt.Sprintf("%d more: %s", more, b.of(k, "identify", "-v"))
			if more == 1 {
				out[last].Lines = append(lines, says)
			} else {
				lines[len(lines)-1] = says
			}
			continue
		}
		out[last].Lines = append(out[last].Lines, text)
	}
	return out
}

// table takes what fits of a table. Command prints all of it.
func (b *builder) table(caption string, t *render.Table, rows, bytes int, command string) *table {
	out := &table{Caption: caption, Titled: t.Headings != render.Never}
	columns, walk := t.Texts()
	for _, c := range columns {
		code := c.Cut == render.Whole || c.Cut == render.CutEnd || c.Title == "DTYPE" || c.Title == "SHAPE"
		out.Columns = append(out.Columns, column{strings.ToLower(c.Title), c.Right, code})
	}
	more := 0
	for row := range walk {
		if more > 0 || len(out.Rows) >= rows {
			more++
			continue
		}
		cells := make([]cell, len(row))
		cost := b.cell
		for i, text := range row {
			most := mostName
			if columns[i].Cut == render.Sentence {
				most = mostMessage
			}
			cells[i].Text = render.Shorten(text.Text, most)
			if text.Number != nil {
				cells[i].Number = formatNumber(*text.Number)
			}
			cost += b.escaped(cells[i].Text) + len(cells[i].Number) + b.cell
		}
		if bytes -= cost; bytes < 0 {
			more++
			continue
		}
		out.Rows = append(out.Rows, cells)
	}
	if more > 0 {
		out.Left = &left{render.Counted(more, "more row"), command}
	}
	if len(out.Rows) == 0 && more == 0 {
		return nil
	}
	return out
}

// judgement is what check found, the worst first.
func (b *builder) judgement() judgement {
	r := b.r.Check
	j := judgement{Summary: report.Summary(r), Command: b.command("check")}
	if b.o.OnlyDifference {
		return j
	}
	for _, f := range r.Fits[:min(len(r.Fits), b.models)] {
		j.Fits = append(j.Fits, message(report.FitText(f)))
	}
	room := b.share(12, 1)
	for _, p := range b.r.Problems() {
		text := message(p.Error())
		if room -= b.escaped(text); room > 0 {
			j.Problems = append(j.Problems, text)
		}
	}
	rules := make(map[string]*inspect.Rule)
	for i := range b.r.Rules {
		rules[b.r.Rules[i].ID] = &b.r.Rules[i]
	}
	const most = 100 // as check shows
	more := 0
	var group *findingGroup
	at := make(map[string]int) // of the rules of the group
	for i := range r.Findings {
		f := &r.Findings[i]
		one := finding{Place: message(f.Place()), Message: message(report.Sentence(f))}
		if room -= b.escaped(one.Place) + b.escaped(one.Message) + 4*b.cell; i >= most || room < 0 {
			more = len(r.Findings) - i
			break
		}
		if group == nil || group.Severity != f.Severity.String() {
			j.Groups = append(j.Groups, findingGroup{Severity: f.Severity.String(), Heading: heading(r, f.Severity)})
			group = &j.Groups[len(j.Groups)-1]
			clear(at)
		}
		k, ok := at[f.Rule]
		if !ok {
			rule := rules[f.Rule]
			k = len(group.Rules)
			at[f.Rule] = k
			group.Rules = append(group.Rules, ruleFindings{ID: rule.ID, Name: rule.Name, Title: rule.Title, Doc: rule.Doc, Fix: answer.TextOf(rule.Fix)})
			room -= len(rule.Title) + len(rule.Doc) + 10*b.cell
		}
		group.Rules[k].Findings = append(group.Rules[k].Findings, one)
	}
	if more > 0 {
		j.Left = &left{render.Counted(more, "more finding"), b.command("check", "--max", "0")}
	}
	for _, c := range report.FixCommands(r) {
		line := command(append(c.Words, "RELEASE")...)
		if len(b.o.References) == 1 && len(r.Releases) == 1 {
			line = b.command(c.Words[1:]...)
		}
		j.Fixes = append(j.Fixes, fix{line, "can fix " + c.Many + c.Where})
	}
	return j
}

// heading counts the findings of a severity.
func heading(r *inspect.CheckResult, s checkpoint.Severity) string {
	n, noun := r.Summary.Infos, "note"
	switch s {
	case checkpoint.Error:
		n, noun = r.Summary.Errors, "error"
	case checkpoint.Warning:
		n, noun = r.Summary.Warnings, "warning"
	}
	return render.Counted(n, noun)
}

func (b *builder) difference() *difference {
	d := b.r.Difference
	diff := []string{"diff"}
	if b.r.Values == nil {
		diff = append(diff, "--headers")
	}
	out := &difference{Command: b.command(diff...), Verdict: verdictText(d)}
	shown := d.Comparisons[:min(len(d.Comparisons), b.models)]
	rows, share := min(b.rows, 300), 9
	if b.o.OnlyDifference {
		rows, share = b.rows, 45
	}
	for k, c := range shown {
		p := pair{A: name(c.A.Path), B: name(c.B.Path), Summary: c.Summary.String(), Sentence: message(c.Sentence())}
		if len(d.Comparisons) > 1 {
			p.Heading = name(c.Place)
		}
		for i, note := range c.Notes {
			if i < mostLines {
				p.Notes = append(p.Notes, message(note))
			}
		}
		all := command(append(append([]string{"wtinspect"}, diff...), c.A.Path, c.B.Path)...)
		p.Rules = b.table("Renamed tensors", answer.DiffRules(c), 60, b.share(2, len(shown)), all)
		if groups := answer.DiffGroups(d.Comparisons[k]); groups != nil {
			p.Groups = b.table("Tensors that differ", groups, rows, b.share(share, len(shown)), all)
		}
		if b.drawn {
			b.pairedCurves(&p, b.r.LayersPairs(k), len(shown))
		}
		p.Beside = b.table("Metadata and configuration", answer.DiffBeside(c), 60, b.share(2, len(shown)), all)
		out.Pairs = append(out.Pairs, p)
	}
	if n := len(d.Comparisons) - len(shown); n > 0 {
		out.Left = &left{render.Counted(n, "more pair"), out.Command}
	}
	for side, paths := range map[string][]string{"A": d.OnlyA, "B": d.OnlyB} {
		for i, path := range paths {
			if i == mostLines {
				out.Only = append(out.Only, fmt.Sprintf("%d more only in %s", len(paths)-i, side))
				break
			}
			out.Only = append(out.Only, "only in "+side+": "+name(path))
		}
	}
	slices.Sort(out.Only)
	return out
}

// verdictText is the verdict of all comparisons.
func verdictText(d *inspect.ReportedDifference) string {
	if len(d.Comparisons) == 1 {
		return message(d.Comparisons[0].Sentence())
	}
	verdict := string(d.Verdict)
	if verdict == "" {
		verdict = "undecided"
	}
	return fmt.Sprintf("%s, of %s", verdict, render.Counted(len(d.Comparisons), "pair"))
}

// made says how the page was made.
func (b *builder) made() []fact {
	out := []fact{
		{Word: "command", Lines: []string{command(b.o.Command...)}, Code: true},
		{Word: "version", Lines: []string{"wtinspect " + b.o.Version}},
	}
	what := "headers and documents; the data was not read (--values reads it)"
	if b.r.Values != nil {
		what = "headers, documents and all data"
		if b.r.Chosen {
			what = "headers and documents, and the data of the tensors that were chosen"
		}
		ids := fact{Word: "content id", Code: true}
		for k, c := range b.r.Values.Checkpoints[:min(len(b.r.Values.Checkpoints), b.models)] {
			var id string
			switch l := b.r.Listings[k]; {
			case c.ContentID != nil:
				id = *c.ContentID
			case l.Len() < l.View.Len():
				id, ids.Code = "none: it is of all tensors, and some were not chosen", false
			default:
				id, ids.Code = "none: it is of all tensors, and some could not be read", false
			}
			if len(b.r.Values.Checkpoints) > 1 {
				id += "  " + name(b.r.Checkpoints[k].Path)
			}
			ids.Lines = append(ids.Lines, id)
		}
		out = append(out, ids)
	}
	return append(out, fact{Word: "read", Lines: []string{what}})
}

// measured puts in what the values say.
func (b *builder) measured(m *model, k, parts int) {
	v := b.r.Values
	m.Figures = answer.StatsLine(v.Stats, k)
	templates := v.Templates[k]
	m.Layers = b.table(render.Counted(len(templates), "template")+" by layer", answer.Templates(templates), 120, b.share(6, parts), b.of(k, "stats", "--by-layer"))
	room := b.share(2, parts)
	more := 0
	for tensor, odd := range answer.OddLayers(templates) {
		text := name(tensor) + ": " + odd
		if room -= b.escaped(text) + b.cell; room < 0 {
			more++
			continue
		}
		m.Odd = append(m.Odd, text)
	}
	if more > 0 {
		m.MoreOdd = &left{render.Counted(more, "more layer") + " unlike others", b.of(k, "stats", "--by-layer")}
	}
	if b.drawn {
		b.curves(m, templates, k, parts)
	}
}

func rowsText(n int) string { return render.Counted(n, "row") }
