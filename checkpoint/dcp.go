package checkpoint

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"reflect"
	"slices"
	"sync"

	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/strided"
	"github.com/wtinspect/wtinspect/pytorch"
	"github.com/wtinspect/wtinspect/safetensors"
)

// DistributedIndex is the file of a distributed checkpoint that says what is in the others
// (torch/distributed/checkpoint/filesystem.py, _metadata_fn).
const DistributedIndex = ".metadata"

// distributed adds the distributed checkpoint of a directory: .metadata, which has the tensors, and the
// files of their chunks.
func (d *finder) distributed(dir string, l *listing) error {
	c := d.checkpoint(dir, PyTorch)
	c.Path = dir
	meta := c.entry(DistributedIndex)
	c.Files = []*File{meta}
	src, err := source.Open(d.ctx, meta.Path)
	if err != nil {
		return err
	}
	defer src.Close()
	m, err := pytorch.ReadDistributed(src, src.Size())
	if err != nil {
		err = meta.fault(err)
		if d.ctx.Err() != nil {
			return d.ctx.Err()
		}
		meta.Err = err
		return nil
	}
	meta.chunked = &dcpFile{Distributed: m, files: make(map[string]*File)}
	if source.Scheme(meta.Path) == "" {
		meta.chunked.size = src.Size()
		if meta.chunked.digest, err = digestOf(src, src.Size()); err != nil {
			return err
		}
	}
	for _, name := range m.Files {
		f := c.file(name)
		f.chunks = true
		meta.chunked.files[name] = f
		if !slices.ContainsFunc(c.Files, func(o *File) bool { return o.Name == f.Name }) {
			c.Files = append(c.Files, f)
		}
	}
	for _, name := range l.chunks {
		if !slices.ContainsFunc(c.Files, func(f *File) bool { return f.Name == name }) {
			c.found = append(c.found, Fault{
				File: source.Join(dir, name), Code: CodeOrphanShard, Severity: Warning, Offset: -1,
				Detail: "no chunk of a tensor is in it by .metadata: it is left of another checkpoint",
			})
		}
	}
	c.sortFiles()
	return nil
}

// A dcpFile is the .metadata of a distributed checkpoint, with the tensors of all of it. The
// files of the chunks are containers without tensors.
type dcpFile struct {
	*pytorch.Distributed
	tree  *pytorch.File    // what is listed
	at    []int            // where the tensors that are listed are in Tensors
	files map[string]*File // by the names that the metadata has for them

	mu   sync.Mutex
	open map[place]*together // where the chunks of a file are together

	size   int64 // of the metadata, 0 where they are on a server
	digest uint64

	countOnce sync.Once
	chunks    int // see many
}

type place struct {
	file   string
	offset int64
}

// A together is the chunks of a file in the format of safetensors.
type together struct {
	*safetensors.File
	byName map[string]int
}

// chunkFile is a file of chunks.
type chunkFile struct{}

func (chunkFile) kind() Format                          { return PyTorch }
func (chunkFile) dataOffset() int64                     { return 0 }
func (chunkFile) len() int                              { return 0 }
func (chunkFile) name(int) string                       { return "" }
func (chunkFile) hash(maphash.Seed, int) uint64         { return 0 }
func (chunkFile) hasName(int, string) bool              { return false }
func (chunkFile) data(int) (*io.SectionReader, error)   { return nil, nil }
func (chunkFile) validate() []Fault                     { return nil }
func (chunkFile) metadata() []MetaKV                    { return nil }
func (chunkFile) same(io.ReaderAt, int64) (bool, error) { return true, nil } // .metadata says what is in it
func (f *dcpFile) kind() Format                         { return PyTorch }
func (f *dcpFile) dataOffset() int64                    { return 0 }
func (f *dcpFile) len() int                             { return len(f.at) }
func (f *dcpFile) name(i int) string                    { return f.tree.At(i).Name }
func (f *dcpFile) hash(seed maphash.Seed, i int) uint64 { return maphash.String(seed, f.name(i)) }
func (f *dcpFile) hasName(i int, name string) bool      { return f.name(i) == name }

// list chooses the part of the tree whose tensors are listed.
func (f *dcpFile) list(subtree string) (err error) {
	if f.tree, err = partOf(f.Tree(), subtree); err != nil {
		return err
	}
	places := make(map[string]int, len(f.Tensors))
	for i := range f.Tensors {
		places[f.Tensors[i].Name] = i
	}
	f.at = make([]int, f.tree.Len())
	for i, t := range f.tree.All() {
		f.at[i] = places[t.Storage.Key]
	}
	return nil
}

