package safetensors

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

// EncodeOptions say how long a header becomes. Nil stands for the defaults.
type EncodeOptions struct {
	// Align pads the header so that the data begins at a multiple of it. 0
	// stands for 8, as the reference pads; 1 adds nothing.
	Align int64
	// Size, when it is not 0, pads the header so that the data begins exactly
	// there, and Align does not count. Encoding fails when Size is too small.
	Size int64
	// Room, when it is not nil, is asked for Size when it is known how many bytes are needed
	// at least.
	Room func(least int64) int64
}

// EncodeHeader returns the beginning of a file up to its data: the header's
// length and the header, written as the reference writes it. The same arguments
// always give the same bytes. Order and offsets are kept as given; [Layout]
// computes those of the reference. A nil meta leaves out __metadata__, an empty
// one writes it empty.
//
// It fails on what no reader could read back: names that repeat, are
// __metadata__ or are not UTF-8, repeated metadata keys, a header over
// [MaxHeader] bytes. It does not judge extents: what it returns may be put
// before data and handed to [NewFile] and [File.Validate].
func EncodeHeader(tensors []Tensor, meta []KV, opt *EncodeOptions) ([]byte, error) {
	// The header is made in one piece with its length and its padding, unless a name has to be escaped.
	size := lengthSize + len(`{}`)
	for i := range tensors {
		t := &tensors[i]
		size += len(`,"":{"dtype":"","shape":[],"data_offsets":[,]}`) + len(t.Name) + len(t.DType) + digits(t.Begin) + digits(t.End)
		for _, dim := range t.Shape {
			size += digits(dim) + 1
		}
	}
	for i := range meta {
		size += len(`"":"",`) + len(meta[i].Key) + len(meta[i].Value)
	}
	if opt != nil && opt.Room != nil {
		size = max(size, int(min(opt.Room(int64(size)+64), lengthSize+MaxHeader)))
	}
	b := append(make([]byte, lengthSize, size+64), '{')
	if meta != nil {
		b = append(b, `"__metadata__":{`...)
		keys := make(map[string]bool, len(meta))
		for i, kv := range meta {
			switch {
			case keys[kv.Key]:
				return nil, fmt.Errorf("metadata key %s is given twice", quote(kv.Key))
			case !utf8.ValidString(kv.Key) || !utf8.ValidString(kv.Value):
				return nil, fmt.Errorf("metadata entry %s is not UTF-8", quote(kv.Key))
			}
			keys[kv.Key] = true
			if i > 0 {
				b = append(b, ',')
			}
			b = appendString(b, kv.Key)
			b = append(b, ':')
			b = appendString(b, kv.Value)
		}
		b = append(b, '}')
	}
	names := make(map[string]bool, len(tensors))
	for i, t := range tensors {
		if err := checkName(t.Name); err != nil {
			return nil, err
		}
		if names[t.Name] {
			return nil, fmt.Errorf("tensor %s is given twice", quote(t.Name))
		}
		if !utf8.ValidString(string(t.DType)) {
			return nil, fmt.Errorf("tensor %s: dtype %s is not UTF-8", quote(t.Name), quote(t.DType))
		}
		names[t.Name] = true
		if i > 0 || meta != nil {
			b = append(b, ',')
		}
		b = appendString(b, t.Name)
		b = append(b, `:{"dtype":`...)
		b = appendString(b, string(t.DType))
		b = append(b, `,"shape":[`...)
		for i, dim := range t.Shape {
			if i > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendUint(b, dim, 10)
		}
		b = append(b, `],"data_offsets":[`...)
		b = strconv.AppendUint(b, t.Begin, 10)
		b = append(b, ',')
		b = strconv.AppendUint(b, t.End, 10)
		b = append(b, `]}`...)
	}
	return frame(append(b, '}'), opt)
}

// digits says how many bytes a number takes.
func digits(n uint64) int {
	d := 1
	for ; n >= 10; n /= 10 {
		d++
	}
	return d
}

// checkName returns why a tensor cannot have a name, or nil.
func checkName(name string) error {
	switch {
	case name == metadataName:
		return fmt.Errorf("a tensor cannot be named %s", metadataName)
	case !utf8.ValidString(name):
		return fmt.Errorf("tensor name %s is not UTF-8", quote(name))
	}
	return nil
}

// FrameHeader returns the beginning of a file up to its data, made from the
// header's JSON: its length before it, and its padding, whatever it was, made
// anew of spaces.
func FrameHeader(json []byte, opt *EncodeOptions) ([]byte, error) {
	return frame(append(make([]byte, lengthSize, lengthSize+len(json)+64), json...), opt)
}

