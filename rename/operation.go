package rename

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A Transform is tensors that become others together: the operations take the
// tensors of From, in order, as their operands, and leave those of To.
type Transform struct {
	From []string      `json:"from"`
	To   []string      `json:"to"`
	Ops  []tensorop.Op `json:"ops"`
	Rule int           `json:"rule"` // its index in the map
	Rows []int         `json:"-"`    // of the plan, one for each of From
}

// inverse returns the operations that undo the transform, in their order.
func (g *Transform) inverse() ([]tensorop.Op, bool) {
	ops := make([]tensorop.Op, 0, len(g.Ops))
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
// the model's configuration has it, such as num_attention_heads, or the product of
// several, joined by asterisks.
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
	Kind tensorop.Kind
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
	// Zeros are how many a pad puts before and after, and a trim leaves out.
	Zeros []int64
	// Over is the hole whose numbers stack and unstack run over. Count is how
	// many tensors unstack and copy make, or how many a merge or a stack takes, from
	// Operand on where there is no hole. A stack over a hole may leave it open.
	Over  string
	Count Number

	Axes       []int
	From, To   string
	Rotary     Number
	Values     []float32 // of create and discard
	Value      float64   // what offset adds and scale multiplies with
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
	ops    []tensorop.Op
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
	case tensorop.Concat:
		first := max(0, o.Operand)
		if o.Operand < 0 && n != o.partCount() || first+o.partCount() > n {
			return fmt.Errorf("concat has %s, and there %s %s at this point", plural.Of(o.partCount(), "part"), plural.Verb(n-first, "are"), plural.Of(n-first, "tensor"))
		}
		s.apply(op, first, o.partCount())
		return nil
	case tensorop.Stack, tensorop.Merge:
		if o.Over == "" {
			first, count := max(0, o.Operand), n
			if o.Operand >= 0 {
				k, err := s.value(o.Count)
				if err != nil {
					return err
				}
				if k > int64(n-first) {
					return fmt.Errorf("%s takes %s from %d on of the %d at this point", o.Kind, plural.Of(k, "tensor"), first, n)
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
			if o.Count.isSet() {
				want, err := s.value(o.Count)
				if err != nil {
					return err
				}
				if want != int64(k) {
					return fmt.Errorf("%s over {%s} takes %s, and there %s %d", o.Kind, o.Over, plural.Of(want, "tensor"), plural.Verb(k, "are"), k)
				}
			}
			s.apply(op, i, k)
		}
		return nil
	case tensorop.Swap, tensorop.Discard:
		first := max(0, o.Operand)
		if first+2 > n || o.Operand < 0 && n != 2 {
			return fmt.Errorf("%s takes two tensors, and there are %d at this point", o.Kind, n-first)
		}
		s.apply(op, first, 2)
		return nil
	case tensorop.Repack:
		if n != 2 && o.To == tensorop.MXFP4GGML {
			return fmt.Errorf("repack joins blocks and scales, and there %s %s at this point", plural.Verb(n, "are"), plural.Of(n, "tensor"))
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
func (s *simulation) apply(op tensorop.Op, index, count int) {
	op.Index, op.Count = index, count
	s.ops = append(s.ops, op)
	made := s.results(&op, s.runs[index])
	if op.Kind == tensorop.Swap {
		made[0], made[1] = s.runs[index+1], s.runs[index]
	}
	s.runs = slices.Replace(s.runs, index, index+count, made...)
}

// results are what an Op makes of an operand: each part of a split goes on by
// itself, and what an unstack makes belongs together.
func (s *simulation) results(op *tensorop.Op, run int) []int {
	made := make([]int, op.Results())
	for i := range made {
		if op.Kind == tensorop.Split || op.Kind == tensorop.Unstack && i == 0 {
			s.nextID++
		}
		made[i] = run
		if op.Kind == tensorop.Split || op.Kind == tensorop.Unstack {
			made[i] = s.nextID
		}
	}
	return made
}

// resolve looks the parameters up.
func (s *simulation) resolve(o *Operation) (tensorop.Op, error) {
	op := tensorop.Op{Kind: o.Kind, Axis: o.Axis, From: o.From, To: o.To, Value: o.Value, Values: o.Values, Round: o.Round, Axes: o.Axes}
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
	case tensorop.Split, tensorop.Concat:
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
		if op.Layout != tensorop.PerHead && op.Layout != tensorop.Grouped {
			op.Groups = 0
		}
	case tensorop.Pad, tensorop.Trim:
		op.Sizes = o.Zeros
	case tensorop.Unstack, tensorop.Copy:
		n := int64(1)
		if o.Count.isSet() {
			n = get(o.Count)
		}
		if failure == nil && n > maxOperands {
			return op, fmt.Errorf("%s makes %d tensors, which no model has", o.Kind, n)
		}
		op.Sizes = slices.Repeat([]int64{1}, int(n))
	case tensorop.Permute:
		op.Heads, op.Rotary = get(o.Heads), get(o.Rotary)
		if o.Groups.isSet() {
			op.Groups = get(o.Groups)
		}
	case tensorop.Flatten, tensorop.Unflatten:
		op.Groups = get(o.Groups)
	case tensorop.Reshape:
		op.Shape, op.Was = all(o.Shape), all(o.Was)
	}
	return op, failure
}

// maxOperands bounds how many tensors operations work on at a time.
const maxOperands = 1 << 16

// maxOps bounds how many operations a rule comes to for one set of tensors.
const maxOps = 1 << 19
