package identify

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// An Explanation says why a name is mapped, or is not.
type Explanation struct {
	Name string `json:"name"`
	// Convention and Role are what the name is in the checkpoint's convention,
	// "" when it is nothing in it.
	Convention string `json:"convention,omitempty"`
	Role       string `json:"role,omitempty"`
	// Reasons are sentences, the most telling first.
	Reasons []string `json:"reasons"`
	// Known lists the conventions that know the name, or its end.
	Known []string `json:"known,omitempty"`
}

// Why explains one name among the tensors of a checkpoint, which need not hold
// it: a loader's message may ask for a tensor that is not there.
func Why(name string, tensors iter.Seq[convention.Named], model *convention.Model) *Explanation {
	r := builtin()
	x := &Explanation{Name: name}
	say := func(format string, args ...any) { x.Reasons = append(x.Reasons, fmt.Sprintf(format, args...)) }
	id := r.begin(tensors, model)
	id.examine(tensors)
	present := false
	for n := range tensors {
		if n.Name == name {
			present = true
			break
		}
	}
	normal, nums := template.Words.Scan(nil, nil, name)
	clean := r.clean(string(normal))
	// What was found in all names together is not seen in one.
	if c, ok := id.wrappedKinds()[string(normal)]; ok {
		clean = *c
	}
	var c *convention.Convention
	if id.best != nil && id.res.Convention != "" {
		c = r.list[id.best.conv]
		x.Convention = c.Name
		if role, ok := roleIn(c, id.best.prefix, clean.normal, nums); ok {
			x.Role = role
		}
	}
	if !present {
		say("no tensor of the checkpoint has this name")
	}
	if c != nil && x.Role == "" && id.res.BaseAbsent != "" {
		if bare, ok := strings.CutPrefix(clean.normal, id.res.BaseAbsent); ok {
			if x.Role, ok = roleIn(c, id.best.prefix, bare, nums); ok {
				say("in %s it is %s, and the names of the checkpoint lack the prefix %s", c.Name, x.Role, id.res.BaseAbsent)
				x.Known = r.knownTo(clean.normal, nums)
				return x
			}
		}
	}
	tower := c != nil && c.HasDialect("gguf") && slices.ContainsFunc(towerPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
	switch {
	case tower:
		say("names below %s are of a tower, which llama.cpp reads from a second file (mmproj)", name[:strings.IndexByte(name, '.')+1])
		return x
	case id.res.Adapter && id.res.Convention != "":
		say("the checkpoint is an adapter of %s", id.res.Convention)
	case c == nil && id.res.Nearest.Convention == "":
		say("the checkpoint follows no convention that is known")
	case c == nil:
		say("the checkpoint follows no convention that is known; the nearest is %s, %s away", id.res.Nearest.Convention, plural.Of(id.res.Nearest.TemplatesAway, "template"))
	case x.Role != "" && clean.companion.kind == noCompanion && len(clean.wrappers) == 0:
		say("in %s it is %s", c.Name, x.Role)
	}
	switch {
	case len(clean.wrappers) == 1 && clean.repeated != "":
		say("%s is there twice in a row; once, the name is %s", clean.repeated, template.Words.Fill(clean.normal, nums))
	case len(clean.wrappers) > 0:
		say("%s is a wrapper that a training framework left in the name; without it the name is %s", strings.Join(clean.wrappers, " and "), template.Words.Fill(clean.normal, nums))
	}
	if x.Role == "" && isClassHead(clean.normal) && (c != nil && c.Language || id.res.Adapter && id.res.Convention != "") {
		say("it is the head that a class for classification or question answering puts on %s", id.res.Convention)
		return x
	}
	switch clean.companion.kind {
	case quantWeight, quantCompanion:
		say("%q belongs to the quantised weight %s: of scheme %s", clean.companion.leaf, template.Words.Fill(clean.normal, nums), strings.Join(quant.With(clean.companion.leaf), " or "))
	case adapterPart:
		say("%q is a part of an adapter (%s) for %s", clean.companion.leaf, clean.companion.dialect, template.Words.Fill(clean.normal, nums))
	case legacyLeaf:
		say("%q is an old spelling of %q", clean.companion.leaf, clean.companion.means)
	}
	if clean.debris {
		say("it is a buffer, derivable from the configuration; loaders leave it out")
	}
	if c != nil && x.Role != "" {
		if _, module, _ := convention.SplitRole(x.Role); module == "head" {
			if present {
				say("a model with a tied head does not want it: it shares the token embedding")
			} else {
				say("it is not stored where the head is tied to the token embedding")
			}
		}
		switch t, ok := c.Role(x.Role); {
		case !ok || present || clean.companion.kind != noCompanion || len(clean.wrappers) > 0:
		case t.Optional:
			say("%s does not require it", c.Name)
		default:
			say("%s requires it", c.Name)
		}
	}
	x.Known = r.knownTo(clean.normal, nums)
	named := ""
	for _, o := range r.list {
		if o.VariantOf == "" && id.confirmed(o) && slices.Contains(x.Known, o.Name) && (named == "" || len(o.Name) < len(named)) {
			named = o.Name
		}
	}
	switch {
	case x.Role != "":
	case named != "":
		say("it is a name of %s, the convention of the model that the configuration names", named)
	default:
		if len(x.Known) > 0 && !clean.debris {
			say("it is a name of %s", summary(x.Known))
		}
		if c == nil {
			break
		}
		if near := nearestTemplate(c, clean.normal); near != "" {
			say("the nearest name of %s is %s", c.Name, near)
		} else if same := sameMeaning(c, template.Words.Fill(clean.normal, nums)); same != "" && len(x.Known) == 0 {
			say("the name of %s that likely means the same is %s", c.Name, same)
		}
	}
	if len(x.Known) == 0 && x.Role == "" && !clean.debris && clean.companion.kind == noCompanion {
		say("no convention knows it")
	}
	return x
}

// roleIn finds a name's role in a convention that stands below a prefix.
func roleIn(c *convention.Convention, prefix, normal string, nums []int32) (string, bool) {
	for i := range c.Tensors() {
		t := &c.Tensors()[i]
		rest, ok := strings.CutSuffix(normal, t.Below.Template())
		if !ok {
			continue
		}
		if t.Absolute && c.Base != "" {
			if !strings.HasPrefix(prefix, rest) {
				continue
			}
		} else if rest != prefix {
			continue
		}
		if t.Below.Agrees(nums) {
			return t.Role, true
		}
	}
	return "", false
}

// knownTo lists the conventions that have a name, with or without a prefix of
// its own.
func (r *registry) knownTo(normal string, nums []int32) []string {
	var out []string
	suffixes(normal, func(start int) bool {
		if start > 0 && strings.Count(normal[start:], ".") < 2 {
			return false
		}
		for _, known := range r.refsOf(normal[start:]) {
			c := r.list[known.conv]
			if c.Tensors()[known.tensor].Below.Agrees(nums) && !slices.Contains(out, c.Name) {
				out = append(out, c.Name)
			}
		}
		return true
	})
	slices.Sort(out)
	return out
}

func summary(names []string) string {
	if len(names) > 6 {
		return strings.Join(names[:6], ", ") + fmt.Sprintf(" and %d others", len(names)-6)
	}
	return strings.Join(names, ", ")
}

// nearestTemplate finds the pattern that differs in the fewest letters, if they
// are few.
func nearestTemplate(c *convention.Convention, normal string) string {
	best, text := len(normal)/3+1, ""
	for i := range c.Tensors() {
		p := c.Tensors()[i].Pattern
		if d := template.Distance(normal, p.Template(), best); d < best {
			best, text = d, p.String()
		}
	}
	return text
}
