package convert

import (
	"cmp"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A Conflict is a rename that loads and computes nonsense: the two names mean
// the same in two conventions that keep its bytes in different ways, or they
// mean different things.
type Conflict struct {
	From   string `json:"from"`
	To     string `json:"to"`
	Role   string `json:"role"`
	Reason string `json:"reason"`
}

// A Verdict is what Review found.
type Verdict struct {
	// From and To are the conventions of the old and the new names, "" when
	// unknown.
	From, To  string
	Conflicts []Conflict
	// Unless lists models that share these names and whose bytes are the same
	// in both conventions.
	Unless []string
}

// Review looks at renames, old name and new, for those that names alone cannot
// carry out. It needs all of a checkpoint's tensors, also those that keep their
// names. What it does not recognise, it does not judge.
func Review(renames iter.Seq2[string, string], model *convention.Model) *Verdict {
	var olds, news []convention.Named
	for from, to := range renames {
		olds = append(olds, convention.Named{Name: from})
		news = append(news, convention.Named{Name: to})
	}
	v := new(Verdict)
	from := identify.Read(slices.Values(olds), model)
	a, ok := convention.Lookup(from.Convention)
	if !ok {
		return v
	}
	to := identify.Read(slices.Values(news), model)
	b, ok := convention.Lookup(to.Convention)
	if !ok {
		return v
	}
	if !slices.ContainsFunc(a.Families, b.HasFamily) {
		// Another convention with the same names may be of the same models.
		for _, c := range to.Tied {
			if slices.ContainsFunc(a.Families, c.HasFamily) {
				b = c
				break
			}
		}
	}
	v.From, v.To = a.Name, b.Name
	if a == b {
		return v
	}
	fromRoles, toRoles := roles(from.Places(a)), roles(to.Places(b))
	for i := range olds {
		if c, ok := compareRoles(a, b, fromRoles[i], toRoles[i], model); ok {
			c.From, c.To = olds[i].Name, news[i].Name
			v.Conflicts = append(v.Conflicts, c)
		}
	}
	if len(v.Conflicts) > 0 {
		v.Unless = unless(from.Tied, to.Tied, fromRoles, toRoles)
	}
	return v
}

// roles gives the role of every tensor, "" of those that the convention does not
// know and of companions.
func roles(places []identify.Place) []string {
	out := make([]string, len(places))
	for i, p := range places {
		if p.Tensor != nil && p.Leaf == "" {
			out[i] = p.Tensor.Role
		}
	}
	return out
}

// compareRoles says what is wrong with giving a tensor of one role another's
// name.
func compareRoles(a, b *convention.Convention, from, to string, model *convention.Model) (Conflict, bool) {
	if from == "" || to == "" {
		return Conflict{}, false
	}
	if from != to {
		return Conflict{Role: from, Reason: "it becomes " + to}, true
	}
	module, leaf := cutLeaf(from)
	x, y := storageOf(a, module, leaf), storageOf(b, module, leaf)
	x.turn(a, module, model)
	y.turn(b, module, model)
	if x == y {
		return Conflict{}, false
	}
	c := Conflict{Role: from}
	switch {
	case x.heads != y.heads && x.heads != "" && y.heads != "":
		c.Reason = "its heads are " + x.heads + " in " + a.Name + " and " + y.heads + " in " + b.Name
	case x.rope != y.rope && x.rope != "" && y.rope != "":
		c.Reason = "its rows are in " + x.rope + " order for rotary embedding in " + a.Name + " and in " + y.rope + " order in " + b.Name
	case x.fused != y.fused:
		c.Reason = "its parts lie " + x.fused + " in " + a.Name + " and " + y.fused + " in " + b.Name
	case x.transposed != y.transposed:
		c.Reason = "it is stored [in, out] in one of " + a.Name + " and " + b.Name + ", and [out, in] in the other"
	case x.offset-y.offset == 1 || y.offset-x.offset == 1:
		c.Reason = a.Name + " and " + b.Name + " differ in whether the model adds one to it"
	case x.offset != y.offset:
		c.Reason = a.Name + " and " + b.Name + " differ in what the model adds to it"
	case x.decay != y.decay:
		c.Reason = "one of " + a.Name + " and " + b.Name + " stores its logarithm"
	default:
		return Conflict{}, false // a shape only, or an order that is not known
	}
	return c, true
}

// unless lists the families of the tied conventions between which the renames
// are right.
func unless(from, to []*convention.Convention, fromRoles, toRoles []string) []string {
	var out []string
	for _, a := range from {
		for _, b := range to {
			i := slices.IndexFunc(a.Families, b.HasFamily)
			if i < 0 || slices.Contains(out, a.Families[i]) {
				continue
			}
			wrong := false
			for k := range fromRoles {
				if _, bad := compareRoles(a, b, fromRoles[k], toRoles[k], nil); bad {
					wrong = true
					break
				}
			}
			if !wrong {
				out = append(out, a.Families[i])
			}
		}
	}
	return out
}

// Target finds the convention that a user means by "gguf" or "llama-meta" as
// the goal of a conversion from another. A dialect means the convention in it
// that shares a model with the source: one that the configuration names, if any.
func Target(goal string, from *convention.Convention, model *convention.Model) (*convention.Convention, error) {
	list, err := Targets(goal, from, model)
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Targets are all conventions that a goal may mean, the likeliest first: Falcon's first
// model and its later ones have names of their own in transformers, and share those of GGUF.
func Targets(goal string, from *convention.Convention, model *convention.Model) ([]*convention.Convention, error) {
	if c, ok := convention.Lookup(goal); ok {
		return []*convention.Convention{c}, nil
	}
	if model == nil {
		model = new(convention.Model)
	}
	var list []*convention.Convention
	dialect := false
	for _, c := range convention.All() {
		if !c.HasDialect(goal) || c.Frame || c.VariantOf != "" {
			continue
		}
		dialect = true
		if slices.ContainsFunc(from.Families, c.HasFamily) || c.HasFamily(model.Type) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *convention.Convention) int { return compareGoals(a, b, from, model) })
	switch {
	case len(list) > 0:
		return list, nil
	case dialect:
		return nil, &RefusalError{From: from.Name, To: goal, Reason: "no convention of that project is of " + strings.Join(from.Families, ", ")}
	}
	reason := "there is no convention or project of that name"
	// What is misspelt may be any convention, and a word alone is rather that of a goal.
	goals := goals(from)
	var all, near []string
	for _, c := range convention.All() {
		all = append(all, c.Name)
		if slices.Contains(goals, c.Name) {
			near = append(append(near, c.Name), c.Dialects...)
		}
	}
	meant := cmp.Or(template.DidYouMean(goal, distinct(slices.Concat(all, near))), template.DidYouMean(goal, distinct(near)))
	switch {
	case meant != "":
		reason += meant
	case len(goals) > 0:
		reason += "; the same models are in " + strings.Join(goals, ", ")
	}
	return nil, &RefusalError{From: from.Name, To: goal, Reason: reason}
}

func distinct(words []string) []string {
	slices.Sort(words)
	return slices.Compact(words)
}

// goals lists the other conventions of the models that one is for.
func goals(from *convention.Convention) []string {
	var out []string
	for _, c := range convention.All() {
		if c != from && !c.Frame && c.VariantOf == "" && slices.ContainsFunc(from.Families, c.HasFamily) {
			out = append(out, c.Name)
		}
	}
	return out
}

// compareGoals orders the better goal first: one that can be converted to, that
// is foremost of the model that the configuration names (or that the source is
// foremost of), that is preferred, that has the most in common.
func compareGoals(a, b, from *convention.Convention, model *convention.Model) int {
	rank := func(c *convention.Convention) int {
		const many = 1 << 10 // more than a convention has families
		names := []string{model.Type, model.TextType, from.Families[0]}
		for k, name := range names {
			if i := slices.IndexFunc(c.Families, func(f string) bool { return convention.SameFamily(f, name) }); i >= 0 && name != "" {
				return k*many + i
			}
		}
		return len(names) * many
	}
	return cmp.Or(
		cmp.Compare(b2i(b.Refuse == ""), b2i(a.Refuse == "")),
		cmp.Compare(rank(a), rank(b)),
		cmp.Compare(b.Preferred, a.Preferred),
		cmp.Compare(shared(b, from), shared(a, from)),
		strings.Compare(a.Name, b.Name),
	)
}

// shared counts the wholes that two conventions have in common, less those
// that the goal requires and the source lacks.
func shared(c, from *convention.Convention) int {
	have := make(map[string]bool)
	for i := range from.Tensors() {
		have[groupOf(from.Tensors()[i].Role)] = true
	}
	n := 0
	for i := range c.Tensors() {
		switch {
		case have[groupOf(c.Tensors()[i].Role)]:
			n++
		case !c.Tensors()[i].Optional:
			n--
		}
	}
	return n
}
