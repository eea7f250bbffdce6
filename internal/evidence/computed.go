package evidence

import (
	"math"
	"slices"

	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// computed finds the operations that make B's numbers of A's, each of them exactly as B's type
// rounds it, or that are undone where A's type has rounded: Gemma's normalisations in GGUF are 1 more than in transformers, and Mamba's A_log is
// there as -exp(A_log) (llama.cpp, convert_hf_to_gguf.py, the modify_tensors of GemmaModel and
// MambaModel). It is nil where none of those that maps have does.
func computed(a, b []float64, from, to *values.Section) []tensorop.Op {
	round, back := to.Type.Rounds(), from.Type.Rounds()
	if round == nil {
		return nil
	}
	var cast []tensorop.Op
	switch x, y := from.Type.Name, to.Type.Name; {
	case x == y:
	case y == "F32" && (x == "F16" || x == "BF16"):
		cast = []tensorop.Op{{Kind: tensorop.Cast, Count: 1, From: x, To: y}}
	default:
		return nil // a map would have to round to another type afterwards
	}
	for _, c := range candidates(a, b) {
		exact := true
		if slices.ContainsFunc(a, func(v float64) bool { return math.IsInf(c.f(v), 0) }) {
			continue
		}
		fits := true
		for i := range a {
			v := c.f(a[i])
			if fits = round(v, b[i]); !fits {
				break
			}
			exact = exact && v == b[i]
		}
		if !fits && c.op.Kind == tensorop.Offset && back != nil {
			fits, exact = true, false
			for i := range a {
				if fits = back(b[i]-c.op.Value, a[i]); !fits {
					break
				}
			}
		}
		if fits {
			c.op.Count = 1
			c.op.Round = !exact
			return append(cast, c.op)
		}
	}
	return nil
}

// A candidate is an operation that may make B's numbers of A's.
type candidate struct {
	op tensorop.Op
	f  func(float64) float64
}

// candidates are the operations that take the first and the largest number where they belong.
func candidates(a, b []float64) []candidate {
	var out []candidate
	most := 0
	for i := range a {
		if math.Abs(a[i]) > math.Abs(a[most]) {
			most = i
		}
	}
	if t := math.Round(b[most] - a[most]); t != 0 && math.Abs(t) < 1<<20 {
		out = append(out, candidate{tensorop.Op{Kind: tensorop.Offset, Value: t}, func(v float64) float64 { return v + t }})
	}
	if a[most] != 0 && b[most] != 0 {
		ratio := b[most] / a[most]
		_, e := math.Frexp(ratio)
		for _, s := range []float64{math.Ldexp(math.Copysign(0.5, ratio), e), math.Ldexp(math.Copysign(1, ratio), e), math.Round(ratio)} {
			if s != 0 && s != 1 {
				out = append(out, candidate{tensorop.Op{Kind: tensorop.Scale, Value: s}, func(v float64) float64 { return v * s }})
			}
		}
	}
	out = append(out, candidate{tensorop.Op{Kind: tensorop.NegativeExp}, func(v float64) float64 { return -math.Exp(v) }})
	if a[most] < 0 {
		out = append(out, candidate{tensorop.Op{Kind: tensorop.LogNegative}, func(v float64) float64 { return math.Log(-v) }})
	}
	return out
}
