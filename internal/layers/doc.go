// Package layers holds the project's architecture as a test.
//
// Imports point down only. From top to bottom:
//
//	cmd/wtinspect
//	internal/render
//	internal/check  internal/compare  internal/stats
//	checkpoint/rewrite  rename/convention
//	internal/values  internal/arrays  internal/txn
//	checkpoint
//	internal/source  internal/jsondoc  safetensors  gguf  rename
//
// A package may import packages of lower rows, never one of its own row or
// above. The leaf libraries safetensors and gguf import the standard library
// alone. Each third-party module has the rooms it may be used in, and no
// exported name of a public package mentions an internal type.
//
// internal/fixture, internal/testdata, internal/txn/disktest and
// internal/txn/crashtest serve tests only.
package layers
