package safetensors

import (
	"math/bits"
	"slices"
)

// indexBits is how many low bits of an item hold the index of a name; the
// others hold the high bits of its hash. It bounds the number of names.
const indexBits = 22

// maxItems bounds the number of names that duplicates can look at. A header of
// 100,000,000 bytes holds fewer than 2,130,000 tensors.
const maxItems = 1 << indexBits

// item joins the hash of a name and its index.
func item(hash uint64, i int) uint64 { return hash>>indexBits<<indexBits | uint64(i) }

func itemIndex(it uint64) int { return int(it & (maxItems - 1)) }

const (
	partitionSize = 1 << 10 // names in a partition, on average
	tableBits     = 12      // slots of the probe table, 8 KB
)

// duplicates calls report for every name that an earlier one equals, with the
// index of the earliest. items holds one item a name, in the order of indexes.
//
// One table for all names would miss the cache at every probe, which costs more
// than parsing once there are a million. So the items are dealt out by their
// high bits to partitions whose table stays in the first-level cache.
func duplicates(items []uint64, equal func(i, j int) bool, report func(first, again int)) {
	n := len(items)
	if n < 2 {
		return
	}
	partBits := bits.Len(uint(n-1) / partitionSize)
	if partBits == 0 {
		probe(items, 0, equal, report)
		return
	}
	shift := 64 - partBits
	var room [maxItems / partitionSize]uint32
	ends := room[:1<<partBits]
	for _, it := range items {
		ends[it>>shift]++
	}
	sum := uint32(0)
	for p, count := range ends {
		ends[p] = sum
		sum += count
	}
	dealt := make([]uint64, n)
	for _, it := range items {
		p := it >> shift
		dealt[ends[p]] = it
		ends[p]++
	}
	start := uint32(0)
	for _, end := range ends {
		probe(dealt[start:end], partBits, equal, report)
		start = end
	}
}

// probe is duplicates for one partition, whose items share their first partBits
// bits.
func probe(items []uint64, partBits int, equal func(i, j int) bool, report func(first, again int)) {
	if len(items) > 1<<tableBits/2 {
		crowded(items, equal, report)
		return
	}
	var table [1 << tableBits]uint16 // place in items plus one; 0 is free
	for k, it := range items {
		slot := it << partBits >> (64 - tableBits)
		for ; table[slot] != 0; slot = (slot + 1) % (1 << tableBits) {
			other := items[table[slot]-1]
			if (other^it)>>indexBits == 0 && equal(itemIndex(other), itemIndex(it)) {
				report(itemIndex(other), itemIndex(it))
				break
			}
		}
		if table[slot] == 0 {
			table[slot] = uint16(k + 1)
		}
	}
}

// crowded is probe for a partition that is too full for the table: one name
// many times over. It sorts items.
func crowded(items []uint64, equal func(i, j int) bool, report func(first, again int)) {
	slices.Sort(items)
	var firsts []int // indexes of the different names of one hash: nearly always one
	for k, it := range items {
		if k > 0 && (items[k-1]^it)>>indexBits != 0 {
			firsts = firsts[:0]
		}
		i := itemIndex(it)
		if at := slices.IndexFunc(firsts, func(first int) bool { return equal(first, i) }); at >= 0 {
			report(firsts[at], i)
		} else {
			firsts = append(firsts, i)
		}
	}
}
