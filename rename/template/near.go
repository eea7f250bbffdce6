package template

import (
	"slices"
	"strconv"
	"strings"
)

// most is how many words are offered for one.
const most = 4

// Near returns what a word that is none of some candidates was likely meant to be: the
// least misspelt of them, with at most a third of the letters wrong, or else the few that
// have a word of it, or of which it is a part. Of those that are as near, it takes those that
// begin with the same letter, which is rarely the wrong one. The order is that of the
// candidates.
func Near(word string, candidates []string) []string {
	var near []string
	lower := strings.ToLower(word)
	begins := func(c string) bool { return lower != "" && strings.HasPrefix(strings.ToLower(c), lower[:1]) }
	best := max(1, len(word)/3)
	for _, c := range candidates {
		switch cost := Distance(lower, strings.ToLower(c), best+1); {
		case cost < best:
			near, best = []string{c}, cost
		case cost == best:
			near = append(near, c)
		}
	}
	if len(near) > 0 {
		if slices.ContainsFunc(near, begins) {
			near = slices.DeleteFunc(near, func(c string) bool { return !begins(c) })
		}
		return near[:min(most, len(near))]
	}
	shared := 1
	words := wordsOf(word)
	for _, c := range candidates {
		n := 0
		for _, w := range wordsOf(c) {
			if slices.Contains(words, w) {
				n++
			}
		}
		if n == 0 && len(word) > 2 && strings.Contains(strings.ToLower(c), strings.ToLower(word)) {
			n = 1
		}
		switch {
		case n > shared:
			near, shared = []string{c}, n
		case n == shared:
			near = append(near, c)
		}
	}
	if len(near) > 3*most {
		return nil // a word that they all have
	}
	return near
}

func wordsOf(name string) []string {
	return strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return strings.ContainsRune("-_./ ", r) })
}

// DidYouMean asks, at the end of a message, whether one of the [Near] candidates was
// meant. It is "" where none is near.
func DidYouMean(word string, candidates []string) string {
	near := Near(word, candidates)
	if len(near) == 0 {
		return ""
	}
	for i := range near {
		near[i] = strconv.Quote(near[i])
	}
	if len(near) > most {
		return "; did you mean one of " + strings.Join(near[:most], ", ") + ", …?"
	}
	last := len(near) - 1
	return "; did you mean " + strings.TrimPrefix(strings.Join(near[:last], ", ")+" or "+near[last], " or ") + "?"
}

// Distance counts the insertions, deletions, replacements and swaps of neighbours ("form"
// for "from" is one) that make b of a. It counts no further than to limit.
func Distance(a, b string, limit int) int {
	if len(a)-len(b) >= limit || len(b)-len(a) >= limit || len(a) > 512 {
		return limit
	}
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return min(prev[len(b)], limit)
}
