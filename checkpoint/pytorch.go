package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/strided"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/safetensors"
)

// PyTorch returns the file as its format package sees it, nil when it is not a
// readable file of torch.save. In a union it has all of its tensors.
func (f *File) PyTorch() *pytorch.File {
	if c, ok := f.whole().(*pytorchFile); ok {
		return c.File
	}
	return nil
}

// Tree returns what the tensors of a file of torch.save are in, or, without their data, those of
// a distributed checkpoint; nil for any other file. In a union it has all of its tensors.
func (f *File) Tree() *pytorch.File {
	if c, ok := f.whole().(*dcpFile); ok {
		return c.tree
	}
	return f.PyTorch()
}

// WholeTree as [Options].Subtree lists all tensors of a PyTorch file.
const WholeTree = "."

// CodeNoSubtree means that a PyTorch file has nothing at the path that was asked for.
const CodeNoSubtree = "no_subtree"

// CodeTorchOnly means that the elements of a tensor have a type that safetensors lacks.
const CodeTorchOnly = "torch_only"

// torchDTypes spells the types that safetensors has as it does (safetensors/torch.py,
// _TYPES). The others keep torch's names.
var torchDTypes = map[pytorch.DType]string{
	"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16",
	"int64": "I64", "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
	"uint16": "U16", "uint32": "U32", "uint64": "U64", "complex64": "C64",
	"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e8m0fnu": "F8_E8M0",
	"float8_e4m3fnuz": "F8_E4M3FNUZ", "float8_e5m2fnuz": "F8_E5M2FNUZ", float4x2: "F4",
}

// float4x2 has two numbers in what torch counts as an element.
const float4x2 = "float4_e2m1fn_x2"

// torchType spells a type as safetensors does where it has it. Of float4_e2m1fn_x2 safetensors counts
// the numbers, so that the last dimension is twice as long, as its binding for Python has it.
func torchType(d pytorch.DType, shape []uint64) (dtype string, dims []uint64) {
	dtype, known := torchDTypes[d]
	switch n := len(shape); {
	case !known:
		return string(d), shape
	case d != float4x2:
	case n == 0 || shape[n-1] >= 1<<62:
		return string(d), shape
	default:
		shape = slices.Clone(shape)
		shape[n-1] *= 2
	}
	return dtype, shape
}

// A pytorchFile is a file of torch.save. Its tensors are little-endian and without
// strides, whatever is in the file.
type pytorchFile struct {
	*pytorch.File
	path string
	near bool // on this machine, so that to find where a storage begins costs little

	leaveMembers bool // see Options

	placeOnce sync.Once
	places    []int64
	tieOnce   sync.Once
	ties      []int32
}

func newPyTorch(src source.Source, subtree string) (container, error) {
	f, err := pytorch.NewFile(src, src.Size())
	if err != nil {
		return nil, err
	}
	if f, err = partOf(f, subtree); err != nil {
		return nil, err
	}
	return &pytorchFile{File: f, path: src.Name(), near: source.Scheme(src.Name()) == ""}, nil
}

// partOf returns a file with the tensors of a part of it, and itself for "".
func partOf(f *pytorch.File, subtree string) (*pytorch.File, error) {
	if subtree == "" {
		return f, nil
	}
	part, ok := f.Subtree(strings.TrimPrefix(subtree, WholeTree))
	if !ok {
		return nil, noSubtree(f, subtree)
	}
	return part, nil
}

func noSubtree(f *pytorch.File, path string) *Fault {
	var have []string
	whole, _ := f.Subtree("")
	for _, s := range whole.Subtrees() {
		have = append(have, s.Path)
	}
	detail := fmt.Sprintf("there is no part %.100q", path)
	if len(have) > 0 {
		detail += "; there are " + strings.Join(firstFew(have), ", ")
	}
	return &Fault{Code: CodeNoSubtree, Severity: Error, Offset: -1, Detail: detail}
}

