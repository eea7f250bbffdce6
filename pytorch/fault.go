package pytorch

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// ErrUnsupported is matched, with [errors.Is], by a [Fault] that need not be the
// file's: an ancient container, a protocol or a dtype newer than this package, or a
// size beyond its limits.
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

// A Code names a kind of fault. Codes are stable.
type Code string

// The faults that make [Open] and [NewFile] fail.
const (
	CodeNotTorch  Code = "not_torch" // no container of torch's
	CodeTar       Code = "tar"       // a tar file, as torch wrote before 0.1.10
	CodeTruncated Code = "truncated" // the file ends inside the pickle or the archive's directory
	CodeZip       Code = "zip"       // the archive's directory is broken
	CodeOpcode    Code = "opcode"    // an opcode that does not exist, or an operand that it cannot have
	CodeProtocol  Code = "protocol"  // a pickle protocol after 5
	CodeStack     Code = "stack"     // the pickle takes from an empty stack, or a value of the wrong type
	CodeMemo      Code = "memo"      // the pickle recalls what it never memorised
	CodeFrame     Code = "frame"     // an opcode crosses the end of its frame, or a frame that of the pickle
	CodeDepth     Code = "depth"     // nested too deeply
	CodeLimit     Code = "limit"     // a size beyond what this package reads
	CodeStream    Code = "stream"    // the legacy stream is not what torch writes
	CodeNoPickle  Code = "no_pickle" // an archive without data.pkl
	CodeMethod    Code = "method"    // data.pkl is compressed by a method other than deflate
)

// The faults of the archive that [File.Validate] reports.
const (
	CodeDuplicateMember Code = "duplicate_member" // two members of one name, whatever the case, or a storage twice in a stream
	CodeMemberName      Code = "member_name"      // the local header has another name than the directory
	CodeMemberHeader    Code = "member_header"    // the local header contradicts the directory, or is absent
	CodeMemberFlags     Code = "member_flags"     // a flag that other readers stop at, such as encryption
	CodeChecksum        Code = "checksum"         // a checksum that is wrong
	CodeCompressed      Code = "member_compressed"
	CodeOverlap         Code = "overlap"        // members that share bytes
	CodeUnsafeMember    Code = "unsafe_member"  // a member's name that leaves the archive's directory
	CodeNotFound        Code = "not_found"      // a pickle where torch does not look
	CodeMixedPrefix     Code = "mixed_prefix"   // members in more than one directory
	CodeExtraPickle     Code = "extra_pickle"   // another pickle in the archive
	CodePrefixData      Code = "prefix_data"    // bytes before the first member
	CodeGap             Code = "gap"            // bytes that belong to no member
	CodeHiddenMember    Code = "hidden_member"  // a member that is not in the directory, or an archive at the end of what is none
	CodeTrailingData    Code = "trailing_data"  // bytes after the end
	CodeArchiveVersion  Code = "format_version" // version is absent or not a number
	CodeByteOrder       Code = "byteorder"      // byteorder is neither little nor big
	CodeBigEndian       Code = "big_endian"
	CodeUnreadable      Code = "unreadable" // bytes that could not be read
)

// The faults of the pickle that [File.Validate] reports.
const (
	CodeMorePickles   Code = "more_pickles"   // another pickle after STOP
	CodeAfterStop     Code = "after_stop"     // bytes after STOP
	CodeLeftover      Code = "leftover"       // values left on the stack at STOP
	CodeNestedPickle  Code = "nested_pickle"  // a string that is a pickle
	CodeBadTarget     Code = "bad_target"     // an item set, or a call made, on what cannot have it
	CodePersistentID  Code = "persistent_id"  // a persistent id that names no storage
	CodeDuplicateKey  Code = "duplicate_key"  // a key of a dictionary twice; the last counts
	CodeStorageChange Code = "storage_change" // one storage described in two ways
	CodeCalledResult  Code = "called_result"  // a call of what a call results in
	CodeStorageName   Code = "storage_name"   // a storage with a key that is a directory's, or leaves the archive's
)

