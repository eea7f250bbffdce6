// Package layers holds the project's architecture as a test.
//
// Imports point down only. From top to bottom:
//
//	beam/cmd/wtinspect-beam
//	beam/internal/pipeline
//	cmd/wtinspect
//	internal/browse  internal/page
//	internal/answer  internal/argv  internal/report  internal/tables
//	inspect
//	internal/render
//	internal/fix
//	internal/policy
//	internal/check  internal/compare  internal/evidence  internal/stats
//	rename/infer  checkpoint/assemble
//	checkpoint/rewrite  rename/convention/convert
//	checkpoint/internal/image  rename/convention/identify  internal/adapt  internal/arrays  internal/remote  rename/convention/internal/compile
//	rename/convention  internal/values  internal/txn
//	checkpoint  internal/stores  rename/exchange
//	internal/source  internal/jsondoc  safetensors  gguf  pytorch  internal/numpy  rename  rename/match  rename/convention/adapter
//	rename/template  rename/tensorop  internal/quant
//	internal/plural  internal/strided  internal/ziparchive
//
// A package may import packages of lower rows, never one of its own row or
// above. The leaf libraries safetensors, gguf, pytorch, internal/numpy, rename/template and
// rename/tensorop import the standard library and the lowest row alone. Each third-party module
// has the rooms it may be used in, and no exported name of a public package
// mentions an internal type.
//
// Only internal/source opens, lists and looks at files for reading, and only
// internal/txn writes, replaces and removes them.
//
// internal/fixture, internal/foreign, internal/hubtest, internal/oracle, internal/testdata,
// internal/torchtest, internal/sweep, internal/source/sourcetest and internal/txn/{disktest,faulttest,crashtest} serve tests only.
package layers
