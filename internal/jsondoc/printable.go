package jsondoc

import (
	"bytes"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// Printable writes what a JSON text holds of invisible and direction-changing
// characters as escapes, so that a terminal does not act on them. They can only
// stand in strings, where an escape is the same. The text must be UTF-8.
func Printable(data []byte) []byte {
	hidden := func(r rune) bool { return r >= 0x7f && !strconv.IsPrint(r) }
	if bytes.IndexFunc(data, hidden) < 0 {
		return data
	}
	var out []byte
	for _, r := range string(data) {
		if hidden(r) {
			out = AppendEscapedRune(out, r)
		} else {
			out = utf8.AppendRune(out, r)
		}
	}
	return out
}

// AppendEscapedRune appends the escape of a character.
func AppendEscapedRune(dst []byte, r rune) []byte {
	if r > 0xffff {
		r -= 0x10000
		return fmt.Appendf(dst, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
	}
	return fmt.Appendf(dst, `\u%04x`, r)
}
