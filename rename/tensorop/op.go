package tensorop

import "slices"

// A Kind names an operation, as maps write it.
type Kind string

// The operations. All but the last four rearrange what is there and are undone
// exactly.
const (
	Split     Kind = "split"     // one tensor into several along an axis
	Concat    Kind = "concat"    // several tensors into one along an axis
	Stack     Kind = "stack"     // several tensors into one with a new first axis
	Unstack   Kind = "unstack"   // the inverse of stack
	Swap      Kind = "swap"      // exchange two tensors that follow one another
	Copy      Kind = "copy"      // one tensor several times
	Merge     Kind = "merge"     // several equal tensors into one, the inverse of copy
	Create    Kind = "create"    // a tensor of given numbers behind another
	Discard   Kind = "discard"   // the inverse: a tensor of exactly those numbers goes
	Pad       Kind = "pad"       // zeros before and after along an axis
	Trim      Kind = "trim"      // the inverse: what goes must be zeros
	Transpose Kind = "transpose" // exchange axes
	Permute   Kind = "permute"   // reorder the rows that rotary embedding pairs, or heads
	Reshape   Kind = "reshape"   // the same bytes under another shape
	Squeeze   Kind = "squeeze"   // take an axis of length 1 out
	Unsqueeze Kind = "unsqueeze" // put one in
	Flatten   Kind = "flatten"   // the first two axes into one
	Unflatten Kind = "unflatten" // the first axis into groups, a new first axis
	Repack    Kind = "repack"    // another layout of quantised blocks
	// Cast gives every value another dtype. It fails where a value does not
	// survive, so that it is always undone exactly.
	Cast Kind = "cast"
	// Offset adds a constant. It is undone exactly unless it rounds.
	Offset Kind = "offset"
	// Scale multiplies with a constant. It is undone exactly unless it rounds.
	Scale Kind = "scale"
	// NegativeExp is -exp(x), rounded.
	NegativeExp Kind = "negative-exp"
	// LogNegative is log(-x), the number with the fewest bits of which NegativeExp makes
	// x. It is undone exactly unless it rounds.
	LogNegative Kind = "log-negative"
)

// The layouts of a tensor that holds several parts along an axis.
const (
	// Contiguous is the first part, then the second.
	Contiguous = "contiguous"
	// PerHead cuts the axis into equal runs, each of which holds a piece of
	// each part in turn: the query, key and value of one head.
	PerHead = "per-head"
	// Grouped does the same where a run is a key/value head and the queries
	// that share it.
	Grouped = "grouped"
	// Interleaved is one row of each part in turn.
	Interleaved = "interleaved"
)

// The orders of the rows of a head that rotary embedding rotates in pairs.
const (
	// Half pairs row i with row i+d/2, as transformers does.
	Half = "half"
	// Adjacent pairs row 2i with row 2i+1, as Meta and llama.cpp's llama do.
	Adjacent = "adjacent"
)

// Tiled is an order of heads that belong to groups, those of one key/value head,
// say: the first head of each group, then the second of each. The other order is
// Grouped, the heads of a group side by side.
const Tiled = "tiled"

// The layouts of MXFP4 weights that Repack knows.
const (
	// MXFP4Blocks is the blocks of GPT-OSS: 16 bytes hold 32 values in their
	// order, the low nibble first, and the scales are a tensor of their own.
	MXFP4Blocks = "mxfp4-blocks"
	// MXFP4GGML is the blocks of ggml: a scale byte, then 16 bytes of which
	// byte i holds value i in its low nibble and value i+16 in its high one.
	MXFP4GGML = "mxfp4-ggml"
)

