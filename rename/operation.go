package rename

import (
	"fmt"
	"slices"
	"strconv"
)

// An OpKind names an operation, as maps write it.
type OpKind string

// The operations. All but the last three rearrange what is there and are undone
// exactly.
const (
	OpSplit     OpKind = "split"     // one tensor into several along an axis
	OpConcat    OpKind = "concat"    // several tensors into one along an axis
	OpStack     OpKind = "stack"     // several tensors into one with a new first axis
	OpUnstack   OpKind = "unstack"   // the inverse of stack
	OpSwap      OpKind = "swap"      // exchange two tensors that follow one another
	OpTranspose OpKind = "transpose" // exchange axes
	OpPermute   OpKind = "permute"   // reorder the rows that rotary embedding pairs
	OpReshape   OpKind = "reshape"   // the same bytes under another shape
	OpFlatten   OpKind = "flatten"   // the first two axes into one
	OpUnflatten OpKind = "unflatten" // the first axis into groups, a new first axis
	OpRepack    OpKind = "repack"    // another layout of quantised blocks
	// OpOffset adds a constant. It is undone exactly unless it rounds.
	OpOffset OpKind = "offset"
	// OpNegativeExp is -exp(x), rounded.
	OpNegativeExp OpKind = "negative-exp"
	// OpLogNegative is log(-x), the inverse of OpNegativeExp but for rounding.
	// Maps cannot ask for it: what it gives is not what there was.
	OpLogNegative OpKind = "log-negative"
)

var opKinds = []OpKind{
	OpSplit, OpConcat, OpStack, OpUnstack, OpSwap, OpTranspose, OpPermute, OpReshape, OpFlatten, OpUnflatten, OpRepack,
	OpOffset, OpNegativeExp,
}

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

var layouts = []string{Contiguous, PerHead, Grouped, Interleaved}

// The orders of the rows of a head that rotary embedding rotates in pairs.
const (
	// Half pairs row i with row i+d/2, as transformers does.
	Half = "half"
	// Adjacent pairs row 2i with row 2i+1, as Meta and llama.cpp's llama do.
	Adjacent = "adjacent"
)

// The layouts of MXFP4 weights that OpRepack knows.
const (
	// MXFP4Blocks is the blocks of GPT-OSS: 16 bytes hold 32 values in their
	// order, the low nibble first, and the scales are a tensor of their own.
	MXFP4Blocks = "mxfp4-blocks"
	// MXFP4GGML is the blocks of ggml: a scale byte, then 16 bytes of which
	// byte i holds value i in its low nibble and value i+16 in its high one.
	MXFP4GGML = "mxfp4-ggml"
)

// An Op is one operation on the operands of a Transform: it takes Count of them
// from Index on, and puts what it makes in their place. Every number is known.
// It is plain data; carrying it out is for whoever has the bytes.
type Op struct {
	Kind  OpKind `json:"op"`
	Index int    `json:"index"`
	Count int    `json:"count"`
	// Axis is of split, concat and permute, from 0, the slowest.
	Axis int `json:"axis"`
	// Sizes are, of split and concat, the sizes of the parts along the axis,
	// over all groups, or numbers in proportion to them; two equal parts where
	// there are none. An unstack has one for each result.
	Sizes []int64 `json:"sizes,omitempty"`
	// Layout says how the parts of split and concat lie, Contiguous when empty.
	// Groups is how many runs PerHead and Grouped cut the axis into. It is also
	// what unflatten makes of the first axis, and, where it is known, what the
	// first axis of a flatten is.
	Layout string `json:"layout,omitempty"`
	Groups int64  `json:"groups,omitempty"`
	// Heads, From and To are of permute, which cuts the axis into as many runs
	// as there are heads: row 2i+j of a run of d rows in the adjacent order is
	// row i+j*d/2 in the half order. Rotary, when not 0, is how many rows of
	// each head take part, from its first. From and To are also of repack.
	Heads  int64  `json:"heads,omitempty"`
	Rotary int64  `json:"rotary,omitempty"`
	From   string `json:"from,omitempty"`
	To     string `json:"to,omitempty"`
	// Axes are of transpose: axis i of the result is axis Axes[i] of the
	// operand. Where there are none, the last two are exchanged.
	Axes []int `json:"axes,omitempty"`
	// Value is what offset adds.
	Value float64 `json:"value,omitempty"`
	// Round allows offset and negative-exp results that the operation cannot be
	// undone from.
	Round bool `json:"round,omitempty"`
	// Shape is of reshape. Was, where known, is the shape before.
	Shape []int64 `json:"shape,omitempty"`
	Was   []int64 `json:"was,omitempty"`
}

