package values

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cespare/xxhash/v2"
	"github.com/x448/float16"
	"pgregory.net/rapid"
)

// section is a section of a file that has some bytes before and after it.
func section(name string, typ *Type, data []byte) Section {
	const before = 100
	file := slices.Concat(make([]byte, before), data, make([]byte, 50))
	return Section{Name: name, Type: typ, Data: io.NewSectionReader(bytes.NewReader(file), before, int64(len(data)))}
}

func runAll(t testing.TB, sections []Section, opt Options) []*Result {
	t.Helper()
	var out []*Result
	err := Run(context.Background(), sections, opt, func(i int, r *Result) error {
		if i != len(out) {
			t.Errorf("result %d came as number %d", i, len(out))
		}
		out = append(out, r)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) != len(sections) {
		t.Fatalf("%d results of %d sections", len(out), len(sections))
	}
	return out
}

// mixedSections has a section of every type, empty ones, and one of many parts.
func mixedSections(t testing.TB, large int) ([]Section, [][]byte) {
	var sections []Section
	var data [][]byte
	add := func(name string, b []byte) {
		data = append(data, b)
		sections = append(sections, section(name, mustLookup(t, name), b))
	}
	for i, name := range typeNames() {
		typ := mustLookup(t, name)
		add(name, random(uint64(i), 50*(i+1)*typ.BlockBytes))
		if i%5 == 0 {
			add(name, nil)
		}
	}
	add("BF16", bytes.Repeat(random(99, 1<<16), large>>16))
	add("Q6_K", bytes.Repeat(benchBlocks(mustLookup(t, "Q6_K"), 210*64), 30))
	return sections, data
}

func TestRun(t *testing.T) {
	large := splitBytes + 3*partBytes
	if testing.Short() {
		large = 1 << 20
	}
	sections, data := mixedSections(t, large)
	var total int64
	for _, b := range data {
		total += int64(len(b))
	}
	var first []*Result
	for _, workers := range []int{1, 2, 7} {
		for _, digest := range []bool{false, true} {
			var progress atomic.Int64
			results := runAll(t, sections, Options{
				Workers: workers, Stats: &StatsOptions{Bins: 8}, SHA256: digest, XXH64: digest,
				Progress: func(n int64) { progress.Add(n) },
			})
			if progress.Load() != total {
				t.Errorf("%d workers: progress of %d bytes, want %d", workers, progress.Load(), total)
			}
			if first == nil {
				first = results
			}
			for i, r := range results {
				if r.Err != nil || r.Read != int64(len(data[i])) {
					t.Fatalf("section %d: %d bytes, error %v", i, r.Read, r.Err)
				}
				if got, want := fmt.Sprintf("%+v", *r.Stats), fmt.Sprintf("%+v", *first[i].Stats); got != want {
					t.Errorf("section %d, %d workers: %s\nwith one: %s", i, workers, got, want)
				}
				if digest && (r.SHA256 != sha256.Sum256(data[i]) || r.XXH64 != xxhash.Sum64(data[i])) {
					t.Errorf("section %d: wrong digest", i)
				}
			}
		}
	}
	for i, r := range first[:len(first)-2] {
		a := NewAccumulator(sections[i].Type, &StatsOptions{Bins: 8})
		a.Add(data[i])
		if got, want := fmt.Sprintf("%+v", *r.Stats), fmt.Sprintf("%+v", a.Stats()); got != want {
			t.Errorf("section %d: %s\nwant %s", i, got, want)
		}
	}
}

// Published test vectors of XXH64 with seed 0.
func TestXXH64(t *testing.T) {
	for text, want := range map[string]uint64{"": 0xef46db3751d8e999, "abc": 0x44bc2cf5ad770999} {
		r := runAll(t, []Section{section("t", nil, []byte(text))}, Options{XXH64: true})
		if r[0].XXH64 != want {
			t.Errorf("%q: %x, want %x", text, r[0].XXH64, want)
		}
	}
}

func TestRunBigEndian(t *testing.T) {
	for _, name := range typeNames() {
		typ := mustLookup(t, name)
		little := random(1, 100*typ.BlockBytes)
		big := slices.Clone(little)
		typ.Swap(big)
		s := section(name, typ, big)
		s.BigEndian = true
		r := runAll(t, []Section{section(name, typ, little), s}, Options{Stats: &StatsOptions{}, SHA256: true})
		if fmt.Sprintf("%+v", *r[0].Stats) != fmt.Sprintf("%+v", *r[1].Stats) {
			t.Errorf("%s: figures differ between the byte orders", name)
		}
		if r[1].SHA256 != sha256.Sum256(big) {
			t.Errorf("%s: the digest is not of the file's bytes", name)
		}
	}
}

func TestRunSample(t *testing.T) {
	typ := mustLookup(t, "U8")
	const blocks = 64
	data := make([]byte, blocks*sampleBytes)
	for i := range data {
		data[i] = byte(i / sampleBytes)
	}
	sections := []Section{section("spread", typ, data), section("short", typ, data[:10]), section("none", typ, nil)}
	for _, c := range []struct {
		sample   float64
		read     int64
		min, max float64
	}{
		{0, blocks * sampleBytes, 0, 63},
		{1, blocks * sampleBytes, 0, 63},
		{0.25, 16 * sampleBytes, 0, 60},
		{1e-9, sampleBytes, 0, 0},
		{0.5, 32 * sampleBytes, 0, 62},
	} {
		r := runAll(t, sections, Options{Stats: &StatsOptions{}, Sample: c.sample, Workers: 2})
		s := r[0].Stats
		if r[0].Read != c.read || int64(s.Count) != c.read || s.Min != c.min || s.Max != c.max {
			t.Errorf("sample %g: %d bytes, %d numbers from %g to %g; want %d from %g to %g", c.sample, r[0].Read, s.Count, s.Min, s.Max, c.read, c.min, c.max)
		}
		if r[1].Read != 10 || r[2].Read != 0 {
			t.Errorf("sample %g: %d and %d bytes of 10 and none", c.sample, r[1].Read, r[2].Read)
		}
	}
	for _, opt := range []Options{{Sample: 0.5, SHA256: true}, {Sample: 2}, {Sample: -1}, {Sample: math.NaN()}} {
		if err := Run(context.Background(), nil, opt, nil); err == nil {
			t.Errorf("%+v is accepted", opt)
		}
	}
}

// failing fails, or ends, at a byte.
type failing struct {
	at  int64
	err error
}

func (f failing) ReadAt(b []byte, off int64) (int, error) {
	n := min(max(f.at-off, 0), int64(len(b)))
	if n < int64(len(b)) {
		return int(n), f.err
	}
	return int(n), nil
}

func TestRunErrors(t *testing.T) {
	f32 := mustLookup(t, "F32")
	broken := errors.New("input/output error")
	fine := section("fine", f32, make([]byte, 400))
	const size = splitBytes + 2*partBytes
	for _, c := range []struct {
		section Section
		want    string
		is      error
	}{
		{
			Section{Name: "w", Type: f32, Data: io.NewSectionReader(failing{1000, io.EOF}, 600, 800)},
			`tensor "w": the file ends at byte 1000, within the tensor; it is truncated, or has changed while being read`, io.ErrUnexpectedEOF,
		},
		{
			Section{Name: "w", Type: f32, Data: io.NewSectionReader(failing{partBytes * 3, io.EOF}, 8, size)},
			fmt.Sprintf(`tensor "w": the file ends at byte %d, within the tensor; it is truncated, or has changed while being read`, partBytes*3), io.ErrUnexpectedEOF,
		},
		{
			Section{Name: "w", Type: f32, Data: io.NewSectionReader(failing{100, broken}, 0, 800)},
			`tensor "w": byte 100: input/output error`, broken,
		},
		{
			section("w", mustLookup(t, "Q4_0"), make([]byte, 35)),
			`tensor "w": 35 bytes are not whole blocks of Q4_0, which have 18; check the file`, nil,
		},
	} {
		for _, workers := range []int{1, 3} {
			r := runAll(t, []Section{fine, c.section, fine}, Options{Stats: &StatsOptions{}, Workers: workers})
			if r[1].Err == nil || r[1].Err.Error() != c.want || c.is != nil && !errors.Is(r[1].Err, c.is) {
				t.Errorf("got  %v\nwant %s", r[1].Err, c.want)
			}
			if r[1].Stats != nil || r[0].Err != nil || r[2].Err != nil || r[2].Stats.Count != 100 {
				t.Errorf("%s: figures of the broken section, or none of its neighbours", c.want)
			}
		}
	}
}

func TestRunStops(t *testing.T) {
	data := make([]byte, 4*chunkBytes)
	sections := slices.Repeat([]Section{section("w", mustLookup(t, "F32"), data)}, 50)
	stop := errors.New("enough")
	n := 0
	err := Run(context.Background(), sections, Options{SHA256: true, Workers: 2}, func(int, *Result) error {
		n++
		if n == 3 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || n != 3 {
		t.Errorf("after %d results: %v, want %v after 3", n, err, stop)
	}

	ctx, cancel := context.WithCancel(context.Background())
	var read int64
	err = Run(ctx, sections, Options{SHA256: true, Workers: 1, Progress: func(n int64) {
		read += n
		cancel()
	}}, func(int, *Result) error {
		t.Error("a result of a section that was not read to its end")
		return nil
	})
	if !errors.Is(err, context.Canceled) || read != chunkBytes {
		t.Errorf("after %d bytes: %v, want %v after %d", read, err, context.Canceled, chunkBytes)
	}
}

// A digest needs no type, and an unknown one has no figures.
func TestRunWithoutType(t *testing.T) {
	r := runAll(t, []Section{section("w", nil, []byte("abc"))}, Options{Stats: &StatsOptions{}, SHA256: true})
	if r[0].Stats != nil || r[0].SHA256 != sha256.Sum256([]byte("abc")) {
		t.Errorf("%+v", r[0])
	}
}

func TestContentID(t *testing.T) {
	a := TensorDigest{"BF16", []uint64{2, 3}, sha256.Sum256([]byte("a"))}
	b := TensorDigest{"F32", nil, sha256.Sum256([]byte("b"))}
	c := TensorDigest{"BF16", []uint64{10}, sha256.Sum256([]byte("c"))}
	lines := []string{
		fmt.Sprintf("BF16 [10] %x\n", c.SHA256),
		fmt.Sprintf("BF16 [2,3] %x\n", a.SHA256),
		fmt.Sprintf("F32 [] %x\n", b.SHA256),
	}
	want := sha256.Sum256([]byte(strings.Join(lines, "")))
	for _, order := range [][]TensorDigest{{a, b, c}, {c, b, a}} {
		if got := ContentID(order); got != want {
			t.Errorf("%x, want %x", got, want)
		}
	}
	if ContentID([]TensorDigest{a, a}) == ContentID([]TensorDigest{a}) {
		t.Error("a tensor that occurs twice counts once")
	}
}

func comparePairs(t testing.TB, pairs []Pair, opt PairOptions) []*Comparison {
	t.Helper()
	var out []*Comparison
	if err := RunPairs(context.Background(), pairs, opt, func(_ int, c *Comparison) error {
		out = append(out, c)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(out) != len(pairs) {
		t.Fatalf("%d comparisons of %d pairs", len(out), len(pairs))
	}
	return out
}

func TestEquality(t *testing.T) {
	size := splitBytes + 3*partBytes + 10
	if testing.Short() {
		size = 3*chunkBytes + 10
	}
	data := bytes.Repeat(random(1, 1<<16), size>>16+1)[:size]
	for _, differ := range [][]int{nil, {0}, {size - 1}, {chunkBytes}, {size / 2, size / 3, size - 5}} {
		other := slices.Clone(data)
		first := int64(-1)
		for _, at := range differ {
			other[at] ^= 1
			if first < 0 || int64(at) < first {
				first = int64(at)
			}
		}
		for _, name := range []string{"", "BF16", "U8"} {
			typ, _ := Lookup(name)
			p := Pair{section("a", typ, data), section("b", typ, other)}
			for _, workers := range []int{1, 4} {
				var read atomic.Int64
				c := comparePairs(t, []Pair{p}, PairOptions{Workers: workers, Progress: func(n int64) { read.Add(n) }})[0]
				if c.Err != nil || c.Equal != (differ == nil) || c.First != first || c.Difference != nil {
					t.Errorf("%q, differing at %v: %+v", name, differ, c)
				}
				if first == 0 && workers == 1 && read.Load() > 2*chunkBytes {
					t.Errorf("%d bytes were read to find the first to differ", read.Load())
				}
			}
		}
	}
	c := comparePairs(t, []Pair{{section("a", nil, data[:10]), section("b", nil, data[:12])}}, PairOptions{})[0]
	if c.Equal || c.First != 10 {
		t.Errorf("a prefix: %+v", c)
	}
	u8, f32 := mustLookup(t, "U8"), mustLookup(t, "F32")
	c = comparePairs(t, []Pair{{section("a", u8, data[:10]), section("b", f32, data[:12])}}, PairOptions{})[0]
	if c.Err == nil || !strings.Contains(c.Err.Error(), "10 and 3 elements") {
		t.Errorf("different shapes: %+v", c)
	}
	c = comparePairs(t, []Pair{{section("a", f32, nil), section("b", f32, nil)}}, PairOptions{Values: true})[0]
	if !c.Equal || c.Difference.Count != 0 || c.Difference.RelRMS != 0 {
		t.Errorf("empty: %+v", c)
	}
}

// What lies behind the first difference is not looked at, readable or not; what
// lies before it is.
func TestEqualityErrors(t *testing.T) {
	const size = splitBytes + 3*partBytes
	same := make([]byte, size)
	for _, c := range []struct {
		differ, fail int
		first        int64
	}{
		{10, size / 2, 10},
		{size / 2, size / 2, -1},
		{size - 1, 20, -1},
		{chunkBytes, chunkBytes + 1, -1},
		{chunkBytes, 2 * chunkBytes, chunkBytes},
	} {
		other := slices.Clone(same)
		other[c.differ] = 1
		for _, workers := range []int{1, 4} {
			broken := io.NewSectionReader(failing{int64(c.fail), io.EOF}, 0, size)
			p := Pair{Section{Name: "a", Data: broken}, section("b", nil, other)}
			got := comparePairs(t, []Pair{p}, PairOptions{Workers: workers})[0]
			if c.first < 0 {
				if !errors.Is(got.Err, io.ErrUnexpectedEOF) {
					t.Errorf("%+v: %+v", c, got)
				}
			} else if got.Err != nil || got.First != c.first {
				t.Errorf("%+v: %+v", c, got)
			}
		}
	}
}

// bytesOf encodes numbers as F32 or F64.
func bytesOf(t *Type, numbers []float64) (b []byte) {
	for _, v := range numbers {
		switch t.Name {
		case "F32":
			b = le.AppendUint32(b, math.Float32bits(float32(v)))
		case "F64":
			b = le.AppendUint64(b, math.Float64bits(v))
		case "F16":
			b = le.AppendUint16(b, float16.Fromfloat32(float32(v)).Bits())
		case "BF16":
			b = le.AppendUint16(b, uint16(math.Float32bits(float32(v))>>16))
		}
	}
	return b
}

func TestDifferenceByHand(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	f32 := mustLookup(t, "F32")
	a := []float64{1, 2, 0, nan, nan, inf, inf, 3, -inf}
	b := []float64{1, 4, 0, nan, 5, inf, -inf, 1, 7}
	p := Pair{section("a", f32, bytesOf(f32, a)), section("b", f32, bytesOf(f32, b))}
	d := *comparePairs(t, []Pair{p}, PairOptions{Values: true})[0].Difference
	want := Difference{
		Count: 9, Differ: 5, NaN: 1, MaxAbs: inf, MaxAt: 6,
		RelRMS: math.Sqrt(8.0 / 14), Apart: math.Sqrt(8.0 / 18), Length: math.Sqrt(18.0 / 14), Cosine: 12 / math.Sqrt(14*18),
	}
	if math.Abs(d.Cosine-want.Cosine) < 1e-15 {
		d.Cosine = want.Cosine
	}
	if d != want {
		t.Errorf("got  %+v\nwant %+v", d, want)
	}
	zero := make([]float64, 9)
	p.A = section("a", f32, bytesOf(f32, zero))
	if d := comparePairs(t, []Pair{p}, PairOptions{Values: true})[0].Difference; !math.IsInf(d.RelRMS, 1) || !math.IsNaN(d.Cosine) {
		t.Errorf("against zeros: %+v", d)
	}
}

// Integers that have the same float64 are not the same.
func TestDifferenceOfWideIntegers(t *testing.T) {
	words := func(list ...uint64) (b []byte) {
		for _, n := range list {
			b = le.AppendUint64(b, n)
		}
		return b
	}
	minus := func(n int64) uint64 { return uint64(-n) }
	for _, tt := range []struct {
		a, b           string
		from, to       []byte
		differ         uint64
		maxAbs         float64
		bRounds, equal bool
	}{
		{"I64", "I64", words(1<<60, 5), words(1<<60+1, 5), 1, 1, false, false},
		{"I64", "I64", words(minus(1<<60), 7), words(minus(1<<60+3), 7), 1, 3, false, false},
		{"I64", "I64", words(math.MaxInt64), words(math.MaxInt64 - 1), 1, 1, false, false},
		{"U64", "U64", words(math.MaxUint64), words(math.MaxUint64 - 2), 1, 2, false, false},
		{"I64", "U64", words(1<<60+1, 0), words(1<<60+1, 0), 0, 0, false, false},
		{"I64", "U64", words(1<<60 + 1), words(1 << 60), 1, 1, false, false},
		{"I64", "F64", words(1<<60 + 1), words(math.Float64bits(0x1p60)), 1, 1, true, false},
		{"F64", "I64", words(math.Float64bits(0x1p60)), words(1 << 60), 0, 0, false, false},
		{"I64", "I64", words(1<<60 + 1), words(1<<60 + 1), 0, 0, false, true},
	} {
		p := Pair{section("a", mustLookup(t, tt.a), tt.from), section("b", mustLookup(t, tt.b), tt.to)}
		c := comparePairs(t, []Pair{p}, PairOptions{Values: true})[0]
		d := c.Difference
		if d.Differ != tt.differ || d.MaxAbs != tt.maxAbs || d.BRoundsA != tt.bRounds || c.Equal != tt.equal {
			t.Errorf("%s %x and %s %x: %+v", tt.a, tt.from, tt.b, tt.to, d)
		}
	}
	a := NewAccumulator(mustLookup(t, "I64"), nil)
	if a.Add(words(1<<60, 1<<60+1)); a.Stats().Distinct != -1 {
		t.Errorf("distinct: %d, which floats cannot tell", a.Stats().Distinct)
	}
}

// A tensor and what a conversion to another type makes of it.
func TestRounding(t *testing.T) {
	f32, f64 := mustLookup(t, "F32"), mustLookup(t, "F64")
	src := append(random(8, 40000), bytesOf(f32, []float64{65504, 65519, 65520, 1e-8, 6e-8, 1e38, 3.4e38, math.Inf(-1), math.NaN(), 448, 464, 470})...)
	numbers := make([]float64, len(src)/4)
	f32.Decode64(numbers, src)
	// The nearest codes by search among all of them, and their neighbours.
	for _, name := range []string{"BF16", "F16", "F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ"} {
		typ := mustLookup(t, name)
		book := typ.book()
		encode := func(v float64) uint16 {
			if v != v || math.IsInf(v, 0) {
				for _, code := range book.other {
					if x := float64(book.value[code]); x == v || x != x && (v != v || typ.float.special != ieee) {
						return code
					}
				}
			}
			i, _ := slices.BinarySearchFunc(book.order, v, func(code uint16, v float64) int {
				if float64(book.value[code]) < v {
					return -1
				}
				return 1
			})
			if i == len(book.order) || i == 0 {
				i = min(i, len(book.order)-1)
				// Halfway to where the next number would be rounds to infinity.
				edge := float64(book.value[book.order[i]])
				step := math.Abs(edge - float64(book.value[book.order[max(i, 1)-1]]))
				if i == 0 {
					step = math.Abs(edge - float64(book.value[book.order[1]]))
				}
				if typ.float.special == ieee && math.Abs(v)-math.Abs(edge) >= step/2 {
					for _, code := range book.other {
						if float64(book.value[code]) == math.Copysign(math.Inf(1), v) {
							return code
						}
					}
				}
				return book.order[i]
			}
			lo, hi := book.order[i-1], book.order[i]
			dl, dh := v-float64(book.value[lo]), float64(book.value[hi])-v
			if dl < dh || dl == dh && lo&1 == 0 {
				return lo
			}
			return hi
		}
		var rounded, truncated []byte
		for _, v := range numbers {
			code := encode(v)
			rounded = append(rounded, byte(code), byte(code>>8))[:len(rounded)+typ.BlockBytes]
			if float64(book.value[code]) != v && code&0x3f != 0 {
				code--
			}
			truncated = append(truncated, byte(code), byte(code>>8))[:len(truncated)+typ.BlockBytes]
		}
		a := section("a", f32, src)
		check := func(b Section, want bool) {
			t.Helper()
			c := comparePairs(t, []Pair{{a, b}, {b, a}}, PairOptions{Values: true})
			d, e := c[0].Difference, c[1].Difference
			if d.BRoundsA != want || e.ARoundsB != want || d.ARoundsB || e.BRoundsA || c[0].Equal || c[0].First != -1 {
				t.Errorf("%s: %+v\nand %+v, want rounded %v", name, *d, *e, want)
			}
		}
		check(section("b", typ, rounded), true)
		check(section("b", typ, truncated), false)

		// Widening loses nothing, either way.
		wide := make([]float64, len(rounded)/typ.BlockBytes)
		typ.Decode64(wide, rounded)
		c := comparePairs(t, []Pair{{section("a", typ, rounded), section("b", f64, bytesOf(f64, wide))}}, PairOptions{Values: true})[0]
		if d := c.Difference; d.Differ != 0 || !d.BRoundsA || !d.ARoundsB || d.MaxAbs != 0 {
			t.Errorf("%s widened: %+v", name, *d)
		}
	}
}

// Differences between any two types, against the plain formulas, for every
// number of workers.
func TestDifferenceAgainstBruteForce(t *testing.T) {
	names := []string{"F32", "BF16", "F16", "Q4_0", "Q6_K", "I8", "F64", "MXFP4"}
	rapid.Check(t, func(t *rapid.T) {
		ta, _ := Lookup(rapid.SampledFrom(names).Draw(t, "a"))
		tb, _ := Lookup(rapid.SampledFrom(names).Draw(t, "b"))
		n := 256 * rapid.IntRange(0, 40).Draw(t, "blocks")
		seed := rapid.Uint64().Draw(t, "seed")
		sa, sb := uint64(n/ta.BlockElems*ta.BlockBytes), uint64(n/tb.BlockElems*tb.BlockBytes)
		a, b := random(seed, int(sa)), random(seed, int(sb))
		if ta == tb && n > 0 {
			b[rapid.IntRange(0, len(b)-1).Draw(t, "changed")] ^= 0x10
		}
		x, y := make([]float64, n), make([]float64, n)
		ta.Decode64(x, a)
		tb.Decode64(y, b)
		var want Difference
		want.Count = uint64(n)
		var diff2, a2, b2, ab float64
		for i := range x {
			if x[i] == y[i] || math.IsNaN(x[i]) && math.IsNaN(y[i]) {
				// equal
			} else if want.Differ++; math.IsNaN(x[i]) != math.IsNaN(y[i]) {
				want.NaN++
			} else {
				want.MaxAbs = max(want.MaxAbs, math.Abs(x[i]-y[i]))
			}
			if d := x[i] - y[i]; !math.IsNaN(d) && !math.IsInf(d, 0) {
				diff2, a2, b2, ab = diff2+d*d, a2+x[i]*x[i], b2+y[i]*y[i], ab+x[i]*y[i]
			}
		}
		var first *Difference
		for _, workers := range []int{1, 3} {
			c := &Comparison{}
			p := Pair{
				Section{Type: ta, Data: io.NewSectionReader(bytes.NewReader(a), 0, int64(sa))},
				Section{Type: tb, Data: io.NewSectionReader(bytes.NewReader(b), 0, int64(sb))},
			}
			if err := RunPairs(context.Background(), []Pair{p}, PairOptions{Workers: workers, Values: true}, func(_ int, got *Comparison) error {
				c = got
				return nil
			}); err != nil || c.Err != nil {
				t.Fatal(err, c.Err)
			}
			d := c.Difference
			if d.Count != want.Count || d.Differ != want.Differ || d.NaN != want.NaN || d.MaxAbs != want.MaxAbs {
				t.Fatalf("%s and %s: %+v, want %+v", ta.Name, tb.Name, *d, want)
			}
			rms, cosine := math.Sqrt(diff2/a2), ab/math.Sqrt(a2)/math.Sqrt(b2)
			if diff2 == 0 {
				rms = 0
			}
			if !near(d.RelRMS, rms, rms*1e-9) || !near(d.Cosine, cosine, 1e-9) {
				t.Fatalf("%s and %s: RMS %g, cosine %g, want %g, %g", ta.Name, tb.Name, d.RelRMS, d.Cosine, rms, cosine)
			}
			if first == nil {
				first = d
			} else if fmt.Sprint(*d) != fmt.Sprint(*first) {
				t.Fatalf("%d workers: %+v, with one %+v", workers, *d, *first)
			}
		}
	})
}
