package checkpoint

import (
	"hash/maphash"

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

// agrees reports whether the index places the tensors where the files hold
// them, each name once. No entry is looked up for it.
func (c *Checkpoint) agrees(ix *safetensors.IndexSummary) bool {
	if c.Format != Safetensors {
		return false
	}
	files := make([]*safetensors.File, len(c.Files))
	for i, f := range c.Files {
		files[i] = f.Safetensors()
	}
	return ix.Places(files, c.shardFiles())
}
