package ziparchive

import (
	"bufio"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"strconv"
	"strings"
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

	CRC uint32 // of its bytes, as the directory says

	flags   uint16
	unicode string // the name in the extra field of Info-ZIP, "" for none
}

// Cut returns the name up to a NUL, where Python's zipfile ends it.
func (m *Member) Cut() string {
	name, _, _ := strings.Cut(m.Name, "\x00")
	return name
}

// Aligned returns where the bytes of a member that is not compressed begin if torch.save wrote it, and
// where the next member does then. torch has the bytes of each begin at a multiple of 64, by a field in
// its local header, and a data descriptor behind them (inline_container.cc, getPadding;
// miniz.c, mz_zip_writer_add_mem_ex_v2). name is the length of its name.
func (m *Member) Aligned(name int) (begin, next int64) {
	const alignment, field, most32 = 64, 4, 1<<32 - 1
	begin = m.Header + localSize + int64(name) + field
	descriptor := int64(descriptorSize - 8)
	if m.Size >= most32 || m.Header >= most32 { // there is a ZIP64 field
		begin += field
		descriptor = descriptorSize
		if m.Size >= most32 {
			begin += 16
		}
		if m.Header >= most32 {
			begin += 8
		}
	}
	begin = (begin + alignment - 1) / alignment * alignment
	next = begin + int64(m.Size)
	if m.flags&flagDescriptor != 0 {
		next += descriptor
	}
	return begin, next
}

// An Archive is the directory of a zip file. It is in the file: an archive may have millions of
// members.
type Archive struct {
	// Summed says that a member has a checksum. torch.save writes zeros where it is told not to
	// compute any (torch.serialization.set_crc32_options).
	Summed bool

	// Digest is of the directory. It is the same for the same one, in one process.
	Digest uint64

	r             io.ReaderAt
	size          int64
	begin, length int64 // of the directory
	first         int64 // where the first member is
	end           int64 // of the end record, without the comment
	index         []entry
	own           []extent // of the directory and the end records
	ownNames      []string
}

// An entry is where a member is in the directory, and a hash of its name.
type entry struct{ hash, at uint32 }

// An extent is a run of bytes: those of a member, or, where that is negative, ^which of the archive's own.
type extent struct {
	begin, end int64
	which      int32
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
		if err == nil && a.Len() > 0 {
			first, _ := a.Bounds()
			return begin, begin + first, nil
		}
	}
	return 0, -1, nil
}

// An Ahead is a file on a server. ReadAhead asks it in one request for n bytes that will be read piece by
// piece.
type Ahead interface {
	ReadAhead(off, n int64) error
}

// ReadAhead calls the method ReadAhead of r, where there is one.
func ReadAhead(r io.ReaderAt, off, n int64) error {
	if a, ok := r.(Ahead); ok {
		return a.ReadAhead(off, n)
	}
	return nil
}

// Read reads the directory of the archive in the first size bytes of r. The error is a
// [*Fault], or that of r.
func Read(r io.ReaderAt, size int64) (*Archive, error) {
	tail := min(size, lastRead)
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
	a := &Archive{r: r, size: size, end: place + endSize}
	a.addOwn(place, place+endSize+int64(le.Uint16(e[20:])), "end record")
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
			a.addOwn(int64(where), int64(where)+end64Size, "64-bit end record")
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
	a.begin, a.length = int64(begin), int64(length)
	a.addOwn(a.begin, a.begin+a.length, "directory")
	if err := ReadAhead(r, a.begin, a.length); err != nil {
		return nil, err
	}
	a.first = a.begin
	a.index = make([]entry, count)
	pos, i := int64(0), 0
	var digest maphash.Hash
	digest.SetSeed(seed)
	err := a.scan(func(name []byte, m *Member, size int) error {
		digest.Write(name)
		maphash.WriteComparable(&digest, *m)
		a.index[i] = entry{hashOf(name), uint32(pos)}
		a.first = min(a.first, m.Header)
		a.Summed = a.Summed || m.CRC != 0
		pos += int64(size)
		i++
		return nil
	})
	a.Digest = digest.Sum64()
	return a, err
}

