// Package assemble makes new checkpoints from tensors, wherever those are: in the
// files of other checkpoints, or computed while they are written.
//
// A [Spec] says what the new checkpoint consists of, in which format and in how
// many files. [Prepare] makes a [Job] of it, which can be looked at, and is then run.
// What comes from a file as it is ([Stored]) is copied in long runs, and is as sparse
// as it was; whatever else is read in windows. Memory does not grow with the tensors:
// the headers of the new files are held, and a few blocks of data.
//
// # Files
//
// Tensors keep the order that the spec gives them, and fill one file after the other,
// up to [Layout].MaxShardSize bytes of tensors each, as huggingface_hub and gguf-split
// count them. One file has a plain name. Of several, safetensors has an index, and each
// part of a GGUF split says which one it is.
//
// # Proof
//
// The result is written into a hidden directory beside its destination, read again and
// compared with the digests of what was written, and gets its name when it is complete
// and durable. When Run fails, whatever the reason, the destination is what it was
// before; a run that is killed leaves a hidden directory at most. Sources that change
// meanwhile end the run.
package assemble
