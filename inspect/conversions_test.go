package inspect_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/sweep"
	"github.com/wtinspect/wtinspect/rename/convention"
	"github.com/wtinspect/wtinspect/rename/convention/convert"
	"github.com/wtinspect/wtinspect/rename/convention/identify"
)

// offered yields the conversions that map list offers.
func offered(t *testing.T, yield func(from, to *convention.Convention)) {
	list, err := inspect.Maps(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Conventions {
		from, _ := convention.Lookup(c.Name)
		for _, target := range c.To {
			if to, _ := convention.Lookup(target.Convention); target.By != "refused" {
				yield(from, to)
			}
		}
	}
}

// writeSampleConfig writes a configuration with the numbers of the samples.
func writeSampleConfig(t *testing.T, dir, family string) {
	t.Helper()
	numbers := map[string]any{"model_type": family}
	for key, n := range sampleNumbers {
		numbers[key] = n
	}
	config, err := json.Marshal(numbers)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "config.json"), config, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// sampleOf writes a small checkpoint in a convention's names that a model of the
// other convention could be.
func sampleOf(t *testing.T, dir string, from, to *convention.Convention) *checkpoint.Checkpoint {
	t.Helper()
	d, err := convert.Derive(from, to)
	if err != nil {
		t.Fatal(err)
	}
	required := make(map[string]bool)
	for _, tensor := range to.Tensors() {
		// A map gives the names without the base where checkpoints are saved without it.
		required[tensor.Pattern.String()] = !tensor.Optional
		required[strings.TrimPrefix(tensor.Pattern.String(), to.Base)] = !tensor.Optional
	}
	wanted, given := make(map[string]bool), make(map[string]bool)
	for _, r := range d.Rules {
		if !slices.ContainsFunc(r.To, func(p string) bool { return required[p] && !given[p] }) {
			continue
		}
		for _, p := range r.To {
			given[p] = true
		}
		for _, p := range r.From {
			wanted[p] = true
		}
	}
	var text strings.Builder
	path := filepath.Join(dir, "model.safetensors")
	for _, n := range sample(from, to, func(t *convention.Tensor) bool { return wanted[t.Pattern.String()] }) {
		// Numbers to which one can be added, and which BF16 has.
		values := "0.5,-0.25,1.5,0.75,-1,2,0.125,-0.5,1.25,3,-2"
		if strings.HasSuffix(n.Name, "ssm_a") {
			values = "-1,-0.5,-2" // of -exp
		}
		fmt.Fprintf(&text, "tensor %s F32 %s values=%s\n", n.Name, strings.ReplaceAll(fmt.Sprint(n.Shape), " ", ","), values)
	}
	of := slices.IndexFunc(from.Families, to.HasFamily)
	writeSampleConfig(t, dir, from.Families[of])
	if err := fixture.Write(path, text.String()); err != nil {
		t.Fatal(err)
	}
	return open(t, path)
}

func open(t *testing.T, path string) *checkpoint.Checkpoint {
	t.Helper()
	rel, err := checkpoint.Open(t.Context(), path, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rel.Close() })
	return rel.Checkpoints[0]
}

// What a conversion that is offered makes of a model that both conventions can
// hold is of the other convention.
func TestConversions(t *testing.T) {
	if testing.Short() {
		t.Skip("many conversions: make test runs them")
	}
	t.Parallel()
	n, tried := 0, make(map[string]int)
	offered(t, func(from, to *convention.Convention) {
		// One to each convention at least.
		if n++; tried[to.Name] > 0 && !sweep.Has(n, 7) {
			return
		}
		tried[to.Name]++
		dir := t.TempDir()
		c := sampleOf(t, dir, from, to)
		conv, err := inspect.Translate(t.Context(), c, &inspect.TranslateOptions{From: from.Name, To: to.Name})
		if err != nil {
			t.Errorf("%s to %s: %v", from.Name, to.Name, err)
			return
		}
		tensors, err := conv.Tensors()
		if err != nil {
			t.Fatal(err)
		}
		as := func(m *convention.Model) *identify.Result { return resultAs(conv, tensors, m) }
		// Without a configuration it is named among those that nothing tells apart.
		if bare := as(nil); bare.Convention != to.Name && !slices.Contains(bare.Alike, to.Name) {
			t.Errorf("%s to %s: without a configuration it is identified as %s or %v", from.Name, to.Name, bare.Convention, bare.Alike)
		}
		// A GGUF file says it.
		architecture, ok := strings.CutSuffix(to.Name, "-gguf")
		if got := as(&convention.Model{Architecture: architecture}); ok && got.Convention != to.Name {
			t.Errorf("%s to %s: a file of the architecture %s is identified as %s", from.Name, to.Name, architecture, got.Convention)
		}
	})
	if len(tried) < 200 {
		t.Errorf("only %d conventions are converted to", len(tried))
	}
}

