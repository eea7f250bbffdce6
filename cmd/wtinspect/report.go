package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/page"
	"github.com/wtinspect/wtinspect/internal/render"
)

type reportOptions struct {
	judging
	selection
	output
	progress
	values         bool
	onlyDifference bool
	failOn, base   string
}

func newReport(p *program) *cobra.Command {
	var o reportOptions
	cmd := &cobra.Command{
		Use:   "report MODEL [MODEL2]",
		Short: "Write everything about a model on one page",
		Long: `Report makes one page about a model, to attach to a release or a pull request: what it is
(info, identify), what is wrong with it (check), where its bytes are, its tensors (ls), and how it
differs from a second model (diff). With --values it also reads all data: for the rules about
values, the figures of the layers (stats --by-layer), the content id, and the differences
between the numbers of two models.

With two models the difference comes first; --only-difference leaves out the rest.

The page is HTML that needs no network: style, script and drawings are in it, and it
forbids everything else. The script sorts and filters tables; the page is complete
without it. -f markdown writes the same without drawings, short enough for a comment
on GitHub; -f svg draws only the bytes of the first model; -f json has the data for the
page. By default the name after -o decides. If a model has more rows than fit on the
page, it says how many, and which command prints them.

Findings and differences do not change the exit status without --fail-on.`,
		Annotations: exitStatus(
			"1  with --fail-on, a finding is at or above it",
			"2  also if something cannot be read or compared; the page is still written, and says so",
		),
		Example: `  wtinspect report -o report.html model/
  wtinspect report --values -o report.html model.gguf
  wtinspect report -o change.md before/ after/
  wtinspect report -f markdown --fail-on error . >> "$GITHUB_STEP_SUMMARY"
  wtinspect report -f svg -o bytes.svg hf://ORG/NAME`,
		Args:              arguments(1, 2),
		ValidArgsFunction: p.completePaths,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runReport(cmd.Context(), p, cmd, &o, args)
		}),
	}
	o.judging.addFlags(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&o.values, "values", false, "also read all data, for figures, rules about values and content ids")
	flags.BoolVar(&o.onlyDifference, "only-difference", false, "with two models, show only how they differ")
	flags.Var(newChoice(&o.failOn, "never", "error", "warning", "info"), "fail-on", "exit with 1 if a finding has this severity or above: error, warning or info")
	complete(cmd, "fail-on", "error", "warning", "info")
	flags.StringVar(&o.base, "base", "", "check adapters against `MODEL`: it must have the modules that they change")
	o.selection.addFlags(cmd, p)
	addFormat(cmd, &o.format, "format of the page: "+strings.Join(page.Forms(), ", ")+" (default: by the name after -o)", page.Forms()...)
	o.addPath(cmd)
	o.judging.reading.addFlags(cmd)
	flags.Lookup("recursive").Usage = "check every release at and below the paths separately"
	o.progress.addFlags(cmd)
	p.addMaxBytes(cmd)
	return cmd
}

// pageForm is the form that the name of a file asks for, "" where it asks for none.
func pageForm(path string) string {
	switch strings.ToLower(filepath.Ext(path)) {
	case ".html", ".htm":
		return "html"
	case ".md", ".markdown":
		return "markdown"
	case ".svg":
		return "svg"
	case ".json":
		return "json"
	}
	return ""
}

func runReport(ctx context.Context, p *program, cmd *cobra.Command, o *reportOptions, args []string) error {
	if _, err := o.compile(); err != nil {
		return err
	}
	if form := pageForm(o.path); form != "" && !cmd.Flags().Changed("format") {
		o.format = form
	}
	if o.path == "" && p.terminal && o.format == page.Forms()[0] {
		return errors.New("a page is not for a terminal: -o report.html writes it to a file, and -f markdown is easier to read here")
	}
	if o.onlyDifference && (len(args) < 2 || o.format != "html" && o.format != "markdown") {
		return errors.New("--only-difference is for an HTML or Markdown page of two models")
	}
	in, err := o.openAny(ctx, p, args) // a page says what could not be opened, even if that is all
	if err != nil {
		return err
	}
	defer in.Close()
	var stage string
	bar := &jobMeter{start: func(total int64) *meter { return o.meter(p, stage, total) }}
	r, err := inspect.Report(ctx, in.Set, args, &inspect.ReportOptions{
		RuleChoice: o.choice(p), FailOn: o.failOn, Base: o.base, Recursive: o.recursive, Subtree: o.subtree, Select: o.Selection, Values: o.values, Workers: o.workers,
		Progress: func(what string, done, total int64) {
			if done == 0 {
				stage = what
			}
			bar.update(done, total)
		},
	})
	bar.end()
	if err != nil {
		return err
	}
	if o.base != "" && len(r.Check.Fits) == 0 && len(r.Check.Problems) == 0 {
		return errNoAdapter
	}
	in.say(p, r.Errors())
	for _, file := range r.Check.Disregarded {
		if p.verbose {
			p.say("%s: settings published with the release are ignored; use --config FILE to read a file", file)
		}
	}
	inputs := append(in.Paths(), r.Check.Files...)
	err = o.write(p, inputs, func(w io.Writer, _ render.Style) error {
		return page.Write(w, o.format, r, page.Options{
			Title: reportTitle(args), References: shownReferences(args), Command: commandLine(cmd, args), Version: thisBuild().version, OnlyDifference: o.onlyDifference,
		})
	})
	chosen := 0
	for _, l := range r.Listings {
		chosen += l.Len()
	}
	o.noteNone(p, chosen, err)
	if err = in.finish(ctx, p, err); err == nil && r.Check.Summary.Failed {
		return &exitError{exitFindings}
	}
	return err
}

// reportTitle is what a page about models is called.
func reportTitle(refs []string) string {
	var names []string
	for _, ref := range refs {
		name := inspect.ShownReference(ref)
		if !inspect.IsReference(ref) {
			if whole, err := filepath.Abs(ref); err == nil {
				name = filepath.Base(whole)
			}
		}
		names = append(names, name)
	}
	return strings.Join(names, " and ")
}

func shownReferences(refs []string) []string {
	out := make([]string, len(refs))
	for i, ref := range refs {
		out[i] = inspect.ShownReference(ref)
	}
	return out
}

// commandLine is a command as it was given, without where its output went and how much it
// said meanwhile.
func commandLine(cmd *cobra.Command, args []string) []string {
	out := strings.Fields(cmd.CommandPath())
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Changed || f.Name == "output" || f.Name == "progress" || f.Name == "jobs" {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			if f.Value.Type() == "bool" && v == "true" {
				out = append(out, "--"+f.Name)
			} else {
				out = append(out, "--"+f.Name+"="+inspect.ShownReference(v))
			}
		}
	})
	return append(out, shownReferences(args)...)
}
