package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/render"
)

// What -f json prints is what the result of package inspect is in JSON, and its
// keys are documented.
func TestJSONIsTheResult(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	odd := filepath.Join(dir, "odd")
	if err := fixture.Sharded(odd, `meta format pt
file model-00001-of-00003.safetensors
tensor model.layers.{0..1}.w F32 [2,3]
tensor "model.layers.0.<n&>" BF16 []
file model-00002-of-00003.safetensors
meta other x
tensor x I8 [0,2]
tensor y UNKNOWN [4] bytes=4
file model-00003-of-00003.safetensors missing
tensor z F32 [1]
`); err != nil {
		t.Fatal(err)
	}
	a, b := fixture.File(t, "a.safetensors", "tensor a F32 [4] values=1,2,3,4\ntensor b F32 [2] values=nan,inf\ntensor c.{0..1}.w BF16 [4] values=1,2\ntensor gone F32 [1]"),
		fixture.File(t, "b.safetensors", "tensor a F32 [4] values=1,2,3,5\ntensor b F32 [2] values=nan,inf\ntensor c.{0..1}.w F32 [4] values=1,2\ntensor new F32 [2]")
	gguf := fixture.File(t, "m.gguf", `format gguf
kv general.architecture str llama
kv "odd\xff" [str] "v\xff" w
kv general.many [u8] {0..40}
kv general.pi f32 nan
tensor "x\xff<&>" F32 [4]
tensor "" Q4_0 [2,32]
`)
	manifest := filepath.Join(dir, "manifest")
	if err := os.WriteFile(manifest, []byte(outputOf(t, "hash", "--algorithm", "all", a)), 0o644); err != nil {
		t.Fatal(err)
	}
	docs := ""
	for _, doc := range []string{"json", "stats", "cat", "hash", "diff", "meta", "check", "report"} {
		data, err := os.ReadFile(filepath.Join("..", "..", "docs", doc+".md"))
		if err != nil {
			t.Fatal(err)
		}
		docs += string(data)
	}
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("[`\"{,](\\w+)").FindAllStringSubmatch(docs, -1) {
		documented[m[1]] = true
	}

	type call = func(ctx context.Context, set *inspect.Set) (any, error)
	answer := func(v any, err error) (any, error) { return v, err }
	for _, tt := range []struct {
		args  []string
		paths []string
		call  call
	}{
		{[]string{"ls"}, []string{odd, a, gguf}, func(ctx context.Context, s *inspect.Set) (any, error) { return answer(inspect.List(ctx, s, nil)) }},
		{[]string{"ls", "--dims", "ggml", "--match", "*.w", "--sort", "name", "--reverse"}, []string{odd, "absent"}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.List(ctx, s, &inspect.ListOptions{Select: inspect.Selection{Match: []string{"*.w"}}, Sort: "name", Reverse: true, Dims: true}))
		}},
		{[]string{"info"}, []string{odd, a, gguf}, func(ctx context.Context, s *inspect.Set) (any, error) { return answer(inspect.Info(ctx, s, nil)) }},
		{[]string{"stats"}, []string{odd, a}, func(ctx context.Context, s *inspect.Set) (any, error) { return answer(inspect.Stats(ctx, s, nil)) }},
		{[]string{"stats", "--sample", "50%", "--histogram", "--quantiles"}, []string{a}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Stats(ctx, s, &inspect.StatsOptions{Sample: 0.5, Bins: bins, Quantiles: true}))
		}},
		{[]string{"stats", "--by-layer"}, []string{odd, a}, func(ctx context.Context, s *inspect.Set) (any, error) {
			r, err := inspect.Stats(ctx, s, nil)
			if err != nil {
				return nil, err
			}
			return r.ByLayer(), nil
		}},
		{[]string{"cat", "--match", "*", "--slice", "0"}, []string{a}, func(ctx context.Context, s *inspect.Set) (any, error) {
			slice, err := inspect.ParseSlice("0")
			if err != nil {
				return nil, err
			}
			return answer(inspect.Cat(ctx, s, &inspect.CatOptions{Select: inspect.Selection{Match: []string{"*"}}, Slice: slice}))
		}},
		{[]string{"hash", "--algorithm", "all"}, []string{odd, a}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Hash(ctx, s, &inspect.HashOptions{Algorithms: []string{inspect.SHA256, inspect.XXH64}}))
		}},
		{[]string{"hash", "--check", manifest}, []string{b}, func(ctx context.Context, s *inspect.Set) (any, error) {
			m, err := inspect.ReadManifest(ctx, manifest)
			if err != nil {
				return nil, err
			}
			r, err := inspect.Hash(ctx, s, &inspect.HashOptions{Manifest: m})
			if err != nil {
				return nil, err
			}
			return r.Check(), nil
		}},
		{[]string{"diff", "-v"}, []string{a, b}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Diff(ctx, s, &inspect.DiffOptions{All: true}))
		}},
		{[]string{"diff", "--headers"}, []string{a, b}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Diff(ctx, s, &inspect.DiffOptions{Headers: true}))
		}},
		{[]string{"report", "--values"}, []string{a, b}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Report(ctx, s, []string{a, b}, &inspect.ReportOptions{FailOn: "never", Values: true}))
		}},
		{[]string{"report", "--match", "*.w"}, []string{odd}, func(ctx context.Context, s *inspect.Set) (any, error) {
			return answer(inspect.Report(ctx, s, []string{odd}, &inspect.ReportOptions{FailOn: "never", Select: inspect.Selection{Match: []string{"*.w"}}}))
		}},
	} {
		args := append(append([]string{}, tt.args...), "-f", "json")
		compareJSON(t, append(args, tt.paths...), tt.paths, tt.call, documented)
	}
	keys := func(ctx context.Context, s *inspect.Set) (any, error) { return answer(inspect.Metadata(ctx, s, nil)) }
	compareJSON(t, []string{"meta", "show", "-f", "json", odd}, []string{odd}, keys, documented)
	compareJSON(t, []string{"meta", "show", "-f", "json", gguf}, []string{gguf}, keys, documented)
}

func compareJSON(t *testing.T, args, paths []string, call func(ctx context.Context, set *inspect.Set) (any, error), documented map[string]bool) {
	t.Helper()
	set, err := inspect.Open(t.Context(), paths, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer set.Close()
	result, err := call(t.Context(), set)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	want, err := render.Marshal(result)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	var out, errs, got bytes.Buffer
	run(t.Context(), args, strings.NewReader(""), &out, &errs)
	if err := json.Compact(&got, out.Bytes()); err != nil {
		t.Fatalf("%v: %v\n%s%s", args, err, &out, &errs)
	}
	printed := strings.Replace(got.String(), `"schema_version":1,`, "", 1)
	if printed != string(want) {
		i := 0
		for i < min(len(printed), len(want)) && printed[i] == want[i] {
			i++
		}
		from := max(0, i-100)
		t.Errorf("%v\nprinted: …%.300s\nresult:  …%.300s", args, printed[from:], want[from:])
	}
	for _, m := range regexp.MustCompile(`"([a-z_0-9]+)":`).FindAllStringSubmatch(printed, -1) {
		key := strings.TrimSuffix(m[1], "_base64")
		if !documented[key] && !regexp.MustCompile(`^p\d+$`).MatchString(key) {
			t.Errorf("%v: the key %s is not documented", args, key)
		}
	}
}
