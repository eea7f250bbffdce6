package assemble

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
	"unicode/utf16"

	"github.com/wtinspect/wtinspect/safetensors"
)

// index is the text of the shard index: as save_pretrained in transformers
// (modeling_utils.py) writes it, with json.dumps(index, indent=2, sort_keys=True) and a line
// feed. Names are sorted by their characters, and what is not ASCII is escaped.
func (s *Spec) index(parts []part, names []string) ([]byte, error) {
	type entry struct{ name, file string }
	var list []entry
	var size, elements uint64
	for i, p := range parts {
		for _, t := range s.Tensors[p.from:p.to] {
			list = append(list, entry{t.Name, names[i]})
			size += uint64(t.Size)
			n, ok := safetensors.Tensor{Shape: t.Shape}.Elements()
			var carry uint64
			if elements, carry = bits.Add64(elements, n, 0); !ok || carry != 0 {
				return nil, fmt.Errorf("tensor %q: with it the checkpoint has more elements than 64 bits count", t.Name)
			}
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return cmp.Compare(a.name, b.name) })
	b := fmt.Appendf(nil, "{\n  \"metadata\": {\n    \"total_parameters\": %d,\n    \"total_size\": %d\n  },\n  \"weight_map\": {", elements, size)
	for i, e := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendPython(append(b, "\n    "...), e.name)
		b = appendPython(append(b, ": "...), e.file)
	}
	return append(b, "\n  }\n}\n"...), nil
}

// appendPython appends a JSON string as Python's json module writes it by default.
func appendPython(b []byte, s string) []byte {
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\b':
			b = append(b, `\b`...)
		case r == '\f':
			b = append(b, `\f`...)
		case r >= 0x20 && r < 0x7f:
			b = append(b, byte(r))
		case r > 0xffff:
			hi, lo := utf16.EncodeRune(r)
			b = fmt.Appendf(b, `\u%04x\u%04x`, hi, lo)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return append(b, '"')
}
