package main

import (
	"runtime"
	"runtime/debug"
	"testing"
)

// TestRaiseLimit has in use more than the limit: the limit must follow.
func TestRaiseLimit(t *testing.T) {
	const limit = 8 << 20
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(limit))
	raiseLimit()
	inUse := make([]byte, 4*limit)
	for range 100 {
		runtime.GC()
		if debug.SetMemoryLimit(-1) > int64(len(inUse)) {
			runtime.KeepAlive(inUse)
			return
		}
		runtime.Gosched()
	}
	t.Errorf("the limit is still %d bytes", debug.SetMemoryLimit(-1))
}
