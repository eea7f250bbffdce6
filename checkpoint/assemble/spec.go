package assemble

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/internal/image"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/safetensors"
)

// A Spec is a checkpoint to be.
type Spec struct {
	Format checkpoint.Format // Safetensors or GGUF
	// Tensors are in the order in which the headers list them.
	Tensors []Tensor
	// Metadata is that of every safetensors file, or of the first GGUF file. The keys
	// of a split (split.*) are those of the result, whatever is said here.
	Metadata []checkpoint.MetaKV
	Layout   Layout
	// Documents go beside the weights. They need a directory.
	Documents []Document
	// Sources are the checkpoints that the data of tensors is read from. Run fails
	// when one of their files changes, and the result replaces none.
	Sources []*checkpoint.Checkpoint
	// Like is a checkpoint that Metadata is taken from, nil for none. The same holds of its files.
	Like *checkpoint.Checkpoint
}

// A Tensor is one of a new checkpoint's.
type Tensor struct {
	Name string
	// DType is the element type as the format spells it, Shape has the slowest
	// dimension first, in GGUF too.
	DType string
	Shape []uint64
	// Data has the bytes as the format stores them, little-endian, from 0 on; Size
	// says how many. Each is read once, front to back, by one goroutine at a time for all
	// tensors, so that what is computed may share memory and count.
	Data io.ReaderAt
	Size int64
	// Again has the same bytes for the comparison with what was written
	// ([rewrite.VerifyFull] and [rewrite.VerifySampled]); nil is Data.
	Again io.ReaderAt
}

// A Layout says how tensors are put into files.
type Layout struct {
	// MaxShardSize bounds the bytes of tensors in a file. A tensor that has more is in
	// a file of its own. 0 puts all into one file.
	MaxShardSize int64
	// Base is what the files of a directory are called, "model" for "".
	Base string
}

// A Document is a file beside the weights.
type Document struct {
	Name string // below the directory, with slashes
	// Text is what it says; nil for a copy of the file at From. A document of which
	// both are given has the owner and permissions of From.
	Text []byte
	From string
}

// stored is the data of a tensor as a checkpoint has it. It is opened when it is read: there
// may be a hundred thousand of them.
type stored struct {
	c    *checkpoint.Checkpoint
	at   int              // in c
	file *checkpoint.File // that has it in one piece, on this machine; nil for none
	off  int64            // in file
}

func (s *stored) open() (*io.SectionReader, error) { return s.c.Data(s.at) }

func (s *stored) ReadAt(p []byte, off int64) (int, error) {
	r, err := s.open()
	if err != nil {
		return 0, err
	}
	return r.ReadAt(p, off)
}

// Saw has bytes of the file compared with the checksum of what they are part of, where there is one.
func (s *stored) Saw(p []byte, off int64) error {
	return s.watched(func(w image.Watcher) error { return w.Saw(p, off) })
}

func (s *stored) SawZeros(off, n int64) error {
	return s.watched(func(w image.Watcher) error { return w.SawZeros(off, n) })
}

func (s *stored) watched(tell func(image.Watcher) error) error {
	data, err := s.open()
	if err != nil {
		return err
	}
	r, _, _ := data.Outer()
	if w, ok := r.(image.Watcher); ok {
		return tell(w)
	}
	return nil
}

// computed is data of a tensor that is made while it is read, of other tensors or of chunks in
// several files.
type computed struct {
	j *Job
	t *Tensor
	// again says that it is read for the comparison.
	again bool
}

func (c *computed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off > c.t.Size-int64(len(p)) {
		return 0, io.ErrUnexpectedEOF
	}
	c.j.computing.Lock()
	defer c.j.computing.Unlock()
	data := c.t.Data
	if c.again && c.t.Again != nil {
		data = c.t.Again
	}
	s, ok := data.(*stored)
	if !ok {
		return data.ReadAt(p, off)
	}
	if c.j.opened.is != s { // tensors are read one after the other
		r, err := s.open()
		if err != nil {
			return 0, err
		}
		c.j.opened.is, c.j.opened.r = s, r
	}
	return c.j.opened.r.ReadAt(p, off)
}

