package main

import (
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"

	"github.com/wtinspect/wtinspect/inspect"
	"github.com/wtinspect/wtinspect/internal/render"
	"github.com/wtinspect/wtinspect/internal/report"
)

// longAnswers are the commands whose answers may be longer than a screen. They only read:
// what a command that writes has to say is not held up by a reader.
var longAnswers = []string{
	"ls", "info", "identify", "meta show", "stats", "cat", "hash", "diff", "map list", "map show", "map invert", "map compose", "map export", "map import", "map infer", "map new", "map test", "check", "rules", "explain",
}

// A pager is the program that shows an answer a screen at a time, as git's does. It starts
// with the first output, and has what is said on a terminal meanwhile, too.
type pager struct {
	command string
	getenv  func(string) string
	out     io.Writer // the terminal
	errs    io.Writer

	begin   sync.Once
	running atomic.Bool
	pipe    io.WriteCloser
	process *exec.Cmd
	finish  sync.Once
	// answered is set when the answer is complete.
	answered atomic.Bool
}

// page has the answer of a command shown by a pager, if it is for a person at a terminal.
func (p *program) page(cmd *cobra.Command) {
	_, name, _ := strings.Cut(cmd.CommandPath(), " ")
	if !p.paging || p.noPager || !slices.Contains(longAnswers, name) {
		return
	}
	if f := cmd.Flags().Lookup("format"); f != nil && f.Value.String() != string(render.TableFormat) && f.Value.String() != report.Forms()[0] {
		return
	}
	command := p.pagerCommand
	if command == "" {
		command = p.getenv("PAGER")
	}
	if command == "" {
		command = "less"
	}
	if command = strings.TrimSpace(command); command == "cat" || command == "none" {
		return
	}
	g := &pager{command: command, getenv: p.getenv, out: p.stdout, errs: p.stderr}
	p.stdout = g
	p.pager.Store(g)
}

// Write writes to the pager, and to the terminal where there is no such program. A pager
// that ends has shown enough: the command goes on, so that its exit code is the same.
func (g *pager) Write(b []byte) (int, error) {
	g.begin.Do(g.start)
	if g.pipe == nil {
		return g.out.Write(b)
	}
	_, _ = g.pipe.Write(b)
	return len(b), nil
}

func (g *pager) start() {
	cmd := pagerProcess(g.command)
	if cmd == nil {
		return
	}
	cmd.Stdout, cmd.Stderr = g.out, g.errs
	cmd.Env = withoutTokens(os.Environ())
	// As git does: leave where all is on one screen, keep colours, and the screen.
	if g.getenv("LESS") == "" {
		cmd.Env = append(cmd.Env, "LESS=FRX")
	}
	if g.getenv("LV") == "" {
		cmd.Env = append(cmd.Env, "LV=-c")
	}
	pipe, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		g.pipe, g.process = pipe, cmd
		g.running.Store(true)
	}
}

// withoutTokens leaves the tokens of hubs out of an environment: they are for those hubs
// alone.
func withoutTokens(env []string) []string {
	return slices.DeleteFunc(env, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(inspect.TokenVariables(), strings.ToUpper(name))
	})
}

// pagerProcess is the process of a command, through a shell where it has more than words;
// nil where there is no such program.
func pagerProcess(command string) *exec.Cmd {
	if runtime.GOOS != "windows" && strings.ContainsAny(command, "|&;<>()$`\\\"'*?[#~=%") {
		return exec.Command("sh", "-c", command)
	}
	words := strings.Fields(command)
	path, err := exec.LookPath(words[0])
	if err != nil {
		return nil
	}
	return exec.Command(path, words[1:]...)
}

// end waits until the reader has seen enough of the answer, which is complete.
func (g *pager) end() {
	if g == nil || !g.running.Load() {
		return
	}
	g.finish.Do(func() {
		g.answered.Store(true)
		g.pipe.Close()
		_ = g.process.Wait() // how it ends is no concern of the command
		g.running.Store(false)
	})
}

// showing reports whether the answer is on its way to a reader.
func (g *pager) showing() bool { return g != nil && g.running.Load() && !g.answered.Load() }

// reading reports whether a reader is at an answer that is complete: an interrupt is for
// the pager then.
func (g *pager) reading() bool { return g != nil && g.running.Load() && g.answered.Load() }
