package ziparchive

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"hash/maphash"
	"io"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// The codes of what [Archive.Check] reports.
const (
	CodeDuplicate    = "duplicate_member" // two members of one name, whatever the case
	CodeUnsafe       = "unsafe_member"    // a name that leaves the directory that the archive is unpacked in
	CodeName         = "member_name"      // the local header has another name than the directory
	CodeFlags        = "member_flags"     // a flag that other readers stop at, such as encryption
	CodeChecksum     = "checksum"         // a checksum that is wrong
	CodeOverlap      = "overlap"          // members that share bytes
	CodeGap          = "gap"              // bytes that belong to no member
	CodeHidden       = "hidden_member"    // a member that is not in the directory
	CodePrefixData   = "prefix_data"      // bytes before the first member
	CodeTrailingData = "trailing_data"    // bytes after the end
	CodeUnreadable   = "unreadable"       // bytes that could not be read
)

// descriptorSize is the size of a data descriptor with its signature and sizes of 64 bits,
// the longest of its forms.
const descriptorSize = 24

// Check reports what readers may see in different ways. It reads all local headers, and
// compares the checksums of members that checked chooses, by what else than their names is known of them.
func (a *Archive) Check(checked func(*Member) bool, report func(*Fault)) {
	c := &checker{Archive: a, Locator: *NewLocator(a.r, a.size), report: report}
	err := c.members(func(i int, name []byte, m *Member) {
		if begin, ok := c.member(i, name, m); ok && c.Summed && checked(m) {
			c.checksum(name, m, begin)
		}
	})
	if k := len(c.extents) - 1; k >= 0 && c.extents[k].end > a.begin {
		c.disordered = true
	}
	if err == nil && c.disordered {
		err = c.readExtents()
	}
	if err != nil {
		report(fault(CodeUnreadable, a.begin, "the archive's directory cannot be read again: %v", err))
		return
	}
	c.extents = append(c.extents, a.own...)
	c.arrangement()
	end := a.own[0].end
	if n := end - a.end; n > 0 && end <= a.size {
		report(fault(CodeTrailingData, a.end, "the archive has a comment of %d bytes, which no writer of weights gives it", n))
	}
	switch {
	case end < a.size:
		report(fault(CodeTrailingData, end, "%d bytes follow the end of the archive", a.size-end))
	case end > a.size:
		report(fault(CodeTrailingData, a.size, "the archive's comment ends %d bytes beyond the file", end-a.size))
	}
}

// CheckDirectory is Check of what the directory alone says.
func (a *Archive) CheckDirectory(report func(*Fault)) {
	c := &checker{Archive: a, report: report}
	if err := c.members(func(int, []byte, *Member) {}); err != nil {
		report(fault(CodeUnreadable, a.begin, "the archive's directory cannot be read again: %v", err))
	}
}

// A checker is one run of Check.
type checker struct {
	*Archive
	Locator
	report func(*Fault)
	// extents are those of the members, where members that follow each other are one; until one does not
	// follow those before it.
	extents    []extent
	disordered bool
	twice      map[int]string // the members whose name an earlier one has, and that
	copied     []byte         // for larger members
}

// addExtent adds what a member takes of the file.
func (c *checker) addExtent(e extent) {
	k := len(c.extents) - 1
	switch {
	case c.disordered:
	case k >= 0 && e.begin < c.extents[k].end:
		c.disordered = true
	case k >= 0 && e.begin == c.extents[k].end:
		c.extents[k].end, c.extents[k].which = e.end, e.which
	default:
		c.extents = append(c.extents, e)
	}
}

// readExtents reads what each member takes of the file.
func (c *checker) readExtents() error {
	c.extents = make([]extent, 0, c.Len()+len(c.own))
	i := int32(-1)
	return c.Scan(func(_ []byte, m *Member) error {
		i++
		if begin, err := c.DataOffset(m.Header, m.Packed); err == nil { // an error is reported already
			c.extents = append(c.extents, extent{m.Header, c.end(m, begin), i})
		}
		return nil
	})
}

// end returns where a member ends whose data begin at a place.
func (c *checker) end(m *Member, begin int64) int64 {
	end := begin + int64(m.Packed)
	if m.flags&flagDescriptor != 0 {
		end += c.descriptor(end)
	}
	return end
}

// members reports what the directory says of each member, and then calls check for it.
func (c *checker) members(check func(i int, name []byte, m *Member)) error {
	if err := c.findTwice(); err != nil {
		return err
	}
	i := -1
	return c.Scan(func(name []byte, m *Member) error {
		i++
		c.entry(i, name, m)
		check(i, name, m)
		return nil
	})
}