// Stored is tensor i of a checkpoint, under its name and with its bytes as they are in
// its file.
func Stored(c *checkpoint.Checkpoint, i int) (Tensor, error) {
	t := c.At(i)
	fail := func(err error) (Tensor, error) { return Tensor{}, fmt.Errorf("tensor %q: %w", t.Name, err) }
	data, err := c.Data(i)
	if _, ok := errors.AsType[*checkpoint.Fault](err); ok {
		return Tensor{}, err // which names the tensor
	}
	if err != nil {
		return fail(err)
	}
	f := c.Files[t.File]
	if g := f.GGUF(); g != nil && g.ByteOrder.String() == "BigEndian" && t.DType != "I8" {
		return fail(fmt.Errorf("%s is big-endian, and what is written is little-endian; convert it with gguf_convert_endian.py of llama.cpp first", f.Path))
	}
	if !t.BytesKnown || t.Bytes > math.MaxInt64 || int64(t.Bytes) != data.Size() {
		return fail(fmt.Errorf("the size of its data in %s is not known", f.Path))
	}
	if c.Format == checkpoint.Safetensors {
		like := safetensors.Tensor{DType: safetensors.DType(t.DType), Shape: t.Shape}
		if _, known := like.DType.Bits(); known {
			if n, ok := like.Bytes(); !ok || n != t.Bytes {
				return Tensor{}, fmt.Errorf("%s: tensor %q: its %d bytes are not those of the shape %v of %s; 'wtinspect check' says more, and --exclude %[2]q does without", f.Path, t.Name, t.Bytes, t.Shape, t.DType)
			}
		}
	}
	s := &stored{c: c, at: i}
	if source.Scheme(f.Path) == "" && t.Offset >= 0 {
		s.file, s.off = f, t.Offset
	}
	return Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape, Data: s, Size: data.Size()}, nil
}

// Metadata is what the files of a checkpoint say in their metadata, each key once, for
// the metadata of another one: without the keys that say which file this is of how
// many, and without what fills room. Of keys for which files have different values,
// which differ has, the first value counts.
func Metadata(c *checkpoint.Checkpoint) (kvs []checkpoint.MetaKV, differ []string) {
	first := make(map[string]int)
	noted := make(map[string]bool)
	for _, m := range c.Metadata() {
		if m.IsFiller() || m.Value != nil && strings.HasPrefix(m.Key, "split.") {
			continue
		}
		i, ok := first[m.Key]
		if !ok {
			first[m.Key] = len(kvs)
			m.File = -1
			kvs = append(kvs, m)
			continue
		}
		same := kvs[i].Text == m.Text
		if m.Value != nil && kvs[i].Value != nil {
			same = sameValue(*kvs[i].Value, *m.Value)
		}
		if !same && !noted[m.Key] {
			noted[m.Key] = true
			differ = append(differ, m.Key)
		}
	}
	return kvs, differ
}

// sameValue reports whether two values of GGUF say the same, in whatever types of numbers and order of bytes.
func sameValue(a, b gguf.Value) bool {
	if a, ok := a.Array(); ok {
		b, ok := b.Array()
		if !ok || a.Len() != b.Len() {
			return false
		}
		next, stop := iter.Pull2(b.All())
		defer stop()
		for _, x := range a.All() {
			if _, y, ok := next(); !ok || !sameValue(x, y) {
				return false
			}
		}
		return true
	}
	if x, ok := a.Text(); ok {
		y, ok := b.Text()
		return ok && x == y
	}
	if x, ok := a.Bool(); ok {
		y, ok := b.Bool()
		return ok && x == y
	}
	if x, ok := a.Float(); ok {
		y, ok := b.Float()
		return ok && (x == y || (a.Type() == gguf.TypeFloat32 || b.Type() == gguf.TypeFloat32) && float32(x) == float32(y))
	}
	if x, ok := a.Int(); ok {
		y, ok := b.Int()
		return ok && x == y
	}
	x, ok := a.Uint() // beyond 63 bits
	y, okToo := b.Uint()
	return ok && okToo && x == y
}
