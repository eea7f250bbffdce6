package inspect

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/render"
)

// Totals add up tensors. Elements and Bytes leave out the Unknown tensors, whose
// size is not known, and the Tied ones, whose bytes have been counted of another.
type Totals struct {
	Tensors  int    `json:"tensors"`
	Tied     int    `json:"tied,omitempty"`
	Elements Sum    `json:"elements"`
	Bytes    Sum    `json:"bytes"`
	Unknown  int    `json:"unknown"`
	DTypes   DTypes `json:"dtypes"`

	byDType map[string]int // index in DTypes
}

// DTypes are the totals of each dtype, in the order of their first appearance.
// In JSON they are an object.
type DTypes []DTypeTotals

// DTypeTotals add up the tensors of one dtype, as Totals do.
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

// wholeOf adds up all tensors of a view of a checkpoint.
func wholeOf(c *checkpoint.Checkpoint, v View) *Totals {
	return (&Listing{Checkpoint: c, View: v}).Totals()
}

// Totals adds up the tensors that are listed. Of tied tensors the first that is listed counts.
func (l *Listing) Totals() *Totals {
	out := new(Totals)
	var counted map[int]bool // of those that others are tied to: whether one of them has been counted
	for i := range l.Len() {
		if first, ok := l.tiedTo(i); ok {
			if counted == nil {
				counted = make(map[int]bool)
			}
			counted[first] = false
		}
	}
	for i, t := range l.All() {
		again := false
		if counted != nil {
			first, ok := l.tiedTo(i)
			if !ok {
				first = l.place(i)
			}
			if again, ok = counted[first]; ok {
				counted[first] = true
			}
		}
		out.add(&t, again)
	}
	return out
}

// add adds a tensor, whose bytes may have been counted.
func (t *Totals) add(tensor *checkpoint.Tensor, tied bool) {
	t.Tensors++
	elements, countable := tensor.Elements()
	known, size := tensor.BytesKnown, tensor.Bytes
	if tied {
		t.Tied++
		elements, size = 0, 0
	}
	if countable {
		t.Elements.Add(elements)
	}
	if known {
		t.Bytes.Add(size)
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
	if known {
		d.Bytes.Add(size)
	} else {
		d.Unknown++
	}
}
