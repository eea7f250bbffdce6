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
	refs map[string][]ref
	// literals says which indices of a template are text in some pattern:
	// the 1 of "ln_1" tells it from "ln_2", and no layer is meant. Bit i is
	// the i-th index from the right.
	literals map[string]uint64
	// flat finds modules whose dots were written as underscores, without their
	// leaf: the spelling of kohya's adapters.
	flat map[string][]ref
}

// A ref is a tensor of a convention; its key is the template of the
// pattern below the convention's base.
type ref struct {
	conv   int32
	tensor int32
}

var builtin = sync.OnceValue(func() *registry { return newRegistry(convention.All()) })

func newRegistry(list []*convention.Convention) *registry {
	r := &registry{
		list:     list,
		refs:     make(map[string][]ref, 8192),
		literals: make(map[string]uint64, 8192),
		flat:     make(map[string][]ref, 1024),
	}
	for i, c := range list {
		for j := range c.Tensors() {
			t := &c.Tensors()[j]
			text := t.Below.Template()
			r.refs[text] = append(r.refs[text], ref{int32(i), int32(j)})
			if m := t.Below.Literals(); m != 0 {
				r.literals[text] |= m
			}
			if whole, ok := strings.CutSuffix(t.Pattern.Template(), ".weight"); ok && !c.HasDialect("gguf") {
				key := strings.ReplaceAll(whole, ".", "_")
				r.flat[key] = append(r.flat[key], ref{int32(i), int32(j)})
				if m := t.Pattern.Literals(); m != 0 {
					r.literals[key] |= m
				}
			}
		}
	}
	return r
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
		m |= r.literals[normal[start:]]
		return true
	})
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
		_, found = r.refs[rest]
		return !found
	})
	return found
}
