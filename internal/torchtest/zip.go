package torchtest

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"strings"
)

// A Zip is an archive, and what is wrong with it.
type Zip struct {
	Members []*Member
	Before  []byte // before the first member
	Comment []byte
	After   []byte // after the end
	Zip64   bool   // the sizes of members and directory are in the 64-bit records
	// Directory, Count and Size are what the end record says, instead of what is so, where they
	// are not nil.
	Directory, Count, Size *uint64
}

// A Member is one file of an archive. What the directory and the local header have is what
// is so, unless a field says otherwise.
type Member struct {
	Name  string
	Local string // the name in the local header
	Data  []byte
	// Deflate compresses it; Method is what both say instead, and LocalMethod what the local
	// header says.
	Deflate                 bool
	Method, LocalMethod     *uint16
	Flags, LocalFlags       uint16 // beside 0x0800
	CRC, LocalCRC           *uint32
	Packed, Size, LocalSize *uint64
	Header                  *uint64 // where the directory says that it is
	Gap                     []byte  // before the local header
	Descriptor              bool    // sizes follow the data
	Absent                  bool    // from the file; only in the directory
	Hidden                  bool    // from the directory; only in the file
}

// P returns a pointer to a value.
func P[T any](v T) *T { return &v }

func or[T any](p *T, v T) T {
	if p != nil {
		return *p
	}
	return v
}

// Find returns the member whose name ends so.
func (z *Zip) Find(suffix string) *Member {
	for _, m := range z.Members {
		if strings.HasSuffix(m.Name, suffix) {
			return m
		}
	}
	panic("torchtest: no member " + suffix)
}

// Bytes returns the archive. Each member's data begin at a multiple of 64, after padding in
// the local header's extra field, as caffe2/serialize/inline_container.cc has it.
func (z *Zip) Bytes() []byte {
	le := binary.LittleEndian
	out := bytes.Clone(z.Before)
	var dir []byte
	count := uint64(0)
	for _, m := range z.Members {
		out = append(out, m.Gap...)
		header := uint64(len(out))
		data, method := m.Data, uint16(0)
		if m.Deflate {
			var b bytes.Buffer
			w, _ := flate.NewWriter(&b, 9)
			w.Write(m.Data)
			w.Close()
			data, method = b.Bytes(), 8
		}
		method = or(m.Method, method)
		crc, packed, size := or(m.CRC, crc32.ChecksumIEEE(m.Data)), or(m.Packed, uint64(len(data))), or(m.Size, uint64(len(m.Data)))
		local := m.Local
		if local == "" {
			local = m.Name
		}
		flags := 0x0800 | m.Flags
		if m.Descriptor {
			flags |= 8
		}
		if !m.Absent {
			localCRC, localPacked, localSize := or(m.LocalCRC, crc), uint32(packed), uint32(or(m.LocalSize, size))
			if m.Descriptor {
				localCRC, localPacked, localSize = 0, 0, 0
			}
			out = append(out, "PK\x03\x04\x00\x00"...)
			out = le.AppendUint16(out, flags|m.LocalFlags)
			out = le.AppendUint16(out, or(m.LocalMethod, method))
			out = le.AppendUint32(out, 0) // date and time
			out = le.AppendUint32(out, localCRC)
			out = le.AppendUint32(out, localPacked)
			out = le.AppendUint32(out, localSize)
			out = le.AppendUint16(out, uint16(len(local)))
			padding := (64 - (len(out)+2+len(local)+4)%64) % 64
			out = le.AppendUint16(out, uint16(4+padding))
			out = append(out, local...)
			out = append(out, 'F', 'B')
			out = le.AppendUint16(out, uint16(padding))
			out = append(out, bytes.Repeat([]byte("Z"), padding)...)
			out = append(out, data...)
			if m.Descriptor {
				out = append(out, "PK\x07\x08"...)
				out = le.AppendUint32(out, crc)
				out = le.AppendUint32(out, uint32(packed))
				out = le.AppendUint32(out, uint32(size))
			}
		}
		if m.Hidden {
			continue
		}
		count++
		at := or(m.Header, header)
		var extra []byte
		narrow := []uint64{packed, size, at}
		if z.Zip64 {
			extra = le.AppendUint16(extra, 1)
			extra = le.AppendUint16(extra, 24)
			for _, n := range []uint64{size, packed, at} {
				extra = le.AppendUint64(extra, n)
			}
			narrow = []uint64{1<<32 - 1, 1<<32 - 1, 1<<32 - 1}
		}
		dir = append(dir, "PK\x01\x02\x00\x00\x00\x00"...)
		dir = le.AppendUint16(dir, flags)
		dir = le.AppendUint16(dir, method)
		dir = le.AppendUint32(dir, 0)
		dir = le.AppendUint32(dir, crc)
		dir = le.AppendUint32(dir, uint32(narrow[0]))
		dir = le.AppendUint32(dir, uint32(narrow[1]))
		dir = le.AppendUint16(dir, uint16(len(m.Name)))
		dir = le.AppendUint16(dir, uint16(len(extra)))
		dir = append(dir, make([]byte, 10)...) // comment, disk, attributes
		dir = le.AppendUint32(dir, uint32(narrow[2]))
		dir = append(append(dir, m.Name...), extra...)
	}
	begin := uint64(len(out))
	out = append(out, dir...)
	count, size, begin := or(z.Count, count), or(z.Size, uint64(len(dir))), or(z.Directory, begin)
	if z.Zip64 {
		at := uint64(len(out))
		out = append(out, "PK\x06\x06"...)
		out = le.AppendUint64(out, 44)
		out = append(out, make([]byte, 12)...) // versions and disks
		for _, n := range []uint64{count, count, size, begin} {
			out = le.AppendUint64(out, n)
		}
		out = append(out, "PK\x06\x07\x00\x00\x00\x00"...)
		out = le.AppendUint64(out, at)
		out = le.AppendUint32(out, 1)
		count, size, begin = 1<<16-1, 1<<32-1, 1<<32-1
	}
	out = append(out, "PK\x05\x06\x00\x00\x00\x00"...)
	out = le.AppendUint16(out, uint16(count))
	out = le.AppendUint16(out, uint16(count))
	out = le.AppendUint32(out, uint32(size))
	out = le.AppendUint32(out, uint32(begin))
	out = le.AppendUint16(out, uint16(len(z.Comment)))
	return append(append(out, z.Comment...), z.After...)
}
