package main

import (
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// Most runs are over before their garbage is worth collecting: a collection
// is put off until there are 32 MB of it, or 9 times what is in use. From 256
// MB on in all, collecting is cheaper than growing.
const (
	gcPercent   = 800
	memoryLimit = 256 << 20
)

// tuneMemory sets when garbage is collected, unless the environment does.
func tuneMemory() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
		debug.SetMemoryLimit(memoryLimit)
		raiseLimit()
	}
}

// raiseLimit keeps the limit, from the next collection on, at one and a half
// times what is in use. At a limit that all in use is near, the program would do
// little else than collect.
func raiseLimit() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	type cycle struct{ _ *cycle }
	var ended func(*cycle)
	ended = func(*cycle) {
		metrics.Read(live)
		need := live[0].Value.Uint64()
		need += need / 2
		if need < math.MaxInt64 && int64(need) > debug.SetMemoryLimit(-1) {
			debug.SetMemoryLimit(int64(need))
		}
		runtime.SetFinalizer(new(cycle), ended)
	}
	runtime.SetFinalizer(new(cycle), ended)
}
