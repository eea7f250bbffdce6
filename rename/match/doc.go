// Package match finds which modules of one model are which of another's.
//
// Tensors that differ in their indices alone are one kind, and kinds that differ in their
// leaves alone (weight, bias, scales) are one [Module], so that a weight and its bias are
// never torn apart. What one module may become of another is a hypothesis: the same tensor,
// its transpose, experts in one tensor, the parts of a fused projection. Each has a cost in
// log-odds, of names, shapes, biases, order, and whatever the caller knows besides;
// [Solve] takes the hypotheses that are cheapest together, and says by how much each one is.
//
// The package knows no convention and reads no weights.
package match
