// Package rewrite changes the names and the metadata in checkpoint files so
// that nothing is lost.
//
// A [Job] is prepared from a plan, can be looked at, and is then run. For names
// only headers are edited: tensor data keeps its bytes, its order and, where the
// file system allows it, its place on the disk, so that a rename costs the
// header and not the data. Where a plan has operations on bytes, its files are
// written anew, and the tensors that operations make are computed from those
// that they take while they are written, in a bounded amount of memory. What a header says beyond the names (unknown
// fields, spacing, order, metadata) stays as it was.
//
// # How a file gets its new header
//
// The cheapest [Step] that the file system can do is taken, and said:
//
//   - the new header fits into the bytes of the old one, padded;
//   - whole blocks are inserted before the data (Linux: ext4, xfs);
//   - a new file shares the data of the old one (Linux: btrfs, xfs);
//   - a new file is written.
//
// Safetensors headers are padded with spaces, as the format allows. GGUF has
// no padding of its own beyond its alignment; where more is needed a string
// key holds it. Files that are written anew leave some room, so that the next
// rename is of the first kind.
//
// # In place
//
// A rewrite in place is one transaction for all files of a checkpoint and for
// the documents beside them that spell tensor names. A hidden journal in the
// release, durable before anything is changed, says how to undo it; once
// everything new is durable and verified, the journal is marked, and from
// then on says how to finish. Whatever the moment of a crash, after [Recover]
// the release is the old one or the new one, whole. Until then [Pending]
// reports true, and no other rewrite of the release begins.
//
// Readers are not kept out. A process that has mapped a file sees its header
// change and, where room was inserted, its data move; write to another
// destination instead when the release is in use.
//
// # Proof
//
// Before a rewrite becomes final it compares data with what it was: the XXH64 of
// every tensor where data was copied, or its SHA-256 with [VerifyFull], but for the holes of sparse files, which must be
// zero in the copy; where data stayed in its place, the arithmetic of its offsets and
// sampled blocks. What operations made is compared with what they gave; [VerifyFull]
// gets the old tensors back out of the new file as well, by the inverse operations. See
// [Verify].
package rewrite
