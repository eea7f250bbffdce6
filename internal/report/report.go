// Package report writes what check found, in the forms that people and the hosts
// of repositories read, one file a form, and what fix did. [Forms] lists the forms.
package report

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
)

// Options are what some forms need to know beside the result.
type Options struct {
	// Max is how many findings a form for people shows; 0 means all.
	Max   int
	Style render.Style
	// Version is the program's, "v1.2.3" or another word.
	Version string
}

// A printer writes a result in one form.
type printer func(w io.Writer, r *inspect.CheckResult, o Options) error

type form struct {
	name  string
	print printer
}

// forms are all forms, the default first.
var forms = []form{
	{"text", text},
	{"json", document},
	{"github", gitHub},
	{"markdown", markdown},
	{"sarif", sarif},
	{"junit", jUnit},
	{"gitlab", gitLab},
	{"table", rows(render.TableFormat)},
	{"jsonl", rows(render.JSONL)},
	{"csv", rows(render.CSV)},
	{"tsv", rows(render.TSV)},
}

// Forms lists the forms of a check, the default first.
func Forms() []string {
	out := make([]string, len(forms))
	for i, f := range forms {
		out[i] = f.name
	}
	return out
}

// Check writes what a check found in a form, one of [Forms].
func Check(w io.Writer, name string, r *inspect.CheckResult, o Options) error {
	i := slices.IndexFunc(forms, func(f form) bool { return f.name == name })
	if i < 0 {
		return fmt.Errorf("form %q: must be one of: %s", name, strings.Join(Forms(), ", "))
	}
	return forms[i].print(w, r, o)
}

// projectURL is where the rules are documented.
const projectURL = "https://github.com/wtinspect/wtinspect"

// shown returns the findings for people, and how many are left out.
func shown(r *inspect.CheckResult, o Options) ([]inspect.Finding, int) {
	if o.Max == 0 || len(r.Findings) <= o.Max {
		return r.Findings, 0
	}
	return r.Findings[:o.Max], len(r.Findings) - o.Max
}

// Sentence is what a finding says about its tensor, in one line without its
// place.
func Sentence(f *inspect.Finding) string {
	var b strings.Builder
	if f.Tensor != nil {
		b.WriteString(render.Escape(*f.Tensor))
		b.WriteString(": ")
	}
	b.WriteString(render.EscapeMessage(f.Message))
	if f.Count > 1 {
		fmt.Fprintf(&b, " (x%d)", f.Count)
	}
	return b.String()
}

// Summary is what a check found, counted in one line.
func Summary(r *inspect.CheckResult) string {
	s := &r.Summary
	out := severities(s.Errors, s.Warnings, s.Infos)
	switch {
	case out == "" && len(r.Releases) == 0 && s.Unjudged == 0:
		return "nothing to check"
	case out == "" && len(r.Releases) == 0:
		return render.Counted(s.Unjudged, "path") + " could not be checked"
	case out == "":
		out = "no findings"
	}
	out += fmt.Sprintf(" in %s (%s, %s)", render.Counted(len(r.Checkpoints), "checkpoint"), render.Counted(s.Tensors, "tensor"), render.Counted(s.Rules, "rule"))
	if s.Accepted > 0 {
		out += fmt.Sprintf("; %d accepted by exceptions", s.Accepted)
	}
	if s.Baseline > 0 {
		out += fmt.Sprintf("; %d in the baseline", s.Baseline)
	}
	switch n, bad := len(r.Releases), len(failed(r)); {
	case n > 1 && bad == 0:
		out += fmt.Sprintf("; all %d releases passed", n)
	case n > 1:
		out += fmt.Sprintf("; %d of %d releases failed", bad, n)
	}
	if s.Unjudged > 0 {
		out += "; " + render.Counted(s.Unjudged, "path") + " could not be checked"
	}
	return out
}

// FitText says how an adapter fits a model.
func FitText(f inspect.Fit) string {
	return fmt.Sprintf("%s has %d of the %s that %s changes", f.Base, f.Targets, render.Counted(f.Modules, "module"), f.Checkpoint)
}

// FoldersText names directories that were not judged: "ema (weights) and old (weights, 2 pickles)"; "" for none.
func FoldersText(folders []inspect.Folder) string {
	texts := make([]string, len(folders))
	for i, f := range folders {
		var has []string
		if f.Weights {
			has = append(has, "weights")
		}
		if f.Pickles > 0 {
			has = append(has, render.Counted(f.Pickles, "pickle"))
		}
		texts[i] = fmt.Sprintf("%s (%s)", f.Path, strings.Join(has, ", "))
	}
	return plural.List(texts)
}

// severities counts findings: "1 error, 2 warnings".
func severities(errors, warnings, infos int) string {
	var words []string
	for _, c := range []struct {
		n    int
		noun string
	}{{errors, "error"}, {warnings, "warning"}, {infos, "note"}} {
		if c.n > 0 {
			words = append(words, render.Counted(c.n, c.noun))
		}
	}
	return strings.Join(words, ", ")
}

// failed returns the releases that have failed.
func failed(r *inspect.CheckResult) []inspect.JudgedRelease {
	return slices.DeleteFunc(slices.Clone(r.Releases), func(j inspect.JudgedRelease) bool { return !j.Failed })
}

// worst returns the releases that have failed where several were judged and the
// findings alone do not list them, and how many more there are than are shown.
func worst(r *inspect.CheckResult, o Options) ([]inspect.JudgedRelease, int) {
	list := failed(r)
	switch {
	case len(r.Releases) < 2 || len(list) == len(r.Findings):
		return nil, 0
	case o.Max > 0 && len(list) > o.Max:
		return list[:o.Max], len(list) - o.Max
	}
	return list, 0
}

// repositoryPath writes the path of a finding as hosts of repositories want it:
// relative to the working directory, with slashes.
func repositoryPath(f *inspect.Finding) string {
	path := f.Path()
	if source.Scheme(path) != "" {
		return path
	}
	if filepath.IsAbs(path) {
		if wd, err := os.Getwd(); err == nil {
			if rel, err := filepath.Rel(wd, path); err == nil && filepath.IsLocal(rel) {
				path = rel
			}
		}
	}
	return filepath.ToSlash(filepath.Clean(path))
}

// names are what a host calls the severities.
type names [checkpoint.Error + 1]string