// Results is how many operands the operation makes.
func (o *Op) Results() int {
	switch {
	case o.Kind == OpSwap:
		return 2
	case o.Kind == OpUnstack:
		return len(o.Sizes)
	case o.Kind == OpSplit && len(o.Sizes) == 0:
		return 2
	case o.Kind == OpSplit:
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
	case OpSplit:
		inv.Kind = OpConcat
	case OpConcat:
		inv.Kind = OpSplit
		if len(o.Sizes) == 0 && o.Count != 2 {
			inv.Sizes = slices.Repeat([]int64{1}, o.Count)
		}
	case OpStack:
		inv.Kind, inv.Sizes = OpUnstack, slices.Repeat([]int64{1}, o.Count)
	case OpUnstack:
		inv.Kind, inv.Sizes = OpStack, nil
	case OpSwap:
	case OpFlatten:
		inv.Kind = OpUnflatten
		return inv, o.Groups > 0
	case OpUnflatten:
		inv.Kind = OpFlatten
	case OpTranspose:
		if len(o.Axes) > 0 {
			inv.Axes = make([]int, len(o.Axes))
			for i, a := range o.Axes {
				if a < 0 || a >= len(o.Axes) {
					return Op{}, false
				}
				inv.Axes[a] = i
			}
		}
	case OpPermute, OpRepack:
		inv.From, inv.To = o.To, o.From
		if o.Kind == OpRepack {
			return inv, false // it joins or parts two tensors, which Count does not say
		}
	case OpReshape:
		inv.Shape, inv.Was = o.Was, o.Shape
		return inv, len(o.Was) > 0
	case OpOffset:
		inv.Value = -o.Value
		return inv, !o.Round
	default:
		return Op{}, false
	}
	return inv, true
}

// A Transform is tensors that become others together: the operations take the
// tensors of From, in order, as their operands, and leave those of To.
type Transform struct {
	From []string `json:"from"`
	To   []string `json:"to"`
	Ops  []Op     `json:"ops"`
	Rule int      `json:"rule"` // of the map
	Rows []int    `json:"-"`    // of the plan, one for each of From
}

// inverse returns the operations that undo the transform, in their order.
func (g *Transform) inverse() ([]Op, bool) {
	ops := make([]Op, 0, len(g.Ops))
	for i := range slices.Backward(g.Ops) {
		o, ok := g.Ops[i].Inverse()
		if !ok {
			return nil, false
		}
		ops = append(ops, o)
	}
	return ops, true
}

// A Number is a parameter of an Operation: a number, or the key under which
// the model's configuration has it, such as num_attention_heads.
type Number struct {
	Value int64
	Key   string
}

func (n Number) String() string {
	if n.Key != "" {
		return n.Key
	}
	return strconv.FormatInt(n.Value, 10)
}

func (n Number) isSet() bool { return n.Key != "" || n.Value != 0 }

// An Operation changes the bytes of the tensors of a Rule. This package works
// out the Ops that it comes to and hands them on.
type Operation struct {
	Kind OpKind
	Pos  Pos
	// Operand is which of the tensors at this point it takes, from 0, or -1:
	// each of them in turn, and for those that join tensors all of them.
	Operand int
	Axis    int
	// Parts are the sizes of the parts of a split or concat along the axis, or
	// ratios of them. In their place Heads and KVHeads, which is Heads when not
	// set, give those of query, key and value.
	Parts          []Number
	Heads, KVHeads Number // Heads is also of permute
	Layout         string
	Groups         Number
	// Over is the hole whose numbers stack and unstack run over. Count is how
	// many tensors unstack makes, or how many a stack without a hole takes, from
	// Operand on.
	Over  string
	Count Number

	Axes       []int
	From, To   string
	Rotary     Number
	Add        float64
	Round      bool
	Shape, Was []Number
}

// partCount is how many parts a split or concat has.
func (o *Operation) partCount() int {
	if o.Parts == nil {
		return 3
	}
	return len(o.Parts)
}

// A simulation follows the operands of a rule through its operations.
type simulation struct {
	runs   []int // of each operand, which pattern or unstacked tensor it came of
	ops    []Op
	value  func(Number) (int64, error)
	nextID int
}

