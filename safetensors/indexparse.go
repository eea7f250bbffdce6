package safetensors

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
)

// maxIndexWindow bounds how much of an index is held at a time: one entry, or
// one value outside the weight map, which no writer makes nearly as long.
const maxIndexWindow = 16 << 20

var indexCodes = scanCodes{syntax: CodeIndexJSON, utf8: CodeIndexUTF8, wrongType: CodeIndexType}

// indexWindow is how much is read at first; the window grows when one entry
// does not fit.
const indexWindow = 256 << 10

// An indexParser fills an Index from a stream. Each step of the grammar is
// tried on the window; when it fails for want of bytes, the window moves on
// and the step is tried again.
type indexParser struct {
	scanner
	r     io.Reader
	eof   bool
	err   error
	x     *Index
	bySet map[string]uint32 // spellings
	last  uint32            // the spelling of the last entry
	items []uint64          // hashes of the names, for duplicates

	sumsOnly bool // no entry is kept

	hasMetadata bool
}

// step calls try until it has the bytes it needs. try must end behind a
// delimiter, or a number would be taken for whole when the window cuts it, and
// must keep nothing unless it succeeds.
func (p *indexParser) step(try func() *Fault) *Fault {
	for {
		start := p.pos
		fault := try()
		if fault == nil || !p.hitEnd || p.eof {
			return fault
		}
		p.hitEnd = false
		p.pos = start
		if fault := p.fill(); fault != nil {
			return fault
		}
	}
}

// fill moves the window to pos and reads more behind it.
func (p *indexParser) fill() *Fault {
	kept := p.end - p.pos
	if kept > len(p.buf)/2 {
		if kept > maxIndexWindow {
			return p.fault(CodeLimit, p.pos, "one entry of more than %d bytes", maxIndexWindow)
		}
		grown := make([]byte, 2*len(p.buf))
		copy(grown, p.buf[p.pos:p.end])
		p.buf = grown
	} else {
		copy(p.buf, p.buf[p.pos:p.end])
	}
	p.base += int64(p.pos)
	p.pos, p.end = 0, kept
	for empty := 0; ; empty++ {
		n, err := p.r.Read(p.buf[p.end : len(p.buf)-padding])
		p.end += n
		clear(p.buf[p.end : p.end+padding])
		switch {
		case p.base+int64(p.end) > maxIndexBytes:
			return p.fault(CodeLimit, p.end, "index of more than %d bytes", maxIndexBytes)
		case errors.Is(err, io.EOF):
			p.eof = true
			return nil
		case err == nil && n == 0 && empty == 100:
			err = io.ErrNoProgress
			fallthrough
		case err != nil:
			p.err = err
			return p.fault(CodeIndexJSON, p.end, "%v", err)
		case n > 0:
			return nil
		}
	}
}

func (p *indexParser) index() *Fault {
	// Enough to recognise what is not an index at all.
	for p.end < sniffed && !p.eof {
		if fault := p.fill(); fault != nil {
			return fault
		}
	}
	more := false
	fault := p.step(func() *Fault {
		if bytes.HasPrefix(p.buf[:p.end], []byte("\xef\xbb\xbf")) {
			f := p.fault(CodeIndexJSON, 0, "byte order mark before the index's object; remove it")
			f.Hint = HintBOM
			return f
		}
		p.space()
		if c := p.buf[p.pos]; c != '{' && kindOf(c) != "" {
			return p.fault(CodeIndexNotObject, p.pos, "index is %s, not an object", kindOf(c))
		}
		return p.open(&more)
	})
	if fault != nil {
		explain(fault, p.buf[:min(p.end, sniffed)])
		return fault
	}
	const (
		other = iota
		weightMap
		metadata
	)
	var seen [metadata + 1]bool
	for more {
		kind := other
		if fault := p.step(func() *Fault {
			p.space() // the window may have ended behind the comma
			key := p.pos
			t, _, fault := p.str()
			if fault != nil {
				return fault
			}
			switch kind = other; {
			case p.is(t, "weight_map"):
				kind = weightMap
			case p.is(t, "metadata"):
				kind = metadata
			}
			if kind != other && seen[kind] {
				return p.fault(CodeIndexDuplicate, key, "a second %s", p.value(t))
			}
			if fault := p.symbol(':'); fault != nil {
				return fault
			}
			if p.pos == p.end {
				return p.syntax(p.pos, "a value")
			}
			return nil
		}); fault != nil {
			return fault
		}
		seen[kind] = true
		switch kind {
		case weightMap:
			fault = p.weightMap()
		case metadata:
			fault = p.metadata()
		default:
			fault = p.step(func() *Fault {
				if fault := p.skip(1); fault != nil || p.pos < p.end {
					return fault
				}
				return p.syntax(p.pos, "',' or '}'")
			})
		}
		if fault != nil {
			return fault
		}
		if fault := p.step(func() (fault *Fault) {
			more, fault = p.more('}')
			return fault
		}); fault != nil {
			return fault
		}
	}
	if fault := p.trailer(); fault != nil {
		return fault
	}
	if !seen[weightMap] {
		return &Fault{Code: CodeNoWeightMap, Severity: Error, Offset: -1, Detail: "index has no weight_map"}
	}
	if !p.hasMetadata {
		p.x.faults = append(p.x.faults, Fault{
			Code: CodeNoMetadata, Severity: Warning, Offset: -1, Detail: "index has no metadata, and so no total_size",
		})
	}
	return nil
}