// resultAs is what the tensors of a conversion's result are identified as, of a model.
func resultAs(conv *inspect.Translation, tensors []checkpoint.Tensor, m *convention.Model) *identify.Result {
	return identify.Tensors(func(yield func(convention.Named) bool) {
		for i := range tensors {
			aside := slices.ContainsFunc(conv.Aside, func(a convert.Aside) bool { return a.Name == tensors[i].Name })
			if !aside && !yield(convention.Named{Name: tensors[i].Name, Shape: tensors[i].Shape, DType: tensors[i].DType}) {
				return
			}
		}
	}, m)
}

// A release whose configuration comes along and says another model than the convention is
// of is not converted to what the configuration would have taken for something else.
func TestConversionsBesideAConfiguration(t *testing.T) {
	if testing.Short() {
		t.Skip("many conversions: make test runs them")
	}
	t.Parallel()
	n, refused, converted := 0, 0, 0
	offered(t, func(from, to *convention.Convention) {
		if to.HasFamily(from.Families[0]) {
			return
		}
		if n++; !sweep.Has(n, 3) {
			return
		}
		dir := t.TempDir()
		sampleOf(t, dir, from, to)
		writeSampleConfig(t, dir, from.Families[0])
		r, err := inspect.Rename(t.Context(), open(t, dir), &inspect.RenameOptions{From: from.Name, To: to.Name, Rewrite: rewrite.Options{Output: dir + ".out"}})
		if _, ok := errors.AsType[*convert.RefusalError](err); ok {
			refused++
			return
		}
		if err != nil {
			t.Errorf("%s to %s: %v", from.Name, to.Name, err)
			return
		}
		defer r.Close()
		converted++
		tensors, err := r.Conversion.Tensors()
		if err != nil {
			t.Fatal(err)
		}
		if got := resultAs(r.Conversion, tensors, &convention.Model{Type: from.Families[0]}); got.Convention != to.Name && !slices.Contains(got.Alike, to.Name) {
			t.Errorf("%s to %s: beside a configuration of %s it is identified as %s or %v", from.Name, to.Name, from.Families[0], got.Convention, got.Alike)
		}
	})
	t.Logf("%d refused, %d converted", refused, converted)
	if refused < sweep.Count(6, 20) || converted < sweep.Count(20, 60) {
		t.Errorf("%d refused and %d converted: too few to say much", refused, converted)
	}
}

// What is written of some of the conversions is identified as the other
// convention, has no errors, and has the same weights in either order.
func TestWrittenConversions(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	n := 0
	offered(t, func(from, to *convention.Convention) {
		if n++; !sweep.Has(n, 29) {
			return
		}
		t.Run(from.Name+" to "+to.Name, func(t *testing.T) {
			dir := t.TempDir()
			c := sampleOf(t, dir, from, to)
			out := filepath.Join(dir, "converted"+filepath.Ext(c.Path))
			r, err := inspect.Rename(t.Context(), c, &inspect.RenameOptions{
				From: from.Name, To: to.Name, Unknown: inspect.DropUnknown, Rewrite: rewrite.Options{Output: out},
			})
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if err := r.Run(t.Context(), nil); err != nil {
				if strings.Contains(err.Error(), "write round: true") {
					t.Skipf("the sample's numbers cannot be offset exactly, and the conversion says so: %v", err)
				}
				t.Fatal(err)
			}
			written, err := inspect.Identify(t.Context(), open(t, out), nil)
			if err != nil || !written.IsOf(to.Name) {
				t.Errorf("it is identified as %q, %v: %v", written.Convention, written.Evidence, err)
			}
			// The sample's config.json is one of transformers, and describes its files alone.
			config, aside := filepath.Join(dir, "config.json"), filepath.Join(dir, "aside")
			if to.HasDialect("hf") {
				aside = config
			}
			if err := os.Rename(config, aside); err != nil {
				t.Fatal(err)
			}
			checked, err := inspect.Check(t.Context(), []string{out}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(aside, config); err != nil {
				t.Fatal(err)
			}
			for _, f := range checked.Findings {
				if f.Severity == checkpoint.Error {
					t.Errorf("check: %+v", f)
				}
			}
			if len(r.Unknown) > 0 || slices.ContainsFunc(from.Dialects, to.HasDialect) {
				return // what is left out, or has another name in the same project, is a difference
			}
			for _, pair := range [][]string{{c.Path, out}, {out, c.Path}} {
				set, err := inspect.Open(t.Context(), pair, nil)
				if err != nil {
					t.Fatal(err)
				}
				defer set.Close()
				diff, err := inspect.Diff(t.Context(), set, &inspect.DiffOptions{Auto: true})
				if err != nil {
					t.Fatalf("%v: %v", pair, err)
				}
				if diff.Verdict.Differs() {
					t.Errorf("diff %s %s: %s", filepath.Base(pair[0]), filepath.Base(pair[1]), diff.Comparisons[0].Sentence())
				}
			}
		})
	})
}
