package identify

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/template"
)

// unwrap takes out the segments and prefixes that frameworks add. leading says
// that they were prefixes, which may also be a model's own.
func (c *companions) unwrap(name string) (rest string, found []string, leading bool) {
	for again := true; again; {
		again = false
		for _, p := range c.leading {
			if rest, ok := strings.CutPrefix(name, p); ok && rest != "" && rest != "weight" && rest != "bias" {
				name, again = rest, true
				found = append(found, p)
			}
		}
	}
	if !strings.Contains(name, "_") {
		return name, found, true
	}
	segments := strings.Split(name, ".")
	kept := segments[:0]
	for i := 0; i < len(segments); {
		n := c.wrapper(segments[i:])
		if n == 0 {
			kept = append(kept, segments[i])
			i++
			continue
		}
		if w := strings.Join(segments[i:i+n], ".") + "."; !slices.Contains(found, w) {
			found = append(found, w)
		}
		i += n
	}
	if len(kept) == len(segments) {
		return name, found, true
	}
	rest, outer, _ := c.unwrap(strings.Join(kept, "."))
	return rest, append(found, outer...), false
}

// wrapper returns how many segments at the beginning of some are a wrapper. A
// name goes on behind one.
func (c *companions) wrapper(segments []string) int {
	for _, run := range c.anywhere[segments[0]] {
		if len(run) < len(segments) && !slices.ContainsFunc(run, func(s string) bool { return s == "" }) &&
			slices.EqualFunc(run, segments[:len(run)], func(want, have string) bool { return want == "*" || want == have }) {
			return len(run)
		}
	}
	return 0
}

// single takes the second of two equal prefixes out of a template,
// "language_model." or "model.language_model.", and says which it was. What a
// convention spells so stays.
func (r *registry) single(name string) (once, twice string) {
	c := loadCompanions()
	segments := strings.Split(name, ".")
	end := slices.IndexFunc(segments, func(s string) bool { return !c.doubled[s] })
	// The model may stand below a prefix of its own.
	start := 0
	if end == 0 {
		start = 1
		if end = slices.IndexFunc(segments[1:], func(s string) bool { return !c.doubled[s] }) + 1; end == 0 {
			return name, ""
		}
	}
	if end-start < 2 || r.spells(name) {
		return name, ""
	}
	before := segments[start:end]
	for changed := true; changed; {
		changed = false
		for size := len(before) / 2; size > 0 && !changed; size-- {
			for at := 0; at+2*size <= len(before); at++ {
				if slices.Equal(before[at:at+size], before[at+size:at+2*size]) &&
					r.find(strings.Join(slices.Concat(before[at:], segments[end:]), ".")) == nil {
					twice = strings.Join(before[at:at+size], ".") + "."
					before = slices.Delete(slices.Clone(before), at, at+size)
					changed = true
					break
				}
			}
		}
	}
	if twice == "" {
		return name, ""
	}
	return strings.Join(slices.Concat(segments[:start], before, segments[end:]), "."), twice
}

// spells reports whether a convention has a template as it stands, its base
// included.
func (r *registry) spells(normal string) bool {
	found := false
	suffixes(normal, func(start int) bool {
		found = slices.ContainsFunc(r.refsOf(normal[start:]), func(rf ref) bool {
			return r.list[rf.conv].Tensors()[rf.tensor].Pattern.Template() == normal
		})
		return !found
	})
	return found
}

// A Wrapping is what stands around a name and in it that is not the model's.
type Wrapping struct {
	// Name is the name without it.
	Name string
	// Wrappers are what was taken out, outermost first.
	Wrappers []string
	// Leading says that all of it stood before the name, where it may be the
	// model's own.
	Leading bool
	// Repeated is the prefix that stood there twice, "" when none did. It is one
	// of the wrappers.
	Repeated string
}

// Unwrap returns what is around and in one of the names that were read. It
// reports false for a name without wrappers.
func (r *Reading) Unwrap(name string) (*Wrapping, bool) {
	if len(r.wrapped()) == 0 {
		return nil, false
	}
	raw, nums := template.Words.Scan(nil, nil, name)
	c, ok := r.wrapped()[string(raw)]
	if !ok {
		return nil, false
	}
	return &Wrapping{template.Words.Fill(c.bare, nums), c.wrappers, c.leading, c.repeated}, true
}

// wrappedKinds returns what was taken out of each template with a wrapper.
func (id *identification) wrappedKinds() map[string]*cleaning {
	out := make(map[string]*cleaning)
	for _, s := range id.subjects {
		for _, m := range s.members {
			if len(m.wrappers) > 0 {
				out[m.raw] = &m.cleaning
			}
		}
	}
	return out
}

// leftover looks for a segment that wraps some of the names and is known of no
// framework: without it they are the tensors that a convention needs and lacks.
// It takes the segment out and reports whether it found one.
func (id *identification) leftover(list []*evaluation) bool {
	if id.stutter() {
		return true
	}
	const few = 8 // conventions that come near
	for i, e := range list {
		if i >= few && !id.confirmed(id.reg.list[e.conv]) {
			continue
		}
		if segment, subjects := id.wrappedBy(e); segment != "" {
			id.note("%q is in %d of the templates, and %s does not have it there", segment, len(subjects), id.reg.list[e.conv].Name)
			id.takeOut(segment, subjects, "")
			id.look()
			return true
		}
	}
	return false
}

