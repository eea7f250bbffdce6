// Package check judges a release of model weights by rules.
//
// # Words
//
// A Rule is a value: its stable ID, what it means, and the function that runs
// it. Rules lists them all; adding one is adding an element. A Finding is what
// a rule has to say about one place, or about many tensors that share a
// template, which are one finding with a count. A Report is the findings of a
// run, in the order of the rules' blocks. A Fix is what can be done about a rule's
// findings, as a value: package fix does it. Which findings are accepted is no
// concern of this package, but of package policy.
//
// The IDs come in blocks and are never reused:
//
//	WT0xx  the settings of a run: exceptions that expired or are not needed
//	WT1xx  the container: one file by itself
//	WT2xx  shards and index: the files as a set
//	WT3xx  agreement with config.json and related files, and of GGUF keys with tensors
//	WT4xx  names
//	WT5xx  companions: what belongs to quantised and adapted weights; from WT550
//	       on, values
//	WT6xx  change against an earlier release or a lock
//	WT7xx  what a hub says of the release; from WT710 on, code in weights
//	WT9xx  surroundings: what else a repository holds
//
// # Promises
//
// Only headers and the documents beside the weights are read, but for the rules
// that read values, which run when they are asked for and read all data once
// between them, and for locks with digests. A file that is
// missing or broken is a finding and does not hide those of the others; what
// follows from its absence alone is not reported again. A rule that cannot know
// says nothing: a layout or an architecture that is not understood is no
// finding. What a document or a file says is quoted, never obeyed.
package check
