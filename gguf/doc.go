// Package gguf reads the header of a GGUF file, the format in which llama.cpp
// and its relatives keep models, says what is wrong with it, and writes new
// headers.
//
// # Words
//
// A GGUF file is a header and, after it, tensor data. The header holds key/value
// records (the metadata), and then one info record a tensor: its name, its
// dimensions, its type and the offset of its data. A key/value record is a [KV]
// and an info record a [Tensor]; a [File] keeps both in file order, repeated ones
// included.
//
// Dimensions are stored with the fastest one first, so that the first is the
// length of a row; most other formats and frameworks print them the other way
// round. A type stores its elements in blocks: [TensorType.Block] says how many
// elements a block has and how many bytes it takes. Offsets are relative to the
// start of the data section, which is the first byte after the header that is a
// multiple of the alignment (32, unless the key general.alignment says otherwise).
//
// Versions 1, 2 and 3 are read, in either byte order. Version 1 has 32-bit counts,
// lengths and dimensions; version 3 is version 2 and allows big-endian files. No
// field names the byte order: a big-endian file is known by its version number,
// whose low 16 bits are zero when read the wrong way round.
//
// The facts are those of docs/gguf.md, src/gguf.cpp and ggml-common.h in the ggml
// repository (August 2026).
//
// # Opening and validating
//
// [Open] and [NewFile] fail only when the tensors cannot be enumerated: the file
// ends too early, a count or a length exceeds the bytes that exist, a value has an
// unknown type. Everything else that can be wrong is reported by [File.Validate],
// which returns every fault, each with a stable [Code], so that a broken file can
// be looked at and all of its faults listed.
//
// # Untrusted input
//
// Any input is safe to open and to validate. No count or length allocates before it
// has been checked against the bytes that exist; memory stays below twice the bytes
// of the header plus 64 MiB, and time is linear in them. Names and values are returned
// as they are stored: they may hold control characters or invalid UTF-8, and must be
// escaped before they are shown.
//
// Long arrays (a vocabulary has hundreds of thousands of strings) are walked when
// the file is opened, but not held: they are read from the file when they are asked
// for, as [Value] tells.
package gguf
