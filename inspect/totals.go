package inspect

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Totals add up tensors. Elements and Bytes leave out the Unknown tensors, whose
// size is not known.
type Totals struct {
	Tensors  int    `json:"tensors"`
	Elements Sum    `json:"elements"`
	Bytes    Sum    `json:"bytes"`
	Unknown  int    `json:"unknown"`
	DTypes   DTypes `json:"dtypes"`

	byDType map[string]int // index in DTypes
}

// DTypes are the totals of each dtype, in the order of their first appearance.
// In JSON they are an object.
type DTypes []DTypeTotals

// DTypeTotals add up the tensors of one dtype.
type DTypeTotals struct {
	DType            string
	Tensors, Unknown int
	Elements, Bytes  Sum
}

// MarshalJSON implements [json.Marshaler].
func (d DTypes) MarshalJSON() ([]byte, error) {
	out := make(map[string]jsonDType, len(d))
	for i := range d {
		j := jsonDType{Tensors: d[i].Tensors}
		if d[i].Unknown < d[i].Tensors {
			j.Bytes = &d[i].Bytes
		}
		out[d[i].DType] = j
	}
	return render.Marshal(out)
}

type jsonDType struct {
	Tensors int  `json:"tensors"`
	Bytes   *Sum `json:"bytes"`
}

// ByBytes returns the dtypes, the one with the most bytes first.
func (d DTypes) ByBytes() DTypes {
	out := slices.Clone(d)
	slices.SortStableFunc(out, func(a, b DTypeTotals) int { return cmp.Compare(b.Bytes.N, a.Bytes.N) })
	return out
}

// A Sum is a total that says when it left 64 bits. It is null in JSON then.
type Sum struct {
	N        uint64
	Overflow bool
}

// Add adds a number.
func (s *Sum) Add(n uint64) {
	var carry uint64
	s.N, carry = bits.Add64(s.N, n, 0)
	s.Overflow = s.Overflow || carry != 0
}

// MarshalJSON implements [json.Marshaler].
func (s Sum) MarshalJSON() ([]byte, error) {
	if s.Overflow {
		return []byte("null"), nil
	}
	return strconv.AppendUint(nil, s.N, 10), nil
}

const (
	// maxDTypes is how many dtypes are added up each by itself: more than there
	// are, and a bound for a file that gives every tensor one of its own.
	maxDTypes = 1000
	// otherDTypes is the name of the rest.
	otherDTypes = "other"
)

// TotalsOf adds up tensors.
func TotalsOf(tensors iter.Seq2[int, checkpoint.Tensor]) *Totals {
	out := new(Totals)
	for _, t := range tensors {
		out.add(&t)
	}
	return out
}

func (t *Totals) add(tensor *checkpoint.Tensor) {
	t.Tensors++
	elements, countable := tensor.Elements()
	if countable {
		t.Elements.Add(elements)
	}
	if tensor.BytesKnown {
		t.Bytes.Add(tensor.Bytes)
	} else {
		t.Unknown++
	}
	dtype := tensor.DType
	if dtype == "" {
		return
	}
	i, ok := t.byDType[dtype]
	if !ok && len(t.DTypes) >= maxDTypes {
		dtype = otherDTypes
		i, ok = t.byDType[dtype]
	}
	if !ok {
		if t.byDType == nil {
			t.byDType = make(map[string]int)
		}
		i = len(t.DTypes)
		t.byDType[dtype] = i
		t.DTypes = append(t.DTypes, DTypeTotals{DType: dtype})
	}
	d := &t.DTypes[i]
	d.Tensors++
	if countable {
		d.Elements.Add(elements)
	}
	if tensor.BytesKnown {
		d.Bytes.Add(tensor.Bytes)
	} else {
		d.Unknown++
	}
}
