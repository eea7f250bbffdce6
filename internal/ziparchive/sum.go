package ziparchive

import (
	"hash/crc32"
	"slices"
	"sync"
	"sync/atomic"
)

// A Sum compares the checksum of a member with its bytes while they are read for something else, in
// any order, by several goroutines, and some of them more than once.
type Sum struct {
	begin, end int64
	want       uint32
	state      atomic.Uint32

	mu   sync.Mutex
	seen []summed // in order, with bytes between them that were not seen
}

// summed is the checksum of some bytes.
type summed struct {
	begin, end int64
	crc        uint32
}

// The states of a Sum.
const (
	partial = iota // not all bytes were seen
	right
	wrong
	unknown // too many pieces were
)

// maxSummed bounds the pieces of a member that are kept apart.
const maxSummed = 1 << 10

// NewSum returns the Sum of a member that is not compressed, whose data begin at an offset of the file.
func NewSum(begin int64, size uint64, crc uint32) *Sum {
	return &Sum{begin: begin, end: begin + int64(size), want: crc}
}

// Saw notes bytes at an offset of the file. It is false when all of the member were seen, and have
// another checksum.
func (s *Sum) Saw(p []byte, off int64) bool {
	return s.saw(off, off+int64(len(p)), func(begin, end int64) uint32 { return crc32.ChecksumIEEE(p[begin-off : end-off]) })
}

// Done reports whether all bytes of the member were seen, and are right.
func (s *Sum) Done() bool { return s.state.Load() == right }

// SawZeros is Saw for n bytes that are zero.
func (s *Sum) SawZeros(off, n int64) bool {
	return s.saw(off, off+n, func(begin, end int64) uint32 { return ^shifted(^uint32(0), end-begin) })
}

func (s *Sum) saw(begin, end int64, sum func(begin, end int64) uint32) bool {
	begin, end = max(begin, s.begin), min(end, s.end)
	for s.state.Load() == partial {
		s.mu.Lock()
		from, to := s.unseen(begin, end)
		s.mu.Unlock()
		if from >= to {
			break
		}
		crc := sum(from, to) // which others may do meanwhile
		s.mu.Lock()
		if f, t := s.unseen(from, to); f == from && t == to {
			s.add(summed{from, to, crc})
		}
		s.mu.Unlock()
	}
	return s.state.Load() != wrong
}

// unseen returns the first bytes of a range that were not seen.
func (s *Sum) unseen(begin, end int64) (from, to int64) {
	i, _ := slices.BinarySearchFunc(s.seen, begin, func(r summed, at int64) int {
		if r.end <= at {
			return -1
		}
		return 1
	})
	for ; i < len(s.seen) && s.seen[i].begin <= begin; i++ {
		begin = max(begin, s.seen[i].end)
	}
	if i < len(s.seen) {
		end = min(end, s.seen[i].begin)
	}
	return begin, end
}

// add notes bytes that were not seen, and joins them with their neighbours.
func (s *Sum) add(r summed) {
	i, _ := slices.BinarySearchFunc(s.seen, r.begin, func(o summed, at int64) int { return int(min(1, max(-1, o.begin-at))) })
	s.seen = slices.Insert(s.seen, i, r)
	if i+1 < len(s.seen) && s.seen[i].end == s.seen[i+1].begin {
		s.join(i)
	}
	if i > 0 && s.seen[i-1].end == s.seen[i].begin {
		s.join(i - 1)
	}
	switch all := s.seen[0]; {
	case all.begin == s.begin && all.end == s.end:
		s.seen = nil
		if all.crc == s.want {
			s.state.Store(right)
		} else {
			s.state.Store(wrong)
		}
	case len(s.seen) > maxSummed:
		s.seen = nil
		s.state.Store(unknown)
	}
}

// join makes one piece of two that follow each other: that of the first is moved past the second.
func (s *Sum) join(i int) {
	a, b := &s.seen[i], s.seen[i+1]
	a.crc = shifted(a.crc, b.end-b.begin) ^ b.crc
	a.end = b.end
	s.seen = slices.Delete(s.seen, i+1, i+2)
}

// A checksum is a polynomial over GF(2) modulo that of CRC-32, the highest power in the lowest bit
// (RFC 1952, 8). Bytes behind others multiply the checksum of these by x^8 each.

// powers are x^1, x^2, x^4, x^8, …. The order of x divides 2^32-1, so that they repeat.
var powers = func() (table [32]uint32) {
	p := uint32(1) << 30
	for i := range table {
		table[i] = p
		p = times(p, p)
	}
	return table
}()

// times multiplies two polynomials.
func times(a, b uint32) (product uint32) {
	for ; a != 0; a <<= 1 {
		if a&(1<<31) != 0 {
			product ^= b
		}
		if b&1 != 0 {
			b = b>>1 ^ crc32.IEEE
		} else {
			b >>= 1
		}
	}
	return product
}

// shifted multiplies a polynomial by x^8 n times.
func shifted(p uint32, n int64) uint32 {
	for k := 3; n > 0; k, n = k+1, n>>1 {
		if n&1 != 0 {
			p = times(powers[k%32], p)
		}
	}
	return p
}
