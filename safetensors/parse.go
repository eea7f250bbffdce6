package safetensors

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// minEntry is the length of the shortest tensor in a header, with its comma:
//
//	"":{"dtype":"","shape":[],"data_offsets":[0,0]},
const minEntry = 48

// A parser fills a File from its header.
type parser struct {
	scanner
	f     *File
	items []uint64 // hashes of the tensor names, for duplicates

	metadataSeen bool

	// The last dtype seen on the fast path, as its bytes in a word.
	dtypeWord uint64
	dtype     uint8
	// The last end offset seen there: nearly always the next begin.
	end0            uint64
	endPos, endSize int
}

// parse reads the header in f.buf.
func (f *File) parse() *Fault {
	p := &parser{scanner: f.scanner(), f: f, dtype: otherDType}
	fault := p.header()
	if fault != nil && !utf8.Valid(f.Header()) {
		// The reference looks at this first: what is not text is called so.
		return p.badUTF8(0, f.Header())
	}
	if fault != nil {
		return fault
	}
	duplicates(p.items, func(i, j int) bool { return f.name(i) == f.name(j) }, f.repeatedNames.add)
	if len(f.metadata) > 1 {
		items := make([]uint64, len(f.metadata))
		for i, kv := range f.metadata {
			items[i] = item(hashText(nameSeed, kv.Key, 0), i)
		}
		duplicates(items, func(i, j int) bool { return f.metadata[i].Key == f.metadata[j].Key }, f.repeatedKeys.add)
	}
	return nil
}

func (p *parser) header() *Fault {
	p.space()
	c := p.buf[p.pos]
	switch {
	case p.f.headerLen == 0:
		return p.fault(CodeHeaderJSON, 0, "header is empty; that of a file without tensors is {}")
	case bytes.HasPrefix(p.f.Header()[p.pos:], []byte("\xef\xbb\xbf")):
		f := p.fault(CodeHeaderJSON, p.pos, "byte order mark before the header's object; remove it")
		f.Hint = HintBOM
		return f
	case c != '{' && kindOf(c) != "":
		return p.fault(CodeHeaderNotObject, p.pos, "header is %s, not an object", kindOf(c))
	case c != '{':
		return p.syntax(p.pos, "'{'")
	}
	p.f.objectStart = p.pos
	p.pos++
	p.space()

	// Every tensor ends with a brace; a header full of braces is held to
	// minEntry, so that the records cost less than the header.
	n := min(bytes.Count(p.f.Header(), []byte{'}'}), p.f.headerLen/minEntry+1)
	p.f.records = make([]record, 0, n)
	p.f.dims.first = make([]uint64, 0, 2*n+maxShortRank)
	p.f.dims.shift = uint(max(bits.Len(uint(n)), 6))
	p.items = make([]uint64, 0, n)
	if fault := p.members(); fault != nil {
		return fault
	}
	p.f.objectEnd = p.pos
	return p.trailer()
}

// members reads the members of the header's object and its closing brace.
func (p *parser) members() *Fault {
	if p.buf[p.pos] == '}' {
		p.pos++
		return nil
	}
	for {
		if fault := p.member(); fault != nil {
			return fault
		}
		if p.buf[p.pos] == ',' && p.buf[p.pos+1] == '"' {
			p.pos++
			continue
		}
		if more, fault := p.more('}'); fault != nil || !more {
			return fault
		}
	}
}

// member reads one member of the header's object.
func (p *parser) member() *Fault {
	key := p.pos
	t, hash, fault := p.str()
	if fault != nil {
		return fault
	}
	if (t.escaped || t.end-t.start == len(metadataName)) && p.is(t, metadataName) {
		if p.metadataSeen {
			return p.fault(CodeDuplicateField, key, "a second %s", metadataName)
		}
		if fault := p.symbol(':'); fault != nil {
			return fault
		}
		p.metadataSeen = true
		return p.metadata()
	}
	rec := record{key: uint32(key), keyLen: uint32(p.pos - key)}
	if t.odd {
		rec.flags |= oddName
	}
	if t.escaped {
		rec.flags |= escapedName
	}
	if !p.canonical(&rec) {
		if fault := p.tensor(&rec); fault != nil {
			fault.Tensor = string(p.value(t))
			return fault
		}
	}
	p.f.names.add(hash)
	p.items = append(p.items, item(hash, len(p.f.records)))
	p.f.records = append(p.f.records, rec)
	return nil
}

