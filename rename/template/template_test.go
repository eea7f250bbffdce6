package template

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestGrains(t *testing.T) {
	tests := []struct{ name, segments, words, runs string }{
		{"", "", "", ""},
		{"model.norm.weight", "model.norm.weight", "model.norm.weight", "model.norm.weight"},
		{"h.11.ln_1.w1", "h.0.ln_1.w1", "h.0.ln_0.w1", "h.0.ln_0.w0"},
		{"10-2", "10-2", "0-0", "0-0"},
		{"7", "0", "0", "0"},
		{"q4k.4k", "q4k.4k", "q4k.4k", "q0k.0k"},
		{"layers.01.007", "layers.01.007", "layers.01.007", "layers.0.0"},
		{"layers.999999999.1234567890", "layers.0.1234567890", "layers.0.1234567890", "layers.0.0"},
		{"fc1.weight12", "fc1.weight12", "fc1.weight0", "fc0.weight0"},
		{"weight12", "weight12", "weight12", "weight0"},
		{"fc1.bias3.x", "fc1.bias3.x", "fc1.bias3.x", "fc0.bias0.x"},
		{"blk0.3.", "blk0.0.", "blk0.0.", "blk0.0."},
		{"text_encoder:0:down", "text_encoder:0:down", "text_encoder:0:down", "text_encoder:0:down"},
	}
	for _, tt := range tests {
		for g, want := range map[Grain]string{Segments: tt.segments, Words: tt.words, Runs: tt.runs} {
			if got := g.Of(tt.name); got != want {
				t.Errorf("%q by grain %d: %q, want %q", tt.name, g, got, want)
			}
		}
	}
	if _, got := Runs.Scan(nil, nil, "a1.01.1234567890.2"); !slices.Equal(got, []int32{1, -1, -1, 2}) {
		t.Errorf("Scan reads %v", got)
	}
}

// Names have the same template if and only if they differ in their indices
// alone, and all that there is to know of a name is its template and these.
func TestTemplatesLoseNothing(t *testing.T) {
	part := rapid.SampledFrom([]string{"0", "3", "12", "01", "1234567890", "a", "w1", "weight", "bias", ".", "_", "/", "-", "{", "#", "\x00", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		name := strings.Join(rapid.SliceOfN(part, 0, 8).Draw(t, "parts"), "")
		for _, g := range []Grain{Segments, Words, Runs} {
			form, indices := g.Scan(nil, nil, name)
			template := string(form)
			text, numbers := g.Split(name)
			if n := g.Count(name); n != len(indices) || n != len(numbers) || n != len(text)-1 {
				t.Fatalf("%q has %d indices, and %v, %q, %q", name, n, indices, numbers, text)
			}
			if got := g.Of(name); got != template || g.Of(got) != got {
				t.Fatalf("the template of %q is %q, %q", name, got, template)
			}
			if !slices.Contains(indices, -1) {
				if got := g.Fill(template, indices); got != name {
					t.Fatalf("%q came back as %q", name, got)
				}
			}
			if got := g.Replace(name, func(i int, number string) string {
				if number != numbers[i] {
					t.Fatalf("number %d of %q is %q, want %q", i, name, number, numbers[i])
				}
				return "0"
			}); got != template {
				t.Fatalf("Replace makes %q of %q", got, name)
			}
			if before, _, after, ok := Layer(name); g == Segments && (ok != (len(numbers) > 0) || ok && before+numbers[0]+after != name) {
				t.Fatalf("the layer of %q stands between %q and %q", name, before, after)
			}
		}
	})
	if got := Words.Fill("a.0.b.0", []int32{7}); got != "a.7.b.0" {
		t.Errorf("Fill makes %q", got)
	}
}

func TestCounts(t *testing.T) {
	for before, want := range map[string]string{
		"model.layers.": "layer", "encoder.layer.": "layer", "blk.": "layer", "blk": "layer", "h.": "layer", "visual.resblocks.": "layer", "double_blocks_": "layer",
		"layers.3.mlp.experts.": "expert", "expert_": "expert",
		"patch.": "", "mlp.": "", "ln_": "", "": "",
	} {
		if got := Counts(before); got != want {
			t.Errorf("%q counts %q, want %q", before, got, want)
		}
	}
}

func TestGroupSegments(t *testing.T) {
	g := Group{Name: "h.{0..3,5}.ln_{1..2}.w"}
	if got, want := g.Segments(), []string{"h", "{0..3,5}", "ln_{1..2}", "w"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestFoldPairs(t *testing.T) {
	from := []string{"h.0.a", "h.1.a", "h.2.a", "h.0.b", "h.1.b", "x", "h.0.c", "h.1.c"}
	to := []string{"l.1.p", "l.2.p", "l.3.p", "l.0.0", "l.1.1", "y", "", ""}
	var got []string
	for _, p := range FoldPairs(len(from), func(i int) (string, string, string) { return from[i], to[i], "" }) {
		got = append(got, p.Name+" "+p.To)
	}
	want := []string{"h.{0..2}.a l.{1..3}.p", "h.{0..1}.b ", "x y", "h.{0..1}.c "}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
