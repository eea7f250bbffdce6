package safetensors

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf16"
	"unicode/utf8"
)

// A scanner reads strict JSON (RFC 8259) from a window of a text. For a header
// the window is the whole of it; for an index it slides.
//
// Bytes are taken eight at a time without asking where the window ends: at
// least padding zero bytes follow it, and a zero byte is never valid JSON, so
// that every loop stops there and the caller sees an error at the end.
type scanner struct {
	buf      []byte // the window and its padding
	end      int    // bytes of the window
	pos      int
	base     int64 // file offset of buf[0]
	maxDepth int
	codes    *scanCodes
	hitEnd   bool   // the last error was for want of bytes
	scratch  []byte // the unescaped form of the string last scanned, when it has escapes
}

// scanCodes are the codes of the faults that both texts can have.
type scanCodes struct{ syntax, utf8, wrongType Code }

// padding is more than the longest literal that is compared in one piece.
const padding = 32

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// A text is a scanned string: the place of what stands between its quotes.
type text struct {
	start, end int
	odd        bool // not plain printable ASCII
	escaped    bool
}

// mix is one step of the hash that is computed while a name is scanned: a
// 64x64 bit multiplication folded to 64 bits, as in wyhash. It resists flooding
// because its seed is random.
func mix(h, w uint64) uint64 {
	hi, lo := bits.Mul64(h^w, 0x9e3779b97f4a7c15)
	return hi ^ lo
}

// word returns the first eight bytes of s as str takes them.
func word[T string | []byte](s T) uint64 {
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// hashText returns what str returns for the same text. The bits of ignore do
// not count.
func hashText[T string | []byte](seed uint64, s T, ignore uint64) uint64 {
	h := seed
	i := 0
	for ; i+8 <= len(s); i += 8 {
		h = mix(h, word(s[i:i+8])&^ignore)
	}
	var tail uint64
	for j := len(s) - 1; j >= i; j-- {
		tail = tail<<8 | uint64(s[j])
	}
	return mix(mix(h, tail&^ignore), uint64(len(s)))
}

// str scans the string that begins at pos and returns its place and the hash of
// its unescaped form.
func (s *scanner) str() (t text, hash uint64, f *Fault) {
	b := s.buf
	if b[s.pos] != '"' {
		return t, 0, s.syntax(s.pos, "a string")
	}
	start := s.pos + 1
	i := start
	h := nameSeed
	for {
		w := binary.LittleEndian.Uint64(b[i:])
		quote := w ^ '"'*ones
		slash := w ^ '\\'*ones
		// The lowest bit set marks the first byte that is a quote, a backslash,
		// below 0x20 or above 0x7f; bits above it may be wrong.
		stop := ((quote-ones)&^quote | (slash-ones)&^slash | (w-0x20*ones)&^w | w) & highs
		if stop == 0 {
			h = mix(h, w)
			i += 8
			continue
		}
		n := bits.TrailingZeros64(stop) >> 3
		if b[i+n] != '"' {
			return s.oddStr()
		}
		i += n
		s.pos = i + 1
		h = mix(h, w&(1<<(8*n)-1))
		return text{start: start, end: i}, mix(h, uint64(i-start)), nil
	}
}

// oddStr is str for strings that hold escapes or other than printable ASCII.
func (s *scanner) oddStr() (t text, hash uint64, f *Fault) {
	b := s.buf
	t = text{start: s.pos + 1, odd: true}
	i := t.start
	for ; b[i] != '"'; i++ {
		switch c := b[i]; {
		case c == '\\':
			t.escaped = true
			i++
			if i >= s.end {
				return t, 0, s.syntax(s.end, "the end of a string")
			}
		case c < 0x20:
			if i >= s.end {
				return t, 0, s.syntax(s.end, "the end of a string")
			}
			return t, 0, s.fault(s.codes.syntax, i, "control character %#02x in a string; JSON writes it as \\u%04x", c, c)
		}
	}
	t.end = i
	raw := b[t.start:t.end]
	if !utf8.Valid(raw) {
		return t, 0, s.badUTF8(t.start, raw)
	}
	s.pos = i + 1
	if !t.escaped {
		return t, hashText(nameSeed, raw, 0), nil
	}
	s.scratch, i = appendUnescaped(s.scratch[:0], raw)
	if i >= 0 {
		return t, 0, s.fault(s.codes.syntax, t.start+i, "bad escape sequence in a string")
	}
	return t, hashText(nameSeed, s.scratch, 0), nil
}

// appendUnescaped appends the unescaped form of what stands between a string's
// quotes. bad is the index of an escape that is not valid, or -1. Half a
// surrogate pair is not valid: replaced, it would make two names one.
func appendUnescaped(dst, raw []byte) (out []byte, bad int) {
	for i := 0; i < len(raw); {
		if raw[i] != '\\' {
			dst = append(dst, raw[i])
			i++
			continue
		}
		if i+1 == len(raw) {
			return dst, i
		}
		switch c := raw[i+1]; c {
		case '"', '\\', '/':
			dst = append(dst, c)
		case 'b':
			dst = append(dst, '\b')
		case 'f':
			dst = append(dst, '\f')
		case 'n':
			dst = append(dst, '\n')
		case 'r':
			dst = append(dst, '\r')
		case 't':
			dst = append(dst, '\t')
		case 'u':
			r, ok := hex4(raw[i+2:])
			if !ok {
				return dst, i
			}
			if utf16.IsSurrogate(r) {
				if len(raw) < i+12 || raw[i+6] != '\\' || raw[i+7] != 'u' {
					return dst, i
				}
				low, ok := hex4(raw[i+8:])
				r = utf16.DecodeRune(r, low)
				if !ok || r == utf8.RuneError {
					return dst, i
				}
				i += 6
			}
			dst = utf8.AppendRune(dst, r)
			i += 4
		default:
			return dst, i
		}
		i += 2
	}
	return dst, -1
}

func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// is reports whether a scanned string, unescaped, is want. It must be called
// before the next string is scanned.
func (s *scanner) is(t text, want string) bool {
	if t.escaped {
		return string(s.scratch) == want
	}
	return string(s.buf[t.start:t.end]) == want
}

// value returns a scanned string, unescaped. Without escapes it shares the
// window's memory.
func (s *scanner) value(t text) []byte {
	if t.escaped {
		out, _ := appendUnescaped(nil, s.buf[t.start:t.end])
		return out
	}
	return s.buf[t.start:t.end]
}

// space skips white space.
func (s *scanner) space() {
	for i := s.pos; ; i++ {
		if c := s.buf[i]; c > ' ' || c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			s.pos = i
			return
		}
	}
}

