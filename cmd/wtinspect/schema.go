package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename/template"
)

func newSchema(p *program) *cobra.Command {
	var (
		o     output
		lines bool
	)
	cmd := &cobra.Command{
		Use:   "schema [COMMAND]",
		Short: "Print the JSON Schema of a command's output",
		Long: `Schema prints the JSON Schema (draft 2020-12) of COMMAND's output with -f json, or with
--lines of each line of -f jsonl. Without COMMAND it lists the commands that have one.

Keys are added over time, so a schema allows keys that it does not know.`,
		Annotations: exitStatus("2  also if there is no schema for COMMAND"),
		Example: `  wtinspect schema
  wtinspect schema check
  wtinspect schema --lines map list`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			return nextWords(inspect.SchemaCommands(lines), args), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: p.work(func(_ *cobra.Command, args []string) error {
			all := inspect.SchemaCommands(lines)
			name := strings.Join(args, " ")
			text, ok := inspect.Schema(name, lines)
			switch {
			case name == "":
				text = []byte(strings.Join(all, "\n") + "\n")
			case !ok:
				return fmt.Errorf("there is no schema of %q%s", name, schemaHint(name, all))
			}
			return o.write(p, nil, func(w io.Writer, _ render.Style) error {
				_, err := w.Write(text)
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&lines, "lines", false, "print the schema of a line of -f jsonl")
	o.addPath(cmd)
	return cmd
}

// schemaHint says what may have been meant by a command that has no schema.
func schemaHint(name string, all []string) string {
	if i := slices.IndexFunc(all, func(c string) bool { return strings.HasPrefix(c, name+" ") }); i >= 0 {
		return fmt.Sprintf("; did you mean %q?", all[i])
	}
	if meant := template.DidYouMean(name, all); meant != "" {
		return meant
	}
	return "; 'wtinspect schema' lists the commands that have one"
}

// nextWords lists the words that follow some words in phrases.
func nextWords(phrases, words []string) []string {
	var out []string
	for _, phrase := range phrases {
		all := strings.Fields(phrase)
		if n := len(words); n < len(all) && slices.Equal(all[:n], words) && !slices.Contains(out, all[n]) {
			out = append(out, all[n])
		}
	}
	return out
}
