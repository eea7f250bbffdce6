// Package argv has the parts of a command line that several programs share, whichever library
// takes it apart: lists of paths, the choice of rules, limits.
package argv

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wtinspect/wtinspect/checkpoint"
	"github.com/wtinspect/wtinspect/internal/plural"
	"github.com/wtinspect/wtinspect/internal/source"
)

// Stdin is the PATH, and the FILE of --files-from, that means stdin.
const Stdin = "-"

// Lists are how paths are listed. A list has the form of git's --pathspec-from-file: a path per
// line, quoted as git quotes them where core.quotePath has it do so, or, with Null, exact.
type Lists struct {
	// From is the file of a list, "" for none.
	From string
	Null bool
}

// Each calls yield for the paths of args, and of the lists among them and in From, as they are
// read: a list on stdin may have no end. In lists without Null, lines that begin with # are
// left out. With neither args nor From it is called for the working directory.
func (l *Lists) Each(ctx context.Context, stdin io.Reader, args []string, yield func(string) bool) error {
	if len(args) == 0 && l.From == "" {
		args = []string{"."}
	}
	stdins := 0
	list := func(name string) (more bool, err error) {
		if name == Stdin {
			if stdins++; stdins > 1 {
				return false, errors.New("- is given twice, and stdin can be read once")
			}
		}
		return l.each(ctx, stdin, name, yield)
	}
	for _, arg := range args {
		if arg != Stdin {
			if !yield(arg) {
				return nil
			}
		} else if more, err := list(arg); !more || err != nil {
			return err
		}
	}
	if l.From != "" {
		_, err := list(l.From)
		return err
	}
	return nil
}

// each calls yield for the paths of one list, and reports whether it wants more.
func (l *Lists) each(ctx context.Context, stdin io.Reader, name string, yield func(string) bool) (more bool, err error) {
	in := stdin
	if name == Stdin {
		name = "stdin"
		in = &listReader{name: name, r: bufio.NewReader(stdin)}
	} else {
		text, err := source.ReadNamed(ctx, name, source.PathList)
		if err == nil {
			err = noWeights(name, text)
		}
		if err != nil {
			return false, PathFirst(err)
		}
		in = bytes.NewReader(text)
	}
	_, end := l.unit()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 2*maxPath)
	lines.Split(func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.IndexByte(data, end); i >= 0 {
			return i + 1, data[:i], nil
		}
		if atEOF && len(data) > 0 {
			return len(data), data, nil
		}
		return 0, nil, nil
	})
	for n := 1; lines.Scan(); n++ {
		if !l.Null && bytes.HasPrefix(lines.Bytes(), []byte("#")) {
			continue
		}
		ref, err := l.entry(n, lines.Bytes())
		if err != nil {
			return false, fmt.Errorf("%s: %w", name, err)
		}
		if ref != "" && !yield(ref) {
			return false, nil
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return false, fmt.Errorf("%s: a line has more than %d bytes, and a path has at most %d", name, 2*maxPath, maxPath)
	}
	return true, PathFirst(lines.Err())
}

// Read reads the list in a file, or on stdin.
func (l *Lists) Read(ctx context.Context, stdin io.Reader, name string) ([]string, error) {
	var text []byte
	var err error
	if name == Stdin {
		name = "stdin"
		in := &listReader{name: name, r: bufio.NewReader(stdin)}
		text, err = source.ReadStream(ctx, name, in, source.PathList)
	} else if text, err = source.ReadNamed(ctx, name, source.PathList); err == nil {
		err = noWeights(name, text)
	}
	if err != nil {
		return nil, PathFirst(err)
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
func (l *Lists) unit() (name string, end byte) {
	if l.Null {
		return "path", 0
	}
	return "line", '\n'
}

func (l *Lists) parse(name string, text []byte) ([]string, error) {
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
		errs = append(errs, fmt.Errorf("%s: and %s like these", name, plural.Of(more, "more "+unit)))
	}
	return paths, errors.Join(errs...)
}

// byteOrderMark begins files that PowerShell writes.
const byteOrderMark = "\ufeff"

// entry returns the path in the nth line of a list, "" in an empty one.
func (l *Lists) entry(n int, line []byte) (string, error) {
	unit, _ := l.unit()
	if !l.Null {
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
	case l.Null:
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

// PathFirst is an error of the file system as other errors are: the path first, and not the
// system call.
func PathFirst(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", e.Path, e.Err)
	}
	return err
}
