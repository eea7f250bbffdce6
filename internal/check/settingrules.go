package check

import (
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// The rules about a run's own settings have no function: Run itself knows what
// the exceptions did.
var settingRules = []*Rule{
	{
		ID: "WT001", Name: "expired-exception", Severity: checkpoint.Error,
		Title: "an exception in the settings has expired",
		Doc: `An exception with an until: date accepts a finding for a while. After that day it
accepts nothing, and says so until it is renewed or removed.`,
		Bad:  "ignore: [{rule: WT308, reason: next upload, until: 2024-01-31}]",
		Good: "ignore: [{rule: WT308, reason: next upload, until: 2124-01-31}]",
	},
	{
		ID: "WT002", Name: "unused-exception", Severity: checkpoint.Info,
		Title: "an exception in the settings accepts nothing",
		Doc: `No finding of this run needed the exception: what it was written for has been
mended, or its patterns do not say what was meant.`,
		Bad:  "ignore: [{rule: WT403, reason: known}] for a release without doubled prefixes",
		Good: "only exceptions that a release needs",
	},
}

// aboutExceptions returns the findings about the exceptions of the run.
func (o *Options) aboutExceptions(rules []*Rule, used []bool, rel *checkpoint.Release) []Finding {
	var list []Finding
	for _, r := range rules {
		for i, e := range o.Exceptions {
			f := Finding{Rule: r, Severity: r.severity(o.Profile), File: e.Origin, Line: e.Line, Column: e.Column, Offset: -1, Count: 1, dir: rel.Dir}
			switch expired := e.expired(o.Now); {
			case r.ID == "WT001" && expired:
				f.Message = fmt.Sprintf("the exception for %s (%s) expired after %s; renew it or mend what it accepts", e.Rule, e.Reason, e.Until.Format("2006-01-02"))
			case r.ID == "WT002" && !expired && !used[i] && o.meansRun(e.Rule):
				f.Message = fmt.Sprintf("nothing was found that the exception for %s (%s) accepts; remove it", e.Rule, e.Reason)
			default:
				continue
			}
			list = append(list, f)
		}
	}
	return list
}

// meansRun reports whether any of the rules that a selector means runs: of one
// that reads values when they are not read, nothing can be said.
func (o *Options) meansRun(selector string) bool {
	return slices.ContainsFunc(Rules(), func(r *Rule) bool { return r.matches(selector) && (o.Values || !r.Values) })
}
