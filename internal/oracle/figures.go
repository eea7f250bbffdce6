package oracle

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/big"
	"slices"
)

// Figures are the statistics of a tensor. Those after NegInf are of the finite
// numbers, and NaN where there is none.
type Figures struct {
	Count, Zeros, Denormals, NaN, PosInf, NegInf uint64

	Min, Max, Mean, Std, L2 float64
	// MeanAbs is the mean of the magnitudes: the scale of what rounding does.
	MeanAbs  float64
	Distinct int64
	Sorted   []float64
}

// Measure computes the figures of a tensor from its bytes.
func Measure(t *Tensor, data []byte) (*Figures, error) {
	list, err := decode(t, data)
	if err != nil {
		return nil, err
	}
	f := &Figures{Min: math.NaN(), Max: math.NaN(), Mean: math.NaN(), Std: math.NaN()}
	// Enough bits to add up all numbers of the type without rounding.
	precision := uint(800)
	if t.DType == "F64" {
		precision = 4500
	}
	float := func() *big.Float { return new(big.Float).SetPrec(precision) }
	sum, squares, magnitudes := float(), float(), float()
	for i, n := range list {
		f.Count++
		if n.f == 0 {
			f.Zeros++
		}
		if n.subnormal {
			f.Denormals++
		}
		switch {
		case math.IsNaN(n.f):
			f.NaN++
		case math.IsInf(n.f, 1):
			f.PosInf++
		case math.IsInf(n.f, -1):
			f.NegInf++
		default:
			x := float().SetFloat64(n.f)
			// A float64 does not hold every integer of 64 bits.
			if wide(t) {
				x.SetInt64(int64(order(t).Uint64(data[8*i:])))
				if t.DType == "U64" {
					x.SetUint64(order(t).Uint64(data[8*i:]))
				}
			}
			sum.Add(sum, x)
			squares.Add(squares, float().Mul(x, x))
			magnitudes.Add(magnitudes, float().Abs(x))
			f.Sorted = append(f.Sorted, n.f+0)
		}
	}
	f.L2, _ = float().Sqrt(squares).Float64()
	if len(f.Sorted) == 0 {
		return f, nil
	}
	count := float().SetInt64(int64(len(f.Sorted)))
	mean := float().Quo(sum, count)
	f.Mean, _ = mean.Float64()
	f.MeanAbs, _ = float().Quo(magnitudes, count).Float64()
	variance := float().Quo(squares, count)
	variance.Sub(variance, float().Mul(mean, mean))
	if variance.Sign() < 0 {
		variance.SetInt64(0) // the last bit of the precision
	}
	f.Std, _ = float().Sqrt(variance).Float64()
	slices.Sort(f.Sorted)
	f.Min, f.Max = f.Sorted[0], f.Sorted[len(f.Sorted)-1]
	f.Distinct = int64(len(slices.Compact(slices.Clone(f.Sorted))))
	if wide(t) {
		codes := map[[8]byte]bool{}
		for i := 0; i < len(data); i += 8 {
			codes[[8]byte(data[i:])] = true
		}
		f.Distinct = int64(len(codes))
	}
	return f, nil
}

// wide says that the type has numbers that no float64 holds.
func wide(t *Tensor) bool { return t.DType == "I64" || t.DType == "U64" }

// SameNumbers reports whether two tensors of one type hold the same numbers: bytes
// may differ where 0 has several codes, a scale is 0, or both are NaN.
func SameNumbers(t *Tensor, a, b []byte) (bool, error) {
	if wide(t) {
		return bytes.Equal(a, b), nil
	}
	x, err := Numbers(t, a)
	if err != nil {
		return false, err
	}
	y, err := Numbers(t, b)
	return slices.EqualFunc(x, y, func(x, y float64) bool { return x == y || math.IsNaN(x) && math.IsNaN(y) }), err
}

func order(t *Tensor) binary.ByteOrder {
	if t.BigEndian {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// Quantile is the least number that at least percent % of the finite numbers do
// not exceed.
func (f *Figures) Quantile(percent int) float64 {
	n := len(f.Sorted)
	if n == 0 {
		return math.NaN()
	}
	return f.Sorted[(n*percent+99)/100-1]
}
