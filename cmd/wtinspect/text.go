package main

import (
	"strings"

	"github.com/wtinspect/wtinspect/internal/render"
)

// counted returns a number with its noun, "1 tensor", "12 tensors".
func counted[N int | uint64](n N, noun string) string {
	if n != 1 {
		if strings.HasSuffix(noun, "y") {
			noun = strings.TrimSuffix(noun, "y") + "ie"
		}
		noun += "s"
	}
	return render.Grouped(uint64(n)) + " " + noun
}
