package report

import (
	"strings"
	"testing"
)

// Nothing in a file ends a cell or begins markup.
func TestMarkdown(t *testing.T) {
	r := bad(t)
	rows := 0
	for line := range strings.Lines(written(t, "markdown", r, Options{})) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		rows++
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|"); n != 5 {
			t.Errorf("%d cells: %s", n-1, line)
		}
		if strings.ContainsAny(strings.ReplaceAll(line, "<!-- -->", ""), "<>") {
			t.Errorf("HTML: %s", line)
		}
	}
	if rows != len(r.Findings)+2 {
		t.Errorf("%d rows for %d findings", rows, len(r.Findings))
	}
	if out := written(t, "markdown", clean(t), Options{}); strings.Contains(out, "|") {
		t.Errorf("a table without findings: %s", out)
	}
}

func TestEscapeMarkdown(t *testing.T) {
	for text, want := range map[string]string{
		"a_b*c|d":   `a\_b\*c\|d`,
		"<x> & [y]": `&lt;x&gt; &amp; \[y\]`,
		"a\nb":      "a b",
		// A comment does not reach the text in which GitHub looks for names and numbers.
		"@name o/r#1 GH-2": "@<!-- -->name o/r#<!-- -->1 GH<!-- -->-2",
		"http://a www.b":   "http:<!-- -->//a www<!-- -->.b",
		"~~$x$~~":          `\~\~\$x\$\~\~`,
	} {
		if got := EscapeMarkdown(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