// The faults of tensors and storages that [File.Validate] reports.
const (
	CodeDuplicateName  Code = "duplicate_name"
	CodeEmptyName      Code = "empty_name"
	CodeKeyType        Code = "key_type"      // a key on the way to a tensor that is neither text nor a whole number
	CodeControlChars   Code = "control_chars" // characters that drive terminals or reverse text
	CodeBadTensor      Code = "bad_tensor"    // arguments that are no tensor's
	CodeUnknownDType   Code = "unknown_dtype"
	CodeOverflow       Code = "overflow"       // more elements or bytes than 64 bits can count
	CodeOutOfStorage   Code = "out_of_storage" // a tensor reaches beyond its storage
	CodeNoData         Code = "no_data"        // a tensor without a storage, such as one of device meta
	CodeSparse         Code = "sparse"         // a sparse tensor, which is not listed
	CodeNested         Code = "nested_tensor"  // a nested tensor, which is not listed
	CodeNumPy          Code = "numpy_tensor"   // a tensor whose data are an array in the pickle, which is not listed
	CodeWrapped        Code = "wrapped"        // a tensor subclass whose data are other tensors
	CodeAttached       Code = "attached"       // a tensor that has other tensors as attributes
	CodeExpanded       Code = "expanded"       // a tensor that repeats the elements of a smaller storage
	CodeLazy           Code = "lazy"           // a tensor to be conjugated or negated when it is read
	CodeMissingStorage Code = "missing_storage"
	CodeStorageSize    Code = "storage_size"   // a storage of another size than the pickle says
	CodeUnusedStorage  Code = "unused_storage" // bytes that no tensor uses
	CodeLost           Code = "lost_tensor"    // tensors that are in no part of what the pickle builds
	CodeEmpty          Code = "empty"          // no tensor
)

// severities holds the codes that are not errors.
var severities = map[Code]Severity{
	CodeCompressed:     Warning,
	CodeUnsafeMember:   Warning,
	CodeMixedPrefix:    Warning,
	CodeExtraPickle:    Warning,
	CodePrefixData:     Warning,
	CodeTrailingData:   Warning,
	CodeArchiveVersion: Warning,
	CodeBigEndian:      Info,
	CodeMorePickles:    Warning,
	CodeAfterStop:      Warning,
	CodeLeftover:       Warning,
	CodeNestedPickle:   Warning,
	CodePersistentID:   Warning,
	CodeDuplicateKey:   Warning,
	CodeDuplicateName:  Warning,
	CodeEmptyName:      Warning,
	CodeKeyType:        Warning,
	CodeCalledResult:   Warning,
	CodeStorageName:    Warning,
	CodeControlChars:   Warning,
	CodeNoData:         Warning,
	CodeSparse:         Warning,
	CodeNested:         Warning,
	CodeNumPy:          Warning,
	CodeWrapped:        Warning,
	CodeAttached:       Warning,
	CodeExpanded:       Warning,
	CodeGap:            Warning,
	CodeLazy:           Warning,
	CodeUnusedStorage:  Warning,
	CodeLost:           Warning,
	CodeEmpty:          Warning,
}

// A Fault is one thing that is wrong with a file, or worth knowing. The text of Detail
// may change over time; the code does not.
type Fault struct {
	Code     Code
	Severity Severity
	Offset   int64  // of the byte in the file, -1 when there is no one place
	Tensor   string // the tensor's name, "" when the fault belongs to none
	Detail   string // what is wrong, and with what
}

func newFault(code Code, offset int64, tensor, format string, args ...any) *Fault {
	severity, ok := severities[code]
	if !ok {
		severity = Error
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
	if target != ErrUnsupported {
		return false
	}
	switch f.Code {
	case CodeTar, CodeProtocol, CodeLimit, CodeMethod, CodeUnknownDType, CodeSparse, CodeNested, CodeNumPy:
		return true
	}
	return false
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

// maxFaults bounds the faults of one code that are listed one by one.
const maxFaults = 1000

// faultList collects faults, at most maxFaults of a code.
type faultList struct {
	faults []Fault
	counts map[Code]int
}

func (l *faultList) report(code Code, offset int64, tensor, format string, args ...any) {
	if l.full(code) {
		return
	}
	l.faults = append(l.faults, *newFault(code, offset, tensor, format, args...))
}

// full counts a fault of a code, and reports whether there are too many to list it.
func (l *faultList) full(code Code) bool {
	if l.counts == nil {
		l.counts = map[Code]int{}
	}
	l.counts[code]++
	return l.counts[code] > maxFaults
}

func (l *faultList) add(f *Fault) {
	if !l.full(f.Code) {
		l.faults = append(l.faults, *f)
	}
}

// list returns the faults, and for each code with more than are listed one that counts
// the rest.
func (l *faultList) list() []Fault {
	faults := l.faults
	for i := range faults {
		if n := l.counts[faults[i].Code]; n > maxFaults {
			l.counts[faults[i].Code] = 0
			faults = append(faults, *newFault(faults[i].Code, -1, "", "%s of this kind", plural.Of(n-maxFaults, "more fault")))
		}
	}
	return faults
}
