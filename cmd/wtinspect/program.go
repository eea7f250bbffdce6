package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/wtinspect/wtinspect/checkpoint/rewrite"
	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/argv"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/source"
	"github.com/wtinspect/wtinspect/internal/txn"
)

// The exit codes of every command; docs/exit-codes.md says more.
const (
	exitOK          = 0
	exitFindings    = 1
	exitFailed      = 2
	exitInterrupted = 130
)

// A program is one run: its streams, what is known of them, and the flags that
// every command has.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	saying         sync.Mutex // held while a message is written
	getenv         func(string) string
	// answered is where stdout ends, nil on a terminal.
	answered *answerWriter
	// args are those that the program was started with.
	args []string
	// terminal says that stdout is a terminal, and width how wide it is.
	terminal bool
	width    int
	// paging says that a person may page through stdout, with pagerCommand where that is
	// set. pager is set while one does.
	paging, noPager bool
	pagerCommand    string
	pager           atomic.Pointer[pager]
	// errTerminal says that stderr is a terminal, and errWidth how wide it is.
	errTerminal bool
	errWidth    int

	// traces says that requests are named.
	quiet, verbose, traces bool
	wide                   bool
	// noCache and insecureHTTP are of what is read over HTTP.
	noCache, insecureHTTP bool
	// maxBytes bounds what is read of the values of remote files.
	maxBytes argv.Limit
	// rate is how often a server is asked in a minute, 0 for any number.
	rate  int
	color string

	// whole is held for reading while files are changed, and for writing by what
	// ends the process.
	whole sync.RWMutex

	// secrets takes out of messages what may be one in the arguments; nil means nothing.
	secrets *strings.Replacer

	// started is set when a command begins its work: an error before that is
	// one of usage.
	started bool
}

func newProgram(stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) *program {
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, getenv: getenv}
	if f, ok := stdout.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.terminal, p.paging, p.width = true, true, p.columns(f)
	}
	if !p.terminal {
		p.answered = &answerWriter{w: stdout}
		p.stdout = p.answered
	}
	if f, ok := stderr.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.errTerminal, p.errWidth = true, p.columns(f)
	}
	return p
}

// columns is how wide a terminal is.
func (p *program) columns(f *os.File) int {
	if n, err := strconv.Atoi(p.getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 0 {
		return w
	}
	return 80
}

func (p *program) run(ctx context.Context, args []string) int {
	p.args = args
	args = implied(ctx, args)
	p.secrets = secretsIn(args)
	root := rootFor(p, args)
	root.SetArgs(args)
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if lost := p.answered.lost(); lost != nil && !errors.Is(err, lost) && ctx.Err() == nil {
		if _, ok := errors.AsType[*exitError](err); ok {
			err = nil // findings that nobody has read
		}
		err = errors.Join(err, lost)
	}
	code := p.end(ctx, cmd, err)
	p.pager.Load().end()
	return code
}

// An answerWriter remembers the first error of writing an answer: half an answer must not pass
// for a whole one, whoever wrote it.
type answerWriter struct {
	w   io.Writer
	err error
}

func (a *answerWriter) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	if err != nil && a.err == nil {
		a.err = err
	}
	return n, err
}

// lost is the error that an answer was cut off by, nil for one that was written or that its
// reader had seen enough of.
func (a *answerWriter) lost() error {
	if a == nil {
		return nil
	}
	return written(a.err)
}

// secretsIn returns what takes out of messages the queries and users of the URLs among the
// arguments, also where one is in the place of something else.
func secretsIn(args []string) *strings.Replacer {
	var pairs []string
	for _, arg := range args {
		at := strings.Index(strings.ToLower(arg), "http")
		if at < 0 || !strings.ContainsAny(arg[at:], "?@") {
			continue
		}
		if shown := inspect.ShownReference(arg[at:]); shown != strings.TrimSuffix(arg[at:], "/") {
			pairs = append(pairs, arg[at:], shown)
		}
	}
	if pairs == nil {
		return nil
	}
	return strings.NewReplacer(pairs...)
}