// canonical reads what follows a tensor's name when it is exactly as the
// reference writes it. Otherwise it reports false and reads nothing.
func (p *parser) canonical(rec *record) bool {
	const (
		dtypeText   = `:{"dtype":"`
		shapeText   = `","shape":[`
		offsetsText = `,"data_offsets":[`
	)
	b := p.buf
	i := p.pos
	if string(b[i:i+len(dtypeText)]) != dtypeText {
		return false
	}
	i += len(dtypeText)

	w := binary.LittleEndian.Uint64(b[i:])
	quote := w ^ '"'*ones
	n := bits.TrailingZeros64((quote-ones)&^quote&highs) >> 3
	if n == 8 {
		return false
	}
	w &= 1<<(8*n) - 1
	if w != p.dtypeWord || p.dtype == otherDType {
		dtype := dtypeIndex(sharedString(b[i : i+n]))
		if dtype == otherDType {
			return false
		}
		p.dtypeWord, p.dtype = w, dtype
	}
	i += n
	if string(b[i:i+len(shapeText)]) != shapeText {
		return false
	}
	i += len(shapeText)

	dims, index := p.f.dims.tail()
	rank := 0
	if b[i] == ']' {
		i++
	} else {
		for {
			v, next := readUint(b, i)
			if next == i || rank == maxShortRank {
				return false
			}
			dims[rank] = v
			rank++
			i = next + 1
			if b[next] == ']' {
				break
			}
			if b[next] != ',' {
				return false
			}
		}
	}
	if string(b[i:i+len(offsetsText)]) != offsetsText {
		return false
	}
	i += len(offsetsText)

	if n := p.endSize; n > 0 && b[i+n] == ',' && string(b[i:i+n]) == string(b[p.endPos:p.endPos+n]) {
		rec.begin = p.end0
		i += n
	} else {
		v, next := readUint(b, i)
		if next == i || b[next] != ',' {
			return false
		}
		rec.begin = v
		i = next
	}
	i++
	v, next := readUint(b, i)
	if next == i || b[next] != ']' || b[next+1] != '}' {
		return false
	}
	rec.end = v
	p.end0, p.endPos, p.endSize = v, i, next-i
	p.pos = next + 2

	rec.dtype = p.dtype
	rec.rank = uint8(rank)
	rec.dims = uint32(index)
	p.f.dims.keep(rank)
	return true
}

// tensor reads what follows a tensor's name, in any form.
func (p *parser) tensor(rec *record) *Fault {
	if fault := p.symbol(':'); fault != nil {
		return fault
	}
	dims, index := p.f.dims.tail()
	var fields objectFields
	if fault := p.object(&fields, dims); fault != nil {
		return fault
	}
	rec.begin, rec.end = fields.begin, fields.end
	rec.dtype = dtypeIndex(sharedString(p.value(fields.dtype)))
	if fields.extra > 0 {
		rec.flags |= extraFields
	}
	if fields.rank > maxShortRank {
		rec.rank = longRank
		rec.dims = uint32(fields.shapePos)
		return nil
	}
	rec.rank = uint8(fields.rank)
	rec.dims = uint32(index)
	p.f.dims.keep(fields.rank)
	return nil
}

// objectFields are the members of a tensor's object. Places are of values in
// the window, 0 when there is none.
type objectFields struct {
	dtypePos, shapePos, offsetsPos int
	extra                          int // of the key of the first member without meaning
	dtype                          text
	rank                           int
	begin, end                     uint64
}

// object reads a tensor's object. Of its shape, it stores what dims has room
// for.
func (s *scanner) object(fields *objectFields, dims []uint64) *Fault {
	start := s.pos
	if s.buf[start] != '{' {
		return s.wrongType(start, "tensor", "an object")
	}
	s.pos++
	s.space()
	more := s.buf[s.pos] != '}'
	if !more {
		s.pos++
	}
	for more {
		key := s.pos
		t, _, fault := s.str()
		if fault != nil {
			return fault
		}
		var place *int
		name := ""
		switch {
		case s.is(t, "dtype"):
			place, name = &fields.dtypePos, "dtype"
		case s.is(t, "shape"):
			place, name = &fields.shapePos, "shape"
		case s.is(t, "data_offsets"):
			place, name = &fields.offsetsPos, "data_offsets"
		case fields.extra == 0:
			fields.extra = key
		}
		if fault := s.symbol(':'); fault != nil {
			return fault
		}
		if place != nil {
			if *place > 0 {
				return s.fault(CodeDuplicateField, key, "a second %s", name)
			}
			*place = s.pos
		}
		switch name {
		case "dtype":
			if s.buf[s.pos] != '"' {
				return s.wrongType(s.pos, name, "a string")
			}
			fields.dtype, _, fault = s.str()
		case "shape":
			fields.rank, fault = s.shape(dims)
		case "data_offsets":
			fields.begin, fields.end, fault = s.offsets()
		default:
			fault = s.skip(2)
		}
		if fault != nil {
			return fault
		}
		if more, fault = s.more('}'); fault != nil {
			return fault
		}
	}
	switch {
	case fields.dtypePos == 0:
		return s.fault(CodeMissingField, start, "no dtype")
	case fields.shapePos == 0:
		return s.fault(CodeMissingField, start, "no shape")
	case fields.offsetsPos == 0:
		return s.fault(CodeMissingField, start, "no data_offsets")
	}
	return nil
}

