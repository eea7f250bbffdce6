package compare

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
)

// configOf is what a checkpoint's own documents say of its model.
func configOf(c *checkpoint.Checkpoint) *convention.Config {
	cfg := &convention.Config{}
	cfg.ModelType, _ = c.Config.Text("model_type")
	cfg.TextModelType, _ = c.Config.Text("text_config", "model_type")
	meta := ggufValues(c)
	if c.Format == checkpoint.GGUF {
		cfg.Architecture = c.Architecture(nil)
	}
	cfg.Value = func(key string) (int64, bool) {
		if n, ok := c.Config.Int(key); ok {
			return n, true
		}
		n, ok := meta[cfg.Architecture+"."+ggufKeys[key]]
		return n, ok
	}
	return cfg
}

// ggufKeys are the names that llama.cpp gives to members of config.json, below
// the name of the architecture (gguf-py/gguf/constants.py).
var ggufKeys = map[string]string{
	"hidden_size":         "embedding_length",
	"num_attention_heads": "attention.head_count",
	"num_key_value_heads": "attention.head_count_kv",
	"head_dim":            "attention.key_length",
	"kv_lora_rank":        "attention.kv_lora_rank",
	"num_experts":         "expert_count",
	"num_hidden_layers":   "block_count",
}

// ggufValues returns the metadata that are integers.
func ggufValues(c *checkpoint.Checkpoint) map[string]int64 {
	out := make(map[string]int64)
	for _, kv := range c.Metadata() {
		if kv.Value == nil {
			continue
		}
		if n, ok := kv.Value.Uint(); ok && n <= math.MaxInt64 {
			out[kv.Key] = int64(n)
		} else if n, ok := kv.Value.Int(); ok {
			out[kv.Key] = n
		}
	}
	return out
}

// bothConfigs asks A's documents first, and B's for what they lack.
func bothConfigs(a, b *checkpoint.Checkpoint) *convention.Config {
	x, y := configOf(a), configOf(b)
	return &convention.Config{
		ModelType: x.ModelType, TextModelType: x.TextModelType, Architecture: x.Architecture,
		Value: func(key string) (int64, bool) {
			if n, ok := x.Value(key); ok {
				return n, ok
			}
			return y.Value(key)
		},
	}
}

// A naming is what is known of the names of a side.
type naming struct {
	// conventions are those that it may follow, the likeliest first.
	conventions []*convention.Convention
	// sure says that the first of them is not a guess: a GGUF file names its
	// architecture.
	sure bool
	// absent is the prefix that the convention has and the side lacks.
	absent string
}

func namingOf(list []*tensor, of *checkpoint.Checkpoint) (*naming, error) {
	cfg := configOf(of)
	r, err := convention.Identify(named(list), cfg)
	if err != nil {
		return nil, err
	}
	n := &naming{absent: r.BaseAbsent}
	if conv, ok := convention.Lookup(cfg.Architecture + "-gguf"); ok {
		n.conventions, n.sure = append(n.conventions, conv), true
	}
	var names []string
	if r.Convention != "" {
		names = append(names, r.Convention)
		for _, c := range r.Candidates {
			names = append(names, c.Convention)
		}
	}
	for _, name := range names {
		if conv, ok := convention.Lookup(name); ok && !slices.Contains(n.conventions, conv) {
			n.conventions = append(n.conventions, conv)
		}
	}
	if n.conventions == nil {
		return nil, fmt.Errorf("%s: the names follow no convention that is known, so that they cannot be mapped; give a map instead", of.Path)
	}
	return n, nil
}

// beside returns the conventions that the other side may follow when this one is
// sure: those that its names allow, and those of the same families, which share
// their names with others and are not always told from them.
func (n *naming) beside(other *naming) []*convention.Convention {
	out := other.conventions
	if !n.sure || other.sure {
		return out
	}
	for _, c := range convention.All() {
		if !slices.Contains(out, c) && !c.HasDialect("gguf") && slices.ContainsFunc(n.conventions[0].Families, c.HasFamily) {
			out = append(out, c)
		}
	}
	return out
}

