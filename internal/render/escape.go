package render

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Escape returns s fit to be shown: control characters, invisible and
// direction-changing ones, and bytes that are not UTF-8 as Go escapes, a
// backslash doubled, and the empty string as "".
func Escape(s string) string {
	if s != "" && plain(s) {
		return s
	}
	return string(appendEscaped(nil, s))
}

// EscapeMessage returns a line of a message fit to be shown: as [Escape], but
// with backslashes as they are, because a message quotes what it names.
func EscapeMessage(s string) string {
	if plainBytes(s) {
		return s
	}
	var out []byte
	for i, part := range strings.Split(s, `\`) {
		if i > 0 {
			out = append(out, '\\')
		}
		if part != "" {
			out = appendEscaped(out, part)
		}
	}
	return string(out)
}

func appendEscaped(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, `""`...)
	}
	if plain(s) {
		return append(dst, s...)
	}
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == utf8.RuneError && n == 1, !strconv.IsPrint(r):
			q := strconv.AppendQuoteToASCII(nil, s[i:i+n])
			dst = append(dst, q[1:len(q)-1]...)
		default:
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return dst
}

// plain reports whether every byte of s is printable ASCII other than a
// backslash. It looks at eight bytes at a time: every name of every tensor
// comes through here.
func plain(s string) bool {
	const (
		ones  = 0x0101010101010101
		highs = 0x8080808080808080
	)
	if len(s) < 8 {
		return plainBytes(s)
	}
	for i := 0; ; i += 8 {
		i = min(i, len(s)-8) // the last eight bytes overlap those before
		x := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		control := x - ones*' '
		del := (x ^ ones*0x7f) - ones
		backslash := (x ^ ones*'\\') - ones
		if (x|control|del|backslash)&highs != 0 {
			// A borrow may have come from the byte below.
			return plainBytes(s[i:])
		}
		if i+8 == len(s) {
			return true
		}
	}
}

func plainBytes(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '\\' {
			return false
		}
	}
	return true
}

// DisplayWidth returns the columns that s, already escaped, takes on a terminal.
func DisplayWidth(s string) int {
	if plain(s) {
		return len(s)
	}
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case unicode.Is(wide, r):
		return 2
	}
	return 1
}

// wide holds the blocks that are mostly East Asian Wide (Unicode Standard
// Annex #11): Hangul, the CJK blocks, full-width forms, emoji.
var wide = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x1100, 0x115f, 1},
		{0x2e80, 0xa4cf, 1},
		{0xac00, 0xd7a3, 1},
		{0xf900, 0xfaff, 1},
		{0xfe30, 0xfe6f, 1},
		{0xff00, 0xff60, 1},
		{0xffe0, 0xffe6, 1},
	},
	R32: []unicode.Range32{{0x1f300, 0x1f64f, 1}, {0x1f900, 0x1f9ff, 1}, {0x20000, 0x3fffd, 1}},
}

// Shorten returns text that is escaped without its middle where it is longer than width
// columns, and says then how long it is.
func Shorten(s string, width int) string {
	if DisplayWidth(s) <= width {
		return s
	}
	return ShortenMiddle(s, width) + " (" + Grouped(uint64(utf8.RuneCountInString(s))) + " characters)"
}

// ShortenMiddle shortens s to width columns by taking out its middle: the ends of
// a tensor's name, the end a little more, say what it is.
func ShortenMiddle(s string, width int) string {
	if DisplayWidth(s) <= width {
		return s
	}
	if width < 3 {
		return ShortenEnd(s, width)
	}
	head := prefix(s, (width-1)*4/9)
	room := width - 1 - DisplayWidth(head)
	return head + "…" + suffix(s[len(head):], room)
}

// ShortenName shortens the name of a tensor to width columns, and keeps the numbers in it,
// which are all that tells those of the layers of a model apart: what is before them goes
// first, and then what is between them. What is after them is shortened in its middle.
func ShortenName(s string, width int) string {
	over := DisplayWidth(s) - width
	first := strings.IndexFunc(s, isDigit)
	if over <= 0 || first < 0 {
		return ShortenMiddle(s, width)
	}
	var b strings.Builder
	for at := 0; at < len(s); {
		number := isDigit(rune(s[at]))
		end := len(s)
		if k := strings.IndexFunc(s[at:], func(r rune) bool { return isDigit(r) != number }); k >= 0 {
			end = at + k
		}
		part := s[at:end]
		if wide := DisplayWidth(part); !number && over > 0 && wide > 2 {
			room := max(1, wide-over) // with the mark
			if end == len(s) {
				part = ShortenMiddle(part, room)
			} else {
				part = "…" + suffix(part, room-1)
			}
			over -= wide - DisplayWidth(part)
		}
		b.WriteString(part)
		at = end
	}
	if over > 0 {
		return ShortenMiddle(s, width)
	}
	return b.String()
}

func isDigit(r rune) bool { return '0' <= r && r <= '9' }

// suffix returns the longest end of s that fits in width columns.
func suffix(s string, width int) string {
	at := len(s)
	for at > 0 {
		r, n := utf8.DecodeLastRuneInString(s[:at])
		if width -= runeWidth(r); width < 0 {
			break
		}
		at -= n
	}
	return s[at:]
}

// ShortenEnd shortens s to width columns by taking off its end.
func ShortenEnd(s string, width int) string {
	if DisplayWidth(s) <= width {
		return s
	}
	return prefix(s, width-1) + "…"
}

// prefix returns the longest start of s that fits in width columns.
func prefix(s string, width int) string {
	for i, r := range s {
		width -= runeWidth(r)
		if width < 0 {
			return s[:i]
		}
	}
	return s
}
