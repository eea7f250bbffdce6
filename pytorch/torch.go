package pytorch

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A rebuild does what a call of a global does. It returns false for arguments that are not
// the global's; the call is an [Object] then.
type rebuild func(m *machine, g *Global, args []Value) (Value, bool)

// known are the globals whose calls are understood, by name.
var known map[string]rebuild

func init() {
	known = map[string]rebuild{
		// torch/_utils.py
		"torch._utils._rebuild_tensor":                        rebuildTensor,
		"torch._utils._rebuild_tensor_v2":                     rebuildTensor,
		"torch._utils._rebuild_tensor_v3":                     rebuildTensor,
		"torch._utils._rebuild_qtensor":                       rebuildTensor,
		"torch._utils._rebuild_parameter":                     rebuildParameter,
		"torch._utils._rebuild_parameter_with_state":          rebuildParameter,
		"torch.nn.parameter.Parameter":                        rebuildParameter,
		"torch.nn.parameter.Buffer":                           rebuildParameter,
		"torch._utils._rebuild_device_tensor_from_cpu_tensor": rebuildOnDevice,
		"torch._utils._rebuild_meta_tensor_no_storage":        rebuildMeta,
		"torch._utils._rebuild_wrapper_subclass":              rebuildWrapper,
		"torch._tensor._rebuild_from_type_v2":                 rebuildFromType,
		"torch._tensor._rebuild_from_type":                    rebuildFromType,
		// torch/jit/_pickle.py
		"torch.jit._pickle.build_intlist":    firstArg,
		"torch.jit._pickle.build_tensorlist": firstArg,
		"torch.jit._pickle.build_doublelist": firstArg,
		"torch.jit._pickle.build_boollist":   firstArg,
		"torch.jit._pickle.restore_type_tag": firstArg,

		"torch.storage._load_from_bytes":  loadFromBytes,
		"torch.Size":                      makeTuple,
		"torch.device":                    makeDevice,
		"torch.serialization._get_layout": makeLayout,
		"collections.OrderedDict":         makeDict,
		"builtins.dict":                   makeDict,
		"collections.Counter":             makeDict,
		"collections.defaultdict":         makeDefaultDict,
		"builtins.set":                    makeSet,
		"builtins.frozenset":              makeSet,
		"builtins.bytearray":              makeBytes,
		"_codecs.encode":                  makeBytes,
		"copyreg._reconstructor":          reconstruct,
		"copyreg.__newobj__":              reconstruct,
		"copyreg.__newobj_ex__":           reconstruct,
	}
}

// lending are those of them whose arguments are not needed after the call, nor what is in them but
// tensors: torch makes four tuples and a dictionary for every tensor.
var lending = map[string]bool{
	"torch._utils._rebuild_tensor": true, "torch._utils._rebuild_tensor_v2": true, "torch._utils._rebuild_tensor_v3": true,
	"torch._utils._rebuild_parameter": true, "torch.Size": true,
}

// tensor makes a tensor of what every rebuild function begins with, of the type of the storage or of another
// one. It reports false, and a fault, for what is no tensor's.
func (m *machine) tensor(storage, offset, size, stride Value, dtype DType) (*Tensor, bool) {
	s, ok := storage.(*Storage)
	if !ok {
		m.warn(CodeBadTensor, "a tensor is made of %s, which is not a storage", repr(storage))
		return nil, false
	}
	s.used = true
	if s.Root != nil {
		s.Root.used = true
	}
	if dtype == "" {
		dtype = cmp.Or(s.DType, "uint8") // torch/serialization.py, persistent_load
	}
	n, ok := offset.(int64)
	l := m.layout(dtype, size, stride)
	if !ok || n < 0 || l == nil {
		m.warn(CodeBadTensor, "a tensor has offset %s, size %s and stride %s", repr(offset), repr(size), repr(stride))
		return nil, false
	}
	return m.room.tensor(Tensor{Layout: l, Offset: uint64(n), Storage: s}), true
}

// layout returns the layout that size and stride say, nil for what does not.
func (m *machine) layout(dtype DType, size, stride Value) *Layout {
	a, ok1 := size.(*List)
	b, ok2 := stride.(*List)
	if !ok1 || !ok2 || len(a.Items) != len(b.Items) {
		return nil
	}
	if n := len(a.Items); n > 8 {
		m.charge(16 * n) // for the time it takes
	}
	dims := m.room.dims[:0]
	for _, l := range [...]*List{a, b} {
		for _, v := range l.Items {
			d, ok := v.(int64)
			if !ok || d < 0 {
				return nil
			}
			dims = append(dims, uint64(d))
		}
	}
	m.room.dims = dims
	l, isNew := m.room.layout(dtype, dims)
	if isNew {
		m.charge(300 + 32*len(dims))
	}
	return l
}