// derive finds the conversion that gives the most names that B has, between
// conventions that the names allow, and where a side is sure of its own, with
// that one.
func (c *comparison) derive() (*convention.Conversion, error) {
	a, err := namingOf(c.as, c.a)
	if err != nil {
		return nil, err
	}
	b, err := namingOf(c.bs, c.b)
	if err != nil {
		return nil, err
	}
	if a.conventions[0] == b.conventions[0] {
		return &convention.Conversion{From: a.conventions[0].Name, To: a.conventions[0].Name}, nil
	}
	inB := make(map[string]bool, len(c.bs))
	for _, t := range c.bs {
		inB[t.own] = true
	}
	froms, tos := b.beside(a), a.beside(b)
	if a.sure {
		froms = froms[:1]
	}
	if b.sure {
		tos = tos[:1]
	}
	var (
		best  *convention.Conversion
		most  = -1
		first error
	)
	for _, from := range froms {
		for _, to := range tos {
			conv, err := convention.Convert(from, to, named(c.as), bothConfigs(c.a, c.b))
			if err != nil {
				first = cmp.Or(first, err)
				continue
			}
			hits := 0
			for i := range conv.Moves {
				for k, name := range conv.Moves[i].To {
					// A save of the bare model lacks the base's prefix.
					name = strings.TrimPrefix(name, b.absent)
					conv.Moves[i].To[k] = name
					if inB[name] {
						hits++
					}
				}
			}
			if hits > most {
				best, most = conv, hits
			}
		}
	}
	if best == nil {
		return nil, first
	}
	return best, nil
}

// convert puts in the place of A's tensors what they become in B's convention.
func (c *comparison) convert() error {
	conv, err := c.derive()
	if err != nil {
		return err
	}
	c.out.From, c.out.To = conv.From, conv.To
	if conv.From == conv.To {
		return nil
	}
	c.out.Notes = append(c.out.Notes, conv.Notes...)
	for _, d := range conv.Dropped {
		c.out.Notes = append(c.out.Notes, fmt.Sprintf("%s has no place in %s: %s", d.Name, conv.To, d.Reason))
	}
	byName := make(map[string]*tensor, len(c.as))
	for _, t := range c.as {
		byName[t.own] = t
	}
	var out []*tensor
	dropped := make(map[string]bool)
	for _, d := range conv.Dropped {
		dropped[d.Name] = true
	}
	done := make(map[string]bool)
	for i := range conv.Moves {
		m := &conv.Moves[i]
		made, err := apply(m, byName)
		if err != nil {
			return err
		}
		out = append(out, made...)
		for _, name := range m.From {
			done[name] = true
		}
	}
	for _, t := range c.as {
		if !done[t.own] && !dropped[t.own] {
			out = append(out, t)
		}
	}
	slices.SortStableFunc(out, func(x, y *tensor) int { return x.index - y.index })
	c.as = out
	return nil
}

