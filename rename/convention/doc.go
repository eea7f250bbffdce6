// Package convention knows what each project calls the tensors of a model and
// how it lays out their bytes.
//
// A role says what a tensor is for, whatever it is called:
// layer.attn.q.weight. A Convention gives each role a name pattern and describes
// the layout of the bytes. A Model is what configurations say beside the names:
// numbers under the names that each project has for them.
//
// Package identify finds the convention that a checkpoint follows; package convert
// derives, from two conventions, what has to happen to every tensor to go from one
// to the other.
//
// Conventions are data: the files under data/, and gguf.yaml with llama.cpp's own
// table gguf_arch.txt. docs/conventions.md says how to write one. Package
// internal/compile makes conventions.txt of them, which is read when a convention is
// first needed.
package convention

//go:generate go run gen_gguf.go