// findTwice finds the members whose name an earlier one has, up to a NUL and whatever the case. Of each
// name a hash is kept, and only where these are equal the names are compared.
func (c *checker) findTwice() error {
	seed := maphash.MakeSeed()
	hashed := make([]uint64, 0, c.Len()) // the upper half of a hash, and the member
	err := c.Scan(func(name []byte, _ *Member) error {
		hashed = append(hashed, maphash.Bytes(seed, folded(name))&^math.MaxUint32|uint64(len(hashed)))
		return nil
	})
	slices.Sort(hashed)
	var seen map[string]string // the first of the names of one hash
	for i := 1; i < len(hashed) && err == nil; i++ {
		if hashed[i]>>32 != hashed[i-1]>>32 {
			seen = nil
			continue
		}
		if seen == nil {
			seen = make(map[string]string)
			if _, _, err = c.again(int(uint32(hashed[i-1])), seen); err != nil {
				break
			}
		}
		var first string
		var again bool
		member := int(uint32(hashed[i]))
		if first, again, err = c.again(member, seen); again {
			if c.twice == nil {
				c.twice = make(map[int]string)
			}
			c.twice[member] = first
		}
	}
	return err
}

// again returns the first of some names that is that of a member, false where there is none, and adds that.
func (c *checker) again(i int, seen map[string]string) (first string, again bool, err error) {
	m, err := c.At(i)
	if err != nil {
		return "", false, err
	}
	name := string(folded([]byte(m.Name)))
	if first, again = seen[name]; !again {
		seen[name] = m.Name
	}
	return first, again, nil
}

// spelledTwice says that a name is there twice, or two that are one for readers that do not mind the case.
func spelledTwice(first, name string) string {
	if first == name || strings.Contains(first+name, "\x00") {
		return quote(name) + " twice"
	}
	return quote(first) + " and " + quote(name) + ", which differ in case alone"
}

// folded returns a name in lower case, up to a NUL.
func folded(name []byte) []byte {
	name, _, _ = bytes.Cut(name, []byte{0})
	if !bytes.ContainsFunc(name, func(r rune) bool { return 'A' <= r && r <= 'Z' || r >= utf8.RuneSelf }) {
		return name // as torch's are
	}
	return bytes.ToLower(name)
}

// entry checks what the directory says of a member.
func (c *checker) entry(i int, name []byte, m *Member) {
	if m.unicode != "" && m.unicode != string(name) {
		c.report(fault(CodeName, m.Header, "member %s is called %s in its Unicode path, which other readers prefer", quote(name), quote(m.unicode)))
	}
	if bytes.IndexByte(name, 0) >= 0 {
		c.report(fault(CodeName, m.Header, "member %s has a NUL in its name, where other readers end it", quote(name)))
	}
	if first, ok := c.twice[i]; ok {
		c.report(fault(CodeDuplicate, m.Header, "the archive has %s: readers differ in which they take", spelledTwice(first, string(name))))
	}
	if leaves(name) {
		c.report(fault(CodeUnsafe, m.Header, "member %s leaves the directory that the archive is unpacked in", quote(name)))
	}
}

// member checks where a member is and its local header, and returns where its data begin.
func (c *checker) member(i int, name []byte, m *Member) (begin int64, ok bool) {
	begin, err := c.checkHeader(name, m)
	if err != nil {
		m.Name = string(name)
		c.report(asFault(err, m))
		return 0, false
	}
	c.addExtent(extent{m.Header, c.end(m, begin), int32(i)})
	return begin, true
}

// checksum compares the checksum of a member, which is read for it.
func (c *checker) checksum(name []byte, m *Member, begin int64) {
	sum, err := c.sum(name, m, begin)
	if err != nil {
		m.Name = string(name)
		f, ok := err.(*Fault)
		if !ok || !strings.HasPrefix(f.Detail, quote(name)) { // or it says of which member it is
			f = asFault(err, m)
		}
		c.report(f)
	} else if sum != m.CRC {
		c.report(fault(CodeChecksum, m.Header, "member %s has another checksum than the directory says: torch ignores it, other readers stop", quote(name)))
	}
}

