package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

func newRules(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "rules [RULE...]",
		Short: "List the rules of check",
		Long: `Rules lists the rules of check, or those chosen by RULE: an ID, the beginning of
several (WT2), or a name.`,
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
			return o.answer(p, nil, func(w io.Writer, a answer.Options) error { return answer.Rules(w, rules, a) })
		}),
	}
	o.addFlags(cmd, p, answer.RulesColumns)
	return cmd
}

func newExplain(p *program) *cobra.Command {
	return &cobra.Command{
		Use:         "explain RULE...",
		Short:       "Document a rule of check",
		Long:        `Explain describes what a rule finds, why it matters, and how to fix it, with one example that it finds and one that it does not.`,
		Annotations: exitStatus(),
		Example: `  wtinspect explain WT202
  wtinspect explain missing-tensor
  wtinspect explain WT2`,
		Args:              arguments(1, unlimited),
		ValidArgsFunction: completeRules,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			rules, err := inspect.Rules(args...)
			if err != nil {
				return err
			}
			s := p.style()
			if !s.Terminal { // somebody reads it in an editor or a pager
				s.Terminal, s.Width = true, helpWidth
			}
			return s.WrapText(p.stdout, func(w io.Writer) error {
				for i, r := range rules {
					if i > 0 {
						fmt.Fprintln(w)
					}
					_, text, _ := strings.Cut(r.Explain(), " ")
					if _, err := fmt.Fprintf(w, "%s %s\n", s.Paint(render.Bold, r.ID), text); err != nil {
						return err
					}
				}
				return nil
			})
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
