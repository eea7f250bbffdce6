package match

import (
	"math"
	"slices"
	"strings"
)

// Costs are in log-odds: a difference of 2.2 is nine to one. Where no source is named, the
// figure was tuned on pairs of conventions with their meaning hidden (match_test.go and
// the pairs of package infer), and lies far from where results change.
const (
	sameName = -8.0 // the same stem, or the same below prefixes that many have

	partEqual, partConflict   = -5.0, 5.0
	blockEqual, blockConflict = -1.0, 1.5
	// Of a normalisation the block is what tells it from others.
	normEqual, normConflict = -1.0, 5.0
	normBlockEqual          = -5.0
	spaceConflict           = 4.0
	subEqual, subConflict   = -1.0, 3.0
	// Words that lie count little, whatever they say.
	weakly = 1.2
	// Words that lie mean the same where all that is beside them is called the same, more likely
	// than what either project says elsewhere, which is twice weakly for each of two.
	besideEqual = -4 * weakly
	alike       = -3.0 // leaves of names with the same letters, by the share of trigrams

	// A model may have all of its matrices the other way round (GPT-2), so that there is one
	// question, and each module pays a part of it.
	transposed  = 1.5
	turnedAlone = 6.0 // where every matrix has a counterpart as it is, or most have
	// What is called a kernel, and fits what is called a weight as it is: somebody has turned it already.
	straightKernel = 4.0
	stacked        = 1.0
	composed       = 2.0
	biasMismatch   = 2.5
	// A shape that is known on one side only is no evidence, where others have it.
	unknownShape = 2.5
	softShape    = 5.0
	// Layers that one of two modules lacks say that it is another: in ModernBERT the first
	// layer alone has no normalisation before attention.
	partial = 1.5
	// Of two modules with the same shape, one behind the other, exchanging them costs
	// twice this: order alone is never surer than 0.83.
	orderStep = 0.8
	// asListed is less than any evidence, for the most modules that there are.
	asListed = 1e-10
	// alone is what a module without a counterpart costs.
	alone         = 2.0
	aloneOptional = 0.1
)

// evidence is a cost in two parts.
type evidence struct{ strong, weak float64 }

func (e evidence) total() float64 { return e.strong + e.weak }

func (e *evidence) add(cost float64, weak bool) {
	if weak {
		e.weak += cost
	} else {
		e.strong += cost
	}
}

// meaningCost compares what two names say.
func meaningCost(a, b *Meaning) evidence {
	var e evidence
	if a.Sub != "" && b.Sub != "" {
		if a.Sub == b.Sub {
			e.strong += subEqual
		} else {
			e.strong += subConflict
		}
	}
	weak := a.Weak || b.Weak
	norms := a.IsNorm() && b.IsNorm()
	block := blockEqual
	if norms {
		block = normBlockEqual
	}
	switch {
	case a.Block == "" || b.Block == "":
	case a.Block == b.Block && weak && norms:
		e.weak -= weakly
	case a.Block == b.Block:
		e.strong += block
	case weak && norms:
		e.weak += weakly
	case norms:
		e.strong += normConflict
	default:
		e.strong += blockConflict
	}
	if len(a.Parts) == 0 || len(b.Parts) == 0 {
		return e
	}
	equal, conflict := partEqual, partConflict
	if norms {
		equal = normEqual
	} else if weak {
		equal, conflict = -weakly, weakly
	}
	switch {
	case sameParts(a.Parts, b.Parts):
		e.add(equal, weak && !norms)
	case norms && (a.Parts[0] == "norm" || b.Parts[0] == "norm") && !ofHeads(a) && !ofHeads(b):
		e.strong++ // a name seldom says whether it is before or behind
	case overlap(a.Parts, b.Parts): // dense_h_to_4h may hold gate and up
	default:
		e.add(conflict, weak && !norms)
	}
	return e
}

// Against reports whether two names say different things, by words that mean one thing or,
// if weakly, by any.
func (m *Meaning) Against(o *Meaning, weakly bool) bool {
	e := meaningCost(m, o)
	return e.strong > 0 || weakly && e.total() > 0
}

// IsNorm reports whether the module is a normalisation.
func (m *Meaning) IsNorm() bool {
	return len(m.Parts) == 1 && strings.HasSuffix(m.Parts[0], "norm")
}

// ofHeads reports whether a normalisation is of queries, keys or what is between two
// projections.
func ofHeads(m *Meaning) bool {
	return !slices.Contains([]string{"norm", "post_norm", "out_norm", "sub_norm"}, m.Parts[0])
}

func sameParts(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(p string) bool { return !slices.Contains(b, p) })
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(p string) bool { return slices.Contains(b, p) })
}

// lastSegment is the end of a stem that names the module.
func lastSegment(m *Module) string {
	s := m.Stem[len(m.Stem)-1]
	for i := len(m.Stem) - 1; i > 0 && strings.Trim(s, "./") == ""; i-- {
		s = m.Stem[i-1]
	}
	s = strings.Trim(s, "./")
	return strings.ToLower(s[strings.LastIndexAny(s, "./")+1:])
}

// nameCost compares two names.
func (p *problem) nameCost(i, j int) evidence {
	a, b := p.a[i], p.b[j]
	if p.opaque {
		return evidence{}
	}
	e := meaningCost(&a.Meaning, &b.Meaning)
	if a.Role != "" && b.Role != "" {
		if a.Role == b.Role {
			return evidence{strong: sameName}
		}
		e.strong += partConflict
	}
	if p.spaces && !sameSpace(a, b) {
		e.strong += spaceConflict
	}
	if p.sameNames(i, j) {
		e.strong += sameName
		return e
	}
	switch beside := p.beside[i]; {
	case !a.Meaning.Weak && !b.Meaning.Weak:
		e.strong += alike * p.alike(i, j)
	case beside != "" && beside == p.beside[len(p.a)+j] && lastSegment(a) == lastSegment(b):
		e.weak += besideEqual // another parent, and all below it the same
	}
	return e
}

// sameSpace compares the parts of models: the text model of a multimodal one is not always
// called so.
func sameSpace(a, b *Module) bool {
	x, y := a.Meaning.Space, b.Meaning.Space
	return x == y || x == "" && y == "text" || x == "text" && y == ""
}

// isTable reports whether the rows of the module are looked up: nothing is added to them.
func (m *Meaning) isTable() bool {
	return m.Block == "embed" && len(m.Parts) == 1 && slices.Contains([]string{"tokens", "positions", "types"}, m.Parts[0])
}

// biasCost compares whether both have biases.
func biasCost(a, b *Module) float64 {
	has := func(m *Module) bool { return slices.ContainsFunc(m.Leaves, func(l Leaf) bool { return l.IsBias() }) }
	if a.Meaning.isTable() && has(b) || b.Meaning.isTable() && has(a) {
		return 2 * biasMismatch
	}
	if has(a) == has(b) || a.AnyLeaf && !has(a) || b.AnyLeaf && !has(b) {
		return 0
	}
	return biasMismatch
}

// Confidence is the probability that a margin of log-odds stands for.
func Confidence(margin float64) float64 { return 1 / (1 + math.Exp(-margin)) }

// Sure is the margin of nine to one. Evidence that does not come so far without words
// that lie and without order is weak, and no surer than WeakCap.
const (
	Sure    = 2.2
	WeakCap = 0.85
)
