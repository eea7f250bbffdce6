// Package exchange writes maps as the rules of other projects, and reads theirs.
//
// A map renames all tensors at once. Most projects keep a list of renames and carry it
// out one after the other, on parts of names. [Export] writes what gives every name the
// same new name there, and refuses the rest with the rule and the reason; it never writes
// something that is nearly right. [Import] is as strict: an entry becomes rules that rename
// the same names, or is refused.
//
// "Every name" leaves out names with line breaks, which a $ in Python may overlook.
package exchange

import (
	"fmt"
	"strings"

	"github.com/wtinspect/wtinspect/rename"
)

// A Form is one of the forms of another project.
type Form string

const (
	// Transformers is a key_mapping of transformers 5, each entry of which becomes a
	// WeightRenaming (src/transformers/core_model_loading.py: WeightTransform;
	// conversion_mapping.py: get_model_conversion_mapping).
	Transformers Form = "transformers"
	// VLLM has the fields of vLLM's WeightsMapper (vllm/model_executor/models/utils.py).
	VLLM Form = "vllm"
	// Mergekit is an architecture of mergekit, in which the old names are aliases
	// (mergekit/architecture/json_definitions.py, mergekit/io/tasks.py: LoadTensor).
	Mergekit Form = "mergekit"
	// JSON is the map itself, as JSON.
	JSON Form = "json"
)

// Forms returns the forms that Export writes.
func Forms() []Form { return []Form{Transformers, VLLM, Mergekit, JSON} }

// ImportForms returns the forms that Import reads.
func ImportForms() []Form { return []Form{Transformers, VLLM, Mergekit} }

// A Refusal is why a rule, or an entry, cannot be said in the other form.
type Refusal struct {
	Where  string // the place, or the number of the rule
	Rule   string // as it is written; "" for what is not about one rule
	Reason string
}

func (r *Refusal) Error() string {
	where := r.Where
	if r.Rule != "" && !strings.Contains(where, r.Rule) {
		where += ": " + r.Rule
	}
	return where + ": " + r.Reason
}

// A RefusedError is every reason for which a map is not exported or imported.
type RefusedError struct{ Refusals []Refusal }

func (e *RefusedError) Error() string {
	texts := make([]string, len(e.Refusals))
	for i := range e.Refusals {
		texts[i] = e.Refusals[i].Error()
	}
	return strings.Join(texts, "\n")
}

// Unwrap gives errors.As each reason.
func (e *RefusedError) Unwrap() []error {
	errs := make([]error, len(e.Refusals))
	for i := range e.Refusals {
		errs[i] = &e.Refusals[i]
	}
	return errs
}

// refusals collects reasons.
type refusals []Refusal

func (l *refusals) add(where, rule, format string, args ...any) {
	*l = append(*l, Refusal{where, rule, fmt.Sprintf(format, args...)})
}

func (l *refusals) rule(m *rename.Map, i int, format string, args ...any) {
	l.add(m.Where(i), m.Rules[i].String(), format, args...)
}

func (l refusals) err() error {
	if len(l) == 0 {
		return nil
	}
	return &RefusedError{l}
}
