// Package safetensors reads the headers of .safetensors files and the indexes
// that join several of them, judges them, and writes headers. It never reads
// or changes tensor data.
//
// # Words
//
// A file is a header length (8 bytes, little-endian), a header of that many
// bytes, and the data. The header is a JSON object: one member a tensor, and
// optionally one named __metadata__. A tensor has a name, a dtype, a shape
// (slowest dimension first) and an extent: the data_offsets [begin, end),
// relative to the first byte of data, [File.DataOffset]. An index maps tensor
// names to the files of one checkpoint, its shards.
//
// # Open understands, Validate judges
//
// [Open] and [NewFile] fail only when the tensors cannot be enumerated: a wrong
// header length, bad UTF-8, bad JSON, a member of the wrong type, a limit
// passed. The error then is a [*Fault], or the error of the underlying reader.
// Everything else is left to [File.Validate]: repeated names, extents that
// overlap or leave holes, sizes that contradict the shape, unknown dtypes,
// missing and trailing bytes, and what is allowed but unwise. So a damaged file
// can still be listed. A file is good when Open succeeds and Validate returns
// no fault of severity [Error]. That is stricter than the reference reader, which
// takes repeated names and metadata keys, the last of which it believes, and
// tensors and dtypes in other JSON forms that no writer uses.
//
// Nothing is lost: header order, repeated names, unknown members and spacing
// are kept, and [SpliceNames] replaces names without touching another byte.
//
// # Security
//
// The package is designed for hostile input. No count or length in a file is
// believed before it has been compared with the bytes that exist; a file costs
// at most 64 MiB beyond twice the bytes of its header, and time in proportion
// to it. Arithmetic on sizes is checked. Names are never used as paths, and
// are quoted in messages. The limits, each a fault when passed:
//
//	header            100,000,000 bytes   the reference's MAX_HEADER_SIZE
//	nesting           127 levels          the reference's JSON parser
//	dimensions        4,096 a tensor
//	metadata          262,144 entries
//	index             250 MB, 10,000 shards, 100,000 bytes a name, 64 levels
//	                                      huggingface.js
//	index entries     1,048,576           twice the largest index known
//
// The text of faults may change between versions; codes and types do not.
//
// The format is described at https://github.com/huggingface/safetensors.
package safetensors
