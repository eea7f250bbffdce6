package checkpoint

import (
	"fmt"
	"strings"
)

// A Severity is how bad a [Fault] is.
type Severity uint8

// The severities, mildest first. Strict readers refuse what is an Error.
const (
	Info Severity = iota
	Warning
	Error
)

// String returns "info", "warning" or "error".
func (s Severity) String() string {
	switch s {
	case Info:
		return "info"
	case Warning:
		return "warning"
	case Error:
		return "error"
	}
	return fmt.Sprintf("severity(%d)", uint8(s))
}

// MarshalText returns the severity's name.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a severity's name.
func (s *Severity) UnmarshalText(text []byte) error {
	v, ok := ParseSeverity(string(text))
	if !ok {
		return fmt.Errorf("severity %q: must be one of: error, warning, info", text)
	}
	*s = v
	return nil
}

// ParseSeverity reads a severity's name.
func ParseSeverity(name string) (Severity, bool) {
	for v := Info; v <= Error; v++ {
		if v.String() == name {
			return v, true
		}
	}
	return 0, false
}

// A Fault is one thing that is wrong with a file, with the set of files that
// form a checkpoint, or with a release. It is an error.
type Fault struct {
	// File is the path of the file the fault is in.
	File string
	// Code names the kind of fault. Codes are stable: those of one file are
	// the codes of packages safetensors and gguf, the others are the Code
	// constants of this package.
	Code     string
	Severity Severity
	// Offset is a byte offset in File, or -1 when the fault has no single place.
	Offset int64
	// Tensor is the tensor, or GGUF key, concerned, or "".
	Tensor string
	// Detail says what is wrong and, where it helps, what to do.
	Detail string
	// Hint narrows the code down, as the Hint constants of package safetensors.
	Hint string
	// Unsupported marks what may be valid but is newer than this package.
	Unsupported bool
}

// maxQuoted bounds what a message repeats of a name, which may have megabytes.
const maxQuoted = 100

// Error describes the fault with its place. Its text is not part of the API.
func (f Fault) Error() string {
	var b strings.Builder
	if f.File != "" {
		b.WriteString(f.File)
		b.WriteString(": ")
	}
	switch n := len(f.Tensor); {
	case n > maxQuoted:
		fmt.Fprintf(&b, "tensor %.*q… (%d bytes): ", maxQuoted, f.Tensor, n)
	case n > 0:
		fmt.Fprintf(&b, "tensor %q: ", f.Tensor)
	}
	b.WriteString(f.Detail)
	if f.Offset >= 0 {
		fmt.Fprintf(&b, " (byte %d)", f.Offset)
	}
	return b.String()
}

// Codes of the faults that belong to a set of files rather than to one file.
const (
	// CodeMissingShard: a file that the index, or the numbering of the other
	// files, calls for is not there.
	CodeMissingShard = "missing_shard"
	// CodeBadOrdinal: a shard's number is 0 or above the count in its name.
	CodeBadOrdinal = "bad_ordinal"
	// CodeMixedTotals: shards that belong together disagree on their count.
	CodeMixedTotals = "mixed_totals"
	// CodeNotOpened: a file is there and cannot be read as weights.
	CodeNotOpened = "not_opened"
	// CodeMissingTensor: the index names a tensor that its shard lacks.
	CodeMissingTensor = "missing_tensor"
	// CodeMisplacedTensor: the index names another shard than the one that
	// holds the tensor.
	CodeMisplacedTensor = "misplaced_tensor"
	// CodeUnmappedTensor: a shard holds a tensor that the index does not name.
	CodeUnmappedTensor = "unmapped_tensor"
	// CodeOrphanShard: a shard of the set is not named by the index.
	CodeOrphanShard = "orphan_shard"
	// CodeEmptyShard: a shard of the set holds no tensor.
	CodeEmptyShard = "empty_shard"
	// CodeDuplicateTensor: two files of the set hold a tensor of the same name.
	CodeDuplicateTensor = "duplicate_tensor_across_shards"
	// CodeTotalSize: the index's total_size is neither the sum of the tensors'
	// bytes nor the sum of the files' sizes.
	CodeTotalSize = "total_size_mismatch"
	// CodeTotalSizeFiles: the index's total_size is the sum of the files'
	// sizes, not of the tensors' bytes.
	CodeTotalSizeFiles = "total_size_of_files"
	// CodeSymlinkEscape: a file of the set is a symbolic link that leaves the
	// directory, other than into a hub cache's blobs.
	CodeSymlinkEscape = "symlink_escape"
	// CodeBadDocument: config.json or a related file is not valid JSON, or a map is none.
	CodeBadDocument = "bad_document"
	// CodeIgnored: a file whose name looks like weights was passed over.
	CodeIgnored = "ignored_file"
)
