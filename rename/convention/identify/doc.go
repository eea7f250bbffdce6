// Package identify tells which naming convention a checkpoint follows, from the
// names of its tensors and, where they are known, their shapes.
//
// Names are folded into templates, wrappers and companions are taken off, and
// every convention is fitted to what is left. The conventions are those of
// package convention; companions.yaml lists what quantisation, adapters and
// frameworks add to names. docs/conventions.md says what is claimed and what is
// not.
package identify
