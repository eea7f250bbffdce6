package compare

import (
	"io"
	"slices"
	"strings"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/arrays"
	"github.com/wtinspect/wtinspect/internal/values"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// mxfp4 is ggml's type of weights as GPT-OSS is released in.
const mxfp4 = "MXFP4"

// joinBlocks puts the blocks and the scales of MXFP4 weights, which are two tensors in
// GPT-OSS's releases, together as in GGUF, where they are compared with that. llama.cpp's
// converter does the same (convert_hf_to_gguf.py GptOssModel.repack_mxfp4).
func (c *comparison) joinBlocks() {
	switch a, b := c.a.Format == checkpoint.GGUF, c.b.Format == checkpoint.GGUF; {
	case b && !a:
		c.as = joinBlocks(c.as, c.a)
	case a && !b:
		c.bs = joinBlocks(c.bs, c.b)
	}
}

func joinBlocks(list []*tensor, of *checkpoint.Checkpoint) []*tensor {
	scales := make(map[string]*tensor)
	for _, t := range list {
		if strings.HasSuffix(t.own, "scales") {
			scales[t.own] = t
		}
	}
	gone := make(map[*tensor]bool)
	for i, t := range list {
		stem, ok := strings.CutSuffix(t.own, "blocks")
		s := scales[stem+"scales"]
		if !ok || len(stem) < 2 || s == nil || t.dtype != "U8" || s.dtype != "U8" {
			continue
		}
		if whole := ggmlBlocks(t, s, stem[:len(stem)-1], of); whole != nil {
			list[i], gone[s] = whole, true
		}
	}
	return slices.DeleteFunc(list, func(t *tensor) bool { return gone[t] })
}

// ggmlBlocks makes one tensor of blocks and their scales; nil where they do not fit.
func ggmlBlocks(blocks, scales *tensor, name string, of *checkpoint.Checkpoint) *tensor {
	var in []*arrays.Array
	for _, t := range []*tensor{blocks, scales} {
		s, err := Section(of, t.index)
		if err != nil || s.Type == nil {
			return nil
		}
		a, err := arrays.New(t.shape, elementOf(s.Type, s.BigEndian), s.Data)
		if err != nil || a.Size() != s.Data.Size() {
			return nil
		}
		in = append(in, a)
	}
	var w arrays.Workspace
	out, _, err := w.Operate(tensorop.Op{Kind: tensorop.Repack, Count: 2, From: tensorop.MXFP4Blocks, To: tensorop.MXFP4GGML}, in)
	if err != nil {
		return nil
	}
	t := &tensor{index: blocks.index, sources: []int{blocks.index, scales.index}, own: name, name: name, dtype: mxfp4}
	t.shape = slices.Clone(scales.shape)
	typ, _ := values.Lookup(mxfp4)
	t.shape[len(t.shape)-1] *= uint64(typ.BlockElems)
	t.section = values.Section{Name: name, Type: typ, Data: io.NewSectionReader(out[0].Data, 0, out[0].Size())}
	return t
}
