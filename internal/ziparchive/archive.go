package ziparchive

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unsafe"
)

// The records of a zip archive (APPNOTE.TXT, 4.3).
const (
	sigLocal     = "PK\x03\x04"
	sigDirectory = "PK\x01\x02"
	sigEnd       = "PK\x05\x06"
	sigEnd64     = "PK\x06\x06"
	sigLocator   = "PK\x06\x07"

	localSize     = 30
	directorySize = 46
	endSize       = 22
	end64Size     = 56
	locatorSize   = 20

	// maxDirectory bounds the directory: torch's takes some 80 bytes per storage.
	maxDirectory = 256 << 20

	flagEncrypted  = 1 << 0
	flagDescriptor = 1 << 3
	flagPatch      = 1 << 5
	flagStrong     = 1 << 6
	flagMasked     = 1 << 13
)

// The methods that are read.
const (
	Stored  = 0
	Deflate = 8
)

// The codes of faults that make [Read] and [Archive.Contents] fail.
const (
	CodeZip       = "zip"       // the directory is broken
	CodeLimit     = "limit"     // a size beyond what this package reads
	CodeTruncated = "truncated" // a compressed member ends early
	CodeMethod    = "method"    // a member is compressed by a method other than deflate
	CodeHeader    = "member_header"
)

// A Fault is what is wrong with an archive.
type Fault struct {
	Code   string
	Offset int64  // of the byte in the file
	Detail string // what is wrong, and with what
}

// Error returns the detail.
func (f *Fault) Error() string { return f.Detail }

func fault(code string, offset int64, format string, args ...any) *Fault {
	return &Fault{code, offset, fmt.Sprintf(format, args...)}
}

// quote returns a name in quotes, printable, and cut when it is long.
func quote[T string | []byte](s T) string {
	if len(s) > 100 {
		return strconv.Quote(string(s[:100])) + "…"
	}
	return strconv.Quote(string(s))
}

// A Member is one file of an archive, as the directory has it.
type Member struct {
	Name         string
	Header       int64 // where its local header is
	Size, Packed uint64
	Method       uint16

	crc     uint32
	flags   uint16
	unicode string // the name in the extra field of Info-ZIP, "" for none
}

// Cut returns the name up to a NUL, where Python's zipfile ends it.
func (m *Member) Cut() string {
	name, _, _ := strings.Cut(m.Name, "\x00")
	return name
}

// An Archive is the directory of a zip file.
type Archive struct {
	Members []Member // in the order of the directory

	r     io.ReaderAt
	size  int64
	begin int64    // of the directory
	own   []extent // of the directory and the end records
}

// An extent is a run of bytes, and what it is.
type extent struct {
	begin, end int64
	name       string
}

// IsZip reports whether a file that begins with head is an archive, as torch decides it
// (serialization.py, _is_zipfile).
func IsZip(head []byte) bool { return bytes.HasPrefix(head, []byte(sigLocal)) }

// HasHeader reports whether there is what may be the header of a member in some bytes.
func HasHeader(b []byte) bool { return bytes.Contains(b, []byte(sigLocal)) }

// lastRead is how much is read of the end of a file at once. It has the directories of some 4,000
// members, so that one on a server takes no other request.
const lastRead = 256 << 10

// AtEnd looks for an archive that is the end of a file of another kind, which readers that go by the end
// of a file take for the whole. It returns where its offsets count from and where its first
// member is, -1 where there is none that can be read. The error is that of r.
func AtEnd(r io.ReaderAt, size int64) (begin, first int64, err error) {
	tail := min(size, endSize+1<<16)
	buf := make([]byte, tail)
	if err := readFull(r, buf, size-tail); err != nil {
		return 0, -1, err
	}
	at := bytes.LastIndex(buf, []byte(sigEnd))
	if at < 0 || len(buf)-at < endSize {
		return 0, -1, nil
	}
	// Offsets count from the archive's own beginning, or from that of the file.
	length, offset := int64(binary.LittleEndian.Uint32(buf[at+12:])), int64(binary.LittleEndian.Uint32(buf[at+16:]))
	for _, begin := range []int64{max(size-tail+int64(at)-length-offset, 0), 0} {
		a, err := Read(io.NewSectionReader(r, begin, size-begin), size-begin)
		if _, broken := err.(*Fault); err != nil && !broken {
			return 0, -1, err
		}
		if err == nil && len(a.Members) > 0 {
			first, _ := a.Bounds()
			return begin, begin + first, nil
		}
	}
	return 0, -1, nil
}

