package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/bits"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/wtinspect/wtinspect/internal/quant"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A Format is a container format.
type Format string

// The formats of a checkpoint. PyTorch is what torch.save and
// torch.distributed.checkpoint write, NumPy arrays as NumPy and MLX save them.
const (
	Safetensors Format = "safetensors"
	GGUF        Format = "gguf"
	PyTorch     Format = "pytorch"
	NumPy       Format = "numpy"
)

// Editable reports whether files of the format are edited. What a PyTorch file says is in
// a pickle, and arrays of NumPy are files in an archive: both are only read.
func (f Format) Editable() bool { return f == Safetensors || f == GGUF }

// A Tensor is one entry of a checkpoint.
type Tensor struct {
	Name string
	// DType is the element type as the format spells it ("BF16", "Q4_K"), or
	// "" when unknown.
	DType string
	// Shape has the slowest dimension first. It is empty for a scalar and nil
	// when unknown. It is shared and must not be modified.
	Shape []uint64
	// File is the index in [Checkpoint].Files of the file that holds the
	// tensor, or -1 when unknown.
	File int
	// Offset is where the data begins, from the start of the file, or -1 when
	// unknown.
	Offset int64
	// Bytes is the size of the data. It is meaningful when BytesKnown is set.
	Bytes      uint64
	BytesKnown bool
}

// Elements returns the number of elements, and false when the shape is
// unknown or the number does not fit in 64 bits.
func (t Tensor) Elements() (n uint64, ok bool) {
	if t.Shape == nil {
		return 0, false
	}
	n = 1
	overflow := false
	for _, d := range t.Shape {
		if d == 0 {
			return 0, true
		}
		hi, lo := bits.Mul64(n, d)
		overflow = overflow || hi != 0
		n = lo
	}
	return n, !overflow
}

// A Checkpoint is the weights of one model: one file, or several that belong
// together. Its methods may be used by several goroutines at once.
type Checkpoint struct {
	// Path names this checkpoint as a user would: the reference given to Open,
	// or, where that holds several, a path that opens this one alone.
	Path string
	// Dir is the directory of the files.
	Dir    string
	Format Format
	// Index is the path of the shard index, or "".
	Index string
	// Files are the files of the set, the missing ones included, in the order
	// of their names.
	Files []*File
	// Config is config.json in Dir, nil when it is absent or not valid JSON.
	Config *Config
	// Revision is the commit of a repository that the files are of, "" elsewhere.
	Revision string
	// Of are the checkpoints that a [Union] consists of, nil for one by itself.
	Of []*Checkpoint

	starts     []int   // the index of each file's first tensor, and the end of the last
	found      []Fault // before the files were opened
	allowLinks bool
	filesOnly  bool // none is opened
	oversized  bool // the names speak of more files than maxShards

	namesOnly   bool
	fileOfShard func(shard string) int // of a checkpoint of names only
	unreadable  atomic.Pointer[Fault]  // the index
	indexRead   atomic.Bool            // and it could be
	indexOnce   sync.Once
	index       *safetensors.Index
	indexErr    error

	quantOnce sync.Once
	quant     *quant.Report // what quantised found

	tableOnce  sync.Once
	table      nameTable
	duplicates []duplicate
}

// admit takes in a file that has been opened, as those before it have.
func (c *Checkpoint) admit(file int) {
	f := c.Files[file]
	if f.format != nil && f.format.kind() != c.Format {
		kind := f.format.kind()
		if len(c.Files) == 1 {
			c.Format = kind
		} else {
			f.format = nil
			f.Err = &Fault{
				File: f.Path, Code: CodeNotOpened, Severity: Error, Offset: -1,
				Detail: fmt.Sprintf("a %s file among %s shards", kind, c.Format),
			}
		}
	}
	c.starts = append(c.starts, c.starts[file]+f.len())
}

// settle is called when every file has been taken in.
func (c *Checkpoint) settle(ctx context.Context) {
	missing := 0
	for _, f := range c.Files {
		if f.Missing || f.refused {
			missing++
		}
	}
	if c.Index == "" || missing < len(c.Files) {
		return
	}
	if _, err := c.readIndex(ctx); err != nil {
		c.setUnreadable(err)
		return
	}
	c.namesOnly = true
	c.fileOfShard = c.shardFiles()
}

// setIndex keeps an index that discovery had to read.
func (c *Checkpoint) setIndex(ix *safetensors.Index) {
	c.indexOnce.Do(func() { c.index = ix })
	c.indexRead.Store(true)
}

// setUnreadable notes why the index could not be read.
func (c *Checkpoint) setUnreadable(err error) {
	fault := asFault(c.Index, err)
	c.unreadable.Store(&fault)
}

// IndexFault says why the index could not be read: the files are then those
// that their numbering makes a set. It is nil for an index that could be read. An
// index that Open left to [Checkpoint.Validate] is read for it, unless that has
// been.
func (c *Checkpoint) IndexFault(ctx context.Context) *Fault {
	if c.Index != "" && c.unreadable.Load() == nil && !c.indexRead.Load() && !c.filesOnly {
		if _, err := c.readIndex(ctx); err != nil {
			c.setUnreadable(err)
		}
	}
	return c.unreadable.Load()
}