// symbol skips white space, one byte c, and white space again.
func (s *scanner) symbol(c byte) *Fault {
	s.space()
	if s.buf[s.pos] != c {
		return s.syntax(s.pos, "'"+string(rune(c))+"'")
	}
	s.pos++
	s.space()
	return nil
}

// more skips what stands after an element of an array or object that ends with
// last: a comma and the white space round it (more is true), or last.
func (s *scanner) more(last byte) (more bool, f *Fault) {
	s.space()
	switch s.buf[s.pos] {
	case ',':
		s.pos++
		s.space()
		return true, nil
	case last:
		s.pos++
		return false, nil
	}
	return false, s.syntax(s.pos, "',' or '"+string(rune(last))+"'")
}

// leadingDigits returns how many of the eight bytes of w are digits before the
// first that is not, and their values, one a byte.
func leadingDigits(w uint64) (n int, values uint64) {
	values = w ^ '0'*ones
	// Adding 0x76 carries into the high bit from 10 up. A carry out of a byte
	// only spoils bytes after one that is no digit already.
	stop := (values + 0x76*ones | values) & highs
	return bits.TrailingZeros64(stop) >> 3, values
}

// eightDigits returns the number whose eight decimal digits are the bytes of v,
// the first in the lowest byte.
func eightDigits(v uint64) uint64 {
	v = v*10 + v>>8
	const mask = 0x000000ff000000ff
	return (v&mask*(100+1000000<<32) + v>>16&mask*(1+10000<<32)) >> 32
}

var pow10 = [...]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// readUint reads a plain decimal number at b[i]. next is i when there is none,
// or when it has a leading zero or does not fit.
func readUint(b []byte, i int) (v uint64, next int) {
	n, digits := leadingDigits(binary.LittleEndian.Uint64(b[i:]))
	if n == 0 || b[i] == '0' && n > 1 {
		return 0, i
	}
	v = eightDigits(digits << (64 - 8*n))
	if n < 8 {
		return v, i + n
	}
	for next = i + 8; n == 8; next += n {
		n, digits = leadingDigits(binary.LittleEndian.Uint64(b[next:]))
		hi, lo := bits.Mul64(v, pow10[n])
		sum, carry := bits.Add64(lo, eightDigits(digits<<(64-8*n)), 0)
		if hi|carry != 0 {
			return 0, i
		}
		v = sum
	}
	return v, next
}

