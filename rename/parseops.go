package rename

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// opKinds are the operations that maps can ask for.
var opKinds = []tensorop.Kind{
	tensorop.Split, tensorop.Concat, tensorop.Stack, tensorop.Unstack, tensorop.Swap, tensorop.Copy, tensorop.Merge, tensorop.Create, tensorop.Discard, tensorop.Pad, tensorop.Trim, tensorop.Transpose, tensorop.Permute,
	tensorop.Reshape, tensorop.Squeeze, tensorop.Unsqueeze, tensorop.Flatten, tensorop.Unflatten, tensorop.Repack,
	tensorop.Cast, tensorop.Offset, tensorop.Scale, tensorop.NegativeExp, tensorop.LogNegative,
}

// joins are the operations that join or part tensors.
var joins = []tensorop.Kind{
	tensorop.Split, tensorop.Concat, tensorop.Stack, tensorop.Unstack, tensorop.Swap, tensorop.Copy, tensorop.Merge, tensorop.Create, tensorop.Discard, tensorop.Repack,
}

var layouts = []string{tensorop.Contiguous, tensorop.PerHead, tensorop.Grouped, tensorop.Interleaved}

// opParams are the parameters of each operation, in the order in which they
// are written.
var opParams = map[tensorop.Kind][]string{
	tensorop.Split:       {"operand", "axis", "parts", "heads", "kv_heads", "layout", "groups"},
	tensorop.Concat:      {"operand", "axis", "parts", "heads", "kv_heads", "layout", "groups"},
	tensorop.Stack:       {"operand", "over", "count"},
	tensorop.Unstack:     {"operand", "over", "count"},
	tensorop.Swap:        {"operand"},
	tensorop.Copy:        {"operand", "count"},
	tensorop.Merge:       {"operand", "count"},
	tensorop.Create:      {"operand", "values"},
	tensorop.Discard:     {"operand", "values"},
	tensorop.Pad:         {"operand", "axis", "zeros"},
	tensorop.Trim:        {"operand", "axis", "zeros"},
	tensorop.Transpose:   {"operand", "axes"},
	tensorop.Permute:     {"operand", "axis", "heads", "groups", "rotary", "from", "to"},
	tensorop.Reshape:     {"operand", "shape", "was"},
	tensorop.Squeeze:     {"operand", "axis"},
	tensorop.Unsqueeze:   {"operand", "axis"},
	tensorop.Flatten:     {"operand", "groups"},
	tensorop.Unflatten:   {"operand", "groups"},
	tensorop.Repack:      {"from", "to"},
	tensorop.Cast:        {"operand", "from", "to"},
	tensorop.Offset:      {"operand", "add", "round"},
	tensorop.Scale:       {"operand", "by", "round"},
	tensorop.NegativeExp: {"operand", "round"},
	tensorop.LogNegative: {"operand", "round"},
}

var opExample = map[tensorop.Kind]string{
	tensorop.Split:       "{axis: 0, parts: [1, 1, 1]}",
	tensorop.Concat:      "{axis: 0, parts: [1, 1]}",
	tensorop.Stack:       "{over: expert}",
	tensorop.Unstack:     "{over: expert, count: num_local_experts}",
	tensorop.Swap:        "{operand: 0}",
	tensorop.Copy:        "{count: 3}",
	tensorop.Merge:       "{}",
	tensorop.Create:      "{values: [1, 8]}",
	tensorop.Discard:     "{values: [1, 8]}",
	tensorop.Pad:         "{axis: 0, zeros: [0, 64]}",
	tensorop.Trim:        "{axis: 0, zeros: [0, 64]}",
	tensorop.Transpose:   "{}",
	tensorop.Permute:     "{heads: num_attention_heads, from: half, to: adjacent}",
	tensorop.Reshape:     "{shape: [num_attention_heads, 128, 512]}",
	tensorop.Squeeze:     "{axis: 1}",
	tensorop.Unsqueeze:   "{axis: 1}",
	tensorop.Flatten:     "{}",
	tensorop.Unflatten:   "{groups: num_local_experts}",
	tensorop.Repack:      "{from: mxfp4-blocks, to: mxfp4-ggml}",
	tensorop.Cast:        "{to: F32}",
	tensorop.Offset:      "{add: 1}",
	tensorop.Scale:       "{by: 0.5}",
	tensorop.NegativeExp: "{round: true}",
	tensorop.LogNegative: "{}",
}

