package safetensors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// ErrUnsupported is matched, with [errors.Is], by faults of files that may be
// right but go beyond this version: an unknown dtype, a limit of this package.
var ErrUnsupported = errors.New("not supported by this version")

// A Severity says how bad a fault is.
type Severity uint8

const (
	// Info is worth knowing and harmless.
	Info Severity = iota
	// Warning is allowed by the format and unwise.
	Warning
	// Error breaks the format: readers refuse the file or should.
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

// A Code names a kind of fault. Codes never change their meaning.
type Code string

// Codes of faults that make Open fail.
const (
	CodeHeaderTooSmall      Code = "header_too_small"          // fewer than 8 bytes
	CodeHeaderTooLarge      Code = "header_too_large"          // length over 100,000,000
	CodeHeaderLength        Code = "invalid_header_length"     // header runs past the end of the file
	CodeHeaderUTF8          Code = "header_utf8"               // bytes that are not UTF-8
	CodeHeaderJSON          Code = "header_json"               // JSON syntax, or a number that is not a plain uint64
	CodeHeaderType          Code = "header_type"               // a JSON value of the wrong type
	CodeHeaderNotObject     Code = "header_not_object"         // the header is another JSON value
	CodeHeaderTrailing      Code = "header_trailing"           // more than white space after the object
	CodeDepth               Code = "depth"                     // nested too deeply
	CodeMissingField        Code = "missing_field"             // no dtype, shape or data_offsets
	CodeDuplicateField      Code = "duplicate_field"           // one of them twice, or __metadata__ twice
	CodeMetadataNotObject   Code = "metadata_not_object"       // __metadata__ is neither an object nor null
	CodeMetadataValueString Code = "metadata_value_not_string" // a metadata value of another type
	CodeLimit               Code = "limit"                     // a limit of this package
)

// Codes of errors that Validate reports.
const (
	CodeDuplicateName Code = "duplicate_name"      // two tensors of one name
	CodeDuplicateKey  Code = "duplicate_key"       // two metadata entries of one key
	CodeUnknownDType  Code = "unknown_dtype"       // a dtype this package does not know
	CodeOverflow      Code = "overflow"            // elements or bits pass 2^64
	CodeMisaligned    Code = "misaligned"          // a number of bits that is no whole number of bytes
	CodeTensorInfo    Code = "tensor_invalid_info" // dtype and shape contradict the extent's length
	CodeOffset        Code = "invalid_offset"      // a reversed extent, a hole, an overlap
	CodeIncomplete    Code = "incomplete_buffer"   // data missing or bytes left at the end
)

// Codes of warnings and notes that Validate reports.
const (
	CodeLeadingSpace    Code = "leading_space"    // white space before the header's object
	CodePadding         Code = "padding"          // padding with other white space than spaces
	CodeUnalignedHeader Code = "unaligned_header" // data does not begin at a multiple of 8
	CodeUnknownField    Code = "unknown_field"    // a member besides dtype, shape, data_offsets
	CodeUnalignedTensor Code = "unaligned_tensor" // data does not begin at a multiple of the element size
	CodeAbsurdDim       Code = "absurd_dim"       // a dimension of 2^48 or more
	CodeEmptyName       Code = "empty_name"       // a tensor without a name
	CodePathLikeName    Code = "path_like_name"   // a name that leaves a directory when used as a path
	CodeControlChars    Code = "control_chars"    // control or bidirectional characters in a name or metadata
	CodeAmbiguousName   Code = "ambiguous_name"   // white space or a dot at either end of a name
	CodeCaseCollision   Code = "case_collision"   // names that differ only in case
)

// Codes of indexes.
const (
	CodeIndexUTF8      Code = "index_utf8"            // bytes that are not UTF-8
	CodeIndexJSON      Code = "index_json"            // JSON syntax
	CodeIndexType      Code = "index_type"            // a JSON value of the wrong type
	CodeIndexNotObject Code = "index_not_object"      // the index is another JSON value
	CodeIndexTrailing  Code = "index_trailing"        // more than white space after the object
	CodeNoWeightMap    Code = "index_no_weight_map"   // no weight_map
	CodeUnsafePath     Code = "unsafe_shard_path"     // a shard path that leaves the index's directory
	CodeOddPath        Code = "noncanonical_path"     // a shard path with "." or empty components
	CodeNoMetadata     Code = "index_no_metadata"     // no metadata object
	CodeNumberForm     Code = "index_number_form"     // a total that is no plain non-negative integer
	CodeBadOrdinal     Code = "bad_ordinal"           // shard 0, or beyond the number of shards
	CodeMixedTotals    Code = "mixed_totals"          // shard names of one set disagree on their number
	CodeMissingOrdinal Code = "missing_ordinal"       // a shard of the set that holds no tensor
	CodeIndexDuplicate Code = "index_duplicate_field" // weight_map or metadata twice
)

// Hints: stable words that narrow a code down.
const (
	HintLFSPointer  = "git_lfs_pointer" // a git-lfs pointer instead of the file it stands for
	HintHTML        = "html"            // an HTML page, as a failed download leaves
	HintXML         = "xml"             // an XML document, as a store's error is
	HintGzip        = "gzip"            // a gzip archive
	HintZip         = "zip"             // a zip archive, as torch.save writes
	HintPickle      = "pickle"          // a Python pickle
	HintAppleDouble = "appledouble"     // a macOS "._" companion file
	HintGGUF        = "gguf"            // a GGUF file
	HintJSON        = "json"            // JSON text, such as an index
	HintZeros       = "zeros"           // a file that begins with zeros
	HintBOM         = "bom"             // a byte order mark before JSON
	HintNULPadding  = "nul_padding"     // a header padded with NUL bytes
	HintHole        = "hole"            // bytes that belong to no tensor
	HintOverlap     = "overlap"         // bytes that belong to two tensors
	HintReversed    = "reversed"        // an end before its begin
	HintTruncated   = "truncated"       // data missing at the end of the file
	HintTrailing    = "trailing_data"   // bytes after the last tensor
	HintMore        = "more"            // stands for further faults of the code
)

// A Fault is one thing that is wrong with a file or an index, or worth knowing.
type Fault struct {
	Code     Code
	Severity Severity
	Offset   int64  // of the byte in the file; -1 if there is no one place
	Tensor   string // "" if it belongs to no tensor
	Detail   string // what is wrong and, where it helps, what to do
	Hint     string // narrows Code down: one of the Hint constants, the dtype that was likely meant, or ""
}

// Error returns the fault in one line, without the file's name.
func (f Fault) Error() string {
	var b strings.Builder
	if f.Tensor != "" || f.Code == CodeEmptyName {
		b.WriteString("tensor ")
		b.WriteString(quote(f.Tensor))
		b.WriteString(": ")
	}
	b.WriteString(f.Detail)
	if f.Offset >= 0 {
		b.WriteString(" (byte ")
		b.WriteString(strconv.FormatInt(f.Offset, 10))
		b.WriteByte(')')
	}
	return b.String()
}

// Is reports that the fault is [ErrUnsupported] when the file may be right and
// only newer or larger than this package allows for.
func (f Fault) Is(target error) bool {
	return target == ErrUnsupported &&
		(f.Code == CodeLimit || f.Code == CodeUnknownDType && f.Hint == "")
}

// maxQuote bounds what a message repeats of a file: a name may be 100 MB long.
const maxQuote = 100

// quote returns text from a file in a form that is safe to print.
func quote[T string | DType | []byte](text T) string {
	if len(text) <= maxQuote {
		return strconv.Quote(string(text))
	}
	cut := maxQuote
	for cut > maxQuote-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return strconv.Quote(string(text[:cut])) + fmt.Sprintf("… (%d bytes)", len(text))
}

// maxFaults is how many faults of one code are listed; the rest are counted. A
// header of 100 MB can hold two million faulty tensors.
const maxFaults = 1000

// A faultList collects faults, at most maxFaults of a code.
type faultList struct {
	faults []Fault
	counts []faultCount // in the order of first use
}

type faultCount struct {
	code     Code
	severity Severity
	n        int
}

// count returns the count of a code.
func (l *faultList) count(code Code, severity Severity) *faultCount {
	i := slices.IndexFunc(l.counts, func(c faultCount) bool { return c.code == code })
	if i < 0 {
		i = len(l.counts)
		l.counts = append(l.counts, faultCount{code: code, severity: severity})
	}
	return &l.counts[i]
}

// skip counts n faults without listing them.
func (l *faultList) skip(code Code, severity Severity, n int) { l.count(code, severity).n += n }

// full counts a fault and reports true if it is not to be listed. Callers ask
// before they describe a fault at some cost.
func (l *faultList) full(code Code, severity Severity) bool {
	c := l.count(code, severity)
	if c.n >= maxFaults {
		c.n++
		return true
	}
	return false
}

func (l *faultList) add(f Fault) {
	if !l.full(f.Code, f.Severity) {
		l.skip(f.Code, f.Severity, 1)
		l.faults = append(l.faults, f)
	}
}

// list returns the faults in file order, those without a place last.
func (l *faultList) list() []Fault {
	slices.SortStableFunc(l.faults, func(a, b Fault) int {
		// -1 becomes the largest offset.
		return cmp.Compare(uint64(a.Offset), uint64(b.Offset))
	})
	for _, k := range l.counts {
		if k.n > maxFaults {
			l.faults = append(l.faults, Fault{
				Code: k.code, Severity: k.severity, Offset: -1, Hint: HintMore,
				Detail: fmt.Sprintf("%s %s, not listed", plural.Of(k.n-maxFaults, "more fault"), k.code),
			})
		}
	}
	return l.faults
}