func (c *checker) sum(name []byte, m *Member, begin int64) (uint32, error) {
	if m.Method == Stored && m.Size <= copied { // there may be a hundred thousand of them
		data, err := c.read(begin, int(m.Size))
		return crc32.ChecksumIEEE(data), err
	}
	m.Name = string(name)
	r, _, err := c.Reader(m)
	if err != nil {
		return 0, err
	}
	if c.copied == nil {
		c.copied = make([]byte, copied)
	}
	sum := crc32.NewIEEE()
	n, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, c.copied)
	if m.Method != Stored && (err != nil || uint64(n) != m.Size) {
		err = fault(CodeTruncated, m.Header, "%s is compressed and ends after %d of %d bytes", quote(name), n, m.Size)
	}
	return sum.Sum32(), err
}

// Intact reads a member of an archive in the first size bytes of r, and reports whether it has the checksum that
// the directory says. The error is a [*Fault], or that of r.
func Intact(r io.ReaderAt, size int64, m *Member) (bool, error) {
	c := checker{Archive: &Archive{r: r, size: size}, Locator: *NewLocator(r, size)}
	var begin int64
	if m.Method == Stored {
		var err error
		if begin, err = DataOffset(r, size, m.Header, m.Packed); err != nil {
			return false, err
		}
	}
	sum, err := c.sum([]byte(m.Name), m, begin)
	return sum == m.CRC, err
}

// copied is how many bytes of a member are read at once.
const copied = 32 << 10

// leaves reports whether a name is one outside of the directory that an archive is unpacked in.
func leaves(name []byte) bool {
	if bytes.HasPrefix(name, []byte("/")) || bytes.IndexByte(name, '\\') >= 0 {
		return true
	}
	if !bytes.Contains(name, []byte("..")) {
		return false
	}
	return strings.Contains("/"+string(name)+"/", "/../")
}

// nameOf is what an extent is called.
func (c *checker) nameOf(e extent) string {
	if e.which < 0 {
		return c.ownNames[^e.which]
	}
	m, err := c.At(int(e.which))
	if err != nil {
		return "a member that cannot be read again"
	}
	return m.Name
}

// arrangement reports what is twice in the file, and what is in no member.
func (c *checker) arrangement() {
	slices.SortStableFunc(c.extents, func(x, y extent) int { return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end)) })
	last, lastName := extent{}, ""
	for i, e := range c.extents {
		switch {
		case e.begin < last.end:
			if lastName == "" {
				lastName = c.nameOf(last)
			}
			c.report(fault(CodeOverlap, e.begin, "%s and %s share bytes", quote(lastName), quote(c.nameOf(e))))
		case e.begin > last.end && i == 0:
			c.report(c.gap(0, e.begin, CodePrefixData, "%d bytes precede the archive's first member"))
		case e.begin > last.end:
			c.report(c.gap(last.end, e.begin, CodeGap, "%d bytes belong to no member"))
		}
		if e.end > last.end {
			last, lastName = e, ""
		}
	}
}

// gap says what is before or between members: nothing but bytes, which is a fault of its own, or a
// member for those who read the archive from its beginning.
func (a *Archive) gap(begin, end int64, code, format string) *Fault {
	const looked = 64 << 10
	buf := make([]byte, min(end-begin, looked))
	if err := readFull(a.r, buf, begin); err != nil {
		return fault(CodeUnreadable, begin, "the bytes of no member: %v", err)
	}
	i := bytes.Index(buf, []byte(sigLocal))
	if i < 0 || len(buf)-i < localSize {
		return fault(code, begin, format, end-begin)
	}
	name := buf[i+localSize:]
	name = name[:min(len(name), int(binary.LittleEndian.Uint16(buf[i+26:])))]
	return fault(CodeHidden, begin+int64(i), "member %s is not in the directory, and is one for readers that begin at the beginning", quote(name))
}

// Hidden calls visit for the bytes before and between the members that belong to none, and for the members
// in them that are not in the directory: readers that begin at the beginning find these. Of their sizes only what
// is within the bytes is believed.
func (a *Archive) Hidden(bytes func(begin, end int64) error, member func(m *Member) error) error {
	c := &checker{Archive: a, Locator: *NewLocator(a.r, a.size)}
	if err := c.readExtents(); err != nil {
		return err
	}
	c.extents = append(c.extents, a.own...)
	slices.SortFunc(c.extents, func(x, y extent) int { return cmp.Compare(x.begin, y.begin) })
	last := int64(0)
	for _, e := range c.extents {
		if e.begin > last {
			if err := a.hiddenIn(last, e.begin, member); err != nil {
				return err
			}
			if err := bytes(last, e.begin); err != nil {
				return err
			}
		}
		last = max(last, e.end)
	}
	return nil
}

