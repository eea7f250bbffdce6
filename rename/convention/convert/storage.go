package convert

import (
	"cmp"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// A storage is how a convention keeps the bytes of a module. Equal storages
// need no operation.
type storage struct {
	rope  string // the order of rows, or of the elements of rows where inRows is set
	fused string
	heads string // the order of heads, "" where it does not matter
	decay string
	shape string // a letter or 1 for each axis, "" for any

	inRows, transposed, flat bool
	swapped, pointwise       bool
	offset                   float64
}

// storage describes a tensor's bytes, which may depend on what else is in its
// block.
func (cv *converter) storage(c *convention.Convention, m *member) storage {
	module, leaf := cutLeaf(m.role)
	s := storageOf(c, module, leaf)
	s.pack(c, m.packed)
	s.turn(c, module, cv.model)
	for _, text := range c.Layout.Swapped {
		if of, other, ok := strings.Cut(text, " without "); ok && of == module {
			s.swapped = !cv.has(other, m.index)
		}
	}
	return s
}

// pack takes back what MXFP4 blocks do not do: their rows are those of the weight,
// whatever the orientation of unpacked experts.
func (s *storage) pack(c *convention.Convention, packed bool) {
	if packed && c.Layout.Blocks != "" {
		s.transposed = false
	}
}

// turn is of models that turn sections of a head by different positions.
func (s *storage) turn(c *convention.Convention, module string, model *convention.Model) {
	if model != nil && model.Sections && needsRope(module) {
		s.rope = cmp.Or(c.Layout.RopeSections, s.rope)
	}
}

// storageOf describes a module's bytes, as the data of the convention says.
func storageOf(c *convention.Convention, module, leaf string) storage {
	var s storage
	l := &c.Layout
	switch {
	case strings.HasPrefix(module, "vision.") || strings.HasPrefix(module, "encoder."):
	case needsRope(module):
		s.rope = l.Rope
	case module == "layer.cross.q" || module == "layer.cross.k":
		s.rope = l.RopeCross
	case l.RopeNorms && (module == "layer.attn.q_norm" || module == "layer.attn.k_norm"):
		s.rope, s.inRows = l.Rope, true
	}
	switch {
	case strings.HasSuffix(module, "attn.qkv"):
		s.fused = cmp.Or(l.QKV, tensorop.Contiguous)
	case strings.HasSuffix(module, "attn.qkv_mlp"), strings.HasSuffix(module, "cross.kv"):
		s.fused = tensorop.Contiguous
	case strings.HasSuffix(module, "gate_up"):
		s.fused = cmp.Or(l.GateUp, tensorop.Contiguous)
	case strings.HasSuffix(module, "attn.kv"):
		s.fused = tensorop.PerHead
	}
	switch {
	case module == "layer.attn.q" || module == "layer.attn.o" && leaf == "weight":
		s.heads = l.QueryHeads
	case strings.HasPrefix(module, linearAttention) && (leaf == "weight" || module != linearAttention+"o"):
		if _, ok := valueHeads[strings.TrimPrefix(module, linearAttention)]; ok {
			s.heads = l.ValueHeads
		}
	}
	s.swapped = slices.Contains(l.Swapped, module)
	if leaf != "weight" {
		return s
	}
	s.pointwise = slices.ContainsFunc(l.Pointwise, func(g string) bool { return template.Glob(g).Match(module) })
	s.transposed = c.Transposes(module)
	if strings.Contains(module, ".experts.") {
		s.flat = l.Experts == convention.Flat
		s.transposed = l.Experts == convention.InOut || s.flat && strings.HasSuffix(module, ".down")
	}
	if isNorm(module) {
		s.offset = c.NormOffset(module)
	}
	if module == "layer.ssm.a" || module == "layer.linear_attn.a_log" {
		s.decay = cmp.Or(l.Decay, "log")
	}
	s.shape = c.Shape(module)
	return s
}

func needsRope(module string) bool {
	return strings.HasSuffix(module, "layer.attn.q") || strings.HasSuffix(module, "layer.attn.k") || strings.HasSuffix(module, "layer.attn.qkv")
}

func isNorm(module string) bool {
	last := module[strings.LastIndexByte(module, '.')+1:]
	return last == "norm" || strings.HasSuffix(last, "_norm") || strings.HasPrefix(last, "norm_") || strings.Contains(last, "_norm_")
}

// lacksAxes reports whether a shape is known and has not as many axes as the form that it is to have: a file
// may have lost those of one.
func (s *storage) lacksAxes(shape []uint64) bool {
	return s.shape != "" && shape != nil && len(shape) != len(s.shape)
}

// regroups reports whether tensors of a module have to be taken apart, joined, or
// given other rows between two storages.
func regroups(a, b storage) bool {
	return a.fused != b.fused || a.flat != b.flat || a.rope != b.rope && !a.inRows
}

// A form is a tensor between two storages: its operand, what it is and its shape
// so far, nil where unknown.
type form struct {
	cv     *converter
	module string
	name   string // for refusals
	shape  []uint64
	index  int // among the operands
	ops    []tensorop.Op
}

// change lists the operations on one tensor that has its rows, apart from those
// that regroup.
func (f *form) change(a, b storage) ([]tensorop.Op, error) {
	if a.swapped != b.swapped {
		f.add(tensorop.Op{Kind: tensorop.Split})
		f.ops = append(f.ops, tensorop.Op{Kind: tensorop.Swap, Index: f.index, Count: 2}, tensorop.Op{Kind: tensorop.Concat, Index: f.index, Count: 2})
	}
	if a.pointwise != b.pointwise {
		shape, err := f.pixelShape(b.pointwise)
		if err != nil {
			return nil, err
		}
		if shape != nil {
			f.add(tensorop.Op{Kind: tensorop.Reshape, Shape: shape})
		}
	}
	if a.transposed != b.transposed {
		f.add(tensorop.Op{Kind: tensorop.Transpose})
	}
	if a.inRows && b.inRows && a.rope != b.rope {
		f.add(tensorop.Op{Kind: tensorop.Permute, Axis: 1, Heads: 1, From: a.rope, To: b.rope})
	}
	if a.offset != b.offset {
		f.add(tensorop.Op{Kind: tensorop.Offset, Value: a.offset - b.offset})
	}
	if a.decay != b.decay {
		kind := tensorop.NegativeExp
		if b.decay == "log" {
			kind = tensorop.LogNegative
		}
		f.add(tensorop.Op{Kind: kind})
	}
	if a.shape != "" && b.shape != "" && (a.shape != b.shape || b.lacksAxes(f.shape)) {
		if err := f.reshape(a.shape, b.shape); err != nil {
			return nil, err
		}
	}
	if a.heads != b.heads && a.heads != "" && b.heads != "" {
		if err := f.reorder(a.heads, b.heads); err != nil {
			return nil, err
		}
	}
	return f.ops, nil
}

func (f *form) add(o tensorop.Op) {
	o.Index, o.Count = f.index, 1
	f.ops = append(f.ops, o)
}

// reshape takes axes of 1 out of a shape and puts them in, and groups a vector
// or takes the groups apart. A form has a letter for each axis: "c1k" is [c, 1, k].
func (f *form) reshape(from, to string) error {
	if f.shape != nil {
		if from = formOf(f.shape, from); from == "" {
			return f.cv.refuse(f.name, "its shape %v is not that of %s", f.shape, f.module)
		}
		if from == to {
			return nil
		}
	}
	for i := len(from) - 1; i >= 0; i-- {
		if from[i] == '1' {
			f.add(tensorop.Op{Kind: tensorop.Squeeze, Axis: i})
		}
	}
	switch a, b := len(letters(from)), len(letters(to)); {
	case a < b:
		groups, ok := f.cv.model.Number("n_groups")
		if !ok || groups <= 0 || groups > 1<<24 {
			e := f.cv.refuse(f.name, "the number of its groups is not known")
			e.Needs = "n_groups"
			return e
		}
		f.add(tensorop.Op{Kind: tensorop.Unflatten, Groups: groups})
	case a > b:
		flatten := tensorop.Op{Kind: tensorop.Flatten}
		if f.shape != nil {
			flatten.Groups = int64(f.shape[0])
		}
		f.add(flatten)
	}
	for i := range to {
		if to[i] == '1' {
			f.add(tensorop.Op{Kind: tensorop.Unsqueeze, Axis: i})
		}
	}
	return nil
}

// pixelShape gives the shape of a matrix as a convolution of one pixel or without
// its kernel, nil where it has that shape.
func (f *form) pixelShape(kernel bool) ([]int64, error) {
	rest := f.shape
	if len(rest) > 2 {
		rest = rest[2:]
	}
	switch {
	case f.shape == nil:
		return nil, f.cv.refuse(f.name, "its shape is not known")
	case len(f.shape) == 2 && kernel:
		return []int64{int64(f.shape[0]), int64(f.shape[1]), 1, 1}, nil
	case len(f.shape) == 2 || len(f.shape) == 4 && kernel:
		return nil, nil
	case len(f.shape) > 4 || len(f.shape) < 2 || slices.ContainsFunc(rest, func(n uint64) bool { return n != 1 }):
		return nil, f.cv.refuse(f.name, "its shape %v is not that of a convolution of one pixel", f.shape)
	}
	return []int64{int64(f.shape[0]), int64(f.shape[1])}, nil
}

func letters(form string) string { return strings.ReplaceAll(form, "1", "") }

// formOf is the form that a shape has: the one that is expected, or another with
// the same letters, as mlx's [c, k, 1]. It is "" where there is none.
func formOf(shape []uint64, want string) string {
	fits := func(form string) bool {
		for i := range form {
			if form[i] == '1' && shape[i] != 1 {
				return false
			}
		}
		return len(form) == len(shape)
	}
	if fits(want) {
		return want
	}
	form := letters(want)
	for i := len(shape) - 1; i >= 0 && len(form) < len(shape); i-- {
		if shape[i] == 1 && i <= len(form) {
			form = form[:i] + "1" + form[i:]
		}
	}
	if !fits(form) {
		return ""
	}
	return form
}

// linearAttention is before the modules of gated linear attention, and valueHeads
// says where in a module the heads of the values are.
const linearAttention = "layer.linear_attn."

var valueHeads = map[string]headPlace{
	"qkv":   {keys: true},
	"conv":  {keys: true},
	"z":     {},
	"a":     {single: true},
	"b":     {single: true},
	"a_log": {single: true},
	"dt":    {single: true},
	"o":     {axis: 1},
}

// A headPlace is where heads are along an axis: behind the queries and keys, or
// one element of each.
type headPlace struct {
	axis         int
	keys, single bool
}

// reorder moves heads between the orders grouped and tiled.
func (f *form) reorder(from, to string) error {
	permute := tensorop.Op{Kind: tensorop.Permute, From: from, To: to}
	if !strings.HasPrefix(f.module, linearAttention) {
		heads, groups, _, err := f.cv.heads(f.name)
		if err != nil {
			return err
		}
		permute.Heads, permute.Groups = heads, groups
		if f.module == "layer.attn.o" {
			permute.Axis = 1
		}
		f.add(permute)
		return nil
	}
	n, err := f.cv.deltaHeads(f.name)
	if err != nil {
		return err
	}
	if n.values == n.keys {
		return nil // each key head has one value head
	}
	place := valueHeads[strings.TrimPrefix(f.module, linearAttention)]
	permute.Heads, permute.Groups, permute.Axis = n.values, n.keys, place.axis
	if !place.keys {
		f.add(permute)
		return nil
	}
	dk, dv, err := n.dims(f)
	if err != nil {
		return err
	}
	parts := tensorop.Op{Kind: tensorop.Split, Sizes: []int64{n.keys * dk, n.keys * dk, n.values * dv}, Layout: tensorop.Contiguous}
	f.add(parts)
	permute.Index, permute.Count = f.index+2, 1
	parts.Kind, parts.Index, parts.Count = tensorop.Concat, f.index, 3
	f.ops = append(f.ops, permute, parts)
	return nil
}

// deltaHeads are the heads of gated linear attention.
type deltaHeads struct {
	cv           *converter
	keys, values int64
}

func (cv *converter) deltaHeads(tensor string) (n deltaHeads, err error) {
	n.cv = cv
	if n.keys, err = cv.number(tensor, "linear_num_key_heads"); err == nil {
		n.values, err = cv.number(tensor, "linear_num_value_heads")
	}
	if err == nil && n.values%n.keys != 0 {
		err = cv.refuse(tensor, "%s do not divide among %s", plural.Of(n.values, "value head"), plural.Of(n.keys, "key head"))
	}
	return n, err
}

// dims are the sizes of a key head and of a value head.
func (n *deltaHeads) dims(f *form) (key, value int64, err error) {
	if key, err = n.cv.number(f.name, "linear_key_head_dim"); err != nil {
		return 0, 0, err
	}
	if len(f.shape) > 0 && int64(f.shape[0]) > 2*n.keys*key {
		if rest := int64(f.shape[0]) - 2*n.keys*key; rest%n.values == 0 {
			return key, rest / n.values, nil
		}
	}
	value, err = n.cv.number(f.name, "linear_value_head_dim")
	return key, value, err
}

// number returns a number of the model that a tensor needs.
func (cv *converter) number(tensor, key string) (int64, error) {
	v, ok := cv.model.Number(key)
	if !ok || v <= 0 || v > 1<<24 {
		e := cv.refuse(tensor, "%s is not known", key)
		e.Needs = key
		return 0, e
	}
	return v, nil
}
