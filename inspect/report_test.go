package inspect_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/render"
)

// What a report says is what the functions say that it is made of.
func TestReportIsWhatOthersSay(t *testing.T) {
	const text = "tensor model.layers.{0..3}.up.weight F32 [4] values=1,-1,2,-2\ntensor model.layers.4.up.weight F32 [4] values=nan,1,2,3\ntensor model.norm.weight F32 [4] values=1"
	a, b := fixture.File(t, "a.safetensors", text), fixture.File(t, "b.safetensors", "meta format pt\n"+text+"\ntensor lm_head.weight BF16 [2,4] values=1,2")
	refs := []string{a, b}
	set, err := inspect.Open(t.Context(), refs, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	r, err := inspect.Report(t.Context(), set, refs, &inspect.ReportOptions{Values: true})
	if err != nil {
		t.Fatal(err)
	}
	same := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		g, gErr := render.Marshal(got)
		w, wErr := render.Marshal(want)
		if gErr != nil || wErr != nil {
			t.Fatalf("%s: %v, %v", what, gErr, wErr)
		}
		if diff := cmp.Diff(string(w), string(g)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	info, err := inspect.Info(t.Context(), set, nil)
	same("checkpoints", r.Checkpoints, info.Checkpoints, err)
	for k, c := range set.Checkpoints {
		one, err := inspect.Identify(t.Context(), c, nil)
		same("identities", r.Identities[k], one, err)
	}
	check, err := inspect.Check(t.Context(), refs, &inspect.CheckOptions{Values: true})
	same("check", r.Check, check, err)
	stats, err := inspect.Stats(t.Context(), set, nil)
	same("layers", r.Values.Layers, stats.ByLayer().Layers, err)
	hash, err := inspect.Hash(t.Context(), set, nil)
	same("content ids", r.Values.Checkpoints, hash.Checkpoints, err)
	diff, err := inspect.Diff(t.Context(), set, nil)
	same("comparisons", r.Difference.Comparisons, diff.Comparisons, err)
	if r.Difference.Verdict != diff.Verdict || len(r.Rules) == 0 || r.Rules[0].ID != check.Findings[0].Rule {
		t.Errorf("verdict %q, want %q; rules %v", r.Difference.Verdict, diff.Verdict, r.Rules)
	}
	tensors := 0
	for g := range r.Groups {
		tensors += len(g.Members)
	}
	if want := set.Checkpoints[0].Len() + set.Checkpoints[1].Len(); tensors != want {
		t.Errorf("the groups have %d tensors, want %d", tensors, want)
	}
}

// One model has no difference, and its values are not read unless that is asked for.
// Without a file there is what check says.
func TestReportOfOne(t *testing.T) {
	a := fixture.File(t, "a.safetensors", "tensor a F32 [4]\ntensor b F32 [4]")
	set, err := inspect.Open(t.Context(), []string{a}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	r, err := inspect.Report(t.Context(), set, []string{a}, &inspect.ReportOptions{Select: inspect.Selection{Match: []string{"b"}}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Values != nil || r.Difference != nil || r.Listings[0].Len() != 1 || r.Checkpoints[0].Totals.Tensors != 2 || len(r.Errors()) != 0 {
		t.Errorf("%+v", r)
	}
	none, err := inspect.Open(t.Context(), []string{"none"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if r, err = inspect.Report(t.Context(), none, []string{"none"}, nil); err != nil || len(r.Errors()) != 0 || r.Check.Summary.Unjudged != 1 {
		t.Errorf("nothing: %v, %+v", err, r)
	}
	if _, err := inspect.Report(t.Context(), set, []string{a}, &inspect.ReportOptions{FailOn: "worse"}); err == nil {
		t.Error("a severity that there is not")
	}
}
