package numpy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrUnsupported is matched, with [errors.Is], by a [Fault] that need not be the
// file's: a version newer than this package, or what it does not read.
var ErrUnsupported = errors.New("not supported by this version")

// A Severity says how bad a fault is.
type Severity uint8

const (
	// Info is worth knowing and harmless.
	Info Severity = iota
	// Warning is what some reader refuses or misreads, or may hide something.
	Warning
	// Error is what makes the file, or a part of it, wrong.
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

// A Code names a kind of fault. Codes are stable. Those of an archive itself are of
// package ziparchive.
type Code string

const (
	CodeNotArray      Code = "not_array" // neither an array nor an archive; in an archive, a member that is none
	CodeTruncated     Code = "truncated" // the file ends within a header or an array
	CodeHeader        Code = "header"    // a header that is not the dictionary that it should be
	CodeVersion       Code = "version"   // an array of a version newer than this package
	CodeLimit         Code = "limit"     // a size beyond what this package reads
	CodeObject        Code = "object_array"
	CodeUnknownDType  Code = "unknown_dtype"
	CodeOverflow      Code = "overflow"  // more elements or bytes than 63 bits can count
	CodeDataSize      Code = "data_size" // more bytes than the shape needs
	CodeDuplicateName Code = "duplicate_name"
	CodeEmptyName     Code = "empty_name"
	CodeControlChars  Code = "control_chars" // characters that drive terminals or reverse text
	CodeBigEndian     Code = "big_endian"
	CodeCompressed    Code = "member_compressed"
	CodeUnreadable    Code = "unreadable" // bytes that could not be read
	CodeEmpty         Code = "empty"      // an archive without an array
)

// severities holds the codes that are not errors.
var severities = map[Code]Severity{
	CodeNotArray:      Warning,
	CodeObject:        Warning,
	CodeUnknownDType:  Warning,
	CodeDataSize:      Warning,
	CodeDuplicateName: Warning,
	CodeEmptyName:     Warning,
	CodeControlChars:  Warning,
	CodeBigEndian:     Info,
	CodeCompressed:    Info,
	CodeEmpty:         Warning,
	"gap":             Warning, // of package ziparchive
	"prefix_data":     Warning,
	"trailing_data":   Warning,
	"unsafe_member":   Warning,
	"member_flags":    Warning,
}

// A Fault is one thing that is wrong with a file, or worth knowing. The text of Detail
// may change over time; the code does not.
type Fault struct {
	Code     Code
	Severity Severity
	Offset   int64  // of the byte in the file, -1 when there is no one place
	Tensor   string // the array's name, "" when the fault belongs to none
	Detail   string // what is wrong, and with what
}

func newFault(code Code, offset int64, name, format string, args ...any) *Fault {
	severity, ok := severities[code]
	if !ok {
		severity = Error
	}
	return &Fault{code, severity, offset, name, fmt.Sprintf(format, args...)}
}

// Error returns the fault in one line, with names quoted and escaped.
func (f *Fault) Error() string {
	var b strings.Builder
	if f.Tensor != "" {
		b.WriteString("array " + quote(f.Tensor) + ": ")
	}
	b.WriteString(f.Detail)
	if f.Offset >= 0 {
		b.WriteString(" (byte " + strconv.FormatInt(f.Offset, 10) + ")")
	}
	return b.String()
}

// Is reports whether target is [ErrUnsupported] and the fault is of that kind.
func (f *Fault) Is(target error) bool {
	return target == ErrUnsupported && (f.Code == CodeVersion || f.Code == CodeLimit || f.Code == CodeObject || f.Code == CodeUnknownDType)
}

// quote returns s in quotes, printable, and cut when it is long.
func quote(s string) string {
	const most = 100
	if len(s) > most {
		return strconv.Quote(s[:most]) + "…"
	}
	return strconv.Quote(s)
}
