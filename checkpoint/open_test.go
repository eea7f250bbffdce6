package checkpoint_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"iter"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/source/sourcetest"
)

var update = flag.Bool("update", false, "rewrite the want files of testdata/open")

// TestOpen opens what the archives of testdata/open describe, and compares
// what is there and what Validate says with their last file, want.
//
// Before its files an archive has lines of words: "open REF [-R]" is repeated
// for each reference; "link NAME TARGET" makes a symbolic link and "mkdir
// NAME" a directory; other lines are comment. A file named .safetensors or
// .gguf is a fixture text unless it begins with a line "raw", another one only
// when it begins with a line "fixture"; one named SHARDED is the text of a set
// of files in its directory.
func TestOpen(t *testing.T) {
	archives, err := filepath.Glob("testdata/open/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			want := &a.Files[len(a.Files)-1]
			if want.Name != "want" {
				t.Fatalf("%s: the last file is %q, not want", name, want.Name)
			}
			abs, err := filepath.Abs(name)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			commands := build(t, string(a.Comment), a.Files[:len(a.Files)-1])
			var got strings.Builder
			for _, words := range commands {
				report(t.Context(), t, &got, words)
			}
			if *update {
				want.Data = []byte(got.String())
				if err := os.WriteFile(abs, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(string(want.Data), got.String()); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if strings.Contains(string(a.Comment), "\nlink ") || strings.HasPrefix(string(a.Comment), "link ") {
				return // elsewhere there are none
			}
			var elsewhere strings.Builder
			ctx := source.With(t.Context(), "tree", sourcetest.Tree{FS: os.DirFS(".")})
			for _, words := range commands {
				words = slices.Clone(words)
				words[0] = "tree://" + words[0]
				report(ctx, t, &elsewhere, words)
			}
			if diff := cmp.Diff(published.Replace(got.String()), strings.ReplaceAll(elsewhere.String(), "tree://", "")); diff != "" {
				t.Errorf("in another place (-local +there)\n%s", diff)
			}
		})
	}
}

// published has the words about a file that is here become those about one that somebody
// else has published. Only a path can be a repository's name by mistake.
var published = strings.NewReplacer(
	"; if it is a repository of the hub, write hf://org/name", "",
	"; run `git lfs pull`", "; its publisher has to upload them",
	"; download the file again", "",
	"; download it again", "; its publisher has to upload it again",
	": the download or the copy did not happen; fetch it again", "; its publisher has to upload it again",
	": the download was cut short, or this is not a safetensors file; compare the size with the original's", ": the upload was cut short, or this is not a safetensors file",
)

// TestProgress: files that are waited for are counted, and those on this machine are not.
func TestProgress(t *testing.T) {
	dir := t.TempDir()
	if err := fixture.Sharded(dir, "file a-00001-of-00002.safetensors\ntensor a F32 [1]\nfile a-00002-of-00002.safetensors\ntensor b F32 [1]\n"); err != nil {
		t.Fatal(err)
	}
	ctx := source.With(t.Context(), "tree", sourcetest.Tree{FS: os.DirFS(dir)})
	for ref, want := range map[string]int64{dir: 0, "tree://.": 2} {
		var last, of atomic.Int64
		rel, err := checkpoint.Open(ctx, ref, &checkpoint.Options{Progress: func(done, total int64) {
			of.Store(total)
			last.Store(max(last.Load(), done))
		}})
		if err != nil {
			t.Fatal(err)
		}
		rel.Close()
		if of.Load() != want || last.Load() > want {
			t.Errorf("%s: %d of %d, want %d", ref, last.Load(), of.Load(), want)
		}
	}
}

