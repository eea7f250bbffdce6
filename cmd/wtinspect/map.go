package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// mapText reads the text of a map.
func mapText(ctx context.Context, arg string) ([]byte, error) {
	text, err := inspect.MapText(ctx, arg)
	if _, ok := errors.AsType[*inspect.UnknownConventionError](err); ok {
		return nil, fmt.Errorf("%w ('wtinspect map list' shows all)", err)
	}
	return text, plain(err)
}

func loadMap(ctx context.Context, arg string) (*rename.Map, error) {
	text, err := mapText(ctx, arg)
	if err != nil {
		return nil, err
	}
	return rename.Parse(arg, text)
}

// completeMaps completes the names of built-in maps, then files.
func completeMaps(_ *cobra.Command, _ []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, name := range rename.Builtins() {
		if strings.HasPrefix(name, toComplete) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		return names, cobra.ShellCompDirectiveDefault
	}
	return []string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt
}

func newMap(p *program) *cobra.Command {
	return branch(&cobra.Command{
		Use:   "map",
		Short: "List, show, check, combine and exchange maps",
		Long: `Map works with the maps that rename applies: built-in ones and files. A
MAP is the name of a built-in map, or else a file; with a path separator or the
ending .yaml or .yml it is always a file. docs/map-language.md describes the
language.`,
		Annotations: exitStatus("1  lint found something"),
		Example: `  wtinspect map list
  wtinspect map show yi-to-llama > llama.yaml
  wtinspect map lint llama.yaml`,
	}, newMapList(p), newMapShow(p), newMapLint(p), newMapInvert(p), newMapCompose(p), newMapInfer(p), newMapNew(p), newMapTest(p), newMapExport(p), newMapImport(p))
}

func newMapList(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "list [WORD...]",
		Short: "List the built-in maps, and what converts to what",
		Long: `List lists the built-in maps, with their names for --map, and the conventions,
with their names for rename --to: what each converts to, and whether
renaming is enough or bytes have to move. With WORDs it lists only entries whose
name, projects or models contain all of them.`,
		Annotations: exitStatus(),
		Example: `  wtinspect map list
  wtinspect map list llama hf
  wtinspect map list -f json llama | jq '.conventions[] | .name'`,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			list, err := inspect.Maps(cmd.Context(), &inspect.MapsOptions{Words: args})
			if err != nil {
				return err
			}
			if len(list.Maps)+len(list.Conventions) == 0 {
				p.note("no map and no convention has all of: %s", strings.Join(args, ", "))
			}
			return o.answer(p, nil, func(w io.Writer, a answer.Options) error { return answer.Maps(w, list, a) })
		}),
	}
	o.addFlags(cmd, p, answer.MapsColumns)
	return cmd
}

func newMapShow(p *program) *cobra.Command {
	var (
		o     output
		model string
	)
	cmd := &cobra.Command{
		Use:   "show MAP|CONVENTION",
		Short: "Print a map, or the names of a convention",
		Long: `Show prints a map as it is written, with its comments; for built-in maps
these give the sources. A..B is the map from convention A to convention
or project B. You can use the output with --map.

For a CONVENTION it prints the project's name for each tensor, its role,
its shape, whether it is optional, and its layout if that is unusual.
Shapes are written with the names of a model's sizes, or with --for in
the numbers from a release's configuration.`,
		Annotations: exitStatus("2  also if there is no such map or convention, or it cannot be read"),
		Example: `  wtinspect map show yi-to-llama
  wtinspect map show llama-hf..meta
  wtinspect map show llama-hf
  wtinspect map show --for ~/models/yi -f json yi-hf | jq .tensors`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeShown,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if isConvention(args[0]) {
				return runShowConvention(ctx, p, &o, args[0], model)
			}
			switch {
			case model != "":
				return fmt.Errorf("--for goes with a convention, and %s is a map", args[0])
			case cmd.Flags().Changed("format") && o.Format() != render.TableFormat || len(o.columns) > 0:
				return fmt.Errorf("%s is a map, which is printed as it is written; 'wtinspect map export -f json' writes it as JSON", args[0])
			}
			text, err := mapText(ctx, args[0])
			if near := nearShown(args[0]); err != nil && near != "" {
				return fmt.Errorf("there is no map and no convention %q%s", args[0], near)
			}
			if err != nil {
				return err
			}
			if _, err := rename.Parse(args[0], text); err != nil {
				return err
			}
			return o.write(p, mapFiles(args), func(w io.Writer, s render.Style) error {
				if s.Terminal {
					text = []byte(escapeLines(string(text)))
				}
				_, err := w.Write(text)
				return err
			})
		}),
	}
	o.addFlags(cmd, p, answer.ConventionColumns)
	cmd.Flags().StringVar(&model, "for", "", "for a convention, print shapes in the numbers of the release at `PATH`")
	if err := cmd.RegisterFlagCompletionFunc("for", p.completePaths); err != nil {
		panic(err) // the flag does not exist
	}
	return cmd
}

