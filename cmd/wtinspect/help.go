package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/internal/render"
)

// The groups of commands, in the order of the help.
const (
	looking  = "look"
	releases = "judge"
	changing = "change"
	mapping  = "map"
	aside    = "aside"
)

func commandGroups() []*cobra.Group {
	return []*cobra.Group{
		{ID: looking, Title: "Look at weights:"},
		{ID: releases, Title: "Check releases:"},
		{ID: changing, Title: "Change files:"},
		{ID: mapping, Title: "Work with maps:"},
		{ID: aside, Title: "About wtinspect:"},
	}
}

// flagGroups are the headings of flags, in the order of the help. A flag without a group is
// among the first: it is what the command has that others have not.
var flagGroups = [...]string{ownFlags, "Choosing tensors", "Choosing rules", "Reading", "Writing", "Output", globalFlags}

const (
	ownFlags    = "Flags"
	globalFlags = "Global flags"
)

const groupKey = "group"

// group puts flags under a heading, one of flagGroups.
func group(flags *pflag.FlagSet, heading string, names ...string) {
	if !slices.Contains(flagGroups[:], heading) {
		panic("there is no group of flags " + heading)
	}
	for _, name := range names {
		if err := flags.SetAnnotation(name, groupKey, []string{heading}); err != nil {
			panic(err) // the flag does not exist
		}
	}
}

// A flagGroup is flags under a heading, in the order in which they were declared.
type flagGroup struct {
	heading string
	flags   *pflag.FlagSet
}

// groupedFlags are the flags of a command and those that all have.
func groupedFlags(cmd *cobra.Command) []flagGroup {
	cmd.InitDefaultHelpFlag()
	all := cmd.Flags()
	all.AddFlagSet(cmd.InheritedFlags())
	all.SortFlags = false
	group(all, globalFlags, "help")
	sets := make(map[string]*pflag.FlagSet)
	all.VisitAll(func(f *pflag.Flag) {
		heading := ownFlags
		if names := f.Annotations[groupKey]; len(names) > 0 {
			heading = names[0]
		}
		if sets[heading] == nil {
			sets[heading] = pflag.NewFlagSet("", pflag.ContinueOnError)
			sets[heading].SortFlags = false
		}
		sets[heading].AddFlag(f)
	})
	var out []flagGroup
	for _, heading := range flagGroups {
		if flags := sets[heading]; flags != nil && flags.HasAvailableFlags() {
			out = append(out, flagGroup{heading, flags})
		}
	}
	return out
}

// helpWidth is how wide a help is: a terminal has at least so many columns.
const helpWidth = 80

// writeHelp says what a command does in a line, how it is called, and then, in the order
// in which people look for it, everything else.
func writeHelp(w io.Writer, cmd *cobra.Command) error {
	var b strings.Builder
	section := func(heading string) { fmt.Fprintf(&b, "\n%s:\n", heading) }
	fmt.Fprintln(&b, cmd.Short)

	section("Usage")
	for _, line := range usageLines(cmd) {
		fmt.Fprintf(&b, "  %s\n", line)
	}
	if cmd.Example != "" {
		section("Examples")
		fmt.Fprintln(&b, cmd.Example)
	}
	for paragraph := range strings.SplitSeq(cmd.Long, "\n\n") {
		fmt.Fprintf(&b, "\n%s\n", strings.Join(render.Wrap(paragraph, helpWidth), "\n"))
	}
	listCommands(&b, cmd)
	for _, g := range groupedFlags(cmd) {
		section(g.heading)
		b.WriteString(g.flags.FlagUsagesWrapped(helpWidth))
	}
	section("Exit status")
	for line := range strings.Lines(cmd.Annotations[exitStatusKey]) {
		code, meaning, _ := strings.Cut(strings.TrimSpace(line), "  ")
		for i, part := range render.Wrap(meaning, helpWidth-7) {
			if i > 0 {
				code = ""
			}
			fmt.Fprintf(&b, "  %-3s  %s\n", code, part)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func usageLines(cmd *cobra.Command) []string {
	switch {
	case !cmd.HasParent():
		return []string{cmd.Name() + " COMMAND [ARGUMENT...] [flags]", cmd.Name() + " PATH"}
	case cmd.HasSubCommands():
		return []string{cmd.CommandPath() + " COMMAND [ARGUMENT...] [flags]"}
	}
	return []string{cmd.UseLine()}
}

// listCommands lists what is below a command, in groups where it has groups.
func listCommands(b *strings.Builder, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	groups := cmd.Groups()
	if len(groups) == 0 {
		groups = []*cobra.Group{{Title: "Commands:"}}
	}
	for _, g := range groups {
		heading := "\n" + g.Title + "\n"
		for _, c := range cmd.Commands() {
			if c.GroupID == g.ID && (c.IsAvailableCommand() || c.Name() == helpName) {
				fmt.Fprintf(b, "%s  %-10s  %s\n", heading, c.Name(), c.Short)
				heading = ""
			}
		}
	}
	fmt.Fprintf(b, "\n'%s COMMAND --help' shows how to use a command.\n", cmd.CommandPath())
}

const exitStatusKey = "exit status"

// exitStatus returns the annotation with which the help of every command ends:
// the codes that all have, and a command's own lines, each of which begins with
// its code.
func exitStatus(own ...string) map[string]string {
	lines := append([]string{
		"0  success",
		"2  failure: wrong usage, missing or unreadable input",
		"130  interrupted",
	}, own...)
	code := func(line string) int {
		first, _, _ := strings.Cut(line, " ")
		n, err := strconv.Atoi(first)
		if err != nil {
			panic("an exit status without its code: " + line)
		}
		return n
	}
	slices.SortStableFunc(lines, func(a, b string) int { return cmp.Compare(code(a), code(b)) })
	return map[string]string{exitStatusKey: "  " + strings.Join(lines, "\n  ")}
}
