package torchtest

import (
	"bytes"
	"encoding/binary"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// DTypes are the element types of torch by name: the class of their storages, "" for
// those that are written with an untyped one, and the bytes of an element.
var DTypes = map[string]struct {
	Class string
	Size  int
}{
	"float64": {"DoubleStorage", 8}, "float32": {"FloatStorage", 4}, "float16": {"HalfStorage", 2}, "bfloat16": {"BFloat16Storage", 2},
	"int64": {"LongStorage", 8}, "int32": {"IntStorage", 4}, "int16": {"ShortStorage", 2}, "int8": {"CharStorage", 1},
	"uint8": {"ByteStorage", 1}, "bool": {"BoolStorage", 1}, "complex64": {"ComplexFloatStorage", 8},
	"complex128": {"ComplexDoubleStorage", 16}, "float8_e4m3fn": {"", 1}, "float8_e5m2": {"", 1}, "float8_e4m3fnuz": {"", 1},
	"float8_e5m2fnuz": {"", 1}, "float8_e8m0fnu": {"", 1}, "float4_e2m1fn_x2": {"", 1}, "uint16": {"", 2}, "uint32": {"", 4},
	"uint64": {"", 8},
}

// A Storage is a run of elements. What is left out is as torch writes it.
type Storage struct {
	DType    string
	Data     []byte
	Class    any // instead of the dtype's, in the persistent id
	Numel    any // instead of what Data has
	Location string
	View     any    // of the legacy stream: nil, or a Tuple of key, offset and elements
	Key      string // instead of the next free number
	Absent   bool   // from the file
}

// A Tensor is a view of a storage.
type Tensor struct {
	Storage       *Storage
	Offset        int
	Shape, Stride []int // the stride that is contiguous where it is left out
	Parameter     bool
	Func          string // instead of the name of the function in torch._utils
	Extra         []any  // instead of the arguments after the stride
}

// NewTensor returns a tensor with a storage of its own, whose bytes depend on seed.
func NewTensor(dtype string, seed int, shape ...int) *Tensor {
	n := DTypes[dtype].Size
	for _, d := range shape {
		n *= d
	}
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(seed + i*7)
	}
	if dtype == "bool" {
		for i := range data {
			data[i] &= 1
		}
	}
	return &Tensor{Storage: &Storage{DType: dtype, Data: data}, Shape: shape}
}

func ints(list []int) Tuple {
	t := Tuple{}
	for _, n := range list {
		t = append(t, n)
	}
	return t
}

func (t *Tensor) reduced() any {
	stride := t.Stride
	if stride == nil {
		stride = make([]int, len(t.Shape))
		for i, n := len(t.Shape)-1, 1; i >= 0; i-- {
			stride[i] = n
			n *= max(t.Shape[i], 1)
		}
	}
	args := Tuple{t.Storage, t.Offset, ints(t.Shape), ints(stride)}
	name := "_rebuild_tensor_v2"
	rest := []any{t.Parameter, Ordered{}}
	if DTypes[t.Storage.DType].Class == "" && t.Storage.Class == nil {
		name = "_rebuild_tensor_v3"
		rest = append(rest, Global{"torch", t.Storage.DType})
	}
	if t.Func != "" {
		name = t.Func
	}
	if t.Extra != nil {
		rest = t.Extra
	}
	made := Call{Func: Global{"torch._utils", name}, Args: append(args, rest...)}
	if t.Parameter {
		return Call{Func: Global{"torch._utils", "_rebuild_parameter"}, Args: Tuple{made, true, Ordered{}}}
	}
	return made
}

// A File is a checkpoint.
type File struct {
	Root     any
	Protocol int // as it is: torch's is 2
	Prefix   string
}

// storages collects the storages of a pickle, and gives them keys.
type storages struct {
	list   []*Storage
	keys   map[*Storage]string
	legacy bool
}

