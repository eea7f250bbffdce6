package answer

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/template"
)

// Plan prints for people what a rename does. mapName is the map that was given, ""
// where it was derived.
func Plan(w io.Writer, r *inspect.Renaming, mapName string, o Options) error {
	return o.Style.Wrap(w, func(w io.Writer) error { return writePlan(w, r, mapName, o) })
}

func writePlan(w io.Writer, r *inspect.Renaming, mapName string, o Options) error {
	sum := r.Plan.Summary()
	if sum.Kept < sum.Tensors {
		if err := changesTable(r.Plan.Changes()).Write(w, render.TableFormat, o.Style); err != nil {
			return err
		}
	}
	words := []string{fmt.Sprintf("%s of %s renamed", render.Grouped(uint64(sum.Moved)), render.Counted(sum.Tensors, "tensor"))}
	if sum.Dropped > 0 {
		words = append(words, fmt.Sprintf("%s dropped", render.Grouped(uint64(sum.Dropped))))
	}
	if sum.Changed > 0 {
		made := 0
		for i := range r.Plan.Transforms {
			made += len(r.Plan.Transforms[i].To)
		}
		words = append(words, fmt.Sprintf("%s changed into %s", render.Grouped(uint64(sum.Changed)), render.Grouped(uint64(made))))
	}
	kept := fmt.Sprintf("%s kept", render.Grouped(uint64(sum.Kept)))
	if 0 < sum.Unmatched && sum.Unmatched < sum.Kept {
		kept += fmt.Sprintf(" (%s without a rule)", render.Grouped(uint64(sum.Unmatched)))
	}
	words = append(words, kept)
	if _, err := fmt.Fprintln(w, strings.Join(words, ", ")); err != nil {
		return err
	}
	writeUnknown(w, r)
	if o.Verbose {
		writeKept(w, r.Plan)
	}
	writeRules(w, r.Plan, inspect.IsMapFile(mapName), o.Verbose)
	writeRemote(w, r.RemoteBytes)
	RewritePlan(w, r.Job, o.Verbose)
	return nil
}

// writeRules says which rules have no effect. A map that is built in serves
// many checkpoints, and has some for each: of one's own they are shown.
func writeRules(w io.Writer, plan *rename.Plan, own, verbose bool) {
	const most = 8
	said, more := 0, 0
	for i := range plan.Uses {
		u := &plan.Uses[i]
		var what string
		switch {
		case u.Unused():
			what = "matches nothing"
		case u.Shadow:
			what = fmt.Sprintf("comes too late: %s matches the same names", plan.Uses[u.LostTo].Where)
		}
		switch {
		case verbose && what == "":
			what = "decides " + render.Counted(u.Tensors, "tensor")
		case verbose:
		case what == "" || !own:
			continue
		case said == most:
			more++
			continue
		}
		said++
		fmt.Fprintln(w, render.EscapeMessage(fmt.Sprintf("%s: %s %s", u.Where, u.Rule, what)))
	}
	if more > 0 {
		fmt.Fprintf(w, "and %s more without effect (-v shows all)\n", render.Counted(more, "rule"))
	}
}

// writeUnknown lists the tensors that keep their names because the convention that
// the others go to has none for them.
func writeUnknown(w io.Writer, r *inspect.Renaming) {
	if r.WithoutPlace() {
		return // the refusal lists them
	}
	dropped := make(map[string]bool)
	for i := range r.Plan.Rows {
		if r.Plan.Rows[i].Action == rename.Drop {
			dropped[r.Plan.Rows[i].From] = true
		}
	}
	kept := slices.DeleteFunc(slices.Clone(r.Unknown), func(a convert.Aside) bool { return dropped[a.Name] })
	for _, g := range template.FoldPairs(len(kept), func(i int) (string, string, string) { return kept[i].Name, kept[i].Name, kept[i].Reason }) {
		fmt.Fprintf(w, "  keeps its name: %s  x%d (%s)\n", render.Escape(g.Name), len(g.Members), render.Escape(kept[g.Members[0]].Reason))
	}
}

