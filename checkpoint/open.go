package checkpoint

import (
	"context"
	"errors"
	"io"
	"iter"
)

// Options adjust [Open]. Nil options are the defaults.
type Options struct {
	// Recursive descends into subdirectories. A directory that holds a
	// model_index.json (a diffusers pipeline) is descended into without it.
	Recursive bool
	// Workers bounds how many files are opened at once. 0 means the larger of
	// 4 and the number of CPUs.
	Workers int
	// AllowLinks says that a symbolic link out of the directory is no fault.
	AllowLinks bool
}

// A Release is what a path stands for: one or more checkpoints and the
// documents beside them.
type Release struct {
	// Path is the reference as it was given to Open.
	Path string
	// Dir is the directory of the release: Path, or the directory that holds it.
	Dir string
	// Checkpoints are in the order of their paths.
	Checkpoints []*Checkpoint
	// Config is config.json in Dir, nil when it is absent or not valid JSON.
	Config *Config
	// Faults are those of the release: documents that do not parse, files
	// passed over, sets that exclude each other. Those of the checkpoints are
	// had from [Checkpoint.Validate].
	Faults []Fault
}

// Open opens the checkpoints that ref stands for.
func Open(ctx context.Context, ref string, opts *Options) (*Release, error) {
	return nil, errors.New("unsupported reference")
}

// Close closes the files of every checkpoint.
func (r *Release) Close() error { return nil }

// A Checkpoint is the weights of one model: one file, or several that belong together.
type Checkpoint struct {
	// Path names this checkpoint as the user would: the reference given to
	// Open, or, where that holds several, a path that opens this one alone.
	Path string
	// Dir is the directory of the files.
	Dir    string
	Format Format
	// Index is the path of the shard index, or "".
	Index string
	// Files are the files of the set, those that are missing too, in the order of their names.
	Files []*File
	// Config is config.json in Dir, nil when it is absent or not valid JSON.
	Config *Config
}

// A File is one file of a checkpoint.
type File struct {
	// Path opens the file; Name is the same relative to the checkpoint's Dir,
	// with slashes, as an index spells it.
	Path, Name string
	// Size is in bytes, 0 when the file is missing.
	Size int64
	// DataOffset is where the tensors' data begins.
	DataOffset int64
	// Missing says that the file is not there.
	Missing bool
	// Err says why a file that is there could not be read; it has no tensors then.
	Err error
}

// Len returns the number of tensors.
func (c *Checkpoint) Len() int { return 0 }

// At returns the tensor at index i, in the order of the files and, within a
// file, of its header. It does not allocate.
func (c *Checkpoint) At(i int) Tensor { panic("index out of range") }

// All iterates over the tensors in the order of At.
func (c *Checkpoint) All() iter.Seq2[int, Tensor] { return func(func(int, Tensor) bool) {} }

// Lookup returns the index of the first tensor of that name.
func (c *Checkpoint) Lookup(name string) (int, bool) { return 0, false }

// Validate reports every fault of the files, then of the set they form.
func (c *Checkpoint) Validate() []Fault { return nil }

// Data returns the bytes of the tensor at index i.
func (c *Checkpoint) Data(i int) (*io.SectionReader, error) {
	return nil, errors.New("tensor has no data")
}

// NamesOnly says that the tensors are the names of an index without any of
// its shards: they have no dtype, shape or place.
func (c *Checkpoint) NamesOnly() bool { return false }

// Parameters counts the parameters of the model, as opposed to the elements
// of its tensors, and says in note what made the two differ, or "".
func (c *Checkpoint) Parameters(cfg *Config) (n uint64, note string) { return 0, "" }
