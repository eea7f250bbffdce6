// Command peers measures wtinspect beside other programs that read the same files, and
// writes the page that shows the figures:
//
//	go run ./internal/peers -o docs/compare.md
//
// It makes the files, sees to it that all read the same from them, and runs them in
// turn. What is not installed is listed as not run.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	program := flag.String("program", "bin/wtinspect", "the `file` of the program")
	readers := flag.String("readers", "testdata/interop", "the `directory` of the other readers")
	runs := flag.Int("runs", 9, "how often each is run, after once that does not count")
	out := flag.String("o", "docs/compare.md", "the page to write")
	flag.Parse()
	var err error
	switch args := flag.Args(); {
	case len(args) == 2 && args[0] == "files":
		err = makeFiles(args[1])
	case len(args) == 3 && args[0] == "time":
		err = timeReads(os.Stdout, args[1], args[2])
	default:
		err = run(*program, *readers, *runs, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(program, readers string, runs int, out string) error {
	dir, err := os.MkdirTemp("", "peers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	tools, err := install(dir, program, readers)
	if err != nil {
		return err
	}
	// The files are made in another process: a child starts with the memory of its parent,
	// and its peak is no less.
	files := filepath.Join(dir, "files")
	if text, err := exec.Command(tools.self, "files", files).CombinedOutput(); err != nil {
		return fmt.Errorf("making the files: %w\n%s", err, text)
	}
	m := thisMachine(tools)
	var results []result
	for _, j := range jobs(tools, files) {
		fmt.Fprintln(os.Stderr, j.title)
		r, err := measure(j, runs)
		if err != nil {
			return fmt.Errorf("%s: %w", j.title, err)
		}
		results = append(results, r)
	}
	text, err := page(m, runs, results)
	if err != nil {
		return err
	}
	return os.WriteFile(out, []byte(text), 0o666)
}

// toolbox is what is run. What is missing is empty, with a reason.
type toolbox struct {
	self      string
	wtinspect string
	python    []string // with the script
	node      []string
	module    []string // the Go modules
	missing   map[string]string
}

// install builds and installs the readers in a directory.
func install(dir, program, readers string) (*toolbox, error) {
	t := &toolbox{missing: map[string]string{}}
	var err error
	if t.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if t.wtinspect, err = filepath.Abs(program); err != nil {
		return nil, err
	}
	if readers, err = filepath.Abs(readers); err != nil {
		return nil, err
	}
	if _, err := output(t.wtinspect, "version"); err != nil {
		return nil, err
	}

	script := filepath.Join(readers, "measure.py")
	reason := "there is no python3"
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if _, err := exec.LookPath(python); err != nil {
			continue
		}
		reason = "python3 has no NumPy"
		if _, err := output(python, script, "version"); err == nil {
			t.python, reason = []string{python, script}, ""
			break
		}
	}
	t.missing["Python"] = reason

	bin := filepath.Join(dir, "measure")
	build := exec.Command("go", "build", "-o", bin, "./measure")
	build.Dir = filepath.Join(readers, "go")
	if text, err := build.CombinedOutput(); err != nil {
		t.missing["Go"] = "it could not be built: " + lastLine(text)
	} else {
		t.module = []string{bin}
	}

	for _, name := range []string{"package.json", "measure.mjs"} {
		text, err := os.ReadFile(filepath.Join(readers, name))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o666); err != nil {
			return nil, err
		}
	}
	npm := exec.Command("npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--silent")
	npm.Dir = dir
	if text, err := npm.CombinedOutput(); err != nil {
		t.missing["npm"] = strings.TrimSpace(fmt.Sprintf("it could not be installed: %v %s", err, lastLine(text)))
	} else {
		t.node = []string{"node", filepath.Join(dir, "measure.mjs")}
	}
	return t, nil
}

func lastLine(text []byte) string {
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return lines[len(lines)-1]
}

// output returns what a command prints.
func output(name string, args ...string) (string, error) {
	var stderr strings.Builder
	cmd := exec.Command(name, args...)
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return string(text), nil
}
