package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

var markdownText = strings.NewReplacer(`\`, `\\`, "&", "&amp;", "|", `\|`, "<", "&lt;", ">", "&gt;", "*", `\*`, "_", `\_`, "`", "\\`", "[", `\[`, "]", `\]`, "\n", " ",
	"~", `\~`, "$", `\$`, "@", "@<!-- -->", "#", "#<!-- -->", "://", ":<!-- -->//", "www.", "www<!-- -->.", "GH-", "GH<!-- -->-")

// EscapeMarkdown escapes what Markdown and HTML would act on, and takes apart what GitHub makes links of or
// notifies people for: @name, owner/name#1, GH-1, addresses. Those it looks for in the text, where a
// backslash is gone and a comment is not.
func EscapeMarkdown(s string) string { return markdownText.Replace(s) }

// markdown writes a table, for a job summary or a comment.
func markdown(w io.Writer, r *inspect.CheckResult, o Options) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### wtinspect: %s\n\n", Summary(r))
	for _, problem := range r.Problems {
		fmt.Fprintf(&b, "* not checked: %s\n", EscapeMarkdown(render.EscapeMessage(problem.Error())))
	}
	if len(r.Problems) > 0 {
		b.WriteByte('\n')
	}
	releases, more := worst(r, o)
	if len(releases) > 0 {
		b.WriteString("| release | findings |\n| --- | --- |\n")
	}
	for _, j := range releases {
		fmt.Fprintf(&b, "| %s | %s |\n", EscapeMarkdown(render.EscapeMessage(j.Path)), severities(j.Errors, j.Warnings, j.Infos))
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n%s not shown.\n", render.Counted(more, "more release"))
	}
	if len(releases) > 0 {
		b.WriteByte('\n')
	}
	list, more := shown(r, o)
	if len(list) > 0 {
		b.WriteString("| severity | rule | place | finding |\n| --- | --- | --- | --- |\n")
	}
	for i := range list {
		f := &list[i]
		fmt.Fprintf(&b, "| %s | %s %s | %s | %s |\n", f.Severity, f.Rule, f.Name,
			EscapeMarkdown(render.EscapeMessage(f.Place())), EscapeMarkdown(Sentence(f)))
	}
	if more > 0 {
		fmt.Fprintf(&b, "\n%s not shown.\n", render.Counted(more, "more finding"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}
