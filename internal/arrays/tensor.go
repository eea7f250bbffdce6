package arrays

import (
	"fmt"
	"io"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/rename/tensorop"
	"github.com/wtinspect/wtinspect/safetensors"
)

// Stored is the array of a tensor as it is in a file of a checkpoint; data has its bytes.
func Stored(f *checkpoint.File, t checkpoint.Tensor, data io.ReaderAt) (*Array, error) {
	inFile := t.Offset >= 0 && t.Offset <= f.Size && t.Bytes <= uint64(f.Size-t.Offset)
	if !t.BytesKnown || !inFile && !f.Rearranged() { // whose tensors may be gathered from all over it
		return nil, fmt.Errorf("the size of its data, %s, is not known or not in the file", t.DType)
	}
	elem, ok := ElementOf(t.DType)
	if g := f.GGUF(); g != nil {
		elem.BigEndian = g.ByteOrder.String() == "BigEndian"
	}
	var a *Array
	err := fmt.Errorf("the size of an element of %s is not known", t.DType)
	if ok {
		a, err = New(t.Shape, elem, data)
	}
	if err == nil && uint64(a.Size()) != t.Bytes {
		err = fmt.Errorf("its shape %v of %s is not that of the %d bytes it has", t.Shape, t.DType, t.Bytes)
	}
	return a, err
}

// ElementOf is the element of a dtype, as safetensors or GGUF spells it. Elements narrower
// than a byte come in the fewest that fill whole bytes.
func ElementOf(dtype string) (Element, bool) {
	if bits, ok := safetensors.DType(dtype).Bits(); ok {
		e := Element{DType: dtype, Elems: 1}
		for int64(bits)*e.Elems%8 != 0 {
			e.Elems *= 2
		}
		e.Bytes = int64(bits) * e.Elems / 8
		return e, true
	}
	t, ok := gguf.ParseTensorType(dtype)
	elems, bytes, known := t.Block()
	return Element{DType: dtype, Elems: elems, Bytes: bytes}, ok && known
}

// OperateAll carries operations out one after the other, each on those of the operands
// that its Index and Count say, whose place its results take. undo takes what is left
// back to what was given, exactly if exact says so. An error calls the operands what of
// says.
func (w *Workspace) OperateAll(ops []tensorop.Op, operands []*Array, of string) (out []*Array, undo []tensorop.Op, exact bool, err error) {
	exact = true
	out = slices.Clone(operands)
	for i := range ops {
		op := &ops[i]
		if op.Index < 0 || op.Count < 1 || op.Index+op.Count > len(out) {
			return nil, nil, false, fmt.Errorf("%s cannot take %d tensors from %d on of %d", op.Kind, op.Count, op.Index, len(out))
		}
		made, done, err := w.Operate(*op, out[op.Index:op.Index+op.Count])
		if err != nil {
			return nil, nil, false, fmt.Errorf("%s of %s: %w", op.Kind, of, err)
		}
		inverse, ok := done.Inverse()
		exact = exact && ok
		undo = append(undo, inverse)
		out = slices.Replace(out, op.Index, op.Index+op.Count, made...)
	}
	slices.Reverse(undo)
	return out, undo, exact, nil
}
