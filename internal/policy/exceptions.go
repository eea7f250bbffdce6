package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/wtinspect/wtinspect/internal/check"
	"github.com/wtinspect/wtinspect/rename/template"
)

// An Exception accepts findings, for a reason and perhaps for a while.
type Exception struct {
	// Rule is an ID or the beginning of several.
	Rule string
	// Tensor and File choose what the exception is for; "" is any.
	Tensor, File template.Glob
	Reason       string
	// Until is the last day it holds; the zero time means no end.
	Until time.Time
	// Origin is the file it is written in, with the line and the column.
	Origin       string
	Line, Column int
}

func (e *Exception) expired(now time.Time) bool {
	return !now.IsZero() && !e.Until.IsZero() && !now.Before(e.Until.AddDate(0, 0, 1))
}

// accepts reports whether a finding of the exception's rule is accepted.
func (e *Exception) accepts(f *check.Finding) bool {
	return (e.Tensor == "" || e.Tensor.Match(f.Tensor)) && (e.File == "" || f.InFile(e.File))
}

// Leniency is which findings do not count.
type Leniency struct {
	// Exceptions accept findings that are known.
	Exceptions []Exception
	// Now decides which exceptions have expired; the zero time expires none.
	Now time.Time
	// Baseline has the fingerprints of the findings that were there before.
	Baseline map[string]bool
}

// Apply takes the findings that do not count out of a report: those that an
// exception accepts, and those that the baseline knows. It adds what there is to
// say about the exceptions themselves.
func (l *Leniency) Apply(r *check.Report) (accepted, known int) {
	used := make([]bool, len(l.Exceptions))
	accepting := make(map[*check.Rule][]int) // the exceptions that are for a rule
	for _, rule := range r.Rules {
		for i := range l.Exceptions {
			if e := &l.Exceptions[i]; !e.expired(l.Now) && rule.Matches(e.Rule) {
				accepting[rule] = append(accepting[rule], i)
			}
		}
	}
	r.Findings = slices.DeleteFunc(r.Findings, func(f check.Finding) bool {
		i := -1
		if list := accepting[f.Rule]; len(list) > 0 {
			if k := slices.IndexFunc(list, func(i int) bool { return l.Exceptions[i].accepts(&f) }); k >= 0 {
				i = list[k]
			}
		}
		switch {
		case i >= 0:
			used[i] = true
			accepted += f.Count
			return true
		case l.Baseline[f.Fingerprint()]:
			known += f.Count
			return true
		}
		return false
	})
	for i := range l.Exceptions {
		e := &l.Exceptions[i]
		f := check.Finding{File: e.Origin, Line: e.Line, Column: e.Column, Offset: -1, Count: 1}
		rule := check.UnusedException
		switch {
		case e.expired(l.Now):
			rule = check.ExpiredException
			f.Message = fmt.Sprintf("the exception for %s (%s) expired after %s; renew it or fix what it accepts", e.Rule, e.Reason, e.Until.Format(time.DateOnly))
		case used[i] || !slices.ContainsFunc(r.Rules, func(r *check.Rule) bool { return r.Matches(e.Rule) }):
			continue // where no rule ran that it is for, nothing can be said
		default:
			f.Message = fmt.Sprintf("nothing was found that the exception for %s (%s) accepts; remove it", e.Rule, e.Reason)
		}
		if slices.Contains(r.Rules, rule) {
			r.Add(rule, f)
		}
	}
	return accepted, known
}
