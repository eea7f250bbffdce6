package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// unroff is what a page says: the words alone, one space between them.
func unroff(page string) string {
	page = regexp.MustCompile(`(?m)^\.[A-Z]+ ?|\\f[BIR]|\\&`).ReplaceAllString(page, "")
	page = strings.NewReplacer(`\e`, `\`, `\-`, `-`, `\(aq`, `'`, `\(ga`, "`", `\(ti`, `~`, `\(ha`, `^`).Replace(page)
	return strings.Join(strings.Fields(page), " ")
}

// What the help of a command says, its page says, too, and in the places where the
// readers of man pages look. Every page is found from the first one.
func TestManPages(t *testing.T) {
	root := newRoot(newProgram(strings.NewReader(""), io.Discard, io.Discard, func(string) string { return "" }))
	found := map[string]bool{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		page := manPage(cmd)
		text := unroff(page)
		says := func(what, s string) {
			if s = strings.Join(strings.Fields(s), " "); !strings.Contains(text, s) {
				t.Errorf("man %s: %s: it does not say %q", cmd.CommandPath(), what, s)
			}
		}
		says("description", cmd.Long)
		says("examples", cmd.Example)
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			var line pflag.FlagSet
			line.AddFlag(f)
			says("--"+f.Name, line.FlagUsages())
		})
		for line := range strings.Lines(cmd.Annotations[exitStatusKey]) {
			_, meaning, _ := strings.Cut(strings.TrimSpace(line), " ")
			says("exit status", meaning)
		}
		var sections []string
		for _, m := range regexp.MustCompile(`(?m)^\.SH (.*)$`).FindAllStringSubmatch(page, -1) {
			sections = append(sections, m[1])
		}
		// The order of man-pages(7).
		order := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "COMMANDS", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"}
		if !slices.IsSortedFunc(sections, func(a, b string) int { return slices.Index(order, a) - slices.Index(order, b) }) {
			t.Errorf("man %s: the sections are %q", cmd.CommandPath(), sections)
		}
		for _, m := range regexp.MustCompile(`\b(wtinspect[a-z-]*)\(1\)`).FindAllStringSubmatch(text, -1) {
			found[m[1]] = true
		}
		lint(t, page)
		for _, c := range documented(cmd) {
			visit(c)
			if !found[pageName(c)] {
				t.Errorf("no page names %s(1)", pageName(c))
			}
		}
	}
	visit(root)
}

// lint has mandoc judge a page, where it is installed. Pages have no date, because
// the same source gives the same page.
func lint(t *testing.T, page string) {
	t.Helper()
	mandoc, err := exec.LookPath("mandoc")
	if err != nil {
		t.Log("mandoc is not installed: pages are not judged by it")
		return
	}
	cmd := exec.CommandContext(t.Context(), mandoc, "-T", "lint", "-W", "warning")
	cmd.Stdin = strings.NewReader(page)
	out, _ := cmd.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if !strings.Contains(line, "missing date") {
			t.Errorf("%s%.80s", line, page)
		}
	}
}

// Nothing in a text is taken for the language of the page.
func TestManPageOfOddTexts(t *testing.T) {
	for text, want := range map[string]string{
		".TH X":           `\&.TH X`,
		"'quoted'\n.dot":  "\\(aqquoted\\(aq\n\\&.dot",
		`\fB*_orig_mod.*`: `\efB*_orig_mod.*`,
		"--a-b ~ ^ `x`":   `\-\-a\-b \(ti \(ha \(gax\(ga`,
	} {
		if got := roff(text); got != want {
			t.Errorf("roff(%q) = %q, want %q", text, got, want)
		}
	}
	const long = "A paragraph:\n  .kept  as 'it' is\n  \\fBtoo\nand more.\n\n.SH another"
	var b bytes.Buffer
	cmd := &cobra.Command{Use: "odd", Short: "Odd", Long: long}
	b.WriteString(manPage(cmd))
	if want := ".SH DESCRIPTION\nA paragraph:\n.EX\n  .kept  as \\(aqit\\(aq is\n  \\efBtoo\n.EE\nand more.\n.PP\n\\&.SH another\n"; !strings.Contains(b.String(), want) {
		t.Errorf("the page is\n%s", &b)
	}
	lint(t, b.String())
}

// Every variable of the environment that the program reads is in its page.
func TestManPageHasEnvironment(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	read := regexp.MustCompile(`[gG]etenv\("(\w+)"\)`)
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range read.FindAllStringSubmatch(string(text), -1) {
			if !slices.ContainsFunc(manEnvironment(), func(e [2]string) bool { return e[0] == m[1] }) {
				t.Errorf("%s reads %s, which no manual page has", name, m[1])
			}
		}
	}
}
