package identify

import (
	"iter"
	"math/bits"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/template"
)

// A tensorKind is the tensors whose names have one template.
type tensorKind struct {
	cleaning
	raw    string   // the template of the name as it stands in the checkpoint
	nums   []int32  // of the first tensor; constant where an index is text
	mask   uint64   // which indices are text, from the right
	shape  []uint64 // of the first tensor
	layers bitset   // values of the first index that is not text
}

// text writes the template for people: an index is {}.
func (t *tensorKind) text() string { return writeTemplate(t.raw, t.nums, t.mask) }

func writeTemplate(raw string, nums []int32, mask uint64) string {
	return template.Words.Replace(raw, func(i int, number string) string {
		if i < len(nums) && mask>>(len(nums)-1-i)&1 != 0 {
			return strconv.Itoa(int(nums[i]))
		}
		return "{}"
	})
}

// maxLayer bounds what is remembered of a template's layers.
const maxLayer = 4096

type bitset []uint64

func (b *bitset) add(n int32) {
	if n < 0 || n >= maxLayer {
		return
	}
	for int(n/64) >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitset) has(n int) bool { return n/64 < len(b) && b[n/64]>>(n%64)&1 != 0 }

func (b *bitset) union(o bitset) {
	for len(*b) < len(o) {
		*b = append(*b, 0)
	}
	for i, w := range o {
		(*b)[i] |= w
	}
}

func (b bitset) len() int {
	n := 0
	for _, w := range b {
		n += bits.OnesCount64(w)
	}
	return n
}

func (b bitset) max() int {
	for i, w := range slices.Backward(b) {
		if w != 0 {
			return i*64 + 63 - bits.LeadingZeros64(w)
		}
	}
	return -1
}

// missing lists what b lacks of 0..max.
func (b bitset) missing(max int) []int {
	var out []int
	for i := range max + 1 {
		if !b.has(i) {
			out = append(out, i)
		}
	}
	return out
}

// mostFolded is how many templates are told apart: maxTemplates and as many companions.
const mostFolded = 2 * maxTemplates

// fold gathers tensors into templates, in order of first appearance. Names beyond mostFolded
// are only counted.
func (r *registry) fold(tensors iter.Seq[convention.Named]) (list []*tensorKind, total int) {
	type group struct {
		mask  uint64
		clean cleaning
		plain *tensorKind
		split map[string]*tensorKind
	}
	groups := make(map[string]*group, 512)
	var buf []byte
	var nums []int32
	for t := range tensors {
		if total++; len(list) == mostFolded {
			continue
		}
		buf, nums = template.Words.Scan(buf[:0], nums[:0], t.Name)
		g := groups[string(buf)]
		if g == nil {
			raw := string(buf)
			g = &group{clean: r.clean(raw)}
			if template.Words.Count(g.clean.normal) == len(nums) {
				g.mask = r.literalsOf(g.clean.normal)
			}
			groups[raw] = g
		}
		var tm *tensorKind
		if g.mask == 0 || len(nums) == 0 {
			tm = g.plain
		} else {
			tm = g.split[literalKey(nums, g.mask)]
		}
		if tm == nil {
			tm = &tensorKind{
				cleaning: g.clean, raw: string(buf), nums: slices.Clone(nums), mask: g.mask,
				shape: t.Shape,
			}
			list = append(list, tm)
			if g.mask == 0 || len(nums) == 0 {
				g.plain = tm
			} else {
				if g.split == nil {
					g.split = make(map[string]*tensorKind)
				}
				g.split[literalKey(nums, g.mask)] = tm
			}
		}
		for i, n := range nums {
			if g.mask>>(len(nums)-1-i)&1 == 0 {
				tm.layers.add(n)
				break
			}
		}
	}
	return list, total
}

func literalKey(nums []int32, mask uint64) string {
	key := make([]byte, 0, 16)
	for i, n := range nums {
		if mask>>(len(nums)-1-i)&1 != 0 {
			key = append(key, byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		}
	}
	return string(key)
}
