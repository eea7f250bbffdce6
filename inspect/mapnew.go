package inspect

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename"
)

// NewMap returns a map for somebody to write new names into: a rule for each template, in
// which every tensor keeps its name, and its dtype and shape as a comment.
func NewMap(ctx context.Context, c *checkpoint.Checkpoint) (*rename.Map, error) {
	names := namesOf(c)
	m, members := rename.Skeleton(names)
	m.Description = "New names for " + ShownReference(c.Path)
	m.Notes = []string{
		plural.Of(len(names), "tensor") + ", " + plural.Of(len(m.Rules), "rule") + ". Write the new names on the right, with the holes of the left.",
		"A rule that stays as it is keeps the names. Names that no rule matches are an error.",
	}
	for i := range m.Rules {
		m.Rules[i].Notes = describe(c, members[i])
	}
	return m, ctx.Err()
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
