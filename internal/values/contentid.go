package values

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
)

// TensorDigest is what a checkpoint's content id is made of: a tensor without
// its name and place.
type TensorDigest struct {
	DType  string   // as the file spells it
	Shape  []uint64 // slowest dimension first, in GGUF too
	SHA256 [sha256.Size]byte
}

// AppendLine appends the tensor's line of the content id, such as
//
//	BF16 [4096,11008] 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
//
// that is dtype, shape without spaces ([] for a scalar), SHA-256 of the bytes
// as they are in the file, and a line feed.
func (d TensorDigest) AppendLine(b []byte) []byte {
	b = append(b, d.DType...)
	b = append(b, " ["...)
	for i, n := range d.Shape {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, n, 10)
	}
	b = append(b, "] "...)
	b = hex.AppendEncode(b, d.SHA256[:])
	return append(b, '\n')
}

// ContentID returns the id of a checkpoint's weights: the SHA-256 of its
// tensors' lines in bytewise order, duplicates included. Names, metadata, order
// and the split into files do not enter. With one line a tensor in a file,
//
//	LC_ALL=C sort lines | sha256sum
//
// prints the same.
func ContentID(tensors []TensorDigest) [sha256.Size]byte {
	lines := make([]string, len(tensors))
	var b []byte
	for i, t := range tensors {
		b = t.AppendLine(b[:0])
		lines[i] = string(b)
	}
	slices.Sort(lines)
	h := sha256.New()
	for _, l := range lines {
		h.Write([]byte(l))
	}
	return [sha256.Size]byte(h.Sum(nil))
}
