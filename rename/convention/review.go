package convention

import (
	"cmp"
	"iter"
	"slices"
	"strings"

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
func Review(renames iter.Seq2[string, string], cfg *Config) (*Verdict, error) {
	s, err := builtin()
	if err != nil {
		return nil, err
	}
	var olds, news []Named
	for from, to := range renames {
		olds = append(olds, Named{Name: from})
		news = append(news, Named{Name: to})
	}
	from := s.reg.examine(slices.Values(olds), cfg)
	to := s.reg.examine(slices.Values(news), cfg)
	v := new(Verdict)
	if from.res.Convention == "" || to.res.Convention == "" {
		return v, nil
	}
	v.From, v.To = from.res.Convention, to.res.Convention
	a := s.byName[v.From]
	b := s.byName[v.To]
	if !slices.ContainsFunc(a.Families, b.HasFamily) {
		// Another convention with the same names may be of the same models.
		for _, e := range to.tied {
			if c := s.list[e.conv]; slices.ContainsFunc(a.Families, c.HasFamily) {
				b, to.best, v.To = c, e, c.Name
				break
			}
		}
	}
	if a == b {
		return v, nil
	}
	fromRoles, toRoles := from.roles(olds), to.roles(news)
	for i := range olds {
		if c, ok := compareRoles(a, b, fromRoles[i], toRoles[i]); ok {
			c.From, c.To = olds[i].Name, news[i].Name
			v.Conflicts = append(v.Conflicts, c)
		}
	}
	if len(v.Conflicts) > 0 {
		v.Unless = unless(s, from.tied, to.tied, fromRoles, toRoles)
	}
	return v, nil
}

// compareRoles says what is wrong with giving a tensor of one role another's
// name.
func compareRoles(a, b *Convention, from, to string) (Conflict, bool) {
	if from == "" || to == "" {
		return Conflict{}, false
	}
	if from != to {
		return Conflict{Role: from, Reason: "it becomes " + to}, true
	}
	module, leaf := cutLeaf(from)
	x, y := a.storage(module, leaf), b.storage(module, leaf)
	if x == y || leaf == "bias" && x.fused == y.fused && x.rope == y.rope {
		return Conflict{}, false
	}
	c := Conflict{Role: from}
	switch {
	case x.rope != y.rope && x.rope != "" && y.rope != "":
		c.Reason = "its rows are in " + x.rope + " order for rotary embedding in " + a.Name + " and in " + y.rope + " order in " + b.Name
	case x.fused != y.fused:
		c.Reason = "its parts lie " + x.fused + " in " + a.Name + " and " + y.fused + " in " + b.Name
	case x.transposed != y.transposed:
		c.Reason = "it is stored [in, out] in one of " + a.Name + " and " + b.Name + ", and [out, in] in the other"
	case x.offset != y.offset:
		c.Reason = a.Name + " and " + b.Name + " differ in whether the model adds one to it"
	case x.decay != y.decay:
		c.Reason = "one of " + a.Name + " and " + b.Name + " stores its logarithm"
	default:
		return Conflict{}, false // a shape only, or an order that is not known
	}
	return c, true
}

// roles gives the role of every name in the convention that was chosen, "" for
// those it does not know.
func (id *identification) roles(names []Named) []string {
	type key struct {
		raw     string
		literal string
	}
	byRaw := make(map[key]string)
	masks := make(map[string]uint64)
	for i, s := range id.subjects {
		t := id.best.tensor[i]
		if t < 0 {
			continue
		}
		for _, m := range s.members {
			if m.companion.kind != noCompanion {
				continue
			}
			masks[m.raw] = m.mask
			byRaw[key{m.raw, literalKey(m.nums, m.mask)}] = id.reg.list[id.best.conv].tensors[t].Role
		}
	}
	out := make([]string, len(names))
	var buf []byte
	var nums []int32
	for i, n := range names {
		buf, nums = template.Words.Scan(buf[:0], nums[:0], n.Name)
		out[i] = byRaw[key{string(buf), literalKey(nums, masks[string(buf)])}]
	}
	return out
}

// unless lists the families of the tied conventions between which the renames
// are right.
func unless(s *set, from, to []*evaluation, fromRoles, toRoles []string) []string {
	var out []string
	for _, e := range from {
		for _, f := range to {
			a, b := s.list[e.conv], s.list[f.conv]
			i := slices.IndexFunc(a.Families, b.HasFamily)
			if i < 0 || slices.Contains(out, a.Families[i]) {
				continue
			}
			wrong := false
			for k := range fromRoles {
				if _, bad := compareRoles(a, b, fromRoles[k], toRoles[k]); bad {
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

// Resolve finds the convention that a user means by "gguf" or "llama-meta" as
// the goal of a conversion from another. A dialect means the convention in it
// that shares a model with the source: one that the configuration names, if any.
func Resolve(goal string, from *Convention, cfg *Config) (*Convention, error) {
	s, err := builtin()
	if err != nil {
		return nil, err
	}
	if c, ok := s.byName[goal]; ok {
		return c, nil
	}
	if cfg == nil {
		cfg = new(Config)
	}
	var best *Convention
	dialect := false
	for _, c := range s.list {
		if !c.HasDialect(goal) || c.Frame || c.VariantOf != "" {
			continue
		}
		dialect = true
		if !slices.ContainsFunc(from.Families, c.HasFamily) {
			continue
		}
		if best == nil || compareGoals(c, best, from, cfg) < 0 {
			best = c
		}
	}
	switch {
	case best != nil:
		return best, nil
	case dialect:
		return nil, &RefusalError{From: from.Name, To: goal, Reason: "no convention of that project is of " + strings.Join(from.Families, ", ")}
	}
	return nil, &RefusalError{From: from.Name, To: goal, Reason: "there is no convention or project of that name"}
}

// compareGoals orders the better goal first: one that can be converted to, that
// is foremost of the model that the configuration names (or that the source is
// foremost of), that is preferred, that has the most in common.
func compareGoals(a, b, from *Convention, cfg *Config) int {
	rank := func(c *Convention) int {
		for _, model := range []string{cfg.ModelType, cfg.TextModelType, from.Families[0]} {
			if i := slices.IndexFunc(c.Families, func(f string) bool { return sameFamily(f, model) }); i >= 0 && model != "" {
				return i
			}
		}
		return len(c.Families)
	}
	return cmp.Or(
		compareBool(a.Refuse == "", b.Refuse == ""),
		cmp.Compare(rank(a), rank(b)),
		compareBool(a.Preferred, b.Preferred),
		cmp.Compare(shared(b, from), shared(a, from)),
		strings.Compare(a.Name, b.Name),
	)
}

// shared counts the wholes that two conventions have in common, less those
// that the goal requires and the source lacks.
func shared(c, from *Convention) int {
	have := make(map[string]bool)
	for i := range from.tensors {
		have[groupOf(from.tensors[i].Role)] = true
	}
	n := 0
	for i := range c.tensors {
		switch {
		case have[groupOf(c.tensors[i].Role)]:
			n++
		case !c.tensors[i].Optional:
			n--
		}
	}
	return n
}