// writeKept lists the tensors that no rule matches, folded.
func writeKept(w io.Writer, plan *rename.Plan) {
	var names []string
	for name := range plan.Unmatched() {
		names = append(names, name)
	}
	for _, g := range template.FoldNames(names) {
		fmt.Fprintf(w, "  no rule: %s  x%d\n", render.Escape(g.Name), len(g.Members))
	}
}

// RenameColumns describes the columns of [Plan] and [Rename].
func RenameColumns(o Options) []render.Column {
	if o.Format == render.TableFormat {
		return changeColumns.Heads()
	}
	return rowColumns(nil).Heads()
}

// changesTable has what a plan changes, with layers folded.
func changesTable(changes []rename.FoldedChange) *render.Table {
	return changeColumns.Table(slices.Values(changes))
}

var changeColumns = render.Columns[rename.FoldedChange]{
	{Title: "NAME", Cut: render.Whole, Cell: func(c *render.Cell, r rename.FoldedChange) { c.Text(r.From) }},
	{Title: "COUNT", Right: true, Cell: func(c *render.Cell, r rename.FoldedChange) { c.Text(fmt.Sprintf("x%d", r.Count)) }},
	{Title: "BECOMES", Cut: render.Whole, Cell: func(c *render.Cell, r rename.FoldedChange) {
		switch r.Action {
		case rename.Drop:
			c.Text("(dropped: " + r.Reason + ")")
			c.Color(render.Yellow)
		case rename.Change:
			c.Text(r.To + " (" + strings.Join(r.Operations, ", ") + ")")
			c.Color(render.Cyan)
		default:
			c.Text(r.To)
			c.Color(render.Green)
		}
	}},
}

// Rename prints the plan, and what was done, for programs.
func Rename(w io.Writer, r *inspect.Renaming, mapName string, o Options) error {
	t := rowsTable(r.Plan)
	if o.Format != render.JSON {
		return t.Write(w, o.Format, o.Style)
	}
	d := render.NewDocument(w)
	d.Field("source", r.Checkpoint.Path)
	d.Field("format", r.Checkpoint.Format)
	d.Field("map", nullable(mapName))
	d.Field("from", nullable(r.Plan.Map.From))
	d.Field("to", nullable(r.Plan.Map.To))
	d.Field("summary", r.Plan.Summary())
	render.List(d, "rules", r.Plan.Uses)
	d.Rows("tensors", t)
	d.Rows("unmatched", render.Columns[string]{
		{Key: "name", Cell: func(c *render.Cell, name string) { c.Text(name) }},
	}.Table(r.Plan.Unmatched()))
	render.List(d, "transforms", r.Plan.Transforms)
	render.List(d, "unknown", r.Unknown)
	render.List(d, "problems", r.Plan.Problems)
	render.List(d, "left_behind", r.Plan.LeftBehind())
	d.Field("rewrite", r.Job)
	d.Field("report", r.Report)
	return d.Close()
}

// nullable is a text, or nil when there is none.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// rowsTable has one row for every tensor that does not stay as it is.
func rowsTable(plan *rename.Plan) *render.Table {
	return rowColumns(plan).Table(func(yield func(*rename.Row) bool) {
		for r := range pointers(plan.Rows) {
			if r.Action != rename.Keep && !yield(r) {
				return
			}
		}
	})
}

func rowColumns(plan *rename.Plan) render.Columns[*rename.Row] {
	type row = *rename.Row
	return render.Columns[row]{
		{Key: "from", Cell: func(c *render.Cell, r row) { c.Text(r.From) }},
		{Key: "to", Cell: func(c *render.Cell, r row) { c.Some(r.To) }},
		{Key: "action", Cell: func(c *render.Cell, r row) { c.Text(r.Action.String()) }},
		{Key: "rule", Cell: func(c *render.Cell, r row) {
			if r.Rule >= 0 {
				c.Text(plan.Uses[r.Rule].Where)
			}
		}},
		{Key: "reason", Cell: func(c *render.Cell, r row) { c.Some(r.Reason) }},
	}
}
