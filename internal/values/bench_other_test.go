//go:build !linux

package values

import (
	"testing"
	"time"
)

// cpuTime is the time of the clock, for want of a portable one of the processors.
func cpuTime(tb testing.TB) time.Duration { return wallTime(tb) }