// apply returns what a move makes of the tensors. Rows are only looked up
// elsewhere; what changes elements is left to build.
func apply(m *convention.Move, byName map[string]*tensor) ([]*tensor, error) {
	var from []*tensor
	for _, name := range m.From {
		t := byName[name]
		if t == nil {
			return nil, fmt.Errorf("the conversion takes %q, which is not there", name)
		}
		from = append(from, t)
	}
	if len(m.Ops) == 0 && len(from) == 1 && len(m.To) == 1 {
		t := *from[0]
		t.name = m.To[0]
		return []*tensor{&t}, nil
	}
	var layout []string
	for _, op := range m.Ops {
		if text := describe(&op); !slices.Contains(layout, text) {
			layout = append(layout, text)
		}
	}
	heavy := slices.ContainsFunc(m.Ops, func(op rename.Op) bool { return changesElements(op.Kind) })
	// Of what has to be made, only the shapes are found now.
	shapes, problem := run(context.Background(), m, from, !heavy)
	out := make([]*tensor, len(m.To))
	for i, name := range m.To {
		t := &tensor{index: from[0].index, own: from[0].own, name: name, dtype: from[0].dtype, layout: layout, err: problem}
		if len(from) > 1 {
			for _, f := range from {
				t.sources = append(t.sources, f.index)
			}
		}
		out[i] = t
		if problem != nil {
			continue
		}
		if len(shapes) != len(m.To) {
			return nil, fmt.Errorf("the conversion of %q makes %d tensors, not %d", from[0].own, len(shapes), len(m.To))
		}
		t.shape = unsigned(shapes[i].shape)
		t.section = values.Section{Name: from[0].own, Type: shapes[i].typ, BigEndian: shapes[i].big}
		if !heavy {
			t.section.Data = io.NewSectionReader(shapes[i].data, 0, shapes[i].size())
			if len(from) == 1 && len(m.To) == 1 && slices.Equal(from[0].shape, t.shape) {
				t.stored = &from[0].section
			}
			continue
		}
		t.section.Data = io.NewSectionReader(nothing{}, 0, 0)
		t.build = func(ctx context.Context) (values.Section, error) {
			made, err := run(ctx, m, from, true)
			if err != nil {
				return values.Section{}, err
			}
			o := made[i]
			return values.Section{Name: from[0].own, Type: o.typ, BigEndian: o.big, Data: io.NewSectionReader(o.data, 0, o.size())}, nil
		}
	}
	return out, nil
}

// nothing is the data of a tensor that is not made yet.
type nothing struct{}

func (nothing) ReadAt([]byte, int64) (int, error) { return 0, io.EOF }

func describe(op *rename.Op) string {
	switch op.Kind {
	case rename.OpPermute:
		return fmt.Sprintf("rotary rows %s to %s", op.From, op.To)
	case rename.OpSplit, rename.OpConcat:
		if op.Layout != "" && op.Layout != convention.Contiguous {
			return fmt.Sprintf("%s %s", op.Kind, op.Layout)
		}
	case rename.OpOffset:
		return fmt.Sprintf("offset %+g", op.Value)
	}
	return string(op.Kind)
}

func changesElements(k rename.OpKind) bool {
	switch k {
	case rename.OpTranspose, rename.OpOffset, rename.OpNegativeExp, rename.OpLogNegative:
		return true
	}
	return false
}

// An operand is a tensor on its way through a move.
type operand struct {
	typ   *values.Type
	big   bool
	shape []int64
	data  io.ReaderAt
}

func (o *operand) elements() int64 { return product(o.shape) }

func (o *operand) size() int64 { return o.bytes(o.elements()) }

// bytes returns the size of n elements.
func (o *operand) bytes(n int64) int64 {
	return n / int64(o.typ.BlockElems) * int64(o.typ.BlockBytes)
}

func product(shape []int64) int64 {
	n := int64(1)
	for _, d := range shape {
		n *= d
	}
	return n
}

func unsigned(shape []int64) []uint64 {
	out := make([]uint64, len(shape))
	for i, d := range shape {
		out[i] = uint64(d)
	}
	return out
}

// run carries out the operations of a move. Without data, those that change
// elements only change shapes.
func run(ctx context.Context, m *convention.Move, from []*tensor, withData bool) ([]operand, error) {
	var ops []operand
	for _, t := range from {
		if t.err != nil {
			return nil, t.err
		}
		if t.section.Type == nil || t.shape == nil {
			return nil, fmt.Errorf("tensor %q: this version does not know %s, and cannot undo its layout", t.own, t.dtype)
		}
		o := operand{typ: t.section.Type, big: t.section.BigEndian, data: t.section.Data}
		for _, d := range t.shape {
			o.shape = append(o.shape, int64(d))
		}
		// The shape agrees with the size of the data, which is below 2^63.
		if o.size() != t.section.Data.Size() {
			return nil, fmt.Errorf("tensor %q: its %d bytes are not its shape's", t.own, t.section.Data.Size())
		}
		ops = append(ops, o)
	}
	for i := range m.Ops {
		op := &m.Ops[i]
		if op.Index < 0 || op.Count < 1 || op.Index+op.Count > len(ops) {
			return nil, fmt.Errorf("tensor %q: the conversion's %s does not fit", from[0].own, op.Kind)
		}
		made, err := perform(ctx, op, ops[op.Index:op.Index+op.Count], withData)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %s: %w", from[0].own, op.Kind, err)
		}
		ops = slices.Replace(ops, op.Index, op.Index+op.Count, made...)
	}
	return ops, nil
}

