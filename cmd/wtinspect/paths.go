package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/source"
)

// stdinPath is the PATH, and the FILE of --files-from, that stands for stdin.
const stdinPath = "-"

// A pathList is the PATHs of a command that takes several: its arguments, of which -
// stands for those of the list on stdin, and what --files-from lists. Lists have the form
// of git's --pathspec-from-file: a path per line, quoted as git quotes them where
// core.quotePath has it do so, or, with --null, exact.
type pathList struct {
	from string
	null bool
}

func (l *pathList) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&l.from, "files-from", "", "read PATHs from `FILE`, one per line; - is stdin, and so is a PATH that is -")
	f.BoolVarP(&l.null, "null", "0", false, "lists of PATHs are separated by NUL bytes, as find -print0 and git -z write them")
	group(f, "Reading", "files-from", "null")
}

// work is [program.work] for what a command does with its PATHs.
func (l *pathList) work(p *program, f func(cmd *cobra.Command, paths []string) error) func(*cobra.Command, []string) error {
	return p.work(func(cmd *cobra.Command, args []string) error {
		paths, err := l.paths(cmd.Context(), p, args)
		if err != nil {
			return err
		}
		return f(cmd, paths)
	})
}

// paths returns the paths: none when the lists are empty, which is no error, as a list of
// what changed is often empty.
func (l *pathList) paths(ctx context.Context, p *program, args []string) ([]string, error) {
	var lists, stdins int
	paths := []string{}
	add := func(name string) error {
		lists++
		if name == stdinPath {
			if stdins++; stdins > 1 {
				return errors.New("- is given twice, and stdin can be read once")
			}
		}
		more, err := l.readList(ctx, p, name)
		paths = append(paths, more...)
		return err
	}
	for _, arg := range args {
		if arg != stdinPath {
			paths = append(paths, arg)
		} else if err := add(arg); err != nil {
			return nil, err
		}
	}
	if l.from != "" {
		if err := add(l.from); err != nil {
			return nil, err
		}
	}
	switch {
	case lists == 0 && l.null:
		return nil, errors.New("--null is about lists of PATHs; it goes with --files-from, or with - as a PATH")
	case lists == 0 && len(paths) == 0:
		return []string{"."}, nil
	case len(paths) == 0:
		p.note("the list of paths is empty: nothing is read")
	}
	return paths, nil
}

// refuseStdin refuses - as an argument of commands that read no list: to them it would be
// the name of a file.
func refuseStdin(cmd *cobra.Command, args []string) error {
	if cmd.Flags().Lookup("files-from") == nil && slices.Contains(args, stdinPath) {
		return fmt.Errorf("-: %s does not read stdin; name a file, or ./- if that is its name", cmd.CommandPath())
	}
	return nil
}

// readList reads the list in a file, or on stdin.
func (l *pathList) readList(ctx context.Context, p *program, name string) ([]string, error) {
	var text []byte
	var err error
	if name == stdinPath {
		name = "stdin"
		in := &listReader{name: name, r: bufio.NewReader(p.stdin)}
		text, err = source.ReadStream(ctx, name, in, source.PathList)
	} else if text, err = source.ReadNamed(ctx, name, source.PathList); err == nil {
		err = noWeights(name, text)
	}
	if err != nil {
		return nil, plain(err)
	}
	return l.parse(name, text)
}

// A listReader refuses weights by their first bytes: to read all of them first would take
// long.
type listReader struct {
	name   string
	r      *bufio.Reader
	looked bool
}

func (l *listReader) Read(b []byte) (int, error) {
	if !l.looked {
		l.looked = true
		head, _ := l.r.Peek(checkpoint.DetectBytes) // Read returns the error
		if err := noWeights(l.name, head); err != nil {
			return 0, err
		}
	}
	return l.r.Read(b)
}

// noWeights says what to do about weights where a list of paths is needed.
func noWeights(name string, head []byte) error {
	f := checkpoint.DetectFormat(head)
	if f == "" {
		return nil
	}
	return fmt.Errorf("%s: this is a %s file, where a list of paths is needed; weights are read from a file, so save them and give its path", name, f)
}

// maxPath is how long a path may be: that of Windows, the longest.
const maxPath = 32767

// unit is what a list has one path in each of, and what ends it.
func (l *pathList) unit() (name string, end byte) {
	if l.null {
		return "path", 0
	}
	return "line", '\n'
}

func (l *pathList) parse(name string, text []byte) ([]string, error) {
	var (
		paths  []string
		errs   []error
		n, bad int
	)
	unit, between := l.unit()
	for len(text) > 0 {
		var line []byte
		line, text, _ = bytes.Cut(text, []byte{between})
		n++
		path, err := l.entry(n, line)
		if err != nil {
			const most = 5
			if bad++; bad <= most {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
			}
		} else if path != "" {
			paths = append(paths, path)
		}
	}
	if more := bad - len(errs); more > 0 {
		errs = append(errs, fmt.Errorf("%s: and %s like these", name, counted(more, "more "+unit)))
	}
	return paths, errors.Join(errs...)
}

// byteOrderMark begins files that PowerShell writes.
const byteOrderMark = "\ufeff"

// entry returns the path in the nth line of a list, "" in an empty one.
func (l *pathList) entry(n int, line []byte) (string, error) {
	unit, _ := l.unit()
	if !l.null {
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte(byteOrderMark))
		}
		line = bytes.TrimSuffix(line, []byte("\r"))
	}
	fail := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("%s %d: %s", unit, n, fmt.Sprintf(format, args...))
	}
	switch {
	case len(line) == 0:
		return "", nil
	case len(line) > maxPath:
		return fail("has %d bytes, and a path has at most %d", len(line), maxPath)
	case l.null:
		return string(line), nil
	case bytes.IndexByte(line, 0) >= 0:
		return fail("has a NUL byte; --null reads lists that are separated by them, and other text is read as UTF-8")
	case !utf8.Valid(line):
		return fail("is not UTF-8; --null reads paths of any bytes")
	}
	path, err := unquote(string(line))
	if err != nil {
		return fail("%v", err)
	}
	return path, nil
}

// unquote takes the quotes from a path to which git has given them: those of C, with
// bytes in octal (https://git-scm.com/docs/git-config#Documentation/git-config.txt-corequotePath).
// They are Go's, too.
func unquote(s string) (string, error) {
	if len(s) < 2 || s[0] != '"' || !strings.HasSuffix(s, `"`) {
		return s, nil
	}
	path, err := strconv.Unquote(s)
	if err != nil {
		return "", fmt.Errorf("%s is not quoted as git quotes paths; --null reads paths without quotes", s)
	}
	return path, nil
}
