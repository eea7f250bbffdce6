package check

import (
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
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
	return slices.Concat(settingRules, containerRules, shardRules, agreementRules, adapterRules, tokenRules, requiredRules, quantRules, baseRules, ggufRules, nameRules, companionRules, valueRules, changeRules, surroundingRules)
}

// Lookup returns the rule of an ID, in any case.
func Lookup(id string) (*Rule, bool) {
	for _, r := range Rules() {
		if strings.EqualFold(r.ID, id) {
			return r, true
		}
	}
	return nil, false
}

// severity returns the severity of the rule's findings under a profile.
func (r *Rule) severity(p Profile) checkpoint.Severity {
	if s, ok := r.Profiles[p]; ok {
		return s
	}
	return r.Severity
}

// Matches reports whether a selector means the rule: an ID, or the beginning
// of several ("WT2").
func (r *Rule) Matches(selector string) bool {
	return len(selector) <= len(r.ID) && strings.EqualFold(r.ID[:len(selector)], selector)
}

// Known reports whether a selector means any rule.
func Known(selector string) bool {
	return selector != "" && slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.Matches(selector) })
}
