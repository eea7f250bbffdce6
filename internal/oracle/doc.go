// Package oracle is a second opinion on checkpoints, for tests: a reader of
// safetensors and GGUF, a decoder, plain statistics, a matcher of the map
// language and a generator of random files that are odd and valid.
//
// It is written from the formats' descriptions and imports nothing of the
// program, so that a misunderstanding cannot hide on both sides of a comparison.
// It is slow and obvious: whatever could be clever is not.
package oracle