// open reads the opening brace of an object, and the closing one if it follows.
func (p *indexParser) open(more *bool) *Fault {
	if p.buf[p.pos] != '{' {
		return p.wrongType(p.pos, "value", "an object")
	}
	p.pos++
	p.space()
	if p.pos == p.end {
		return p.syntax(p.pos, "a string or '}'")
	}
	if *more = p.buf[p.pos] != '}'; !*more {
		p.pos++
	}
	return nil
}

func (p *indexParser) weightMap() *Fault {
	if p.buf[p.pos] != '{' {
		return p.wrongType(p.pos, "weight_map", "an object")
	}
	more := false
	if fault := p.step(func() *Fault { return p.open(&more) }); fault != nil {
		return fault
	}
	entry := func() (fault *Fault) {
		more, fault = p.entry()
		return fault
	}
	for more {
		if fault := p.step(entry); fault != nil {
			return fault
		}
	}
	return nil
}

// entry reads one entry of the weight map and the delimiter behind it.
func (p *indexParser) entry() (more bool, fault *Fault) {
	p.space() // the window may have ended behind the comma
	keyPos := p.pos
	key, hash, fault := p.str()
	if fault != nil {
		return false, fault
	}
	keyEnd := p.pos
	name := p.value(key)
	if !p.usual(betweenKeyAndValue, len(`: "`)) {
		if fault := p.symbol(':'); fault != nil {
			return false, fault
		}
	}
	valuePos := p.pos
	if p.buf[p.pos] != '"' {
		fault := p.wrongType(p.pos, "shard path", "a string")
		fault.Tensor = string(name)
		return false, fault
	}
	value, known := p.sameShard()
	if !known {
		if value, _, fault = p.str(); fault != nil {
			return false, fault
		}
	}
	if more = p.usual(betweenEntries, len(",\n    \"")); !more {
		if more, fault = p.more('}'); fault != nil {
			return false, fault
		}
	}
	x := p.x
	switch {
	case len(name) > maxIndexString || value.end-value.start > maxIndexString:
		return false, p.fault(CodeLimit, keyPos, "name or shard path of more than %d bytes", maxIndexString)
	case len(p.items) == maxEntries:
		return false, p.fault(CodeLimit, keyPos, "more than %d entries in weight_map", maxEntries)
	}
	spelling := p.last
	if !known {
		if spelling, fault = p.spelling(value, name); fault != nil {
			return false, fault
		}
	}
	x.spellings[spelling].names.add(hash)
	p.items = append(p.items, item(hash, len(p.items)))
	if p.sumsOnly {
		return more, nil
	}
	if x.count%entryChunk == 0 {
		x.entries = append(x.entries, new([entryChunk]indexEntry))
	}
	x.entries[x.count/entryChunk][x.count%entryChunk] = indexEntry{
		key:      uint32(p.base) + uint32(keyPos),
		keyLen:   uint32(keyEnd - keyPos),
		name:     x.names.add(name),
		value:    uint32(p.base) + uint32(valuePos),
		spelling: spelling,
	}
	x.count++
	return more, nil
}

// What json.dumps(indent=2), by which most indexes are written, puts between an
// entry's strings, and the quote behind it, as bytes in a word.
var (
	betweenKeyAndValue = word(": \"\x00\x00\x00\x00\x00")
	betweenEntries     = word(",\n    \"\x00")
)

// usual skips the first n-1 bytes of text when its n bytes are at pos.
func (p *indexParser) usual(text uint64, n int) bool {
	if word(p.buf[p.pos:p.pos+8])<<(64-8*n) != text<<(64-8*n) {
		return false
	}
	p.pos += n - 1
	return true
}

