package answer

import (
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Rules prints the rules of check.
func Rules(w io.Writer, rules []inspect.Rule, o Options) error {
	if o.Format == render.JSON {
		d := render.NewDocument(w)
		render.List(d, "rules", rules)
		return d.Close()
	}
	return ruleColumns.Table(slices.Values(rules)).Write(w, o.Format, o.Style)
}

// RulesColumns describes the columns of [Rules].
func RulesColumns(Options) []render.Column { return ruleColumns.Heads() }

var ruleColumns = render.Columns[inspect.Rule]{
	{Key: "id", Title: "RULE", Cell: func(c *render.Cell, r inspect.Rule) {
		c.Text(r.ID)
		c.Color(render.Bold)
	}},
	{Key: "severity", Title: "SEVERITY", Cell: func(c *render.Cell, r inspect.Rule) { c.Text(r.Severity.String()) }},
	{Key: "reads", Title: "READS", Cell: func(c *render.Cell, r inspect.Rule) {
		if r.Values {
			c.Text("values")
		} else {
			c.Text("headers")
		}
	}},
	{Key: "fix", Title: "FIX", Cell: func(c *render.Cell, r inspect.Rule) {
		if r.Fix != nil {
			c.Text("fix")
		}
	}},
	{Key: "name", Title: "NAME", Cell: func(c *render.Cell, r inspect.Rule) { c.Text(r.Name) }},
	{Key: "title", Title: "FINDS", Cut: render.Sentence, Cell: func(c *render.Cell, r inspect.Rule) { c.Text(r.Title) }},
}
