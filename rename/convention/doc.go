// Package convention knows what each project calls the tensors of a model and
// how it lays out their bytes.
//
// A role says what a tensor is for, whatever it is called:
// layer.attn.q.weight. A Convention gives each role a name pattern. Identify
// finds the convention that a checkpoint follows from its names alone; Convert
// derives, from two conventions, what has to happen to every tensor to go from
// one to the other, by names where names suffice and by moving bytes where they
// do not.
//
// Conventions are data: the files under data/, gguf.yaml with llama.cpp's own
// table gguf_arch.txt, and companions.yaml for quantisation, adapters and
// wrappers. docs/conventions.md says how to write one. They are read when they
// are first needed.
package convention