// perform carries out one operation.
func perform(ctx context.Context, op *rename.Op, in []operand, withData bool) ([]operand, error) {
	o := in[0]
	for i := range in {
		if in[i].typ != o.typ || in[i].big != o.big {
			return nil, errors.New("its parts have different dtypes")
		}
	}
	switch op.Kind {
	case rename.OpPermute:
		if op.Axis >= len(o.shape) || op.Heads <= 0 || o.shape[op.Axis]%op.Heads != 0 || o.shape[op.Axis]/op.Heads%2 != 0 {
			return nil, fmt.Errorf("%v does not divide into %d heads of an even size", o.shape, op.Heads)
		}
		d := o.shape[op.Axis] / op.Heads
		return one(o.gather(op.Axis, o.shape[op.Axis], func(row int64) (int, int64) {
			head, r := row/d, row%d
			if op.To == convention.RopeAdjacent {
				return 0, head*d + r/2 + r%2*(d/2)
			}
			return 0, head*d + r%(d/2)*2 + r/(d/2)
		}, in))
	case rename.OpSplit:
		return o.split(op)
	case rename.OpConcat:
		return one(concat(op, in))
	case rename.OpStack:
		o.shape = append([]int64{int64(len(in))}, o.shape...)
		for i := range in {
			if !slices.Equal(in[i].shape, o.shape[1:]) {
				return nil, errors.New("its parts have different shapes")
			}
			in[i].shape = append([]int64{1}, in[i].shape...)
		}
		return one(o.gather(0, int64(len(in)), func(row int64) (int, int64) { return int(row), 0 }, in))
	case rename.OpUnstack:
		if len(o.shape) < 2 || o.shape[0] != int64(len(op.Sizes)) {
			return nil, fmt.Errorf("%v is not a stack of %d", o.shape, len(op.Sizes))
		}
		var out []operand
		for i := range op.Sizes {
			part, err := o.gather(0, 1, func(int64) (int, int64) { return 0, int64(i) }, in)
			if err != nil {
				return nil, err
			}
			part.shape = part.shape[1:]
			out = append(out, part)
		}
		return out, nil
	case rename.OpReshape:
		if product(op.Shape) != o.elements() {
			return nil, fmt.Errorf("%v does not have the elements of %v", o.shape, op.Shape)
		}
		o.shape = op.Shape
		return []operand{o}, nil
	case rename.OpTranspose:
		n := len(o.shape)
		if n < 2 || o.typ.BlockElems != 1 {
			return nil, fmt.Errorf("%s of shape %v cannot be transposed", o.typ.Name, o.shape)
		}
		out := o
		out.shape = slices.Clone(o.shape)
		out.shape[n-1], out.shape[n-2] = o.shape[n-2], o.shape[n-1]
		if !withData {
			return []operand{out}, nil
		}
		return one(out.transposed(ctx, &o))
	case rename.OpOffset:
		return one(o.elementwise(ctx, withData, func(v float64) float64 { return v + op.Value }))
	case rename.OpNegativeExp:
		return one(o.elementwise(ctx, withData, func(v float64) float64 { return -math.Exp(v) }))
	case rename.OpLogNegative:
		return one(o.elementwise(ctx, withData, func(v float64) float64 { return math.Log(-v) }))
	}
	return nil, errors.New("this version cannot carry it out")
}

func one(o operand, err error) ([]operand, error) {
	if err != nil {
		return nil, err
	}
	return []operand{o}, nil
}

