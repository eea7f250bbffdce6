package report

import (
	"fmt"
	"io"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
)

// gitHubData and gitHubProperty escape the two parts of a workflow command as
// actions/toolkit does (packages/core/src/command.ts). What a terminal would act
// on is escaped before, since the log shows it as it is.
var (
	gitHubData     = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	gitHubProperty = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

// gitHub writes annotations as workflow commands of GitHub Actions.
func gitHub(w io.Writer, r *inspect.CheckResult, o Options) error {
	commands := names{checkpoint.Error: "error", checkpoint.Warning: "warning", checkpoint.Info: "notice"}
	for _, problem := range r.Problems {
		if _, err := fmt.Fprintf(w, "::error title=not checked::%s\n", gitHubData.Replace(render.EscapeMessage(problem.Error()))); err != nil {
			return err
		}
	}
	list, more := shown(r, o)
	for i := range list {
		f := &list[i]
		place := ""
		if f.Line != nil && f.Column != nil {
			place = fmt.Sprintf(",line=%d,col=%d", *f.Line, *f.Column)
		}
		_, err := fmt.Fprintf(w, "::%s file=%s%s,title=%s::%s\n", commands[f.Severity], gitHubProperty.Replace(render.EscapeMessage(repositoryPath(f))), place,
			gitHubProperty.Replace(f.Rule+" "+f.Name), gitHubData.Replace(Sentence(f)))
		if err != nil {
			return err
		}
	}
	if more > 0 {
		if _, err := fmt.Fprintf(w, "::notice::%s\n", gitHubData.Replace(render.Counted(more, "more finding")+" not shown")); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, Summary(r))
	return err
}
