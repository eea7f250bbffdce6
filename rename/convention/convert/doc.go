// Package convert derives how a checkpoint goes from one convention to another:
// by names where names suffice, and by moving bytes where they do not.
//
// Between converts the tensors of one checkpoint, Derive finds the rules between
// two conventions without any, and either can be written as a map. Review finds
// renames of which the names suffice only in appearance.
package convert
