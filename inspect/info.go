package inspect

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/gguf"
	"github.com/wtinspect/wtinspect/internal/adapt"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// InfoOptions adjust [Info]. Nil options are the defaults.
type InfoOptions struct{}

// An InfoResult sums up the checkpoints of a set.
type InfoResult struct {
	Checkpoints []*CheckpointInfo `json:"checkpoints"`
	Faults      Seq[Fault]        `json:"faults"`
}

// CheckpointInfo is what there is to say of a checkpoint as a whole. What is not known is
// nil.
type CheckpointInfo struct {
	Checkpoint
	// Version, ByteOrder (little or big) and Alignment are those of GGUF.
	Version   *uint32 `json:"version"`
	ByteOrder *string `json:"byte_order"`
	Alignment *int64  `json:"alignment"`
	// Parameters are those of the model: packed weights count what they unpack
	// to. ParametersNote says what made them differ from the elements.
	Parameters     *uint64 `json:"parameters"`
	ParametersNote string  `json:"parameters_note,omitempty"`
	Architecture   *string `json:"architecture"`
	Convention     *string `json:"convention"`
	// Kind is what the checkpoint is, by one of the Kind constants of package identify.
	Kind         *string `json:"kind"`
	Name         *string `json:"name"`
	Quantization *string `json:"quantization"`

	// Source is the checkpoint itself.
	Source *checkpoint.Checkpoint `json:"-"`
	// Identity is what its names say, of an unknown convention as well.
	Identity *identify.Result `json:"-"`
	// Largest is a tensor with the most bytes, nil when no size is known.
	Largest *checkpoint.Tensor `json:"-"`
	// PerFile are the totals of each of the checkpoint's files.
	PerFile []Totals `json:"-"`

	first *gguf.File // the first readable GGUF part
}

// The byte orders of GGUF.
const (
	littleEndian = "little"
	bigEndian    = "big"
)

// Info tells what the checkpoints of a set are.
func Info(ctx context.Context, set *Set, _ *InfoOptions) (*InfoResult, error) {
	r := &InfoResult{Faults: set.Faults()}
	for _, c := range set.Checkpoints {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		r.Checkpoints = append(r.Checkpoints, summarize(ctx, c))
	}
	return r, nil
}

func summarize(ctx context.Context, c *checkpoint.Checkpoint) *CheckpointInfo {
	out := &CheckpointInfo{Source: c, PerFile: make([]Totals, len(c.Files))}
	var totals Totals
	for i, t := range c.All() {
		_, tied := c.TiedTo(i)
		totals.add(&t, tied)
		if t.File >= 0 {
			out.PerFile[t.File].add(&t, tied)
		}
		if t.BytesKnown && (out.Largest == nil || t.Bytes > out.Largest.Bytes) {
			largest := t // t itself would be made anew for every tensor
			out.Largest = &largest
		}
	}
	out.Checkpoint = newCheckpoint(c, &totals)
	if !c.NamesOnly() {
		n, note := c.Parameters(c.Config)
		out.Parameters, out.ParametersNote = &n, note
	}
	for _, f := range c.Files {
		if g := f.GGUF(); g != nil {
			out.first = g
			break
		}
	}
	out.Architecture, out.Quantization = some(c.Architecture(c.Config)), some(c.Quantization(c.Config))
	m, _ := adapt.Model(ctx, c) // a document that cannot be read says nothing
	out.Identity = identify.Tensors(adapt.Tensors(c), m)
	out.Convention, out.Kind = some(out.Identity.Convention), some(out.Identity.Kind)
	if g := out.first; g != nil {
		out.Version, out.Alignment, out.ByteOrder = &g.Version, &g.Alignment, some(littleEndian)
		if g.ByteOrder == binary.BigEndian {
			out.ByteOrder = some(bigEndian)
		}
		v, _ := g.Lookup("general.name")
		name, _ := v.Text()
		out.Name = some(name)
	}
	return out
}

// Container returns the format with its version: "GGUF v3, big-endian,
// alignment 64", "pytorch, TorchScript".
func (i *CheckpointInfo) Container() string {
	if i.first == nil {
		if isScript(i.Source) {
			return string(i.Format) + ", TorchScript"
		}
		if isExport(i.Source) {
			return string(i.Format) + ", torch.export"
		}
		if slices.ContainsFunc(i.Source.Files, func(f *checkpoint.File) bool { return f.Distributed() != nil }) {
			return string(i.Format) + ", a distributed checkpoint"
		}
		return string(i.Format)
	}
	s := fmt.Sprintf("GGUF v%d", i.first.Version)
	if i.first.ByteOrder == binary.BigEndian {
		s += ", big-endian"
	}
	const usual = 32
	if i.first.Alignment != usual {
		s += fmt.Sprintf(", alignment %d", i.first.Alignment)
	}
	return s
}
