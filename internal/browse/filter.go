package browse

import (
	"context"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/rename/template"
)

// A filter is what the user has typed to choose tensors. With a * it is a glob of whole
// names, as --match takes; otherwise words, each of whose letters a name has in their order.
// As in fzf, small letters match capitals, too. Names that have the words as they are
// displace those that have only their letters.
type filter string

func (f filter) glob() bool { return strings.Contains(string(f), "*") }

// kind says what the filter is.
func (f filter) kind() string {
	if f.glob() {
		return "glob"
	}
	return "fuzzy"
}

// A chosen is what a filter leaves.
type chosen struct {
	filter filter
	// places are the tensors that are shown, and loose all that match.
	places, loose []int32
	// whole is how many words all of places have as they are.
	whole int
	err   error
}

// choose applies a filter. Before is what an earlier one has left, nil for none: what it
// has not left is not looked at where the filter only goes on from it.
func (f filter) choose(ctx context.Context, items Items, before *chosen) *chosen {
	out := &chosen{filter: f}
	candidates := func(yield func(int32)) {
		if before != nil && !f.glob() && !before.filter.glob() && strings.HasPrefix(string(f), string(before.filter)) && before.err == nil {
			for _, place := range before.loose {
				yield(place)
			}
			return
		}
		for i := range items.Len() {
			yield(int32(i))
		}
	}
	if f == "" {
		candidates(func(place int32) { out.loose = append(out.loose, place) })
		out.places = out.loose
		return out
	}
	if f.glob() {
		glob, err := template.ParseGlob(string(f))
		if out.err = err; err != nil {
			return out
		}
		candidates(func(place int32) {
			if ctx.Err() == nil && glob.Match(items.At(int(place)).Name) {
				out.places = append(out.places, place)
			}
		})
		out.loose = out.places
		return out
	}
	words := strings.Fields(string(f))
	candidates(func(place int32) {
		if ctx.Err() != nil {
			return
		}
		whole, ok := matchWords(items.At(int(place)).Name, words)
		if !ok {
			return
		}
		out.loose = append(out.loose, place)
		if whole > out.whole {
			out.whole, out.places = whole, out.places[:0]
		}
		if whole == out.whole {
			out.places = append(out.places, place)
		}
	})
	return out
}

// matchWords reports whether a name has the letters of all words, and how many of the words
// it has as they are.
func matchWords(name string, words []string) (whole int, ok bool) {
	for _, w := range words {
		switch exact := strings.ToLower(w) != w; { // a capital means itself
		case contains(name, w, exact):
			whole++
		case !hasLetters(name, w, exact):
			return 0, false
		}
	}
	return whole, true
}

func contains(name, word string, exact bool) bool {
	if exact {
		return strings.Contains(name, word)
	}
	for i := 0; i+len(word) <= len(name); i++ {
		if lower(name[i]) == word[0] && foldedPrefix(name[i:], word) {
			return true
		}
	}
	return false
}

func foldedPrefix(name, word string) bool {
	for k := range len(word) {
		if lower(name[k]) != word[k] {
			return false
		}
	}
	return true
}

func hasLetters(name, word string, exact bool) bool {
	for k := range len(name) {
		c := name[k]
		if !exact {
			c = lower(c)
		}
		if c == word[0] {
			if word = word[1:]; word == "" {
				return true
			}
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// trimLast takes the last character off.
func trimLast(s string) string {
	_, n := utf8.DecodeLastRuneInString(s)
	return s[:len(s)-n]
}

// trimWord takes the last word off, as ctrl-w does.
func trimWord(s string) string {
	s = strings.TrimRight(s, " ")
	return s[:strings.LastIndexByte(s, ' ')+1]
}