// wrongType returns the error that what begins at pos is no value of the wanted
// type, or no value at all.
func (s *scanner) wrongType(pos int, what, want string) *Fault {
	kind := kindOf(s.buf[pos])
	if kind == "" {
		return s.syntax(pos, want)
	}
	return s.fault(s.codes.wrongType, pos, "%s is %s, not %s", what, kind, want)
}

// shape reads an array of dimensions, returns how many there are, and stores
// those that dims has room for.
func (s *scanner) shape(dims []uint64) (rank int, fault *Fault) {
	start := s.pos
	if s.buf[s.pos] != '[' {
		return 0, s.wrongType(s.pos, "shape", "an array")
	}
	s.pos++
	s.space()
	if s.buf[s.pos] == ']' {
		s.pos++
		return 0, nil
	}
	for {
		dim, fault := s.uint()
		if fault != nil {
			return 0, fault
		}
		if rank < len(dims) {
			dims[rank] = dim
		}
		if rank++; rank > maxRank {
			return 0, s.fault(CodeLimit, start, "shape of more than %d dimensions", maxRank)
		}
		if more, fault := s.more(']'); fault != nil || !more {
			return rank, fault
		}
	}
}

// offsets reads an array of two offsets.
func (s *scanner) offsets() (begin, end uint64, fault *Fault) {
	start := s.pos
	if s.buf[s.pos] != '[' {
		return 0, 0, s.wrongType(s.pos, "data_offsets", "an array of two integers")
	}
	s.pos++
	s.space()
	var v [2]uint64
	n := 0
	for more := s.buf[s.pos] != ']'; more; n++ {
		if n == len(v) {
			return 0, 0, s.fault(s.codes.wrongType, start, "data_offsets has more than two numbers")
		}
		if v[n], fault = s.uint(); fault != nil {
			return 0, 0, fault
		}
		if more, fault = s.more(']'); fault != nil {
			return 0, 0, fault
		}
	}
	if n < len(v) {
		return 0, 0, s.fault(s.codes.wrongType, start, "data_offsets has %d of two numbers", n)
	}
	return v[0], v[1], nil
}

// metadata reads the value of __metadata__.
func (p *parser) metadata() *Fault {
	switch p.buf[p.pos] {
	case '{':
	case 'n':
		return p.literal("null")
	default:
		if kind := kindOf(p.buf[p.pos]); kind != "" {
			return p.fault(CodeMetadataNotObject, p.pos, "%s is %s, not an object", metadataName, kind)
		}
		return p.syntax(p.pos, "an object")
	}
	p.f.hasMetadata = true
	return p.entries(func(key, value text, pos int) *Fault {
		if len(p.f.metadata) == maxMetadata {
			return p.fault(CodeLimit, pos, "more than %d entries in %s", maxMetadata, metadataName)
		}
		p.f.metadataKeys = append(p.f.metadataKeys, uint32(pos))
		p.f.metadata = append(p.f.metadata, KV{
			Key:   sharedString(p.value(key)),
			Value: sharedString(p.value(value)),
		})
		return nil
	})
}

// entries reads an object of strings and calls each with every entry and the
// place of its key.
func (s *scanner) entries(each func(key, value text, pos int) *Fault) *Fault {
	s.pos++
	s.space()
	if s.buf[s.pos] == '}' {
		s.pos++
		return nil
	}
	for {
		pos := s.pos
		key, _, fault := s.str()
		if fault != nil {
			return fault
		}
		if fault := s.symbol(':'); fault != nil {
			return fault
		}
		if c := s.buf[s.pos]; c != '"' && kindOf(c) != "" {
			return s.fault(CodeMetadataValueString, s.pos, "metadata value of %s is %s, not a string", quote(s.value(key)), kindOf(c))
		}
		value, _, fault := s.str()
		if fault != nil {
			return fault
		}
		if fault := each(key, value, pos); fault != nil {
			return fault
		}
		if more, fault := s.more('}'); fault != nil || !more {
			return fault
		}
	}
}

// trailer checks that only white space follows the object.
func (p *parser) trailer() *Fault {
	p.space()
	if p.pos == p.end {
		return nil
	}
	rest := p.buf[p.pos:p.end]
	if rest[0] != 0 {
		r, _ := utf8.DecodeRune(rest)
		return p.fault(CodeHeaderTrailing, p.pos, "header goes on after its object, with %q", r)
	}
	if len(bytes.Trim(rest, "\x00")) > 0 {
		return p.fault(CodeHeaderTrailing, p.pos, "header goes on after its object, with a NUL byte")
	}
	f := p.fault(CodeHeaderTrailing, p.pos, "header is padded with %d NUL bytes, which most readers refuse; replace them with spaces", len(rest))
	f.Hint = HintNULPadding
	return f
}