// uint scans a number that must be a plain integer from 0 to 2^64-1: the
// reference takes no sign, fraction or exponent.
func (s *scanner) uint() (uint64, *Fault) {
	v, next := readUint(s.buf, s.pos)
	c := s.buf[next]
	if next > s.pos && c != '.' && c != 'e' && c != 'E' && !isDigit(c) {
		s.pos = next
		return v, nil
	}
	start := s.pos
	switch c := s.buf[start]; {
	case c == '-' || isDigit(c):
		if f := s.number(); f != nil {
			return 0, f
		}
		return 0, s.fault(s.codes.syntax, start, "number %s is not a plain integer from 0 to 2^64-1", cutNumber(s.buf[start:s.pos]))
	case kindOf(c) != "":
		return 0, s.fault(s.codes.wrongType, start, "%s where a non-negative integer is expected", kindOf(c))
	}
	return 0, s.syntax(start, "a non-negative integer")
}

func cutNumber(b []byte) string {
	if len(b) > 32 {
		return string(b[:32]) + "…"
	}
	return string(b)
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// number skips a JSON number.
func (s *scanner) number() *Fault {
	digits := func(i int) int {
		for isDigit(s.buf[i]) {
			i++
		}
		return i
	}
	i := s.pos
	if s.buf[i] == '-' {
		i++
	}
	start := i
	if i = digits(i); i == start {
		return s.syntax(i, "a digit")
	}
	if i-start > 1 && s.buf[start] == '0' {
		return s.fault(s.codes.syntax, start, "number with a leading zero")
	}
	if s.buf[i] == '.' {
		start = i + 1
		if i = digits(start); i == start {
			return s.syntax(i, "a digit")
		}
	}
	if s.buf[i] == 'e' || s.buf[i] == 'E' {
		i++
		if s.buf[i] == '+' || s.buf[i] == '-' {
			i++
		}
		start = i
		if i = digits(start); i == start {
			return s.syntax(i, "a digit")
		}
	}
	s.pos = i
	return nil
}

// kindOf returns what kind of JSON value begins with c, with its article, or ""
// if none does.
func kindOf(c byte) string {
	switch {
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == '-' || isDigit(c):
		return "a number"
	case c == 't' || c == 'f':
		return "a boolean"
	case c == 'n':
		return "null"
	}
	return ""
}

// skip skips one value of any kind. depth is how many arrays and objects are
// open round it.
func (s *scanner) skip(depth int) *Fault {
	switch c := s.buf[s.pos]; c {
	case '"':
		_, _, f := s.str()
		return f
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	case 'n':
		return s.literal("null")
	case '[', '{':
		if depth >= s.maxDepth {
			return s.fault(CodeDepth, s.pos, "nested more than %d levels deep", s.maxDepth)
		}
		last := c + 2 // ']' or '}'
		s.pos++
		s.space()
		if s.buf[s.pos] == last {
			s.pos++
			return nil
		}
		for {
			if c == '{' {
				if _, _, f := s.str(); f != nil {
					return f
				}
				if f := s.symbol(':'); f != nil {
					return f
				}
			}
			if f := s.skip(depth + 1); f != nil {
				return f
			}
			if more, f := s.more(last); f != nil || !more {
				return f
			}
		}
	default:
		if c == '-' || isDigit(c) {
			return s.number()
		}
		return s.syntax(s.pos, "a JSON value")
	}
}

func (s *scanner) literal(want string) *Fault {
	for i := range len(want) {
		if s.buf[s.pos+i] != want[i] {
			return s.syntax(s.pos+i, want)
		}
	}
	s.pos += len(want)
	return nil
}

// fault returns an error at a place in the window.
func (s *scanner) fault(code Code, pos int, format string, args ...any) *Fault {
	return &Fault{Code: code, Severity: Error, Offset: s.base + int64(pos), Detail: fmt.Sprintf(format, args...)}
}

// syntax returns the error that something else stands at pos than is wanted.
func (s *scanner) syntax(pos int, want string) *Fault {
	if pos >= s.end {
		s.hitEnd = true
		return s.fault(s.codes.syntax, s.end, "ends where %s is expected", want)
	}
	rest := s.buf[pos:s.end]
	s.hitEnd = !utf8.FullRune(rest)
	r, n := utf8.DecodeRune(rest)
	if r == utf8.RuneError && n == 1 && s.buf[pos] >= utf8.RuneSelf {
		return s.badUTF8(pos, rest)
	}
	return s.fault(s.codes.syntax, pos, "%q where %s is expected", r, want)
}

// badUTF8 returns the error for the first bytes of raw, which stands at start,
// that are not UTF-8.
func (s *scanner) badUTF8(start int, raw []byte) *Fault {
	i := 0
	for i < len(raw) {
		r, n := utf8.DecodeRune(raw[i:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		i += n
	}
	return s.fault(s.codes.utf8, start+i, "byte %#02x is not UTF-8", raw[i])
}
