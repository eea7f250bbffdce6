package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
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
			rules, err := inspect.Rules(args...)
			if err != nil {
				return err
			}
			return o.write(p, nil, func(w io.Writer, s render.Style) error {
				if o.Format() == render.JSON {
					d := render.NewDocument(w)
					render.List(d, "rules", rules)
					return d.Close()
				}
				return rulesTable(rules).Write(w, o.Format(), s)
			})
		}),
	}
	o.addFlags(cmd)
	return cmd
}

func rulesTable(rules []inspect.Rule) *render.Table {
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
				if r.Fix != nil {
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
		Long:        `Explain says what a rule finds, why it matters, and what fixes it, with an example that it finds and one that it does not.`,
		Annotations: exitStatus(),
		Example: `  wtinspect explain WT202
  wtinspect explain WT2`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: completeRules,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			rules, err := inspect.Rules(args...)
			if err != nil {
				return err
			}
			s := p.style()
			for i, r := range rules {
				if i > 0 {
					fmt.Fprintln(p.stdout)
				}
				_, text, _ := strings.Cut(r.Explain(), " ")
				if _, err := fmt.Fprintf(p.stdout, "%s %s\n", s.Paint(render.Bold, r.ID), text); err != nil {
					return err
				}
			}
			return nil
		}),
	}
}

func completeRules(_ *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var out []string
	rules, _ := inspect.Rules()
	for _, r := range rules {
		out = append(out, r.ID+"\t"+r.Title)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