// step adds an operation.
func (s *simulation) step(o *Operation) error {
	n := len(s.runs)
	if o.Operand >= n {
		return fmt.Errorf("%s takes tensor %d, counting from 0, and there are %d at this point", o.Kind, o.Operand, n)
	}
	op, err := s.resolve(o)
	if err != nil {
		return err
	}
	switch o.Kind {
	case OpConcat:
		first := max(0, o.Operand)
		if o.Operand < 0 && n != o.partCount() || first+o.partCount() > n {
			return fmt.Errorf("concat has %d parts, and there are %d tensors at this point", o.partCount(), n-first)
		}
		s.apply(op, first, o.partCount())
		return nil
	case OpStack:
		if o.Over == "" {
			first, count := max(0, o.Operand), n
			if o.Operand >= 0 {
				k, err := s.value(o.Count)
				if err != nil {
					return err
				}
				if k > int64(n-first) {
					return fmt.Errorf("stack takes %d tensors from %d on, and there are %d at this point", k, first, n)
				}
				count = int(k)
			}
			s.apply(op, first, count)
			return nil
		}
		for i := 0; i < len(s.runs); i++ {
			k := 1
			for i+k < len(s.runs) && s.runs[i+k] == s.runs[i] {
				k++
			}
			s.apply(op, i, k)
		}
		return nil
	case OpSwap:
		first := max(0, o.Operand)
		if first+2 > n || o.Operand < 0 && n != 2 {
			return fmt.Errorf("swap exchanges two tensors, and there are %d at this point", n-first)
		}
		s.apply(op, first, 2)
		return nil
	case OpRepack:
		if n != 2 && o.To == MXFP4GGML {
			return fmt.Errorf("repack joins blocks and scales, and there are %d tensors at this point", n)
		}
		s.apply(op, 0, n)
		return nil
	}
	each := s.runs
	if o.Operand >= 0 {
		each = each[o.Operand : o.Operand+1]
	}
	made := op.Results()
	if len(s.ops)+len(each) > maxOps {
		return fmt.Errorf("the rule takes more than %d operations, which no model needs", maxOps)
	}
	if n-len(each)+len(each)*made > maxOperands {
		return fmt.Errorf("%s leaves more than %d tensors, which no model has", o.Kind, maxOperands)
	}
	runs := make([]int, 0, len(each)*made)
	for _, run := range each {
		op.Index, op.Count = max(0, o.Operand)+len(runs), 1
		s.ops = append(s.ops, op)
		runs = append(runs, s.results(&op, run)...)
	}
	s.runs = slices.Replace(s.runs, max(0, o.Operand), max(0, o.Operand)+len(each), runs...)
	return nil
}

// apply adds an Op on several operands.
func (s *simulation) apply(op Op, index, count int) {
	op.Index, op.Count = index, count
	s.ops = append(s.ops, op)
	made := s.results(&op, s.runs[index])
	if op.Kind == OpSwap {
		made[0], made[1] = s.runs[index+1], s.runs[index]
	}
	s.runs = slices.Replace(s.runs, index, index+count, made...)
}

// results are what an Op makes of an operand: each part of a split goes on by
// itself, and what an unstack makes belongs together.
func (s *simulation) results(op *Op, run int) []int {
	made := make([]int, op.Results())
	for i := range made {
		if op.Kind == OpSplit || op.Kind == OpUnstack && i == 0 {
			s.nextID++
		}
		made[i] = run
		if op.Kind == OpSplit || op.Kind == OpUnstack {
			made[i] = s.nextID
		}
	}
	return made
}

// resolve looks the parameters up.
func (s *simulation) resolve(o *Operation) (Op, error) {
	op := Op{Kind: o.Kind, Axis: o.Axis, From: o.From, To: o.To, Value: o.Add, Round: o.Round, Axes: o.Axes}
	var failure error
	get := func(n Number) int64 {
		v, err := s.value(n)
		if err != nil && failure == nil {
			failure = err
		}
		return v
	}
	all := func(list []Number) []int64 {
		var out []int64
		for _, n := range list {
			out = append(out, get(n))
		}
		return out
	}
	switch o.Kind {
	case OpSplit, OpConcat:
		op.Sizes, op.Layout = all(o.Parts), o.Layout
		if o.Parts == nil {
			heads := get(o.Heads)
			kv := heads
			if o.KVHeads.isSet() {
				kv = get(o.KVHeads)
			}
			op.Sizes = []int64{heads, kv, kv}
			op.Groups = kv
		}
		if o.Groups.isSet() {
			op.Groups = get(o.Groups)
		}
		if op.Layout != PerHead && op.Layout != Grouped {
			op.Groups = 0
		}
	case OpUnstack:
		n := int64(1)
		if o.Count.isSet() {
			n = get(o.Count)
		}
		if failure == nil && n > maxOperands {
			return op, fmt.Errorf("unstack makes %d tensors, which no model has", n)
		}
		op.Sizes = slices.Repeat([]int64{1}, int(n))
	case OpPermute:
		op.Heads, op.Rotary = get(o.Heads), get(o.Rotary)
	case OpFlatten, OpUnflatten:
		op.Groups = get(o.Groups)
	case OpReshape:
		op.Shape, op.Was = all(o.Shape), all(o.Was)
	}
	return op, failure
}

// maxOperands bounds how many tensors operations work on at a time.
const maxOperands = 1 << 16

// maxOps bounds how many operations a rule comes to for one set of tensors.
const maxOps = 1 << 19
