package checkpoint

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/numpy"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A File is one file of a checkpoint.
type File struct {
	// Path opens the file. Name is the same relative to the checkpoint's Dir,
	// with slashes, as an index spells it but for a leading "./". Path is ""
	// when Name would leave the directory; Err is set then.
	Path, Name string
	// Size is in bytes, 0 when the file is missing.
	Size int64
	// DataOffset is where the tensors' data begins.
	DataOffset int64
	// Missing says that the file is not there.
	Missing bool
	// Err says why a file that is there could not be read; it has no tensors
	// then. It is a [*Fault] or an error of the file system.
	Err error

	src     source.Source
	format  container
	subtree string   // of what a pickle builds; see Options
	chunked *dcpFile // what the file is, when it is the metadata of a distributed checkpoint
	chunks  bool     // and when it has the chunks of one
	refused bool     // never to be opened: its path leaves the directory

	leaveMembers bool // see Options
}

// container is what the formats have in common: a file's tensors, with
// [Tensor].File left to the checkpoint.
type container interface {
	kind() Format
	dataOffset() int64
	len() int
	name(i int) string
	hash(seed maphash.Seed, i int) uint64 // of the name, as maphash.String
	hasName(i int, name string) bool
	data(i int) (*io.SectionReader, error)
	validate() []Fault
	metadata() []MetaKV
	same(src io.ReaderAt, size int64) (bool, error) // as File.Same
}

// Safetensors returns the file as its format package sees it, nil when it is
// not a readable safetensors file. In a union it has all of its tensors.
func (f *File) Safetensors() *safetensors.File {
	if c, ok := f.whole().(safetensorsFile); ok {
		return c.File
	}
	return nil
}

// GGUF returns the file as its format package sees it, nil when it is not a
// readable GGUF file. In a union it has all of its tensors.
func (f *File) GGUF() *gguf.File {
	if c, ok := f.whole().(*ggufFile); ok {
		return c.File
	}
	return nil
}

// Rearranged reports whether the tensors' data may be all over the file, or in another order or
// place than they are read in: their Offset need not be known.
func (f *File) Rearranged() bool {
	switch f.whole().(type) {
	case *pytorchFile, *dcpFile, *numpyFile, chunkFile:
		return true
	}
	return false
}

// Same reports whether src is still the file that was opened: whether its header lists the same
// tensors in the same places. It is false with an error for what can no longer be read.
func (f *File) Same(src io.ReaderAt, size int64) (bool, error) {
	if f.format == nil || size != f.Size {
		return false, nil
	}
	return f.whole().same(src, size)
}

// HasChunks reports whether the file has chunks of the tensors of a distributed checkpoint, which
// are those of its .metadata.
func (f *File) HasChunks() bool { return f.chunks && f.format != nil }

// Distributed returns the metadata of a distributed checkpoint, nil for any other file.
func (f *File) Distributed() *pytorch.Distributed {
	if c, ok := f.whole().(*dcpFile); ok {
		return c.Distributed
	}
	return nil
}

// whole is the file with all of its tensors.
func (f *File) whole() container {
	if s, ok := f.format.(*subset); ok {
		return s.container
	}
	return f.format
}

// Changed returns an error where the file is no longer the one that was opened, or was
// written since. Of a remote file that is not known.
func (f *File) Changed() error {
	if f.src == nil {
		return nil
	}
	return source.Changed(f.src)
}

// open reads the header of the file, and says in the file itself what became of it.
func (f *File) open(ctx context.Context) {
	if f.refused || f.Missing || f.Err != nil {
		return
	}
	src, err := source.Open(ctx, f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Missing = true
		return
	case err != nil:
		f.Err = err
		return
	}
	f.Size = src.Size()
	var format container
	switch {
	case f.chunked != nil:
		format, err = f.chunked, f.chunked.list(f.subtree)
	case f.chunks:
		format = chunkFile{}
	default:
		format, err = openContainer(src, f.subtree)
		if p, ok := format.(*pytorchFile); ok {
			p.leaveMembers = f.leaveMembers
		}
	}
	if err != nil {
		src.Close()
		f.Err = f.fault(err)
		return
	}
	f.src, f.format = src, format
	f.DataOffset = format.dataOffset()
}

// look finds the size of the file.
func (f *File) look(ctx context.Context) {
	if f.refused || f.Missing {
		return
	}
	fi, err := source.Stat(ctx, f.Path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		f.Missing = true
	case err != nil:
		f.Err = err
	default:
		f.Size = fi.Size()
	}
}

// DetectBytes is how many bytes DetectFormat looks at.
const DetectBytes = 9

