package numpy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"unicode"

	"github.com/wtinspect/wtinspect/internal/strided"
	"github.com/wtinspect/wtinspect/internal/ziparchive"
)

// An Array is one entry of a file.
type Array struct {
	// Name is that of its member without .npy, as NumPy calls it, and "" in a .npy file.
	Name string
	// DType is the type as the header spells it, "<f4", and "" for a structured one.
	DType string
	// Shape has the slowest dimension first and is empty for a scalar. It must not be
	// modified.
	Shape []uint64
	// Fortran says that the first dimension is the fastest in the file.
	Fortran bool
	// Offset is where the elements begin in the file, -1 when they are compressed there.
	Offset int64
	// Bytes is the size of the elements, when BytesKnown is set.
	Bytes      uint64
	BytesKnown bool

	dtype  dtype
	known  bool               // what the dtype is
	member *ziparchive.Member // nil in a .npy file
	stored int64              // bytes that the file has for the elements
	begin  int64              // of the elements in the member, or in the file
	beyond bool               // the file is too small for this member and those before it
}

// BigEndian reports whether the numbers are stored with their most significant byte first.
func (a *Array) BigEndian() bool { return a.dtype.big }

// Kind returns the kind of the elements as NumPy's dtype.kind does, 'f' for floats, and
// the bytes of one. ok is false for what has no numbers: text, dates, objects, fields.
func (a *Array) Kind() (kind byte, size uint64, ok bool) {
	return a.dtype.kind, a.dtype.size, a.known && strings.IndexByte("biufcV", a.dtype.kind) >= 0
}

// A File is an open .npy or .npz file. Its methods may be called concurrently.
type File struct {
	r       io.ReaderAt
	size    int64
	archive *ziparchive.Archive // nil for a .npy file
	arrays  []Array
	packed  uint64  // bytes of the members so far
	faults  []Fault // of members that are not listed
}

// NewFile reads the headers of the arrays in the first size bytes of r. A fault of the file is
// returned as a [*Fault]; other errors are those of r. r is kept for the File's methods.
func NewFile(r io.ReaderAt, size int64) (*File, error) {
	if size < 0 {
		return nil, fmt.Errorf("negative size %d", size)
	}
	f := &File{r: r, size: size}
	head := make([]byte, min(size, int64(len(magic))))
	if _, err := io.ReadFull(io.NewSectionReader(r, 0, size), head); err != nil && len(head) > 0 {
		return nil, err
	}
	if !ziparchive.IsZip(head) {
		h, flt := readHeader(bufio.NewReader(io.NewSectionReader(r, 0, size)))
		if flt != nil {
			flt.Severity = Error
			return nil, flt
		}
		f.arrays = []Array{newArray("", h, nil, 0, size)}
		return f, nil
	}
	a, err := ziparchive.Read(r, size)
	if err != nil {
		return nil, zipError(err)
	}
	f.archive = a
	err = a.Scan(func(name []byte, m *ziparchive.Member) error {
		one := *m
		one.Name = string(name)
		return f.member(&one)
	})
	if err != nil {
		return nil, zipError(err)
	}
	return f, nil
}

// IsArchive reports whether the file is an archive that has arrays, or nothing else.
func (f *File) IsArchive() bool { return f.archive != nil }

// zipError is a fault of an archive as one of this package.
func zipError(err error) error {
	if z, ok := errors.AsType[*ziparchive.Fault](err); ok {
		return newFault(Code(z.Code), z.Offset, "", "%s", z.Detail)
	}
	return err
}

// member lists the array of a member of the archive. What keeps it from being listed is a
// fault.
func (f *File) member(m *ziparchive.Member) error {
	name, isArray := strings.CutSuffix(m.Name, ".npy")
	note := func(flt *Fault) error {
		flt.Tensor = name
		if flt.Offset = m.Header; flt.Code == CodeNotArray && isArray {
			flt.Severity = Error
		}
		f.faults = append(f.faults, *flt)
		return nil
	}
	r, begin, err := f.archive.Reader(m)
	if z, ok := errors.AsType[*ziparchive.Fault](err); ok {
		return note(newFault(Code(z.Code), 0, "", "%s", z.Detail))
	}
	if err != nil {
		return err
	}
	h, flt := readHeader(r)
	if flt != nil {
		return note(flt)
	}
	if m.Size > 1<<63-1 {
		return note(newFault(CodeOverflow, 0, "", "the member has %d bytes", m.Size))
	}
	a := newArray(name, h, m, begin, int64(m.Size))
	f.packed += m.Packed // which is less than the file's bytes
	a.beyond = f.packed > uint64(f.size)
	f.arrays = append(f.arrays, a)
	return nil
}

// newArray is the array that begins with a header at some byte of the file, -1 when it is
// compressed, and of which the file has size bytes with the header.
func newArray(name string, h *header, m *ziparchive.Member, begin, size int64) Array {
	a := Array{Name: name, DType: h.descr, Shape: h.shape, Fortran: h.fortran, Offset: -1, member: m, begin: h.size, stored: size - h.size}
	if begin >= 0 {
		a.Offset = begin + h.size
	}
	if h.objects {
		h.descr = "O"
	}
	if a.dtype, a.known = parseDType(h.descr); a.known && a.dtype.kind != 'O' {
		a.Bytes, a.BytesKnown = strided.Product(append([]uint64{a.dtype.size}, h.shape...)...)
	}
	return a
}

// Len returns the number of arrays.
func (f *File) Len() int { return len(f.arrays) }

