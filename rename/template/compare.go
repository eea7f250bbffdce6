package template

import (
	"cmp"
	"strings"
)

// Compare orders names as people do, numbers by their value: "layers.2" comes
// before "layers.10". Only equal names compare equal.
func Compare(a, b string) int {
	for i, j := 0, 0; ; {
		if i == len(a) || j == len(b) {
			return cmp.Or(cmp.Compare(len(a)-i, len(b)-j), cmp.Compare(a, b))
		}
		if isDigit(a[i]) && isDigit(b[j]) {
			aEnd, bEnd := digitsEnd(a, i), digitsEnd(b, j)
			x, y := strings.TrimLeft(a[i:aEnd], "0"), strings.TrimLeft(b[j:bEnd], "0")
			if c := cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y)); c != 0 {
				return c
			}
			i, j = aEnd, bEnd
			continue
		}
		if a[i] != b[j] {
			return cmp.Compare(a[i], b[j])
		}
		i, j = i+1, j+1
	}
}