func (s *storages) id(st *Storage) Tuple {
	key, ok := s.keys[st]
	if !ok {
		if key = st.Key; key == "" {
			key = strconv.Itoa(len(s.list))
			if s.legacy {
				key = strconv.Itoa(1_400_000_000 + 64*len(s.list)) // an address
			}
		}
		s.keys[st] = key
		s.list = append(s.list, st)
	}
	class, numel := st.Class, st.Numel
	if class == nil {
		class = Global{"torch", DTypes[st.DType].Class}
		if DTypes[st.DType].Class == "" {
			class = Global{"torch.storage", "UntypedStorage"}
		}
	}
	if numel == nil {
		numel = st.elements()
	}
	location := st.Location
	if location == "" {
		location = "cpu"
	}
	id := Tuple{"storage", class, key, location, numel}
	if s.legacy {
		id = append(id, st.View)
	}
	return id
}

func (st *Storage) elements() int {
	if d := DTypes[st.DType]; d.Class != "" {
		return len(st.Data) / d.Size
	}
	return len(st.Data)
}

// Zip returns the checkpoint as an archive.
func (f File) Zip() *Zip {
	s := &storages{keys: map[*Storage]string{}}
	data := (&pickler{protocol: f.Protocol, storage: s.id}).pickle(f.Root)
	prefix := f.Prefix
	if prefix == "" {
		prefix = "archive"
	}
	z := &Zip{Members: []*Member{{Name: prefix + "/data.pkl", Data: data}, {Name: prefix + "/byteorder", Data: []byte("little")}}}
	for _, st := range s.list {
		if !st.Absent {
			z.Members = append(z.Members, &Member{Name: prefix + "/data/" + s.keys[st], Data: st.Data})
		}
	}
	z.Members = append(z.Members, &Member{Name: prefix + "/version", Data: []byte("3\n")})
	return z
}

// Script returns the archive of a module of TorchScript, with constants of its code, as
// torch/csrc/jit/serialization/export_module.cpp writes it.
func (f File) Script(constants Tuple) *Zip {
	z := f.Zip()
	prefix := strings.TrimSuffix(z.Members[0].Name, "data.pkl")
	s := &storages{keys: map[*Storage]string{}}
	data := (&pickler{protocol: f.Protocol, storage: s.id}).pickle(constants)
	z.Members = append(z.Members, &Member{Name: prefix + "code/__torch__.py", Data: bytes.Repeat([]byte("class M(Module):\n"), 20), Deflate: true})
	for _, st := range s.list {
		z.Members = append(z.Members, &Member{Name: prefix + "constants/" + s.keys[st], Data: st.Data})
	}
	z.Members = append(z.Members, &Member{Name: prefix + "constants.pkl", Data: data})
	return z
}

// Legacy returns the checkpoint as torch wrote it before 1.6.
func (f File) Legacy() []byte {
	magic, _ := new(big.Int).SetString("1950a86a20f9469cfc6c", 16)
	var out []byte
	for _, v := range []any{magic, 1001, Dict{{"protocol_version", 1001}, {"little_endian", true}, {"type_sizes", Dict{{"short", 2}, {"int", 4}, {"long", 4}}}}} {
		out = append(out, Pickle(f.Protocol, v)...)
	}
	s := &storages{keys: map[*Storage]string{}, legacy: true}
	out = append(out, (&pickler{protocol: f.Protocol, storage: s.id}).pickle(f.Root)...)
	list := slices.DeleteFunc(s.list, func(st *Storage) bool { return st.Absent })
	slices.SortFunc(list, func(a, b *Storage) int { return strings.Compare(s.keys[a], s.keys[b]) })
	var keys List
	for _, st := range list {
		keys = append(keys, s.keys[st])
	}
	out = append(out, Pickle(f.Protocol, keys)...)
	for _, st := range list {
		out = binary.LittleEndian.AppendUint64(out, uint64(st.elements()))
		out = append(out, st.Data...)
	}
	return out
}
