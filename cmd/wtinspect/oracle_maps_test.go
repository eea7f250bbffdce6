package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/internal/oracle"
)

// TestRandomMaps applies random maps to random checkpoints: to a copy, in place,
// and back by the inverse that was written. An independent reader and matcher
// say what must come of it.
func TestRandomMaps(t *testing.T) {
	t.Parallel()
	first := randomSeed(t)
	done, refusals := 0, 0
	for seed := first; seed < first+2*uint64(randomCount(t, 20)); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if randomMap(t, seed) {
				done++
			} else {
				refusals++
			}
		})
	}
	t.Logf("%d maps applied, %d refused", done, refusals)
}

// emptied says which file a map would leave without a tensor. A part of a GGUF
// split may be.
func emptied(files []*oracle.File, fates []oracle.Fate, gguf bool) string {
	if len(fates) == 0 || gguf && len(files) > 1 {
		return ""
	}
	at := 0
	for i := range files {
		mine := fates[at : at+len(files[i].Tensors)]
		at += len(mine)
		if len(mine) > 0 && !slices.ContainsFunc(mine, func(f oracle.Fate) bool { return !f.Dropped }) {
			return fmt.Sprintf("file %d would be left without a tensor", i)
		}
	}
	return ""
}

// randomMap tries the map of a seed, and reports whether it can be applied.
func randomMap(t *testing.T, seed uint64) bool {
	model := oracle.Random(seed, seed%2 == 1)
	layout := oracle.RandomLayout(seed, model.GGUF)
	dir := t.TempDir()
	path, err := model.Write(filepath.Join(dir, "old"), layout)
	if err != nil {
		t.Fatal(err)
	}
	before, err := oracle.ReadSet(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range before {
		for i := range f.Tensors {
			names = append(names, f.Tensors[i].Name)
		}
	}
	m := oracle.RandomMap(seed, names)
	mapFile := filepath.Join(dir, "map.yaml")
	if err := os.WriteFile(mapFile, m.YAML(), 0o644); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if t.Failed() {
			t.Logf("%+v\n%s", layout, m.YAML())
		}
	}()
	fates, refused := m.Apply(names, model.GGUF)
	refused = cmp.Or(refused, emptied(before, fates, model.GGUF))
	original := digestTree(t, filepath.Dir(path))

	// A copy.
	out := filepath.Join(dir, "new"+filepath.Ext(path))
	if len(before) > 1 || strings.HasSuffix(path, ".json") {
		out = filepath.Join(dir, "new")
	}
	code, text, errs := execute(t, "rename", "--map", mapFile, "-o", out, path)
	if digestTree(t, filepath.Dir(path)) != original {
		t.Errorf("-o changed the source")
	}
	if refused != "" {
		if code != exitFailed || !strings.Contains(errs, "refused: ") {
			t.Errorf("-o: exit %d although %s: %s%s", code, refused, errs, tail(text))
		}
		if _, err := os.Lstat(out); err == nil {
			t.Errorf("-o: refused, and %s is there", out)
		}
		if code, text, errs := execute(t, "rename", "--map", mapFile, "--in-place", path); code != exitFailed {
			t.Errorf("--in-place: exit %d although %s: %s%s", code, refused, errs, tail(text))
		}
		if digestTree(t, filepath.Dir(path)) != original {
			t.Errorf("--in-place: refused, and files have changed")
		}
		return false
	}
	if code != exitOK {
		t.Errorf("-o: exit %d: %s%s", code, errs, tail(text))
		return true
	}
	outPath := out
	if filepath.Ext(out) == "" {
		outPath = filepath.Join(out, filepath.Base(path))
	}
	compareFates(t, "-o", before, path, outPath, fates)

	// In place.
	work := filepath.Join(dir, "work")
	if err := oracle.CopyTree(work, filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
	workPath := filepath.Join(work, filepath.Base(path))
	originalWork := digestTree(t, work)
	inverse := filepath.Join(dir, "back.yaml")
	if slices.ContainsFunc(fates, func(f oracle.Fate) bool { return !f.Dropped && !utf8.ValidString(f.Name) }) {
		// YAML cannot hold such a name: either none of them moves, or the inverse
		// is refused before anything changes, and the rename goes without.
		code, text, errs := execute(t, "rename", "--map", mapFile, "--in-place", "--write-inverse", inverse, workPath)
		if code == exitFailed && strings.Contains(errs, "is not UTF-8 and cannot be written in YAML") {
			if digestTree(t, work) != originalWork {
				t.Errorf("--in-place: the inverse is refused, and files have changed")
			}
			if code, text, errs = execute(t, "rename", "--map", mapFile, "--in-place", workPath); code != exitOK {
				t.Errorf("--in-place without an inverse: exit %d: %s%s", code, errs, tail(text))
			} else {
				compareFates(t, "--in-place", before, path, workPath, fates)
			}
			return true
		}
		if code != exitOK {
			t.Errorf("--in-place: exit %d: %s%s", code, errs, tail(text))
			return true
		}
	} else if code, text, errs := execute(t, "rename", "--map", mapFile, "--in-place", "--write-inverse", inverse, workPath); code != exitOK {
		t.Errorf("--in-place: exit %d: %s%s", code, errs, tail(text))
		return true
	}
	compareFates(t, "--in-place", before, path, workPath, fates)

	left := 0
	for _, f := range fates {
		if !f.Dropped {
			left++
		}
	}
	compareCheck(t, workPath, model, left)

	// And back.
	if code, text, errs := execute(t, "rename", "--map", inverse, "--in-place", workPath); code != exitOK {
		raw, _ := os.ReadFile(inverse)
		t.Errorf("back: exit %d: %s%s\n%s", code, errs, tail(text), raw)
		return true
	}
	for i, name := range names {
		fates[i].Name = name
	}
	compareFates(t, "back", before, path, workPath, fates)
	kept := 0
	for _, fate := range fates {
		if !fate.Dropped {
			kept++
		}
	}
	if kept == len(names) {
		if code, text, errs := execute(t, "diff", workPath, path); code != exitOK || !strings.Contains(string(text), fmt.Sprintf("%d the same, 0 changed", kept)) {
			t.Errorf("diff after all: exit %d: %s%s", code, errs, tail(text))
		}
	}
	if names, err := filepath.Glob(filepath.Join(work, ".wtinspect*")); err != nil || names != nil {
		t.Errorf("left behind: %q %v", names, err)
	}
	return true
}

// compareFates expects the files of a set with the names of fates, in the order
// of the tensors of before, and everything else as it was.
func compareFates(t *testing.T, what string, before []*oracle.File, beforePath, path string, fates []oracle.Fate) {
	t.Helper()
	after, err := oracle.ReadSet(path)
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return
	}
	rel := func(f *oracle.File, path string, single bool) string {
		if single {
			return ""
		}
		name, err := filepath.Rel(filepath.Dir(path), f.Path)
		if err != nil {
			t.Fatal(err)
		}
		return name
	}
	byName := map[string]*oracle.File{}
	for _, f := range after {
		byName[rel(f, path, len(before) == 1)] = f
	}
	drops := slices.ContainsFunc(fates, func(f oracle.Fate) bool { return f.Dropped })
	for _, old := range before {
		name := rel(old, beforePath, len(before) == 1)
		var tensors []oracle.Tensor
		var names []string
		for i := range old.Tensors {
			if !fates[i].Dropped {
				tensors, names = append(tensors, old.Tensors[i]), append(names, fates[i].Name)
			}
		}
		fates = fates[len(old.Tensors):]
		f := byName[name]
		if f == nil {
			if len(tensors) > 0 {
				t.Errorf("%s: %s is gone", what, name)
			}
			continue
		}
		if f.Version != old.Version || f.Alignment != old.Alignment || f.BigEndian != old.BigEndian {
			t.Errorf("%s: %s: version %d, alignment %d, big-endian %v; they were %d, %d, %v", what, name, f.Version, f.Alignment, f.BigEndian, old.Version, old.Alignment, old.BigEndian)
		}
		if got, want := metadataText(f, drops), metadataText(old, drops); !slices.Equal(got, want) {
			t.Errorf("%s: %s: the metadata are\n%s\nand were\n%s", what, name, got, want)
		}
		if len(f.Tensors) != len(tensors) {
			t.Errorf("%s: %s: %d tensors, want %d", what, name, len(f.Tensors), len(tensors))
			continue
		}
		for i := range tensors {
			got, was := &f.Tensors[i], &tensors[i]
			if got.Name != names[i] || got.DType != was.DType || !slices.Equal(got.Shape, was.Shape) {
				t.Errorf("%s: %s: tensor %d is %q %s %d, want %q %s %d", what, name, i, got.Name, got.DType, got.Shape, names[i], was.DType, was.Shape)
			}
			if !drops && got.Offset-f.DataOffset != was.Offset-old.DataOffset {
				t.Errorf("%s: %s: %q is at %d of the data, and was at %d", what, name, got.Name, got.Offset-f.DataOffset, was.Offset-old.DataOffset)
			}
			a, err := f.SHA256(got)
			if err != nil {
				t.Fatal(err)
			}
			if b, err := old.SHA256(was); err != nil || a != b {
				t.Errorf("%s: %s: the bytes of %q have changed (%v)", what, name, got.Name, err)
			}
		}
		order := dataOrder(tensors)
		if f.GGUF && len(tensors) < len(old.Tensors) { // laid out anew, as ggml wants it
			slices.Sort(order)
		}
		if !slices.Equal(dataOrder(f.Tensors), order) {
			t.Errorf("%s: %s: the data are in another order", what, name)
		}
	}
}

// metadataText is the metadata without what only takes space, and without the
// number of tensors where some are dropped.
func metadataText(f *oracle.File, drops bool) []string {
	var out []string
	for _, e := range f.Metadata {
		if s, ok := e.Value.(string); f.GGUF && e.Key == "wt.padding" && ok && strings.Trim(s, " ") == "" {
			continue
		}
		if !drops || e.Key != "split.tensors.count" {
			out = append(out, e.String())
		}
	}
	return out
}

// dataOrder is the tensors' places in the header by where their data begin.
func dataOrder(list []oracle.Tensor) []int {
	out := make([]int, len(list))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(i, j int) int {
		return cmp.Or(cmp.Compare(list[i].Offset, list[j].Offset), cmp.Compare(list[i].Size, list[j].Size))
	})
	return out
}

// digestTree is a digest of all names and bytes below a directory.
func digestTree(t *testing.T, dir string) [32]byte {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		fmt.Fprintf(h, "%q\n", path)
		if err != nil || d.IsDir() {
			return err
		}
		raw, err := os.ReadFile(path)
		h.Write(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}
