package compare

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/rename"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/tensorop"
)

// Each tensor of a tower becomes the one that ollama's converter makes of it, with its
// shape, or is left out with the reason.
func TestTowers(t *testing.T) {
	text, err := os.ReadFile("testdata/towers.txt")
	if err != nil {
		t.Fatal(err)
	}
	used := make(map[string]bool)
	for section := range strings.SplitSeq(string(text), "\n\n") {
		head, rest, _ := strings.Cut(section, "\n")
		if strings.HasPrefix(head, "#") {
			continue
		}
		file, name, _ := strings.Cut(head, ": ")
		read := func(text string) (list []*tensor) {
			for line := range strings.Lines(text) {
				name, shape, ok := strings.Cut(strings.TrimSpace(line), " ")
				if !ok {
					continue
				}
				one := &tensor{own: name, name: name, index: len(list)}
				for n := range strings.SplitSeq(shape, ",") {
					d, err := strconv.ParseUint(n, 10, 32)
					if err != nil {
						t.Fatal(err)
					}
					one.shape = append(one.shape, d)
				}
				list = append(list, one)
			}
			return list
		}
		hf, gguf, _ := strings.Cut(rest, "  ->\n")
		c := &comparison{as: read(hf), bs: read(gguf)}
		numbers := map[string]int64{"vision_config.hidden_size": 32, "vision_config.patch_size": 4, "vision_config.num_channels": 3, "vision_config.attention_heads": 2}
		model := &convention.Model{Documents: []func(string) (int64, bool){func(key string) (int64, bool) { n, ok := numbers[key]; return n, ok }}}
		conv := new(convert.Conversion)
		c.towers(conv, model)
		made := make(map[string][]uint64)
		from := make(map[string]bool)
		for _, m := range conv.Moves {
			var shapes [][]uint64
			for _, n := range m.From {
				from[n] = true
				i := slices.IndexFunc(c.as, func(t *tensor) bool { return t.own == n })
				shapes = append(shapes, c.as[i].shape)
			}
			out, err := tensorop.Shapes(m.Ops, shapes)
			if err != nil {
				t.Errorf("%s: %v: %v", name, m.From, err)
				continue
			}
			for i, n := range m.To {
				made[n] = out[i]
			}
		}
		for _, b := range c.bs {
			if shape, ok := made[b.own]; !ok && b.reason == "" || ok && !slices.Equal(shape, b.shape) {
				t.Errorf("%s: %s has shape %v, and %v is made", name, b.own, b.shape, shape)
			}
			delete(made, b.own)
		}
		for n := range made {
			t.Errorf("%s: %s is made, and ollama has none", name, n)
		}
		m := towerMaps()[slices.IndexFunc(towerMaps(), func(m *rename.Map) bool { return m.File == file+".yaml" })]
		used[m.File] = true
		for _, r := range rename.NewPlan(m, keys(c.as), rename.Limits{Number: model.Number}).Rows {
			if r.Action == rename.Keep || r.Action != rename.Drop && !from[r.From] {
				t.Errorf("%s: %s becomes nothing", name, r.From)
			}
			i := slices.IndexFunc(c.as, func(t *tensor) bool { return t.own == r.From })
			if r.Action == rename.Drop && c.as[i].reason != r.Reason {
				t.Errorf("%s: %s is left out for %q, want %q", name, r.From, c.as[i].reason, r.Reason)
			}
		}
	}
	for _, m := range towerMaps() {
		if !used[m.File] {
			t.Errorf("%s is not tried", m.File)
		}
	}
}

func keys(list []*tensor) (names []string) {
	for _, t := range list {
		names = append(names, t.own)
	}
	return names
}

// What a conversion leaves out is not paired with what only looks like it: ollama's gates
// are the hyperbolic tangents of those that were left out.
func TestExcusedIsNotPaired(t *testing.T) {
	tensors := func(gate string) (list []*tensor) {
		for l := range 2 {
			for _, name := range []string{gate, "attn_q.weight"} {
				own := fmt.Sprintf("blk.%d.%s", l, name)
				list = append(list, &tensor{own: own, name: own, shape: []uint64{3}, index: len(list)})
			}
		}
		return list
	}
	for _, reason := range []string{"", "ollama stores the hyperbolic tangent of gates"} {
		c := &comparison{as: tensors("gate_attn"), bs: tensors("attn_gate"), out: new(Result)}
		for _, side := range []struct {
			list []*tensor
			in   **modules
		}{{c.as, &c.inA}, {c.bs, &c.inB}} {
			m, err := modulesOf(side.list, newNaming(side.list, new(convention.Model)))
			if err != nil {
				t.Fatal(err)
			}
			*side.in = m
		}
		for i, a := range c.as {
			if i%2 == 1 {
				c.link(a, c.bs[i], ByName)
			} else {
				a.reason = reason
			}
		}
		c.pairLoose(t.Context())
		if paired := c.as[0].pair != nil; paired != (reason == "") {
			t.Errorf("left out for %q, and paired: %v", reason, paired)
		}
	}
}