// TestOpened: tensors are told of in the order of the files, before the files behind them
// are open, here and elsewhere; and an error ends the rest.
func TestOpened(t *testing.T) {
	dir := t.TempDir()
	var release strings.Builder
	for i := 1; i <= 3; i++ {
		fmt.Fprintf(&release, "file a-0000%d-of-00003.safetensors\ntensor t%d F32 [1]\n", i, i)
	}
	if err := fixture.Sharded(dir, release.String()); err != nil {
		t.Fatal(err)
	}
	place := &slow{Tree: sourcetest.Tree{FS: os.DirFS(dir)}, name: "a-00002-of-00003.safetensors", wait: make(chan struct{})}
	ctx := source.With(t.Context(), "tree", place)
	var got []string
	opts := &checkpoint.Options{Opened: func(k int, c *checkpoint.Checkpoint, tensors iter.Seq2[int, checkpoint.Tensor]) error {
		for i, t := range tensors {
			got = append(got, fmt.Sprintf("%d %d %s %s", k, i, c.Files[t.File].Name, t.Name))
		}
		if len(got) == 1 {
			close(place.wait) // the second file is opened when the first is told of
		}
		return nil
	}}
	rel, err := checkpoint.Open(ctx, "tree://.", opts)
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close()
	want := []string{"0 0 a-00001-of-00003.safetensors t1", "0 1 a-00002-of-00003.safetensors t2", "0 2 a-00003-of-00003.safetensors t3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	place.wait = make(chan struct{}) // never
	end := errors.New("nobody reads it")
	opts.Opened = func(int, *checkpoint.Checkpoint, iter.Seq2[int, checkpoint.Tensor]) error { return end }
	if _, err := checkpoint.Open(ctx, "tree://.", opts); !errors.Is(err, end) {
		t.Errorf("%v, want %v", err, end)
	}
}

// A slow place waits before it opens one of its files.
type slow struct {
	sourcetest.Tree
	name string
	wait chan struct{}
}

func (p *slow) Open(ctx context.Context, ref string) (source.Source, error) {
	if path.Base(ref) == p.name {
		select {
		case <-p.wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return p.Tree.Open(ctx, ref)
}

// build writes the files of an archive into the current directory, and
// returns its open lines.
func build(t *testing.T, comment string, files []txtar.File) (commands [][]string) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range files {
		text := string(f.Data)
		check(os.MkdirAll(filepath.Dir(f.Name), 0o755))
		raw, isRaw := strings.CutPrefix(text, "raw\n")
		spec, isFixture := strings.CutPrefix(text, "fixture\n")
		switch ext := filepath.Ext(f.Name); {
		case filepath.Base(f.Name) == "SHARDED":
			check(fixture.Sharded(filepath.Dir(f.Name), text))
		case isFixture || !isRaw && (ext == ".safetensors" || ext == ".gguf"):
			if ext == ".gguf" {
				spec = "format gguf\n" + spec
			}
			check(fixture.Write(f.Name, spec))
		default:
			check(os.WriteFile(f.Name, []byte(raw), 0o644))
		}
	}
	for line := range strings.Lines(comment) {
		words := strings.Fields(line)
		switch {
		case len(words) == 0:
		case words[0] == "open":
			commands = append(commands, words[1:])
		case words[0] == "mkdir":
			check(os.MkdirAll(words[1], 0o755))
		case words[0] == "link":
			if runtime.GOOS == "windows" {
				t.Skip("symbolic links need a privilege on Windows")
			}
			check(os.MkdirAll(filepath.Dir(words[1]), 0o755))
			check(os.Symlink(words[2], words[1]))
		}
	}
	return commands
}

func report(ctx context.Context, t *testing.T, w *strings.Builder, words []string) {
	t.Helper()
	fmt.Fprintf(w, "open %s\n", strings.Join(words, " "))
	opts := &checkpoint.Options{
		Recursive: len(words) > 1 && words[1] == "-R", AllowLinks: len(words) > 1 && words[1] == "-L",
	}
	r, err := checkpoint.Open(ctx, words[0], opts)
	if err != nil {
		fmt.Fprintf(w, "  error: %s\n", slash(err.Error()))
		return
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}()
	printFaults(w, r.Faults)
	for _, c := range r.Checkpoints {
		fmt.Fprintf(w, "  %s: %s", slash(c.Path), c.Format)
		if c.Index != "" {
			fmt.Fprintf(w, ", index %s", slash(c.Index))
		}
		if c.IndexFault(ctx) != nil {
			fmt.Fprint(w, " not read")
		}
		if c.NamesOnly() {
			fmt.Fprint(w, ", names only")
		}
		fmt.Fprintf(w, ", %d tensors\n", c.Len())
		for _, f := range c.Files {
			fmt.Fprintf(w, "    %s", strings.ReplaceAll(f.Name, "\x00", `\x00`))
			switch {
			case f.Missing:
				fmt.Fprint(w, " missing")
			case f.Err != nil:
				fmt.Fprint(w, " not read")
			}
			fmt.Fprintln(w)
		}
		for i, tensor := range c.All() {
			if f := c.Files[max(tensor.File, 0)]; tensor.File >= 0 && f.Safetensors() == nil && f.GGUF() == nil && f.PyTorch() == nil && !c.NamesOnly() {
				t.Errorf("%s: tensor %d is in a file without tensors", c.Path, i)
			}
			if diff := cmp.Diff(tensor, c.At(i)); diff != "" {
				t.Errorf("All and At(%d) differ: %s", i, diff)
			}
		}
		printFaults(w, c.Validate(ctx))
	}
}

// own are the codes whose wording is this package's alone.
var own = []string{
	checkpoint.CodeMissingShard, checkpoint.CodeMissingTensor, checkpoint.CodeMisplacedTensor, checkpoint.CodeUnmappedTensor,
	checkpoint.CodeOrphanShard, checkpoint.CodeEmptyShard, checkpoint.CodeTotalSize, checkpoint.CodeTotalSizeFiles, checkpoint.CodeSymlinkEscape,
	checkpoint.CodeBadDocument, checkpoint.CodeIgnored, checkpoint.CodeNotOpened,
}

// printFaults prints faults with their wording only where that is this
// package's, so that packages safetensors and gguf can change theirs.
func printFaults(w *strings.Builder, faults []checkpoint.Fault) {
	for _, f := range faults {
		if !slices.Contains(own, f.Code) {
			f.Detail, f.Offset = "…", -1
		}
		fmt.Fprintf(w, "  %v %s: %s\n", f.Severity, f.Code, slash(f.Error()))
	}
}

// slash makes the paths in a text the same on every system.
func slash(s string) string {
	if filepath.Separator == '\\' {
		s = strings.ReplaceAll(s, `\`, "/")
	}
	return s
}
