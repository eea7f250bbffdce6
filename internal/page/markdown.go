package page

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/internal/report"
)

// markdownText escapes text that is no name.
func markdownText(s string) string { return report.EscapeMarkdown(s) }

// markdownCode writes a name or a value as code, in which nothing is markup, nobody is
// mentioned and nothing becomes a link. In tables even code must escape the bar
// (https://github.github.com/gfm/#tables-extension-).
func markdownCode(s string) string {
	if s == "" {
		return ""
	}
	fence := "`"
	for strings.Contains(s, fence) {
		fence += "`"
	}
	if len(fence) > 1 {
		s = " " + s + " "
	}
	return fence + strings.ReplaceAll(s, "|", `\|`) + fence
}

// A markdown writes GitHub's flavour of it.
type markdown struct{ strings.Builder }

func writeMarkdown(w io.Writer, c *content) error {
	var m markdown
	m.content(c)
	_, err := io.WriteString(w, m.String())
	return err
}

// line writes a paragraph.
func (m *markdown) line(format string, args ...any) {
	fmt.Fprintf(m, format, args...)
	m.WriteString("\n\n")
}

func (m *markdown) content(c *content) {
	several := len(c.Models) > 1
	m.line("# %s", markdownText(c.Title))
	for _, of := range c.Models {
		if several {
			m.line("**%s**: %s", markdownText(of.Name), markdownText(of.Lead))
		} else {
			m.line("%s", markdownText(of.Lead))
		}
	}
	for _, f := range c.Unread {
		m.line("**%s**: %s", f.Word, markdownText(f.Lines[0]))
	}
	if c.Difference != nil && len(c.Difference.Pairs) != 1 { // a single one follows
		m.line("**%s**", markdownText(c.Verdict))
	}
	m.line("%s.", markdownText(c.Judgement.Summary))
	if c.Difference != nil {
		m.difference(c.Difference)
	}
	if !c.Only {
		m.models(c, several)
	}
	m.line("## How this was made")
	m.facts(c.Made)
}

// models writes what there is to say of each model by itself.
func (m *markdown) models(c *content, several bool) {
	if len(c.Models) > 0 {
		m.line("## What it is")
	}
	for _, of := range c.Models {
		if several {
			m.line("### %s", markdownText(of.Name))
		}
		m.facts(of.Facts)
		m.folded(of.Files)
		m.folded(of.Metadata)
	}
	m.left(c.Left)
	m.judgement(&c.Judgement)
	for _, of := range c.Models {
		if several {
			m.line("## Tensors of %s", markdownText(of.Name))
		} else {
			m.line("## Tensors")
		}
		m.model(of)
	}
}

func (m *markdown) facts(list []fact) {
	m.WriteString("| | |\n| --- | --- |\n")
	for _, f := range list {
		lines := make([]string, len(f.Lines))
		for i, line := range f.Lines {
			if lines[i] = markdownText(line); f.Code {
				lines[i] = markdownCode(line)
			}
		}
		fmt.Fprintf(m, "| %s | %s |\n", markdownText(f.Word), strings.Join(lines, "<br>"))
	}
	m.WriteByte('\n')
}

func (m *markdown) left(l *left) {
	if l != nil {
		m.line("%s not shown here. All of them: %s", markdownText(l.Text), outside(markdownCode(l.Command)))
	}
}

// outside is code that is not in a table.
func outside(code string) string { return strings.ReplaceAll(code, `\|`, "|") }

func (m *markdown) judgement(j *judgement) {
	m.line("## Findings")
	m.line("%s.", markdownText(j.Summary))
	for _, f := range j.Fits {
		m.line("%s.", markdownText(f))
	}
	for _, p := range j.Problems {
		m.line("* not checked: %s", markdownText(p))
	}
	for _, g := range j.Groups {
		m.line("### %s", g.Heading)
		for _, r := range g.Rules {
			m.line("**%s %s**: %s", r.ID, markdownText(r.Name), markdownText(r.Title))
			for _, f := range r.Findings {
				fmt.Fprintf(m, "* %s: %s\n", outside(markdownCode(f.Place)), markdownText(f.Message))
			}
			m.WriteByte('\n')
			doc := markdownText(r.Doc)
			if r.Fix != "" {
				doc += "\n\nWhat a fix does: " + markdownText(r.Fix)
			}
			m.line("<details><summary>Why it matters, and what to do</summary>\n\n%s\n\n</details>", doc)
		}
	}
	m.left(j.Left)
	for _, f := range j.Fixes {
		m.line("%s %s.", outside(markdownCode(f.Command)), markdownText(f.Does))
	}
}

func (m *markdown) model(of *model) {
	if of.DTypes != nil {
		m.table(of.DTypes)
	}
	if of.Figures != "" {
		m.line("%s", markdownText(of.Figures))
		for _, odd := range of.Odd {
			fmt.Fprintf(m, "* odd: %s\n", markdownText(odd))
		}
		if len(of.Odd) > 0 {
			m.WriteByte('\n')
		}
		m.left(of.MoreOdd)
		m.folded(of.Layers)
	}
	m.folded(of.Tensors)
}

func (m *markdown) difference(d *difference) {
	m.line("## Difference")
	m.line("What %s says:", outside(markdownCode(d.Command)))
	for _, p := range d.Pairs {
		if p.Heading != "" {
			m.line("### %s", markdownText(p.Heading))
		}
		m.line("A is %s, and B is %s.", outside(markdownCode(p.A)), outside(markdownCode(p.B)))
		m.line("**%s**", markdownText(p.Sentence))
		m.line("%s.", markdownText(p.Summary))
		for _, note := range p.Notes {
			m.line("%s", markdownText(note))
		}
		m.folded(p.Rules)
		m.folded(p.Groups)
		m.folded(p.Beside)
	}
	for _, only := range d.Only {
		m.line("* %s", markdownText(only))
	}
	m.left(d.Left)
}

// folded writes a table that is opened by a click.
func (m *markdown) folded(t *table) {
	if t == nil {
		return
	}
	m.line("<details><summary>%s</summary>", markdownText(t.Caption))
	m.table(t)
	m.line("</details>")
}

func (m *markdown) table(t *table) {
	for _, c := range t.Columns {
		title := c.Title
		if !t.Titled {
			title = " "
		}
		fmt.Fprintf(m, "| %s ", title)
	}
	m.WriteString("|\n")
	for _, c := range t.Columns {
		if c.Right {
			m.WriteString("| ---: ")
		} else {
			m.WriteString("| --- ")
		}
	}
	m.WriteString("|\n")
	for _, row := range t.Rows {
		for i, cell := range row {
			text := markdownText(cell.Text)
			if t.Columns[i].Code && cell.Text != "-" {
				text = markdownCode(cell.Text)
			}
			fmt.Fprintf(m, "| %s ", text)
		}
		m.WriteString("|\n")
	}
	m.WriteByte('\n')
	m.left(t.Left)
}