// At returns an array by its place, from 0 to Len()-1.
func (f *File) At(i int) Array { return f.arrays[i] }

// All returns the arrays in the order of the file.
func (f *File) All() iter.Seq2[int, Array] { return slices.All(f.arrays) }

// NotArrays returns the names of the members of the archive that are no arrays, without the ending of one.
func (f *File) NotArrays() []string {
	var names []string
	for _, flt := range f.faults {
		if flt.Code == CodeNotArray {
			names = append(names, flt.Tensor)
		}
	}
	return names
}

// Data returns a reader of the elements of array i in the order of its shape, in the byte
// order of the file. The error is a [*Fault] when the file does not have them.
func (f *File) Data(i int) (*io.SectionReader, error) {
	a := f.arrays[i]
	if flt := a.fault(); flt != nil && flt.Severity == Error || !a.BytesKnown {
		if flt == nil {
			flt = newFault(CodeUnknownDType, a.Offset, a.Name, "dtype %s has no numbers", quote(a.DType))
		}
		return nil, flt
	}
	size := int64(a.Bytes)
	r, begin := f.r, a.Offset
	if begin < 0 {
		r, begin = &inflated{archive: f.archive, member: a.member}, a.begin
	}
	if !a.Fortran || len(a.Shape) < 2 || size == 0 {
		return io.NewSectionReader(r, begin, size), nil
	}
	strides := make([]uint64, len(a.Shape))
	step := uint64(1)
	for i, n := range a.Shape {
		strides[i] = step
		step *= n
	}
	return io.NewSectionReader(strided.NewReader(r, begin, int64(a.dtype.size), a.Shape, strides), 0, size), nil
}

// Packed returns the bytes that the file has for array i, with its header where they are compressed.
func (f *File) Packed(i int) uint64 {
	if a := f.arrays[i]; a.Offset < 0 {
		return a.member.Packed
	}
	return uint64(f.Raw(i).Size())
}

// Raw returns a reader of what the file has for array i, whatever its dtype: of an array of
// objects that is a pickle.
func (f *File) Raw(i int) *io.SectionReader {
	a := f.arrays[i]
	if a.Offset >= 0 {
		return io.NewSectionReader(f.r, a.Offset, min(max(a.stored, 0), f.size-min(a.Offset, f.size)))
	}
	return io.NewSectionReader(&inflated{archive: f.archive, member: a.member}, a.begin, max(a.stored, 0))
}

// fault returns what is wrong with an array by itself, nil for nothing.
func (a *Array) fault() *Fault {
	fail := func(code Code, format string, args ...any) *Fault {
		return newFault(code, a.Offset, a.Name, format, args...)
	}
	switch {
	case a.beyond: // few bytes would be read very often
		return fail(Code(ziparchive.CodeOverlap), "the members of the archive overlap, and are more than its bytes")
	case a.dtype.kind == 'O':
		return fail(CodeObject, "an array of objects, which is a pickle: loading it runs code, and it is not read")
	case a.DType == "":
		return fail(CodeUnknownDType, "its elements have several fields")
	case !a.known:
		return fail(CodeUnknownDType, "dtype %s is not known", quote(a.DType))
	case !a.BytesKnown:
		return fail(CodeOverflow, "shape %d has too many elements", a.Shape)
	case a.Bytes > uint64(max(a.stored, 0)):
		return fail(CodeTruncated, "its shape needs %d bytes, and %d are there", a.Bytes, max(a.stored, 0))
	case a.Bytes < uint64(a.stored):
		return fail(CodeDataSize, "its shape needs %d bytes, and %d more follow them", a.Bytes, uint64(a.stored)-a.Bytes)
	}
	return nil
}

// Validate returns everything that is wrong with an open file or worth knowing. It reads
// headers, and no array.
func (f *File) Validate() []Fault {
	var list []Fault
	if f.archive != nil {
		f.archive.Check(func(*ziparchive.Member) bool { return false }, func(z *ziparchive.Fault) {
			list = append(list, *newFault(Code(z.Code), z.Offset, "", "%s", z.Detail))
		})
	}
	list = append(list, f.faults...)
	if len(f.arrays) == 0 {
		list = append(list, *newFault(CodeEmpty, -1, "", "there is no array"))
	}
	seen := make(map[string]bool, len(f.arrays))
	compressed, big := 0, 0
	for i := range f.arrays {
		a := &f.arrays[i]
		switch {
		case a.Name == "" && f.archive != nil:
			list = append(list, *newFault(CodeEmptyName, a.Offset, "", "an array has no name"))
		case seen[a.Name]:
			list = append(list, *newFault(CodeDuplicateName, a.Offset, a.Name, "two members have this name"))
		case strings.ContainsFunc(a.Name, isControl):
			list = append(list, *newFault(CodeControlChars, a.Offset, a.Name, "the name has characters that drive terminals or reverse text"))
		}
		seen[a.Name] = true
		if flt := a.fault(); flt != nil {
			list = append(list, *flt)
		}
		if a.Offset < 0 {
			compressed++
		}
		if a.dtype.big {
			big++
		}
	}
	if compressed > 0 {
		list = append(list, *newFault(CodeCompressed, -1, "", "%d of %d arrays are compressed, which readers cannot map into memory", compressed, len(f.arrays)))
	}
	if big > 0 {
		list = append(list, *newFault(CodeBigEndian, -1, "", "%d of %d arrays are big-endian", big, len(f.arrays)))
	}
	return list
}

func isControl(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Bidi_Control)
}