// parseSteps reads a list of operations, each a mapping of one key.
func (p *parser) parseSteps(n *yaml.Node) []Operation {
	if !p.kind(n, yaml.SequenceNode, "steps", "a list") {
		return nil
	}
	if len(n.Content) == 0 {
		p.errorf(n, "", "steps is an empty list")
	}
	var ops []Operation
	for _, item := range n.Content {
		for i, kv := range p.pairs(item, "a step") {
			switch {
			case i > 0:
				p.errorf(kv[0], "begin another step with a dash", "a step is one operation")
			case !slices.Contains(opKinds, tensorop.Kind(kv[0].Value)):
				p.unknownKey(kv[0], ruleKeys()[4:])
			default:
				ops = append(ops, p.parseOperation(kv[0], kv[1]))
			}
		}
	}
	return ops
}

func (p *parser) parseOperation(key, n *yaml.Node) Operation {
	o := Operation{Kind: tensorop.Kind(key.Value), Pos: position(key), Operand: -1}
	params := opParams[o.Kind]
	seen := make(map[string]bool)
	before := len(p.errs)
	for _, kv := range p.pairs(n, key.Value) {
		name, value := kv[0].Value, kv[1]
		if !slices.Contains(params, name) {
			p.unknownKey(kv[0], params)
			continue
		}
		seen[name] = true
		switch name {
		case "operand":
			v, _ := p.number(value, "the tensor", 16)
			o.Operand = int(v)
		case "axis":
			v, _ := p.number(value, "the axis", 8)
			o.Axis = int(v)
		case "parts":
			o.Parts = p.numbers(value, "parts", "a part of a "+key.Value)
		case "shape":
			o.Shape = p.numbers(value, "shape", "a dimension")
		case "was":
			o.Was = p.numbers(value, "was", "a dimension")
		case "heads":
			o.Heads = p.numberOrKey(value, "heads")
		case "kv_heads":
			o.KVHeads = p.numberOrKey(value, "kv_heads")
		case "groups":
			o.Groups = p.numberOrKey(value, "groups")
		case "count":
			o.Count = p.numberOrKey(value, "count")
		case "rotary":
			o.Rotary = p.numberOrKey(value, "rotary")
		case "layout":
			o.Layout = p.choice(value, "layout", layouts)
		case "over":
			o.Over, _ = p.text(value, "the hole")
		case "axes":
			o.Axes = p.axes(value)
		case "from", "to":
			what, names := "order", []string{tensorop.Half, tensorop.Adjacent, tensorop.Grouped, tensorop.Tiled}
			switch o.Kind {
			case tensorop.Repack:
				names = []string{tensorop.MXFP4Blocks, tensorop.MXFP4GGML}
			case tensorop.Cast:
				what, names = "dtype", []string{"F32", "F16", "BF16"}
			}
			if to := p.choice(value, what, names); name == "from" {
				o.From = to
			} else {
				o.To = to
			}
		case "values":
			o.Values = p.values(value)
		case "zeros":
			o.Zeros = p.zeros(value)
		case "add", "by":
			v, err := strconv.ParseFloat(value.Value, 64)
			if value.Kind != yaml.ScalarNode || err != nil || math.IsNaN(v) || math.IsInf(v, 0) || v == 0 {
				what := "added"
				if name == "by" {
					what = "multiplied with"
				}
				p.errorf(value, "", "what is %s must be a number other than 0", what)
			}
			o.Value = v
		case "round":
			if value.Kind != yaml.ScalarNode || value.Tag != "!!bool" {
				p.errorf(value, "", "round must be true or false")
			}
			o.Round = value.Value == "true"
		}
	}
	if len(p.errs) > before || n.Kind != yaml.MappingNode {
		return o
	}
	need := func(ok bool, what string) {
		if !ok {
			p.errorf(n, "write "+key.Value+": "+opExample[o.Kind], "%s needs %s", key.Value, what)
		}
	}
	switch o.Kind {
	case tensorop.Split, tensorop.Concat:
		need(seen["axis"] && (seen["parts"] || seen["heads"]), "an axis and parts, or heads")
		if seen["parts"] && (seen["heads"] || seen["kv_heads"]) {
			p.errorf(n, "heads says what the parts of query, key and value are", "%s has parts or heads, not both", key.Value)
		}
		if o.Layout == tensorop.PerHead || o.Layout == tensorop.Grouped {
			need(seen["heads"] || seen["groups"], "groups where the layout is "+o.Layout+", or heads")
		} else if seen["groups"] {
			p.errorf(n, "write layout: grouped", "groups is of the layouts %s and %s", tensorop.PerHead, tensorop.Grouped)
		}
	case tensorop.Copy:
		need(seen["count"], "to know how many: count")
	case tensorop.Create, tensorop.Discard:
		need(seen["values"], "the numbers: values")
	case tensorop.Pad, tensorop.Trim:
		need(seen["axis"] && seen["zeros"], "an axis and zeros, how many before and after")
	case tensorop.Merge, tensorop.Stack:
		need(seen["over"] || seen["operand"] == seen["count"], "operand and count, or none of them")
		if seen["over"] && seen["operand"] {
			p.errorf(n, "", "stack runs over a hole or begins at a tensor, not both")
		}
	case tensorop.Unstack:
		need(!seen["over"] || seen["count"], "to know how many there are: count")
	case tensorop.Permute:
		need(seen["heads"] && seen["from"] && seen["to"], "heads, and the orders from and to")
		pairs := o.From == tensorop.Half || o.From == tensorop.Adjacent
		if o.From != "" && o.To != "" && pairs != (o.To == tensorop.Half || o.To == tensorop.Adjacent) {
			p.errorf(n, "half and adjacent are orders of rows, grouped and tiled of heads", "permute from %s to %s cannot be", o.From, o.To)
		}
		if o.From != "" && pairs == seen["groups"] {
			p.errorf(n, "groups says how many key/value heads the heads belong to", "permute has groups where it goes between %s and %s, and not otherwise", tensorop.Grouped, tensorop.Tiled)
		}
		if o.From != "" && o.From == o.To {
			p.errorf(n, "", "permute from %s to %s changes nothing", o.From, o.To)
		}
	case tensorop.Unflatten:
		need(seen["groups"], "to know how many parts: groups")
	case tensorop.Squeeze, tensorop.Unsqueeze:
		need(seen["axis"], "an axis")
	case tensorop.Cast:
		need(seen["to"], "the dtype: to")
	case tensorop.Reshape:
		need(seen["shape"], "a shape")
	case tensorop.Repack:
		need(seen["from"] && seen["to"], "from and to")
		if o.From != "" && o.From == o.To {
			p.errorf(n, "", "repack from %s to %s changes nothing", o.From, o.To)
		}
	case tensorop.Offset:
		need(seen["add"], "what to add")
	case tensorop.Scale:
		need(seen["by"], "what to multiply with: by")
	case tensorop.NegativeExp:
		need(o.Round, "round: true, since no result of it can be undone exactly")
	}
	return o
}

