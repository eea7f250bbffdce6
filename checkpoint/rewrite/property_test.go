package rewrite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/txn/faulttest"
)

// TestInverse renames by generated maps, with swaps, chains, shifts and
// strips, and then by the inverse of the plan: names, order and data are what
// they were, in both formats and by every step.
func TestInverse(t *testing.T) {
	rules := []string{
		"swap:\n  model.layers.{l}.a.weight: model.layers.{l}.b.weight\n  model.layers.{l}.b.weight: model.layers.{l}.a.weight",
		"chain:\n  model.layers.{l}.c.weight: model.layers.{l}.d.weight\n  model.layers.{l}.d.weight: model.layers.{l}.e.weight",
		"up:\n  model.layers.{l}.{x...}: model.layers.{l+1}.{x}",
		"down:\n  blocks.{l}.{x...}: blocks.{l-1}.{x}",
		"longer:\n  head.weight: the_head_of_the_model.weight",
		"shorter:\n  model.embedding_of_all_tokens.weight: e",
		"prefix:\n  \"{x...}.tail\": x.{x}.tail",
	}
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		layers := rapid.IntRange(1, 12).Draw(rt, "layers")
		chosen := rapid.SliceOfNDistinct(rapid.SampledFrom(rules), 1, 4, func(s string) string { return s }).Draw(rt, "rules")
		strip := rapid.Bool().Draw(rt, "strip")
		isGGUF := rapid.Bool().Draw(rt, "gguf")
		opts := &Options{Verify: rapid.SampledFrom([]Verify{VerifyDefault, VerifyFull, VerifySampled, VerifyNone}).Draw(rt, "verify")}
		opts.Headroom = rapid.SampledFrom([]int64{0, 1, 5000}).Draw(rt, "headroom")
		fsys := faulttest.Hasty(faulttest.Limited{Insert: rapid.Bool().Draw(rt, "insert"), Clone: true})

		text := "version: 1\n"
		if strip {
			text += "strip: [_orig_mod]\n"
		}
		text += "rename:\n"
		for _, r := range chosen {
			_, lines, _ := strings.Cut(r, ":\n")
			text += lines + "\n"
		}
		wrap := ""
		if strip {
			wrap = "_orig_mod."
		}
		body := fmt.Sprintf(`
tensor %[2]smodel.embedding_of_all_tokens.weight F32 [7,3]
tensor model.layers.{0..%[1]d}.a.weight F32 [3]
tensor model.layers.{0..%[1]d}.%[2]sb.weight F32 [3]
tensor model.layers.{0..%[1]d}.c.weight F32 [5]
tensor model.layers.{0..%[1]d}.d.weight F32 [5]
tensor blocks.{1..%[1]d}.q.weight F32 [2,2]
tensor blocks.{1..%[1]d}.tail F32 [2,2]
tensor head.weight F32 [100]
`, layers, wrap)
		ref := filepath.Join(dir, fmt.Sprintf("m%d.safetensors", n))
		if isGGUF {
			ref = filepath.Join(dir, fmt.Sprintf("m%d.gguf", n))
			body = "format gguf\nkv general.architecture str x\n" + body
		}
		must(t, fixture.Write(ref, body))
		defer os.Remove(ref)
		before := tensorsOf(t, ref)

		rewrite := func(mapText string, inverse bool) string {
			r, err := checkpoint.Open(context.Background(), ref, nil)
			must(t, err)
			defer r.Close()
			c := r.Checkpoints[0]
			plan := planFor(t, c, parseMap(t, mapText))
			must(t, plan.Err())
			back := new(strings.Builder)
			if !inverse {
				fmt.Fprintln(back, "rename:")
				for _, row := range plan.Rows {
					if row.From != row.To {
						fmt.Fprintf(back, "  %q: %q\n", row.To, row.From)
					}
				}
			}
			j, err := prepare(context.Background(), fsys, c, plan, nil, opts)
			must(t, err)
			_, err = j.Run(context.Background(), nil)
			must(t, err)
			return back.String()
		}
		back := rewrite(text, false)
		if !strings.Contains(back, "\n  ") {
			return
		}
		if slices.Equal(before, tensorsOf(t, ref)) {
			rt.Fatalf("%s\nchanged nothing", text)
		}
		rewrite(back, true)
		if after := tensorsOf(t, ref); !slices.Equal(before, after) {
			rt.Fatalf("%s\n%s\nbefore %q\nafter  %q", text, back, before, after)
		}
	})
}

// TestDamageIsFound flips a bit on its way to the disk: the rewrite fails,
// says which tensor, and leaves everything as it was.
func TestDamageIsFound(t *testing.T) {
	for _, v := range []Verify{VerifyDefault, VerifyFull, VerifySampled} {
		dir := t.TempDir()
		ref, _ := release(t, dir, "single")
		all := fixture.Snapshot(t, dir)
		j, err := prepareTest(t, faulttest.Rotten, ref, yiToLlama, &Options{Verify: v})
		must(t, err)
		if _, err = j.Run(context.Background(), nil); err == nil || !strings.Contains(err.Error(), `tensor "model.`) {
			t.Errorf("verify %q: %v", v, err)
		}
		if now := fixture.Snapshot(t, dir); len(now) != len(all) || now["model.safetensors"] != all["model.safetensors"] {
			t.Errorf("verify %q: something changed", v)
		}
	}
}
