package ziparchive

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"
)

// TestSum tells a Sum of random bytes in pieces, in any order, some of them twice and across its ends.
func TestSum(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for i := range 500 {
		const begin = 64
		data := make([]byte, begin+1+random.IntN(2000)+64)
		for i := range data {
			data[i] = byte(random.IntN(256))
		}
		zeros := random.IntN(len(data) / 2)
		clear(data[len(data)/2-zeros/2 : len(data)/2+zeros/2])
		size := len(data) - begin - 64
		crc := crc32.ChecksumIEEE(data[begin : begin+size])
		for _, wrong := range []bool{false, true} {
			if wrong {
				crc ^= 1
			}
			s := NewSum(begin, uint64(size), crc)
			covered := make([]bool, size)
			left := size
			for step := 0; left > 0; step++ {
				from := random.IntN(len(data))
				to := min(len(data), from+1+random.IntN(400))
				if step > 100 { // what chance has left out
					from, to = 0, len(data)
				}
				for k := max(from, begin); k < min(to, begin+size); k++ {
					if !covered[k-begin] {
						covered[k-begin] = true
						left--
					}
				}
				ok := false
				if len(bytes.Trim(data[from:to], "\x00")) == 0 {
					ok = s.SawZeros(int64(from), int64(to-from))
				} else {
					ok = s.Saw(data[from:to], int64(from))
				}
				if ok != !(wrong && left == 0) {
					t.Fatalf("%d: %v with %d bytes left of %d, wrong: %v", i, ok, left, size, wrong)
				}
			}
			if s.state.Load() == partial {
				t.Fatalf("%d: not known after all bytes", i)
			}
		}
	}
}

// TestSumOfMany is told by several goroutines at once.
func TestSumOfMany(t *testing.T) {
	data := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	for _, crc := range []uint32{crc32.ChecksumIEEE(data), 1} {
		s := NewSum(0, uint64(len(data)), crc)
		var wg sync.WaitGroup
		for k := range 4 {
			wg.Go(func() {
				for at := k * 1000; at < len(data); at += 3000 {
					s.Saw(data[at:min(at+1024, len(data))], int64(at))
				}
				s.Saw(data[k*len(data)/4:(k+1)*len(data)/4], int64(k*len(data)/4))
			})
		}
		wg.Wait()
		if got := s.Saw(nil, 0); got != (crc != 1) || s.state.Load() == partial {
			t.Errorf("%v, state %d", got, s.state.Load())
		}
	}
}

// TestSumGivesUp keeps few pieces apart.
func TestSumGivesUp(t *testing.T) {
	data := make([]byte, 4*maxSummed)
	s := NewSum(0, uint64(len(data)), 1)
	for at := 0; at < len(data); at += 2 {
		s.Saw(data[at:at+1], int64(at))
	}
	if !s.Saw(data, 0) || s.state.Load() != unknown {
		t.Errorf("state %d", s.state.Load())
	}
}

// TestZeros works out the checksums of zeros.
func TestZeros(t *testing.T) {
	for _, n := range []int64{1, 2, 3, 31, 255, 256, 4097, 1 << 20} {
		if got, want := ^shifted(^uint32(0), n), crc32.ChecksumIEEE(make([]byte, n)); got != want {
			t.Errorf("%d zeros: %08x, want %08x", n, got, want)
		}
	}
}