// DetectFormat returns the format of the files that begin with head, "" when it is
// none that is read here.
func DetectFormat(head []byte) Format {
	switch {
	case len(head) >= 4 && isGGUF(head[:4]):
		return GGUF
	case len(head) >= DetectBytes && head[8] == '{' && binary.LittleEndian.Uint64(head) <= safetensors.MaxHeader:
		return Safetensors
	case isTorch(head):
		return PyTorch
	case len(head) >= 6 && string(head[:6]) == "\x93NUMPY":
		return NumPy
	}
	return ""
}

// isGGUF tells the formats apart by their first bytes. FUGG begins big-endian
// files of some writers.
func isGGUF(head []byte) bool {
	return string(head) == "GGUF" || string(head) == "FUGG"
}

func openContainer(src source.Source, subtree string) (container, error) {
	var head [DetectBytes]byte
	n, err := src.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch DetectFormat(head[:n]) {
	case GGUF:
		f, err := gguf.NewFile(src, src.Size())
		if err != nil {
			return nil, err
		}
		return newGGUF(f, src), nil
	case PyTorch:
		if formatOf(src.Name()) == NumPy && string(head[:2]) == "PK" { // both are zip archives
			return openNumPy(src)
		}
		return openPyTorch(src, subtree)
	case NumPy:
		return openNumPy(src)
	}
	f, err := safetensors.NewFile(src, src.Size())
	if fault, ok := errors.AsType[*safetensors.Fault](err); ok {
		why := lookalike(src, fault)
		return nil, &why
	}
	if err != nil {
		return nil, err
	}
	return safetensorsFile{f}, nil
}

// lookalikes say what a file is that has the name of weights and is none, by the hint that
// package safetensors gives; and what to do about it, with a file that is here and with
// one that somebody has published.
var lookalikes = map[string]struct{ what, here, there string }{
	safetensors.HintLFSPointer:  {"a git-lfs pointer, not the weights it stands for", "; run `git lfs pull`", "; its publisher has to upload them"},
	safetensors.HintHTML:        {"an HTML page, not weights: the server answered with an error or a login page", "; download the file again", ""},
	safetensors.HintXML:         {"an XML document, not weights: the server answered with an error", "; download the file again", ""},
	safetensors.HintGzip:        {"a gzip archive", "; decompress it", "; download and decompress it"},
	safetensors.HintZeros:       {"begins with zeros, as an interrupted download leaves it", "; download it again", uploadAgain},
	safetensors.HintAppleDouble: {"an AppleDouble file, which macOS writes beside a file on foreign disks, not weights", "; delete it", "; its publisher can delete it"},
}

const uploadAgain = "; its publisher has to upload it again"

// choose returns here for a file on this machine, or a download on it, and otherwise there.
func choose(src source.Source, here, there string) string {
	if source.Scheme(src.Name()) == "" {
		return here
	}
	return there
}

// lookalike gives the fault of a file that is no safetensors file plainer
// words, where its first bytes, its size or its name tell what it is.
func lookalike(src source.Source, fault *safetensors.Fault) Fault {
	out := safetensorsFault(*fault)
	ext := strings.ToLower(filepath.Ext(src.Name()))
	foreign := foreignFile(src)
	switch alike := lookalikes[fault.Hint]; {
	case src.Size() == 0:
		out.Detail = "the file is empty" + choose(src, ": the download or the copy did not happen; fetch it again", uploadAgain)
	case foreign != "" && ext != ".gguf":
		out.Detail = foreign
	case alike.what != "":
		out.Detail = alike.what + choose(src, alike.here, alike.there)
	case ext == ".gguf":
		if _, err := gguf.NewFile(src, src.Size()); err != nil {
			if g, ok := errors.AsType[*gguf.Fault](err); ok {
				return ggufFault(g)
			}
		}
	case ext != ".safetensors" && fault.Hint == "" && (fault.Code == safetensors.CodeHeaderTooLarge || fault.Code == safetensors.CodeHeaderLength):
		out.Detail = "not a file of safetensors, GGUF, PyTorch or NumPy"
		if ext == ".txt" || ext == ".tsv" || ext == ".csv" {
			out.Detail += "; names alone are read from an index, model.safetensors.index.json"
		}
	case fault.Code == safetensors.CodeHeaderLength || fault.Code == safetensors.CodeHeaderTooSmall:
		out.Detail = fmt.Sprintf("ends before its header does, at %s: the %s was cut short, or this is not a safetensors file%s", plural.Of(src.Size(), "byte"),
			choose(src, "download", "upload"), choose(src, "; compare the size with the original's", ""))
	}
	return out
}

