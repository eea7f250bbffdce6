package answer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

// conventionText names the convention, and says how far the names are from it, or that
// there is none.
func conventionText(r *identify.Result) string {
	switch {
	case r.Convention == "" && r.Adapter:
		return "unknown (an adapter)"
	case r.Convention == "":
		return "unknown"
	case r.Adapter:
		return r.Convention + " (an adapter of it)"
	case r.Nearest.Convention == r.Convention && r.Nearest.TemplatesAway > 0:
		n := r.Nearest.TemplatesAway
		return fmt.Sprintf("%s (%s %s)", r.Convention, render.Counted(n, "template"), plural.Verb(n, "differ"))
	}
	return r.Convention
}

// nearestText says how far the nearest other convention is, "" where none is nearer than
// the one that the names follow.
func nearestText(r *identify.Result) string {
	n := r.Nearest
	if n.Convention == "" || n.Convention == r.Convention {
		return ""
	}
	return fmt.Sprintf("%s, %s away", n.Convention, render.Counted(n.TemplatesAway, "template"))
}

// Identify prints which conventions checkpoints follow.
func Identify(w io.Writer, list []*inspect.IdentifyResult, faults inspect.Seq[inspect.Fault], o Options) error {
	switch {
	case o.Format == render.TableFormat && o.Style.Columns == nil:
		for k, r := range list {
			if k > 0 {
				fmt.Fprintln(w)
			}
			if err := writeIdentity(w, r, o); err != nil {
				return err
			}
		}
		return nil
	case o.Format == render.JSON:
		d := render.NewDocument(w)
		render.List(d, "results", list)
		render.Each(d, "faults", faults)
		return d.Close()
	case o.Format == render.JSONL:
		return render.Lines(w, list)
	default:
		return identityColumns.Table(slices.Values(list)).Write(w, o.Format, o.Style)
	}
}

// writeIdentity writes what there is to say for people.
func writeIdentity(w io.Writer, r *inspect.IdentifyResult, o Options) error {
	return factsTable(IdentityFacts(r, o.Verbose)).Write(w, render.TableFormat, o.Style)
}

// IdentityFacts are what there is to say of what names follow. Lists are cut unless all is
// wanted.
func IdentityFacts(r *inspect.IdentifyResult, all bool) []Fact {
	const most = 12
	var lines []Fact
	fact := func(word, text string) {
		if text != "" {
			lines = append(lines, Fact{word, text})
		}
	}
	facts := func(word string, list []string) {
		for k, text := range list {
			if k == most && !all {
				fact(word, fmt.Sprintf("and %d more (-v shows all)", len(list)-most))
				return
			}
			fact(word, text)
			word = ""
		}
	}
	fact("checkpoint", r.Path)
	fact("convention", conventionText(r.Result))
	fact("alike", familiesText(r.Alike, all))
	fact("kind", kindText(r.Result))
	fact("dialect", strings.Join(r.Dialects, ", "))
	fact("families", familiesText(r.Families, all))
	fact("adapter", changesText(r.Changes))
	fact("wrappers", strings.Join(r.Wrappers, " "))
	fact("quantisation", strings.Join(r.Quantisation, ", "))
	templates := render.Counted(r.Templates, "template")
	if r.MoreTemplates {
		templates = "at least " + templates
	}
	fact("names", fmt.Sprintf("%s in %s, %s known", render.Counted(r.Tensors, "tensor"), templates, percent(r.Coverage)))
	fact("nearest", nearestText(r.Result))
	if m := r.Migration; m != nil {
		how := "names only"
		if m.MovesBytes {
			how = "bytes move, too"
		}
		fact("fix", fmt.Sprintf("'wtinspect rename --to %s' renames %s (%s)", m.To, render.Counted(m.Renamed, "tensor"), how))
	}
	facts("missing", r.Missing)
	facts("extra", r.Extra)
	var gaps []string
	for _, g := range r.Gaps {
		what := g.Role
		if what == "" {
			what = "all tensors"
		}
		gaps = append(gaps, what+" of layers "+layersText(g.Layers))
	}
	facts("gaps", gaps)
	var parts []string
	for _, part := range r.Parts {
		parts = append(parts, fmt.Sprintf("%s: %s (%s)", part.Prefix, part.Convention, render.Counted(part.Templates, "template")))
	}
	facts("parts", parts)
	facts("evidence", r.Evidence)
	if r.Why != nil {
		fact("why", r.Why.Name)
		fact("role", r.Why.Role)
		facts("", r.Why.Reasons)
		fact("known to", familiesText(r.Why.Known, all))
	}
	return lines
}