// values reads a list of numbers.
func (p *parser) values(n *yaml.Node) []float32 {
	if !p.kind(n, yaml.SequenceNode, "values", "a list") {
		return nil
	}
	if len(n.Content) == 0 || len(n.Content) > maxOperands {
		p.errorf(n, "", "values has %d numbers, and has at least 1 and at most %d", len(n.Content), maxOperands)
		return nil
	}
	out := make([]float32, len(n.Content))
	for i, item := range n.Content {
		v, err := strconv.ParseFloat(item.Value, 32)
		if item.Kind != yaml.ScalarNode || err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			p.errorf(item, "", "a value must be a number that F32 holds")
		}
		out[i] = float32(v)
	}
	return out
}

// zeros reads how many there are before and after.
func (p *parser) zeros(n *yaml.Node) []int64 {
	if !p.kind(n, yaml.SequenceNode, "zeros", "a list of two numbers") {
		return nil
	}
	out := make([]int64, 0, 2)
	for _, item := range n.Content {
		v, _ := p.number(item, "a number of zeros", 62)
		out = append(out, int64(v))
	}
	if len(out) != 2 || out[0] == 0 && out[1] == 0 {
		p.errorf(n, "zeros: [0, 64] is 64 after", "zeros must be two numbers, and not both 0")
	}
	return out
}

