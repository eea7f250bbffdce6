package check

import "github.com/wtinspect/wtinspect/checkpoint"

// The rules about a run's own settings have no function: package policy knows
// what the exceptions did, and adds the findings.
var (
	ExpiredException = &Rule{
		ID: "WT001", Name: "expired-exception", Severity: checkpoint.Error,
		Title: "an exception in the settings has expired",
		Doc: `An exception with an until: date accepts a finding for a while. After that day it
accepts nothing, and says so until it is renewed or removed.`,
		Bad:  "ignore: [{rule: WT308, reason: next upload, until: 2024-01-31}]",
		Good: "ignore: [{rule: WT308, reason: next upload, until: 2124-01-31}]",
	}
	UnusedException = &Rule{
		ID: "WT002", Name: "unused-exception", Severity: checkpoint.Info,
		Title: "an exception in the settings accepts nothing",
		Doc: `No finding of this run needed the exception: what it was written for has been
fixed, or its patterns do not say what was meant.`,
		Bad:  "ignore: [{rule: WT403, reason: known}] for a release without doubled prefixes",
		Good: "only exceptions that a release needs",
	}

	settingRules = []*Rule{ExpiredException, UnusedException}
)