// seed is that of the digests of directories.
var seed = maphash.MakeSeed()

func (a *Archive) addOwn(begin, end int64, name string) {
	a.own = append(a.own, extent{begin, end, ^int32(len(a.own))})
	a.ownNames = append(a.ownNames, name)
}

// hashOf is one hash of a name in whatever case.
func hashOf[T string | []byte](name T) uint32 {
	h := uint32(2166136261) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint32(lower(name[i]))) * 16777619
	}
	return h
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// Len returns the number of members.
func (a *Archive) Len() int { return len(a.index) }

// Scan reads the directory and calls visit for each member, until it returns an error. The Member has
// no Name: name is that, and both are valid until visit returns.
func (a *Archive) Scan(visit func(name []byte, m *Member) error) error {
	return a.scan(func(name []byte, m *Member, _ int) error { return visit(name, m) })
}

// scan is Scan, with the bytes that each member takes in the directory.
func (a *Archive) scan(visit func(name []byte, m *Member, size int) error) error {
	b := bufio.NewReaderSize(io.NewSectionReader(a.r, a.begin, a.length), int(min(a.length, 64<<10)))
	pos := int64(0)
	var m Member
	for range a.index {
		d, err := b.Peek(int(min(directorySize, a.length-pos)))
		if err != nil {
			return unexpected(err)
		}
		size, err := a.entrySize(d, pos)
		if err != nil {
			return err
		}
		if d, err = b.Peek(size); err == bufio.ErrBufferFull {
			d = make([]byte, size)
			err = readFull(a.r, d, a.begin+pos)
		}
		if err != nil {
			return unexpected(err)
		}
		name, err := a.parse(d, pos, &m)
		if err != nil {
			return err
		}
		if err := visit(name, &m, size); err != nil {
			return err
		}
		if _, err := b.Discard(size); err != nil {
			return unexpected(err)
		}
		pos += int64(size)
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// At reads member i, in the order of the directory.
func (a *Archive) At(i int) (*Member, error) {
	pos := int64(a.index[i].at)
	d := make([]byte, min(a.length-pos, directorySize+128))
	if err := readFull(a.r, d, a.begin+pos); err != nil {
		return nil, err
	}
	size, err := a.entrySize(d, pos)
	if err != nil {
		return nil, err
	}
	if size > len(d) {
		d = make([]byte, size)
		if err := readFull(a.r, d, a.begin+pos); err != nil {
			return nil, err
		}
	}
	m := &Member{}
	name, err := a.parse(d[:size], pos, m)
	m.Name = string(name)
	return m, err
}

func (a *Archive) brokenAt(pos int64, what string) error {
	return fault(CodeZip, a.begin+pos, "the archive's directory is broken: %s", what)
}

// entrySize returns how many bytes of the directory the entry at a place takes, which begins with d.
func (a *Archive) entrySize(d []byte, pos int64) (int, error) {
	if len(d) < directorySize || string(d[:4]) != sigDirectory {
		return 0, a.brokenAt(pos, "an entry is not where it should be")
	}
	le := binary.LittleEndian
	size := directorySize + int(le.Uint16(d[28:])) + int(le.Uint16(d[30:])) + int(le.Uint16(d[32:]))
	if int64(size) > a.length-pos {
		return 0, a.brokenAt(pos, "an entry reaches past its end")
	}
	return size, nil
}

// parse reads an entry of the directory into a Member without a name, and returns that.
func (a *Archive) parse(d []byte, pos int64, m *Member) (name []byte, err error) {
	le := binary.LittleEndian
	nameEnd := directorySize + int(le.Uint16(d[28:]))
	extraEnd := nameEnd + int(le.Uint16(d[30:]))
	name = d[directorySize:nameEnd]
	*m = Member{
		flags: le.Uint16(d[8:]), Method: le.Uint16(d[10:]), CRC: le.Uint32(d[16:]),
		Packed: uint64(le.Uint32(d[20:])), Size: uint64(le.Uint32(d[24:])),
	}
	header := uint64(le.Uint32(d[42:]))
	for extra := d[nameEnd:extraEnd]; len(extra) >= 4; {
		size := int(le.Uint16(extra[2:]))
		if 4+size > len(extra) {
			break
		}
		field := extra[4 : 4+size]
		if le.Uint16(extra) == 0x7075 && size > 5 { // Info-ZIP Unicode Path: a version, a checksum, a name
			m.unicode = string(field[5:])
		}
		if le.Uint16(extra) == 1 { // ZIP64
			for _, v := range []*uint64{&m.Size, &m.Packed, &header} {
				if *v == 1<<32-1 && len(field) >= 8 {
					*v = le.Uint64(field)
					field = field[8:]
				}
			}
		}
		extra = extra[4+size:]
	}
	if header > uint64(a.size) || a.size-int64(header) < localSize || m.Packed > uint64(a.size)-header-localSize {
		return nil, a.brokenAt(pos, "member "+quote(name)+" is not within the file")
	}
	if m.Method == Stored && m.Size != m.Packed {
		return nil, a.brokenAt(pos, "member "+quote(name)+" is not compressed and has two sizes")
	}
	m.Header = int64(header)
	return name, nil
}

// Bounds returns where the first member begins and where the archive ends, but for its comment.
func (a *Archive) Bounds() (begin, end int64) { return a.first, a.end }

// Find returns the first member of a name, nil when there is none, and how many there are. Case
// does not count, as in mz_zip_reader_locate_file: that of ASCII.
func (a *Archive) Find(name string) (first *Member, n int, err error) {
	hash := hashOf(name)
	for i := range a.index {
		if a.index[i].hash != hash {
			continue
		}
		m, err := a.At(i)
		if err != nil {
			return nil, 0, err
		}
		if !sameName(m.Name, name) {
			continue
		}
		if n++; n == 1 {
			first = m
		}
	}
	return first, n, nil
}

func sameName(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// DataOffset reads where the data of the member whose local header is at an offset begin:
// only that header says it. All of their bytes are within the first size bytes of r. The error
// is a [*Fault], or that of r.
func DataOffset(r io.ReaderAt, size, header int64, packed uint64) (int64, error) {
	return (&Locator{r: r, size: size}).DataOffset(header, packed)
}

// A Locator finds where the data of many members begin.
type Locator struct {
	r    io.ReaderAt
	size int64
	buf  []byte // what was read last
	at   int64  // and where
}

// NewLocator returns one for an archive in the first size bytes of r.
func NewLocator(r io.ReaderAt, size int64) *Locator { return &Locator{r: r, size: size} }

// read returns bytes of the file, until the next call. Where small members follow each other, it reads
// many of them at once.
func (l *Locator) read(off int64, n int) ([]byte, error) {
	const piece, near, alone = 64 << 10, 8 << 10, 128
	i := off - l.at
	if n == 0 {
		return nil, nil
	}
	if i >= 0 && i+int64(n) <= int64(len(l.buf)) {
		return l.buf[i : i+int64(n)], nil
	}
	if off < 0 || int64(n) > l.size-off {
		return nil, io.ErrUnexpectedEOF
	}
	want := max(n, alone)
	if i > 0 && i <= int64(len(l.buf))+near {
		want = max(n, piece)
	}
	want = int(min(l.size-off, int64(want)))
	if cap(l.buf) < want {
		l.buf = make([]byte, want)
	}
	l.buf, l.at = l.buf[:want], off
	if err := readFull(l.r, l.buf, off); err != nil {
		l.buf = l.buf[:0]
		return nil, err
	}
	return l.buf[:n], nil
}

// DataOffset is [DataOffset] for one of the members.
func (l *Locator) DataOffset(header int64, packed uint64) (int64, error) {
	h, err := l.read(header, localSize)
	if err != nil {
		return 0, err
	}
	size := l.size
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
