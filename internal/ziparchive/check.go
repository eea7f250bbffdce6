package ziparchive

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"hash/crc32"
	"slices"
	"strings"
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
// compares the checksums of members that checked chooses.
func (a *Archive) Check(checked func(*Member) bool, report func(*Fault)) {
	extents := slices.Clone(a.own)
	seen := map[string]bool{}
	for i := range a.Members {
		m := &a.Members[i]
		if m.unicode != "" && m.unicode != m.Name {
			report(fault(CodeName, m.Header, "member %s is called %s in its Unicode path, which other readers prefer", quote(m.Name), quote(m.unicode)))
		}
		cut := m.Cut()
		if cut != m.Name {
			report(fault(CodeName, m.Header, "member %s has a NUL in its name, where other readers end it", quote(m.Name)))
		}
		if folded := strings.ToLower(cut); seen[folded] {
			report(fault(CodeDuplicate, m.Header, "the archive has %s twice: readers differ in which they take", quote(m.Name)))
		} else {
			seen[folded] = true
		}
		if strings.HasPrefix(m.Name, "/") || strings.Contains(m.Name, "\\") || strings.Contains("/"+m.Name+"/", "/../") {
			report(fault(CodeUnsafe, m.Header, "member %s leaves the directory that the archive is unpacked in", quote(m.Name)))
		}
		begin, err := a.checkHeader(m, report)
		if err != nil {
			report(asFault(err, m))
			continue
		}
		end := begin + int64(m.Packed)
		if m.flags&flagDescriptor != 0 {
			end += a.descriptor(end)
		}
		extents = append(extents, extent{m.Header, end, m.Name})
		if checked(m) {
			if data, _, err := a.Contents(m, m.Size); err != nil {
				report(asFault(err, m))
			} else if crc32.ChecksumIEEE(data) != m.crc {
				report(fault(CodeChecksum, m.Header, "member %s has another checksum than the directory says: torch ignores it, other readers stop", quote(m.Name)))
			}
		}
	}
	slices.SortStableFunc(extents, func(x, y extent) int { return cmp.Or(cmp.Compare(x.begin, y.begin), cmp.Compare(x.end, y.end)) })
	last := extent{}
	for i, e := range extents {
		switch {
		case e.begin < last.end:
			report(fault(CodeOverlap, e.begin, "%s and %s share bytes", quote(last.name), quote(e.name)))
		case e.begin > last.end && i == 0:
			report(a.gap(0, e.begin, CodePrefixData, "%d bytes precede the archive's first member"))
		case e.begin > last.end:
			report(a.gap(last.end, e.begin, CodeGap, "%d bytes belong to no member"))
		}
		if e.end > last.end {
			last = e
		}
	}
	switch end := a.own[0].end; {
	case end < a.size:
		report(fault(CodeTrailingData, end, "%d bytes follow the end of the archive", a.size-end))
	case end > a.size:
		report(fault(CodeTrailingData, a.size, "the archive's comment ends %d bytes beyond the file", end-a.size))
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

// asFault is err as a fault of a member.
func asFault(err error, m *Member) *Fault {
	if f, ok := err.(*Fault); ok {
		return fault(f.Code, m.Header, "member %s: %s", quote(m.Name), f.Detail)
	}
	return fault(CodeUnreadable, m.Header, "member %s: %v", quote(m.Name), err)
}

// descriptor returns the size of the data descriptor at an offset, which has sizes of 32
// or 64 bits and may have a signature: its end is where the next record begins.
func (a *Archive) descriptor(at int64) int64 {
	var buf [descriptorSize + 4]byte
	n := min(int64(len(buf)), a.size-at)
	if readFull(a.r, buf[:n], at) != nil {
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
func (a *Archive) checkHeader(m *Member, report func(*Fault)) (int64, error) {
	begin, err := DataOffset(a.r, a.size, m.Header, m.Packed)
	if err != nil {
		return 0, err
	}
	h := make([]byte, min(begin-m.Header, localSize+int64(len(m.Name))+1))
	if err := readFull(a.r, h, m.Header); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	// No more is read of the local name than shows that it is another one: many members may
	// have one header.
	if local := h[localSize:min(localSize+int(le.Uint16(h[26:])), len(h))]; string(local) != m.Name {
		report(fault(CodeName, m.Header, "member %s is called %s in its local header", quote(m.Name), quote(local)))
	}
	flags, method := le.Uint16(h[6:]), le.Uint16(h[8:])
	if method != m.Method {
		report(fault(CodeHeader, m.Header, "member %s has method %d in the directory and %d in its local header", quote(m.Name), m.Method, method))
	}
	for _, flag := range []struct {
		bit  uint16
		name string
	}{{flagEncrypted, "encryption"}, {flagPatch, "patched data"}, {flagStrong, "strong encryption"}, {flagMasked, "masked headers"}} {
		if (flags|m.flags)&flag.bit != 0 {
			report(fault(CodeFlags, m.Header, "member %s has the flag for %s, which torch ignores and other readers stop at", quote(m.Name), flag.name))
		}
	}
	// With a data descriptor the local header has no sizes, and torch's own hold zeros or,
	// beyond 4 GiB, all ones.
	crc, packed, size := le.Uint32(h[14:]), le.Uint32(h[18:]), le.Uint32(h[22:])
	if flags&flagDescriptor == 0 && (crc != m.crc || !sameSize(packed, m.Packed) || !sameSize(size, m.Size)) {
		report(fault(CodeHeader, m.Header, "member %s has other sizes or another checksum in its local header", quote(m.Name)))
	}
	return begin, nil
}

func sameSize(local uint32, size uint64) bool {
	return uint64(local) == size || local == 1<<32-1
}