// isConvention reports whether a name is that of a convention, and of no map.
func isConvention(name string) bool {
	_, builtin := rename.BuiltinSource(name)
	_, ok := convention.Lookup(name)
	return ok && !builtin && !inspect.IsMapFile(name)
}

// nearShown asks for the map or the convention that a name was meant to be, "" where no
// convention is like it: then the error for maps says more.
func nearShown(name string) string {
	var conventions []string
	for _, c := range convention.All() {
		conventions = append(conventions, c.Name)
	}
	near := template.DidYouMean(name, append(rename.Builtins(), conventions...))
	if strings.ContainsAny(name, "/.") || near == template.DidYouMean(name, rename.Builtins()) {
		return ""
	}
	return near
}

// completeShown completes the names of maps and of conventions.
func completeShown(cmd *cobra.Command, args []string, toComplete string) ([]string, cobra.ShellCompDirective) {
	names, directive := completeMaps(cmd, args, toComplete)
	if directive != cobra.ShellCompDirectiveDefault {
		names = nil
	}
	found := len(names) > 0
	for _, c := range convention.All() {
		if strings.HasPrefix(c.Name, toComplete) {
			names, found = append(names, c.Name), true
		}
	}
	if found {
		return names, cobra.ShellCompDirectiveDefault
	}
	return completeMaps(cmd, args, toComplete)
}

func runShowConvention(ctx context.Context, p *program, o *output, name, model string) error {
	var known *convention.Model
	var inputs []string
	if model != "" {
		in, err := new(reading).open(ctx, p, []string{model})
		if err != nil {
			return err
		}
		defer in.Close()
		c, err := in.one(model, "described")
		if err != nil {
			return err
		}
		if known, err = inspect.Model(ctx, c, ""); err != nil {
			return plain(err)
		}
		inputs = in.Paths()
	}
	shown, err := inspect.ShowConvention(name, known)
	if err != nil {
		return err
	}
	if model != "" && len(shown.Sizes) == 0 {
		p.note("%s has no configuration with the sizes of a model", model)
	}
	return o.answer(p, inputs, func(w io.Writer, a answer.Options) error { return answer.Convention(w, shown, a) })
}

func mapFiles(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !inspect.IsMapFile(a) })
}

// escapeLines escapes each line of a text, for a terminal.
func escapeLines(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = render.EscapeMessage(line)
		}
	}
	return strings.Join(lines, "\n")
}

