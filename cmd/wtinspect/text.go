package main

import "github.com/wtinspect/wtinspect/internal/render"

// counted returns a number with its noun, "1 tensor", "12 tensors".
func counted[N int | uint64](n N, noun string) string { return render.Counted(n, noun) }
