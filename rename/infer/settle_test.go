package infer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// told is a Content that is told which tensors of A are which of B.
type told struct {
	is    map[string]string
	z     float64
	cross float64 // of all other pairs
	twins bool    // all tensors of A are the same
	equal bool
	err   error
	asked int
}

func (c *told) Alike(_ context.Context, pairs []Pair) ([]Likeness, error) {
	out := make([]Likeness, len(pairs))
	for i, p := range pairs {
		if c.asked++; c.is[p.A] == p.B {
			out[i] = Likeness{Equal: c.equal, Informative: true, Cosine: 0.95, Z: c.z}
		} else {
			out[i].Z = c.cross
			if !c.twins {
				out[i].Cosine = float64(p.A[5]) / 1000 // "h.0.t1"
			}
		}
	}
	return out, c.err
}

func (c *told) Layouts(_ context.Context, _, _ []string, ways [][]tensorop.Op) ([]float64, error) {
	return make([]float64, len(ways)), c.err
}

func (c *told) Profile(_ context.Context, _ byte, names []string) ([]Profile, error) {
	return make([]Profile, len(names)), c.err
}

func (c *told) Read() int64 { return int64(c.asked) }

// squares is an inventory of blocks with the same modules, each a square matrix.
func squares(prefix string, names ...string) *Inventory {
	inv := new(Inventory)
	for l := range 5 {
		for _, n := range names {
			inv.Tensors = append(inv.Tensors, convention.Named{Name: fmt.Sprintf("%s.%d.%s.weight", prefix, l, n), Shape: []uint64{64, 64}})
		}
	}
	return inv
}

func truth(pairs ...string) map[string]string {
	is := make(map[string]string)
	for l := range 5 {
		for i := 0; i < len(pairs); i += 2 {
			is[fmt.Sprintf("h.%d.%s.weight", l, pairs[i])] = fmt.Sprintf("layers.%d.%s.weight", l, pairs[i+1])
		}
	}
	return is
}

func TestSettle(t *testing.T) {
	a, b := squares("h", "t1", "t2", "t3"), squares("layers", "q_proj", "k_proj", "v_proj")
	is := truth("t1", "v_proj", "t2", "q_proj", "t3", "k_proj")
	tests := []struct {
		z, cross float64
		equal    bool
		class    Class
		asked    int // questions
	}{
		{30, 0, true, Proven, 0},
		{12, 0, false, Measured, 0},
		{60, 33, false, Measured, 0}, // of a large model other modules are far from unrelated, too
		{60, 50, false, Measured, 0},
		{60, 60, false, Guess, 1}, // and may be as much alike
		{4, 0, false, Guess, 1},
	}
	for n, tt := range slices.Concat(tests, tests) {
		c := &told{is: is, z: tt.z, cross: tt.cross, equal: tt.equal}
		far := n < len(tests)
		if far && tt.class == Proven {
			tt.class = Measured // two layers were not compared
		}
		res, err := Infer(t.Context(), a, b, Options{Content: c, Sampled: far})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Questions) != tt.asked || res.Read != c.Read() {
			t.Errorf("z %.0f and %.0f: %+v, read %d", tt.z, tt.cross, res.Questions, res.Read)
		}
		for i, r := range res.Rules {
			if r.Class != tt.class {
				t.Errorf("z %.0f: %s: %+v", tt.z, &res.Map.Rules[i], r)
			}
			from, to := res.Map.Rules[i].From[0].String(), res.Map.Rules[i].To[0].String()
			for old, name := range is {
				if strings.Contains(old, ".0.") && tt.asked == 0 && strings.HasSuffix(from, old[4:]) && !strings.HasSuffix(to, name[9:]) {
					t.Errorf("z %.0f: %s becomes %s", tt.z, from, to)
				}
			}
		}
		if far && c.asked > 3*3*3 {
			t.Errorf("%d pairs were compared; three blocks will do", c.asked)
		}
	}
}

// Layers are judged one by one: weights that are another module's in one of them, and layers that lie
// elsewhere, are not averaged away, whatever the names say.
func TestSettleStrays(t *testing.T) {
	names := [][]string{
		{"t1", "t2", "t3"},
		{"attn.q_proj", "attn.k_proj", "attn.v_proj"}, // of no convention as a whole
	}
	of := []string{"q_proj", "k_proj", "v_proj"}
	exchanged := func(l int, layers ...int) int {
		if i := slices.Index(layers, l); i >= 0 {
			return layers[len(layers)-1-i]
		}
		return l
	}
	tests := []struct {
		about  string
		is     func(layer, module int) (int, int)
		layers string // of every contradiction
		n      int
	}{
		{"all as they should be", func(l, m int) (int, int) { return l, m }, "[]", 0},
		{"the last layer", func(l, m int) (int, int) {
			if l == 4 {
				m = exchanged(m, 1, 2)
			}
			return l, m
		}, "[4]", 2},
		{"a layer between", func(l, m int) (int, int) {
			if l == 1 {
				m = exchanged(m, 0, 2)
			}
			return l, m
		}, "[1]", 2},
		{"two of five", func(l, m int) (int, int) {
			if l == 0 || l == 3 {
				m = exchanged(m, 0, 1)
			}
			return l, m
		}, "[0 3]", 2},
		{"two layers are exchanged", func(l, m int) (int, int) { return exchanged(l, 1, 3), m }, "[1 3]", 1},
		{"the first and the last", func(l, m int) (int, int) { return exchanged(l, 0, 4), m }, "[0 4]", 1},
		{"all in reverse", func(l, m int) (int, int) { return 4 - l, m }, "[0 1 3 4]", 1},
	}
	for _, tt := range tests {
		for _, from := range names {
			for _, equal := range []bool{true, false} {
				is := make(map[string]string)
				for l := range 5 {
					for m := range from {
						layer, module := tt.is(l, m)
						is[fmt.Sprintf("h.%d.%s.weight", l, from[m])] = fmt.Sprintf("layers.%d.%s.weight", layer, of[module])
					}
				}
				res, err := Infer(t.Context(), squares("h", from...), squares("layers", of...), Options{Content: &told{is: is, z: 60, equal: equal, cross: 1}})
				if err != nil {
					t.Fatal(err)
				}
				if len(res.Contradictions) != tt.n || (tt.n > 0) != (len(res.Questions) > 0) || res.Unrelated {
					t.Errorf("%s, %s: %+v, asks %+v", tt.about, from[0], res.Contradictions, res.Questions)
				}
				for _, c := range res.Contradictions {
					also := 0
					if c.Content == c.Name { // layers have moved, with all that is in them
						also = 2
					}
					if fmt.Sprint(c.Layers) != tt.layers || len(c.Also) != also {
						t.Errorf("%s, %s: %+v", tt.about, from[0], c)
					}
				}
			}
		}
	}
}

