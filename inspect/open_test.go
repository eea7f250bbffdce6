package inspect

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/wtinspect/wtinspect/internal/fixture"
)

func openSet(t *testing.T, refs ...string) *Set {
	t.Helper()
	set, err := Open(t.Context(), refs, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { set.Close() })
	return set
}

// What cannot be opened, or read, is said as errors and as faults, and the rest
// is there.
func TestOpen(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "set")
	if err := fixture.Sharded(dir, "file m-00001-of-00003.safetensors\ntensor a F32 [2]\nfile m-00002-of-00003.safetensors missing\ntensor b F32 [1]\nfile m-00003-of-00003.safetensors\ntensor c F32 [1]\n"); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(dir, "m-00003-of-00003.safetensors")
	if err := os.WriteFile(broken, []byte("broken"), 0o644); err != nil {
		t.Fatal(err)
	}
	set := openSet(t, "absent", dir)
	if len(set.Releases) != 1 || len(set.Checkpoints) != 1 || len(set.Errors) != 1 || !strings.HasPrefix(set.Errors[0].Error(), "absent: ") {
		t.Fatalf("%d releases, %d checkpoints, errors %v", len(set.Releases), len(set.Checkpoints), set.Errors)
	}
	var gaps []string
	for _, g := range set.Gaps(t.Context(), 0) {
		gaps = append(gaps, filepath.Base(g.File))
		if !strings.HasPrefix(g.Err.Error(), g.File) {
			t.Errorf("%v does not begin with its file", g.Err)
		}
	}
	if want := []string{"m-00002-of-00003.safetensors", "m-00003-of-00003.safetensors"}; !slices.Equal(gaps, want) {
		t.Errorf("gaps %q, want %q", gaps, want)
	}
	var codes []string
	for f := range set.Faults() {
		if (f.Checkpoint == nil) != (f.File == "absent") {
			t.Errorf("checkpoint %v of %v", f.Checkpoint, f)
		}
		codes = append(codes, f.Code)
	}
	if !slices.Contains(codes, "not_opened") || !slices.Contains(codes, "missing_shard") {
		t.Errorf("codes %q", codes)
	}
	for range set.Faults() {
		break // an iteration may end early
	}
	if list, err := List(t.Context(), set, nil); err != nil || list.Len() != 1 {
		t.Errorf("%d tensors, %v", list.Len(), err)
	}
}

func TestOpenEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, []string{fixture.File(t, "m.safetensors", "tensor a F32 [1]")}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A choice of tensors that makes no sense is an error of every function that has
// one.
func TestSelectionErrors(t *testing.T) {
	set := openSet(t, fixture.File(t, "m.safetensors", "tensor a F32 [1]"))
	bad := Selection{Regex: []string{"("}}
	for name, call := range map[string]func() error{
		"List":  func() error { _, err := List(t.Context(), set, &ListOptions{Select: bad}); return err },
		"Stats": func() error { _, err := Stats(t.Context(), set, &StatsOptions{Select: bad}); return err },
		"Hash":  func() error { _, err := Hash(t.Context(), set, &HashOptions{Select: bad}); return err },
		"sort":  func() error { _, err := List(t.Context(), set, &ListOptions{Sort: "size"}); return err },
		"algorithm": func() error {
			_, err := Hash(t.Context(), set, &HashOptions{Algorithms: []string{"md5"}})
			return err
		},
		"Diff": func() error { _, err := Diff(t.Context(), set, nil); return err },
		"key": func() error {
			_, err := Metadata(t.Context(), set, &MetadataOptions{Keys: []string{"none"}})
			return err
		},
	} {
		if call() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Progress begins at 0, never exceeds the total, and ends at it.
func TestProgress(t *testing.T) {
	a := fixture.File(t, "a.safetensors", "tensor a F32 [300000]\ntensor b F32 [5]")
	b := fixture.File(t, "b.safetensors", "tensor a F32 [300000]\ntensor b F32 [5]")
	for name, call := range map[string]func(set *Set, f func(done, total int64)) error{
		"Hash": func(set *Set, f func(done, total int64)) error {
			_, err := Hash(t.Context(), set, &HashOptions{Progress: f, Workers: 1})
			return err
		},
		"Stats": func(set *Set, f func(done, total int64)) error {
			_, err := Stats(t.Context(), set, &StatsOptions{Progress: f, Workers: 1})
			return err
		},
		"Diff": func(set *Set, f func(done, total int64)) error {
			_, err := Diff(t.Context(), set, &DiffOptions{Workers: 1, Progress: func(stage string, done, total int64) {
				if stage == "compare" {
					f(done, total)
				}
			}})
			return err
		},
	} {
		first, last, all := int64(-1), int64(0), int64(0)
		err := call(openSet(t, a, b), func(done, total int64) {
			if first < 0 {
				first = done
			}
			last, all = done, total
		})
		if err != nil || first != 0 || last != all || all != 2*1200020 {
			t.Errorf("%s: from %d to %d of %d, %v", name, first, last, all, err)
		}
	}
}

// The tree of a listing joins segments that always follow each other, and adds up
// what is below them.
func TestTree(t *testing.T) {
	set := openSet(t, fixture.File(t, "m.safetensors", "tensor a.b.{0..2}.w F32 [2]\ntensor a.b.0.bias F32 [1]\ntensor c.d.e F32 [4]"))
	list, err := List(t.Context(), set, nil)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	var walk func(n *Node, indent string)
	walk = func(n *Node, indent string) {
		for _, c := range n.Children() {
			lines = append(lines, indent+c.Segment)
			if c.Leaf >= 0 {
				lines[len(lines)-1] += " " + list.Listings[0].At(int(c.Leaf)).Name
			}
			walk(c, indent+" ")
		}
	}
	root := list.Listings[0].Tree(false)
	walk(root, "")
	want := []string{"a.b", " {0..2}.w a.b.0.w", " 0.bias a.b.0.bias", "c.d.e c.d.e"}
	if !slices.Equal(lines, want) || root.Tensors != 5 || root.Bytes.N != 44 {
		t.Errorf("%q, %d tensors, %d bytes", lines, root.Tensors, root.Bytes.N)
	}
}
