package render

import (
	"strconv"

	"github.com/wtinspect/wtinspect/internal/plural"
)

// Size returns n bytes for people: three digits and a binary unit, "98.0 MiB".
func Size(n uint64) string { return plural.Size(n) }

// Count returns n things for people: three digits and a short scale, "34.4 B".
func Count(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10)
	}
	f, unit := float64(n), 0
	for ; f >= 999.5 && unit < 6; unit++ {
		f /= 1000
	}
	// From 10^15 on there is no letter that everybody reads alike.
	suffix := []string{"", " K", " M", " B", " T", "e15", "e18"}[unit]
	return strconv.FormatFloat(f, 'f', plural.Decimals(f), 64) + suffix
}

// Grouped returns n with a comma between groups of three digits.
func Grouped(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Counted returns a number with its noun: "1 tensor", "12 tensors".
func Counted[N int | uint64](n N, noun string) string {
	return Grouped(uint64(n)) + " " + plural.Noun(n, noun)
}
