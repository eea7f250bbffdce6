package compare

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/wtinspect/wtinspect/internal/values"
)

// The expectations are what simple quantisers cost normal numbers.
func TestExpectedError(t *testing.T) {
	const n = 1 << 16
	rnd := rand.New(rand.NewPCG(1, 2))
	x := make([]float64, n)
	for i := range x {
		x[i] = rnd.NormFloat64()
	}
	half := func(b []byte, v float64) []byte { // positive or negative normal numbers of F16
		bits := math.Float32bits(float32(v))
		return binary.LittleEndian.AppendUint16(b, uint16(bits>>16&0x8000|(bits&0x7fffffff-112<<23+1<<12)>>13))
	}
	// farthest returns the number of the greatest magnitude, with its sign.
	farthest := func(x []float64) float64 {
		m := x[0]
		for _, v := range x {
			if math.Abs(v) > math.Abs(m) {
				m = v
			}
		}
		return m
	}
	quantise := map[string]func([]float64) []byte{
		"BF16": func(x []float64) (b []byte) {
			for _, v := range x {
				bits := math.Float32bits(float32(v))
				b = binary.LittleEndian.AppendUint16(b, uint16((bits+0x7fff+bits>>16&1)>>16))
			}
			return b
		},
		"Q8_0": func(x []float64) []byte {
			d := math.Abs(farthest(x)) / 127
			b := half(nil, d)
			for _, v := range x {
				b = append(b, byte(int8(math.Round(v/d))))
			}
			return b
		},
		"Q4_0": func(x []float64) []byte {
			d := farthest(x) / -8
			b := half(nil, d)
			q := func(v float64) byte { return byte(min(15, math.Floor(v/d+8.5))) }
			for i := range 16 {
				b = append(b, q(x[i])|q(x[i+16])<<4)
			}
			return b
		},
	}
	for name, f := range quantise {
		typ, _ := values.Lookup(name)
		var b []byte
		for i := 0; i < n; i += 32 {
			b = append(b, f(x[i:i+32])...)
		}
		y := make([]float32, n)
		typ.Decode(y, b)
		var err, all float64
		for i, v := range x {
			d := v - float64(y[i])
			err += d * d
			all += v * v
		}
		got := math.Sqrt(err / all)
		want, ok := ExpectedError(name)
		if !ok || math.Abs(got-want) > 0.04*want {
			t.Errorf("%s costs %.5f, expected is %.5f", name, got, want)
		}
	}
	for name := range expectedErrors {
		if _, ok := values.Lookup(name); !ok {
			t.Errorf("there is no type %s", name)
		}
	}
}
