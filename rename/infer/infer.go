package infer

import (
	"context"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// An Inventory is what is known of a checkpoint beside its weights.
type Inventory struct {
	Tensors []convention.Named // in the order of the files
	// Model has the numbers of its configuration. A nil Model knows nothing.
	Model *convention.Model
	// Ordered says that the order of Tensors is the writer's, not an alphabet's, so that
	// it is evidence.
	Ordered bool
}

// A Class is what a rule rests on.
type Class string

// The classes, the weakest first.
const (
	Guess    Class = "guess"    // the likeliest of several that fit
	Named    Class = "named"    // the names say it
	Forced   Class = "forced"   // nothing else fits
	Measured Class = "measured" // the weights are alike
	Proven   Class = "proven"   // the weights are equal
)

// A Rule is what is known of one rule of the map.
type Rule struct {
	Rule  int // its index in Map.Rules
	Class Class
	// Confidence is that of the assignment, from 0 to 1. That of a guess is at most 0.85.
	Confidence float64
	By         []string // what it rests on, in short phrases: "60 of 60 digests are equal"
	Tensors    int      // of A that it takes
}

// A Question is modules that names, shapes and weights cannot tell apart.
type Question struct {
	Between, And []string // patterns of A and of B
	Best         []string // And in the order of Between, as far as can be told
	Confidence   float64
	Settle       []Step // each would settle it
}

// A Step is what would settle a question: weights to compare with, an answer, or else what
// the note says.
type Step struct {
	Weights bool        // of a related model under B's names
	Answer  *Assumption // a possible one
	Note    string      // about either: "goes by the weights"
}

// A Contradiction is a name, or an assumption, that says one thing and weights that say
// another.
type Contradiction struct {
	From    string // A's pattern
	Name    string // what its name means in B, or what it was assumed to be
	Content string // what its weights are in B
	By      string
	Assumed bool // the answer stands, and the map has it
	// Also are the names in B of other modules of which it is so: all those of layers that have moved.
	Also []string
	// Layers are those in which it is so, where others are as the name says; nil is all of them.
	Layers []int
}

// A Result is the map that was found and what it rests on.
type Result struct {
	From, To string // the conventions, where they are known
	// Map applies as it is when there are no questions.
	Map            *rename.Map
	Rules          []Rule // of the map, in its order
	Questions      []Question
	Contradictions []Contradiction
	Missing        []string // templates of B without a source
	Extra          []string // templates of A without a target
	// Partial is set where A's layers have weights without a new name, or what is aimed at, a convention
	// or B for a model of A's size, has tensors in every model that nothing becomes.
	Partial bool
	Read    int64 // bytes of weights read
	// Unrelated is set where weights of both sides were compared, and none are alike.
	Unrelated bool
	// Sizes says in what the sizes of both models differ, and what of them was compared.
	Sizes string
	// RowOrder is set where rows of queries and keys are taken to be in the order of B's convention for
	// rotary embedding, because neither names nor weights say so.
	RowOrder bool
	// Layerless is set where the names do not show what the layers are, so that weights alone say
	// which tensor is which.
	Layerless bool
	// Refused says why there is no map at all: "3 of 291 tensors have a counterpart".
	Refused string
}

// Options adjust an inference.
type Options struct {
	// Content compares weights. Without one, names and shapes are all there is.
	Content Content
	// Assume answers questions.
	Assume []Assumption
	// Unknown leaves conventions out: what names mean, only common words say.
	Unknown bool
	// Opaque leaves common words out as well: names say nothing.
	Opaque bool
	// Sampled compares the weights of three layers, not of all: those of another machine.
	Sampled bool
}

// An Assumption answers a question: what a module or a template becomes. Either side is
// a pattern or the last words of one, "w1" and "up".
type Assumption struct{ From, To string }

func (a Assumption) String() string { return a.From + "=" + a.To }

// An AssumptionError says why an assumption cannot be.
type AssumptionError struct {
	Assumption
	Reason string
}

func (e *AssumptionError) Error() string { return e.Assumption.String() + ": " + e.Reason }

// A Content compares weights of A with weights of B. Its methods take tensors by name.
type Content interface {
	// Alike measures each pair. A pair whose shapes are each other's transposed is
	// compared so, and one of which one has more rows by the rows of the other.
	Alike(ctx context.Context, pairs []Pair) ([]Likeness, error)
	// Layouts scores each way to make tensors of B of tensors of A: the share of probe
	// rows that lie where the operations would put them.
	Layouts(ctx context.Context, a, b []string, ways [][]tensorop.Op) ([]float64, error)
	// Profile says what one tensor's numbers show without others to compare with. The side
	// is 'A' or 'B'.
	Profile(ctx context.Context, side byte, names []string) ([]Profile, error)
	// Read counts the bytes read so far.
	Read() int64
}

// A Pair is a tensor of A and one of B.
type Pair struct{ A, B string }

// A Likeness is how alike the tensors of a pair are.
type Likeness struct {
	// Equal is set when every byte is equal, or every value is after the coarser dtype's
	// rounding.
	Equal bool
	// Rounded is set of equal ones that are so only after rounding.
	Rounded bool
	// Informative tensors have at least 64 distinct values. Equal ones that are not prove
	// nothing: normalisations begin as ones, and many biases stay zero.
	Informative bool
	Cosine      float64 // of the sampled rows; vectors are centred
	Z           float64 // standard deviations from what unrelated weights give
	// Shift is the mean of B's numbers less that of A's.
	Shift float64
	// Ops make B's numbers of A's exactly, where they differ and an operation does.
	Ops []tensorop.Op
}

// A Profile is figures of one tensor.
type Profile struct {
	Distinct int
	// MeanRow is rows times the square of the mean row's length, over the mean square of
	// the rows' lengths: near 1 where rows have no direction in common.
	MeanRow float64
	// Logs are the logarithms of the columns' lengths, over the rows that were read; of a
	// vector, of its elements without their signs.
	Logs []float64
}
