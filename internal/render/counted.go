package render

import "strings"

// Counted returns a number with its noun, "1 tensor", "12 tensors".
func Counted[N int | uint64](n N, noun string) string {
	if n != 1 {
		if strings.HasSuffix(noun, "y") {
			noun = strings.TrimSuffix(noun, "y") + "ie"
		}
		noun += "s"
	}
	return Grouped(uint64(n)) + " " + noun
}
