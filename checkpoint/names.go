package checkpoint

import (
	"hash/maphash"
	"math/bits"

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
	seed    maphash.Seed
	entries int
	sum     uint64
}

func (p *placement) add(name uint64, file int) {
	const odd = 0x9e3779b97f4a7c15 // spreads neighbouring file numbers
	hi, lo := bits.Mul64(name^uint64(file+1)*odd, odd)
	p.sum += hi ^ lo
	p.entries++
}

// placement returns where the files hold the tensors.
func (c *Checkpoint) placement() placement {
	p := placement{seed: maphash.MakeSeed()}
	for file, f := range c.Files {
		for i := range f.len() {
			p.add(f.format.hash(p.seed, i), file)
		}
	}
	return p
}

// indexedPlacement returns where the index places them. One that repeats an
// entry, or has another error, is no measure.
func (c *Checkpoint) indexedPlacement(ix *safetensors.Index, seed maphash.Seed) placement {
	p := placement{seed: seed}
	for _, f := range ix.Faults() {
		if f.Severity == safetensors.Error {
			p.entries = -1
			return p
		}
	}
	fileOfShard := c.shardFiles()
	last, file := "", -1
	for i := range ix.Len() {
		name, shard := ix.At(i)
		if shard != last {
			last, file = shard, fileOfShard(shard)
		}
		p.add(maphash.String(seed, name), file)
	}
	return p
}
