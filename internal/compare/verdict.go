package compare

import (
	"path"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
)

// A Verdict is what the differences of a tensor, or of two checkpoints, come to.
type Verdict string

const (
	// Undecided: values were not read, and the dtypes differ.
	Undecided Verdict = ""
	// Identical tensors have the same bytes, or, where values were not read, the same
	// dtype and shape.
	Identical Verdict = "same"
	// SameValues are equal numbers in another dtype, layout or container.
	SameValues Verdict = "same values"
	// Faithful tensors differ by what rounding to their dtypes costs.
	Faithful Verdict = "faithful"
	// Altered tensors differ by more, in shape or name, or are in one checkpoint only.
	Altered Verdict = "changed"
	// Other says that two checkpoints are not of the same model.
	Other Verdict = "other"
)

// rank orders verdicts: the worst tensor decides.
func (v Verdict) rank() int {
	switch v {
	case Identical:
		return 0
	case SameValues:
		return 1
	case Faithful:
		return 2
	case Undecided:
		return 3
	case Altered:
		return 4
	}
	return 5
}

// Worse returns the worse of two verdicts.
func (v Verdict) Worse(w Verdict) Verdict {
	if w.rank() > v.rank() {
		return w
	}
	return v
}

// computedApart bounds what two programs make of the same function in F32.
const computedApart = 4 * 0x1p-23

// judge gives a row its verdict. tolerance, where it is not 0, is the relative error
// that is faithful, whatever the dtypes.
func (r *Row) judge(tolerance float64, exact bool) Verdict {
	d := r.Difference
	switch {
	case r.Excused():
		return Identical
	case r.Err != nil, r.Status == ShapeChanged, r.Status == OnlyA, r.Status == OnlyB, r.Renamed() && !r.framed:
		return Altered
	case r.Status == Same && exact && len(r.Layout) == 0 && !r.Renamed(), r.Status == Agree:
		return Identical
	case r.Status == Same, d != nil && d.Differ == 0:
		return SameValues
	case d == nil && r.Status == DTypeChanged:
		return Undecided
	case d == nil:
		return Altered
	case tolerance > 0:
		if d.NaN == 0 && d.Apart <= tolerance {
			return Faithful
		}
	case r.Status == DTypeChanged && Within(d, r.DTypeA, r.DTypeB),
		r.computed && d.NaN == 0 && d.Apart <= computedApart:
		return Faithful
	}
	return Altered
}

// Excused reports whether a tensor of one checkpoint only is no difference: the other
// has no place for it, or makes it again from what it has.
func (r *Row) Excused() bool { return r.Reason != "" && (r.A < 0 || r.B < 0) }

// decide gives every row its verdict, and the checkpoints theirs: the worst of all.
func (c *comparison) decide() {
	var inA, inB, common int
	verdict, dtypes := Identical, false
	for i := range c.out.Rows {
		r := &c.out.Rows[i]
		r.Verdict = r.judge(c.opt.Tolerance, r.exact && c.a.Format == c.b.Format)
		verdict = verdict.Worse(r.Verdict)
		dtypes = dtypes || r.Status == DTypeChanged
		switch {
		case r.Excused():
		case r.A < 0:
			inB++
		case r.B < 0:
			inA++
		default:
			inA, inB = inA+1, inB+1
			if r.Status != ShapeChanged {
				common++
			}
		}
	}
	if slices.ContainsFunc(c.out.Metadata, func(m Change) bool { return c.a.Format == checkpoint.GGUF && describesModel(m.Key) }) {
		verdict = verdict.Worse(Altered)
	}
	for _, change := range c.out.Config {
		// That tensors have another dtype, or are not quantised any more, is in their rows.
		keys := strings.Split(change.Key, "/")
		isDType := slices.Contains([]string{"torch_dtype", "dtype"}, path.Base(change.Key))
		if !dtypes || !isDType && !slices.Contains(keys, "quantization_config") && !slices.Contains(keys, "compression_config") {
			verdict = verdict.Worse(Altered)
		}
	}
	// Two of the same architecture pair all their tensors; a pruned or grown model pairs
	// most of its own.
	if least := min(inA, inB); 2*common < least || least == 0 && inA+inB > 0 {
		verdict = Other
	}
	c.out.Verdict = verdict
}

// describesModel reports whether a GGUF key says how the model computes, not what the
// file is called, how it was quantised or how it is split.
func describesModel(key string) bool {
	for _, about := range []string{"general.", "quantize.", "split."} {
		if strings.HasPrefix(key, about) {
			return key == "general.architecture"
		}
	}
	return true
}

// differs reports whether a verdict is not of the same weights.
func (v Verdict) differs() bool { return v.rank() > Faithful.rank() }