// implied puts info before a path that stands where a command is expected.
func implied(ctx context.Context, args []string) []string {
	if len(args) == 0 || strings.HasPrefix(args[0], "-") || isCommand(args[0]) || !inspect.IsReference(args[0]) && !source.Exists(ctx, args[0]) {
		return args
	}
	switch args[0] {
	case helpName, cobra.ShellCompRequestCmd, cobra.ShellCompNoDescRequestCmd: // cobra's own
		return args
	}
	return append([]string{infoName}, args...)
}

// end says what a command has failed with, and returns the exit code.
func (p *program) end(ctx context.Context, cmd *cobra.Command, err error) int {
	switch {
	case written(err) == nil:
		return exitOK
	case ctx.Err() != nil:
		if e, ok := errors.AsType[*rewrite.RecoveryError](err); ok {
			p.sayError(e) // what was interrupted is not whole
		}
		p.say("interrupted")
		return exitInterrupted
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	p.sayError(err)
	p.tooMuch(cmd, err)
	if _, ok := errors.AsType[*txn.CreateError](err); !ok && !p.started {
		p.say("hint: '%s --help' shows how to use it", cmd.CommandPath())
	}
	return exitFailed
}

// winding runs what must end by itself: after a signal the process waits for it,
// whether it puts back what it did or finishes it. It is not for calls within
// each other.
func (p *program) winding(f func() error) error {
	p.whole.RLock()
	defer p.whole.RUnlock()
	return f()
}

// An exitError ends the program with its code; everything has been said.
type exitError struct{ code int }

func (e *exitError) Error() string { return "exit " + strconv.Itoa(e.code) }

// written is the error of writing an answer, but for a reader that went away
// because it had seen enough.
func written(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// say writes a message to stderr: its lines begin with the program's name, and
// nothing that a file put into it acts on the terminal. What follows a newline
// is indented, so that a name that has one cannot begin a message of its own.
func (p *program) say(format string, args ...any) {
	w := p.stderr
	if g := p.pager.Load(); p.errTerminal && g.showing() {
		w = g // which has the terminal
	}
	text := fmt.Sprintf(format, args...)
	if p.secrets != nil {
		text = p.secrets.Replace(text)
	}
	style := render.Style{Terminal: p.errTerminal && !p.wide, Width: p.errWidth}
	p.saying.Lock() // requests are told of while others are made
	defer p.saying.Unlock()
	_ = style.Wrap(w, func(w io.Writer) error { // nobody may be reading
		first := true
		for line := range strings.Lines(text) {
			indent := "  "
			if first || strings.HasPrefix(line, " ") {
				indent = ""
			}
			first = false
			fmt.Fprintf(w, "wtinspect: %s%s\n", indent, render.EscapeMessage(strings.TrimSuffix(line, "\n")))
		}
		return nil
	})
}

// sayError says an error, or each of several that were joined line by line; one
// that wraps several within its text is one.
func (p *program) sayError(err error) {
	text := err.Error()
	if e, ok := err.(interface{ Unwrap() []error }); ok {
		several := e.Unwrap()
		if first := several[0].Error(); text == first && len(several) == 1 || strings.HasPrefix(text, first+"\n") {
			for _, e := range several {
				p.sayError(e)
			}
			return
		}
	}
	p.say("%s", text)
}

// note is say for what -q silences.
func (p *program) note(format string, args ...any) {
	if !p.quiet {
		p.say(format, args...)
	}
}

// style returns the style for what is written to stdout.
func (p *program) style() render.Style {
	s := render.Style{Terminal: p.terminal, Color: p.colors(p.terminal)}
	if p.terminal && !p.wide {
		s.Width = p.width
	}
	return s
}

// colors decides on colours for a stream, in the order of
// https://bixense.com/clicolors and https://no-color.org.
func (p *program) colors(terminal bool) bool {
	switch p.color {
	case "always":
		return true
	case "never":
		return false
	}
	if p.getenv("NO_COLOR") != "" {
		return false
	}
	if f := p.getenv("CLICOLOR_FORCE"); f != "" && f != "0" {
		return true
	}
	return terminal && p.getenv("TERM") != "dumb"
}