// kindText says what a checkpoint is, and of which parts one is that is all in one.
func kindText(r *identify.Result) string {
	var parts []string
	for _, p := range r.Parts {
		if p.Kind != "" && !slices.Contains(parts, p.Kind) {
			parts = append(parts, p.Kind)
		}
	}
	if len(parts) == 0 || r.Adapter {
		return r.Kind
	}
	return r.Kind + " (with " + strings.Join(parts, ", ") + ")"
}

// changesText says what an adapter changes, and how.
func changesText(c *identify.Changes) string {
	if c == nil {
		return ""
	}
	words := []string{cmp.Or(strings.Join(c.Kinds, " + "), "of no kind that is known")}
	list := func(word string, numbers string) {
		if numbers = strings.Trim(numbers, "[]"); numbers != "" {
			words = append(words, word+" "+strings.ReplaceAll(numbers, " ", ", "))
		}
	}
	list("rank", fmt.Sprint(c.Ranks))
	list("alpha", fmt.Sprint(c.Alphas))
	if c.Scale != 0 {
		list("scale", fmt.Sprint(c.Scale))
	}
	words = append(words, render.Counted(c.Modules, "module"))
	if c.Base != "" {
		words = append(words, "for "+c.Base)
	}
	return strings.Join(words, ", ")
}

// familiesText joins the first of the models that share the names.
func familiesText(families []string, verbose bool) string {
	const most = 10
	if len(families) > most && !verbose {
		return strings.Join(families[:most], ", ") + fmt.Sprintf(" and %d more", len(families)-most)
	}
	return strings.Join(families, ", ")
}

func percent(share float64) string {
	// What is not all of them is not said to be.
	if share < 1 && share > 0.995 {
		return strconv.FormatFloat(float64(int(share*1000))/10, 'f', 1, 64) + " %"
	}
	return strconv.FormatFloat(100*share, 'f', 0, 64) + " %"
}

// layersText writes runs of numbers.
func layersText(layers []int) string {
	names := make([]string, len(layers))
	for i, n := range layers {
		names[i] = strconv.Itoa(n)
	}
	g := template.FoldNames(names)
	if len(g) == 1 {
		return strings.Trim(g[0].Name, "{}")
	}
	return strings.Join(names, ", ")
}

// IdentifyColumns describes the columns of [Identify].
func IdentifyColumns(Options) []render.Column { return identityColumns.Heads() }

// identityColumns has one row a checkpoint.
var identityColumns = render.Columns[*inspect.IdentifyResult]{
	{Key: "path", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Text(r.Path) }},
	{Key: "convention", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(r.Convention) }},
	{Key: "dialect", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Dialects, " ")) }},
	{Key: "families", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Families, " ")) }},
	{Key: "wrappers", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Wrappers, " ")) }},
	{Key: "coverage", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Float(r.Coverage) }},
	{Key: "missing", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Missing, " ")) }},
	{Key: "extra", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(strings.Join(r.Extra, " ")) }},
	{Key: "nearest", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(r.Nearest.Convention) }},
	{Key: "templates_away", Cell: func(c *render.Cell, r *inspect.IdentifyResult) {
		if r.Nearest.Convention != "" {
			c.Int(int64(r.Nearest.TemplatesAway))
		}
	}},
	{Key: "tensors", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Int(int64(r.Tensors)) }},
	{Key: "templates", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Int(int64(r.Templates)) }},
	{Key: "kind", Cell: func(c *render.Cell, r *inspect.IdentifyResult) { c.Some(r.Kind) }},
}
