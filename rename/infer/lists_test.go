package infer

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/internal/testdata"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// releaseList reads the names of a real release. Lists of GGUF files have the fastest
// dimension first.
func releaseList(t testing.TB, file string) []convention.Named {
	t.Helper()
	var out []convention.Named
	for _, n := range fixture.ListedTensors(t, file) {
		if len(n.Shape) == 0 {
			n.Shape = nil
		}
		if strings.Contains(file, "gguf") {
			slices.Reverse(n.Shape)
		}
		out = append(out, convention.Named{Name: n.Name, Shape: n.Shape})
	}
	return out
}

// someNumbers are enough for conversions of which only the names matter.
var someNumbers = modelOf(map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096, "head_dim": 128, "num_local_experts": 8})

// Of names of real releases, most of them without shapes, common words tell nothing for
// sure that is not so: to every project whose names their convention can be converted to.
func TestRealLists(t *testing.T) {
	if testing.Short() {
		t.Skip("reads hundreds of lists")
	}
	dir := testdata.Path(t, "names")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	rules, guesses, wrong := 0, 0, 0
	for i, f := range files {
		if !strings.HasSuffix(f.Name(), ".tsv") || f.Name() == "INDEX.tsv" || !sweep.Has(i, 3) {
			continue
		}
		a := releaseList(t, filepath.Join(dir, f.Name()))
		if len(a) > 2000 {
			continue // TestLongList has one
		}
		r := identify.Read(slices.Values(a), someNumbers)
		from, ok := convention.Lookup(r.Convention)
		if !ok || r.Adapter {
			continue
		}
		for _, to := range convention.All() {
			if to == from || !slices.ContainsFunc(from.Families, to.HasFamily) {
				continue
			}
			cv, err := convert.BetweenWith(from, to, slices.Values(a), someNumbers, convert.Options{Named: true})
			if err != nil || len(cv.Unknown()) > 0 {
				continue
			}
			truth := make(map[string][]string)
			for _, mv := range cv.Moves {
				for _, n := range mv.From {
					truth[n] = mv.To
				}
			}
			x, err := newInference(t.Context(), &Inventory{Tensors: a}, new(Inventory), Options{Unknown: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := x.aim(to); err != nil {
				t.Fatal(err)
			}
			res, err := x.infer()
			if err != nil {
				t.Errorf("%s to %s: %v", f.Name(), to.Name, err)
				continue
			}
			for i := range res.Rules {
				rules++
				if res.Rules[i].Class == Guess {
					guesses++
				}
			}
			for _, pair := range surePairs(t, res, a, x.b.tensors, false) {
				name, got, _ := strings.Cut(pair, " ")
				if want, ok := truth[name]; ok && !slices.Contains(want, got) {
					wrong++
					t.Errorf("%s to %s: %s becomes %s for sure, not %v", f.Name(), to.Name, name, got, want)
				}
			}
		}
	}
	t.Logf("%d rules, %d guesses, %d tensors sure and wrong", rules, guesses, wrong)
	if guesses*5 > rules {
		t.Errorf("%d of %d rules are guesses", guesses, rules)
	}
}

// Two projects' lists of one release.
func TestRealPairs(t *testing.T) {
	for _, tt := range []struct {
		a, b    string
		numbers map[string]int64
	}{
		{"meta-llama__Meta-Llama-3-8B__hf-llama.reconstructed", "meta-llama__Meta-Llama-3-8B__meta-original.reconstructed", map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 4096}},
		{"meta-llama__Meta-Llama-3-8B__hf-llama.reconstructed", "meta-llama__Meta-Llama-3-8B__megatron-core-te.reconstructed", map[string]int64{"num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "hidden_size": 4096}},
		{"openai__gpt-oss-20b__gpt-oss-original.reconstructed", "openai__gpt-oss-20b__hf-gpt-oss-mxfp4.reconstructed", map[string]int64{"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "hidden_size": 2880, "num_local_experts": 32}},
	} {
		a, b := releaseList(t, testdata.Path(t, "names/"+tt.a+".tsv")), releaseList(t, testdata.Path(t, "names/"+tt.b+".tsv"))
		res, err := Infer(t.Context(), &Inventory{Tensors: a, Model: modelOf(tt.numbers)}, &Inventory{Tensors: b, Model: modelOf(tt.numbers)}, Options{})
		if err != nil {
			t.Errorf("%s: %v", tt.b, err)
			continue
		}
		t.Logf("%s..%s\n%s", tt.a, tt.b, brief(res))
		if len(res.Missing)+len(res.Extra) > 0 || res.Refused != "" {
			t.Error(brief(res))
		}
	}
}

// Between lists of releases of other sizes, what common words tell for sure is what conventions say, and
// another architecture has no map.
func TestRealSizes(t *testing.T) {
	if testing.Short() {
		t.Skip("compares lists in pairs")
	}
	dir := testdata.Path(t, "names")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	type list struct {
		file    string
		tensors []convention.Named
		of      *convention.Convention
		layers  int
	}
	var lists []list
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".tsv") || f.Name() == "INDEX.tsv" {
			continue
		}
		a := releaseList(t, filepath.Join(dir, f.Name()))
		r := identify.Read(slices.Values(a), someNumbers)
		of, ok := convention.Lookup(r.Convention)
		// One of each convention.
		if !ok || r.Adapter || len(a) > 700 || len(r.Extra) > 0 || slices.ContainsFunc(lists, func(l list) bool { return l.of == of }) {
			continue
		}
		x, err := newInference(t.Context(), &Inventory{Tensors: a}, new(Inventory), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if stack := blocksOf(x.a.modules); len(stack) > 0 {
			lists = append(lists, list{f.Name(), a, of, stack[0].Count})
		}
	}
	n, maps, right, guesses := 0, 0, 0, 0
	for _, a := range lists {
		for _, b := range lists {
			if a.layers == b.layers || a.of == b.of {
				continue
			}
			if n++; !sweep.Has(n, 7) {
				continue
			}
			res, err := Infer(t.Context(), &Inventory{Tensors: a.tensors}, &Inventory{Tensors: b.tensors}, Options{Unknown: true})
			if err != nil {
				t.Errorf("%s to %s: %v", a.file, b.file, err)
				continue
			}
			if res.Refused != "" {
				continue
			}
			maps++
			if strings.Contains(a.file+b.file, "bert") || strings.Contains(a.file+b.file, "gpt2") && !strings.Contains(a.file+b.file, "telechat") {
				t.Errorf("%s to %s: %s\n%s", a.file, b.file, res.Sizes, brief(res))
			}
			cv, err := convert.BetweenWith(a.of, b.of, slices.Values(a.tensors), someNumbers, convert.Options{Named: true})
			if err != nil || len(cv.Unknown()) > 0 {
				continue
			}
			truth := make(map[string][]string)
			var made []convention.Named
			for _, mv := range cv.Moves {
				for _, n := range mv.From {
					truth[n] = mv.To
				}
				for _, n := range mv.To {
					made = append(made, convention.Named{Name: n, Shape: []uint64{1}})
				}
			}
			for i := range res.Rules {
				if res.Rules[i].Class == Guess {
					guesses++
				}
			}
			for _, pair := range surePairs(t, res, a.tensors, made, false) {
				name, got, _ := strings.Cut(pair, " ")
				if want, ok := truth[name]; ok && !slices.Contains(want, got) {
					t.Errorf("%s to %s: %s becomes %s for sure, not %v", a.file, b.file, name, got, want)
					continue
				}
				right++
			}
		}
	}
	if maps == 0 || right == 0 {
		t.Error("nothing was compared")
	}
	t.Logf("%d maps between %d lists, %d tensors sure and right, %d guesses", maps, len(lists), right, guesses)
}
