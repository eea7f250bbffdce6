package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/internal/numpy"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/pytorch"
)

// numpyDTypes spells the types that safetensors has as it does. A void of two bytes is what MLX
// and ml_dtypes write for bfloat16 (mlx/dtype.cpp, dtype_from_array_protocol).
var numpyDTypes = map[byte]map[uint64]string{
	'b': {1: "BOOL"},
	'i': {1: "I8", 2: "I16", 4: "I32", 8: "I64"},
	'u': {1: "U8", 2: "U16", 4: "U32", 8: "U64"},
	'f': {2: "F16", 4: "F32", 8: "F64"},
	'c': {8: "C64"},
	'V': {2: "BF16"},
}

// numpyNames are the types that a header has by the names of ml_dtypes.
var numpyNames = map[string]string{
	"bfloat16": "BF16", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
	"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}

// A numpyFile is a file of arrays. Its tensors are little-endian and in the order of their
// shapes, whatever is in the file.
type numpyFile struct {
	*numpy.File
	stem string // the name of the one array of a .npy file
}

func openNumPy(src source.Source) (container, error) {
	f, err := numpy.NewFile(src, src.Size())
	if err != nil {
		return nil, err
	}
	base := filepath.Base(src.Name())
	return &numpyFile{f, strings.TrimSuffix(base, filepath.Ext(base))}, nil
}

func (f *numpyFile) kind() Format                         { return NumPy }
func (f *numpyFile) dataOffset() int64                    { return 0 }
func (f *numpyFile) len() int                             { return f.Len() }
func (f *numpyFile) hasName(i int, name string) bool      { return f.name(i) == name }
func (f *numpyFile) hash(seed maphash.Seed, i int) uint64 { return maphash.String(seed, f.name(i)) }
func (f *numpyFile) validate() []Fault                    { return mapFaults(f.Validate(), numpyFaultValue) }
func (f *numpyFile) metadata() []MetaKV                   { return nil }
func numpyFaultValue(f numpy.Fault) Fault                 { return numpyFault(&f) }

func numpyFault(f *numpy.Fault) Fault {
	return Fault{
		Code: string(f.Code), Severity: Severity(f.Severity), Offset: f.Offset, Tensor: f.Tensor, Detail: f.Detail,
		Unsupported: errors.Is(f, numpy.ErrUnsupported),
	}
}

func (f *numpyFile) name(i int) string {
	if !f.IsArchive() {
		return f.stem
	}
	return f.At(i).Name
}

func (f *numpyFile) fill(i int, out *Tensor) {
	a := f.At(i)
	kind, size, _ := a.Kind()
	out.Name, out.Shape = f.name(i), a.Shape
	if out.DType = cmp.Or(numpyNames[a.DType], numpyDTypes[kind][size]); out.DType == "" {
		out.DType = a.DType
	}
	out.Bytes, out.BytesKnown = a.Bytes, a.BytesKnown
	if out.Offset = a.Offset; a.Fortran && len(a.Shape) > 1 || a.BigEndian() {
		out.Offset = -1
	}
}

func (f *numpyFile) data(i int) (*io.SectionReader, error) {
	data, err := f.Data(i)
	if a := f.At(i); err == nil && a.BigEndian() {
		kind, size, _ := a.Kind()
		if kind == 'c' {
			size /= 2
		}
		data = io.NewSectionReader(&swapped{data, int64(size)}, 0, data.Size())
	}
	return data, err
}

func (f *numpyFile) same(src io.ReaderAt, size int64) (bool, error) {
	now, err := numpy.NewFile(src, size)
	if err != nil || now.Len() != f.Len() {
		return false, err
	}
	for i, a := range f.All() {
		b := now.At(i)
		if a.Name != b.Name || a.DType != b.DType || a.Offset != b.Offset || a.Fortran != b.Fortran || !slices.Equal(a.Shape, b.Shape) {
			return false, nil
		}
	}
	return true, nil
}

// NotArrays returns the names of the members of a file of arrays that are none, and are not listed.
func (f *File) NotArrays() []string {
	c, ok := f.whole().(*numpyFile)
	if !ok {
		return nil
	}
	return c.NotArrays()
}

// spareObjects is what the arrays of objects of a small file may inflate to.
const spareObjects = 32 << 20

// ObjectArrays returns the pickles that the arrays of Python objects of a file of arrays are, each by
// the array's name.
func (f *File) ObjectArrays() iter.Seq2[string, []pytorch.Program] {
	return func(yield func(string, []pytorch.Program) bool) {
		c, ok := f.whole().(*numpyFile)
		if !ok {
			return
		}
		left := spareObjects + 16*f.Size
		for i, a := range c.All() {
			if kind, _, _ := a.Kind(); kind != 'O' {
				continue
			}
			r := c.Raw(i)
			if r.Size() > left {
				yield(a.Name, []pytorch.Program{{Offset: -1, RefusedAt: -1, Err: &pytorch.Fault{
					Code: pytorch.CodeLimit, Severity: pytorch.Error, Offset: -1,
					Detail: fmt.Sprintf("the arrays of objects inflate to more than %d bytes, and this one and those behind it are not looked into", spareObjects+16*f.Size),
				}}})
				return
			}
			left -= r.Size()
			list, _ := pytorch.PackedPrograms(r, r.Size(), c.Packed(i)) // what cannot be read is a fault of the file
			if !yield(a.Name, list) {
				return
			}
		}
	}
}
