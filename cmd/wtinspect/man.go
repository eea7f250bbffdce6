package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func newMan(p *program) *cobra.Command {
	return &cobra.Command{
		Use:   "man [COMMAND...]",
		Short: "Print the manual page of a command",
		Long: `Man prints the manual page of a command, or of wtinspect
itself, in man format. Packages install these pages; otherwise
pipe the output into man.`,
		Annotations: exitStatus(),
		Example: `  wtinspect man > wtinspect.1
  wtinspect man check | man -l -
  wtinspect man map list | mandoc -a`,
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			if about, err := find(cmd.Root(), args); err == nil {
				for _, c := range documented(about) {
					names = append(names, c.Name())
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, err := find(cmd.Root(), args)
			if err != nil {
				return err
			}
			_, err = io.WriteString(p.stdout, manPage(about))
			return err
		},
	}
}

// find returns the command that args name.
func find(root *cobra.Command, args []string) (*cobra.Command, error) {
	cmd, rest, err := root.Find(args)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("there is no command %q", strings.Join(args, " "))
	}
	return cmd, nil
}

// documented are the commands below one that have a page.
func documented(cmd *cobra.Command) []*cobra.Command {
	var list []*cobra.Command
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() && c.Name() != "help" {
			list = append(list, c)
		}
	}
	return list
}

// manEnvironment and manFiles are what every command goes by, apart from its arguments.
func manEnvironment() [][2]string {
	var list [][2]string
	for _, s := range settings() {
		meaning := "The default of --" + s.name + ": " + strings.Join(s.values, ", ") + "."
		if s.name == pagerSetting {
			meaning = "The pager for long answers, instead of that of PAGER; cat or none for no pager."
		}
		list = append(list, [2]string{s.variable(), meaning})
	}
	return append(list, [][2]string{
		{userFileVariable, "The file of the user's defaults, instead of the one below; none for no file."},
		{"XDG_CONFIG_HOME", "Where the file of the user's defaults is, instead of ~/.config."},
		{"NO_COLOR", "If it is set, nothing is coloured."},
		{"CLICOLOR_FORCE", "If it is set and not 0, output is coloured also where it is not a terminal."},
		{"PAGER", "The command that shows long answers on a terminal, unless WTINSPECT_PAGER is set."},
		{"LESS", "The options of less; FRX unless it is set."},
		{"LV", "The options of lv; -c unless it is set."},
		{"COLUMNS", "The width of the terminal, instead of what the terminal says."},
		{"TERM", "If it is dumb, nothing is coloured."},
		{"SOURCE_DATE_EPOCH", "The time by which check judges whether an exception has expired, in seconds since 1970."},
		{"PATH", "Where pagers are, and wtinspect-parquet, if it is not beside wtinspect."},
		{"GOMEMLIMIT", "What scan keeps to in memory, as far as it can: 192MiB unless it is set."},
		{"GOGC", "How much memory may be used before it is collected, as in every Go program."},
	}...)
}

var manFiles = [][2]string{
	{"~/.config/wtinspect/config.yaml", "The user's defaults: color, format, pager, progress and wide."},
	{".wtinspect.yaml", "Settings of check, lock and fix, for the releases in its directory and below."},
	{"wtinspect.lock.json", "The contract that check holds a release to, as lock writes it."},
}