// gather returns the operand whose axis has n units, each of which is found at
// at's index of at's source. Sources differ in that axis alone.
func (o operand) gather(axis int, n int64, at func(unit int64) (source int, index int64), in []operand) (operand, error) {
	if axis < 0 || axis >= len(o.shape) {
		return operand{}, fmt.Errorf("%v has no axis %d", o.shape, axis)
	}
	inner := product(o.shape[axis+1:])
	if inner%int64(o.typ.BlockElems) != 0 {
		return operand{}, fmt.Errorf("the blocks of %s do not end where rows of %v do", o.typ.Name, o.shape)
	}
	out := o
	out.shape = slices.Clone(o.shape)
	out.shape[axis] = n
	g := &gathered{unit: o.bytes(inner), n: n, at: at}
	for i := range in {
		g.sources = append(g.sources, in[i].data)
		g.lengths = append(g.lengths, in[i].shape[axis])
	}
	g.size = out.size()
	out.data = g
	return out, nil
}

// gathered reads units from wherever they are.
type gathered struct {
	unit    int64 // bytes
	n       int64 // units along the axis; those before it repeat
	at      func(unit int64) (source int, index int64)
	sources []io.ReaderAt
	lengths []int64 // units along the axis of each source
	size    int64
}

func (g *gathered) ReadAt(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		if off >= g.size {
			return n, io.EOF
		}
		source, begin := g.place(off)
		// Units that follow each other there too are read at once.
		run := g.unit - off%g.unit
		for int64(len(p)-n) > run && off+run < g.size {
			if s, b := g.place(off + run); s != source || b != begin+run {
				break
			}
			run += g.unit
		}
		want := p[n:min(int64(len(p)), int64(n)+run)]
		k, err := g.sources[source].ReadAt(want, begin)
		n += k
		off += int64(k)
		if k < len(want) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
	}
	return n, nil
}

// place returns where the byte at off is.
func (g *gathered) place(off int64) (source int, at int64) {
	unit := off / g.unit
	source, from := g.at(unit % g.n)
	return source, (unit/g.n*g.lengths[source]+from)*g.unit + off%g.unit
}

// A fusion says where the parts of a fused axis lie: of groups runs, each with a
// piece of every part in turn. Contiguous is one run.
type fusion struct {
	pieces []int64 // of each part in a run
	starts []int64 // of the pieces in a run
	run    int64
}

func newFusion(op *rename.Op) (*fusion, error) {
	groups := int64(1)
	switch op.Layout {
	case "", convention.Contiguous:
	case convention.PerHead, convention.Grouped:
		groups = op.Groups
	case convention.Interleaved:
		if len(op.Sizes) > 0 {
			groups = op.Sizes[0]
		}
	default:
		return nil, fmt.Errorf("the layout %q is not known", op.Layout)
	}
	f := &fusion{}
	for _, s := range op.Sizes {
		if groups <= 0 || s < 0 || s%groups != 0 {
			return nil, fmt.Errorf("parts of %v do not divide into %d groups", op.Sizes, groups)
		}
		f.pieces = append(f.pieces, s/groups)
		f.starts = append(f.starts, f.run)
		f.run += s / groups
	}
	if f.run == 0 {
		return nil, errors.New("it has no parts")
	}
	return f, nil
}

func (o operand) split(op *rename.Op) ([]operand, error) {
	f, err := newFusion(op)
	if err != nil {
		return nil, err
	}
	var sum int64
	for _, s := range op.Sizes {
		sum += s
	}
	if op.Axis >= len(o.shape) || sum != o.shape[op.Axis] {
		return nil, fmt.Errorf("parts of %v are not those of %v", op.Sizes, o.shape)
	}
	var out []operand
	for i, s := range op.Sizes {
		part, err := o.gather(op.Axis, s, func(row int64) (int, int64) {
			return 0, row/f.pieces[i]*f.run + f.starts[i] + row%f.pieces[i]
		}, []operand{o})
		if err != nil {
			return nil, err
		}
		out = append(out, part)
	}
	return out, nil
}

