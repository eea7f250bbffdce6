package checkpoint

import (
	"context"
	"hash/maphash"
	"math/bits"
	"slices"

	"github.com/wtinspect/wtinspect/safetensors"
)

// A nameTable finds tensors by name. It is an open-addressed table of tensor
// numbers with 32 bits of each name's hash; the names stay where they are. A
// map would take five times the memory.
type nameTable struct {
	seed  maphash.Seed
	slots []slot // a power of two, at most half full
}

// slot holds a tensor's number plus one, 0 when it is free.
type slot struct {
	hash, tensor uint32
}

// A duplicate is a tensor whose name an earlier file has already.
type duplicate struct{ first, again int }

func (c *Checkpoint) buildTable() {
	size := 8
	for size < 2*c.Len() {
		size *= 2
	}
	c.table = nameTable{seed: maphash.MakeSeed(), slots: make([]slot, size)}
	if c.namesOnly {
		for i := range c.Len() {
			c.insert(i, -1, uint32(maphash.String(c.table.seed, c.name(i))))
		}
		return
	}
	for file, f := range c.Files {
		for i := range f.len() {
			c.insert(c.starts[file]+i, file, uint32(f.format.hash(c.table.seed, i)))
		}
	}
}

// insert adds a tensor to the table unless one of its name is there.
func (c *Checkpoint) insert(tensor, file int, hash uint32) {
	mask := uint32(len(c.table.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &c.table.slots[i]
		if s.tensor == 0 {
			*s = slot{hash, uint32(tensor + 1)}
			return
		}
		if first := int(s.tensor - 1); s.hash == hash && c.hasName(first, c.name(tensor)) {
			if file >= 0 && c.fileOf(first) != file {
				c.duplicates = append(c.duplicates, duplicate{first, tensor})
			}
			return
		}
	}
}

// lookup returns the first tensor of a name.
func (c *Checkpoint) lookup(name string) (int, bool) {
	hash := uint32(maphash.String(c.table.seed, name))
	mask := uint32(len(c.table.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := c.table.slots[i]
		if s.tensor == 0 {
			return 0, false
		}
		if s.hash == hash && c.hasName(int(s.tensor-1), name) {
			return int(s.tensor - 1), true
		}
	}
}

// A placement is a fingerprint of a set of names and the files they are in.
// Equal sets have equal placements in any order. The hash is seeded anew each
// time, so that no file can be made for two sets to have the same.
type placement struct {
	entries int
	sum     uint64
}

// add takes in a name by its hash.
func (p *placement) add(name uint64, file int) {
	const odd = 0x9e3779b97f4a7c15 // spreads neighbouring file numbers
	hi, lo := bits.Mul64(name^uint64(file+1)*odd, odd)
	p.sum += hi ^ lo
	p.entries++
}

// placement returns where the files hold the tensors.
func (c *Checkpoint) placement(seed maphash.Seed) (p placement) {
	for file, f := range c.Files {
		for i := range f.len() {
			p.add(f.format.hash(seed, i), file)
		}
	}
	return p
}

// walkIndex reads the index without keeping its entries, and returns where it
// places the tensors. An index with an error, or with a name that it may have
// twice, agrees with nothing.
func (c *Checkpoint) walkIndex(ctx context.Context, seed maphash.Seed) (*safetensors.Index, placement, error) {
	var p placement
	seen := newSieve(c.Len())
	fileOfShard := c.shardFiles()
	last, file := "", -1
	ix, err := walkIndex(ctx, c.Index, func(name []byte, shard string) {
		if shard != last {
			last, file = shard, fileOfShard(shard)
		}
		h := maphash.Bytes(seed, name)
		p.add(h, file)
		seen.add(h)
	})
	if err != nil {
		return nil, placement{}, err
	}
	failed := func(f safetensors.Fault) bool { return f.Severity == safetensors.Error }
	if seen.again || slices.ContainsFunc(ix.Faults(), failed) {
		p.entries = -1
	}
	return ix, p, nil
}

// A sieve finds out whether a hash may have been added twice. It is sized for
// a number of hashes and, in practice, never wrong about a set without
// repetitions; more than it is sized for count as one.
type sieve struct {
	slots []uint32
	room  int
	again bool
}

func newSieve(n int) *sieve {
	size := 8
	for size < 2*n {
		size *= 2
	}
	return &sieve{slots: make([]uint32, size), room: n}
}

func (s *sieve) add(hash uint64) {
	if s.room--; s.room < 0 || s.again {
		s.again = true
		return
	}
	mask := uint32(len(s.slots) - 1)
	tag := uint32(hash) | 1
	for i := uint32(hash>>32) & mask; ; i = (i + 1) & mask {
		switch s.slots[i] {
		case 0:
			s.slots[i] = tag
			return
		case tag:
			s.again = true
			return
		}
	}
}
