// Package crashtest runs a program and stops it at every call by which it
// changes files, to kill it there, to signal it, or to let somebody else act; and
// it makes file systems that lose power. It serves tests on Linux.
package crashtest