// Read reads the directory of the archive in the first size bytes of r. The error is a
// [*Fault], or that of r.
func Read(r io.ReaderAt, size int64) (*Archive, error) { return ReadLast(r, size, lastRead) }

// ReadLast is Read for a directory that is probably in the last tail bytes, which are read at once,
// and at least 256 KiB.
func ReadLast(r io.ReaderAt, size, tail int64) (*Archive, error) {
	tail = min(size, max(tail, lastRead))
	buf := make([]byte, tail)
	if err := readFull(r, buf, size-tail); err != nil {
		return nil, err
	}
	at := len(buf) - endSize
	first := max(0, at-1<<16) // of the longest comment
	for at >= first && string(buf[at:at+4]) != sigEnd {
		at--
	}
	if at < first {
		return nil, fault(CodeZip, size, "the archive has no directory at its end, as after an interrupted download")
	}
	le := binary.LittleEndian
	e, place := buf[at:], size-tail+int64(at)
	count, length, begin := uint64(le.Uint16(e[10:])), uint64(le.Uint32(e[12:])), uint64(le.Uint32(e[16:]))
	a := &Archive{r: r, size: size, own: []extent{{place, place + endSize + int64(le.Uint16(e[20:])), "end record"}}}
	if at >= locatorSize && string(buf[at-locatorSize:at-locatorSize+4]) == sigLocator {
		where := le.Uint64(buf[at-locatorSize+8:])
		if where > uint64(max(size-end64Size, 0)) {
			return nil, fault(CodeZip, place-locatorSize, "the archive's 64-bit end record is beyond the file")
		}
		var e64 [end64Size]byte
		if err := readFull(r, e64[:], int64(where)); err != nil {
			return nil, err
		}
		if string(e64[:4]) == sigEnd64 {
			count, length, begin = le.Uint64(e64[32:]), le.Uint64(e64[40:]), le.Uint64(e64[48:])
			a.own[0].begin -= locatorSize
			a.own = append(a.own, extent{int64(where), int64(where) + end64Size, "64-bit end record"})
		}
	}
	switch {
	case begin > uint64(size) || length > uint64(size)-begin:
		return nil, fault(CodeZip, place, "the archive's directory is not within the file")
	case length > maxDirectory:
		return nil, fault(CodeLimit, place, "the archive's directory takes %d bytes, and at most %d are read", length, maxDirectory)
	case count > length/directorySize:
		return nil, fault(CodeZip, place, "the archive's directory of %d bytes is too short for %d members", length, count)
	}
	a.begin = int64(begin)
	a.own = append(a.own, extent{a.begin, a.begin + int64(length), "directory"})
	var dir []byte
	if off := a.begin - (size - tail); off >= 0 {
		dir = bytes.Clone(buf[off : off+int64(length)]) // names are parts of it, and keep it
	} else {
		dir = make([]byte, length)
		if err := readFull(r, dir, a.begin); err != nil {
			return nil, err
		}
	}
	return a, a.parse(unsafe.String(unsafe.SliceData(dir), len(dir)), int(count)) // nobody writes to dir any more
}

func (a *Archive) parse(dir string, count int) error {
	a.Members = make([]Member, 0, count)
	u16 := func(s string, i int) uint16 { return uint16(s[i]) | uint16(s[i+1])<<8 }
	u32 := func(s string, i int) uint32 { return uint32(u16(s, i)) | uint32(u16(s, i+2))<<16 }
	u64 := func(s string, i int) uint64 { return uint64(u32(s, i)) | uint64(u32(s, i+4))<<32 }
	for pos := 0; count > 0; count-- {
		d := dir[pos:]
		broken := func(what string) error {
			return fault(CodeZip, a.begin+int64(pos), "the archive's directory is broken: %s", what)
		}
		if len(d) < directorySize || d[:4] != sigDirectory {
			return broken("an entry is not where it should be")
		}
		nameEnd := directorySize + int(u16(d, 28))
		extraEnd := nameEnd + int(u16(d, 30))
		next := extraEnd + int(u16(d, 32))
		if next > len(d) {
			return broken("an entry reaches past its end")
		}
		m := Member{
			Name: d[directorySize:nameEnd], flags: u16(d, 8), Method: u16(d, 10), crc: u32(d, 16),
			Packed: uint64(u32(d, 20)), Size: uint64(u32(d, 24)),
		}
		header := uint64(u32(d, 42))
		for extra := d[nameEnd:extraEnd]; len(extra) >= 4; {
			size := int(u16(extra, 2))
			if 4+size > len(extra) {
				break
			}
			field := extra[4 : 4+size]
			if u16(extra, 0) == 0x7075 && size > 5 { // Info-ZIP Unicode Path: a version, a checksum, a name
				m.unicode = field[5:]
			}
			if u16(extra, 0) == 1 { // ZIP64
				for _, v := range []*uint64{&m.Size, &m.Packed, &header} {
					if *v == 1<<32-1 && len(field) >= 8 {
						*v = u64(field, 0)
						field = field[8:]
					}
				}
			}
			extra = extra[4+size:]
		}
		if header > uint64(a.size) || a.size-int64(header) < localSize || m.Packed > uint64(a.size)-header-localSize {
			return broken("member " + quote(m.Name) + " is not within the file")
		}
		if m.Method == Stored && m.Size != m.Packed {
			return broken("member " + quote(m.Name) + " is not compressed and has two sizes")
		}
		m.Header = int64(header)
		a.Members = append(a.Members, m)
		pos += next
	}
	return nil
}