func concat(op *rename.Op, in []operand) (operand, error) {
	own := *op
	if len(own.Sizes) == 0 {
		for i := range in {
			if op.Axis >= len(in[i].shape) {
				return operand{}, fmt.Errorf("%v has no axis %d", in[i].shape, op.Axis)
			}
			own.Sizes = append(own.Sizes, in[i].shape[op.Axis])
		}
	}
	f, err := newFusion(&own)
	if err != nil {
		return operand{}, err
	}
	if len(own.Sizes) != len(in) {
		return operand{}, fmt.Errorf("there are %d parts, not %d", len(in), len(own.Sizes))
	}
	var sum int64
	for i := range in {
		if op.Axis >= len(in[i].shape) || in[i].shape[op.Axis] != own.Sizes[i] || len(in[i].shape) != len(in[0].shape) {
			return operand{}, fmt.Errorf("parts of %v are not those of %v", own.Sizes, in[i].shape)
		}
		for axis := range in[i].shape {
			if axis != op.Axis && in[i].shape[axis] != in[0].shape[axis] {
				return operand{}, fmt.Errorf("%v and %v cannot be joined", in[0].shape, in[i].shape)
			}
		}
		sum += own.Sizes[i]
	}
	return in[0].gather(op.Axis, sum, func(row int64) (int, int64) {
		r := row % f.run
		i := len(f.starts) - 1
		for f.starts[i] > r || f.pieces[i] == 0 {
			i--
		}
		return i, row/f.run*f.pieces[i] + r - f.starts[i]
	}, in)
}

// mostInMemory bounds what is made in memory.
const mostInMemory = min(4<<30, math.MaxInt/2)

// read reads the whole operand.
func (o *operand) read(ctx context.Context) ([]byte, error) {
	if o.size() > mostInMemory {
		return nil, fmt.Errorf("%d bytes are too many to be converted in memory", o.size())
	}
	b := make([]byte, o.size())
	const step = 1 << 20
	for at := 0; at < len(b); at += step {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		part := b[at:min(at+step, len(b))]
		if n, err := o.data.ReadAt(part, int64(at)); n < len(part) {
			return nil, fmt.Errorf("byte %d: %w", at+n, err)
		}
	}
	return b, nil
}

// transposed fills in the data of o: from with its last two axes exchanged.
func (o operand) transposed(ctx context.Context, from *operand) (operand, error) {
	b, err := from.read(ctx)
	if err != nil {
		return operand{}, err
	}
	n := len(from.shape)
	rows, cols, unit := int(from.shape[n-2]), int(from.shape[n-1]), from.typ.BlockBytes
	out := make([]byte, len(b))
	for base := 0; base < len(b); base += rows * cols * unit {
		for r := range rows {
			for c := range cols {
				copy(out[base+(c*rows+r)*unit:][:unit], b[base+(r*cols+c)*unit:])
			}
		}
	}
	o.data = bytesAt(out)
	return o, nil
}

// elementwise returns the operand with f applied to every number, as F32: what
// llama.cpp's converter computes in.
func (o operand) elementwise(ctx context.Context, withData bool, f func(float64) float64) (operand, error) {
	if o.typ.Parts != 1 {
		return operand{}, fmt.Errorf("%s has no order", o.typ.Name)
	}
	f32, _ := values.Lookup("F32")
	out := operand{typ: f32, shape: o.shape}
	if !withData {
		return out, nil
	}
	b, err := o.read(ctx)
	if err != nil {
		return operand{}, err
	}
	if o.big {
		o.typ.Swap(b)
	}
	numbers := make([]float64, o.elements())
	o.typ.Decode64(numbers, b)
	made := make([]byte, 0, 4*len(numbers))
	for _, v := range numbers {
		made = binary.LittleEndian.AppendUint32(made, math.Float32bits(float32(f(v))))
	}
	out.data = bytesAt(made)
	return out, nil
}

// bytesAt is bytes that are there.
type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}
