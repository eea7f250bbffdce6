// Package rename works with the names of tensors: it folds lists of them for
// reading, and renames them by maps.
//
// It is pure. Names go in and names come out; no file is opened, and nothing
// here knows how tensors are stored.
package rename
