//go:build !linux

package rewrite

import "testing"

func mountBench(b *testing.B, kind string) string {
	b.Helper()
	b.Skipf("%s file systems are mounted on Linux only", kind)
	return ""
}