// openPyTorch opens a zip archive or a pickle. What is neither of torch's has the plainer
// words of other formats.
func openPyTorch(src source.Source, subtree string) (container, error) {
	f, err := newPyTorch(src, subtree)
	flt, ok := errors.AsType[*pytorch.Fault](err)
	if !ok {
		return f, err
	}
	out := pytorchFault(flt)
	if what := foreignFile(src); what != "" && (flt.Code == pytorch.CodeNoPickle || flt.Code == pytorch.CodeZip) {
		out.Detail, out.Offset = what, 0
	}
	if strings.EqualFold(filepath.Ext(src.Name()), ".safetensors") {
		out.Hint = safetensors.HintZip // the name is wrong as well
	}
	return nil, &out
}

// isTorch reports whether a file may be one of torch.save: a zip archive, or a pickle of
// protocol 2 or newer. The magic number of what torch wrote before version 1.6 may be in
// an older protocol (torch/serialization.py, MAGIC_NUMBER).
func isTorch(head []byte) bool {
	const magic = "\x6c\xfc\x9c\x46\xf9"
	switch {
	case len(head) < 2:
		return false
	case string(head[:2]) == "PK":
		return len(head) >= 4 && string(head[2:4]) == "\x03\x04"
	}
	return head[0] == 0x80 && head[1] >= 2 && head[1] <= 5 || strings.HasPrefix(string(head), "\x8a\x0a"+magic) || strings.HasPrefix(string(head), "L119547")
}

func (f *pytorchFile) kind() Format                         { return PyTorch }
func (f *pytorchFile) dataOffset() int64                    { return 0 }
func (f *pytorchFile) len() int                             { return f.Len() }
func (f *pytorchFile) name(i int) string                    { return f.At(i).Name }
func (f *pytorchFile) hasName(i int, name string) bool      { return f.name(i) == name }
func (f *pytorchFile) hash(seed maphash.Seed, i int) uint64 { return maphash.String(seed, f.name(i)) }
func pytorchFaultValue(f pytorch.Fault) Fault               { return pytorchFault(&f) }

// same compares the directory of an archive and the checksum of its pickle. Of other files it compares the
// tensors: they are the same views of storages that begin at the same places.
func (f *pytorchFile) same(src io.ReaderAt, size int64) (bool, error) {
	if same, ok, err := f.Same(src, size); ok || err != nil {
		return same, err
	}
	now, err := pytorch.NewFile(src, size)
	if err != nil {
		return false, err
	}
	now, ok := now.Subtree(f.Path())
	if !ok || now.Len() < f.Len() {
		return false, nil
	}
	begin := func(f *pytorch.File, s *pytorch.Storage) int64 {
		if s == nil {
			return -1
		}
		data, err := f.StorageData(s)
		if err != nil {
			return -1
		}
		_, off, _ := data.Outer()
		return off
	}
	k := 0
	for _, t := range f.All() {
		// What is listed by default leaves out the states of optimisers.
		for k < now.Len() && now.At(k).Name != t.Name {
			k++
		}
		if k == now.Len() {
			return false, nil
		}
		n := now.At(k)
		if n.DType != t.DType || n.Cast != t.Cast || n.Offset != t.Offset || !slices.Equal(n.Shape, t.Shape) || !slices.Equal(n.Strides, t.Strides) || begin(now, n.Storage) != begin(f.File, t.Storage) {
			return false, nil
		}
		k++ // two may have one name
	}
	return true, nil
}

// validate reads the header of every storage of a file on this machine. Of one on a server
// each would be a request.
func (f *pytorchFile) validate() []Fault {
	var l faultList
	for _, t := range f.All() {
		if _, known := t.DType.Bits(); known && torchDTypes[t.DType] == "" {
			l.add(Fault{
				Code: CodeTorchOnly, Severity: Warning, Offset: -1, Tensor: t.Name,
				Detail: fmt.Sprintf("its elements are %s, which safetensors does not have", t.DType),
			})
		}
	}
	faults := f.ValidatePickle
	switch {
	case f.near && f.leaveMembers:
		faults = f.ValidateDirectory
	case f.near:
		faults = f.Validate
	}
	return append(l.done(), mapFaults(faults(), pytorchFaultValue)...)
}

