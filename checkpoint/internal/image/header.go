package image

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
	"github.com/wtinspect/wtinspect/numpy"
	"github.com/wtinspect/wtinspect/pytorch"
)

// PageSize is what the data of a new safetensors file begins at a multiple of,
// which lets readers map it, and file systems share it.
const PageSize = 4096

// MaxAlignment is far above what any writer of GGUF uses, and what hostile files may
// make of the memory for a header.
const MaxAlignment = 1 << 20

// Fresh is where the data of a new file begins whose header takes at least so many
// bytes, and at most so many. An eighth is room for longer names later on.
func Fresh(least, most int64) int64 {
	if n := min(RoundUp(least+least/8, PageSize), most/PageSize*PageSize); n >= least {
		return n
	}
	return RoundUp(least, 8)
}

// Headed is a file of which only the header is there, and zeros behind it.
func Headed(header []byte, size int64) io.ReaderAt { return headed{header, size} }

type headed struct {
	header []byte
	size   int64
}

func (h headed) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 || off >= h.size {
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), h.size-off))
	clear(p[:n])
	if off < int64(len(h.header)) {
		copy(p[:n], h.header[off:])
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// SameHeader checks that src is still the file that a file of a checkpoint was opened
// as: that its header lists the same tensors in the same places.
func SameHeader(f *checkpoint.File, src io.ReaderAt, size int64) error {
	if size != f.Size {
		return txn.ErrChanged
	}
	if st := f.Safetensors(); st != nil {
		now := make([]byte, len(st.Header()))
		if err := source.ReadFull(src, now, st.DataOffset()-int64(len(now))); err != nil {
			return err
		}
		if !bytes.Equal(now, st.Header()) {
			return txn.ErrChanged
		}
		return nil
	}
	if t := f.PyTorch(); t != nil {
		return samePyTorch(t, src, size)
	}
	if n := f.NumPy(); n != nil {
		return sameNumPy(n, src, size)
	}
	if d := f.Distributed(); d != nil {
		now, err := pytorch.ReadDistributed(src, size)
		if err != nil {
			return errors.Join(txn.ErrChanged, err)
		}
		if !reflect.DeepEqual(now.Tensors, d.Tensors) {
			return txn.ErrChanged
		}
		return nil
	}
	if f.HasChunks() {
		return nil // what is in it, the metadata say
	}
	old := f.GGUF()
	if old == nil {
		return errors.New("it is not open")
	}
	now, err := gguf.NewFile(src, size)
	if err != nil {
		return errors.Join(txn.ErrChanged, err)
	}
	if now.DataOffset != old.DataOffset || !slices.EqualFunc(now.Tensors, old.Tensors, func(a, b gguf.Tensor) bool {
		return a.Name == b.Name && a.Type == b.Type && a.Offset == b.Offset && slices.Equal(a.Dims, b.Dims)
	}) {
		return txn.ErrChanged
	}
	return nil
}

// sameNumPy is SameHeader for a file of arrays.
func sameNumPy(old *numpy.File, src io.ReaderAt, size int64) error {
	now, err := numpy.NewFile(src, size)
	if err != nil {
		return errors.Join(txn.ErrChanged, err)
	}
	if now.Len() != old.Len() {
		return txn.ErrChanged
	}
	for i, a := range old.All() {
		b := now.At(i)
		if a.Name != b.Name || a.DType != b.DType || a.Offset != b.Offset || a.Fortran != b.Fortran || !slices.Equal(a.Shape, b.Shape) {
			return txn.ErrChanged
		}
	}
	return nil
}

// samePyTorch is SameHeader for a file of torch.save: its tensors are the same views of
// storages that begin at the same places.
func samePyTorch(old *pytorch.File, src io.ReaderAt, size int64) error {
	now, err := pytorch.NewFile(src, size)
	if err != nil {
		return errors.Join(txn.ErrChanged, err)
	}
	now, ok := now.Subtree(old.Path())
	if !ok || now.Len() < old.Len() {
		return txn.ErrChanged
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
	for _, t := range old.All() {
		// What is listed by default leaves out the states of optimisers.
		for k < now.Len() && now.At(k).Name != t.Name {
			k++
		}
		if k == now.Len() {
			return txn.ErrChanged
		}
		n := now.At(k)
		if n.DType != t.DType || n.Offset != t.Offset || !slices.Equal(n.Shape, t.Shape) || !slices.Equal(n.Strides, t.Strides) || begin(now, n.Storage) != begin(old, t.Storage) {
			return txn.ErrChanged
		}
	}
	return nil
}
