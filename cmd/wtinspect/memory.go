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

// saveMemory has garbage collected when there is half as much as what is in use, until done is
// called: a plan for 47,000 tensors takes a fifth longer then, which nobody notices beside the
// copy, and two thirds of the memory.
func saveMemory() (done func()) { return collect(50) }

// saveMemoryListing is for what keeps what it reads, until done is called: at less than a quarter, a listing
// of 100,000 tensors begins to take longer.
func saveMemoryListing() (done func()) { return collect(25) }

// saveMemoryCopying is for a copy, until done is called: what it works on is there, and what it leaves
// behind for each tensor is little.
func saveMemoryCopying() (done func()) { return collect(15) }

// collect has garbage collected when there is so much of it, in percent of what is in use, unless the
// environment says when, until done is called.
func collect(percent int) (done func()) {
	if os.Getenv("GOGC") != "" {
		return func() {}
	}
	before := debug.SetGCPercent(percent)
	return func() { debug.SetGCPercent(before) }
}

// scanMemory is what a scan keeps to, as far as what is in use allows: small releases take
// 60 MiB, an index of 500,000 names 130 MiB, and several of those at once more without it,
// which take no longer with it.
const scanMemory = 192 << 20

// boundMemory has garbage collected more often where there is more than scanMemory, until
// done is called, unless the environment sets a limit.
func boundMemory() (done func()) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return func() {}
	}
	before := debug.SetMemoryLimit(scanMemory)
	return func() { debug.SetMemoryLimit(before) }
}
