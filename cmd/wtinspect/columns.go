package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A columnList is the flag that chooses the columns of a command's table.
type columnList struct{ columns []string }

// addFlag adds the flag to a command whose answer has the columns that heads describes.
func (l *columnList) addFlag(cmd *cobra.Command, p *program, format *string, heads func(o answer.Options) []render.Column) {
	const flag = "columns"
	cmd.Flags().StringSliceVar(&l.columns, flag, nil, "show these columns, in this order: `LIST` is, for example, "+
		example(heads(answer.Options{Format: render.TableFormat})))
	group(cmd.Flags(), "Output", flag)
	options := func() answer.Options {
		return answer.Options{Format: render.Format(*format), Style: p.style(), Verbose: p.verbose}
	}
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed(flag) {
			return nil
		}
		o := options()
		switch {
		case o.Format == render.TableFormat, o.Format == render.CSV, o.Format == render.TSV:
		case !cmd.Flags().Changed("format"):
			*format, o.Format = string(render.TableFormat), render.TableFormat
		default:
			return fmt.Errorf("--columns chooses the columns of -f table, csv or tsv, and has no meaning for -f %s", o.Format)
		}
		if len(l.columns) == 0 {
			return errors.New("--columns names no column")
		}
		if _, err := render.Choose(heads(o), o.Format, l.columns); err != nil {
			return fmt.Errorf("--columns: %w", err)
		}
		return nil
	}
	err := cmd.RegisterFlagCompletionFunc(flag, func(_ *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		o := options()
		if o.Format != render.CSV && o.Format != render.TSV {
			o.Format, o.Style.Terminal = render.TableFormat, true
		}
		at := strings.LastIndexByte(word, ',') + 1
		given := strings.Split(word[:at], ",")
		var words []string
		for _, name := range render.Names(heads(o), o.Format) {
			if strings.HasPrefix(name, word[at:]) && !slices.Contains(given, name) {
				words = append(words, word[:at]+name)
			}
		}
		return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	})
	if err != nil {
		panic(err) // the flag does not exist
	}
}

// example is the first columns of a list.
func example(heads []render.Column) string {
	names := render.Names(heads, render.TableFormat)
	return strings.Join(names[:min(2, len(names))], ",")
}

// of returns the style with the columns that are asked for.
func (l *columnList) of(s render.Style) render.Style {
	s.Columns = l.columns
	return s
}
