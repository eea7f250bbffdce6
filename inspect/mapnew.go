package inspect

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/infer"
)

// NewMapOptions adjust [NewMap]. Nil options are the defaults.
type NewMapOptions struct {
	// To is a convention, or a project, whose names are given where they are known.
	To string
}

// NewMap returns a map for somebody to write new names into: a rule for each template, in
// which every tensor keeps its name, and its dtype and shape as a comment. With a
// convention it has the rules that [InferMap] is sure of, and what it is not sure of as
// comments.
func NewMap(ctx context.Context, c *checkpoint.Checkpoint, opts *NewMapOptions) (*rename.Map, error) {
	var known *InferMapResult
	var unknown *convert.RefusalError
	if opts != nil && opts.To != "" {
		var err error
		known, err = InferMap(ctx, c, nil, &InferMapOptions{To: opts.To, NamesOnly: true})
		var refused bool
		if unknown, refused = errors.AsType[*convert.RefusalError](err); err != nil && (!refused || unknown.Needs == "") {
			return nil, err
		}
	}
	names := namesOf(c)
	m, members := rename.Skeleton(names)
	for i := range m.Rules {
		m.Rules[i].Notes = describe(c, members[i])
	}
	of := "New names for " + ShownReference(c.Path)
	if known != nil {
		of += ", those of " + known.Goal
		fillIn(m, names, members, known)
	}
	if unknown != nil {
		m.Notes = append(m.Notes, "No new name is known: "+unknown.Error())
	}
	m.Description = of
	m.Notes = append([]string{
		plural.Of(len(names), "tensor") + ", " + plural.Of(len(m.Rules), "rule") + ". Write the new names on the right, with the holes of the left.",
		"A rule that stays as it is keeps the names. Names that no rule matches are an error.",
	}, m.Notes...)
	return m, ctx.Err()
}

// fillIn puts what is known of the new names into a skeleton: the rules that are no guess
// in the place of the lines that they decide, and the rest as comments.
func fillIn(m *rename.Map, names []string, members [][]int, known *InferMapResult) {
	sure := &rename.Map{From: known.Map.From, To: known.Map.To}
	for i := range known.Rules {
		if known.Rules[i].Class != infer.Guess {
			sure.Rules = append(sure.Rules, known.Map.Rules[i])
		}
	}
	decided := make([]bool, len(names))
	for i, row := range rename.NewPlan(sure, names, rename.Limits{}).Rows {
		decided[i] = row.Rule >= 0
	}
	rules := sure.Rules
	for i := range m.Rules {
		if !slices.ContainsFunc(members[i], func(n int) bool { return !decided[n] }) {
			continue
		}
		r := m.Rules[i]
		for _, q := range known.Questions {
			for _, module := range q.Between {
				if rest, ok := strings.CutPrefix(rename.Unnamed(r.From[0].String()), rename.Unnamed(module)); ok && (rest == "" || rest[0] == '.' || rest[0] == '_') {
					r.Notes = append(r.Notes, "may be "+strings.Join(q.And, " or "))
				}
			}
		}
		rules = append(rules, r)
	}
	m.Rules, m.From, m.To = rules, sure.From, sure.To
	for _, t := range known.Missing {
		m.Notes = append(m.Notes, "Nothing becomes "+t+" yet.")
	}
}

// describe says which dtypes and shapes some tensors have, in the order of their first
// ones.
func describe(c *checkpoint.Checkpoint, members []int) []string {
	var kinds []string
	count := make(map[string]int)
	for _, i := range members {
		t := c.At(i)
		kind := t.DType
		if t.Shape != nil {
			kind = strings.TrimSpace(kind + " " + strings.ReplaceAll(fmt.Sprint(t.Shape), " ", ","))
		}
		if count[kind] == 0 {
			kinds = append(kinds, kind)
		}
		count[kind]++
	}
	const most = 3
	var out []string
	for k, kind := range kinds {
		if k == most && len(kinds) > most+1 {
			return append(out, plural.Of(len(kinds)-most, "more shape"))
		}
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s x%d", kind, count[kind])))
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "x1" }) // an index says no more
}
