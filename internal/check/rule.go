package check

import (
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Rule is one thing that a release can get wrong.
type Rule struct {
	// ID is stable and never given to another rule: "WT202".
	ID string
	// Name says the rule in a few words with hyphens, as IDs of other tools do.
	Name string
	// Title is one line, a statement of what is wrong.
	Title string
	// Doc says why it matters and what to do.
	Doc string
	// Bad and Good are an example that the rule finds and one that it does not.
	Bad, Good string
	// Severity is that of the findings, unless the rule grades them itself.
	Severity checkpoint.Severity
	// Profiles are the loaders for which the severity is another.
	Profiles map[Profile]checkpoint.Severity
	// Fix is what can be done about it, nil when nothing mechanical can.
	Fix *Fix
	// Values says that the rule reads the tensors' data, and runs only when
	// that is asked for.
	Values bool

	run func(*Pass)
}

// A Profile is a loader whose demands count as well as the format's.
type Profile string

// The profiles. None holds a release to its format's own rules.
const (
	None         Profile = ""
	Transformers Profile = "transformers"
	LlamaCpp     Profile = "llama.cpp"
	VLLM         Profile = "vllm"
	MLX          Profile = "mlx"
)

// Profiles lists the profiles by name.
func Profiles() []Profile { return []Profile{Transformers, LlamaCpp, VLLM, MLX} }

// Rules returns every rule in the order of the IDs.
func Rules() []*Rule {
	return slices.Concat(settingRules, containerRules, shardRules, agreementRules, adapterRules, tokenRules, requiredRules, quantRules, baseRules, ggufRules, classRules, ggufNumberRules, nameRules, companionRules, valueRules, changeRules, hubRules, pickleRules, copyRules, surroundingRules)
}

// Lookup returns the rule of an ID or a name, in any case.
func Lookup(name string) (*Rule, error) {
	for _, r := range Rules() {
		if strings.EqualFold(r.ID, name) || strings.EqualFold(r.Name, name) {
			return r, nil
		}
	}
	return nil, noRule(name)
}

// noRule says what may have been meant by the name of a rule that does not exist.
func noRule(name string) error {
	var words []string
	for _, r := range Rules() {
		words = append(words, r.ID, r.Name)
	}
	if meant := template.DidYouMean(name, words); meant != "" {
		return fmt.Errorf("there is no rule %q%s", name, meant)
	}
	return fmt.Errorf("there is no rule %q; 'wtinspect rules' lists them", name)
}

// severity returns the severity of the rule's findings under a profile.
func (r *Rule) severity(p Profile) checkpoint.Severity {
	if s, ok := r.Profiles[p]; ok {
		return s
	}
	return r.Severity
}

// Matches reports whether a selector means the rule: its ID, the beginning of several
// ("WT2"), or its name.
func (r *Rule) Matches(selector string) bool {
	return len(selector) <= len(r.ID) && strings.EqualFold(r.ID[:len(selector)], selector) || strings.EqualFold(r.Name, selector)
}

// Known returns nil for a selector that means a rule, and otherwise an error that says
// what may have been meant.
func Known(selector string) error {
	if selector != "" && slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.Matches(selector) }) {
		return nil
	}
	return noRule(selector)
}
