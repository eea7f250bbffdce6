package template

import (
	"iter"
	"strconv"
	"strings"
)

// A Grain says which numbers of a name are indices.
type Grain uint8

const (
	// Segments is the numbers that fill a segment: the 11 of "h.11.ln_1.w1".
	Segments Grain = iota
	// Words is the numbers that fill a word: the 11 and the first 1. A number
	// at the very end that follows ".weight" or ".bias" is one too:
	// Megatron-core numbers grouped experts so, "linear_fc1.weight12".
	Words
	// Counters is Words, where a colon is between words, too, and the numbers that follow a
	// word that counts: those of blk0, layer12_attn and h0. It is for people to read: which
	// of them are the numbers of layers, and which tell two parts apart, [Fold] finds out.
	Counters
	// Runs is every run of digits: the 11 and both 1. Here a number may have
	// leading zeros, and any length.
	Runs
)

// maxDigits keeps an index well within an int32.
const maxDigits = 9

// next returns the place of the first index of name[from:], where no digit
// stands right before from. start is -1 when there is none.
func (g Grain) next(name string, from int) (start, end int) {
	for i := from; i < len(name); i++ {
		if !isDigit(name[i]) {
			continue
		}
		end := digitsEnd(name, i)
		if g.takes(name, i, end) {
			return i, end
		}
		i = end
	}
	return -1, -1
}

// takes reports whether the run of digits name[start:end] is an index.
func (g Grain) takes(name string, start, end int) bool {
	return g == Runs || end-start <= maxDigits && (name[start] != '0' || end == start+1) && g.fills(name, start, end)
}

// fills reports whether name[start:end] fills a segment or a word.
func (g Grain) fills(name string, start, end int) bool {
	if end < len(name) && !g.separates(name[end]) {
		return false
	}
	return start == 0 || g.separates(name[start-1]) ||
		g != Segments && end == len(name) && (strings.HasSuffix(name[:start], ".weight") || strings.HasSuffix(name[:start], ".bias")) ||
		g == Counters && Counts(name[:start]) != ""
}

func (g Grain) separates(c byte) bool {
	return c == '.' || g != Segments && (c == '_' || c == '/' || c == '-') || g == Counters && c == ':'
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// digitsEnd returns the end of the run of digits that begins at s[i].
func digitsEnd(s string, i int) int {
	for i < len(s) && isDigit(s[i]) {
		i++
	}
	return i
}

// Indices yields the places of a name's indices: name[start:end] is one.
func (g Grain) Indices(name string) iter.Seq2[int, int] {
	return func(yield func(start, end int) bool) {
		for start, end := g.next(name, 0); start >= 0 && yield(start, end); start, end = g.next(name, end) {
		}
	}
}

// Of returns the template of a name.
func (g Grain) Of(name string) string { return string(g.Append(nil, name)) }

// Append appends the template of a name to dst.
func (g Grain) Append(dst []byte, name string) []byte {
	copied := 0
	for start, end := g.next(name, 0); start >= 0; start, end = g.next(name, end) {
		dst = append(append(dst, name[copied:start]...), '0')
		copied = end
	}
	return append(dst, name[copied:]...)
}

// Scan appends the template of a name to dst, and its indices to indices: -1
// for a number of Runs that is none for the other grains to read.
func (g Grain) Scan(dst []byte, indices []int32, name string) ([]byte, []int32) {
	copied := 0
	for start, end := g.next(name, 0); start >= 0; start, end = g.next(name, end) {
		dst = append(append(dst, name[copied:start]...), '0')
		copied = end
		indices = append(indices, value(name[start:end]))
	}
	return append(dst, name[copied:]...), indices
}

func value(digits string) int32 {
	if len(digits) > maxDigits || digits[0] == '0' && len(digits) > 1 {
		return -1
	}
	v := int32(0)
	for i := range len(digits) {
		v = 10*v + int32(digits[i]-'0')
	}
	return v
}

// Count returns how many indices a name has.
func (g Grain) Count(name string) int {
	n := 0
	for range g.Indices(name) {
		n++
	}
	return n
}

// Fill returns the name of a template that has the indices. Those that a
// template has beyond them stay as they are.
func (g Grain) Fill(template string, indices []int32) string {
	b := make([]byte, 0, len(template)+4*len(indices))
	copied := 0
	for start, end := range g.Indices(template) {
		if len(indices) == 0 {
			break
		}
		b = strconv.AppendInt(append(b, template[copied:start]...), int64(indices[0]), 10)
		copied, indices = end, indices[1:]
	}
	return string(append(b, template[copied:]...))
}

// Replace returns a name with another text for each of its indices, which are
// counted from 0.
func (g Grain) Replace(name string, text func(i int, number string) string) string {
	var b strings.Builder
	copied, i := 0, 0
	for start, end := range g.Indices(name) {
		b.WriteString(name[copied:start])
		b.WriteString(text(i, name[start:end]))
		copied = end
		i++
	}
	if i == 0 {
		return name
	}
	b.WriteString(name[copied:])
	return b.String()
}

// Split cuts a name at its indices. There is one text more than there are
// numbers: one before each, and one that follows the last.
func (g Grain) Split(name string) (text, numbers []string) {
	copied := 0
	for start, end := range g.Indices(name) {
		text, numbers = append(text, name[copied:start]), append(numbers, name[start:end])
		copied = end
	}
	return append(text, name[copied:]), numbers
}

// Layer returns the layer that a name belongs to, which is its first index that
// fills a segment, and the text around it.
func Layer(name string) (before string, layer int, after string, ok bool) {
	start, end := Segments.next(name, 0)
	if start < 0 {
		return "", 0, "", false
	}
	return name[:start], int(value(name[start:end])), name[end:], true
}

// Counts says what an index counts, by the text before it: "layer", "expert",
// or "" for what no common word tells.
func Counts(before string) string {
	word := strings.TrimRight(before, "._/-:")
	word = word[strings.LastIndexAny(word, "._/-:")+1:]
	if word == "h" {
		return "layer"
	}
	for _, end := range []string{"layers", "layer", "blocks", "block", "blk"} {
		if strings.HasSuffix(word, end) {
			return "layer"
		}
	}
	if word == "experts" || word == "expert" {
		return "expert"
	}
	return ""
}
