package infer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename/convention"
)

// flat is an inventory of tensors that are only numbered, in no order, and which is which of b's.
func flat(b []convention.Named) (*Inventory, map[string]string) {
	inv, is := new(Inventory), make(map[string]string)
	for i := range b {
		from := &b[(i*11)%len(b)] // 84 of them
		name := fmt.Sprintf("tensor%03d", i)
		inv.Tensors = append(inv.Tensors, convention.Named{Name: name, Shape: from.Shape})
		is[name] = from.Name
	}
	return inv, is
}

// Where names show no layers, each tensor is looked for by its weights; without any, that is said.
func TestSingly(t *testing.T) {
	b := listed(t, hf)
	a, is := flat(b)
	right := func(c *told, class Class) {
		t.Helper()
		res, err := Infer(t.Context(), a, &Inventory{Tensors: b}, Options{Content: c})
		if err != nil {
			t.Fatal(err)
		}
		if len(res.Rules) != len(b) || len(res.Extra)+len(res.Missing) > 0 || res.Partial || res.To != "llama-hf" {
			t.Fatal(res.To, brief(res))
		}
		for _, r := range res.Rules {
			from, to := res.Map.Rules[r.Rule].From[0].String(), res.Map.Rules[r.Rule].To[0].String()
			if is[from] != to || r.Class != class {
				t.Errorf("%s becomes %s, not %s (%s)", from, to, is[from], r.Class)
			}
		}
	}
	right(&told{is: is, z: 60, equal: true, cross: 1}, Proven)
	right(&told{is: is, z: 60, cross: 20}, Measured)
	// What two tensors are nearly as like is not guessed.
	for _, c := range []*told{{is: is, z: 60, cross: 50}, {cross: 1}, nil} {
		opt := Options{}
		if c != nil {
			opt.Content = c
		}
		res, err := Infer(t.Context(), a, &Inventory{Tensors: b}, opt)
		if err != nil || !strings.Contains(res.Refused, "its names show no layers, as those of the other do: model.layers.{layer}.") || len(res.Map.Rules) > 0 {
			t.Errorf("%v %s", err, brief(res))
		}
	}
}

// Of tensors that are left over nothing is said.
func TestSinglyInPart(t *testing.T) {
	b := listed(t, hf)
	a, is := flat(b)
	lost := []string{a.Tensors[3].Name, a.Tensors[40].Name}
	for _, n := range lost {
		delete(is, n)
	}
	res, err := Infer(t.Context(), a, &Inventory{Tensors: b}, Options{Content: &told{is: is, z: 60, equal: true, cross: 1}})
	if err != nil || !slices.Equal(res.Extra, lost) || len(res.Missing) != 2 || !res.Partial {
		t.Errorf("%v %s", err, brief(res))
	}
}

// Why names have no counterpart is said.
func TestSaysWhyNothingFits(t *testing.T) {
	const d = `lab.tok.weight 640x128
lab.norm.weight 128
lab.head.weight 640x128
`
	var gaps, letters, long []string
	for l := range 9 {
		for _, m := range []string{"attn.q.weight 128x128", "attn.k.weight 32x128", "mlp.up.weight 344x128", "n.weight 128"} {
			gaps = append(gaps, fmt.Sprintf("lab.layers.%d.%s", 5+10*l, m))
			letters = append(letters, fmt.Sprintf("lab.b%c.%s", 'a'+l, m))
			long = append(long, fmt.Sprintf("%s.%d.%s", strings.Repeat("s", 2000), l, m))
		}
	}
	for _, c := range []struct {
		about, why string
		list       []string
	}{
		{"gaps", "its layers are 5, 15, 25 and 6 more, and those of the other 0 to 8", gaps},
		{"letters", "its names show no layers", letters},
		{"long", "names of more than 1024 bytes are not taken apart", long},
	} {
		res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, d+strings.Join(c.list, "\n"))}, &Inventory{Tensors: listed(t, hf)}, Options{})
		if err != nil || !strings.Contains(res.Refused, c.why) {
			t.Errorf("%s: %v %s", c.about, err, res.Refused)
		}
		if c.about == "gaps" {
			continue // a convention's layers may be counted from 0 all the same
		}
		res, err = ToConvention(t.Context(), &Inventory{Tensors: listed(t, d+strings.Join(c.list, "\n"))}, lookup(t, "llama-hf"), Options{})
		if err != nil || !strings.HasPrefix(res.Refused, c.why) || !res.Layerless {
			t.Errorf("%s: %v %s", c.about, err, res.Refused)
		}
	}
	// A part of the other says what is missing, and does not say that all of it fits.
	part := strings.Split(hf, "\n")
	res, err := Infer(t.Context(), &Inventory{Tensors: listed(t, "lab."+part[0]+"\nlab."+part[2])}, &Inventory{Tensors: listed(t, hf)}, Options{})
	if err != nil || !strings.HasPrefix(res.Refused, "nothing in it becomes ") || !strings.HasSuffix(res.Refused, "of the other's 84 tensors") {
		t.Errorf("%v %s", err, res.Refused)
	}
}
