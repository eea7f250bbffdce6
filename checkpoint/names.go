package checkpoint

import "hash/maphash"

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

// A duplicate is a tensor whose name another file, or the index, has already.
type duplicate struct{ first, again int }

func (c *Checkpoint) buildTable() {
	size := 8
	for size < 2*c.Len() {
		size *= 2
	}
	t := nameTable{seed: maphash.MakeSeed(), slots: make([]slot, size)}
	for i, tensor := range c.All() {
		at, first, found := t.probe(c, tensor.Name)
		switch {
		case !found:
			*at = slot{t.hash(tensor.Name), uint32(i + 1)}
		case !c.namesOnly && c.fileOf(first) != tensor.File:
			c.duplicates = append(c.duplicates, duplicate{first, i})
		}
	}
	c.table = t
}

func (t *nameTable) hash(name string) uint32 { return uint32(maphash.String(t.seed, name)) }

// probe returns the tensor of that name, and otherwise the slot it would have.
func (t *nameTable) probe(c *Checkpoint, name string) (at *slot, tensor int, found bool) {
	hash := t.hash(name)
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; ; i = (i + 1) & mask {
		s := &t.slots[i]
		if s.tensor == 0 {
			return s, 0, false
		}
		if s.hash == hash && c.name(int(s.tensor-1)) == name {
			return s, int(s.tensor - 1), true
		}
	}
}

func (t *nameTable) lookup(c *Checkpoint, name string) (int, bool) {
	_, tensor, found := t.probe(c, name)
	return tensor, found
}