func pytorchFault(f *pytorch.Fault) Fault {
	return Fault{
		Code: string(f.Code), Severity: Severity(f.Severity), Offset: f.Offset, Tensor: f.Tensor, Detail: f.Detail,
		Unsupported: errors.Is(f, pytorch.ErrUnsupported),
	}
}

func (f *pytorchFile) fill(i int, out *Tensor) {
	t := f.At(i)
	out.Name = t.Name
	out.DType, out.Shape = torchType(pytorch.DType(cmp.Or(t.Cast, t.DType)), t.Shape) // a cast one is not read
	if out.Shape == nil {
		out.Shape = scalar
	}
	out.Bytes, out.BytesKnown = t.Bytes()
	out.Offset = -1
	if f.near {
		f.placeOnce.Do(f.place)
		out.Offset = f.places[i]
	}
}

// place finds where the tensors begin whose bytes are in one piece in the file.
func (f *pytorchFile) place() {
	f.places = f.Offsets()
	for i := range f.places {
		if f.places[i] < 0 {
			continue
		}
		if t := f.At(i); t.Cast != "" || !f.asStored(&t) {
			f.places[i] = -1
		}
	}
}

// asStored reports whether the elements follow each other in the file, little-endian.
func (f *pytorchFile) asStored(t *pytorch.Tensor) bool { return t.Contiguous() && f.swap(t) == 0 }

// swap returns the bytes of each number of a tensor that are the other way round, 0 for
// none.
func (f *pytorchFile) swap(t *pytorch.Tensor) int {
	bits, _ := t.DType.Bits()
	if strings.HasPrefix(string(t.DType), "complex") {
		bits /= 2
	}
	if !f.BigEndian() || bits <= 8 {
		return 0
	}
	return int(bits / 8)
}

func (f *pytorchFile) data(i int) (*io.SectionReader, error) {
	t := f.At(i)
	fail := func(code pytorch.Code, detail string) (*io.SectionReader, error) {
		return nil, &Fault{Code: string(code), Severity: Error, Offset: -1, Tensor: t.Name, Detail: detail}
	}
	switch {
	case t.Cast != "":
		return fail(pytorch.CodeLazy, fmt.Sprintf("its elements are %s in the file, and torch makes them %s when it reads them; save it as it is loaded", t.DType, t.Cast))
	case t.Conj || t.Neg:
		return fail(pytorch.CodeLazy, "its elements have to be conjugated or negated when they are read; save it after resolve_conj() and resolve_neg()")
	}
	data, err := f.Data(i)
	if err == nil {
		r, off, size := data.Outer()
		data = io.NewSectionReader(summed{r, f.path}, off, size)
	}
	if width := f.swap(&t); err == nil && width > 0 {
		return io.NewSectionReader(&swapped{data, int64(width)}, 0, data.Size()), nil
	}
	return data, err
}

// A summed reads data of which a checksum may be known, and says in which file it is wrong. It also takes
// what others saw of the file.
type summed struct {
	r    io.ReaderAt
	path string
}

func (s summed) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.r.ReadAt(p, off)
	return n, s.named(err)
}

type watcher interface {
	Saw(p []byte, off int64) error
	SawZeros(off, n int64) error
}

func (s summed) Saw(p []byte, off int64) error {
	if w, ok := s.r.(watcher); ok {
		return s.named(w.Saw(p, off))
	}
	return nil
}

func (s summed) SawZeros(off, n int64) error {
	if w, ok := s.r.(watcher); ok {
		return s.named(w.SawZeros(off, n))
	}
	return nil
}

func (s summed) named(err error) error {
	flt, ok := errors.AsType[*pytorch.Fault](err)
	if !ok {
		return err
	}
	out := pytorchFault(flt)
	out.File = s.path
	return &out
}

// A swapped has the bytes of every number the other way round. Its size is a multiple of
// theirs.
type swapped struct {
	r     io.ReaderAt
	width int64
}

