package values

import "math"

// ScaledBytes is what an element of a [Scaled] type has before the element itself: its scale, an F32.
const ScaledBytes = 4

// Scaled returns the type of elements, floating-point numbers or integers, that each have their scale
// before them: what a quantised weight comes to, whatever part of it a scale is of.
func Scaled(of *Type) *Type {
	size := ScaledBytes + of.BlockBytes
	t := &Type{Name: of.Name + " with scales", BlockElems: 1, BlockBytes: size, Parts: 1, kind: kindInt, scaled: of}
	t.decode64 = func(dst []float64, src []byte) {
		for i := range dst {
			one := src[i*size : (i+1)*size]
			of.Decode64(dst[i:i+1], one[ScaledBytes:])
			dst[i] *= scaleOf(one)
		}
	}
	t.decode = func(dst []float32, src []byte) {
		var one [1]float64
		for i := range dst {
			t.decode64(one[:], src[i*size:(i+1)*size])
			dst[i] = float32(one[0])
		}
	}
	return t
}

func scaleOf(element []byte) float64 {
	return float64(math.Float32frombits(le.Uint32(element)))
}
