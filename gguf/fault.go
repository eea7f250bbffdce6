package gguf

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnsupported is matched, with [errors.Is], by a [Fault] that need not be the
// file's: a version or a tensor type newer than this package, or a size beyond its
// limits.
var ErrUnsupported = errors.New("not supported by this version")

// A Severity says how bad a fault is.
type Severity uint8

const (
	// Info is for what is worth knowing and harms nobody.
	Info Severity = iota
	// Warning is for what some reader refuses or misreads, or may hide something.
	Warning
	// Error is for what makes the file, or a part of it, wrong.
	Error
)

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	}
	return "error"
}

// A Code names a kind of fault. Codes are stable.
type Code string

// The faults that make [Open] and [NewFile] fail.
const (
	CodeTruncated          Code = "truncated"           // the file ends inside the header
	CodeBadMagic           Code = "bad_magic"           // the file does not begin with GGUF
	CodeBadVersion         Code = "bad_version"         // there never was such a version
	CodeUnsupportedVersion Code = "unsupported_version" // a version after 3
	CodeCountOutOfRange    Code = "count_out_of_range"  // more records than the file has bytes for
	CodeStringTooLong      Code = "string_too_long"     // a string reaches past the end of the file
	CodeArrayTooLong       Code = "array_too_long"      // an array reaches past the end of the file
	CodeArrayTooDeep       Code = "array_too_deep"      // arrays nested more than 4 deep
	CodeBadValueType       Code = "bad_value_type"      // a value type that does not exist
	CodeLimit              Code = "limit"               // a size beyond what this package reads
)

// The faults that [File.Validate] reports. CodeTooManyDims, for more than 8
// dimensions, and the split codes are also returned as errors.
const (
	CodeOldVersion       Code = "old_version"       // version 1
	CodeBigEndian        Code = "big_endian"        // the numbers are big-endian
	CodeNonstandardMagic Code = "nonstandard_magic" // FUGG, which some writers use for big-endian files
	CodeEmpty            Code = "empty"             // no metadata and no tensor

	CodeEmptyKey     Code = "empty_key"
	CodeDuplicateKey Code = "duplicate_key"
	CodeNULInKey     Code = "nul_in_key"   // C programs see a shorter key
	CodeKeyStyle     Code = "key_style"    // not lower_snake_case segments with dots between them
	CodeKeyTooLong   Code = "key_too_long" // more than 65,535 bytes
	CodeBadBool      Code = "bad_bool"     // neither 0 nor 1
	CodeNestedArray  Code = "nested_array"
	CodeControlChars Code = "control_chars" // characters that drive terminals or reverse text
	CodeInvalidUTF8  Code = "invalid_utf8"

	CodeAlignmentType  Code = "alignment_type"  // general.alignment is not a u32
	CodeBadAlignment   Code = "bad_alignment"   // general.alignment is not a power of two
	CodeSmallAlignment Code = "small_alignment" // general.alignment is not a multiple of 8
	CodeArchType       Code = "arch_type"       // general.architecture is not a string
	CodeBadArch        Code = "bad_arch"        // general.architecture is not a plain word
	CodeUnknownFtype   Code = "unknown_ftype"   // general.file_type is not one of llama.cpp's
	CodeBadByteToken   Code = "bad_byte_token"  // a byte token that is not spelled <0x00> to <0xFF>

	CodeEmptyName       Code = "empty_name"
	CodeDuplicateTensor Code = "duplicate_tensor"
	CodeNULInName       Code = "nul_in_name"   // C programs see a shorter name
	CodeLongName        Code = "long_name"     // exactly 64 bytes, which C programs have no room for
	CodeNameTooLong     Code = "name_too_long" // more than 64 bytes
	CodePathLikeName    Code = "path_like_name"

	CodeNoDims         Code = "no_dims"       // a scalar
	CodeManyDims       Code = "many_dims"     // 5 to 8, which ggml does not have
	CodeTooManyDims    Code = "too_many_dims" // more than 8
	CodeBadDim         Code = "bad_dim"       // negative as a signed 64-bit number
	CodeDimsOverflow   Code = "dims_overflow" // more elements or bytes than 64 bits can count
	CodeZeroElements   Code = "zero_elements"
	CodeUnknownType    Code = "unknown_type"
	CodeRemovedType    Code = "removed_type"
	CodeRowNotMultiple Code = "row_not_multiple" // a row that is not a whole number of blocks

	CodeUnalignedOffset Code = "unaligned_offset"
	CodeDataTruncated   Code = "data_truncated" // the data reach past the end of the file
	CodeOverlap         Code = "overlap"
	CodeOutOfOrder      Code = "out_of_order"    // data not in the order of the infos
	CodeGap             Code = "gap"             // bytes that no tensor owns
	CodeNonzeroPadding  Code = "nonzero_padding" // hidden data
	CodeTrailingData    Code = "trailing_data"   // hidden data
	CodeUnpaddedEnd     Code = "unpadded_end"    // the last tensor's padding is absent
	CodeUnreadable      Code = "unreadable"      // padding, or a large value, could not be read

	CodeSplitType         Code = "split_type"         // a split.* key has the wrong type
	CodeMissingSplit      Code = "missing_split"      // a key, or a part, of a split is absent
	CodeSplitInconsistent Code = "split_inconsistent" // the parts contradict each other
)

