package pytorch

import (
	"io"

	"github.com/wtinspect/wtinspect/internal/strided"
)

// A Value is what a pickle builds: nil for None, bool, int64, [*big.Int] for what is
// larger, float64, string, [Bytes], [*List], [*Dict], [*Global], [*Object], [*Storage] or
// [*Tensor]. A value may occur in several places, and may contain itself. It must not be
// modified.
type Value = any

// Bytes is a Python bytes or bytearray.
type Bytes string

// A List is a Python list, tuple, set or frozenset.
type List struct {
	Type  string // "list", "tuple", "set" or "frozenset"
	Items []Value

	spot
}

// A Dict is a Python dict, or an OrderedDict, defaultdict or Counter.
type Dict struct {
	Items []Item // in the order of the pickle, repeated keys included

	spot
}

// An Item is one entry of a dictionary.
type Item struct{ Key, Value Value }

// Lookup returns the value of a key that is a string, the last one where it is repeated.
func (d *Dict) Lookup(key string) (Value, bool) {
	for i := len(d.Items) - 1; i >= 0; i-- {
		if d.Items[i].Key == key {
			return d.Items[i].Value, true
		}
	}
	return nil, false
}

// A Global is a name that the pickle imports.
type Global struct {
	Module, Name string
	Offset       int64 // where it is first named in the file, -1 in a compressed pickle
	Calls        int   // how often the pickle calls it, makes an object of it, or gives one its state
	Call         Call  // the first of them
	// Of is the class or module that the pickle takes the name from as an attribute, by a call of
	// getattr, nil for what it imports. So Python 3.11 writes the members of enumerations.
	Of *Global

	known  rebuild
	lends  bool      // see lending
	meta   metaClass // see compact
	pushed int       // how often the stack was given it
	taken  int       // how often it was getattr, and the attribute is known
}

// A Call is an opcode that has Python call something.
type Call struct {
	Opcode string // as in Lib/pickletools.py: "REDUCE", "NEWOBJ", "NEWOBJ_EX", "INST", "OBJ" or "BUILD"
	Offset int64  // in the file, -1 in a compressed pickle
}

// Computed is the module or the name of a [Global] that Python makes by a call.
const Computed = "<computed>"

// String returns the dotted name.
func (g *Global) String() string { return g.Module + "." + g.Name }

// An Object is what Python would make of a global that is not torch's: the result of a
// call that is not made here.
type Object struct {
	Class Value // what is called: a *Global, unless the pickle calls the result of another call
	Args  *List // nil when there are none
	Named Value // the named arguments, nil when there are none
	// State is what BUILD would give to __setstate__, or to the object's attributes. It is the last
	// of several; Earlier are those before it.
	State   Value
	Earlier []Value
	// Items and Dict hold what the pickle appends to the object and sets in it.
	Items []Value
	Dict  []Item

	tensor *Tensor // of torch before 0.4, which is built from its state
	spot
}

// A Storage is a run of elements of one type.
type Storage struct {
	Key string
	*StorageKind

	at    int64  // where its member's local header is, or where its count is in a legacy stream; -1 when there is none
	size  uint64 // of its member, or what the pickle says
	id    uint32 // its place among those of the file
	crc   uint32 // of its member, where summed says so
	skip  uint32 // the size of its member's local header, 0 when it is not known; see expected
	plain bool   // not compressed
	used  bool   // by a tensor
	twice bool   // there are two members of its name

	summed bool
}

// A StorageKind is what storages have in common that are alike, and must not be modified. A file has
// as many storages as tensors, and few kinds of them.
type StorageKind struct {
	Location string // "cpu", "cuda:0"
	DType    DType  // "" for an untyped storage, whose elements are bytes
	Elements uint64 // as the pickle says
	// Root is the storage that this one is a part of, from element Start on; nil when it is
	// none. Torch before 0.4 has such views.
	Root  *Storage
	Start uint64

	data *io.SectionReader // of one that is in a string of the pickle
}

// Bytes returns the size that the pickle gives the storage, false when it passes 63 bits.
func (s *Storage) Bytes() (uint64, bool) { return strided.Product(s.Elements, s.DType.unit()) }

// A Tensor is what the pickle says of one tensor.
type Tensor struct {
	Name string // the path of keys that leads to it; in the tree of [File.Root] as NewFile lists it
	*Layout
	Offset  uint64   // of the first element in the storage, in elements
	Storage *Storage // nil for a tensor without data of its own

	placed bool  // it is in what the pickle builds, or another tensor is made of it that has its elements
	made   int32 // where in the pickle, 0 for what is no tensor by itself
}

// A Layout is what tensors have in common that are alike, and must not be modified. A file has few
// of them.
type Layout struct {
	DType DType
	// Shape has the slowest dimension first and is empty for a scalar. Strides are as long
	// and count elements.
	Shape, Strides []uint64
	// Class is the dotted name of a subclass, such as torch.nn.parameter.Parameter, and ""
	// for a plain tensor.
	Class string
	// Quantizer is the quantizer_params of a quantised tensor, nil for any other.
	Quantizer *List
	// Cast is the type that torch turns the elements into when it reads them, "" for none.
	Cast DType
	// Conj and Neg say that the elements have to be conjugated or negated when they are read.
	Conj, Neg bool

	attrs Value // of a subclass, or of a tensor with a state
	spot  spot  // of the tensors that have these
}

// Elements returns the number of elements, false when it passes 63 bits.
func (t *Layout) Elements() (uint64, bool) { return strided.Product(t.Shape...) }

// Bytes returns the size of the elements, packed. It is false when the dtype is not known
// or the size passes 63 bits.
func (t *Layout) Bytes() (uint64, bool) {
	n, ok := t.Elements()
	bits, known := t.DType.Bits()
	if !ok || !known {
		return 0, false
	}
	return packed(n, bits)
}

// Contiguous reports whether the elements follow each other in the storage in the order
// of the shape, as torch.Tensor.is_contiguous does.
func (t *Layout) Contiguous() bool {
	if n, ok := t.Elements(); ok && n == 0 {
		return true
	}
	want := uint64(1)
	for i := len(t.Shape) - 1; i >= 0; i-- {
		if t.Shape[i] == 1 {
			continue
		}
		if t.Strides[i] != want {
			return false
		}
		want *= t.Shape[i] // the product does not wrap: see span
	}
	return true
}

// span returns the elements of the storage, from its start, that the tensor needs. It is
// false when they pass 63 bits.
func (t *Tensor) span() (uint64, bool) {
	n, ok := t.Elements()
	if !ok {
		return 0, false
	}
	if n == 0 {
		return 0, true
	}
	last := t.Offset
	for i, d := range t.Shape {
		step, ok := strided.Product(d-1, t.Strides[i])
		if last += step; !ok || last >= 1<<63 {
			return 0, false
		}
	}
	return last + 1, true
}

// packed returns the bytes that n elements of some bits take, the last byte filled up.
func packed(n, bits uint64) (uint64, bool) {
	if bits%8 == 0 {
		return strided.Product(n, bits/8)
	}
	total, ok := strided.Product(n, bits)
	return total/8 + min(total%8, 1), ok
}
