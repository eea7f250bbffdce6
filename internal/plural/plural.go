// Package plural puts numbers before nouns and units, the same way in every message.
package plural

import (
	"fmt"
	"strings"
)

type integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64
}

// Of returns a number with its noun: "1 tensor", "12 tensors".
func Of[N integer](n N, noun string) string {
	return fmt.Sprintf("%d %s", n, Noun(n, noun))
}

// Noun returns a noun as it stands behind a number.
func Noun[N integer](n N, noun string) string {
	if n == 1 {
		return noun
	}
	if stem, ok := strings.CutSuffix(noun, "matrix"); ok {
		return stem + "matrices"
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(stem, "e") { // key, keys
		return stem + "ies"
	}
	for _, end := range []string{"s", "x", "ch", "sh"} {
		if strings.HasSuffix(noun, end) {
			return noun + "es"
		}
	}
	return noun + "s"
}

// Verb returns a verb as it stands behind a number of things: "1 name follows", "2 names
// follow". It is given as of several.
func Verb[N integer](n N, verb string) string {
	switch {
	case n != 1:
		return verb
	case verb == "are":
		return "is"
	case verb == "have":
		return "has"
	}
	return verb + "s"
}

// List joins a few items, and counts the others: "a, b and c", "a, b, c and 7 more".
func List(items []string) string {
	const shown = 4
	if len(items) > shown {
		return strings.Join(items[:shown-1], ", ") + fmt.Sprintf(" and %d more", len(items)-shown+1)
	}
	if len(items) < 2 {
		return strings.Join(items, "")
	}
	return strings.Join(items[:len(items)-1], ", ") + " and " + items[len(items)-1]
}
