package identify

import (
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// A registry finds the conventions that know a name, wherever in the name
// their part of it begins.
type registry struct {
	list []*convention.Convention
	refs []entry // by the number of the template
	flat func() map[string]*entry
}

// An entry is what is known of a template.
type entry struct {
	refs []ref
	// literals says which indices are text in some pattern: the 1 of "ln_1" tells it
	// from "ln_2", and no layer is meant. Bit i is the i-th index from the right.
	literals uint64
}

// A ref is a tensor of a convention: one whose pattern below the convention's base has
// the template.
type ref struct {
	conv   int32
	tensor int32
}

var builtin = sync.OnceValue(func() *registry { return newRegistry(convention.All()) })

func newRegistry(list []*convention.Convention) *registry {
	r := &registry{list: list, refs: make([]entry, convention.Templates())}
	count := make([]int32, len(r.refs))
	total := 0
	for _, c := range list {
		for template := range c.Below() {
			count[template]++
			total++
		}
	}
	all := make([]ref, total) // one piece for all of them
	for i, n := range count {
		r.refs[i].refs, all = all[:0:n], all[n:]
	}
	for i, c := range list {
		j := int32(0)
		for template, literals := range c.Below() {
			e := &r.refs[template]
			e.refs = append(e.refs, ref{int32(i), j})
			e.literals |= literals
			j++
		}
	}
	r.flat = sync.OnceValue(r.flatten)
	return r
}

// flatten finds modules whose dots were written as underscores, without their leaf: the
// spelling of kohya's adapters.
func (r *registry) flatten() map[string]*entry {
	flat := make(map[string]*entry, 1024)
	for i, c := range r.list {
		if c.HasDialect("gguf") {
			continue
		}
		for j := range c.Tensors() {
			// Adapters leave out what a file with more than a denoiser in it has before
			// the denoiser's names.
			t := &c.Tensors()[j]
			p := t.Pattern
			if c.Kind == convention.Denoiser {
				p = t.Below
			}
			whole, ok := strings.CutSuffix(p.Template(), ".weight")
			if !ok {
				continue
			}
			key := strings.ReplaceAll(whole, ".", "_")
			e := flat[key]
			if e == nil {
				e = new(entry)
				flat[key] = e
			}
			e.refs = append(e.refs, ref{int32(i), int32(j)})
			e.literals |= p.Literals()
		}
	}
	return flat
}

// find returns what is known of a template that stands below a base, nil for nothing.
func (r *registry) find(template string) *entry {
	if n, ok := convention.TemplateNumber(template); ok && len(r.refs[n].refs) > 0 {
		return &r.refs[n]
	}
	return nil
}

// refsOf returns the tensors whose names end in a template.
func (r *registry) refsOf(template string) []ref {
	if e := r.find(template); e != nil {
		return e.refs
	}
	return nil
}

// suffixes calls yield with the start of every suffix of a template that
// begins at a segment, the longest first.
func suffixes(normal string, yield func(start int) bool) {
	for start := tailStart(normal); start >= 0; {
		if !yield(start) {
			return
		}
		i := strings.IndexByte(normal[start:], '.')
		if i < 0 {
			return
		}
		start += i + 1
	}
}

// maxSegments is more than any pattern has: a longer name is only looked at from
// its end.
const maxSegments = 32

// tailStart returns where the last segments of a name begin.
func tailStart(normal string) int {
	at := len(normal)
	for range maxSegments {
		at = strings.LastIndexByte(normal[:at], '.')
		if at < 0 {
			return 0
		}
	}
	return at + 1
}

// literalsOf collects the literal indices of a template and its suffixes.
func (r *registry) literalsOf(normal string) uint64 {
	var m uint64
	suffixes(normal, func(start int) bool {
		if e := r.find(normal[start:]); e != nil {
			m |= e.literals
		}
		return true
	})
	if !strings.Contains(normal, ".") {
		if e := r.flat()[normal]; e != nil {
			m |= e.literals
		}
	}
	return m
}

// knows reports whether some convention has a name that ends a template and
// is longer than its leaf.
func (r *registry) knows(normal string) bool {
	found := false
	suffixes(normal, func(start int) bool {
		rest := normal[start:]
		if start > 0 && strings.Count(rest, ".") < 2 {
			return false
		}
		found = r.find(rest) != nil
		return !found
	})
	return found
}

// has reports whether some convention has a name, however short, that ends a template
// and begins before a place in it: "logit_scale" is the scale of no weight.
func (r *registry) has(normal string, before int) bool {
	found := false
	suffixes(normal, func(start int) bool {
		found = start < before && r.find(normal[start:]) != nil
		return !found && start < before
	})
	return found
}