// with is a layout with something else, which is its alone.
func (m *machine) with(l *Layout, change func(*Layout)) *Layout {
	m.charge(150)
	own := *l
	change(&own)
	return &own
}

// classed is a layout of a class.
func (m *machine) classed(l *Layout, class string) *Layout {
	if l.Class == class {
		return l
	}
	out, isNew := m.room.classed(l, class)
	if isNew {
		m.charge(300)
	}
	return out
}

// rebuildTensor is every rebuild function of a tensor with a storage:
//
//	_rebuild_tensor(storage, offset, size, stride)
//	_rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])
//	_rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata])
//	_rebuild_qtensor(storage, offset, size, stride, quantizer_params, requires_grad, hooks)
func rebuildTensor(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) < 4 {
		m.warn(CodeBadTensor, "%s is called with %d arguments", g.Name, len(args))
		return nil, false
	}
	m.charge(sizeOfTensor)
	rest := args[4:]
	dtype := DType("")
	if g.Name == "_rebuild_tensor_v3" {
		if len(rest) < 3 {
			m.warn(CodeBadTensor, "%s is called with %d arguments", g.Name, len(args))
			return nil, false
		}
		dtype, _ = dtypeOf(rest[2])
	}
	t, ok := m.tensor(args[0], args[1], args[2], args[3], dtype)
	if !ok {
		return nil, false
	}
	switch g.Name {
	case "_rebuild_tensor_v3":
		if dtype == "" {
			m.warn(CodeBadTensor, "a tensor has the dtype %s", repr(rest[2]))
			return nil, false
		}
		rest = rest[1:]
	case "_rebuild_qtensor":
		if len(rest) > 0 {
			if q, ok := rest[0].(*List); ok {
				t.Layout = m.with(t.Layout, func(l *Layout) { l.Quantizer, l.attrs = q, m.perChannel(q) })
			}
		}
		m.setHooks(t, rest, 2)
		return m.mark(t), true
	}
	m.setHooks(t, rest, 1)
	if len(rest) > 2 {
		if meta, ok := rest[2].(*Dict); ok { // torch/csrc/jit/serialization/pickler.h, getTensorMetadata
			if conj, neg := isTrue(meta, "conj"), isTrue(meta, "neg"); conj || neg {
				t.Layout = m.with(t.Layout, func(l *Layout) { l.Conj, l.Neg = conj, neg })
			}
		}
	}
	return m.mark(t), true
}

// setHooks notes the hooks that a tensor is made with, argument i of some, where they have tensors.
func (m *machine) setHooks(t *Tensor, args []Value, i int) {
	if i < len(args) {
		if hooks, ok := args[i].(*Dict); ok && len(hooks.Items) > 0 {
			m.setApart(t, "_backward_hooks", hooks)
		}
	}
}

// perChannel returns the scales and zero points of channels, by the names of the methods that return
// them (torch/_tensor.py, _reduce_ex_internal): the quantizer is the scheme, these two, and the axis.
func (m *machine) perChannel(quantizer *List) Value {
	if quantizer == nil || len(quantizer.Items) != 4 || !isTensor(quantizer.Items[1]) && !isTensor(quantizer.Items[2]) {
		return nil
	}
	m.charge(100)
	return &Dict{Items: []Item{{"q_per_channel_scales", quantizer.Items[1]}, {"q_per_channel_zero_points", quantizer.Items[2]}}}
}

func isTrue(d *Dict, key string) bool {
	v, _ := d.Lookup(key)
	return v == true
}

// rebuildParameter is what gives a tensor another class, place or gradient.
func rebuildParameter(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) == 0 {
		return nil, false
	}
	data, ok := args[0].(*Tensor)
	if !ok {
		return args[0], isObject(args[0])
	}
	t := m.copyOf(data)
	if strings.HasPrefix(g.Name, "_rebuild_parameter") {
		m.setHooks(t, args, 2)
	}
	switch {
	case g.Name == "_rebuild_parameter_with_state" && len(args) > 3:
		t.Layout = m.stated(t.Layout, args[3])
		fallthrough
	case strings.HasPrefix(g.Name, "_rebuild_parameter"):
		t.Layout = m.classed(t.Layout, "torch.nn.parameter.Parameter")
	case g.Module == "torch.nn.parameter":
		t.Layout = m.classed(t.Layout, g.String())
	}
	return t, true
}