// manPage returns the manual page of a command, in the macros of man(7). Cobra's own
// pages show a switch as --quiet[=false], have no exit status, and take the text for
// Markdown, in which the stars of globs vanish.
func manPage(cmd *cobra.Command) string {
	var b strings.Builder
	name := pageName(cmd)
	short := cmd.Short
	if len(short) > 1 && strings.ToUpper(short[1:2]) != short[1:2] { // a word, not JSON
		short = strings.ToLower(short[:1]) + short[1:]
	}
	fmt.Fprintf(&b, ".TH %s 1 \"\" \"wtinspect %s\" \"User Commands\"\n", roff(strings.ToUpper(name)), roff(thisBuild().version))
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(short))

	fmt.Fprintln(&b, ".SH SYNOPSIS")
	for i, line := range usageLines(cmd) {
		if i > 0 {
			fmt.Fprintln(&b, ".br")
		}
		fmt.Fprintf(&b, "\\fB%s\\fR%s\n", roff(cmd.CommandPath()), roff(strings.TrimPrefix(line, cmd.CommandPath())))
	}
	fmt.Fprintln(&b, ".SH DESCRIPTION")
	writeProse(&b, cmd.Long)

	if list := documented(cmd); len(list) > 0 {
		fmt.Fprintln(&b, ".SH COMMANDS")
		for _, g := range append([]*cobra.Group{{}}, cmd.Groups()...) {
			heading := g.Title
			for _, c := range list {
				if c.GroupID != g.ID {
					continue
				}
				if heading != "" {
					fmt.Fprintf(&b, ".SS %s\n", roff(strings.TrimSuffix(heading, ":")))
					heading = ""
				}
				fmt.Fprintf(&b, ".TP\n\\fB%s\\fR(1)\n%s\n", roff(pageName(c)), roff(c.Short))
			}
		}
	}
	fmt.Fprintln(&b, ".SH OPTIONS")
	for _, g := range groupedFlags(cmd) {
		if g.heading != ownFlags {
			fmt.Fprintf(&b, ".SS %s\n", roff(g.heading))
		}
		writeFlags(&b, g.flags)
	}
	fmt.Fprintln(&b, ".SH EXIT STATUS")
	last := ""
	for line := range strings.Lines(cmd.Annotations[exitStatusKey]) {
		code, meaning, _ := strings.Cut(strings.TrimSpace(line), " ")
		if code != last {
			fmt.Fprintf(&b, ".TP\n.B %s\n", code)
		} else {
			fmt.Fprintln(&b, ".br")
		}
		fmt.Fprintln(&b, roff(strings.TrimSpace(meaning)))
		last = code
	}
	if !cmd.HasParent() {
		writeTerms(&b, "ENVIRONMENT", manEnvironment())
		writeTerms(&b, "FILES", manFiles)
	}
	if cmd.Example != "" {
		fmt.Fprintf(&b, ".SH EXAMPLES\n.EX\n%s\n.EE\n", roff(unindented(cmd.Example)))
	}
	if cmd.HasParent() {
		also := []string{pageName(cmd.Parent())}
		for _, c := range documented(cmd.Parent()) {
			if c != cmd && cmd.Parent().HasParent() {
				also = append(also, pageName(c))
			}
		}
		fmt.Fprintln(&b, ".SH SEE ALSO")
		for i, page := range also {
			also[i] = fmt.Sprintf("\\fB%s\\fR(1)", roff(page))
		}
		fmt.Fprintln(&b, strings.Join(also, ",\n"))
	}
	return b.String()
}

// pageName is what man finds a command's page by: wtinspect-map-list.
func pageName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

func writeTerms(b *strings.Builder, heading string, terms [][2]string) {
	fmt.Fprintf(b, ".SH %s\n", heading)
	for _, t := range terms {
		fmt.Fprintf(b, ".TP\n.B %s\n%s\n", roff(t[0]), roff(t[1]))
	}
}

// writeProse writes the paragraphs of a help text. Lines that are indented are
// kept as they are.
func writeProse(b *strings.Builder, text string) {
	for i, paragraph := range strings.Split(text, "\n\n") {
		if i > 0 {
			fmt.Fprintln(b, ".PP")
		}
		literal := false
		for line := range strings.Lines(paragraph) {
			line = strings.TrimRight(line, "\n")
			if indented := strings.HasPrefix(line, " "); indented != literal {
				literal = indented
				fmt.Fprintln(b, map[bool]string{true: ".EX", false: ".EE"}[literal])
			}
			fmt.Fprintln(b, roff(line))
		}
		if literal {
			fmt.Fprintln(b, ".EE")
		}
	}
}

func writeFlags(b *strings.Builder, flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		fmt.Fprintln(b, ".TP")
		if f.Shorthand != "" {
			fmt.Fprintf(b, "\\fB%s\\fR, ", roff("-"+f.Shorthand))
		}
		value, usage := pflag.UnquoteUsage(f)
		fmt.Fprintf(b, "\\fB%s\\fR", roff("--"+f.Name))
		if value != "" {
			fmt.Fprintf(b, " \\fI%s\\fR", roff(value))
		}
		fmt.Fprintf(b, "\n%s\n", roff(usage+defaultOf(f)))
	})
}

// defaultOf is what a flag's line says of its default, as pflag says it.
func defaultOf(f *pflag.Flag) string {
	switch f.DefValue {
	case "", "0", "false", "[]":
		return ""
	}
	if f.Value.Type() == "string" {
		return fmt.Sprintf(" (default %q)", f.DefValue)
	}
	return fmt.Sprintf(" (default %s)", f.DefValue)
}

func unindented(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		lines = append(lines, strings.TrimPrefix(strings.TrimRight(line, "\n"), "  "))
	}
	return strings.Join(lines, "\n")
}

var roffSpecial = strings.NewReplacer(`\`, `\e`, `-`, `\-`, `'`, `\(aq`, "`", `\(ga`, `~`, `\(ti`, `^`, `\(ha`)

// roff returns text as roff prints it: nothing in it is taken for a request or a
// character of typesetting, and what is copied from the page is what is meant.
func roff(text string) string {
	lines := strings.Split(roffSpecial.Replace(text), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