// sameShard scans the shard path that begins at pos when it is written as that
// of the entry before, which most are.
func (p *indexParser) sameShard() (t text, ok bool) {
	if int(p.last) >= len(p.x.spellings) {
		return t, false
	}
	raw := p.x.spellings[p.last].raw
	t.start = p.pos + 1
	t.end = t.start + len(raw)
	if t.end >= len(p.buf) || string(p.buf[t.start:t.end]) != raw || p.buf[t.end] != '"' {
		return t, false
	}
	p.pos = t.end + 1
	return t, true
}

// spelling returns the number of a shard path as it is written, which the entry
// of a tensor has.
func (p *indexParser) spelling(t text, tensor []byte) (uint32, *Fault) {
	x := p.x
	raw := p.buf[t.start:t.end]
	n, ok := p.bySet[string(raw)]
	if !ok {
		if len(x.spellings) == maxShards {
			return 0, p.fault(CodeLimit, t.start-1, "more than %d shards", maxShards)
		}
		written := string(raw)
		shard := written
		if t.escaped {
			shard = string(p.value(t))
		}
		at := -1
		if t.escaped || len(x.shards) < len(x.spellings) {
			at = slices.Index(x.shards, shard)
		}
		if at < 0 {
			at = len(x.shards)
			x.shards = append(x.shards, shard)
		}
		n = uint32(len(x.spellings))
		x.spellings = append(x.spellings, spelling{
			raw: written, shard: at,
			tensor: string(tensor), value: uint32(p.base) + uint32(t.start-1),
		})
		p.bySet[written] = n
	}
	p.last = n
	return n, nil
}

// metadata reads the metadata object.
func (p *indexParser) metadata() *Fault {
	switch p.buf[p.pos] {
	case '{':
	case 'n':
		return p.step(func() *Fault { return p.literal("null") })
	default:
		return p.wrongType(p.pos, "metadata", "an object")
	}
	p.hasMetadata = true
	return p.step(func() *Fault {
		p.x.members, p.x.faults = nil, nil
		p.x.totalSize, p.x.totalParameters = nil, nil
		more := false
		if fault := p.open(&more); fault != nil {
			return fault
		}
		for more {
			key, _, fault := p.str()
			if fault != nil {
				return fault
			}
			name := string(p.value(key))
			if fault := p.symbol(':'); fault != nil {
				return fault
			}
			start := p.pos
			if fault := p.skip(2); fault != nil {
				return fault
			}
			if len(p.x.members) == maxMembers {
				return p.fault(CodeLimit, start, "more than %d members in metadata", maxMembers)
			}
			value := string(p.buf[start:p.pos])
			p.x.members = append(p.x.members, Member{name, value})
			switch name {
			case "total_size":
				p.x.totalSize = p.total(start, name, value)
			case "total_parameters":
				p.x.totalParameters = p.total(start, name, value)
			}
			if more, fault = p.more('}'); fault != nil {
				return fault
			}
		}
		return nil
	})
}

// total returns a total that is written in any of the ways in use, and warns
// when that is not a plain integer. A value that is none counts as absent:
// huggingface.js ignores it too.
func (p *indexParser) total(pos int, name, value string) *uint64 {
	if n, err := strconv.ParseUint(value, 10, 64); err == nil {
		return &n
	}
	f := p.fault(CodeNumberForm, pos, "%s is %s, which is no non-negative integer; ignored", name, quote(value))
	f.Severity = Warning
	n, ok := wholeNumber(strings.Trim(value, `"`))
	if ok {
		f.Detail = fmt.Sprintf("%s is written %s, not as a plain integer", name, quote(value))
	}
	p.x.faults = append(p.x.faults, *f)
	if !ok {
		return nil
	}
	return &n
}

// wholeNumber returns the value of a decimal number if it is an integer from 0
// to 2^64-1. It is exact, where a float64 rounds from 2^53 up.
func wholeNumber(s string) (n uint64, ok bool) {
	if len(s) > 100 || strings.Trim(s, "0123456789.eE+-") != "" {
		return 0, false
	}
	// An exponent is held to the length of s here, before Rat expands it.
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || v < 1 && strings.ContainsAny(s, "123456789") || v > math.MaxUint64 {
		return 0, false
	}
	r, ok := new(big.Rat).SetString(s)
	if !ok || !r.IsInt() || !r.Num().IsUint64() {
		return 0, false
	}
	return r.Num().Uint64(), true
}

// trailer checks that only white space follows the object.
func (p *indexParser) trailer() *Fault {
	for {
		p.space()
		if p.pos < p.end {
			return p.fault(CodeIndexTrailing, p.pos, "index goes on after its object, with %q", p.buf[p.pos])
		}
		if p.eof {
			return nil
		}
		if fault := p.fill(); fault != nil {
			return fault
		}
	}
}