// Bounds returns where the first member begins and where the archive ends.
func (a *Archive) Bounds() (begin, end int64) {
	begin = a.begin
	for i := range a.Members {
		begin = min(begin, a.Members[i].Header)
	}
	return begin, min(a.own[0].end, a.size)
}

// Find returns the first member of a name, nil when there is none. Case does not count, as
// in mz_zip_reader_locate_file.
func (a *Archive) Find(name string) *Member {
	for i := range a.Members {
		if m := &a.Members[i]; len(m.Name) == len(name) && strings.EqualFold(m.Name, name) {
			return m
		}
	}
	return nil
}

// DataOffset reads where the data of the member whose local header is at an offset begin:
// only that header says it. All of their bytes are within the first size bytes of r. The error
// is a [*Fault], or that of r.
func DataOffset(r io.ReaderAt, size, header int64, packed uint64) (int64, error) {
	var h [localSize]byte
	if err := readFull(r, h[:], header); err != nil {
		return 0, err
	}
	if string(h[:4]) != sigLocal {
		return 0, fault(CodeHeader, header, "there is no local header where the directory says")
	}
	begin := header + localSize + int64(binary.LittleEndian.Uint16(h[26:])) + int64(binary.LittleEndian.Uint16(h[28:]))
	if begin > size || packed > uint64(size-begin) {
		return 0, fault(CodeHeader, header, "a member's data reach past the end of the file")
	}
	return begin, nil
}

// Inflated is the most that is read whole of what takes packed bytes compressed: the members that are
// read so say little twice.
func Inflated(packed uint64) uint64 {
	return max(8<<20, 16*min(packed, math.MaxUint64/16))
}

// Contents reads a member of at most limit bytes, and says where they begin in the file,
// -1 when they are compressed there. The error is a [*Fault], or that of the file.
func (a *Archive) Contents(m *Member, limit uint64) ([]byte, int64, error) {
	if m.Method != Stored {
		limit = min(limit, Inflated(m.Packed))
	}
	if m.Size > limit {
		return nil, 0, fault(CodeLimit, m.Header, "%s has %d bytes, and at most %d are read", quote(m.Name), m.Size, limit)
	}
	r, begin, err := a.Reader(m)
	if err != nil {
		return nil, 0, err
	}
	buf := make([]byte, m.Size)
	n, err := io.ReadFull(r, buf)
	if err != nil && begin < 0 {
		err = fault(CodeTruncated, m.Header, "%s is compressed and ends after %d of %d bytes", quote(m.Name), n, m.Size)
	}
	return buf, begin, err
}

// Reader returns a reader of a member of any size, and says where its data begin in the
// file, -1 when they are compressed there. The error is a [*Fault], or that of the file.
func (a *Archive) Reader(m *Member) (io.Reader, int64, error) {
	switch {
	case m.Method != Stored && m.Method != Deflate:
		return nil, 0, fault(CodeMethod, m.Header, "%s is compressed by method %d, which is not read", quote(m.Name), m.Method)
	case m.Packed > m.Size+m.Size/8+1<<10: // a few bytes may be hidden behind millions that inflate to nothing
		return nil, 0, fault(CodeLimit, m.Header, "%s of %d bytes takes %d bytes compressed", quote(m.Name), m.Size, m.Packed)
	}
	begin, err := DataOffset(a.r, a.size, m.Header, m.Packed)
	if err != nil {
		return nil, 0, err
	}
	packed := io.NewSectionReader(a.r, begin, int64(m.Packed))
	if m.Method == Stored {
		return packed, begin, nil
	}
	return io.LimitReader(flate.NewReader(packed), int64(min(m.Size, math.MaxInt64))), -1, nil
}

func readFull(r io.ReaderAt, b []byte, off int64) error {
	n, err := r.ReadAt(b, off)
	if n == len(b) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
