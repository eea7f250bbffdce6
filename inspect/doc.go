// Package inspect does what the program wtinspect does: one function a command. A
// function takes a context, what it works on, and options, nil for the defaults; its
// result is a struct whose JSON is what the command prints with -f json. Nothing is
// printed, and nothing is written but what the options name.
//
// Progress functions are told how many bytes of data are done, and how many there
// are in all. They are called from several goroutines, and begin again with 0 when
// another piece of work begins.
package inspect