// wrappedBy returns the one segment without which the names that a convention
// does not know are those of its layers that it misses, and where it is in each.
func (id *identification) wrappedBy(e *evaluation) (segment string, at map[int32]cut) {
	c := id.reg.list[e.conv]
	needs := make(map[string]bool)
	for _, i := range e.missing {
		if t := &c.Tensors()[i]; len(t.Pattern.Holes()) > 0 {
			needs[e.prefix+t.Below.Template()] = true
		}
	}
	if len(needs) == 0 {
		return "", nil
	}
	for _, i := range e.extra {
		s := id.subjects[i]
		if !strings.HasPrefix(s.normal, e.prefix) {
			continue
		}
		segments := strings.Split(s.normal, ".")
		for k := strings.Count(e.prefix, "."); k < len(segments)-1; k++ {
			if !needs[strings.Join(slices.Delete(slices.Clone(segments), k, k+1), ".")] || template.Words.Count(segments[k]) > 0 {
				continue
			}
			if segment != "" && segment != segments[k] {
				return "", nil
			}
			if segment == "" {
				segment, at = segments[k], make(map[int32]cut)
			}
			at[i] = cut{k, 1}
			break
		}
	}
	// All that the convention misses in its layers has to be found so, nothing
	// else may have the segment, and nothing in the layers be unknown.
	if segment == "" || len(at) < len(needs) {
		return "", nil
	}
	for i, s := range id.subjects {
		if _, ok := at[int32(i)]; !ok && slices.Contains(strings.Split(s.normal, "."), segment) {
			return "", nil
		}
	}
	rest := slices.DeleteFunc(slices.Clone(e.extra), func(i int32) bool { _, ok := at[i]; return ok })
	if id.inside(e, rest) > 0 {
		return "", nil
	}
	// Without a configuration that says which model it is, much that is unlike a
	// known model is another one.
	if !id.confirmed(c) && !strings.HasPrefix(segment, "_") && 4*len(at) > e.covered {
		return "", nil
	}
	return segment, at
}

// stutter takes the repetitions out of runs of equal segments, layers.layers.0, and reports
// whether it found some: the names without them are those of a convention that lacks nothing.
func (id *identification) stutter() bool {
	runs := id.runs()
	if len(runs) == 0 {
		return false
	}
	trial := id.clone()
	for word, at := range runs {
		trial.takeOut(word, at, word+".")
	}
	trial.look()
	list := trial.fits(make([]bool, len(trial.subjects)))
	if len(list) == 0 || list[0].unshaped || len(list[0].missing) > 0 {
		return false
	}
	for _, at := range runs {
		for i := range at {
			if list[0].tensor[i] < 0 {
				return false
			}
		}
	}
	*id.res = *trial.res
	trial.res = id.res
	*id = *trial
	for _, word := range slices.Sorted(maps.Keys(runs)) {
		id.note("%q is there twice in a row in %s", word, plural.Of(len(runs[word]), "template"))
	}
	return true
}

// A cut is some segments of a template.
type cut struct{ at, n int }

// runs returns the words that segments in a row are, and which segments of each subject repeat
// the first. Where other names have the word there once, both are modules.
func (id *identification) runs() map[string]map[int32]cut {
	words := make(map[string]map[int32]cut)
	once := make(map[string]bool) // paths that end in the word
	for i, s := range id.subjects {
		if strings.Count(s.normal, ".") >= maxSegments {
			continue
		}
		segments := strings.Split(s.normal, ".")
		for k := 0; k < len(segments)-1; k++ {
			word := segments[k]
			n := 0
			for k+n+2 < len(segments) && segments[k+n+1] == word {
				n++
			}
			switch {
			case word == "" || template.Words.Count(word) > 0:
			case n == 0:
				once[strings.Join(segments[:k+1], ".")] = true
			default:
				if words[word] == nil {
					words[word] = make(map[int32]cut)
				}
				words[word][int32(i)] = cut{k + 1, n}
			}
			k += n
		}
	}
	maps.DeleteFunc(words, func(_ string, at map[int32]cut) bool {
		for i, c := range at {
			if once[strings.Join(strings.Split(id.subjects[i].normal, ".")[:c.at], ".")] {
				return true
			}
		}
		return false
	})
	return words
}

// clone copies the subjects, so that what is taken out of their names can be tried.
func (id *identification) clone() *identification {
	out := *id
	out.subjects = make([]*subject, len(id.subjects))
	for i, s := range id.subjects {
		c := *s
		c.members = make([]*tensorKind, len(s.members))
		for j, m := range s.members {
			kind := *m
			c.members[j] = &kind
		}
		out.subjects[i] = &c
	}
	res := *id.res
	out.res = &res
	return &out
}

// takeOut takes a word out of the subjects' templates. Repeated is set where it repeats what
// precedes it.
func (id *identification) takeOut(word string, at map[int32]cut, repeated string) {
	without := func(name string, c cut) string {
		segments := strings.Split(name, ".")
		return strings.Join(slices.Delete(segments, c.at, c.at+c.n), ".")
	}
	wrapper := word + "."
	if !slices.Contains(id.res.Wrappers, wrapper) {
		id.res.Wrappers = append(slices.Clone(id.res.Wrappers), wrapper)
	}
	for i, c := range at {
		s := id.subjects[i]
		s.normal = without(s.normal, c)
		for _, m := range s.members {
			m.normal, m.bare = without(m.normal, c), without(m.bare, c)
			m.wrappers, m.leading = append(slices.Clone(m.wrappers), wrapper), false
			m.repeated = cmp.Or(repeated, m.repeated)
		}
	}
}