// An Op is one operation on a list of operands: it takes Count of them from
// Index on, and puts what it makes in their place. Every number is known.
type Op struct {
	Kind  Kind `json:"op"`
	Index int  `json:"index"`
	Count int  `json:"count"`
	// Axis is of split, concat, pad, trim, permute, squeeze and unsqueeze, from 0, the slowest.
	Axis int `json:"axis"`
	// Sizes are, of split and concat, the sizes of the parts along the axis,
	// over all groups, or numbers in proportion to them; two equal parts where
	// there are none. An unstack and a copy have one for each result, a pad and a trim
	// the lengths before and after.
	Sizes []int64 `json:"sizes,omitempty"`
	// Layout says how the parts of split and concat lie, Contiguous when empty.
	// Groups is how many runs PerHead and Grouped cut the axis into. It is also
	// what unflatten makes of the first axis, where it is known what the first
	// axis of a flatten is, and how many groups of heads a permute reorders.
	Layout string `json:"layout,omitempty"`
	Groups int64  `json:"groups,omitempty"`
	// Heads, From and To are of permute, which cuts the axis into as many runs
	// as there are heads: row 2i+j of a run of d rows in the adjacent order is
	// row i+j*d/2 in the half order. Rotary, when not 0, is how many rows of
	// each head take part, from its first. Between Grouped and Tiled whole heads
	// change places. From and To are also of repack and cast: the dtypes, of which
	// a cast needs only To.
	Heads  int64  `json:"heads,omitempty"`
	Rotary int64  `json:"rotary,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	// Axes are of transpose: axis i of the result is axis Axes[i] of the
	// operand. Where there are none, the last two are exchanged.
	Axes []int `json:"axes,omitempty"`
	// Values are the elements of what create makes, in F32, and of what discard
	// leaves out.
	Values []float32 `json:"values,omitempty"`
	// Value is what offset adds and what scale multiplies with.
	Value float64 `json:"value,omitempty"`
	// Round allows offset, scale, negative-exp and log-negative results that the operation cannot be
	// undone from.
	Round bool `json:"round,omitempty"`
	// Shape is of reshape. Was, where known, is the shape before.
	Shape []int64 `json:"shape,omitempty"`
	Was   []int64 `json:"was,omitempty"`
}

// Results is how many operands the operation makes.
func (o *Op) Results() int {
	switch {
	case o.Kind == Swap, o.Kind == Create:
		return 2
	case o.Kind == Unstack, o.Kind == Copy:
		return len(o.Sizes)
	case o.Kind == Split && len(o.Sizes) == 0:
		return 2
	case o.Kind == Split:
		return len(o.Sizes)
	}
	return 1
}

// Inverse returns the operation that undoes this one on its results. It is
// false for what rounds and for a reshape of an unknown shape.
func (o *Op) Inverse() (Op, bool) {
	inv := *o
	inv.Count = o.Results()
	switch o.Kind {
	case Split:
		inv.Kind = Concat
	case Concat:
		inv.Kind = Split
		if len(o.Sizes) == 0 && o.Count != 2 {
			inv.Sizes = slices.Repeat([]int64{1}, o.Count)
		}
	case Stack:
		inv.Kind, inv.Sizes = Unstack, slices.Repeat([]int64{1}, o.Count)
	case Unstack:
		inv.Kind, inv.Sizes = Stack, nil
	case Swap:
	case Copy:
		inv.Kind, inv.Sizes = Merge, nil
	case Create:
		inv.Kind = Discard
	case Discard:
		inv.Kind = Create
	case Pad:
		inv.Kind = Trim
	case Trim:
		inv.Kind = Pad
	case Merge:
		inv.Kind, inv.Sizes = Copy, slices.Repeat([]int64{1}, o.Count)
	case Flatten:
		inv.Kind = Unflatten
		return inv, o.Groups > 0
	case Unflatten:
		inv.Kind = Flatten
	case Transpose:
		if len(o.Axes) > 0 {
			inv.Axes = make([]int, len(o.Axes))
			for i, a := range o.Axes {
				if a < 0 || a >= len(o.Axes) {
					return Op{}, false
				}
				inv.Axes[a] = i
			}
		}
	case Squeeze:
		inv.Kind = Unsqueeze
	case Unsqueeze:
		inv.Kind = Squeeze
	case Cast:
		inv.From, inv.To = o.To, o.From
		return inv, o.From != ""
	case Permute, Repack:
		inv.From, inv.To = o.To, o.From
		if o.Kind == Repack {
			return inv, false // it joins or parts two tensors, which Count does not say
		}
	case Reshape:
		inv.Shape, inv.Was = o.Was, o.Shape
		return inv, len(o.Was) > 0
	case Offset:
		inv.Value = -o.Value
		return inv, !o.Round
	case Scale:
		// The inverse of a number is not always one: only powers of two come back.
		inv.Value = 1 / o.Value
		return inv, !o.Round && 1/inv.Value == o.Value
	case LogNegative:
		inv.Kind, inv.Round = NegativeExp, true
		return inv, !o.Round
	default:
		return Op{}, false
	}
	return inv, true
}