func (f *dcpFile) fill(i int, out *Tensor) {
	t := &f.Tensors[f.at[i]]
	out.Name = f.name(i)
	out.DType, out.Shape = torchType(t.DType, t.Shape)
	out.Bytes, out.BytesKnown = t.Bytes()
	out.Offset = -1
}

// digestSeed is that of digests in one process.
var digestSeed = maphash.MakeSeed()

// digestOf tells the metadata from others: they are parsed into several times their size.
func digestOf(src io.ReaderAt, size int64) (uint64, error) {
	var h maphash.Hash
	h.SetSeed(digestSeed)
	_, err := io.Copy(&h, io.NewSectionReader(src, 0, size))
	return h.Sum64(), err
}

// metadata are the names of what is not a tensor, and says where it is.
func (f *dcpFile) metadata() []MetaKV {
	var list []MetaKV
	for _, kv := range f.tree.Metadata() {
		list = append(list, MetaKV{Key: kv.Key, Text: kv.Value.(string)})
	}
	return list
}

func (f *dcpFile) same(src io.ReaderAt, size int64) (bool, error) {
	if f.size > 0 {
		digest, err := digestOf(src, size)
		return err == nil && size == f.size && digest == f.digest, err
	}
	now, err := pytorch.ReadDistributed(src, size)
	return err == nil && reflect.DeepEqual(now.Tensors, f.Tensors), err
}

func (f *dcpFile) validate() []Fault {
	list := mapFaults(f.Validate(), pytorchFaultValue)
	for _, name := range f.Files {
		if flt, ok := f.files[name].Err.(*Fault); ok && f.files[name].refused {
			list = append(list, *flt)
		}
	}
	for i := range f.Tensors {
		t := &f.Tensors[i]
		for _, c := range t.Chunks {
			file := f.files[c.Place.File]
			if file == nil || file.Missing || file.Err != nil {
				continue // which is said of the file
			}
			if end := c.Place.Offset; end > file.Size || c.Place.Length > file.Size-end {
				list = append(list, Fault{
					Code: string(pytorch.CodeMissingStorage), Severity: Error, Offset: -1, Tensor: t.Name,
					Detail: fmt.Sprintf("its chunk at %d is beyond the end of %s, which has %d bytes", c.Offsets, file.Name, file.Size),
				})
				break
			}
		}
	}
	list = append(list, f.disagreeing()...)
	listed := make(map[string]string, len(f.at))
	for i, at := range f.at {
		listed[f.Tensors[at].Name] = f.name(i)
	}
	for i := range list {
		list[i].Tensor = cmp.Or(listed[list[i].Tensor], list[i].Tensor)
	}
	return list
}

// maxOpened bounds how many chunks are opened to see that they are what .metadata says, before they are read.
const maxOpened = 1_000

// disagreeing opens the chunks on this machine, as far as they are there, and no data of them.
func (f *dcpFile) disagreeing() (list []Fault) {
	opened := 0
	for i := range f.Tensors {
		t := &f.Tensors[i]
		if t.Fault() != nil {
			continue // which is a fault by itself
		}
		for k := range t.Chunks {
			c := &t.Chunks[k]
			file := f.files[c.Place.File]
			if slices.Contains(c.Sizes, 0) || file == nil || file.Missing || file.Err != nil || file.src == nil ||
				c.Place.Offset > file.Size || c.Place.Length > file.Size-c.Place.Offset || source.Scheme(file.Path) != "" {
				continue
			}
			if opened++; opened > maxOpened {
				return list
			}
			_, err := f.chunk(t, c)
			if flt, ok := errors.AsType[*Fault](err); ok {
				list = append(list, *flt)
				break
			}
		}
	}
	return list
}

// data puts a tensor together of its chunks, which are read as it is.
func (f *dcpFile) data(i int) (*io.SectionReader, error) {
	t := &f.Tensors[f.at[i]]
	if flt := t.Fault(); flt != nil {
		out := pytorchFault(flt)
		return nil, &out
	}
	bits, _ := t.DType.Bits()
	size, _ := t.Bytes()
	if size > math.MaxInt64 {
		return nil, fmt.Errorf("tensor %q: %d bytes", t.Name, size)
	}
	var boxes []strided.Box
	for k := range t.Chunks {
		c := &t.Chunks[k]
		if slices.Contains(c.Sizes, 0) {
			continue
		}
		if err := f.placed(t, c); err != nil {
			return nil, err
		}
		var r io.ReaderAt = &unopened{f: f, t: t, c: c}
		if !f.many() {
			var err error
			if r, err = f.chunk(t, c); err != nil {
				return nil, err
			}
		}
		boxes = append(boxes, strided.Box{Offsets: c.Offsets, Sizes: c.Sizes, R: r})
	}
	return io.NewSectionReader(strided.NewBoxes(bits/8, t.Shape, boxes), 0, int64(size)), nil
}

