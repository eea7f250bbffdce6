package safetensors

import "math/rand/v2"

// A NameSum stands for a set of names: equal sets have equal sums in whatever
// order they were read, and different sets different ones but for a chance of
// 2^-64. The sums of two runs of a program cannot be compared, because they
// depend on a secret, so that no names can be chosen for two sets to have the same.
type NameSum struct {
	Count int
	Sum   uint64
}

// The secrets of this run. Every name that is scanned is hashed with the first.
var nameSeed, sumSeed = rand.Uint64(), rand.Uint64()

// add adds a name by its hash.
func (s *NameSum) add(hash uint64) {
	s.Count++
	s.Sum += mix(hash, sumSeed)
}

// Plus returns the sum of the names of both sets, which have none in common.
func (s NameSum) Plus(t NameSum) NameSum { return NameSum{s.Count + t.Count, s.Sum + t.Sum} }

// NameSum returns the sum of the tensors' names.
func (f *File) NameSum() NameSum { return f.names }

// NameSums returns the sums of the names that the weight map places in each of
// [Index.Shards].
func (x *Index) NameSums() []NameSum {
	sums := make([]NameSum, len(x.shards))
	for i := range x.spellings {
		s := &x.spellings[i]
		sums[s.shard] = sums[s.shard].Plus(s.names)
	}
	return sums
}
