package oracle

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"
)

// What is written is what is read, in every layout.
func TestRoundTrip(t *testing.T) {
	if testing.Short() {
		t.Skip("many checkpoints")
	}
	for seed := range uint64(300) {
		m := Random(seed, seed%2 == 1)
		l := RandomLayout(seed, m.GGUF)
		path, err := m.Write(t.TempDir(), l)
		if err != nil {
			t.Fatal(err)
		}
		files, err := ReadSet(path)
		if err != nil {
			t.Fatalf("seed %d, %+v: %v", seed, l, err)
		}
		found := 0
		for _, f := range files {
			for i := range f.Tensors {
				got := &f.Tensors[i]
				k := slices.IndexFunc(m.Tensors, func(w Stored) bool { return w.Name == got.Name })
				if k < 0 {
					t.Fatalf("seed %d: tensor %q was not written", seed, got.Name)
				}
				found++
				want := &m.Tensors[k]
				data, err := f.Bytes(got)
				if err != nil {
					t.Fatal(err)
				}
				if got.DType != want.DType || !slices.Equal(got.Shape, want.Shape) || !bytes.Equal(data, inOrder(want, f.BigEndian)) {
					t.Errorf("seed %d: %q is %s %d, and was %s %d", seed, got.Name, got.DType, got.Shape, want.DType, want.Shape)
				}
				if f.GGUF && (got.Offset-f.DataOffset)%int64(f.Alignment) != 0 {
					t.Errorf("seed %d: %q is at %d", seed, got.Name, got.Offset)
				}
			}
			if f.GGUF {
				continue // its arrays say more than was written
			}
			if fmt.Sprint(f.Metadata) != fmt.Sprint(m.Metadata) {
				t.Errorf("seed %d: metadata %v, and was %v", seed, f.Metadata, m.Metadata)
			}
		}
		if found != len(m.Tensors) {
			t.Errorf("seed %d: %d tensors of %d", seed, found, len(m.Tensors))
		}
	}
}

// Values that the definitions of the types name.
func TestNumbers(t *testing.T) {
	inf, nan := math.Inf(1), math.NaN()
	for _, tt := range []struct {
		dtype string
		data  []byte
		want  []float64
	}{
		{"F8_E4M3", []byte{0x7e, 0x7f, 0xff, 0x01, 0x80, 0x38}, []float64{448, nan, nan, 0x1p-9, 0, 1}},
		{"F8_E5M2", []byte{0x7b, 0x7c, 0xfc, 0x7d, 0x01}, []float64{57344, inf, -inf, nan, 0x1p-16}},
		{"F8_E4M3FNUZ", []byte{0x7f, 0x80, 0x01}, []float64{240, nan, 0x1p-10}},
		{"F8_E5M2FNUZ", []byte{0x7f, 0x80, 0x01}, []float64{57344, nan, 0x1p-17}},
		{"F8_E8M0", []byte{0, 127, 254, 255}, []float64{0x1p-127, 1, 0x1p127, nan}},
		{"F4", []byte{0x10, 0x32, 0x54, 0x76, 0xf8}, []float64{0, .5, 1, 1.5, 2, 3, 4, 6, 0, -6}},
		{"F6_E2M3", []byte{0x5f, 0x00, 0x86}, []float64{7.5, 0.125, 0, -0.125}},
		{"F6_E3M2", []byte{0x5f, 0x00, 0x86}, []float64{28, 0.0625, 0, -0.0625}},
		{"F16", []byte{0xff, 0x7b, 0x01, 0, 0, 0x7c, 0, 0xfe}, []float64{65504, 0x1p-24, inf, nan}},
		{"BF16", []byte{0x80, 0x3f, 0x80, 0xff, 0xc0, 0x7f}, []float64{1, -inf, nan}},
		{"I8", []byte{0x80, 0x7f}, []float64{-128, 127}},
	} {
		got, err := Numbers(&Tensor{DType: tt.dtype}, tt.data)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.EqualFunc(got, tt.want, func(a, b float64) bool { return a == b || math.IsNaN(a) && math.IsNaN(b) }) {
			t.Errorf("%s: %v, want %v", tt.dtype, got, tt.want)
		}
	}
}

// The examples of the map language's description.
func TestApply(t *testing.T) {
	for _, tt := range []struct {
		from, to, name, want string
	}{
		{"h.{layer}.w", "b.{layer}", "h.11.w", "b.11"},
		{"h.{layer}.w", "b.{layer}", "h.1x.w", "h.1x.w"},
		{"head.weight", "x", "lm_head.weight", "lm_head.weight"},
		{"{proj:seg}_proj.weight", "{proj}", "q_proj.weight", "q"},
		{"module.{rest...}", "{rest}", "module.a.b", "a.b"},
		{"{a...}{n}", "{n}|{a}", "h12", "12|h"},
		{"{a...}.{b...}", "{b}|{a}", "x.y.z", "y.z|x"},
		{"blocks.{i}.layers.{i}.w", "{i}", "blocks.3.layers.3.w", "3"},
		{"blocks.{i}.layers.{i}.w", "{i}", "blocks.3.layers.4.w", "blocks.3.layers.4.w"},
		{"l.{n}", "l.{n+1}", "l.9", "l.10"},
		{"l.{n}", "m.{n}", "l.01", "m.01"},
		{"l.{n:02}", "m.{n}", "l.01", "m.1"},
		{"l.{n:02}", "m.{n}", "l.100", "m.100"},
		{"l.{n:02}", "m.{n}", "l.1", "l.1"},
		{"l.{n:02}", "m.{n}", "l.001", "l.001"},
		{"l.{n}", "m.{n+1:03}", "l.99", "m.100"},
		{"l.{n}", "m.{n:03}", "l.0", "m.000"},
		{"{{x}}.{a:seg}", "{a}{{", "{x}.é", "é{"},
	} {
		m := Map{Rules: []Rule{{From: tt.from, To: tt.to}}}
		fates, refused := m.Apply([]string{tt.name}, false)
		if refused != "" || fates[0].Name != tt.want {
			t.Errorf("%s: %s of %q is %q (%s), want %q", tt.from, tt.to, tt.name, fates[0].Name, refused, tt.want)
		}
	}
	m := Map{Strip: []string{"_orig_mod", "a.b"}, Rules: []Rule{{From: "x", To: "y"}, {From: "y", To: "x"}}}
	fates, refused := m.Apply([]string{"_orig_mod.x", "y", "a.b.a.b"}, false)
	if fates[0].Name != "y" || fates[1].Name != "x" || refused == "" {
		t.Errorf("%v, %q", fates, refused)
	}
	for seed := range uint64(500) { // patterns match what they were made from
		names := randomNames(Rand(seed, 9), false, 5)
		r := Rand(seed, 10)
		for _, name := range names {
			if p := randomPattern(r, name); name != "" && !match(parse(p), name, 0, map[string]string{}) {
				t.Errorf("%q does not match %q", p, name)
			}
		}
	}
}
