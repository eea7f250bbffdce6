// Package inspect does what the wtinspect program does, for other programs: one
// function a command.
//
// [Open] opens the checkpoints that references stand for, and judges their files
// in the background. The other functions answer a question about what is open:
// [List] the tensors, [Info] what a checkpoint is, [Metadata] its keys and
// values, [Stats] the figures of its values, [Hash] the digests of its bytes,
// [Diff] how two differ.
//
// An answer is a struct, whose members in JSON are those of the program's
// -f json, which docs/json.md describes, without the schema_version. A list that
// may be long is a [Seq], made while it is walked over. Nothing here writes to a
// terminal; what takes long reports its progress to a function, and ends when its
// context does.
package inspect
