package inspect

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// pythonSlice lists the places that s[i:j:k] means in a sequence of n, by the sentences of
// https://docs.python.org/3/library/stdtypes.html#common-sequence-operations: note 5.
func pythonSlice(n int64, i, j *int64, k int64) []int64 {
	end := func(at *int64, otherwise int64) int64 {
		if at == nil {
			return otherwise
		}
		v := *at
		if v < 0 {
			v += n
		}
		if k > 0 {
			return min(max(v, 0), n) // "reduced to len(s) if they are greater"
		}
		return min(max(v, -1), n-1) // "reduced to len(s) - 1 if they are greater"
	}
	out := []int64{}
	if k > 0 {
		for x := end(i, 0); x < end(j, n); x += k {
			out = append(out, x)
		}
		return out
	}
	for x := end(i, n-1); x > end(j, -1); x += k {
		out = append(out, x)
	}
	return out
}

func TestSliceIsPythons(t *testing.T) {
	places := []*int64{nil}
	for v := int64(-6); v <= 6; v++ {
		places = append(places, &v)
	}
	text := func(p *int64) string {
		if p == nil {
			return ""
		}
		return fmt.Sprint(*p)
	}
	for n := range int64(5) {
		for _, i := range places {
			for _, j := range places {
				for _, k := range []int64{1, 2, 3, 9, -1, -2, -3, -9} {
					word := fmt.Sprintf("%s:%s:%d", text(i), text(j), k)
					s, err := ParseSlice(word)
					if err != nil {
						t.Fatal(err)
					}
					axes, kept, err := s.of([]uint64{uint64(n)})
					if err != nil || len(kept) != 1 {
						t.Fatalf("%s: %v", word, err)
					}
					got := []int64{}
					for x := range axes[0].N {
						got = append(got, axes[0].Start+x*axes[0].Step)
					}
					if want := pythonSlice(n, i, j, k); !slices.Equal(got, want) {
						t.Fatalf("[%s] of %d: %v, want %v", word, n, got, want)
					}
				}
			}
		}
	}
}

// Several axes, with indexes, steps and the rest in every place: what is taken of each axis is what Python takes of
// a sequence, and an index takes its axis away.
func TestSliceOfSeveralAxes(t *testing.T) {
	shape := []uint64{3, 2, 5}
	type part struct {
		word    string
		index   bool
		i, j, k int64 // of a slice; the index is i
	}
	n := func(v int64) *int64 { return &v }
	parts := []part{
		{"0", true, 0, 0, 0},
		{"-1", true, -1, 0, 0},
		{":", false, 0, 9, 1},
		{"1:", false, 1, 9, 1},
		{":-1", false, 0, -1, 1},
		{"::2", false, 0, 9, 2},
		{"::-1", false, 9, -9, -1},
		{"9:", false, 9, 99, 1},
		{"-9:9:3", false, -9, 9, 3},
		{"99999999999999999999:", false, 1 << 40, 1 << 40, 1},
		{"::-99999999999999999999", false, 9, -9, -(1 << 40)},
	}
	check := func(word string, of []part) {
		t.Helper()
		s, err := ParseSlice(word)
		if err != nil {
			t.Fatal(err)
		}
		axes, kept, err := s.of(shape)
		if err != nil {
			t.Fatalf("%s: %v", word, err)
		}
		var keeps []int
		for axis, p := range of {
			var want []int64
			size := int64(shape[axis])
			if p.index {
				want = []int64{(p.i + size) % size}
			} else {
				want = pythonSlice(size, n(p.i), n(p.j), p.k)
				keeps = append(keeps, axis)
			}
			got := []int64{}
			for x := range axes[axis].N {
				got = append(got, axes[axis].Start+x*axes[axis].Step)
			}
			if !slices.Equal(got, want) {
				t.Errorf("[%s] takes %v of axis %d, want %v", word, got, axis, want)
			}
		}
		if !slices.Equal(kept, keeps) {
			t.Errorf("[%s] keeps the axes %v, want %v", word, kept, keeps)
		}
	}
	all := parts[2]
	for _, a := range parts {
		check(a.word, []part{a, all, all})
		check(a.word+", ...", []part{a, all, all})
		check("..., "+a.word, []part{all, all, a})
		for _, b := range parts {
			check(a.word+", "+b.word, []part{a, b, all})
			check(a.word+",...,"+b.word, []part{a, all, b})
			for _, c := range parts {
				check(a.word+","+b.word+","+c.word, []part{a, b, c})
				check(a.word+","+b.word+",...,"+c.word, []part{a, b, c}) // of no axis
			}
		}
	}
}

// A slice is read or refused, says what it is, and takes nothing from outside.
func FuzzSlice(f *testing.F) {
	for _, seed := range []string{"0", "-1", "0:4,:8", "[..., ::-2]", ":,0", "1:2:0", "9223372036854775807:-9223372036854775808:-9223372036854775808", ",", "...,...", "1,,2", "[", " 1 : 2 "} {
		f.Add(seed, uint64(3), uint64(0))
	}
	f.Fuzz(func(t *testing.T, text string, a, b uint64) {
		s, err := ParseSlice(text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "slice ") {
				t.Errorf("%q: %v", text, err)
			}
			return
		}
		again, err := ParseSlice(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q is %q, which is %v, %v", text, s, again, err)
		}
		shape := []uint64{a, b, 7}
		axes, kept, err := s.of(shape)
		if err != nil {
			return
		}
		if len(axes) != len(shape) || len(kept) > len(shape) {
			t.Fatalf("%q: %v, %v", text, axes, kept)
		}
		for i, r := range axes {
			if r.N == 0 {
				continue
			}
			last := r.Start + (r.N-1)*r.Step
			if r.N < 0 || r.Start < 0 || last < 0 || uint64(r.Start) >= shape[i] || uint64(last) >= shape[i] {
				t.Errorf("%q of %v: %+v", text, shape, r)
			}
		}
	})
}