// codes holds what is fixed for a code. A code that is not listed is an error that
// llama.cpp refuses as well.
//
// llamaAccepts is from gguf.cpp and llama-model-loader.cpp as of August 2026, which
// refuses a file without a known architecture, too.
var codes = map[Code]struct {
	severity     Severity
	llamaAccepts bool
	unsupported  bool
}{
	CodeUnsupportedVersion: {severity: Error, unsupported: true},
	CodeLimit:              {severity: Error, unsupported: true, llamaAccepts: true},
	CodeUnknownType:        {severity: Error, unsupported: true},

	CodeOldVersion:       {severity: Warning},
	CodeBigEndian:        {severity: Warning},
	CodeNonstandardMagic: {severity: Warning},
	CodeEmpty:            {severity: Warning},

	CodeNULInKey:     {severity: Error, llamaAccepts: true},
	CodeKeyStyle:     {severity: Warning, llamaAccepts: true},
	CodeKeyTooLong:   {severity: Warning, llamaAccepts: true},
	CodeBadBool:      {severity: Warning, llamaAccepts: true},
	CodeNestedArray:  {severity: Warning},
	CodeControlChars: {severity: Warning, llamaAccepts: true},
	CodeInvalidUTF8:  {severity: Warning, llamaAccepts: true},

	CodeSmallAlignment: {severity: Warning, llamaAccepts: true},
	CodeBadArch:        {severity: Warning},
	CodeUnknownFtype:   {severity: Warning, llamaAccepts: true},
	CodeBadByteToken:   {severity: Warning, llamaAccepts: true},

	CodeEmptyName:    {severity: Warning, llamaAccepts: true},
	CodeNULInName:    {severity: Error, llamaAccepts: true},
	CodeLongName:     {severity: Warning},
	CodePathLikeName: {severity: Warning, llamaAccepts: true},
	CodeNoDims:       {severity: Warning, llamaAccepts: true},
	// Programs for video store patch embeddings so (ComfyUI-GGUF, tools/fix_5d_tensors.py).
	CodeManyDims:     {severity: Info},
	CodeZeroElements: {severity: Warning, llamaAccepts: true},

	CodeOutOfOrder:     {severity: Warning},
	CodeGap:            {severity: Warning},
	CodeNonzeroPadding: {severity: Warning, llamaAccepts: true},
	CodeTrailingData:   {severity: Warning, llamaAccepts: true},
	CodeUnpaddedEnd:    {severity: Info, llamaAccepts: true},
	CodeUnreadable:     {severity: Error, llamaAccepts: true},
}

// RefusedByLlamaCpp reports whether llama.cpp, as of August 2026, refuses to load a
// file that has a fault of this code. It refuses some files that the format allows,
// and loads some that the format forbids, so that this does not follow from the
// severity.
func RefusedByLlamaCpp(c Code) bool { return !codes[c].llamaAccepts }

// A Fault is one thing that is wrong with a file. The text of Detail may change
// over time; the code does not.
type Fault struct {
	Code     Code
	Severity Severity
	Offset   int64  // of the byte in the file where the fault shows, -1 when it has no place
	Tensor   string // the tensor's name, "" when the fault belongs to none
	Detail   string // what is wrong, and with what
}

func newFault(code Code, offset int64, tensor, format string, args ...any) *Fault {
	severity := Error
	if c, ok := codes[code]; ok {
		severity = c.severity
	}
	return &Fault{Code: code, Severity: severity, Offset: offset, Tensor: tensor, Detail: fmt.Sprintf(format, args...)}
}

// Error returns the fault in one line, with names quoted and escaped.
func (f *Fault) Error() string {
	var b strings.Builder
	if f.Tensor != "" {
		b.WriteString("tensor " + quote(f.Tensor) + ": ")
	}
	b.WriteString(f.Detail)
	if f.Offset >= 0 {
		b.WriteString(" (byte " + strconv.FormatInt(f.Offset, 10) + ")")
	}
	return b.String()
}

// Is reports whether target is [ErrUnsupported] and the fault is of that kind.
func (f *Fault) Is(target error) bool {
	return target == ErrUnsupported && codes[f.Code].unsupported
}

// maxQuoted bounds what a message repeats of a name, which may be megabytes long.
const maxQuoted = 100

// quote returns s in quotes, printable, and cut when it is long.
func quote[T string | []byte](s T) string {
	if len(s) > maxQuoted {
		return strconv.Quote(string(s[:maxQuoted])) + "…"
	}
	return strconv.Quote(string(s))
}
