package safetensors

import (
	"math/rand/v2"
	"slices"
)

// A nameSum stands for a set of names: equal sets have equal sums in whatever
// order they were read, and different sets different ones but for a chance of
// 2^-64. It depends on a secret of this run, so that no names can be chosen for
// two sets to have the same.
type nameSum struct {
	count int
	sum   uint64
}

// The secrets of this run. Every name that is scanned is hashed with the first.
var nameSeed, sumSeed = rand.Uint64(), rand.Uint64()

// add adds a name by its hash.
func (s *nameSum) add(hash uint64) {
	s.count++
	s.sum += mix(hash, sumSeed)
}

// plus returns the sum of the names of both sets, which have none in common.
func (s nameSum) plus(t nameSum) nameSum { return nameSum{s.count + t.count, s.sum + t.sum} }

// Places reports whether the weight map places in each of the files the tensors
// that it holds, each name once, and no others; place finds a shard among the
// files, -1 for one that is not. Nothing is looked up for it: it errs with a
// chance of 2^-64, or, of a map of 100,000 names, says no to one of a thousand
// that is right.
func (x *IndexSummary) Places(files []*File, place func(shard string) int) bool {
	placed := make([]nameSum, len(files))
	for i := range x.spellings {
		s := &x.spellings[i]
		file := place(x.shards[s.shard])
		if file < 0 {
			return false
		}
		placed[file] = placed[file].plus(s.names)
	}
	for file, f := range files {
		var held nameSum
		if f != nil {
			held = f.names
		}
		if placed[file] != held {
			return false
		}
	}
	failed := func(f Fault) bool { return f.Severity == Error }
	return !x.repeats && !slices.ContainsFunc(x.faults, failed)
}
