package convention

// An OpKind names an operation on bytes, as maps write it.
type OpKind string

const (
	OpSplit       OpKind = "split"        // one operand into several along an axis
	OpConcat      OpKind = "concat"       // several operands into one along an axis
	OpStack       OpKind = "stack"        // several operands into one with a new first axis
	OpUnstack     OpKind = "unstack"      // the inverse of stack
	OpSwap        OpKind = "swap"         // exchange two operands
	OpTranspose   OpKind = "transpose"    // exchange the last two axes
	OpPermute     OpKind = "permute"      // reorder the rows that rotary embedding pairs
	OpOffset      OpKind = "offset"       // add a constant
	OpReshape     OpKind = "reshape"      // the same bytes under another shape
	OpUnflatten   OpKind = "unflatten"    // the first axis into Groups equal parts, a new first axis
	OpFlatten     OpKind = "flatten"      // the first two axes into one
	OpNegativeExp OpKind = "negative-exp" // -exp(x), exact but for rounding
	OpLogNegative OpKind = "log-negative" // log(-x), its inverse
)

// An Op is one step of a Move: it takes Count operands beginning at Index and
// puts its results in their place. It is plain data; carrying it out is for
// whoever has the bytes.
type Op struct {
	Kind  OpKind `json:"op"`
	Index int    `json:"index"`
	Count int    `json:"count"`
	// Axis of split, concat and permute.
	Axis int `json:"axis"`
	// Sizes are, of a split or concat, the sizes of the parts along the axis in
	// all; their sum is the operand's. None means two equal parts. Of an
	// unstack there is a 1 for each result.
	Sizes []int64 `json:"sizes,omitempty"`
	// Layout says how the parts lie: Contiguous, PerHead, Grouped or
	// Interleaved. Contiguous: the first part, then the second. PerHead and
	// Grouped: the axis is cut into Groups equal runs, and each run holds a
	// piece of each part in turn. Interleaved: a row of each part in turn.
	Layout string `json:"layout,omitempty"`
	Groups int64  `json:"groups,omitempty"`
	// Heads, From and To are of permute: the axis is cut into Heads runs of d
	// rows, and within each, row 2i+j of the adjacent order is row i+j*d/2 of
	// the half order.
	Heads int64  `json:"heads,omitempty"`
	From  string `json:"from,omitempty"`
	To    string `json:"to,omitempty"`
	// Value is what offset adds.
	Value float64 `json:"value,omitempty"`
	// Shape is of reshape: the new shape, slowest dimension first.
	Shape []int64 `json:"shape,omitempty"`
}

// A Move says how some tensors of a checkpoint become others. Without
// operations it is a rename: one name, one new name, the same bytes.
type Move struct {
	From []string `json:"from"`
	To   []string `json:"to"`
	Ops  []Op     `json:"ops,omitempty"`
}

// MovesBytes reports whether names alone cannot carry the move out.
func (m *Move) MovesBytes() bool { return len(m.Ops) > 0 }

// A Dropped tensor has no place in the target.
type Dropped struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// A Conversion takes a checkpoint from one convention to another.
type Conversion struct {
	From    string    `json:"from"`
	To      string    `json:"to"`
	Moves   []Move    `json:"moves"`
	Dropped []Dropped `json:"dropped,omitempty"`
	// Unmapped are tensors that the source convention does not know. They keep
	// their names.
	Unmapped []string `json:"unmapped,omitempty"`
	// Missing are the roles that the target requires and nothing gives.
	Missing []string `json:"missing,omitempty"`
	// Notes say what a conversion of names and bytes leaves to do.
	Notes []string `json:"notes,omitempty"`
}

// MovesBytes reports whether some move does.
func (c *Conversion) MovesBytes() bool {
	for i := range c.Moves {
		if c.Moves[i].MovesBytes() {
			return true
		}
	}
	return false
}

// A RefusalError says why a conversion cannot be derived.
type RefusalError struct {
	From, To string
	// Tensor is the name at which it failed, "" when it is the whole.
	Tensor string
	Reason string
	// Needs is the configuration key that would help, "num_attention_heads".
	Needs string
}

func (e *RefusalError) Error() string {
	s := e.From + " to " + e.To + ": "
	if e.Tensor != "" {
		s += "tensor " + quote(e.Tensor) + ": "
	}
	s += e.Reason
	if e.Needs != "" {
		s += "; give " + e.Needs + " with the configuration"
	}
	return s
}
