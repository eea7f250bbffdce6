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
	hashes := make([]uint64, 0, c.Len())
	fileOfShard := c.shardFiles()
	last, file := "", -1
	ix, err := walkIndex(ctx, c.Index, func(name []byte, shard string) {
		if shard != last {
			last, file = shard, fileOfShard(shard)
		}
		h := maphash.Bytes(seed, name)
		p.add(h, file)
		hashes = append(hashes, h)
	})
	if err != nil {
		return nil, placement{}, err
	}
	failed := func(f safetensors.Fault) bool { return f.Severity == safetensors.Error }
	if slices.ContainsFunc(ix.Faults(), failed) || mayRepeat(hashes) {
		p.entries = -1
	}
	return ix, p, nil
}

// mayRepeat reports whether a hash is there twice; in practice it is right. One
// table for all would be waited for at every access. The hashes are put into
// parts that the nearest memory holds, each with a table of its own.
func mayRepeat(hashes []uint64) bool {
	const slots, aim, most = 2048, 512, 1024
	shift := 64 - bits.Len(uint(len(hashes)/aim))
	starts := make([]int, 1<<(64-shift)+1)
	for _, h := range hashes {
		starts[h>>shift+1]++
	}
	for i := range starts[1:] {
		starts[i+1] += starts[i]
	}
	parts := make([]uint64, len(hashes))
	next := slices.Clone(starts)
	for _, h := range hashes {
		part := h >> shift
		parts[next[part]] = h
		next[part]++
	}
	var table [slots]uint64
	for i := range starts[1:] {
		part := parts[starts[i]:starts[i+1]]
		if len(part) > most {
			return true
		}
		clear(table[:])
		for _, h := range part {
			h |= 1 // 0 is a free slot
			at := h >> 1 % slots
			for table[at] != 0 {
				if table[at] == h {
					return true
				}
				at = (at + 1) % slots
			}
			table[at] = h
		}
	}
	return false
}
