package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"github.com/wtinspect/wtinspect/internal/fixture"
	"github.com/wtinspect/wtinspect/internal/oracle"
)

// TestOddFiles writes the files of testdata/odd.txtar, and compares what ls,
// info, hash, stats, diff and check say of each with the transcript there. What
// the independent reader reads is compared with it, too.
func TestOddFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("many files: make test runs it")
	}
	t.Parallel()
	const golden = "testdata/odd.txtar"
	ar, err := txtar.ParseFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	wants := map[string]string{}
	var files []txtar.File
	for _, f := range ar.Files {
		if name, ok := strings.CutSuffix(f.Name, ".want"); ok {
			wants[name] = string(f.Data)
		} else {
			files = append(files, f)
		}
	}
	var out []txtar.File
	for _, f := range files {
		t.Run(f.Name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{f.Name, filepath.Join("other", f.Name)} {
				if err := fixture.Write(filepath.Join(dir, name), string(f.Data)); err != nil {
					t.Fatal(err)
				}
			}
			got := transcriptOf(t, dir, f.Name)
			if diff := cmp.Diff(wants[f.Name], got); diff != "" && !*update {
				t.Errorf("-want +got:\n%s", diff)
			}
			out = append(out, f, txtar.File{Name: f.Name + ".want", Data: []byte(got)})

			path := filepath.Join(dir, f.Name)
			if _, err := oracle.Read(path); err != nil {
				t.Logf("not compared: %v", err)
				return
			}
			want := readWanted(t, path)
			compareLs(t, path, want)
			compareHash(t, path, want)
			compareStats(t, path, want)
		})
	}
	if *update && !t.Failed() {
		ar.Files = out
		if err := os.WriteFile(golden, txtar.Format(ar), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// transcriptOf is what the commands say of a file in a directory, of which there
// is a copy in the directory other.
func transcriptOf(t *testing.T, dir, name string) string {
	var b strings.Builder
	for _, args := range [][]string{
		{"ls", "-f", "jsonl", name},
		{"info", name},
		{"hash", name},
		{"stats", name},
		{"diff", name, "other/" + name},
		{"check", name},
	} {
		code, stdout, stderr := runIn(t, dir, args...)
		b.WriteString("$ wtinspect " + strings.Join(args, " ") + "\n")
		b.WriteString(stdout + stderr)
		if text := stdout + stderr; text != "" && !strings.HasSuffix(text, "\n") {
			b.WriteString("\n")
		}
		if code != exitOK {
			b.WriteString("exit " + string(rune('0'+code)) + "\n")
		}
	}
	return b.String()
}
