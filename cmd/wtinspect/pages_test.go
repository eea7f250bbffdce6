package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/wtinspect/wtinspect/internal/check"
)

// pages returns the documents that users read, with their paths below the root.
func pages(t *testing.T) map[string]string {
	t.Helper()
	root := filepath.Join("..", "..")
	list := map[string]string{}
	add := func(name string) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		list[filepath.ToSlash(name)] = string(text)
	}
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "SECURITY.md"} {
		add(name)
	}
	err := filepath.WalkDir(filepath.Join(root, "docs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".md" {
			name, _ := filepath.Rel(root, path)
			add(name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestPages runs the transcripts of every page, in order, and compares the whole
// page with what the commands print; -update writes the page.
//
// A transcript is a ```console block; its commands begin with "$ ", and its
// terminal is 120 columns wide. A page that needs files has a comment, which does
// not show when the page is rendered:
//
//	<!-- setup
//	fixture yi yi.txt
//	-- yi.txt --
//	tensor w F32 [2]
//	-->
//
// It is a txtar archive: its files are written first, then its commands run. The
// README starts in a clone, and leaves it as it was.
//
// A ```go block after a comment "<!-- func NAME of FILE -->" is that function.
func TestPages(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range pages(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "wtinspect")
			data := os.DirFS(filepath.Join(root, "testdata"))
			if name == "README.md" {
				if err := os.CopyFS(filepath.Join(dir, "testdata"), data); err != nil {
					t.Fatal(err)
				}
			} else if err := os.Mkdir(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			got := runPage(t, root, dir, text)
			if name == "README.md" && tree(t, dir) != before {
				t.Errorf("the commands of README.md change the clone:\n%s\nbefore:\n%s", tree(t, dir), before)
			}
			if got == text {
				return
			}
			if *update {
				if err := os.WriteFile(filepath.Join(root, filepath.FromSlash(name)), []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			t.Errorf("%s does not show what its commands print; run this test with -update and read the difference:\n%s", name, got)
		})
	}
}

// tree lists the files below dir with the digests of their contents.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var text []byte
		if d.Type().IsRegular() {
			if text, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		fmt.Fprintf(&b, "%v %x %s\n", d.Type(), sha256.Sum256(text), path)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// runPage returns the page with the output that its commands have now, beginning in a
// directory.
func runPage(t *testing.T, root, dir, text string) string {
	t.Helper()
	var out, setup strings.Builder
	sh := &shell{dir: dir}
	block := "" // how the comment or code block begins that the line is in
	gap := ""   // what comes between the last command of the block and the next
	code := ""  // the function that the next block of Go shows
	for line := range strings.Lines(text) {
		command, isCommand := strings.CutPrefix(line, "$ ")
		switch {
		case block == setupBegin && line == "-->\n":
			block = ""
			if err := sh.setup(txtar.Parse([]byte(setup.String()))); err != nil {
				t.Fatal(err)
			}
			setup.Reset()
		case block == setupBegin:
			setup.WriteString(line)
		case block == "" && (line == setupBegin || strings.HasPrefix(line, "```")):
			block, gap = line, ""
			if block == goBegin {
				line += code
			}
		case block == "" && funcComment.MatchString(line):
			m := funcComment.FindStringSubmatch(line)
			code = function(t, filepath.Join(root, filepath.FromSlash(m[2])), m[1])
		case strings.HasPrefix(line, "```"):
			block, code = "", ""
		case block == goBegin && code != "":
			continue
		case block == consoleBegin && isCommand:
			printed, err := sh.run(command)
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			out.WriteString(gap + line + printed)
			if gap = ""; printed != "" {
				gap = "\n"
			}
			continue
		case block == consoleBegin:
			continue
		case block != "" && isCommand:
			t.Errorf("%q: a transcript is in a ```console block", line)
		}
		out.WriteString(line)
	}
	if block != "" {
		t.Errorf("the page ends in a block that begins with %q", block)
	}
	return out.String()
}

const (
	setupBegin   = "<!-- setup\n"
	consoleBegin = "```console\n"
	goBegin      = "```go\n"
)

var funcComment = regexp.MustCompile(`^<!-- func (\w+) of (\S+) -->\n$`)

// function returns the text of a function.
func function(t *testing.T, file, name string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, file, text, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if d, ok := d.(*ast.FuncDecl); ok && d.Name.Name == name {
			return string(text[fset.Position(d.Pos()).Offset:fset.Position(d.End()).Offset]) + "\n"
		}
	}
	t.Fatalf("%s has no function %s", file, name)
	return ""
}

// A shell runs the few commands that pages use, and wtinspect in a worker.
type shell struct {
	dir  string
	code int
}

// path is what a word means as a path.
func (sh *shell) path(word string) string {
	if filepath.IsAbs(word) {
		return word
	}
	return filepath.Join(sh.dir, filepath.FromSlash(word))
}

func (sh *shell) setup(archive *txtar.Archive) error {
	for _, f := range archive.Files {
		name := sh.path(f.Name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o777), os.WriteFile(name, f.Data, 0o666)); err != nil {
			return err
		}
	}
	for line := range strings.Lines(string(archive.Comment)) {
		if _, err := sh.run(line); err != nil {
			return fmt.Errorf("setup: %q: %w", line, err)
		}
	}
	return nil
}

// run returns what a terminal shows of a line: commands of words and quoted words,
// each of which may begin with VARIABLE=VALUE and end in "| cat" or "> FILE", joined by "&&" or "||".
func (sh *shell) run(line string) (string, error) {
	words, err := fields(line)
	if err != nil {
		return "", err
	}
	var out bytes.Buffer
	for len(words) > 0 {
		n := slices.IndexFunc(words, func(w string) bool { return w == "&&" || w == "||" })
		if n < 0 {
			n = len(words)
		}
		if err := sh.command(words[:n], &out); err != nil {
			return "", err
		}
		if n == len(words) || (sh.code == 0) != (words[n] == "&&") {
			break
		}
		words = words[n+1:]
	}
	return out.String(), nil
}

// fields splits a line into words; what stands in quotes is one.
func fields(line string) ([]string, error) {
	var words []string
	for rest := strings.TrimSpace(line); rest != "" && !strings.HasPrefix(rest, "#"); rest = strings.TrimSpace(rest) {
		word := ""
		for rest != "" && rest[0] != ' ' {
			if q := rest[0]; q == '\'' || q == '"' {
				quoted, after, ok := strings.Cut(rest[1:], string(q))
				if !ok {
					return nil, errors.New("a quote does not end")
				}
				word, rest = word+quoted, after
				continue
			}
			word, rest = word+rest[:1], rest[1:]
		}
		words = append(words, word)
	}
	return words, nil
}

// freeSpace is what differs from one machine to the next.
var freeSpace = regexp.MustCompile(`of [0-9.]+ [KMGTPE]?i?B free`)

func (sh *shell) command(words []string, out *bytes.Buffer) error {
	terminal, dst := true, ""
	if n := len(words); n > 2 && words[n-2] == "|" && words[n-1] == "cat" {
		words, terminal = words[:n-2], false
	} else if n > 2 && words[n-2] == ">" {
		words, terminal, dst = words[:n-2], false, words[n-1]
	}
	if len(words) == 0 {
		return nil
	}
	code := 0
	env := map[string]string{"NO_COLOR": "1", "SOURCE_DATE_EPOCH": "1788220800"}
	for len(words) > 1 {
		name, value, ok := strings.Cut(words[0], "=")
		if !ok {
			break
		}
		env[name], words = value, words[1:]
	}
	switch args := words[1:]; {
	case words[0] == "wtinspect":
		t := task{Dir: sh.dir, Args: args, Env: env, Joined: dst == ""}
		if terminal {
			t.Terminal = 120
		}
		a, err := ask(t)
		if err != nil {
			return err
		}
		code = a.Code
		if dst != "" {
			if err := os.WriteFile(sh.path(dst), a.Stdout, 0o666); err != nil {
				return err
			}
			a.Stdout = a.Stderr
		}
		out.Write(freeSpace.ReplaceAll(a.Stdout, []byte("of 412 GiB free")))
	case words[0] == "cd" && len(args) == 1:
		sh.dir = sh.path(args[0])
	case words[0] == "cat" && len(args) == 1:
		text, err := os.ReadFile(sh.path(args[0]))
		if err != nil {
			return err
		}
		out.Write(text)
	case words[0] == "echo" && len(args) == 1:
		out.WriteString(strings.ReplaceAll(args[0], "$?", strconv.Itoa(sh.code)) + "\n")
	case words[0] == "cp" && len(args) == 3 && args[0] == "-r":
		if err := os.CopyFS(sh.path(args[2]), os.DirFS(sh.path(args[1]))); err != nil {
			return err
		}
	case words[0] == "fixture" && len(args) == 2:
		text, err := os.ReadFile(sh.path(args[1]))
		if err != nil {
			return err
		}
		if err := writeFixture(sh.path(args[0]), string(text)); err != nil {
			return err
		}
	case words[0] == "truncate" && len(args) == 3 && args[0] == "-s":
		n, err := strconv.ParseInt(args[1], 10, 64)
		if err != nil {
			return err
		}
		if err := os.Truncate(sh.path(args[2]), n); err != nil {
			return err
		}
	case words[0] == "mv" && len(args) == 2:
		if err := os.Rename(sh.path(args[0]), sh.path(args[1])); err != nil {
			return err
		}
	default:
		return fmt.Errorf("the tests cannot run %q", words)
	}
	sh.code = code
	return nil
}

// pageOf gives the page of a command that has none of its own name.
var pageOf = map[string]string{
	"help": "README.md", "explain": "docs/check.md", "lock": "docs/check.md", "rules": "docs/check.md", "completion": "README.md", "version": "README.md", "man": "README.md",
}

// commandsByPage returns the commands that each page is about.
func commandsByPage(root *cobra.Command) map[string][]*cobra.Command {
	list := map[string][]*cobra.Command{}
	var add func(page string, cmd *cobra.Command)
	add = func(page string, cmd *cobra.Command) {
		if cmd.Runnable() {
			list[page] = append(list[page], cmd)
		}
		for _, c := range cmd.Commands() {
			add(page, c)
		}
	}
	for _, cmd := range root.Commands() {
		page := "docs/" + cmd.Name() + ".md"
		if p := pageOf[cmd.Name()]; p != "" {
			page = p
		}
		add(page, cmd)
	}
	return list
}

// TestPageFlags compares the flags that pages name with those that commands have,
// both ways: each flag of a command is on its page, and each flag on a page is one of
// the command before it or, when there is none, of a command that the page is about.
func TestPageFlags(t *testing.T) {
	root := newRoot(newProgram(nil, nil, nil, func(string) string { return "" }))
	about := commandsByPage(root)
	var all []*cobra.Command
	for _, cmds := range about {
		all = append(all, cmds...)
	}
	texts := pages(t)
	for name, cmds := range about {
		if texts[name] == "" {
			t.Errorf("%s has no page %s", cmds[0].CommandPath(), name)
		}
	}
	for name, text := range texts {
		named := map[string]bool{}
		for _, code := range codeOf(text) {
			cmds := about[name]
			if cmds == nil || name == "README.md" {
				cmds = all
			}
			words := strings.Fields(code)
			if i := slices.Index(words, "wtinspect"); i >= 0 {
				words = words[i+1:]
			}
			if cmd, _, err := root.Find(words); err == nil && cmd != root {
				cmds = []*cobra.Command{cmd}
			} else if len(words) == 0 || words[0][0] != '-' && words[0] != "args:" {
				continue // another program's
			}
			for _, m := range flagPattern.FindAllStringSubmatch(code, -1) {
				known := m[1] == "--help" || m[1] == "-h"
				for _, c := range cmds {
					if f := flagOf(c, m[1]); f != nil {
						known = true
						named[c.CommandPath()+" "+f.Name] = true
					}
				}
				if !known {
					t.Errorf("%s: `%s`: there is no flag %s", name, code, m[1])
				}
			}
		}
		for _, c := range about[name] {
			c.InheritedFlags() // adds them to Flags
			c.Flags().VisitAll(func(f *pflag.Flag) {
				if f.Name != "help" && !f.Hidden && !named[c.CommandPath()+" "+f.Name] {
					t.Errorf("%s does not name --%s of %s", name, f.Name, c.CommandPath())
				}
			})
		}
	}
}

var flagPattern = regexp.MustCompile(`(?:^|[\s\[(,])(--[a-z][a-z-]*|-[A-Za-z])\b`)

func flagOf(c *cobra.Command, word string) *pflag.Flag {
	if name, ok := strings.CutPrefix(word, "--"); ok {
		if f := c.Flags().Lookup(name); f != nil {
			return f
		}
		return c.InheritedFlags().Lookup(name)
	}
	if f := c.Flags().ShorthandLookup(word[1:]); f != nil {
		return f
	}
	return c.InheritedFlags().ShorthandLookup(word[1:])
}

// codeOf returns what a page has between backquotes, and the command lines of its
// code blocks, each by itself: what runs wtinspect, and arguments in YAML.
func codeOf(page string) []string {
	var list []string
	var prose strings.Builder
	block := ""
	for line := range strings.Lines(page) {
		switch {
		case block == setupBegin:
			if line == "-->\n" {
				block = ""
			}
			continue
		case strings.HasPrefix(line, "```"):
			if block == "" {
				block = line
			} else {
				block = ""
			}
			continue
		case line == setupBegin:
			block = line
			continue
		case block == "" && !strings.HasPrefix(line, "    "):
			prose.WriteString(line)
			continue
		case block == consoleBegin && !strings.HasPrefix(line, "$ "):
			continue
		}
		line, _, _ = strings.Cut(line, " # ")
		for part := range strings.SplitSeq(strings.ReplaceAll(line, "<(", " | "), " | ") {
			for _, command := range strings.Split(part, "wtinspect ")[1:] {
				list = append(list, "wtinspect "+strings.TrimSpace(command))
			}
			if s := strings.TrimSpace(part); strings.HasPrefix(s, "args:") {
				list = append(list, s)
			}
		}
	}
	for _, m := range regexp.MustCompile("`+([^`]+)`+").FindAllStringSubmatch(prose.String(), -1) {
		list = append(list, strings.Join(strings.Fields(m[1]), " "))
	}
	return list
}

// TestPageLinks follows the links of pages to files and headings, and looks up the
// rules that they name. The README links to every page.
func TestPageLinks(t *testing.T) {
	all := pages(t)
	headings := map[string]map[string]bool{}
	for name, text := range all {
		headings[name] = map[string]bool{}
		for _, m := range regexp.MustCompile(`(?m)^#+ (.*)$`).FindAllStringSubmatch(text, -1) {
			slug := regexp.MustCompile(`[^\p{L}\p{N}_ -]`).ReplaceAllString(strings.ToLower(m[1]), "")
			headings[name][strings.ReplaceAll(slug, " ", "-")] = true
		}
	}
	linked := map[string]bool{"README.md": true}
	for name, text := range all {
		for _, m := range regexp.MustCompile(`\]\(([^)\s]+)\)`).FindAllStringSubmatch(text, -1) {
			file, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := name
			if file != "" {
				target = path.Join(path.Dir(name), file)
			}
			linked[target] = linked[target] || name == "README.md"
			if _, err := os.Stat(filepath.Join("..", "..", filepath.FromSlash(target))); err != nil {
				t.Errorf("%s: the link %s leads nowhere", name, m[1])
			}
			if heading != "" && !headings[target][heading] {
				t.Errorf("%s: %s has no heading for the link %s", name, target, m[1])
			}
		}
		for _, id := range regexp.MustCompile(`\bWT\d{3}\b`).FindAllString(text, -1) {
			if _, err := check.Lookup(id); err != nil {
				t.Errorf("%s: there is no rule %s", name, id)
			}
		}
	}
	for name := range all {
		if !linked[name] {
			t.Errorf("README.md has no link to %s", name)
		}
	}
}
