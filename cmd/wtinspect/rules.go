package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/internal/render"
)

func newRules(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:         "rules [RULE...]",
		Short:       "List the rules of check",
		Long:        `Rules lists the rules by which check judges, or those that RULE means: an ID, or the beginning of several (WT2).`,
		Annotations: exitStatus(),
		Example: `  wtinspect rules
  wtinspect rules WT2 WT904
  wtinspect rules -f json`,
		ValidArgsFunction: completeRules,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			rules, err := chooseRules(args)
			if err != nil {
				return err
			}
			return o.write(p, nil, func(w io.Writer, s render.Style) error {
				t := rulesTable(rules)
				if o.Format() == render.JSON {
					d := render.NewDocument(w)
					list := make([]jsonRule, len(rules))
					for i, r := range rules {
						list[i] = newJSONRule(r)
					}
					render.List(d, "rules", list)
					return d.Close()
				}
				return t.Write(w, o.Format(), s)
			})
		}),
	}
	o.addFlags(cmd)
	return cmd
}

func chooseRules(args []string) ([]*check.Rule, error) {
	if len(args) == 0 {
		return check.Rules(), nil
	}
	if err := (&check.Options{Select: args, Values: true}).Check(); err != nil {
		return nil, err
	}
	var out []*check.Rule
	for _, r := range check.Rules() {
		for _, a := range args {
			if len(a) <= len(r.ID) && strings.EqualFold(r.ID[:len(a)], a) {
				out = append(out, r)
				break
			}
		}
	}
	return out, nil
}

// A jsonRule is an element of "rules".
type jsonRule struct {
	ID       string            `json:"id"`
	Name     string            `json:"name"`
	Title    string            `json:"title"`
	Doc      string            `json:"doc"`
	Bad      string            `json:"bad"`
	Good     string            `json:"good"`
	Severity string            `json:"severity"`
	Profiles map[string]string `json:"profiles,omitempty"`
	Fix      *string           `json:"fix"`
	// Values says that the rule runs with --values only.
	Values bool `json:"values"`
}

func newJSONRule(r *check.Rule) jsonRule {
	out := jsonRule{ID: r.ID, Name: r.Name, Title: r.Title, Doc: r.Doc, Bad: r.Bad, Good: r.Good, Severity: r.Severity.String(), Fix: optional(r.Mend), Values: r.Values}
	for p, s := range r.Profiles {
		if out.Profiles == nil {
			out.Profiles = make(map[string]string)
		}
		out.Profiles[string(p)] = s.String()
	}
	return out
}

func rulesTable(rules []*check.Rule) *render.Table {
	return &render.Table{
		Columns: []render.Column{
			{Key: "id", Title: "RULE"},
			{Key: "severity", Title: "SEVERITY"},
			{Key: "reads", Title: "READS"},
			{Key: "fix", Title: "FIX"},
			{Key: "name", Title: "NAME"},
			{Key: "title", Title: "FINDS", Cut: render.CutEnd},
		},
		Rows: func(yield func([]render.Cell) bool) {
			for _, r := range rules {
				reads := "headers"
				if r.Values {
					reads = "values"
				}
				fix := render.Null()
				if r.Mend != "" {
					fix = render.Text("fix")
				}
				if !yield([]render.Cell{render.Text(r.ID).In(render.Bold), render.Text(r.Severity.String()), render.Text(reads), fix, render.Text(r.Name), render.Text(r.Title)}) {
					return
				}
			}
		},
	}
}

func newExplain(p *program) *cobra.Command {
	return &cobra.Command{
		Use:         "explain RULE...",
		Short:       "Document a rule of check",
		Long:        `Explain says what a rule finds, why it matters, and what mends it, with an example that it finds and one that it does not.`,
		Annotations: exitStatus(),
		Example: `  wtinspect explain WT202
  wtinspect explain WT2`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeRules,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			rules, err := chooseRules(args)
			if err != nil {
				return err
			}
			s := p.style()
			for i, r := range rules {
				if i > 0 {
					fmt.Fprintln(p.stdout)
				}
				if _, err := fmt.Fprintf(p.stdout, "%s\n", explain(r, s)); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

// explain documents a rule as text.
func explain(r *check.Rule, s render.Style) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\n", s.Paint(render.Bold, r.ID), r.Name, r.Title)
	fmt.Fprintf(&b, "severity: %s", r.Severity)
	for _, p := range check.Profiles() {
		if sev, ok := r.Profiles[p]; ok {
			fmt.Fprintf(&b, ", %s with --profile %s", sev, p)
		}
	}
	if r.Values {
		b.WriteString("; reads values, and runs with --values")
	}
	fmt.Fprintf(&b, "\n\n%s\n\nbad:  %s\ngood: %s", r.Doc, r.Bad, r.Good)
	if r.Mend != "" {
		fmt.Fprintf(&b, "\nfix:  %s", r.Mend)
	}
	return b.String()
}

func completeRules(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	for _, r := range check.Rules() {
		out = append(out, r.ID+"\t"+r.Title)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
