package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// An output is where a command's answer goes, and in which form.
type output struct {
	format string
	path   string
	columnList
}

func (o *output) addFlags(cmd *cobra.Command, p *program, heads func(o answer.Options) []render.Column) {
	o.addFlagsFrom(cmd, render.TableFormat)
	o.columnList.addFlag(cmd, p, &o.format, heads)
}

// addFlagsFrom adds the flags with another format as the default.
func (o *output) addFlagsFrom(cmd *cobra.Command, first render.Format) {
	formats := []string{string(first)}
	for _, f := range render.Formats() {
		if f != first {
			formats = append(formats, string(f))
		}
	}
	addFormat(cmd, &o.format, "output format: table, json, jsonl, csv or tsv", formats...)
	o.addPath(cmd)
}

// addPath adds the flag for the destination.
func (o *output) addPath(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&o.path, "output", "o", "", "write to `PATH` instead of stdout, all or nothing")
	group(cmd.Flags(), "Output", "output")
}

// addFormat adds the flag for one of some forms, and --json, which other tools have.
func addFormat(cmd *cobra.Command, format *string, usage string, forms ...string) {
	flags := cmd.Flags()
	flags.VarP(newChoice(format, forms...), "format", "f", usage)
	complete(cmd, "format", forms...)
	group(flags, "Output", "format")
	flags.BoolFunc("json", "the same as -f json", func(string) error { return flags.Set("format", "json") })
	if err := flags.MarkHidden("json"); err != nil {
		panic(err) // the flag does not exist
	}
}

// Format returns the chosen format.
func (o *output) Format() render.Format { return render.Format(o.format) }

// answer is write for the answers of a command.
func (o *output) answer(p *program, inputs []string, f func(w io.Writer, a answer.Options) error) error {
	return o.write(p, inputs, func(w io.Writer, s render.Style) error {
		return f(w, answer.Options{Format: o.Format(), Style: s, Verbose: p.verbose})
	})
}

// refuseDestinations refuses destinations that are empty, not on this machine, or where no
// file can be, before any work.
func refuseDestinations(cmd *cobra.Command) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Name == "output" || strings.HasPrefix(f.Name, "write-") {
			err = cmp.Or(err, destination("--"+f.Name+" ", f.Value.String()))
		}
	})
	return err
}

// destination refuses one that no file can be written to; flag is what precedes it where the
// path alone would not say which is meant.
func destination(flag, path string) error {
	switch {
	case path == "":
		return fmt.Errorf("%sis empty, as an unset variable of a shell would make it; name a file, or leave it out", flag)
	case path == "-":
		return nil
	case !inspect.IsReference(path):
		return txn.Check(path)
	}
	return fmt.Errorf("%s%s: files are written on this machine; name a path here, and upload what is there afterwards", flag, path)
}

// write calls f with the destination and the style for it. A file appears
// under its name only when f succeeds, and never takes the place of one of the
// inputs.
func (o *output) write(p *program, inputs []string, f func(w io.Writer, s render.Style) error) error {
	if o.path == "" || o.path == "-" {
		return written(f(p.stdout, o.of(p.style())))
	}
	if slices.ContainsFunc(inputs, func(in string) bool { return txn.SameFile(in, o.path) }) {
		return o.isInput()
	}
	return txn.WriteFile(o.path, func(w io.Writer) error { return f(w, o.of(render.Style{Color: p.color == "always"})) })
}

// isInput is the error of a destination that is one of the inputs.
func (o *output) isInput() error {
	return fmt.Errorf("%s: the output is one of the inputs; choose another name", o.path)
}