func newMapLint(p *program) *cobra.Command {
	var (
		o      output
		failOn string
	)
	cmd := &cobra.Command{
		Use:   "lint MAP...",
		Short: "Find likely mistakes in maps",
		Long: `Lint looks for things that are allowed in maps but rarely intended: rules
that can never take effect, rules that take names from each other, a weight that
leaves its bias behind. Errors that keep a map from being read are all shown at once,
with their lines, and give exit code 2.`,
		Annotations: exitStatus(
			"1  there are findings at or above --fail-on",
			"2  also if a map cannot be read"),
		Example: `  wtinspect map lint there.yaml
  wtinspect map lint --fail-on note -f json maps/*.yaml`,
		Args:              arguments(1, unlimited),
		ValidArgsFunction: completeMaps,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			return runMapLint(cmd.Context(), p, &o, failOn, args)
		}),
	}
	o.addFlags(cmd, p, answer.LintColumns)
	levels := []string{string(rename.Warning), string(rename.Note), "never"}
	cmd.Flags().Var(newChoice(&failOn, levels...), "fail-on", "exit with 1 from this level on: warning, note, or never")
	complete(cmd, "fail-on", levels...)
	return cmd
}

func runMapLint(ctx context.Context, p *program, o *output, failOn string, args []string) error {
	var findings []rename.Finding
	failed := false
	for _, arg := range args {
		m, err := loadMap(ctx, arg)
		if err != nil {
			p.say("%v", err)
			failed = true
			continue
		}
		findings = append(findings, rename.Lint(m)...)
	}
	err := o.answer(p, mapFiles(args), func(w io.Writer, a answer.Options) error { return answer.Lint(w, findings, a) })
	if err != nil {
		return err
	}
	if failed {
		return &exitError{exitFailed}
	}
	for _, f := range findings {
		if failOn == string(rename.Note) || failOn == string(rename.Warning) && f.Level == rename.Warning {
			return &exitError{exitFindings}
		}
	}
	return nil
}

func newMapInvert(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "invert MAP",
		Short: "Print the map that undoes a map",
		Long: `Invert prints the map that undoes MAP, or refuses and names the rules that
no map can undo: those that drop or strip, that lose the old name, or
whose new names look like names that were left alone. A particular rename
can always be undone: 'rename --write-inverse' writes its inverse.`,
		Annotations: exitStatus("2  also if the map has no inverse"),
		Example: `  wtinspect map invert yi-to-llama
  wtinspect map invert -o back.yaml there.yaml`,
		Args:              arguments(1, 1),
		ValidArgsFunction: completeMaps,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			m, err := loadMap(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			inverse, err := rename.Invert(m)
			if err != nil {
				return err
			}
			return writeMap(p, &o, inverse, mapFiles(args))
		}),
	}
	o.addPath(cmd)
	return cmd
}

func newMapCompose(p *program) *cobra.Command {
	var o output
	cmd := &cobra.Command{
		Use:   "compose MAP MAP...",
		Short: "Combine several maps into one",
		Long: `Compose prints one map that does what the MAPs do one after the other, or
refuses and names the rules that cannot be expressed in one map.`,
		Annotations:       exitStatus("2  also if one map cannot express it"),
		Example:           `  wtinspect map compose strip-module yi-to-llama > both.yaml`,
		Args:              arguments(2, unlimited),
		ValidArgsFunction: completeMaps,
		RunE: p.work(func(cmd *cobra.Command, args []string) error {
			m, err := loadMap(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			for _, arg := range args[1:] {
				next, err := loadMap(cmd.Context(), arg)
				if err != nil {
					return err
				}
				if m, err = rename.Compose(m, next); err != nil {
					return err
				}
			}
			return writeMap(p, &o, m, mapFiles(args))
		}),
	}
	o.addPath(cmd)
	return cmd
}

// writeMap writes a map that was made of the inputs.
func writeMap(p *program, o *output, m *rename.Map, inputs []string) error {
	var text bytes.Buffer
	switch err := rename.Write(&text, m); {
	case err != nil && o.path != "":
		return fmt.Errorf("%s: %w", o.path, err)
	case err != nil:
		return err
	}
	return writeMapText(p, o, text.String(), inputs)
}

// writeMapText is writeMap for a map that is text already.
func writeMapText(p *program, o *output, text string, inputs []string) error {
	return o.write(p, inputs, func(w io.Writer, s render.Style) error {
		if s.Terminal {
			text = escapeLines(text)
		}
		_, err := io.WriteString(w, text)
		return err
	})
}