// many reports whether there are more chunks than are opened before they are read.
func (f *dcpFile) many() bool {
	f.countOnce.Do(func() {
		for i := range f.Tensors {
			f.chunks += len(f.Tensors[i].Chunks)
		}
	})
	return f.chunks > maxOpened
}

// An unopened is a chunk that is opened when it is read.
type unopened struct {
	f *dcpFile
	t *pytorch.DistributedTensor
	c *pytorch.Chunk

	once sync.Once
	r    io.ReaderAt
	err  error
}

func (u *unopened) ReadAt(p []byte, off int64) (int, error) {
	u.once.Do(func() { u.r, u.err = u.f.chunk(u.t, u.c) })
	if u.err != nil {
		return 0, u.err
	}
	return u.r.ReadAt(p, off)
}

// broken is what is wrong with a chunk of a tensor.
func (f *dcpFile) broken(t *pytorch.DistributedTensor, c *pytorch.Chunk, format string, args ...any) error {
	return &Fault{
		File: f.files[c.Place.File].Path, Code: string(pytorch.CodeMissingStorage), Severity: Error, Offset: c.Place.Offset, Tensor: t.Name,
		Detail: fmt.Sprintf("its chunk at %d ", c.Offsets) + fmt.Sprintf(format, args...),
	}
}

// placed returns why a chunk is not where the metadata say.
func (f *dcpFile) placed(t *pytorch.DistributedTensor, c *pytorch.Chunk) error {
	switch file := f.files[c.Place.File]; {
	case file.Err != nil:
		return file.Err
	case file.Missing || file.src == nil:
		return f.broken(t, c, "is in %s, which is missing", file.Name)
	case c.Place.Offset > file.Size || c.Place.Length > file.Size-c.Place.Offset:
		return f.broken(t, c, "is beyond the end of %s, which has %d bytes", file.Name, file.Size)
	}
	return nil
}

// chunk opens a chunk of a tensor.
func (f *dcpFile) chunk(t *pytorch.DistributedTensor, c *pytorch.Chunk) (io.ReaderAt, error) {
	if err := f.placed(t, c); err != nil {
		return nil, err
	}
	file := f.files[c.Place.File]
	fail := func(format string, args ...any) (io.ReaderAt, error) { return nil, f.broken(t, c, format, args...) }
	var head [DetectBytes]byte
	if _, err := file.src.ReadAt(head[:], c.Place.Offset); err != nil && err != io.EOF {
		return nil, err
	}
	var dtype string
	var shape []uint64
	var data *io.SectionReader
	if isTorch(head[:]) {
		one, err := pytorch.NewFile(io.NewSectionReader(file.src, c.Place.Offset, c.Place.Length), c.Place.Length)
		if err != nil {
			return fail("cannot be read: %v", err)
		}
		if one.Len() != 1 {
			return fail("has %d tensors", one.Len())
		}
		one.Release() // a conversion has a hundred thousand chunks open
		inner := &pytorchFile{File: one, path: file.Path}
		var got Tensor
		inner.fill(0, &got)
		dtype, shape = got.DType, got.Shape
		if data, err = inner.data(0); err != nil {
			return fail("cannot be read: %v", err)
		}
	} else {
		all, err := f.together(file, c.Place)
		if err != nil {
			return fail("is neither a file of torch.save nor in one of safetensors: %v", err)
		}
		k, ok := all.byName[t.Name]
		if !ok {
			return fail("is not among the tensors of %s", file.Name)
		}
		dtype, shape = string(all.At(k).DType), all.At(k).Shape
		if data, err = all.Data(k); err != nil {
			return fail("cannot be read: %v", err)
		}
	}
	want, sizes := torchType(t.DType, c.Sizes)
	if dtype != want || !slices.Equal(shape, sizes) {
		return fail("is %s %d in %s, and %s %d in .metadata", dtype, shape, file.Name, want, sizes)
	}
	return data, nil
}

// together opens what the chunks of a file are together, in the format of safetensors. It
// begins where the metadata say that each of them does.
func (f *dcpFile) together(file *File, at pytorch.Place) (*together, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := place{at.File, at.Offset}
	if all, ok := f.open[k]; ok {
		return all, nil
	}
	rest := file.Size - at.Offset
	st, err := safetensors.NewFile(io.NewSectionReader(file.src, at.Offset, rest), rest)
	if err != nil {
		return nil, err
	}
	all := &together{st, make(map[string]int, st.Len())}
	for i, t := range st.All() {
		all.byName[t.Name] = i
	}
	if f.open == nil {
		f.open = make(map[place]*together)
	}
	f.open[k] = all
	return all, nil
}
