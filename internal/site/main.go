// Command site makes the documentation site: a page for each document, one of the help
// texts, and one for each package to import. Its pages need no script, except to search,
// and request nothing from elsewhere.
//
//	go run ./internal/site -program bin/wtinspect -o dist/site
//
// A link to a file or heading that does not exist is an error.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	root := flag.String("root", ".", "the `directory` of the repository")
	program := flag.String("program", "bin/wtinspect", "the `file` of the program, whose help texts become a page")
	out := flag.String("o", "dist/site", "the `directory` to write to")
	flag.Parse()
	if err := run(*root, *program, *out); err != nil {
		fmt.Fprintln(os.Stderr, "site:", err)
		os.Exit(1)
	}
}

func run(root, program, out string) error {
	site, err := generate(os.DirFS(root), func(args ...string) (string, error) { return printed(program, args) })
	if err != nil {
		return err
	}
	for name, content := range site {
		file := filepath.Join(out, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(file, content, 0o666); err != nil {
			return err
		}
	}
	fmt.Printf("%s: %d files\n", out, len(site))
	return nil
}

// printed returns what the program prints.
func printed(program string, args []string) (string, error) {
	program, err := filepath.Abs(program)
	if err != nil {
		return "", err
	}
	cmd := exec.Command(program, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	text, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, &stderr)
	}
	return string(text), nil
}
