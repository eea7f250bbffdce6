// Package quant says how the weights of a checkpoint are quantised, from the names,
// dtypes and shapes of the tensors. schemes.yaml has what each library writes; what
// the documents beside the weights claim is held against it elsewhere.
package quant
