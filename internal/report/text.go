package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

// text writes a line a finding, for people.
func text(w io.Writer, r *inspect.CheckResult, o Options) error {
	s := o.Style
	colors := [...]render.Color{checkpoint.Error: render.Red, checkpoint.Warning: render.Yellow, checkpoint.Info: render.Cyan}
	list, more := shown(r, o)
	var b strings.Builder
	for i := range list {
		f := &list[i]
		fmt.Fprintf(&b, "%s: %s %s: %s", s.Paint(render.Bold, render.EscapeMessage(f.Place())),
			s.Paint(colors[f.Severity], f.Severity.String()), f.Rule, Sentence(f))
		if f.Fixable {
			b.WriteString(" " + s.Paint(render.Dim, "[fix]"))
		}
		b.WriteByte('\n')
	}
	if more > 0 {
		fmt.Fprintf(&b, "%s not shown; --max 0 shows all\n", render.Counted(more, "more finding"))
	}
	fmt.Fprintln(&b, Summary(r))
	releases, more := worst(r, o)
	for _, j := range releases {
		fmt.Fprintf(&b, "  %s: %s\n", s.Paint(render.Bold, render.EscapeMessage(j.Path)), severities(j.Errors, j.Warnings, j.Infos))
	}
	if more > 0 {
		fmt.Fprintf(&b, "  and %d more; --max 0 shows all\n", more)
	}
	b.WriteString(fixes(r))
	return s.Wrap(w, func(w io.Writer) error {
		_, err := io.WriteString(w, b.String())
		return err
	})
}

// A FixCommand is a command of fix, and what of the findings it fixes.
type FixCommand struct {
	// Words are the command and its flags, without what it is about.
	Words []string
	// Many is how many it can fix: "it", "2 of them", or "2 more" than the command before.
	Many string
	// Where says where it can, "" where the findings are.
	Where string
}

// FixCommands are what fixes findings: fix, and fix with the rules selected that it fixes
// only when they are, which are no more than worth knowing.
func FixCommands(r *inspect.CheckResult) []FixCommand {
	var fixed, asked int
	var rules []string
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case !f.Fixable:
		case f.Severity == checkpoint.Info:
			asked++
			if !slices.Contains(rules, f.Rule) {
				rules = append(rules, f.Rule)
			}
		default:
			fixed++
		}
	}
	slices.Sort(rules)
	where := ""
	if len(r.Releases) > 0 && source.Scheme(r.Releases[0].Path) != "" {
		where = " in a copy on this machine" // what is elsewhere is read only
	}
	of := func(n int) string {
		switch {
		case len(r.Findings) == 1:
			return "it"
		case n == len(r.Findings):
			return "all of them"
		}
		return fmt.Sprintf("%d of them", n)
	}
	var out []FixCommand
	if fixed > 0 {
		out = append(out, FixCommand{[]string{"wtinspect", "fix"}, of(fixed), where})
	}
	if asked > 0 {
		many := of(asked)
		if fixed > 0 {
			many = fmt.Sprintf("%d more", asked)
		}
		out = append(out, FixCommand{[]string{"wtinspect", "fix", "--select", strings.Join(rules, ",")}, many, where})
	}
	return out
}

// fixes says what 'wtinspect fix' can fix of the findings, and which of them only when
// its --select asks for them.
func fixes(r *inspect.CheckResult) string {
	commands := FixCommands(r)
	if len(commands) == 0 {
		return ""
	}
	words := commands[0].Words
	if len(r.Releases) > 1 {
		words = append(words, "RELEASE")
	}
	out := fmt.Sprintf("'%s' can fix %s%s", strings.Join(words, " "), commands[0].Many, commands[0].Where)
	for _, c := range commands[1:] {
		out += ", and " + c.Many + " with " + strings.Join(c.Words[2:], " ")
	}
	return out + "\n"
}
