package checkpoint

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

// content is a line for each tensor of a checkpoint, with its first bytes, as three ways to
// get at it agree on.
func content(t *testing.T, c *Checkpoint) []string {
	t.Helper()
	var out []string
	for i, tensor := range c.All() {
		if at := c.At(i); at.Name != tensor.Name || at.Offset != tensor.Offset || at.File != tensor.File {
			t.Errorf("tensor %d is %+v and %+v", i, at, tensor)
		}
		if found, ok := c.Lookup(tensor.Name); !ok || found != i {
			t.Errorf("%s: found at %d, not %d", tensor.Name, found, i)
		}
		r, err := c.Data(i)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, min(r.Size(), 8))
		if _, err := r.ReadAt(b, 0); err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprintf("%s %s %v %x", tensor.Name, tensor.DType, tensor.Shape, b))
	}
	if len(out) != c.Len() {
		t.Errorf("%d tensors of %d", len(out), c.Len())
	}
	return out
}

func TestUnion(t *testing.T) {
	for _, format := range []string{"safetensors", "gguf"} {
		t.Run(format, func(t *testing.T) {
			dir := t.TempDir()
			var list []*Checkpoint
			for i, text := range []string{
				"tensor a F32 [4]\ntensor b F32 [4]\ntensor c F32 [4]\n",
				"tensor d F32 [4]\ntensor b F16 [8] hex=0102\n",
				"tensor c F32 [8]\ntensor e F32 [4]\n",
			} {
				name := filepath.Join(dir, fmt.Sprintf("%d.%s", i, format))
				if err := fixture.Write(name, "format "+format+"\n"+text); err != nil {
					t.Fatal(err)
				}
				r, err := Open(t.Context(), name, nil)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { r.Close() })
				list = append(list, r.Checkpoints[0])
			}
			all := [][]string{content(t, list[0]), content(t, list[1]), content(t, list[2])}

			_, passed, err := Union(list, PreferNone)
			want := fmt.Sprintf(`tensor "b" is in %s and in %s, and 1 name more is in two of them`, list[0].Path, list[1].Path)
			if err == nil || len(passed) != 2 || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("equal names: %v, %v", passed, err)
			}
			u, passed, err := Union(list, PreferFirst)
			if err != nil || len(passed) != 2 || passed[0] != (Passed{"b", list[1], list[0]}) || passed[1] != (Passed{"c", list[2], list[0]}) {
				t.Fatalf("the first: %v, %v", passed, err)
			}
			if got, want := content(t, u), slices.Concat(all[0], all[1][:1], all[2][1:]); !slices.Equal(got, want) {
				t.Errorf("the first: %q\nwant %q", got, want)
			}
			u, passed, err = Union(list, PreferLast)
			if err != nil || len(passed) != 2 || passed[0] != (Passed{"b", list[0], list[1]}) || passed[1] != (Passed{"c", list[0], list[2]}) {
				t.Fatalf("the last: %v, %v", passed, err)
			}
			if got, want := content(t, u), slices.Concat(all[0][:1], all[1], all[2]); !slices.Equal(got, want) {
				t.Errorf("the last: %q\nwant %q", got, want)
			}
			if u.Files[0].Safetensors() == nil && u.Files[0].GGUF() == nil {
				t.Error("the file of a union is not open")
			}
		})
	}
}

func TestUnionRefuses(t *testing.T) {
	dir := t.TempDir()
	open := func(name, text string) *Checkpoint {
		name = filepath.Join(dir, name)
		if err := fixture.Write(name, text); err != nil {
			t.Fatal(err)
		}
		r, err := Open(t.Context(), name, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close() })
		return r.Checkpoints[0]
	}
	a, b := open("a.safetensors", "tensor a F32 [4]\n"), open("b.gguf", "format gguf\ntensor b F32 [4]\n")
	if _, _, err := Union([]*Checkpoint{a, b}, PreferNone); err == nil || !strings.Contains(err.Error(), "convert one of them first") {
		t.Errorf("two formats: %v", err)
	}
	set := filepath.Join(dir, "set")
	if err := fixture.Sharded(set, "file model-00001-of-00002.safetensors\ntensor x F32 [1]\nfile model-00002-of-00002.safetensors missing\ntensor y F32 [1]\n"); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), set, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, _, err := Union([]*Checkpoint{a, r.Checkpoints[0]}, PreferNone); err == nil || !strings.Contains(err.Error(), "is missing") {
		t.Errorf("a shard is missing: %v", err)
	}
	if _, _, err := Union(nil, PreferNone); err == nil {
		t.Error("a union of nothing")
	}
}
