package main

import (
	"os"
	"runtime/debug"
)

// gcPercent has garbage collected when there is twice as much as what is in use.
// At Go's own 100 a diff of 92,000 names takes a quarter longer; at more, nothing is
// quicker that could be measured.
const gcPercent = 200

// tuneMemory sets how often garbage is collected, unless the environment does.
func tuneMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