// rebuildOnDevice is _rebuild_device_tensor_from_cpu_tensor(data, dtype, device, requires_grad), which is
// data.to(device, dtype).
func rebuildOnDevice(m *machine, g *Global, args []Value) (Value, bool) {
	v, ok := rebuildParameter(m, g, args)
	t, isTensor := v.(*Tensor)
	if !isTensor || len(args) < 2 {
		return v, ok
	}
	dtype, known := dtypeOf(args[1])
	if !known {
		m.warn(CodeBadTensor, "a tensor has the dtype %s", repr(args[1]))
		return nil, false
	}
	if dtype == t.DType {
		dtype = ""
	}
	if dtype != t.Cast {
		t.Layout = m.with(t.Layout, func(l *Layout) { l.Cast = dtype })
	}
	return t, true
}

func isObject(v Value) bool { _, ok := v.(*Object); return ok }

// rebuildMeta is _rebuild_meta_tensor_no_storage(dtype, size, stride, requires_grad).
func rebuildMeta(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) < 3 {
		return nil, false
	}
	m.charge(sizeOfTensor)
	dtype, ok := dtypeOf(args[0])
	l := m.layout(dtype, args[1], args[2])
	if !ok || l == nil {
		m.warn(CodeBadTensor, "a tensor without data has dtype %s, size %s and stride %s", repr(args[0]), repr(args[1]), repr(args[2]))
		return nil, false
	}
	return m.room.tensor(Tensor{Layout: l}), true
}

// rebuildWrapper is _rebuild_wrapper_subclass(cls, dtype, size, stride, storage_offset,
// layout, device, requires_grad): a tensor whose data are in its attributes.
func rebuildWrapper(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) < 4 {
		return nil, false
	}
	v, ok := rebuildMeta(m, g, args[1:])
	if !ok {
		return nil, false
	}
	t := v.(*Tensor)
	t.Layout = m.classed(t.Layout, repr(args[0]))
	return t, true
}

// rebuildFromType is _rebuild_from_type_v2(func, type, args, state), for a subclass or a
// tensor with attributes; without state in the function before it.
func rebuildFromType(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) < 3 {
		return nil, false
	}
	inner, ok := args[2].(*List)
	if !ok {
		return nil, false
	}
	m.call(args[0], inner)
	made := m.pop()
	t, ok := made.(*Tensor)
	if !ok {
		if o, ok := made.(*Object); ok && len(args) > 3 {
			o.addState(m, args[3])
		}
		return made, isObject(made)
	}
	with := m.copyOf(t)
	if class := repr(args[1]); class != "torch.Tensor" {
		with.Layout = m.classed(with.Layout, class)
	}
	if len(args) > 3 {
		with.Layout = m.stated(with.Layout, args[3])
	}
	return with, true
}

func firstArg(_ *machine, _ *Global, args []Value) (Value, bool) {
	if len(args) == 0 {
		return nil, false
	}
	return args[0], true
}

// loadFromBytes is how a storage is pickled by other programs than torch.save
// (torch/storage.py, __reduce__): as a string that torch.load reads. The file in it is
// read as any other, and its storage is where the string is in memory.
func loadFromBytes(m *machine, _ *Global, args []Value) (Value, bool) {
	if len(args) != 1 || m.strings == maxInner {
		return nil, false
	}
	b, ok := args[0].(Bytes)
	if !ok {
		return nil, false
	}
	m.charge(len(b) + spareStorage) // it may be read many times
	s, err := storageIn(b, m.strings+1)
	if err != nil {
		m.warn(CodeBadTensor, "a string of %d bytes should be a file with a storage: %v", len(b), err)
		return nil, false
	}
	s.Key = fmt.Sprintf("string at %d", m.w.place(m.pos))
	return m.storages.add(*s), true
}

