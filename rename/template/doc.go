// Package template takes the names of tensors apart.
//
// A name is segments with dots between them. A segment is words with '_', '/'
// or '-' between them: "h.11.ln_1.weight" has four segments, the third of which
// is two words.
//
// An index is a number that counts tensors of one kind, such as layers or
// experts. It has at most nine digits and no leading zero: nobody writes
// indices otherwise. Names alone do not always say which numbers are indices
// (the 1 of ln_1 tells it from ln_2), so a [Grain] does: numbers that fill a
// segment, numbers that fill a word, or all of them.
//
// A template is a name with 0 in place of every index. It is itself a name of
// its kind: names have the same template if and only if they differ in their
// indices alone. People read a template with something else in place of the
// zeros: a hole, "layers.{}.ln_1.weight", or, where [Fold] has put many names
// together, the set of the numbers, "layers.{0..59}.ln_1.weight".
//
// [Kinds] takes the list as a whole, and finds out which numbers count.
//
// A [Glob] chooses names, and [Compare] sorts them as people do.
package template
