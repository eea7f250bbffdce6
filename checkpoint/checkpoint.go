package checkpoint

import (
	"math/bits"
)

// A Format is a container format.
type Format string

// The formats of a checkpoint. PyTorch stands for a pytorch_model.bin.index.json
// alone, which gives names; the pickles it points to are never opened.
const (
	Safetensors Format = "safetensors"
	GGUF        Format = "gguf"
	PyTorch     Format = "pytorch"
)

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