// fault gives an error of a format package the form of this one, with the
// file's path.
func (f *File) fault(err error) error {
	var out Fault
	if own, ok := errors.AsType[*Fault](err); ok {
		out = *own
	} else if st, ok := errors.AsType[*safetensors.Fault](err); ok {
		out = safetensorsFault(*st)
	} else if g, ok := errors.AsType[*gguf.Fault](err); ok {
		out = ggufFault(g)
	} else if t, ok := errors.AsType[*pytorch.Fault](err); ok {
		out = pytorchFault(t)
	} else if n, ok := errors.AsType[*numpy.Fault](err); ok {
		out = numpyFault(n)
	} else {
		for e := err; e != nil; e = errors.Unwrap(e) {
			if strings.HasPrefix(e.Error(), f.Path+": ") { // what is read elsewhere says which file it is
				return e
			}
		}
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	out.File = f.Path
	return &out
}

func (f *File) close() error {
	if f.src == nil {
		return nil
	}
	return f.src.Close()
}

// fill sets t to the tensor at i, but for its File. By way of an interface every
// tensor would be allocated.
func (f *File) fill(i int, t *Tensor) {
	format := f.format
	if s, ok := format.(*subset); ok {
		format, i = s.container, s.keep[i]
	}
	switch c := format.(type) {
	case safetensorsFile:
		c.fill(i, t)
	case *ggufFile:
		c.fill(i, t)
	case *pytorchFile:
		c.fill(i, t)
	case *dcpFile:
		c.fill(i, t)
	case *numpyFile:
		c.fill(i, t)
	}
}

func (f *File) len() int {
	if f.format == nil {
		return 0
	}
	return f.format.len()
}

// leavesDir reports whether the path is a symbolic link whose end is neither
// below dir nor in the blobs of the Hugging Face cache that dir belongs to
// (…/models--org--name/snapshots/<revision>, with …/models--org--name/blobs).
func leavesDir(dir, path string) (target string, leaves bool) {
	root, err := source.Resolve(dir)
	if err != nil {
		return "", false
	}
	target, err = source.Resolve(path)
	if err != nil {
		return "", false
	}
	if within(root, target) {
		return target, false
	}
	for up := root; filepath.Dir(up) != up; up = filepath.Dir(up) {
		if filepath.Base(filepath.Dir(up)) == "snapshots" {
			repo := filepath.Dir(filepath.Dir(up))
			return target, !within(filepath.Join(repo, "blobs"), target)
		}
	}
	return target, true
}

func within(root, path string) bool {
	rel, err := filepath.Rel(root, path)
	return err == nil && filepath.IsLocal(rel)
}

// isLink reports whether any part of the path below dir is a symbolic link.
func isLink(ctx context.Context, dir, name string) bool {
	path := dir
	for part := range strings.SplitSeq(name, "/") {
		path = source.Join(path, part)
		if fi, err := source.Lstat(ctx, path); err == nil && fi.Mode()&fs.ModeSymlink != 0 {
			return true
		}
	}
	return false
}

// absolute returns an offset in a file from one in its data, -1 where they
// exceed what a file can have.
func absolute(dataOffset int64, offset uint64) int64 {
	if offset > math.MaxInt64-uint64(dataOffset) {
		return -1
	}
	return dataOffset + int64(offset)
}

// scalar is the shape of a tensor without dimensions, since nil means unknown.
var scalar = []uint64{}

type safetensorsFile struct{ *safetensors.File }

func (f safetensorsFile) kind() Format      { return Safetensors }
func (f safetensorsFile) dataOffset() int64 { return f.DataOffset() }
func (f safetensorsFile) len() int          { return f.Len() }
func (f safetensorsFile) name(i int) string { return f.At(i).Name }

// quotedName returns the name as the header has it, which is as it is unless
// there is an escape in it.
func (f safetensorsFile) quotedName(i int) (name []byte, escaped bool) {
	start, end := f.NameSpan(i)
	name = f.Header()[start+1 : end-1]
	return name, bytes.IndexByte(name, '\\') >= 0
}

func (f safetensorsFile) hash(seed maphash.Seed, i int) uint64 {
	if name, escaped := f.quotedName(i); !escaped {
		return maphash.Bytes(seed, name)
	}
	return maphash.String(seed, f.name(i))
}

func (f safetensorsFile) hasName(i int, name string) bool {
	if quoted, escaped := f.quotedName(i); !escaped {
		return string(quoted) == name
	}
	return f.name(i) == name
}

func (f safetensorsFile) fill(i int, out *Tensor) {
	t := f.At(i)
	out.Name, out.DType, out.Shape = t.Name, string(t.DType), t.Shape
	if out.Shape == nil {
		out.Shape = scalar
	}
	out.Offset = absolute(f.DataOffset(), t.Begin)
	out.Bytes, out.BytesKnown = t.End-t.Begin, t.End >= t.Begin
	if !out.BytesKnown {
		out.Bytes = 0
	}
}

func (f safetensorsFile) data(i int) (*io.SectionReader, error) { return f.Data(i) }

func (f safetensorsFile) metadata() []MetaKV {
	var list []MetaKV
	for _, kv := range f.Metadata() {
		list = append(list, MetaKV{Key: kv.Key, Text: kv.Value})
	}
	return list
}

func (f safetensorsFile) same(src io.ReaderAt, _ int64) (bool, error) {
	now := make([]byte, len(f.Header()))
	if err := source.ReadFull(src, now, f.DataOffset()-int64(len(now))); err != nil {
		return false, err
	}
	return bytes.Equal(now, f.Header()), nil
}

func (f safetensorsFile) validate() []Fault {
	return mapFaults(f.Validate(), safetensorsFault)
}

func mapFaults[T any](in []T, f func(T) Fault) []Fault {
	if len(in) == 0 {
		return nil
	}
	out := make([]Fault, len(in))
	for i, x := range in {
		out[i] = f(x)
	}
	return out
}

func safetensorsFault(f safetensors.Fault) Fault {
	return Fault{
		Code: string(f.Code), Severity: Severity(f.Severity), Offset: f.Offset, Tensor: f.Tensor, Detail: f.Detail,
		Hint: f.Hint, Unsupported: errors.Is(f, safetensors.ErrUnsupported),
	}
}

// ggufFile adds to a GGUF file the shapes of its tensors in the order of this
// package: the dimensions reversed.
type ggufFile struct {
	*gguf.File
	src    source.Source
	dims   []uint64
	starts []uint32 // of each tensor's shape in dims, and the end of the last
}

func newGGUF(f *gguf.File, src source.Source) *ggufFile {
	n := 0
	for i := range f.Tensors {
		n += len(f.Tensors[i].Dims)
	}
	out := &ggufFile{File: f, src: src, dims: make([]uint64, 0, n), starts: make([]uint32, 0, len(f.Tensors)+1)}
	for i := range f.Tensors {
		out.starts = append(out.starts, uint32(len(out.dims)))
		dims := f.Tensors[i].Dims
		for j := len(dims) - 1; j >= 0; j-- {
			out.dims = append(out.dims, dims[j])
		}
	}
	out.starts = append(out.starts, uint32(len(out.dims)))
	return out
}

func (f *ggufFile) kind() Format      { return GGUF }
func (f *ggufFile) dataOffset() int64 { return f.DataOffset }
func (f *ggufFile) len() int          { return len(f.Tensors) }
func (f *ggufFile) name(i int) string { return f.Tensors[i].Name }

func (f *ggufFile) hasName(i int, name string) bool { return f.Tensors[i].Name == name }

func (f *ggufFile) hash(seed maphash.Seed, i int) uint64 {
	return maphash.String(seed, f.Tensors[i].Name)
}

func (f *ggufFile) fill(i int, out *Tensor) {
	t := &f.Tensors[i]
	lo, hi := f.starts[i], f.starts[i+1]
	out.Name, out.DType, out.Shape = t.Name, t.Type.String(), f.dims[lo:hi:hi]
	out.Offset = absolute(f.DataOffset, t.Offset)
	out.Bytes, out.BytesKnown = t.Bytes, t.BytesKnown
}

func (f *ggufFile) data(i int) (*io.SectionReader, error) { return f.Data(i) }

func (f *ggufFile) metadata() []MetaKV {
	list := make([]MetaKV, 0, len(f.KVs))
	for i := range f.KVs {
		kv := &f.KVs[i]
		list = append(list, MetaKV{Key: kv.Key, Value: &kv.Value, record: io.NewSectionReader(f.src, kv.Offset, kv.End-kv.Offset)})
	}
	return list
}

func (f *ggufFile) same(src io.ReaderAt, size int64) (bool, error) {
	now, err := gguf.NewFile(src, size)
	return err == nil && now.DataOffset == f.DataOffset && slices.EqualFunc(now.Tensors, f.Tensors, func(a, b gguf.Tensor) bool {
		return a.Name == b.Name && a.Type == b.Type && a.Offset == b.Offset && slices.Equal(a.Dims, b.Dims)
	}), err
}

func (f *ggufFile) validate() []Fault { return mapFaults(f.Validate(), ggufFaultValue) }

func ggufFaultValue(f gguf.Fault) Fault { return ggufFault(&f) }

func ggufFault(f *gguf.Fault) Fault {
	return Fault{
		Code: string(f.Code), Severity: Severity(f.Severity), Offset: f.Offset, Tensor: f.Tensor, Detail: f.Detail,
		Unsupported: errors.Is(f, gguf.ErrUnsupported),
	}
}
