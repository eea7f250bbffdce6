// Package checkpoint opens the weights of a model, whatever their format and
// however many files they are spread over.
//
// [Open] takes any path that a person would give (a .safetensors or .gguf
// file, a shard index, a directory, one part of a GGUF split) and returns a
// [Release]: one or more [Checkpoint] values, with config.json and its kin. A
// checkpoint is the weights of one model; two sets of weights in one
// directory are two checkpoints and are never added up.
//
// # Words
//
// A tensor has a name, a dtype (as its format spells it), a shape (slowest
// dimension first, as in NumPy and PyTorch, in every format), the file that
// holds it, its absolute offset there, and its size in bytes. What a file
// does not tell is said to be unknown, never zero.
//
// # Open understands, Validate judges
//
// Open fails when there is nothing to list. A shard that is missing or cannot
// be read does not hide the others: it is marked in its [File], and
// [Checkpoint.Validate] reports it with every other fault of the files and of
// the set they form.
//
// # Security
//
// Any byte may be hostile. Only headers are read; names from a file or an
// index never become a path outside the directory of the checkpoint; counts
// are checked against the bytes that exist before anything is allocated; and
// pickle is never executed. Devices and pipes are refused.
package checkpoint