// readIndex returns the checkpoint's index, and reads it the first time.
func (c *Checkpoint) readIndex(ctx context.Context) (*safetensors.Index, error) {
	c.indexOnce.Do(func() {
		c.index, c.indexErr = readIndex(ctx, c.Index)
		c.indexRead.Store(c.indexErr == nil)
	})
	return c.index, c.indexErr
}

// NamesOnly reports that the tensors are the names of an index without any of
// its shards: they have no dtype, shape or place.
func (c *Checkpoint) NamesOnly() bool { return c.namesOnly }

// IsRelease reports whether the checkpoint is more than one file by itself: a directory,
// or a set of files.
func (c *Checkpoint) IsRelease() bool {
	return c.Index != "" || len(c.Files) > 1 || filepath.Clean(c.Path) == filepath.Clean(c.Dir)
}

// Len returns the number of tensors.
func (c *Checkpoint) Len() int {
	if c.namesOnly {
		return c.index.Len()
	}
	if len(c.Files) == 0 {
		return 0
	}
	return c.starts[len(c.Files)]
}

// At returns the tensor at index i, in the order of the files and, within a
// file, of its header; the names of an index are in the order of the index.
func (c *Checkpoint) At(i int) Tensor {
	if c.namesOnly {
		return c.indexed(i)
	}
	file := c.fileOf(i)
	t := Tensor{File: file}
	c.Files[file].fill(i-c.starts[file], &t)
	return t
}

// fileOf returns the place in Files of the file that holds tensor i.
func (c *Checkpoint) fileOf(i int) int {
	if n := c.starts[len(c.starts)-1]; uint(i) >= uint(n) { // while files are opened, of those that are
		panic(fmt.Sprintf("checkpoint: tensor %d of %d", i, n))
	}
	return sort.SearchInts(c.starts, i+1) - 1
}

func (c *Checkpoint) indexed(i int) Tensor {
	name, shard := c.index.At(i)
	return Tensor{Name: name, File: c.fileOfShard(shard), Offset: -1}
}

// Absent are the tensors that the index names and no file holds, as when shards are missing: their
// names, and nothing else. There are none where nothing but the index is there, so that it lists them.
func (c *Checkpoint) Absent(ctx context.Context) []string {
	if c.namesOnly || c.Index == "" || !slices.ContainsFunc(c.Files, func(f *File) bool { return f.Missing }) {
		return nil
	}
	ix, err := c.readIndex(ctx)
	if err != nil {
		return nil // IndexFault says it
	}
	var out []string
	for i := range ix.Len() {
		name, _ := ix.At(i)
		if _, ok := c.Lookup(name); !ok {
			out = append(out, name)
		}
	}
	return out
}

// shardFiles returns a function from the name of a shard, as the index spells
// it, to its place in Files, -1 for one that is not among them.
func (c *Checkpoint) shardFiles() func(shard string) int {
	files := make(map[string]int, len(c.Files))
	for i, f := range c.Files {
		files[f.Name] = i
	}
	return func(shard string) int {
		if i, ok := files[shard]; ok {
			return i
		}
		if i, ok := files[path.Clean(shard)]; ok && shard != "" {
			return i
		}
		return -1
	}
}

// All iterates over the tensors in the order of At.
func (c *Checkpoint) All() iter.Seq2[int, Tensor] {
	return func(yield func(int, Tensor) bool) {
		if c.namesOnly {
			for i := range c.index.Len() {
				if !yield(i, c.indexed(i)) {
					return
				}
			}
			return
		}
		for file := range c.Files {
			if !c.each(file, yield) {
				return
			}
		}
	}
}

// each calls yield for the tensors of a file, and reports whether it wants more.
func (c *Checkpoint) each(file int, yield func(int, Tensor) bool) bool {
	f := c.Files[file]
	t := Tensor{File: file}
	for i := range f.len() {
		f.fill(i, &t)
		if !yield(c.starts[file]+i, t) {
			return false
		}
	}
	return true
}

// name returns the name of tensor i.
func (c *Checkpoint) name(i int) string {
	if c.namesOnly {
		name, _ := c.index.At(i)
		return name
	}
	file := c.fileOf(i)
	return c.Files[file].format.name(i - c.starts[file])
}

func (c *Checkpoint) hasName(i int, name string) bool {
	if c.namesOnly {
		return c.name(i) == name
	}
	file := c.fileOf(i)
	return c.Files[file].format.hasName(i-c.starts[file], name)
}

// Lookup returns the index of the tensor of that name, the first of several.
func (c *Checkpoint) Lookup(name string) (int, bool) {
	c.tableOnce.Do(c.buildTable)
	return c.lookup(name)
}

// Data returns the bytes of the tensor at index i, as they are in its file.
func (c *Checkpoint) Data(i int) (*io.SectionReader, error) {
	if c.namesOnly {
		return nil, fmt.Errorf("tensor %q: its file is not there", c.name(i))
	}
	file := c.fileOf(i)
	r, err := c.Files[file].format.data(i - c.starts[file])
	if err != nil {
		return nil, c.Files[file].fault(err)
	}
	return r, nil
}

func (c *Checkpoint) close() error {
	var errs []error
	for _, f := range c.Files {
		errs = append(errs, f.close())
	}
	return errors.Join(errs...)
}
