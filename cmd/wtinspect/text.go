package main

import (
	"github.com/wtinspect/wtinspect/internal/answer"
	"github.com/wtinspect/wtinspect/internal/render"
)

// counted returns a number with its noun, "1 tensor", "12 tensors".
func counted[N int | uint64](n N, noun string) string { return render.Counted(n, noun) }

// What diff prints as other commands do.
var (
	writeHeading = answer.Heading
	textOf       = answer.TextOf
	shapeText    = answer.ShapeText
)