func (p *parser) choice(n *yaml.Node, what string, names []string) string {
	s, ok := p.text(n, "the "+what)
	if ok && !slices.Contains(names, s) {
		p.errorf(n, "it is one of "+strings.Join(names, ", "), "unknown %s %q", what, s)
	}
	return s
}

// numberOrKey reads a number above 0, or a key of the configuration.
func (p *parser) numberOrKey(n *yaml.Node, what string) Number {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" && isKey(n.Value) {
		return Number{Key: n.Value}
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		p.errorf(n, "write a number, or the key of the configuration that has it, such as num_attention_heads", "%s cannot be %q", what, n.Value)
		return Number{}
	}
	v, ok := p.number(n, what, 62)
	if ok && v == 0 {
		p.errorf(n, "", "%s cannot be 0", what)
	}
	return Number{Value: int64(v)}
}

// isKey reports whether a text is a key of a configuration, or a product of them.
func isKey(s string) bool {
	if key, rest, ok := strings.Cut(s, "*"); ok {
		return isKey(key) && isKey(rest)
	}
	for i := range len(s) {
		if !isLetter(s[i]) && (i == 0 || !isDigit(s[i]) && s[i] != '.') {
			return false
		}
	}
	return s != ""
}

func (p *parser) numbers(n *yaml.Node, what, one string) []Number {
	if !p.kind(n, yaml.SequenceNode, what, "a list of numbers") {
		return nil
	}
	if len(n.Content) == 0 {
		p.errorf(n, "", "%s is an empty list", what)
	}
	var out []Number
	for _, item := range n.Content {
		out = append(out, p.numberOrKey(item, one))
	}
	return out
}

func (p *parser) axes(n *yaml.Node) []int {
	if !p.kind(n, yaml.SequenceNode, "axes", "a list of numbers") {
		return nil
	}
	axes := make([]int, 0, len(n.Content))
	for _, item := range n.Content {
		v, _ := p.number(item, "an axis", 8)
		if int(v) >= len(n.Content) || slices.Contains(axes, int(v)) {
			p.errorf(n, "axes: [1, 0] exchanges the two axes of a matrix", "axes must have each of 0 to %d once", len(n.Content)-1)
			return nil
		}
		axes = append(axes, int(v))
	}
	if len(axes) == 0 {
		p.errorf(n, "", "axes is an empty list")
	}
	return axes
}

// overHole returns the hole that an unstack runs over, or "".
func overHole(ops []Operation) string {
	for i := range ops {
		if ops[i].Kind == tensorop.Unstack && ops[i].Over != "" {
			return ops[i].Over
		}
	}
	return ""
}

// stackHole returns the hole that a stack runs over, or "".
func stackHole(ops []Operation) string {
	for i := range ops {
		if ops[i].Kind == tensorop.Stack && ops[i].Over != "" {
			return ops[i].Over
		}
	}
	return ""
}