func (s *swapped) ReadAt(p []byte, off int64) (int, error) {
	skip := off % s.width
	whole := (skip + int64(len(p)) + s.width - 1) / s.width * s.width
	out := p
	if skip > 0 || whole > int64(len(p)) {
		out = make([]byte, whole)
	}
	n, err := s.r.ReadAt(out, off-skip)
	for number := range slices.Chunk(out[:int64(n)/s.width*s.width], int(s.width)) {
		slices.Reverse(number)
	}
	if int64(len(out)) == int64(len(p)) && skip == 0 {
		return n, err
	}
	n = copy(p, out[min(skip, int64(n)):n])
	if n == len(p) {
		err = nil
	}
	return n, err
}

// A tie is what makes two tensors of the same bytes: all of their elements are in the same places of one
// storage, whatever their order. As save_model of safetensors sees it, a transposed weight needs no bytes of its
// own (safetensors/torch.py, _find_shared_tensors).
type tie struct {
	storage *pytorch.Storage
	dtype   pytorch.DType
	view    string // the offset, and what steps lead from there to all elements
}

func tieOf(t *pytorch.Tensor) tie {
	return tie{t.Storage, t.DType, fmt.Sprint(t.Offset, strided.Axes(t.Shape, t.Strides), t.Cast, t.Conj, t.Neg)}
}

// tied returns for each tensor the first one that it shares its bytes with, which may be itself:
// torch's own named_parameters() keeps that one, too (torch/nn/modules/module.py,
// _named_members).
func (f *pytorchFile) tied(i int) int {
	f.tieOnce.Do(func() {
		f.ties = make([]int32, f.Len())
		shared := f.Shared()
		first := make(map[tie]int32)
		for i, t := range f.All() {
			f.ties[i] = int32(i)
			if n, ok := t.Elements(); !ok || n == 0 || !shared[i] {
				continue
			}
			key := tieOf(&t)
			if k, ok := first[key]; ok {
				f.ties[i] = k
			} else {
				first[key] = int32(i)
			}
		}
	})
	return int(f.ties[i])
}

// TiedTo returns the first tensor of the file that tensor i shares its bytes with, as the weights of an
// embedding and of the head do that are tied; false when i is it, or shares them with none. The two may be
// of other shapes: one may be the other transposed. Only PyTorch files say so.
func (c *Checkpoint) TiedTo(i int) (first int, ok bool) {
	f, at, start := c.torchAt(i)
	if f == nil {
		return 0, false
	}
	s, some := c.Files[c.fileOf(i)].format.(*subset)
	if !some {
		first = f.tied(at)
		return start + first, first != at
	}
	first, ok = slices.BinarySearch(s.keep, f.tied(at))
	return start + first, ok && s.keep[first] != at
}

// Reshaped reports whether two tied tensors are of other shapes, or their elements in another order.
func (c *Checkpoint) Reshaped(i, k int) bool {
	f, a, _ := c.torchAt(i)
	_, b, _ := c.torchAt(k)
	if f == nil {
		return false
	}
	s, t := f.At(a), f.At(b)
	return !slices.Equal(s.Shape, t.Shape) || !slices.Equal(s.Strides, t.Strides) && !(s.Contiguous() && t.Contiguous())
}

// torchAt returns the PyTorch file that tensor i is in, nil for another one, its place there, and where the tensors of the
// file begin in the checkpoint.
func (c *Checkpoint) torchAt(i int) (f *pytorchFile, at, start int) {
	if c.Format != PyTorch || c.namesOnly {
		return nil, 0, 0
	}
	file := c.fileOf(i)
	f, _ = c.Files[file].whole().(*pytorchFile)
	start = c.starts[file]
	at = i - start
	if s, some := c.Files[file].format.(*subset); some && f != nil {
		at = s.keep[at]
	}
	return f, at, start
}

func (f *pytorchFile) metadata() []MetaKV {
	var list []MetaKV
	for _, kv := range f.Metadata() {
		text, ok := kv.Value.(string)
		if !ok {
			text = pytorch.Repr(kv.Value, 0)
		}
		list = append(list, MetaKV{Key: kv.Key, Text: text, Torch: &kv})
	}
	return list
}
