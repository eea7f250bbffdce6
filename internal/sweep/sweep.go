// Package sweep says how much of a sweep a run of the tests does.
//
// A sweep is a test that tries many of one kind: every pair of conventions, a thousand
// seeds, every call that can fail. go test tries a part of each, the same in every run, and
// make sweeps tries all.
package sweep

import "os"

// Env names the environment variable that, unless it is empty, has a run try all.
const Env = "WTINSPECT_SWEEPS"

// Whole reports whether the run tries all.
func Whole() bool { return os.Getenv(Env) != "" }

// Has reports whether the run tries number n of a sweep, counted from 0: all of them, or one in
// so many. Where n counts what nested loops make, so many is a prime that is the length of none of them.
func Has(n, in int) bool { return Whole() || n%in == 0 }

// Count is how many a run tries.
func Count(part, whole int) int {
	if Whole() {
		return whole
	}
	return part
}