// checkOperations finds what no checkpoint could make right.
func (p *parser) checkOperations(r *Rule, from, to *yaml.Node) {
	first := r.From[0]
	stack, over := stackHole(r.Ops), overHole(r.Ops)
	names := p.oneOrMore(from, "from")
	for i, pat := range r.From {
		var missing []string
		for _, h := range first.holes {
			if !slices.Contains(pat.holes, h) {
				missing = append(missing, h.String())
			}
		}
		switch {
		case len(missing) > 0 || len(pat.holes) != len(first.holes):
			p.errorf(names[i], "the holes say which tensors belong together", "%s and %s do not have the same holes", pat, first)
			return
		case stack != "" && !slices.ContainsFunc(pat.holes, func(h hole) bool { return h.Name == stack && h.Kind == kindDigits }):
			p.errorf(names[i], "", "stack runs over {%s}, which is no hole of numbers in %s", stack, pat)
			return
		}
	}
	if i := slices.IndexFunc(first.holes, func(h hole) bool { return h.Name == stack }); stack != "" && i >= 0 {
		for k, t := range r.To {
			if t.uses(i) {
				p.errorf(p.oneOrMore(to, "to")[k], "", "{%s} is stacked, and the new name cannot have it", stack)
				return
			}
		}
	}
	if over != "" && slices.ContainsFunc(first.holes, func(h hole) bool { return h.Name == over }) {
		p.errorf(from, "", "unstack runs over {%s}, which the old name has already", over)
		return
	}
	fault := func(o *Operation, hint, format string, args ...any) {
		p.errorAt(o.Pos.Line, o.Pos.Column, hint, format, args...)
	}
	joined, spread := false, false
	for i := range r.Ops {
		o := &r.Ops[i]
		joining := slices.Contains(joins, o.Kind)
		switch {
		case o.Kind == tensorop.Stack && o.Over != "" && joined:
			fault(o, "stack first, then join or part the stacks", "stack over {%s} comes behind an operation that joins or parts tensors", o.Over)
			return
		case spread && (joining || o.Operand >= 0):
			fault(o, "put it before the unstack", "%s comes behind an unstack over {%s}, where the number of tensors is not known", o.Kind, over)
			return
		case stack != "" && !joined && o.Operand >= 0:
			fault(o, "put it behind the stack", "%s of one tensor comes before the stack, where the number of tensors is not known", o.Kind)
			return
		}
		joined = joined || joining
		spread = spread || o.Kind == tensorop.Unstack && o.Over != ""
	}
	for i := range r.Ops {
		if o := &r.Ops[i]; o.Kind == tensorop.Unstack && o.Over == "" && !o.Count.isSet() {
			o.Count = Number{Value: int64(len(r.To))}
		}
	}
	n, failed, err := r.dryRun(func(int, int) {})
	if err != nil {
		fault(failed, "", "%v", err)
		return
	}
	if n != len(r.To) {
		if last := &r.Ops[len(r.Ops)-1]; len(r.Ops) == 1 && last.Kind == tensorop.Split {
			fault(last, "", "split has %s for %s", plural.Of(n, "part"), plural.Of(len(r.To), "new name"))
			return
		}
		p.errorf(to, "", "the operations leave %s for %s", plural.Of(n, "tensor"), plural.Of(len(r.To), "new name"))
	}
}

// dryRun carries the operations out without tensors: a hole that a stack or an unstack runs
// over has one number then, and what the configuration says is 1. It returns how many tensors
// they leave, or the operation that cannot be carried out. It tells before of each how many
// there are when its turn comes.
func (r *Rule) dryRun(before func(op, tensors int)) (left int, failed *Operation, err error) {
	s := simulation{nextID: len(r.From)}
	for i := range r.From {
		s.runs = append(s.runs, i)
	}
	for i := range r.Ops {
		o := &r.Ops[i]
		before(i, len(s.runs))
		s.value = func(n Number) (int64, error) {
			if o.Over != "" {
				return 1, nil
			}
			return min(max(1, n.Value), maxOperands), nil
		}
		if err := s.step(o); err != nil {
			return 0, o, err
		}
	}
	return len(s.runs), nil, nil
}