// storageIn reads a file whose pickle is a storage.
func storageIn(b Bytes, nested int) (*Storage, error) {
	f := &File{contents: &contents{r: strings.NewReader(string(b)), size: int64(len(b)), nested: nested}}
	if err := f.read(); err != nil {
		return nil, err
	}
	s, ok := f.root.(*Storage)
	switch {
	case !ok:
		return nil, newFault(CodeBadTensor, -1, "", "it has %s", repr(f.root))
	case f.big:
		return nil, newFault(CodeBigEndian, -1, "", "it is big-endian")
	}
	data, err := f.StorageData(s)
	if err != nil {
		return nil, err
	}
	kind := &StorageKind{Location: s.Location, DType: s.DType, Elements: s.Elements, data: data}
	return &Storage{StorageKind: kind, size: uint64(data.Size()), plain: true}, nil
}

// spareStorage is what a storage takes apart from its bytes.
const spareStorage = 500

func makeTuple(m *machine, _ *Global, args []Value) (Value, bool) {
	if len(args) != 1 {
		return nil, false
	}
	l, ok := args[0].(*List)
	return l, ok
}

// makeDevice is torch.device("cuda", 0) or torch.device("cpu").
func makeDevice(_ *machine, _ *Global, args []Value) (Value, bool) {
	if len(args) == 0 {
		return nil, false
	}
	name, ok := args[0].(string)
	if !ok || len(name) > maxQuoted {
		return nil, false
	}
	if len(args) > 1 {
		name += ":" + repr(args[1])
	}
	return name, true
}

func makeLayout(_ *machine, _ *Global, args []Value) (Value, bool) {
	if len(args) != 1 {
		return nil, false
	}
	name, ok := args[0].(string)
	return name, ok
}

// makeDict makes an OrderedDict of nothing, of a dictionary, or, as Python 2 pickles one,
// of a list of pairs.
func makeDict(m *machine, _ *Global, args []Value) (Value, bool) {
	d := m.room.dict()
	if len(args) == 0 {
		return d, true
	}
	switch from := args[0].(type) {
	case *Dict:
		m.charge(32 * len(from.Items))
		d.Items = slices.Clone(from.Items)
		return d, true
	case *List:
		m.charge(32 * len(from.Items))
		for _, v := range from.Items {
			pair, ok := v.(*List)
			if !ok || len(pair.Items) != 2 {
				return nil, false
			}
			d.Items = append(d.Items, Item{pair.Items[0], pair.Items[1]})
		}
		return d, true
	}
	return nil, false
}

// makeDefaultDict makes a defaultdict of its factory, or of that and a dictionary.
func makeDefaultDict(m *machine, g *Global, args []Value) (Value, bool) {
	return makeDict(m, g, args[min(1, len(args)):])
}

func makeSet(m *machine, g *Global, args []Value) (Value, bool) {
	l := &List{Type: g.Name}
	if len(args) > 0 {
		from, ok := args[0].(*List)
		if !ok {
			return nil, false
		}
		l.Items = m.keep(from.Items)
	}
	return l, true
}

// makeBytes is how protocol 2 writes bytes, _codecs.encode(text, "latin1"), and a
// bytearray, whose argument is such a value. Other encodings make other bytes, or, as rot13 does, text.
func makeBytes(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) == 0 {
		return Bytes(""), true
	}
	switch s := args[0].(type) {
	case Bytes:
		return s, true
	case string:
		if encoding, _ := args[min(1, len(args)-1)].(string); len(args) != 2 || encoding != "latin1" && encoding != "latin-1" {
			return nil, false
		}
		m.charge(len(s))
		if b, ok := latin1(s); ok {
			return Bytes(b), true
		}
	}
	return nil, false
}

// reconstruct is how protocols 0 and 1 make an object of a class (Lib/copyreg.py):
//
//	_reconstructor(class, base, what base makes of it)
//	__newobj__(class, arguments...)
//	__newobj_ex__(class, arguments, named arguments)
func reconstruct(m *machine, g *Global, args []Value) (Value, bool) {
	if len(args) == 0 || g.Name != "__newobj__" && len(args) != 3 {
		return nil, false
	}
	made := &List{Type: "tuple"}
	switch base, _ := args[min(1, len(args)-1)].(*Global); {
	case g.Name == "__newobj__":
		made.Items = args[1:]
	case g.Name == "__newobj_ex__":
		made = m.args(args[1])
	case base == nil || base.String() != "builtins.object":
		made.Items = args[2:]
	}
	m.call(args[0], made)
	return m.pop(), true
}

// latin1 returns the bytes that text is in Latin-1, false when it is not.
func latin1(s string) ([]byte, bool) {
	b := make([]byte, 0, len(s))
	for _, r := range s {
		if r > 0xff {
			return nil, false
		}
		b = append(b, byte(r))
	}
	return b, true
}
