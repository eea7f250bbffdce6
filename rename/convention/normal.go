package convention

import (
	"strconv"
	"strings"
)

// hole is what stands for an index in a normal name.
const hole = '#'

// normalize appends the normal form of name to buf, with every index replaced
// by a hole, and its indices to nums. An index is a run of at most nine digits
// that fills a segment between '.', '_', '/', '-' and the ends of the name, or
// that ends the name right after "weight" or "bias" (Megatron-core numbers
// grouped experts that way: linear_fc1.weight12). A run with a needless
// leading zero is text: no convention writes indices so.
func normalize(buf []byte, nums []int32, name string) ([]byte, []int32) {
	for i := 0; i < len(name); {
		c := name[i]
		if c < '0' || c > '9' {
			buf = append(buf, c)
			i++
			continue
		}
		end := i + 1
		for end < len(name) && name[end] >= '0' && name[end] <= '9' {
			end++
		}
		ok := end-i <= 9 && (c != '0' || end == i+1)
		if ok && end < len(name) && !isBoundary(name[end]) {
			ok = false
		}
		if ok && i > 0 && !isBoundary(name[i-1]) && !(end == len(name) && endsInLeaf(name[:i])) {
			ok = false
		}
		if !ok {
			buf = append(buf, name[i:end]...)
			i = end
			continue
		}
		n := int32(0)
		for _, d := range []byte(name[i:end]) {
			n = n*10 + int32(d-'0')
		}
		buf = append(buf, hole)
		nums = append(nums, n)
		i = end
	}
	return buf, nums
}

func isBoundary(c byte) bool { return c == '.' || c == '_' || c == '/' || c == '-' }

func endsInLeaf(s string) bool {
	return strings.HasSuffix(s, ".weight") || strings.HasSuffix(s, ".bias")
}

// fill is the inverse of normalize: it writes the indices where the holes are.
func fill(normal string, nums []int32) string {
	buf := make([]byte, 0, len(normal)+4*len(nums))
	n := 0
	for i := 0; i < len(normal); i++ {
		if normal[i] == hole && n < len(nums) {
			buf = strconv.AppendInt(buf, int64(nums[n]), 10)
			n++
			continue
		}
		buf = append(buf, normal[i])
	}
	return string(buf)
}