// A layer that is unlike any may have been trained from new: that is no contradiction.
func TestSettleNewLayer(t *testing.T) {
	is := truth("t1", "q_proj", "t2", "k_proj", "t3", "v_proj")
	for from := range is {
		if strings.HasPrefix(from, "h.4.") {
			delete(is, from)
		}
	}
	res, err := Infer(t.Context(), squares("h", "t1", "t2", "t3"), squares("layers", "q_proj", "k_proj", "v_proj"), Options{Content: &told{is: is, z: 60, cross: 1}})
	if err != nil || len(res.Contradictions)+len(res.Questions) > 0 {
		t.Errorf("%+v, %v", res, err)
	}
}

// A name that says one thing over weights that are another's is reported and asked, and an
// assumption answers.
func TestSettleContradiction(t *testing.T) {
	a, b := squares("h", "attn.q_proj", "attn.k_proj", "attn.v_proj"), squares("layers", "q_proj", "k_proj", "v_proj")
	c := &told{is: truth("attn.q_proj", "q_proj", "attn.k_proj", "v_proj", "attn.v_proj", "k_proj"), z: 60, cross: 30}
	res, err := Infer(t.Context(), a, b, Options{Content: c})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, x := range res.Contradictions {
		got = append(got, x.From+" "+x.Name+" "+x.Content)
	}
	want := []string{
		"h.{layer}.attn.k_proj layers.{layer}.k_proj layers.{layer}.v_proj",
		"h.{layer}.attn.v_proj layers.{layer}.v_proj layers.{layer}.k_proj",
	}
	if !slices.Equal(got, want) || len(res.Questions) != 1 || len(res.Map.Ask) != 1 {
		t.Errorf("%q, %+v", got, res.Questions)
	}
	for _, answer := range []string{"k_proj", "v_proj"} {
		other := map[string]string{"k_proj": "v_proj", "v_proj": "k_proj"}[answer]
		res, err := Infer(t.Context(), a, b, Options{Content: c, Assume: []Assumption{{"attn.k_proj", answer}, {"attn.v_proj", other}}})
		if err != nil || len(res.Questions) > 0 {
			t.Errorf("%s: %+v, %v", answer, res, err)
		}
		// An answer that the weights are against stands, and is not taken for evidence.
		against := answer == "k_proj"
		if n := len(res.Contradictions); n != 0 && !against || n != 2 && against || against && !res.Contradictions[0].Assumed {
			t.Errorf("%s: %+v", answer, res.Contradictions)
		}
		for i, r := range res.Rules {
			by := strings.Join(r.By, "; ")
			switch end := res.Map.Rules[i].From[0].String(); {
			case strings.HasSuffix(end, "q_proj.weight"):
			case against && (r.Class != Named || r.Confidence > 0.5 || !strings.Contains(by, "it was assumed, but by its weights it is layers.{layer}.")):
				t.Errorf("%s: %s: %+v", answer, end, r)
			case !against && (r.Class != Measured || !strings.HasPrefix(by, "it was assumed; the sampled rows")):
				t.Errorf("%s: %s: %+v", answer, end, r)
			}
		}
	}
}

// What keeps weights from being read is the error.
func TestSettleFails(t *testing.T) {
	a, b := squares("h", "t1", "t2", "t3"), squares("layers", "q_proj", "k_proj", "v_proj")
	broken := errors.New("the disk is gone")
	if _, err := Infer(t.Context(), a, b, Options{Content: &told{err: broken}}); !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

// A tensor that is saved twice needs no answer which of the two is which.
func TestSettleTwins(t *testing.T) {
	a, b := squares("h", "t1", "t2"), squares("layers", "q_proj", "k_proj")
	c := &told{cross: 20, twins: true}
	res, err := Infer(t.Context(), a, b, Options{Content: c, Opaque: true})
	if err != nil || len(res.Questions) > 0 {
		t.Errorf("%+v, %v", res.Questions, err)
	}
}
