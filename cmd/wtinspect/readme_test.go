package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadme runs the commands of README.md, one after the other in a copy of
// testdata, and holds what it shows of them to what they print on a terminal
// of 80 columns; `-update` writes it anew.
func TestReadme(t *testing.T) {
	name, err := filepath.Abs(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "testdata"), os.DirFS(filepath.Join("..", "..", "testdata"))); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)

	var out bytes.Buffer
	shown := false
	for line := range strings.Lines(string(text)) {
		switch command, ok := strings.CutPrefix(line, "$ wtinspect "); {
		case strings.HasPrefix(line, "```console"):
			shown = true
		case strings.HasPrefix(line, "```"):
			shown = false
		case shown && ok:
			if !bytes.HasSuffix(out.Bytes(), []byte("```console\n")) {
				out.WriteByte('\n')
			}
			out.WriteString(line)
			transcript(t, &out, strings.TrimSpace(command))
			continue
		case shown:
			continue
		}
		out.WriteString(line)
	}
	if bytes.Equal(out.Bytes(), text) {
		return
	}
	if *update {
		if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Errorf("README.md does not show what the commands print; run this test with -update and read the difference:\n%s", &out)
}

// transcript runs a command line of words and single-quoted words, which may
// end in "| cat", and writes what a terminal shows.
func transcript(t *testing.T, out *bytes.Buffer, command string) {
	t.Helper()
	command, piped := strings.CutSuffix(command, " | cat")
	var args []string
	for i, part := range strings.Split(command, "'") {
		if i%2 == 1 {
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	p := newProgram(strings.NewReader(""), out, out, func(key string) string {
		if key == "NO_COLOR" {
			return "1"
		}
		return ""
	})
	p.terminal, p.width = !piped, 80
	p.run(context.Background(), args)
}
