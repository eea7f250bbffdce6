package inspect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/compare"
	"github.com/wtinspect/wtinspect/internal/render"
)

// A DiffVerdict is what differences come to; "" where that was not found out, since
// values were not read.
type DiffVerdict string

const (
	// VerdictSame is of the same bytes.
	VerdictSame = DiffVerdict(compare.Identical)
	// VerdictSameValues is of equal numbers in another dtype, layout or container.
	VerdictSameValues = DiffVerdict(compare.SameValues)
	// VerdictFaithful is of numbers that differ by what their dtypes cost.
	VerdictFaithful = DiffVerdict(compare.Faithful)
	// VerdictChanged is of tensors that differ by more, in shape or name, or are in one
	// checkpoint only.
	VerdictChanged = DiffVerdict(compare.Altered)
	// VerdictOther is of checkpoints of different models.
	VerdictOther = DiffVerdict(compare.Other)
)

// MarshalJSON implements [json.Marshaler].
func (v DiffVerdict) MarshalJSON() ([]byte, error) { return json.Marshal(some(string(v))) }

// Differs reports whether the verdict is not of the same weights.
func (v DiffVerdict) Differs() bool {
	return v != VerdictSame && v != VerdictSameValues && v != VerdictFaithful
}

// Offends reports whether the tensor makes two checkpoints differ.
func (r *DiffRow) Offends() bool { return r.Verdict.Differs() }

func (r *DiffResult) worst() DiffVerdict {
	v := compare.Identical
	if len(r.OnlyA)+len(r.OnlyB) > 0 {
		v = compare.Altered
	}
	for _, c := range r.Comparisons {
		v = v.Worse(compare.Verdict(c.Verdict))
	}
	return DiffVerdict(v)
}

// Sentence is the verdict and what it rests on.
func (c *Comparison) Sentence() string {
	n := &c.Summary
	var why string
	switch c.Verdict {
	case VerdictSame:
		if why = "every tensor has the same bytes"; c.HeadersOnly {
			why = "names, dtypes and shapes agree (values not read)"
		}
	case VerdictSameValues:
		why = "every number is equal"
	case VerdictFaithful:
		if why = fmt.Sprintf("no error is above the tolerance of %g", c.tolerance); c.tolerance == 0 {
			why = "rounding to the dtype explains every difference"
		}
	case VerdictOther:
		why = "not the same model: most tensors have no counterpart of their shape"
	case "":
		return fmt.Sprintf("undecided: %s with another dtype, and values were not read", render.Counted(n.DType, "tensor"))
	default:
		why = c.offence()
	}
	if n.Excused > 0 {
		why += fmt.Sprintf("; %s only in one, which is no difference", render.Counted(n.Excused, "tensor"))
	}
	return fmt.Sprintf("%s: %s", c.Verdict, why)
}

// offence names what makes the verdict, the worst tensors first. Those that both have are
// counted of all that both have, and those of one alone by themselves.
func (c *Comparison) offence() string {
	const most = 3
	var both, onlyA, onlyB []*DiffRow
	for _, r := range c.Offending() {
		switch {
		case r.B < 0:
			onlyA = append(onlyA, r)
		case r.A < 0:
			onlyB = append(onlyB, r)
		default:
			both = append(both, r)
		}
	}
	common := 0
	for i := range c.Rows {
		if c.Rows[i].A >= 0 && c.Rows[i].B >= 0 {
			common++
		}
	}
	names := func(rows []*DiffRow) string {
		var out []string
		for i, r := range rows {
			if i == most {
				out = append(out, fmt.Sprintf("%s more", render.Grouped(uint64(len(rows)-most))))
				break
			}
			out = append(out, render.Escape(r.Name()))
		}
		return strings.Join(out, ", ")
	}
	var out []string
	if len(both) > 0 {
		text := fmt.Sprintf("%s of %s", render.Grouped(uint64(len(both))), render.Counted(common, "tensor"))
		if slices.ContainsFunc(both, func(r *DiffRow) bool { return r.Status != Same && r.Status != Agree }) {
			weight := func(r *DiffRow) float64 {
				if r.Figures == nil {
					return math.Inf(1)
				}
				return max(r.Figures.Apart, r.Figures.BlockApart)
			}
			slices.SortStableFunc(both, func(x, y *DiffRow) int { return cmp.Compare(weight(y), weight(x)) })
			text += ": " + names(both)
		} else {
			text = "only the names of " + text
		}
		out = append(out, text)
	}
	for _, side := range []struct {
		rows  []*DiffRow
		where string
	}{{onlyA, "only in A"}, {onlyB, "only in B"}} {
		if len(side.rows) == 0 {
			continue
		}
		n := render.Grouped(uint64(len(side.rows)))
		if len(out) == 0 {
			n = render.Counted(len(side.rows), "tensor")
		}
		out = append(out, fmt.Sprintf("%s %s: %s", n, side.where, names(side.rows)))
	}
	if len(out) > 0 {
		return strings.Join(out, "; ")
	}
	for _, beside := range []struct {
		name string
		n    int
	}{{"the metadata", len(c.Metadata)}, {"config.json", len(c.Config)}} {
		if beside.n > 0 {
			out = append(out, fmt.Sprintf("%d in %s", beside.n, beside.name))
		}
	}
	return "no tensor, " + strings.Join(out, ", ")
}

// Offending returns the tensors that make the two differ.
func (c *Comparison) Offending() []*DiffRow {
	var out []*DiffRow
	for i := range c.Rows {
		if c.Rows[i].Offends() {
			out = append(out, &c.Rows[i])
		}
	}
	return out
}

// Likeness returns the medians, over the matrices that were measured, of the relative
// root mean square error and of the cosine, and how many they are. Fine-tuned weights
// have a cosine near 1, those of another model one near 0.
func (c *Comparison) Likeness() (relRMS, cosine float64, matrices int) {
	var errors, cosines []float64
	for i := range c.Rows {
		r := &c.Rows[i]
		switch f := r.Figures; {
		case len(r.ShapeB) < 2 || r.A < 0:
		case f != nil && !math.IsNaN(f.Cosine):
			errors, cosines = append(errors, f.RelRMS), append(cosines, f.Cosine)
		case r.Status == Same:
			errors, cosines = append(errors, 0), append(cosines, 1)
		}
	}
	if len(errors) == 0 {
		return 0, 0, 0
	}
	slices.Sort(errors)
	slices.Sort(cosines)
	return errors[len(errors)/2], cosines[(len(cosines)-1)/2], len(errors)
}

// WorstFigures returns the worst of the figures of several tensors, each by itself, and
// nil where none has any.
func WorstFigures(rows []*DiffRow) *DiffFigures {
	var out *DiffFigures
	for _, r := range rows {
		f := r.Figures
		switch {
		case f == nil:
		case out == nil:
			first := *f
			out = &first
		default:
			out.MaxAbs, out.RelRMS, out.Apart = max(out.MaxAbs, f.MaxAbs), max(out.RelRMS, f.RelRMS), max(out.Apart, f.Apart)
			out.NaN, out.Beyond, out.BlockApart = out.NaN+f.NaN, out.Beyond+f.Beyond, max(out.BlockApart, f.BlockApart)
			if math.IsNaN(out.Cosine) || f.Cosine < out.Cosine {
				out.Cosine = f.Cosine
			}
		}
	}
	return out
}
