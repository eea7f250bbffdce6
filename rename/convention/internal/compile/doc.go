// Package compile reads the files that describe conventions, and writes what they
// come to: conventions.txt, the form that package convention reads. Descriptions are
// short because they build on each other; what the program reads is long, and fast.
// Only its tests use it: they keep conventions.txt up to date, and make generate has
// them write it.
package compile
