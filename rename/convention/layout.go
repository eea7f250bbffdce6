package convention

import (
	"maps"
	"slices"
)

// A Layout says how a convention's bytes lie where they differ from the plain
// layout: one tensor for each projection, [out, in], experts one by one. The
// zero value of each field is the plain layout.
type Layout struct {
	// Rope is the order of the rows of the query and key projections that
	// rotary embedding pairs: tensorop.Half, tensorop.Adjacent, or "" without rotary
	// embedding.
	Rope string `yaml:"rope" json:"rope,omitempty"`
	// RopeCross is the order of those of cross attention, which nothing turns, where
	// a project moves them all the same.
	RopeCross string `yaml:"rope_cross" json:"rope_cross,omitempty"`
	// RopeSections is the order where the model turns sections of a head by different
	// positions (M-RoPE), if that is another. Rows that nothing turns keep their places.
	RopeSections string `yaml:"rope_sections" json:"rope_sections,omitempty"`
	// QKV is how a fused query, key and value projection is put together.
	QKV string `yaml:"qkv" json:"qkv,omitempty"`
	// GateUp is how a fused gate and up projection is put together.
	GateUp string `yaml:"gate_up" json:"gate_up,omitempty"`
	// Experts is the orientation of stacked experts: "out-in", "in-out" or "flat".
	Experts string `yaml:"experts" json:"experts,omitempty"`
	// Transposed lists the modules stored [in, out].
	Transposed []string `yaml:"transposed" json:"transposed,omitempty"`
	// RopeNorms is set where the weights of the normalisations of queries and keys
	// are in the order of their rows.
	RopeNorms bool `yaml:"rope_norms" json:"rope_norms,omitempty"`
	// QKNorm is how long the normalisations of queries and keys are: QKNormHead,
	// QKNormAll, QKNormVaries, or "" where that is not known.
	QKNorm string `yaml:"qk_norm" json:"qk_norm,omitempty"`
	// QueryGate is set where the query projection has the rows of a gate of the
	// attention's output behind those of each head.
	QueryGate bool `yaml:"query_gate" json:"query_gate,omitempty"`
	// QueryHeads and ValueHeads are the orders of the heads that share a key head,
	// in attention and in gated linear attention: tensorop.Grouped, tensorop.Tiled,
	// or "" where none of the conventions of a family differ.
	QueryHeads string `yaml:"query_heads" json:"query_heads,omitempty"`
	ValueHeads string `yaml:"value_heads" json:"value_heads,omitempty"`
	// NormOffset is what the model adds to a stored normalisation weight, and
	// NormOffsets what it adds to some, by globs of their modules.
	NormOffset  float64            `yaml:"norm_offset" json:"norm_offset,omitempty"`
	NormOffsets map[string]float64 `yaml:"norm_offsets" json:"norm_offsets,omitempty"`
	// Decay is how state-space decay is stored: "log" for A_log, "negative"
	// for -exp(A_log).
	Decay string `yaml:"decay" json:"decay,omitempty"`
	// Blocks is what stands before "blocks" and "scales" in the names of MXFP4
	// experts, "_" or "."; their bytes are the same in every convention that
	// names them so, whatever the orientation of unpacked experts.
	Blocks string `yaml:"blocks" json:"blocks,omitempty"`
	// Scale is the leaf of the scales of FP8 blocks; "" is "weight_scale_inv".
	Scale string `yaml:"scale" json:"scale,omitempty"`
	// Shapes are the shapes of modules, by globs, where another project has the
	// same bytes in another: a letter for each axis, or 1. "c1k" is a depthwise
	// convolution of torch, "gn" a vector by groups.
	Shapes map[string]string `yaml:"shapes" json:"shapes,omitempty"`
	// Parts are, by the last word of a fused module's role, how long its parts are
	// in proportion, one after the other, where that is the same for every model.
	Parts map[string][]int64 `yaml:"parts" json:"parts,omitempty"`
	// Swapped lists the modules whose two halves lie the other way round than in
	// other projects: of a modulation, scale before shift. One may be written
	// "MODULE without OTHER": of the blocks that lack the other.
	Swapped []string `yaml:"swapped" json:"swapped,omitempty"`
	// Pointwise lists the modules stored as convolutions whose kernel is one pixel,
	// [out, in, 1, 1].
	Pointwise []string `yaml:"pointwise" json:"pointwise,omitempty"`
	// Vectors is the dtype of tensors of one axis, whatever they were; "" where they
	// stay as they are.
	Vectors string `yaml:"vectors" json:"vectors,omitempty"`
	// Notes says what else differs, for people.
	Notes []string `yaml:"notes" json:"notes,omitempty"`
}

// OffsetsNorms reports whether the model adds something to stored normalisations.
func (l *Layout) OffsetsNorms() bool {
	return l.NormOffset != 0 || slices.ContainsFunc(slices.Collect(maps.Values(l.NormOffsets)), func(v float64) bool { return v != 0 })
}

// Values of Layout fields beside those of package tensorop.
const (
	UpFirst = "up-first" // GateUp: contiguous, up before gate

	QKNormHead   = "head"   // QKNorm: one of a head's length for all heads
	QKNormAll    = "all"    // as long as all queries, or all keys, are together
	QKNormVaries = "varies" // from model to model, or layer to layer

	InOut = "in-out" // Experts
	// Flat experts lie one below the other in a matrix of experts x
	// intermediate rows, the down projection turned round to have them.
	Flat = "flat"
)