// frame is FrameHeader of JSON with room for the length before it, which may become the result.
func frame(b []byte, opt *EncodeOptions) ([]byte, error) {
	if opt == nil {
		opt = new(EncodeOptions)
	}
	for n := len(b); n > lengthSize && (b[n-1] == ' ' || b[n-1] == '\n' || b[n-1] == '\r' || b[n-1] == '\t'); n-- {
		b = b[:n-1]
	}
	size := int64(len(b))
	align, exact := cmp.Or(opt.Align, 8), opt.Size
	if align < 0 || exact < 0 {
		return nil, fmt.Errorf("alignment %d, size %d: neither can be negative", opt.Align, opt.Size)
	}
	if opt.Room != nil {
		exact = opt.Room(size)
	}
	switch {
	case exact > 0 && exact < size:
		return nil, fmt.Errorf("header needs %d bytes and has room for %d", size, exact)
	case exact > 0:
		size = exact
	case size%align > 0:
		// Both are far below 2^62: align is bounded here, and size by memory.
		if align > MaxHeader {
			return nil, fmt.Errorf("alignment %d is over the largest header, %d bytes", align, MaxHeader)
		}
		size += align - size%align
	}
	if size-lengthSize > MaxHeader {
		return nil, fmt.Errorf("header of %d bytes is over the format's limit of %d", size-lengthSize, MaxHeader)
	}
	end := len(b)
	b = slices.Grow(b, int(size)-end)[:size]
	for i := end; i < len(b); i++ {
		b[i] = ' '
	}
	binary.LittleEndian.PutUint64(b, uint64(size-lengthSize))
	return b, nil
}

// appendString appends a JSON string as the reference's serde_json writes it:
// only what must be is escaped.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c >= 0x20:
			b = append(b, c)
		case c == '\b':
			b = append(b, '\\', 'b')
		case c == '\f':
			b = append(b, '\\', 'f')
		case c == '\n':
			b = append(b, '\\', 'n')
		case c == '\r':
			b = append(b, '\\', 'r')
		case c == '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	return append(b, '"')
}

// Layout returns the tensors in the order in which the reference writes them,
// the most aligned dtypes first and then by name, and their extents one after
// another. A tensor's size follows from its dtype and shape; where it does not,
// because the dtype is unknown, it is that of its extent, and the tensor comes
// last.
func Layout(tensors []Tensor) []Tensor {
	out := slices.Clone(tensors)
	rank := func(t Tensor) int {
		i := dtypeIndex(string(t.DType))
		if i == otherDType {
			return -1
		}
		return int(i)
	}
	slices.SortStableFunc(out, func(a, b Tensor) int {
		return cmp.Or(cmp.Compare(rank(b), rank(a)), cmp.Compare(a.Name, b.Name))
	})
	end := uint64(0)
	for i := range out {
		t := &out[i]
		size, ok := t.Bytes()
		if !ok {
			size = t.End - t.Begin
		}
		t.Begin, t.End = end, end+size
		end = t.End
	}
	return out
}

// Bytes returns the size of a tensor's data as its dtype and shape give it. ok
// is false when the dtype is unknown, when the size in bits passes 2^64-1, and
// when it is no whole number of bytes.
func (t Tensor) Bytes() (n uint64, ok bool) {
	width, known := t.DType.Bits()
	elements, fits := t.Elements()
	hi, size := bits.Mul64(elements, uint64(width))
	if !known || !fits || hi != 0 || size%8 != 0 {
		return 0, false
	}
	return size / 8, true
}

// SpliceNames returns the header of f with other names: only the JSON strings
// of names that change are replaced, and every other byte, padding included,
// stays as it is. Like [File.Header] it does not have the length before it;
// [FrameHeader] adds that. newName is called once for every tensor; to return
// the old name leaves the spelling of its string alone.
//
// It fails when two tensors would have one name that differed before, and on
// names that [EncodeHeader] refuses.
func SpliceNames(f *File, newName func(i int) string) ([]byte, error) {
	header := f.Header()
	out := make([]byte, 0, len(header))
	names := make(map[string]int, f.Len())
	copied := 0
	for i := range f.Len() {
		old, name := f.name(i), newName(i)
		if other, ok := names[name]; ok && f.name(other) != old {
			return nil, fmt.Errorf("tensors %s and %s would both be named %s", quote(f.name(other)), quote(old), quote(name))
		}
		names[name] = i
		if name == old {
			continue
		}
		if err := checkName(name); err != nil {
			return nil, err
		}
		start, end := f.NameSpan(i)
		out = append(out, header[copied:start]...)
		out = appendString(out, name)
		copied = end
	}
	return append(out, header[copied:]...), nil
}
