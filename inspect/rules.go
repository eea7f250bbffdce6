package inspect

import (
	"fmt"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/check"
)

// A Rule is one thing that a release can get wrong.
type Rule struct {
	// ID is stable and never given to another rule: "WT202".
	ID string `json:"id"`
	// Name says the rule in a few words with hyphens.
	Name string `json:"name"`
	// Title is one line, a statement of what is wrong.
	Title string `json:"title"`
	// Doc says why it matters and what to do.
	Doc string `json:"doc"`
	// Bad is an example that the rule finds.
	Bad string `json:"bad"`
	// Good is an example that it does not find.
	Good string `json:"good"`
	// Severity is that of the rule's findings, where neither a profile nor settings say
	// otherwise.
	Severity checkpoint.Severity `json:"severity"`
	// Profiles are the loaders for which the severity is another.
	Profiles map[string]checkpoint.Severity `json:"profiles,omitempty"`
	// Fix is what 'wtinspect fix' does about it, nil when nothing mechanical can be done.
	Fix *string `json:"fix"`
	// Values says that the rule reads the tensors' data.
	Values bool `json:"values"`
}

// Rules returns the rules that some selectors mean, each an ID, the beginning of
// several ("WT2") or a name, and all rules without any, in the order of the IDs.
func Rules(selectors ...string) ([]Rule, error) {
	opts := &check.Options{Select: selectors, Values: true}
	if err := opts.Check(); err != nil {
		return nil, err
	}
	var out []Rule
	for _, r := range check.Rules() {
		if opts.Runs(r) {
			out = append(out, newRule(r))
		}
	}
	return out, nil
}

func newRule(r *check.Rule) Rule {
	out := Rule{ID: r.ID, Name: r.Name, Title: r.Title, Doc: oneLine(r.Doc), Bad: r.Bad, Good: r.Good, Severity: r.Severity, Values: r.Values}
	if r.Fix != nil {
		out.Fix = &r.Fix.Doc
	}
	for p, s := range r.Profiles {
		if out.Profiles == nil {
			out.Profiles = make(map[string]checkpoint.Severity)
		}
		out.Profiles[string(p)] = s
	}
	return out
}

// Explain documents a rule as text.
func (r Rule) Explain() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %s\nseverity: %s", r.ID, r.Name, r.Title, r.Grades())
	fmt.Fprintf(&b, "\n\n%s\n\nbad:  %s\ngood: %s", r.Doc, r.Bad, r.Good)
	if r.Fix != nil {
		fmt.Fprintf(&b, "\nfix:  %s", *r.Fix)
	}
	return b.String()
}

// Grades says the severity of the rule's findings, and when they are given.
func (r Rule) Grades() string {
	text := r.Severity.String()
	for _, p := range Profiles() {
		if s, ok := r.Profiles[p]; ok {
			text += fmt.Sprintf(", %s with --profile %s", s, p)
		}
	}
	if r.Values {
		text += "; reads values, and runs with --values"
	}
	return text
}

// Profiles lists the loaders whose demands [RuleChoice.Profile] adds.
func Profiles() []string {
	var out []string
	for _, p := range check.Profiles() {
		out = append(out, string(p))
	}
	return out
}