// hiddenIn calls visit for the members in a gap.
func (a *Archive) hiddenIn(begin, end int64, visit func(m *Member) error) error {
	const looked = 1 << 20
	buf := make([]byte, min(end-begin, looked))
	if err := readFull(a.r, buf, begin); err != nil {
		return err
	}
	le := binary.LittleEndian
	for at := 0; ; {
		i := bytes.Index(buf[at:], []byte(sigLocal))
		if i < 0 || len(buf)-at-i < localSize {
			return nil
		}
		h := buf[at+i:]
		nameEnd := localSize + int(le.Uint16(h[26:]))
		data := nameEnd + int(le.Uint16(h[28:]))
		header := begin + int64(at+i)
		at += i + len(sigLocal)
		if data > len(h) {
			continue
		}
		left := uint64(end - header - int64(data))
		m := &Member{
			Name: string(h[localSize:nameEnd]), Header: header, Method: le.Uint16(h[8:]), flags: le.Uint16(h[6:]),
			Packed: uint64(le.Uint32(h[18:])), Size: uint64(le.Uint32(h[22:])),
		}
		if m.Packed == 0 || m.Packed > left { // which a data descriptor says, or another header
			m.Packed = left
		}
		if m.Method == Stored {
			m.Size = m.Packed
		} else if limit := Inflated(m.Packed); m.Size == 0 || m.Size > limit {
			m.Size = limit
		}
		if err := visit(m); err != nil {
			return err
		}
	}
}

// asFault is err as a fault of a member.
func asFault(err error, m *Member) *Fault {
	if f, ok := err.(*Fault); ok {
		return fault(f.Code, m.Header, "member %s: %s", quote(m.Name), f.Detail)
	}
	return fault(CodeUnreadable, m.Header, "member %s: %v", quote(m.Name), err)
}

// descriptor returns the size of the data descriptor at an offset, which has sizes of 32
// or 64 bits and may have a signature: its end is where the next record begins.
func (c *checker) descriptor(at int64) int64 {
	n := max(min(descriptorSize+4, c.Archive.size-at), 0)
	buf, err := c.read(at, int(n))
	if err != nil {
		return 0
	}
	for _, size := range []int64{descriptorSize, 16, 20, 12} {
		if size+4 > n {
			continue
		}
		if next := string(buf[size : size+4]); next == sigLocal || next == sigDirectory {
			return size
		}
	}
	return 0
}

// checkHeader compares a member's local header with the directory, and returns where its
// data begin.
func (c *checker) checkHeader(name []byte, m *Member) (int64, error) {
	begin, err := c.DataOffset(m.Header, m.Packed)
	if err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	// No more is read of the local name than shows that it is another one: many members may
	// have one header.
	most := int(min(begin-m.Header, localSize+int64(len(name))+1))
	h, err := c.read(m.Header, most)
	if err != nil {
		return 0, err
	}
	if local := h[localSize:min(localSize+int(le.Uint16(h[26:])), len(h))]; !bytes.Equal(local, name) {
		c.report(fault(CodeName, m.Header, "member %s is called %s in its local header", quote(name), quote(local)))
	}
	flags, method := le.Uint16(h[6:]), le.Uint16(h[8:])
	if method != m.Method {
		c.report(fault(CodeHeader, m.Header, "member %s has method %d in the directory and %d in its local header", quote(name), m.Method, method))
	}
	for _, flag := range []struct {
		bit  uint16
		name string
	}{{flagEncrypted, "encryption"}, {flagPatch, "patched data"}, {flagStrong, "strong encryption"}, {flagMasked, "masked headers"}} {
		if (flags|m.flags)&flag.bit != 0 {
			c.report(fault(CodeFlags, m.Header, "member %s has the flag for %s, which torch ignores and other readers stop at", quote(name), flag.name))
		}
	}
	// With a data descriptor the local header has no sizes, and torch's own hold zeros or,
	// beyond 4 GiB, all ones.
	crc, packed, size := le.Uint32(h[14:]), le.Uint32(h[18:]), le.Uint32(h[22:])
	if flags&flagDescriptor == 0 && (crc != m.CRC || !sameSize(packed, m.Packed) || !sameSize(size, m.Size)) {
		c.report(fault(CodeHeader, m.Header, "member %s has other sizes or another checksum in its local header", quote(name)))
	}
	return begin, nil
}

func sameSize(local uint32, size uint64) bool {
	return uint64(local) == size || local == 1<<32-1
}
